//! Whole networks over real loopback sockets, through the public API only.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::*;
use rumormill::proto::DialError;
use rumormill::{
    BindError, Event, EventItem, IdentifyError, Identity, LeaveError, Listener, MemberState,
    MessageId, NetworkKey, Node, NodeBuilder, PeerId, PeerState, PublishError, Role, SeedAddress,
    SeedNode, Start, StartError, StoppedError, SubscribeOptions, Subscription, SubscriptionItem,
    identify,
};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn every_message_reaches_every_peer_once() {
    let network = Network::of_seeds(3).await;
    let peers = network.peers(8).await;
    connected(&peers).await;
    for seed in &network.seeds {
        wait_until("registrations", || async {
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
    for counter in ["frames_in", "frames_out", "links_opened"] {
        assert!(snapshot.counters.get(counter) > 0, "{counter}");
    }
    // A peer whose parent in a tree is just changing may pull all its messages.
    let came = ["bytes_in_payload", "bytes_in_history"].map(|c| snapshot.counters.get(c));
    assert!(came.iter().sum::<u64>() > 0);
    assert_eq!(peers[0].members().await.unwrap().len(), 8);
    assert_eq!(peers[0].messages(3).await.unwrap().len(), 3);
    assert_eq!(peers[0].publishers().await.unwrap().len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn joined_resolves_after_late_start_of_the_seed() {
    let late = loopback();
    let seed = SeedAddress { host_port: late.local_addr().to_string(), pin: None };
    let peer = Node::builder().config(config()).listener(loopback()).seeds(vec![seed.clone()]);
    let peer = peer.start().await.unwrap();
    let joined = tokio::spawn({
        let peer = peer.clone();
        async move { peer.joined().await }
    });
    // The peer has checked its state, and waits.
    tokio::task::yield_now().await;
    assert_eq!(peer.snapshot().await.unwrap().state, PeerState::Joining);
    let seed = SeedNode::builder().config(config()).listener(late).seeds(vec![seed]);
    let seed = seed.own_index(Some(0)).start().await.unwrap();
    timeout(TEST_TIMEOUT, joined).await.expect("in time").unwrap().unwrap();
    assert_eq!(peer.snapshot().await.unwrap().state, PeerState::Joined);
    timeout(TEST_TIMEOUT, peer.joined()).await.expect("at once").unwrap();
    seed.kill();
    peer.leave().await.unwrap();
    assert_eq!(peer.joined().await, Err(StoppedError));
}

/// Starts a peer and returns the members that it knows as soon as it has joined.
async fn known_at_joining(builder: NodeBuilder) -> (Node, BTreeSet<PeerId>) {
    let node = builder.start().await.unwrap();
    timeout(TEST_TIMEOUT, node.joined()).await.expect("in time").unwrap();
    let known = node.members().await.unwrap().iter().map(|m| m.id).collect();
    (node, known)
}

#[tokio::test(flavor = "multi_thread")]
async fn joined_peer_knows_every_peer_that_had_joined_before() {
    let network = Network::of_seeds(3).await;
    let mut all: Vec<(Node, BTreeSet<PeerId>)> = Vec::new();
    // One after the other: each knows all earlier ones.
    for n in 0..6 {
        let (node, known) = known_at_joining(network.peer(&format!("row-{n}"))).await;
        let before: BTreeSet<PeerId> = all.iter().map(|(p, _)| p.id()).chain([node.id()]).collect();
        assert_eq!(known, before, "peer {n}");
        all.push((node, known));
    }
    // At the same moment: each knows all earlier ones, and of any two at least one knows the other.
    let mut starts = tokio::task::JoinSet::new();
    for n in 0..6 {
        starts.spawn(known_at_joining(network.peer(&format!("crowd-{n}"))));
    }
    let crowd = starts.join_all().await;
    for (at, (node, known)) in crowd.iter().enumerate() {
        assert!(all.iter().all(|(p, _)| known.contains(&p.id())), "the earlier peers are known");
        for (other, known_there) in &crowd[..at] {
            assert!(known.contains(&other.id()) || known_there.contains(&node.id()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomer_receives_new_messages_or_the_retained_history_as_requested() {
    let network = Network::of_seeds(1).await;
    let peers = network.peers(3).await;
    connected(&peers).await;
    for n in 0..20 {
        peers[0].publish("t", format!("old {n}")).await.unwrap();
    }
    // Only messages that are older than a moment count as history.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let builder = network.peer("newcomer");
    let mut from_start = builder.subscribe_with(SubscribeOptions::new());
    let newcomer = builder.start().await.unwrap();
    let mut now = newcomer.subscribe();
    let mut kept = newcomer.subscribe_with(SubscribeOptions::new().start(Start::Earliest));
    let mut history = 0;
    loop {
        match timeout(TEST_TIMEOUT, kept.recv()).await.expect("history ends").unwrap() {
            SubscriptionItem::Message(_) => history += 1,
            SubscriptionItem::CaughtUp => break,
            SubscriptionItem::Gap(gap) => panic!("{gap:?}"),
        }
    }
    assert_eq!(history, 20, "all retained messages are returned before history ends");
    let new = peers[0].publish("t", "new").await.unwrap();
    for inbox in [&mut now, &mut from_start, &mut kept] {
        assert_eq!(next_message(inbox).await.id(), new);
        assert!(inbox.try_recv().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriber_of_joined_peer_misses_no_later_message() {
    let network = Network::of_seeds(1).await;
    let publisher = network.peer("publisher").start().await.unwrap();
    publisher.joined().await.unwrap();
    for n in 0..5 {
        let peer = network.peer(&format!("peer-{n}")).start().await.unwrap();
        peer.joined().await.unwrap();
        let mut inbox = peer.subscribe();
        // The peer may have no neighbour yet, and learn of the message from its first summary.
        let id = publisher.publish("t", "now").await.unwrap();
        assert_eq!(next_message(&mut inbox).await.id(), id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn identify_returns_the_node_at_an_address_or_the_reason_why_not() {
    let key = NetworkKey::new([5; 32]);
    let network = Network::built(1, |_, b| b.network_key(NetworkKey::new([5; 32]))).await;
    let (seed, address) = (&network.seeds[0], &network.addresses[0]);
    let who = identify(address, Some(&key)).await.unwrap();
    assert_eq!((who.id, who.role, who.address), (seed.id(), Role::Seed, seed.local_addr()));
    let pinned = |pin| SeedAddress { pin: Some(pin), ..address.clone() };
    assert_eq!(identify(&pinned(seed.id()), Some(&key)).await.unwrap(), who);
    let why = async |address: &SeedAddress, key: Option<&NetworkKey>| match identify(address, key)
        .await
    {
        Err(IdentifyError::Call { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    let other = pinned(PeerId::from_bytes([7; 32]));
    assert_eq!(why(&other, Some(&key)).await, DialError::WrongIdentity);
    assert_eq!(why(address, None).await, DialError::OtherNetwork);
    assert_eq!(why(address, Some(&NetworkKey::new([6; 32]))).await, DialError::OtherNetwork);
    let nowhere = SeedAddress { host_port: "rumor.invalid:1".to_owned(), pin: None };
    assert_eq!(why(&nowhere, None).await, DialError::NoAddress);
}

#[tokio::test(flavor = "multi_thread")]
async fn get_requests_a_message_from_neighbours() {
    let network = Network::of_seeds(1).await;
    let peers = network.peers(2).await;
    connected(&peers).await;
    let mut inbox = peers[1].subscribe();
    let id = peers[0].publish("t", "found").await.unwrap();
    next_message(&mut inbox).await;
    let found = peers[1].get(id).await.unwrap().expect("the message is held");
    assert_eq!(found.payload(), b"found");
    let unknown = rumormill::MessageId { sequence: 99, ..id };
    assert!(peers[1].get(unknown).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_frozen_peers_are_declared_dead_and_no_other_peer_is() {
    let network = Network::of_seeds(3).await;
    let mut peers = network.peers(8).await;
    settled(&network, &peers).await;
    let (killed, frozen) = take_two_non_neighbours(&mut peers).await;
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
        let dead = wait_until("the verdict everywhere", || async {
            let dead: BTreeSet<PeerId> = seed
                .members()
                .await
                .unwrap()
                .iter()
                .filter(|m| m.state == MemberState::Dead)
                .map(|m| m.id)
                .collect();
            (dead.len() >= 2).then_some(dead)
        })
        .await;
        assert_eq!(dead, gone);
    }
    // After it is resumed, the frozen peer learns of its death and refutes it with a higher
    // incarnation.
    let mut events = frozen.events();
    frozen.freeze(false);
    event(&mut events, |e| matches!(e, Event::Refuted { .. }).then_some(())).await;
    peers.push(frozen);
    connected(&peers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_peer_is_not_declared_dead() {
    let network = Network::of_seeds(3).await;
    let mut peers = network.peers(4).await;
    connected(&peers).await;
    let mut events = network.seeds[0].events();
    let leaver = peers.remove(0);
    let address = leaver.local_addr();
    let mut own = leaver.events();
    leaver.leave().await.unwrap();
    while let Some(EventItem::Event(e)) = own.recv().await {
        let back = matches!(e.event, Event::Registered { .. } | Event::Degraded { .. });
        assert!(!back, "the peer is leaving: {:?}", e.event);
    }
    assert_eq!(leaver.leave().await, Err(LeaveError::Stopped(StoppedError)));
    assert!(matches!(leaver.publish("t", "x").await, Err(PublishError::Stopped(_))));
    assert!(leaver.snapshot().await.is_err());
    assert_eq!(leaver.members().await.unwrap_err(), StoppedError);
    assert_eq!(leaver.neighbours().await.unwrap_err(), StoppedError);
    assert_eq!(leaver.messages(9).await.unwrap_err(), StoppedError);
    let gone = MessageId { publisher: leaver.id(), epoch: 1, sequence: 0 };
    assert_eq!(leaver.messages_before(gone, 9).await.unwrap_err(), StoppedError);
    assert_eq!(leaver.publishers().await.unwrap_err(), StoppedError);
    Listener::bind(address).expect("the port is free");
    event(&mut events, |e| match e {
        Event::PeerLeft { id, .. } => (*id == leaver.id()).then_some(()),
        Event::PeerRemoved { .. } => panic!("the leaving peer is declared dead"),
        _ => None,
    })
    .await;
    connected(&peers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gossip_continues_without_seeds_and_restarted_seeds_have_their_registry() {
    let dir = tempfile::tempdir().unwrap();
    let data = |i: usize| dir.path().join(format!("seed-{i}"));
    let network = Network::built(3, |i, b| b.data_dir(data(i))).await;
    let peers = network.peers(5).await;
    connected(&peers).await;
    for seed in &network.seeds {
        wait_until("all are registered", || async {
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
    wait_until("degraded", || async {
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
        assert_eq!(seed.id(), ids[i], "the identity survives");
        assert_eq!(seed.members().await.unwrap().len(), 5, "the registry survives");
        back.push(seed);
    }
    for peer in &peers {
        joined(peer).await;
    }
    let newcomer = network.peer("newcomer").start().await.unwrap();
    joined(&newcomer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_peer_has_its_identity_its_messages_and_a_higher_incarnation() {
    let dir = tempfile::tempdir().unwrap();
    let network = Network::of_seeds(1).await;
    let builder = || network.peer("anna").data_dir(dir.path());
    let first = builder().start().await.unwrap();
    joined(&first).await;
    let id = first.publish("t", "kept").await.unwrap();
    let before = first.snapshot().await.unwrap();
    let e = builder().start().await.unwrap_err();
    assert!(matches!(e, StartError::Locked { .. }), "{e}");
    // No other node holds the message; the data directory does.
    let alone = first.leave().await.unwrap_err();
    assert!(matches!(alone, LeaveError::Unconfirmed(_)), "{alone}");
    let second = builder().start().await.unwrap();
    let after = second.snapshot().await.unwrap();
    assert_eq!(after.id, before.id);
    assert!(after.incarnation > before.incarnation);
    assert_eq!(second.get(id).await.unwrap().expect("the message is retained").payload(), b"kept");
    joined(&second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn private_network_admits_only_peers_with_its_key() {
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
async fn seed_with_another_id_than_its_pin_is_refused() {
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
async fn failed_start_names_the_reason_and_leaves_nothing_running() {
    let taken = loopback();
    let builder = Node::builder().listen(taken.local_addr());
    let (mut messages, mut events) = (builder.subscribe(), builder.events());
    let e = builder.start().await.unwrap_err();
    assert!(matches!(e, StartError::Bind(BindError::AddressInUse(_))), "{e}");
    // Streams that were opened before the start have ended.
    assert!(messages.recv().await.is_none() && events.recv().await.is_none());
    let e = Node::builder().advertise(vec![taken.local_addr(); 5]).start().await.unwrap_err();
    assert!(matches!(e, StartError::TooManyAddresses(5)), "{e}");

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
