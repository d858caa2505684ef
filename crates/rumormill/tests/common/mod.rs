//! Networks over real loopback sockets, for the tests of the public API.

// Each test program uses a part of this module.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use rumormill::{
    Config, Event, EventItem, Events, Listener, Message, Node, NodeBuilder, PeerId, PeerState,
    SeedAddress, SeedBuilder, SeedNode, Subscription, SubscriptionItem,
};
use tokio::time::{Instant, sleep, timeout};

/// Long, because all these networks share two cores with each other.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) async fn wait_until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut probe: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        if let Some(t) = probe().await {
            return t;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn loopback() -> Listener {
    Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap()
}

pub(crate) fn config() -> Config {
    Config::lan().build().unwrap()
}

/// With `RUST_LOG=rumormill=debug`, prints the log of a failing network.
pub(crate) fn log_to_test_output() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

pub(crate) struct Network {
    pub(crate) addresses: Vec<SeedAddress>,
    pub(crate) seeds: Vec<SeedNode>,
}

impl Network {
    pub(crate) async fn of_seeds(n: usize) -> Network {
        Network::built(n, |_, b| b).await
    }

    pub(crate) async fn built(
        n: usize,
        with: impl Fn(usize, SeedBuilder) -> SeedBuilder,
    ) -> Network {
        log_to_test_output();
        let listeners: Vec<Listener> = (0..n).map(|_| loopback()).collect();
        let addresses: Vec<SeedAddress> = listeners
            .iter()
            .map(|l| SeedAddress { host_port: l.local_addr().to_string(), pin: None })
            .collect();
        let mut seeds = Vec::new();
        for (index, listener) in listeners.into_iter().enumerate() {
            let builder = SeedNode::builder()
                .config(config())
                .listener(listener)
                .seeds(addresses.clone())
                .own_index(Some(index));
            seeds.push(with(index, builder).start().await.unwrap());
        }
        Network { addresses, seeds }
    }

    pub(crate) fn peer(&self, name: &str) -> NodeBuilder {
        Node::builder()
            .name(name.parse().unwrap())
            .config(config())
            .listener(loopback())
            .seeds(self.addresses.clone())
    }

    pub(crate) async fn peers(&self, n: usize) -> Vec<Node> {
        let mut peers = Vec::new();
        for i in 0..n {
            peers.push(self.peer(&format!("peer-{i}")).start().await.unwrap());
        }
        peers
    }
}

pub(crate) async fn joined(peer: &Node) {
    wait_until("joined", || async {
        (peer.snapshot().await.unwrap().state == PeerState::Joined).then_some(())
    })
    .await;
}

/// Whether the links between these peers make one component.
pub(crate) async fn one_component(peers: &[Node]) -> bool {
    let ids: BTreeSet<PeerId> = peers.iter().map(Node::id).collect();
    let mut reached = BTreeSet::new();
    let mut todo = vec![0];
    while let Some(i) = todo.pop() {
        if !reached.insert(peers[i].id()) {
            continue;
        }
        for n in peers[i].neighbours().await.unwrap() {
            todo.extend(peers.iter().position(|p| p.id() == n.id));
        }
    }
    reached == ids
}

pub(crate) async fn connected(peers: &[Node]) {
    for peer in peers {
        joined(peer).await;
    }
    wait_until("one component", || async { one_component(peers).await.then_some(()) }).await;
}

/// Waits until all peers are connected, and each has two neighbours that a seed knows of: a peer
/// with one neighbour would have only one witness of its death.
pub(crate) async fn settled(network: &Network, peers: &[Node]) {
    connected(peers).await;
    wait_until("two neighbours each", || async {
        let members = network.seeds[0].members().await.unwrap();
        let enough = |p: &Node| members.iter().any(|m| m.id == p.id() && m.degree >= 2);
        peers.iter().all(enough).then_some(())
    })
    .await;
}

/// Removes two peers that are not neighbours, so that neither is needed as a witness of the other.
pub(crate) async fn take_two_non_neighbours(peers: &mut Vec<Node>) -> (Node, Node) {
    let (i, j) = wait_until("two peers that are not neighbours", || async {
        for (i, peer) in peers.iter().enumerate() {
            let near: Vec<PeerId> = peer.neighbours().await.unwrap().iter().map(|n| n.id).collect();
            let stranger = |p: &Node| p.id() != peer.id() && !near.contains(&p.id());
            if let Some(j) = peers.iter().position(stranger) {
                return Some((i, j));
            }
        }
        None
    })
    .await;
    let (first, second) = (peers[i].clone(), peers[j].clone());
    peers.retain(|p| p.id() != first.id() && p.id() != second.id());
    (first, second)
}

pub(crate) async fn next_message(inbox: &mut Subscription) -> Message {
    loop {
        match timeout(TEST_TIMEOUT, inbox.recv()).await.expect("no message in time") {
            Some(SubscriptionItem::Message(delivery)) => return delivery.message,
            Some(SubscriptionItem::CaughtUp) => {}
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) async fn event<T>(events: &mut Events, pick: impl Fn(&Event) -> Option<T>) -> T {
    let search = async {
        while let Some(observed) = events.recv().await {
            if let EventItem::Event(timestamped) = observed
                && let Some(t) = pick(&timestamped.event)
            {
                return t;
            }
        }
        panic!("the node ended without this event");
    };
    timeout(TEST_TIMEOUT, search).await.expect("no such event in time")
}

/// Checks the messages of each stream: the numbers must be consecutive from the first one on, each
/// once; gaps are counted.
#[derive(Debug, Default)]
pub(crate) struct OrderChecker {
    next: std::collections::BTreeMap<rumormill::StreamId, u64>,
    /// Messages.
    pub(crate) messages: u64,
    /// Messages that were reported missing.
    pub(crate) missing: u64,
}

impl OrderChecker {
    /// Records the next element; it must follow the previous one of its stream.
    pub(crate) fn take(&mut self, received: &SubscriptionItem) {
        let (stream, from, to) = match received {
            SubscriptionItem::Message(m) => {
                let id = m.message.id();
                self.messages += 1;
                (id.stream(), id.sequence, id.sequence + 1)
            }
            SubscriptionItem::Gap(g) => {
                self.missing += g.to - g.from;
                (g.stream(), g.from, g.to)
            }
            SubscriptionItem::CaughtUp => return,
        };
        let next = self.next.entry(stream).or_insert(from);
        assert_eq!(*next, from, "of {stream:?}");
        *next = to;
    }

    /// The number after the last one, by stream.
    pub(crate) fn ends(&self) -> Vec<u64> {
        self.next.values().copied().collect()
    }
}
