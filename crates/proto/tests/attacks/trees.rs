//! Attacks on trees, acknowledgements and censuses.

use core::time::Duration;

use minicbor::bytes::ByteArray;
use rumormill_proto::limits::{
    ANSWER_BURST, MAX_GRAFT_PUBLISHERS, MAX_PAYLOAD, MAX_TREES, QUEUE_PAYLOAD,
};
use rumormill_proto::signed::Signed;
use rumormill_proto::wire::{
    Ack, AckEntry, Census, CensusBody, Frame, Gossip, Graft, PeerRequestKind, Prune, RegisterAck,
    ack_token,
};
use rumormill_proto::{Identity, LinkEnd, LinkId, PeerId, Role};

use super::{
    counter, entry, gossip, link_of, request, tokens_of, unknown_identity, victim, with_neighbours,
};
use crate::support::rig::Rig;
use crate::support::statements::{batch, census, first_of, identity, message};

/// The parent for a publisher.
fn parent(rig: &Rig, publisher: &Identity) -> Option<PeerId> {
    let trees = rig.as_peer().snapshot(rig.now).trees;
    trees.iter().find(|t| t.publisher == publisher.id())?.parent
}

/// Every batch of a publisher has the flag to explore. Most of them follow the tree all the same.
#[test]
fn exploring_batches_are_followed_at_a_bounded_rate() {
    let (mut rig, link) = with_neighbours(4);
    let publisher = identity(1);
    rig.receive(link, gossip(message(&publisher, 1, 0, b"x")));
    for number in [2, 3] {
        let other = link_of(&rig, number);
        rig.receive(other, Prune { publishers: tokens_of(&[&publisher]) });
    }
    rig.pass(Duration::from_secs(10));
    let before = rig.total("Gossip").0;
    for n in 1..=1000 {
        let explores = Gossip { explores: true, ..gossip(message(&publisher, 1, n, b"x")) };
        rig.receive(link, explores);
        rig.pass(Duration::from_millis(1));
        rig.timeout();
    }
    let sent = rig.total("Gossip").0 - before;
    // All of them to the one child, and one of them to the two lazy neighbours.
    assert_eq!(sent, 1000 + 2);
}

/// Batches with a high age and the flag to explore are not sent to all neighbours, neither of an
/// unknown publisher nor of a known one.
#[test]
fn old_exploring_batches_are_not_flooded() {
    let (mut rig, link) = with_neighbours(4);
    let publisher = identity(1);
    let old = |n| {
        let batch = gossip(message(&publisher, 1, n, b"x"));
        Gossip { explores: true, age_ms: 10_000, ..batch }
    };
    let before = rig.total("Gossip").0;
    for n in 0..100 {
        rig.receive(link, old(n));
    }
    assert_eq!(rig.total("Gossip").0 - before, 0, "of an unknown publisher");
    rig.pass(Duration::from_secs(1));
    rig.timeout();
    assert!(rig.total("Announce").0 > 0, "they are announced");
    rig.receive(link, gossip(message(&publisher, 1, 100, b"x")));
    for number in [2, 3] {
        let other = link_of(&rig, number);
        rig.receive(other, Prune { publishers: tokens_of(&[&publisher]) });
    }
    let before = rig.total("Gossip").0;
    for n in 101..201 {
        rig.receive(link, old(n));
    }
    assert_eq!(rig.total("Gossip").0 - before, 100, "to the one child");
}

/// With thousands of publishers the number of trees stays bounded, and messages of the next
/// publisher are delivered.
#[test]
fn number_of_trees_is_bounded() {
    let (mut rig, link) = with_neighbours(3);
    for n in 0..MAX_TREES as u32 + 500 {
        rig.receive(link, gossip(message(&unknown_identity(n), 1, 0, b"x")));
    }
    let trees = rig.as_peer().snapshot(rig.now).trees.len();
    assert!((MAX_TREES / 2..=MAX_TREES).contains(&trees), "{trees} trees");
    rig.receive(link, gossip(message(&identity(5), 1, 0, b"x")));
    assert!(rig.deliveries.contains_key(&first_of(&message(&identity(5), 1, 0, b"x"))));
    // The parent of all trees is lost, and a new neighbour connects: no Graft exceeds its limit.
    rig.sent.clear();
    rig.link_down(link, LinkEnd::Lost);
    let named = |rig: &Rig, on| {
        let publishers = |(to, f): &(LinkId, Frame)| match f {
            Frame::Graft(g) if *to == on => g.publishers.len(),
            _ => 0,
        };
        rig.sent.iter().map(publishers).sum::<usize>()
    };
    assert_eq!([2, 3].map(|number| named(&rig, link_of(&rig, number))), [trees + 1; 2]);
    rig.sent.clear();
    let link = rig.link_up(4, Role::Peer, None);
    rig.receive(link, request(4, PeerRequestKind::Overflow));
    assert_eq!(named(&rig, link), trees + 1);
    rig.check();
}

/// A Graft or Prune that names more publishers than the limit is malformed.
#[test]
fn grafts_and_prunes_with_too_many_publishers_are_refused() {
    let (mut rig, link) = with_neighbours(2);
    for (n, accepted) in [(MAX_GRAFT_PUBLISHERS, true), (MAX_GRAFT_PUBLISHERS + 1, false)] {
        let publishers = vec![7; n];
        let graft = Graft { publishers: publishers.clone(), have: Vec::new() };
        assert_eq!(rig.receive(link, graft), accepted);
        assert_eq!(rig.receive(link, Prune { publishers }), accepted);
    }
}

/// A neighbour that prunes gets announcements only; all other neighbours get the same as before.
#[test]
fn prune_affects_only_its_sender() {
    let (mut rig, link) = with_neighbours(4);
    let publisher = identity(1);
    let [two, three] = [2, 3].map(|number| link_of(&rig, number));
    rig.receive(link, gossip(message(&publisher, 1, 0, b"x")));
    for _ in 0..1000 {
        rig.receive(two, Prune { publishers: tokens_of(&[&publisher]) });
    }
    rig.pass(Duration::from_secs(1));
    rig.timeout();
    rig.sent.clear();
    rig.receive(link, gossip(message(&publisher, 1, 1, b"x")));
    rig.pass(Duration::from_secs(1));
    rig.timeout();
    let got = |rig: &Rig, link, name: &str| {
        rig.sent.iter().filter(|(to, f)| *to == link && f.name() == name).count()
    };
    assert_eq!((got(&rig, two, "Gossip"), got(&rig, two, "Announce")), (0, 1));
    assert_eq!((got(&rig, three, "Gossip"), got(&rig, three, "Announce")), (1, 0));
    // Its own messages are delivered as before, and a Graft makes it a child again.
    rig.receive(two, gossip(message(&identity(2), 1, 0, b"x")));
    assert!(rig.deliveries.contains_key(&first_of(&message(&identity(2), 1, 0, b"x"))));
    rig.receive(two, Graft { publishers: tokens_of(&[&publisher]), have: Vec::new() });
    rig.sent.clear();
    rig.receive(link, gossip(message(&publisher, 1, 2, b"x")));
    assert_eq!(got(&rig, two, "Gossip"), 1);
    // A Prune of the parent changes nothing for the others.
    rig.receive(link, Prune { publishers: tokens_of(&[&publisher]) });
    rig.receive(link, gossip(message(&publisher, 1, 3, b"x")));
    assert_eq!(got(&rig, two, "Gossip"), 2);
}

/// The parent for a publisher grafts again and again.
#[test]
fn repeated_grafts_of_a_parent_are_answered_once() {
    let (mut rig, link) = with_neighbours(4);
    let publisher = identity(5);
    rig.receive(link, gossip(message(&publisher, 1, 0, b"x")));
    let before = rig.total("Graft").0;
    for _ in 0..1000 {
        rig.receive(link, Graft { publishers: tokens_of(&[&publisher]), have: Vec::new() });
    }
    let grafts = rig.total("Graft").0 - before;
    assert_eq!(grafts, 4, "one over each link");
    rig.receive(link_of(&rig, 2), gossip(message(&publisher, 1, 1, b"x")));
    assert_eq!(parent(&rig, &publisher), Some(identity(2).id()));
    assert_eq!(rig.total("Graft").0 - before, 5, "the new parent gets a Graft");
    rig.receive(link, Graft { publishers: tokens_of(&[&publisher]), have: Vec::new() });
    assert_eq!(rig.total("Graft").0 - before, 5, "the sender is not the parent any more");
}

/// Grafts and prunes of unknown publishers leave no state, and repeated grafts that ask for all
/// messages are answered within bounds.
#[test]
fn repeated_grafts_leave_no_state_and_get_bounded_answers() {
    let (mut rig, link) = with_neighbours(2);
    let publisher = identity(5);
    for n in 0..40 {
        let payloads = [&[7u8; 1000][..]; 50];
        rig.receive(link_of(&rig, 2), gossip(batch(&publisher, 1, n * 50, &payloads)));
    }
    for n in 0..1000 {
        let publishers = (0..100).map(|i| n * 100 + i).collect::<Vec<u64>>();
        rig.receive(link, Graft { publishers: publishers.clone(), have: Vec::new() });
        rig.receive(link, Prune { publishers });
    }
    let trees = rig.as_peer().snapshot(rig.now).trees.len();
    assert_eq!(trees, 1);
    for _ in 0..100 {
        let before = rig.total("Gossip").1;
        let have = vec![entry(&publisher, 1, 0)];
        rig.receive(link, Graft { publishers: tokens_of(&[&publisher]), have });
        let bytes = rig.total("Gossip").1 - before;
        // Batches that do not fit into the queue of the link are left out.
        assert!(bytes <= QUEUE_PAYLOAD as u64 / 4, "{} KiB for one short frame", bytes >> 10);
    }
}

/// A Graft that asks for everything is answered with some payload.
#[test]
fn payload_sent_for_grafts_counts_against_the_quota_of_the_link() {
    const SIZE: usize = 60_000;
    let (mut rig, link) = with_neighbours(2);
    let publisher = identity(5);
    rig.receive(link_of(&rig, 2), gossip(message(&publisher, 1, 0, &vec![7; SIZE])));
    let graft =
        || Graft { publishers: tokens_of(&[&publisher]), have: vec![entry(&publisher, 0, 0)] };
    let before = rig.total("Gossip").1;
    for _ in 0..3 * ANSWER_BURST / SIZE as u64 {
        rig.receive(link, graft());
    }
    let bytes = rig.total("Gossip").1 - before;
    assert!(bytes >= SIZE as u64, "the first grafts are answered with payload: {bytes} bytes");
    let allowed = ANSWER_BURST + 2 * SIZE as u64;
    assert!(bytes <= allowed, "{bytes} bytes, {allowed} allowed");
    assert!(counter(&rig, "requests_throttled") > 0);
}

/// Otherwise all neighbours of the peer that grafts would send it the same large batch.
#[test]
fn large_batches_are_announced_to_a_neighbour_that_grafts() {
    let (mut rig, link) = with_neighbours(2);
    let publisher = identity(5);
    for (n, size) in [(0, 10), (1, MAX_PAYLOAD), (2, 10)] {
        rig.receive(link_of(&rig, 2), gossip(message(&publisher, 1, n, &vec![7; size])));
    }
    rig.sent.clear();
    let have = vec![entry(&publisher, 0, 0)];
    rig.receive(link, Graft { publishers: tokens_of(&[&publisher]), have });
    let answers = rig.sent.iter().filter(|(to, _)| *to == link);
    let contents: Vec<String> = answers
        .filter_map(|(_, f)| match f {
            Frame::Gossip(g) => Some(format!("sent {}", g.batch.first())),
            Frame::Announce(a) => {
                Some(format!("announced {}-{}", a.ranges[0].from, a.ranges[0].to))
            }
            _ => None,
        })
        .collect();
    assert_eq!(contents, ["sent 0", "announced 1-3"]);
}

/// Acknowledgements of messages that were never sent, with all combinations of extreme values.
#[test]
fn absurd_acknowledgements_do_not_stop_a_publisher() {
    let (mut rig, link) = with_neighbours(3);
    let me = victim();
    let now = rig.now;
    let id = rig.as_peer_mut().publish(now, "t", b"x").unwrap();
    assert!(rig.as_peer_mut().request_receipt(now, id));
    rig.drain();
    let numbers = [0, 1, 2, u64::MAX - 1, u64::MAX];
    for publisher in [me.id(), identity(5).id()] {
        for epoch in [0, 1, 2, u64::MAX] {
            for held in numbers {
                for paced in numbers {
                    for peers in [0, 1, 5, u32::MAX] {
                        let sum = held ^ paced;
                        let (lagging_peers, long_paced) = (peers / 2, held.min(paced));
                        let e = AckEntry {
                            publisher,
                            epoch,
                            paced,
                            lagging_peers,
                            long_paced,
                            held,
                            peers,
                            sum,
                            holders: None,
                        };
                        let entries = vec![e; 3];
                        rig.receive(link, Ack { entries, congested: peers == 5 });
                    }
                }
            }
        }
        rig.next_deadline();
    }
    rig.check();
    let view = rig.as_peer().snapshot(rig.now);
    assert!(view.window_bytes <= 4 << 20 && view.window_bytes >= 64 << 10, "{}", view.window_bytes);
    // The peer can still publish.
    let now = rig.now;
    assert!(rig.as_peer_mut().publish(now, "t", b"y").is_ok());
    rig.drain();
    rig.check();
}

/// A neighbour that always reports congestion slows a publisher down, and does not stop it.
#[test]
fn permanent_congestion_does_not_stop_a_publisher() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = victim().id();
    let (mut published, mut received) = (0, 0);
    for _ in 0..300 {
        let now = rig.now;
        while published < 8 << 20 && rig.as_peer_mut().publish(now, "t", &[7; 1000]).is_ok() {
            published += 1000;
        }
        rig.drain();
        let ends = rig.sent.drain(..).filter_map(|(_, f)| match f {
            Frame::Gossip(g) => Some(g.batch.end()),
            _ => None,
        });
        received = ends.fold(received, u64::max);
        let (epoch, paced, lagging_peers, long_paced, held, peers, sum) =
            (1, received, 0, received, received, 1, ack_token(&identity(1).id()));
        let e = AckEntry {
            publisher,
            epoch,
            paced,
            lagging_peers,
            long_paced,
            held,
            peers,
            sum,
            holders: None,
        };
        rig.receive(link, Ack { entries: vec![e], congested: true });
        rig.pass(Duration::from_millis(100));
        rig.timeout();
    }
    assert!(published >= 8 << 20, "{published} bytes in 30 s");
}

/// A publisher sends a census every millisecond.
#[test]
fn censuses_are_forwarded_at_a_bounded_rate() {
    let (mut rig, link) = with_neighbours(4);
    let publisher = identity(1);
    rig.receive(link, gossip(message(&publisher, 1, 0, b"x")));
    let before = (rig.total("Census").0, rig.total("Ack").0);
    for round in 0..1000 {
        rig.receive(link, Census { body: census(&publisher, 1, round, u64::MAX) });
        rig.pass(Duration::from_millis(1));
        rig.timeout();
    }
    let censuses = rig.total("Census").0 - before.0;
    let acks = rig.total("Ack").0 - before.1;
    assert!(censuses <= 3 * 50 && acks <= 1000, "{censuses} passed on, {acks} answers in a second");
}

/// In a large network a peer does not name itself as a holder, even if the publisher asks for
/// names.
#[test]
fn relay_sends_no_names_of_holders_in_a_large_network() {
    for (size, has_names) in [(10, true), (2000, false)] {
        let (mut rig, link) = with_neighbours(4);
        let seeds: Vec<LinkId> =
            rig.links.iter().filter(|(_, r)| r.role == Role::Seed).map(|(id, _)| *id).collect();
        for seed in seeds {
            let answer = RegisterAck {
                incarnation: 1,
                sequence: 1,
                alive: size,
                participating: size,
                nonce: ByteArray::from([5; 16]),
                seeds: Vec::new(),
                synced: true,
            };
            rig.receive(seed, answer);
        }
        assert_eq!(rig.as_peer().snapshot(rig.now).network_size, size);
        let publisher = identity(1);
        rig.receive(link, gossip(message(&publisher, 1, 0, b"x")));
        let body = CensusBody { wants_names: true, ..census(&publisher, 1, 1, 1).body().clone() };
        rig.receive(link, Census { body: Signed::sign(body, &publisher) });
        for _ in 0..20 {
            rig.pass(Duration::from_millis(50));
            rig.timeout();
        }
        let names = rig.sent.iter().any(|(_, f)| {
            matches!(f, Frame::Ack(ack) if ack.entries.iter().any(|e| e.holders.is_some()))
        });
        assert_eq!(names, has_names, "{size} peers");
    }
}

/// Censuses of unknown publishers leave no state.
#[test]
fn censuses_of_unknown_publishers_leave_no_state() {
    let (mut rig, link) = with_neighbours(3);
    for n in 0..5000 {
        rig.receive(link, Census { body: census(&unknown_identity(n), 1, n.into(), u64::MAX) });
    }
    for _ in 0..50 {
        rig.next_deadline();
    }
    rig.check();
}
