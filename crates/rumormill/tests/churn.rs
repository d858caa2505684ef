//! Broadcast while peers are killed, join, are frozen and do not read, over real loopback sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rumormill::{
    BroadcastMode, Config, Listener, Node, PeerState, SeedAddress, SeedNode, Start, StreamId,
    SubscribeOptions, Subscription, SubscriptionItem,
};
use tokio::time::{Instant, sleep};

/// Longer than the search for a missing message among several neighbours, which takes two minutes
/// (GUARANTEES.md, G3). These networks share two cores with others, so that may happen.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(150);

fn loopback() -> Listener {
    Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap()
}

struct Network {
    config: Config,
    addresses: Vec<SeedAddress>,
    _seeds: Vec<SeedNode>,
}

impl Network {
    async fn new(config: Config) -> Network {
        let listeners: Vec<Listener> = (0..3).map(|_| loopback()).collect();
        let address =
            |l: &Listener| SeedAddress { host_port: l.local_addr().to_string(), pin: None };
        let addresses: Vec<SeedAddress> = listeners.iter().map(address).collect();
        let mut seeds = Vec::new();
        for (index, listener) in listeners.into_iter().enumerate() {
            let seed = SeedNode::builder()
                .config(config.clone())
                .listener(listener)
                .seeds(addresses.clone())
                .own_index(Some(index));
            seeds.push(seed.start().await.unwrap());
        }
        Network { config, addresses, _seeds: seeds }
    }

    async fn peer(&self, name: String) -> TestPeer {
        let builder = Node::builder()
            .name(name.parse().unwrap())
            .config(self.config.clone())
            .listener(loopback())
            .seeds(self.addresses.clone());
        let subscription = builder.subscribe();
        let node = builder.start().await.unwrap();
        let got = Arc::new(Mutex::new(ReceivedStreams::default()));
        tokio::spawn(read(subscription, got.clone()));
        TestPeer { node, got }
    }

    async fn peers(&self, names: std::ops::Range<usize>) -> Vec<TestPeer> {
        let mut peers = Vec::new();
        for n in names {
            peers.push(self.peer(format!("peer-{n}")).await);
        }
        for p in &peers {
            wait_until("joined", || p.is_linked()).await;
        }
        peers
    }
}

/// A peer and the messages that its subscriber received.
struct TestPeer {
    node: Node,
    got: Arc<Mutex<ReceivedStreams>>,
}

impl TestPeer {
    async fn is_linked(&self) -> bool {
        let s = self.node.snapshot().await.unwrap();
        s.state == PeerState::Joined && s.neighbours.len() >= 2
    }

    fn count(&self, stream: StreamId) -> u64 {
        self.got.lock().unwrap().streams.get(&stream).map_or(0, |s| s.messages)
    }
}

/// The progress of one stream.
#[derive(Debug, Default)]
struct StreamProgress {
    next: Option<u64>,
    messages: u64,
    missed: u64,
}

/// The messages that a subscriber received, checked on arrival.
#[derive(Debug, Default)]
struct ReceivedStreams {
    streams: BTreeMap<StreamId, StreamProgress>,
}

impl ReceivedStreams {
    /// Records an element; panics if it is out of order, a duplicate, or follows an unreported gap.
    fn take(&mut self, received: &SubscriptionItem) {
        let (stream, from, to, came) = match received {
            SubscriptionItem::Message(m) => {
                let id = m.message.id();
                (id.stream(), id.sequence, id.sequence + 1, true)
            }
            SubscriptionItem::Gap(g) => (g.stream(), g.from, g.to, false),
            SubscriptionItem::CaughtUp => return,
        };
        let p = self.streams.entry(stream).or_default();
        let expected = p.next.unwrap_or(from);
        assert_eq!(from, expected, "{received:?} instead of {expected}");
        p.next = Some(to);
        if came {
            p.messages += 1;
        } else {
            p.missed += to - from;
        }
    }

    fn missed(&self) -> u64 {
        self.streams.values().map(|p| p.missed).sum()
    }
}

async fn read(mut subscription: Subscription, got: Arc<Mutex<ReceivedStreams>>) {
    while let Some(received) = subscription.recv().await {
        got.lock().unwrap().take(&received);
    }
}

async fn wait_until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + DELIVERY_TIMEOUT;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// 50 peers, 10 of which publish; 10 others are killed meanwhile, and 10 new ones join.
async fn churn(mode: BroadcastMode) {
    const EACH: u64 = 40;
    let network = Network::new(Config::lan().broadcast(mode).build().unwrap()).await;
    let mut peers = network.peers(0..50).await;
    let mut publishing = tokio::task::JoinSet::new();
    for p in peers.iter().take(10) {
        let node = p.node.clone();
        publishing.spawn(async move {
            let mut stream = None;
            for n in 0..EACH {
                let id = node.publish("t", format!("message {n}")).await.unwrap();
                assert_eq!(id.sequence, n);
                stream = Some(id.stream());
                sleep(Duration::from_millis(150)).await;
            }
            stream.unwrap()
        });
    }
    sleep(Duration::from_millis(1500)).await;
    for dead in peers.drain(40..) {
        dead.node.kill();
    }
    let new = network.peers(50..60).await;
    let streams = publishing.join_all().await;
    peers.extend(new);
    for p in &peers {
        wait_until(&format!("all messages at {}", p.node.name()), || async {
            streams.iter().all(|s| p.count(*s) == EACH)
        })
        .await;
        let got = p.got.lock().unwrap();
        assert_eq!(got.missed(), 0, "{:?}", got.streams);
    }
    let mut duplicates = 0;
    for p in &peers {
        duplicates += p.node.snapshot().await.unwrap().counters.get("messages_duplicate");
    }
    let messages = peers.len() as u64 * EACH * streams.len() as u64;
    println!("{mode}: {duplicates} duplicates of {messages} messages");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_arrives_while_ten_peers_are_killed_and_ten_join() {
    churn(BroadcastMode::Trees).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flooding_delivers_the_same_messages_under_churn() {
    churn(BroadcastMode::Flood).await;
}

/// Every peer publishes as fast as it can; one peer runs for 2 ms in 300 ms, and one subscriber
/// does not read at all. No other peer is blocked, every loss is reported as a gap, and memory is
/// bounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_speed_with_slow_peer_and_idle_subscriber_blocks_no_other_peer() {
    const RETENTION: u64 = 4 << 20;
    let config = Config::lan().retention_bytes(RETENTION).build().unwrap();
    let network = Network::new(config).await;
    let mut peers = network.peers(0..8).await;
    let slow = peers.pop().unwrap();
    let mut unread = peers[0].node.subscribe_with(SubscribeOptions::new().start(Start::Now));

    let stop = Instant::now() + Duration::from_secs(6);
    let mut publishing = tokio::task::JoinSet::new();
    for p in &peers {
        let node = p.node.clone();
        publishing.spawn(async move {
            let payload = vec![7; 1024];
            let mut last = None;
            while Instant::now() < stop {
                last = Some(node.publish("t", &payload).await.unwrap());
            }
            last.unwrap()
        });
    }
    // The slow peer counts as alive, because it is pinged every 500 ms, but it reads almost
    // nothing.
    while Instant::now() < stop {
        slow.node.freeze(true);
        sleep(Duration::from_millis(300)).await;
        slow.node.freeze(false);
        sleep(Duration::from_millis(2)).await;
    }
    let Ok(last) = tokio::time::timeout(DELIVERY_TIMEOUT, publishing.join_all()).await else {
        let mut views = Vec::new();
        for p in &peers {
            views.push(format!("{:#?}", p.node.snapshot().await));
        }
        panic!("a publisher is blocked: {}", views.join("\n"));
    };

    // Every peer that kept up has all messages.
    for p in &peers {
        wait_until(&format!("all of it at {}", p.node.name()), || async {
            let got = p.got.lock().unwrap();
            let end = |s| got.streams.get(&s).and_then(|p: &StreamProgress| p.next);
            last.iter().all(|id| end(id.stream()) == Some(id.sequence + 1))
        })
        .await;
        let s = p.node.snapshot().await.unwrap();
        assert!(s.retained_bytes <= RETENTION + (1 << 20), "{} bytes held", s.retained_bytes);
    }
    // The slow peer gets the messages that are still retained, and gaps for the others.
    wait_until("the end at the slow peer", || async {
        let got = slow.got.lock().unwrap();
        let end = |s| got.streams.get(&s).and_then(|p: &StreamProgress| p.next);
        last.iter().all(|id| end(id.stream()) == Some(id.sequence + 1))
    })
    .await;
    // So does the subscription that was not read: every number is received or named in a gap.
    let mut late = ReceivedStreams::default();
    while let Some(received) = unread.try_recv() {
        late.take(&received);
    }
    let all: u64 = last.iter().map(|id| id.sequence + 1).sum();
    let heard: u64 = late.streams.values().map(|p| p.messages + p.missed).sum();
    println!(
        "{all} messages of 1 KiB; the slow peer missed {}, the idle reader {}",
        slow.got.lock().unwrap().missed(),
        late.missed(),
    );
    assert_eq!(heard, all, "each number was received or is named in a gap");
}
