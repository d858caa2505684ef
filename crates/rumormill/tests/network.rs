//! Whole networks over real loopback sockets, through the public API only.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use rumormill::{
    BindError, Config, Event, Events, Identity, Listener, MemberState, Message, NetworkKey, Node,
    NodeBuilder, Observed, PeerId, PeerState, PublishError, Received, SeedAddress, SeedBuilder,
    SeedNode, StartError, Stopped, Subscription,
};
use tokio::time::{Instant, sleep, timeout};

/// Generous, because all these networks share two cores with each other.
const PATIENCE: Duration = Duration::from_secs(30);

async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(t) = look().await {
            return t;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn loopback() -> Listener {
    Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap()
}

fn config() -> Config {
    Config::lan().build().unwrap()
}

/// `RUST_LOG=rumormill=debug` shows what a failing network did.
fn follow_along() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

struct Network {
    addresses: Vec<SeedAddress>,
    seeds: Vec<SeedNode>,
}

impl Network {
    async fn of_seeds(n: usize) -> Network {
        Network::built(n, |_, b| b).await
    }

    async fn built(n: usize, with: impl Fn(usize, SeedBuilder) -> SeedBuilder) -> Network {
        follow_along();
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

    fn peer(&self, name: &str) -> NodeBuilder {
        Node::builder()
            .name(name.parse().unwrap())
            .config(config())
            .listener(loopback())
            .seeds(self.addresses.clone())
    }

    async fn peers(&self, n: usize) -> Vec<Node> {
        let mut peers = Vec::new();
        for i in 0..n {
            peers.push(self.peer(&format!("peer-{i}")).start().await.unwrap());
        }
        peers
    }
}

async fn joined(peer: &Node) {
    until("joined", || async {
        (peer.snapshot().await.unwrap().state == PeerState::Joined).then_some(())
    })
    .await;
}

/// Whether the links between these peers make one component.
async fn one_component(peers: &[Node]) -> bool {
    let ids: BTreeSet<PeerId> = peers.iter().map(Node::id).collect();
    let mut reached = BTreeSet::new();
    let mut todo = vec![0];
    while let Some(i) = todo.pop() {
        if !reached.insert(peers[i].id()) {
            continue;
        }
        for n in peers[i].neighbours().await {
            todo.extend(peers.iter().position(|p| p.id() == n.id));
        }
    }
    reached == ids
}

async fn connected(peers: &[Node]) {
    for peer in peers {
        joined(peer).await;
    }
    until("one component", || async { one_component(peers).await.then_some(()) }).await;
}

/// Connected, and everybody has two neighbours that a seed knows of: who has only one has only one
/// witness of its death.
async fn settled(network: &Network, peers: &[Node]) {
    connected(peers).await;
    until("two neighbours each", || async {
        let members = network.seeds[0].members().await;
        let enough = |p: &Node| members.iter().any(|m| m.id == p.id() && m.degree >= 2);
        peers.iter().all(enough).then_some(())
    })
    .await;
}

/// Two peers that are not neighbours, so that neither is a witness that the other one needs.
async fn take_two_strangers(peers: &mut Vec<Node>) -> (Node, Node) {
    let (i, j) = until("two peers that are not neighbours", || async {
        for (i, peer) in peers.iter().enumerate() {
            let near: Vec<PeerId> = peer.neighbours().await.iter().map(|n| n.id).collect();
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

async fn next_message(inbox: &mut Subscription) -> Message {
    match timeout(PATIENCE, inbox.recv()).await.expect("no message in time") {
        Some(Received::Message(delivery)) => delivery.message,
        other => panic!("{other:?}"),
    }
}

async fn event<T>(events: &mut Events, pick: impl Fn(&Event) -> Option<T>) -> T {
    let search = async {
        while let Some(observed) = events.recv().await {
            if let Observed::Event(stamped) = observed
                && let Some(t) = pick(&stamped.event)
            {
                return t;
            }
        }
        panic!("the node ended without this event");
    };
    timeout(PATIENCE, search).await.expect("no such event in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_join_and_every_message_reaches_everybody_once() {
    let network = Network::of_seeds(3).await;
    let peers = network.peers(8).await;
    connected(&peers).await;
    for seed in &network.seeds {
        until("registrations", || async {
            (seed.snapshot().await.unwrap().alive == 8).then_some(())
        })
        .await;
    }
    let mut inboxes: Vec<Subscription> = peers.iter().map(Node::subscribe).collect();
    let mut sent = Vec::new();
    for (i, peer) in peers.iter().enumerate() {
        sent.push(peer.publish("test", format!("message of {i}")).await.unwrap());
    }
    let sent: BTreeSet<_> = sent.into_iter().collect();
    for inbox in &mut inboxes {
        let mut got = BTreeSet::new();
        for _ in 0..sent.len() {
            assert!(got.insert(next_message(inbox).await.id()), "a message came twice");
        }
        assert_eq!(got, sent);
        assert!(inbox.try_recv().is_none());
    }
    let snapshot = peers[0].snapshot().await.unwrap();
    for counter in ["frames_in", "frames_out", "bytes_in_payload", "links_opened"] {
        assert!(snapshot.counters.get(counter) > 0, "{counter}");
    }
    assert_eq!(peers[0].members().await.len(), 8);
    assert_eq!(peers[0].messages(3).await.len(), 3);
    assert_eq!(peers[0].publishers().await.len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn get_asks_the_neighbours() {
    let network = Network::of_seeds(1).await;
    let peers = network.peers(2).await;
    connected(&peers).await;
    let mut inbox = peers[1].subscribe();
    let id = peers[0].publish("t", "found").await.unwrap();
    next_message(&mut inbox).await;
    let found = peers[1].get(id).await.unwrap().expect("it is held");
    assert_eq!(found.payload(), b"found");
    let unknown = rumormill::MessageId { sequence: 99, ..id };
    assert!(peers[1].get(unknown).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_peer_and_a_frozen_peer_are_found_dead_and_nobody_else_is() {
    let network = Network::of_seeds(3).await;
    let mut peers = network.peers(8).await;
    settled(&network, &peers).await;
    let (killed, frozen) = take_two_strangers(&mut peers).await;
    let mut removals = network.seeds[0].events();
    killed.kill();
    frozen.freeze(true);
    let mut gone = BTreeSet::new();
    while gone.len() < 2 {
        let (id, witnesses) = event(&mut removals, |e| match e {
            Event::PeerRemoved { id, witnesses, .. } => Some((*id, witnesses.len())),
            _ => None,
        })
        .await;
        assert!(witnesses >= 2, "{witnesses} witnesses");
        gone.insert(id);
    }
    assert_eq!(gone, BTreeSet::from([killed.id(), frozen.id()]));
    connected(&peers).await;
    for seed in &network.seeds {
        let dead = until("the verdict everywhere", || async {
            let dead: BTreeSet<PeerId> = seed
                .members()
                .await
                .iter()
                .filter(|m| m.state == MemberState::Dead)
                .map(|m| m.id)
                .collect();
            (dead.len() >= 2).then_some(dead)
        })
        .await;
        assert_eq!(dead, gone);
    }
    // Thawed, it learns of its death, and is back in a new life.
    let mut events = frozen.events();
    frozen.freeze(false);
    event(&mut events, |e| matches!(e, Event::Refuted { .. }).then_some(())).await;
    peers.push(frozen);
    connected(&peers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_is_not_dead() {
    let network = Network::of_seeds(1).await;
    let mut peers = network.peers(4).await;
    connected(&peers).await;
    let mut events = network.seeds[0].events();
    let leaver = peers.remove(0);
    let address = leaver.local_addr();
    leaver.leave().await.unwrap();
    assert_eq!(leaver.leave().await, Err(Stopped));
    assert!(matches!(leaver.publish("t", "x").await, Err(PublishError::Stopped(_))));
    assert!(leaver.snapshot().await.is_err());
    assert!(leaver.members().await.is_empty());
    Listener::bind(address).expect("its port is free");
    event(&mut events, |e| match e {
        Event::PeerLeft { id, .. } => (*id == leaver.id()).then_some(()),
        Event::PeerRemoved { .. } => panic!("held to be dead"),
        _ => None,
    })
    .await;
    connected(&peers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gossip_goes_on_without_seeds_and_they_come_back_with_their_registry() {
    let dir = tempfile::tempdir().unwrap();
    let data = |i: usize| dir.path().join(format!("seed-{i}"));
    let network = Network::built(3, |i, b| b.data_dir(data(i))).await;
    let peers = network.peers(5).await;
    connected(&peers).await;
    for seed in &network.seeds {
        until("all are registered", || async {
            (seed.snapshot().await.unwrap().alive == 5).then_some(())
        })
        .await;
    }
    let (ids, places): (Vec<PeerId>, Vec<_>) =
        network.seeds.iter().map(|s| (s.id(), s.local_addr())).unzip();
    for seed in &network.seeds {
        seed.kill();
        seed.stopped().await;
    }
    until("degraded", || async {
        (peers[0].snapshot().await.unwrap().state == PeerState::Degraded).then_some(())
    })
    .await;
    let mut inbox = peers[4].subscribe();
    let id = peers[0].publish("t", "without seeds").await.unwrap();
    assert_eq!(next_message(&mut inbox).await.id(), id);

    let mut back = Vec::new();
    for (i, place) in places.iter().enumerate() {
        let seed = SeedNode::builder()
            .config(config())
            .listen(*place)
            .seeds(network.addresses.clone())
            .own_index(Some(i))
            .data_dir(data(i))
            .start()
            .await
            .unwrap();
        assert_eq!(seed.id(), ids[i], "its identity is kept");
        assert_eq!(seed.members().await.len(), 5, "its registry is kept");
        back.push(seed);
    }
    for peer in &peers {
        joined(peer).await;
    }
    let newcomer = network.peer("newcomer").start().await.unwrap();
    joined(&newcomer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_comes_back_with_identity_messages_and_a_higher_incarnation() {
    let dir = tempfile::tempdir().unwrap();
    let network = Network::of_seeds(1).await;
    let builder = || network.peer("anna").data_dir(dir.path());
    let first = builder().start().await.unwrap();
    joined(&first).await;
    let id = first.publish("t", "kept").await.unwrap();
    let before = first.snapshot().await.unwrap();
    let e = builder().start().await.unwrap_err();
    assert!(matches!(e, StartError::Locked { .. }), "{e}");
    first.leave().await.unwrap();
    let second = builder().start().await.unwrap();
    let after = second.snapshot().await.unwrap();
    assert_eq!(after.id, before.id);
    assert!(after.incarnation > before.incarnation);
    assert_eq!(second.get(id).await.unwrap().expect("it was kept").payload(), b"kept");
    joined(&second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_network_lets_in_who_has_its_key() {
    let key = NetworkKey::generate().unwrap();
    let network = Network::built(1, |_, b| b.network_key(key.clone())).await;
    let member = network.peer("member").network_key(key).start().await.unwrap();
    joined(&member).await;
    let builder = network.peer("stranger");
    let mut events = builder.events();
    let stranger = builder.start().await.unwrap();
    let why = event(&mut events, |e| match e {
        Event::SeedLost { why, .. } => Some(why.clone()),
        _ => None,
    })
    .await;
    assert!(why.contains("network"), "{why}");
    assert_eq!(stranger.snapshot().await.unwrap().state, PeerState::Joining);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_with_another_id_than_its_pin_is_refused() {
    let mut network = Network::of_seeds(1).await;
    network.addresses[0].pin = Some(Identity::from_secret(&[1; 32]).id());
    let builder = network.peer("careful");
    let mut events = builder.events();
    let peer = builder.start().await.unwrap();
    event(&mut events, |e| matches!(e, Event::SeedRefused { .. }).then_some(())).await;
    assert_eq!(peer.snapshot().await.unwrap().counters.get("dials_wrong_identity"), 1);

    network.addresses[0].pin = Some(network.seeds[0].id());
    joined(&network.peer("pinned").start().await.unwrap()).await;
}

#[tokio::test]
async fn what_cannot_start_says_why_and_leaves_nothing_running() {
    let taken = loopback();
    let e = Node::builder().listen(taken.local_addr()).start().await.unwrap_err();
    assert!(matches!(e, StartError::Bind(BindError::Taken(_))), "{e}");

    let seeds = vec![SeedAddress { host_port: "a:1".to_owned(), pin: None }];
    let e = SeedNode::builder().seeds(seeds).own_index(Some(1)).start().await.unwrap_err();
    assert!(e.to_string().contains("own index 1"), "{e}");

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("identity.key"), "no key").unwrap();
    let e = Node::builder().data_dir(dir.path()).start().await.unwrap_err();
    assert!(matches!(e, StartError::KeyFile { .. }), "{e}");
    std::fs::remove_file(dir.path().join("identity.key")).unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let node = Node::builder().data_dir(dir.path()).listen(listen).start().await.unwrap();
    node.leave().await.unwrap();
}
