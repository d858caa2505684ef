//! Broadcast while peers die, join, stand still and do not read, over real loopback sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rumormill::{
    BroadcastMode, Config, Listener, Node, PeerState, Received, SeedAddress, SeedNode, Start,
    StreamId, SubscribeOptions, Subscription,
};
use tokio::time::{Instant, sleep};

/// Longer than a gap takes that some neighbours look for as well: two minutes (GUARANTEES.md, G3). These networks
/// share two cores with others, so that may happen.
const PATIENCE: Duration = Duration::from_secs(150);

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

    async fn peer(&self, name: String) -> Peer {
        let builder = Node::builder()
            .name(name.parse().unwrap())
            .config(self.config.clone())
            .listener(loopback())
            .seeds(self.addresses.clone());
        let subscription = builder.subscribe();
        let node = builder.start().await.unwrap();
        let got = Arc::new(Mutex::new(Got::default()));
        tokio::spawn(read(subscription, got.clone()));
        Peer { node, got }
    }

    async fn peers(&self, names: std::ops::Range<usize>) -> Vec<Peer> {
        let mut peers = Vec::new();
        for n in names {
            peers.push(self.peer(format!("peer-{n}")).await);
        }
        for p in &peers {
            until("joined", || p.is_linked()).await;
        }
        peers
    }
}

/// A peer and what its subscriber got.
struct Peer {
    node: Node,
    got: Arc<Mutex<Got>>,
}

impl Peer {
    async fn is_linked(&self) -> bool {
        let s = self.node.snapshot().await.unwrap();
        s.state == PeerState::Joined && s.neighbours.len() >= 2
    }

    fn count(&self, stream: StreamId) -> u64 {
        self.got.lock().unwrap().streams.get(&stream).map_or(0, |s| s.messages)
    }
}

/// What came of one publisher.
#[derive(Debug, Default)]
struct Progress {
    next: Option<u64>,
    messages: u64,
    missed: u64,
}

/// What a subscriber got, checked as it came.
#[derive(Debug, Default)]
struct Got {
    streams: BTreeMap<StreamId, Progress>,
}

impl Got {
    /// Takes note; panics if something comes out of order, twice, or is left out without a word.
    fn take(&mut self, received: &Received) {
        let (stream, from, to, came) = match received {
            Received::Message(m) => {
                let id = m.message.id();
                (id.stream(), id.sequence, id.sequence + 1, true)
            }
            Received::Gap(g) => (g.stream(), g.from, g.to, false),
            Received::CaughtUp => return,
        };
        let p = self.streams.entry(stream).or_default();
        let expected = p.next.unwrap_or(from);
        assert_eq!(from, expected, "{received:?} in the place of {expected}");
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

async fn read(mut subscription: Subscription, got: Arc<Mutex<Got>>) {
    while let Some(received) = subscription.recv().await {
        got.lock().unwrap().take(&received);
    }
}

async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// 50 peers, 10 of them publish; 10 others are killed in the middle and 10 new ones come.
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
        until(&format!("all messages at {}", p.node.name()), || async {
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
    println!("{mode}: {duplicates} copies too many of {messages} messages");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_killed_and_ten_new_while_ten_publish() {
    churn(BroadcastMode::Trees).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flooding_gives_the_same_deliveries() {
    churn(BroadcastMode::Flood).await;
}

/// Every peer publishes as fast as it may; one peer gets to run for 2 ms in 300, one subscriber does
/// not read at all. Nobody else stands still, nothing is lost without a word, memory is bounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_speed_with_a_slow_peer_and_a_subscriber_that_does_not_read() {
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
    // Alive to the others, and as good as not reading: they ping every 500 ms.
    while Instant::now() < stop {
        slow.node.freeze(true);
        sleep(Duration::from_millis(300)).await;
        slow.node.freeze(false);
        sleep(Duration::from_millis(2)).await;
    }
    let Ok(last) = tokio::time::timeout(PATIENCE, publishing.join_all()).await else {
        let mut views = Vec::new();
        for p in &peers {
            views.push(format!("{:#?}", p.node.snapshot().await));
        }
        panic!("somebody waits for ever to publish: {}", views.join("\n"));
    };

    // Everybody who kept up has all of it.
    for p in &peers {
        until(&format!("all of it at {}", p.node.name()), || async {
            let got = p.got.lock().unwrap();
            let end = |s| got.streams.get(&s).and_then(|p: &Progress| p.next);
            last.iter().all(|id| end(id.stream()) == Some(id.sequence + 1))
        })
        .await;
        let s = p.node.snapshot().await.unwrap();
        assert!(s.held_bytes <= RETENTION + (1 << 20), "{} bytes held", s.held_bytes);
    }
    // The slow one gets what is still kept, and is told what is not.
    until("the end at the slow peer", || async {
        let got = slow.got.lock().unwrap();
        let end = |s| got.streams.get(&s).and_then(|p: &Progress| p.next);
        last.iter().all(|id| end(id.stream()) == Some(id.sequence + 1))
    })
    .await;
    // So does the one that did not read: exactly what is left, and what is not by number.
    let mut late = Got::default();
    while let Some(received) = unread.try_recv() {
        late.take(&received);
    }
    let all: u64 = last.iter().map(|id| id.sequence + 1).sum();
    let heard: u64 = late.streams.values().map(|p| p.messages + p.missed).sum();
    println!(
        "{all} messages of 1 KiB; the slow peer missed {}, the reader that slept {}",
        slow.got.lock().unwrap().missed(),
        late.missed(),
    );
    assert_eq!(heard, all, "each number came or is named in a gap");
}
