//! Orderly exits: accepted messages reach the other peers, or the exit reports them as unconfirmed.

use core::time::Duration;

use rumormill_proto::snapshot::PeerState;
use rumormill_proto::{Event, MessageId};
use rumormill_sim::{NodeId, NodeStatus, PeerSpec, World, checkers};

use crate::common::{Net, lan, ms, s, world_config};

fn has_left(world: &World, node: NodeId) -> bool {
    world.status(node) == NodeStatus::Left
}

fn assert_leaves_within(world: &mut World, node: NodeId, within: Duration) {
    assert!(world.run_until(within, |w| has_left(w, node)), "{node} has not left in {within:?}");
}

fn arrival_count(world: &World, id: MessageId) -> usize {
    world.ledger().arrivals.iter().filter(|a| a.id == id).count()
}

fn unconfirmed(world: &World, node: NodeId) -> Option<(u64, u64)> {
    world.events(node).iter().find_map(|(_, e)| match e {
        &Event::LeftUnconfirmed { from, to, .. } => Some((from, to)),
        _ => None,
    })
}

/// Whether the seeds acknowledged the exit of a peer, by its last event.
fn acknowledged(world: &World, node: NodeId) -> Option<bool> {
    world.events(node).iter().find_map(|(_, e)| match e {
        &Event::Left { acknowledged } => Some(acknowledged),
        _ => None,
    })
}

fn publish_all(world: &mut World, node: NodeId, n: usize, size: usize) -> Vec<MessageId> {
    let payloads = vec![vec![b'x'; size]; n];
    let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
    world.publish_all(node, "t", &payloads).unwrap()
}

/// Checks that every message was delivered once at `peers` peers, its publisher included.
fn assert_all_arrived(net: &Net, ids: &[MessageId], peers: usize) {
    for id in ids {
        assert_eq!(arrival_count(&net.world, *id), peers, "message {}", id.sequence);
    }
    assert_eq!(checkers::delivery::complete(&net.world.observe()), []);
}

#[test]
fn peer_that_leaves_right_after_publishing_loses_nothing() {
    for peers in [2, 4] {
        for seed in 0..5 {
            let mut net = Net::lan(100 + seed, 3, peers);
            let leaver = net.peers[0];
            let ids = publish_all(&mut net.world, leaver, 300, 100);
            net.world.leave(leaver).unwrap();
            assert_leaves_within(&mut net.world, leaver, s(2));
            assert_eq!(unconfirmed(&net.world, leaver), None);
            assert_eq!(acknowledged(&net.world, leaver), Some(true));
            net.world.run_for(s(5));
            assert_all_arrived(&net, &ids, peers);
        }
    }
}

#[test]
fn peer_on_slow_line_hands_over_large_message_before_it_leaves() {
    for (seed, rate) in [(1, 2_500_000), (2, 2_500_000), (3, 1_000_000)] {
        let mut net = Net::lan(seed, 3, 6);
        let leaver = net.peers[1];
        net.world.set_bandwidth(leaver, Some(rate));
        let ids = publish_all(&mut net.world, leaver, 1, 900_000);
        net.world.leave(leaver).unwrap();
        net.world.run_for(s(20));
        assert!(has_left(&net.world, leaver));
        assert_eq!(unconfirmed(&net.world, leaver), None, "{rate} bytes a second");
        assert_all_arrived(&net, &ids, 6);
    }
}

#[test]
fn newcomer_that_publishes_before_it_has_a_neighbour_hands_its_messages_over() {
    for seed in 0..10 {
        let mut net = Net::lan(20 + seed, 3, 8);
        let others = net.peers.clone();
        for &p in &others {
            publish_all(&mut net.world, p, 20, 100);
        }
        let newcomer = net.world.add_peer_with(PeerSpec::default());
        net.world.run_for(ms(4 * seed));
        let ids = publish_all(&mut net.world, newcomer, 3, 10);
        net.world.leave(newcomer).unwrap();
        assert_leaves_within(&mut net.world, newcomer, s(10));
        assert_eq!(unconfirmed(&net.world, newcomer), None, "seed {seed}");
        net.world.run_for(s(10));
        assert_all_arrived(&net, &ids, 9);
    }
}

#[test]
fn two_neighbours_that_leave_at_one_moment_lose_nothing() {
    for seed in 0..10 {
        let mut net = Net::lan(40 + seed, 3, 6);
        let first = net.peers[0];
        let second = net.world.graph().neighbours(first).next().unwrap();
        let mut ids = publish_all(&mut net.world, first, 5, 100);
        net.world.leave(first).unwrap();
        net.world.run_for(ms(seed / 2));
        ids.extend(publish_all(&mut net.world, second, 5, 100));
        net.world.leave(second).unwrap();
        net.world.run_for(s(10));
        assert!(has_left(&net.world, first) && has_left(&net.world, second));
        let observation = net.world.observe();
        assert_eq!(checkers::delivery::complete(&observation), []);
        for id in &ids {
            let stays = |n: &NodeId| *n != first && *n != second;
            let at = observation
                .ledger
                .arrivals
                .iter()
                .filter(|a| a.id == *id && stays(&a.node))
                .count();
            assert_eq!(at, 4, "seed {seed}, message {id}");
        }
    }
}

#[test]
fn leaving_relay_forwards_messages_it_holds_for_others() {
    // The first peer leaves when the second holds its messages; the second leaves right after.
    for seed in 0..10 {
        let mut net = Net::lan(60 + seed, 3, 5);
        let first = net.peers[0];
        let second = net.world.graph().neighbours(first).next().unwrap();
        let others: Vec<NodeId> =
            net.peers.iter().copied().filter(|p| *p != first && *p != second).collect();
        for &other in &others {
            net.world.partition(&[first], &[other]);
        }
        let ids = publish_all(&mut net.world, first, 3, 1000);
        net.world.leave(first).unwrap();
        let held = |w: &World| ids.iter().all(|id| w.peer(second).is_some_and(|p| p.has_seen(id)));
        assert!(net.world.run_until(s(5), held));
        net.world.leave(second).unwrap();
        net.world.run_for(s(15));
        for id in &ids {
            let at = net.world.ledger().arrivals.iter();
            let at = at.filter(|a| a.id == *id && others.contains(&a.node)).count();
            assert_eq!(at, others.len(), "seed {seed}, message {id}");
        }
    }
}

#[test]
fn lone_peer_leaves_at_once_and_reports_unconfirmed_messages() {
    let mut net = Net::lan(80, 3, 1);
    let only = net.peers[0];
    publish_all(&mut net.world, only, 3, 10);
    net.world.leave(only).unwrap();
    assert_leaves_within(&mut net.world, only, s(1));
    assert_eq!(unconfirmed(&net.world, only), Some((0, 3)));
    // A single peer without seeds never has another node to hand messages to.
    let mut world = World::new(world_config(81, lan()));
    let alone = world.add_peer_with(PeerSpec::default());
    publish_all(&mut world, alone, 3, 10);
    world.leave(alone).unwrap();
    assert_leaves_within(&mut world, alone, s(1));
    assert_eq!(unconfirmed(&world, alone), None);
}

#[test]
fn leaving_peer_whose_neighbours_die_reports_unconfirmed_messages() {
    let mut net = Net::lan(86, 3, 3);
    let leaver = net.peers[0];
    net.world.crash(net.peers[1]);
    net.world.crash(net.peers[2]);
    publish_all(&mut net.world, leaver, 1, 10);
    net.world.leave(leaver).unwrap();
    assert_leaves_within(&mut net.world, leaver, s(11));
    assert_eq!(unconfirmed(&net.world, leaver), Some((0, 1)));
}

#[test]
fn partitioned_leaving_peer_reports_unconfirmed_messages() {
    let mut net = Net::lan(82, 3, 5);
    let leaver = net.peers[2];
    let before = publish_all(&mut net.world, leaver, 4, 10);
    net.world.run_for(s(15));
    let rest: Vec<NodeId> = net.world.nodes().filter(|n| *n != leaver).collect();
    net.world.partition(&[leaver], &rest);
    publish_all(&mut net.world, leaver, 3, 10);
    net.world.leave(leaver).unwrap();
    net.world.run_for(s(9) - ms(100));
    assert!(!has_left(&net.world, leaver), "it may take ten seconds");
    assert_leaves_within(&mut net.world, leaver, s(2));
    assert_eq!(unconfirmed(&net.world, leaver), Some((4, 7)));
    assert_eq!(acknowledged(&net.world, leaver), Some(false));
    assert_all_arrived(&net, &before, 5);
}

#[test]
fn leaving_peer_that_never_joined_reports_unconfirmed_messages() {
    let mut net = Net::lan(83, 3, 3);
    for &seed in &net.seeds {
        net.world.crash(seed);
    }
    let newcomer = net.world.add_peer_with(PeerSpec::default());
    publish_all(&mut net.world, newcomer, 2, 10);
    net.world.leave_within(newcomer, s(4)).unwrap();
    net.world.run_for(s(1));
    assert_eq!(net.world.peer(newcomer).unwrap().state(), PeerState::Leaving);
    assert_leaves_within(&mut net.world, newcomer, s(4));
    assert_eq!(unconfirmed(&net.world, newcomer), Some((0, 2)));
    assert_eq!(acknowledged(&net.world, newcomer), Some(true), "no seed knows the peer");
}

#[test]
fn frozen_neighbour_delays_the_exit_by_seconds_at_most() {
    let mut net = Net::lan(84, 3, 6);
    let leaver = net.peers[0];
    let frozen = net.world.graph().neighbours(leaver).next().unwrap();
    net.world.freeze(frozen);
    let ids = publish_all(&mut net.world, leaver, 3, 10);
    net.world.leave(leaver).unwrap();
    assert_leaves_within(&mut net.world, leaver, s(5));
    assert_eq!(unconfirmed(&net.world, leaver), None);
    net.world.run_for(s(5));
    assert_all_arrived(&net, &ids, 5);
}

#[test]
fn whole_network_that_leaves_at_one_moment_ends_in_seconds() {
    let mut net = Net::lan(85, 3, 12);
    for &p in &net.peers.clone() {
        publish_all(&mut net.world, p, 3, 100);
        net.world.leave(p).unwrap();
    }
    let peers = net.peers.clone();
    let all = net.world.run_until(s(8), |w| peers.iter().all(|&p| has_left(w, p)));
    assert!(all, "some peers have not left after eight seconds");
    assert_unconfirmed_reported(&net.world, &peers, 3);
}

/// Checks that the messages of every peer were reported as unconfirmed: by the peer itself, or by a
/// peer to which it had handed them over.
#[track_caller]
fn assert_unconfirmed_reported(world: &World, peers: &[NodeId], messages: u64) {
    let others = |p: NodeId| {
        world.events(p).iter().find_map(|(_, e)| match e {
            &Event::LeftUnconfirmed { others, .. } => Some(others),
            _ => None,
        })
    };
    let own = peers.iter().filter(|p| unconfirmed(world, **p) == Some((0, messages))).count();
    let others: u32 = peers.iter().filter_map(|p| others(*p)).sum();
    assert!(own >= 1, "the last peer to leave reports its own messages");
    assert!(
        own + others as usize >= peers.len(),
        "{own} peers reported their own messages, and messages of {others} other peers"
    );
}

/// A leaving peer must not rely on a peer that leaves at the same moment.
#[test]
fn peers_that_all_leave_at_once_report_unconfirmed_messages() {
    for seed in 0..20 {
        for peers in [2, 3, 5] {
            let mut net = Net::lan(200 + seed, 3, peers);
            for &p in &net.peers.clone() {
                publish_all(&mut net.world, p, 1, 10);
            }
            net.world.run_for(ms(seed * 10));
            for &p in &net.peers.clone() {
                net.world.leave(p).unwrap();
            }
            let all = net.peers.clone();
            let all_left = net.world.run_until(s(10), |w| all.iter().all(|&p| has_left(w, p)));
            assert!(all_left, "seed {seed}, {peers} peers: some have not left");
            assert_unconfirmed_reported(&net.world, &all, 1);
        }
    }
}

#[test]
fn flush_waits_until_another_node_holds_everything() {
    let mut net = Net::lan(86, 3, 5);
    let publisher = net.peers[0];
    let rest: Vec<NodeId> = net.world.nodes().filter(|n| *n != publisher).collect();
    net.world.partition(&[publisher], &rest);
    let ids = publish_all(&mut net.world, publisher, 10, 1000);
    let until = net.world.flush(publisher).unwrap();
    assert_eq!(until, 10);
    let confirmed = |w: &World| w.peer(publisher).unwrap().confirmed_end();
    net.world.run_for(s(1));
    assert_eq!(confirmed(&net.world), 0, "the publisher is partitioned");
    net.world.heal();
    assert!(net.world.run_until(s(30), |w| confirmed(w) == 10));
    let others = net.peers.iter().filter(|p| **p != publisher);
    let holders = others.filter(|p| ids.iter().all(|id| net.world.peer(**p).unwrap().has_seen(id)));
    assert!(holders.count() > 0);
}

/// Only the publisher holds these messages, so it accepts no more than it can retain until it has a
/// neighbour again.
#[test]
fn publisher_without_neighbours_accepts_only_messages_it_can_retain() {
    let mut net = Net::lan(83, 3, 5);
    let (alone, rest) = (net.peers[2], [&net.seeds[..], &net.peers[..]].concat());
    let rest: Vec<NodeId> = rest.into_iter().filter(|n| *n != alone).collect();
    net.world.partition(&[alone], &rest);
    let payload = vec![b'x'; 100_000];
    let mut ids = Vec::new();
    for _ in 0..400 {
        ids.extend(net.world.publish(alone, "t", &payload));
        net.world.run_for(ms(500));
    }
    let accepted = ids.len();
    assert!((10..200).contains(&accepted), "{accepted} of 400");
    net.world.heal();
    net.wait_until(s(120), "it publishes again", |w| {
        w.peer(alone).is_some_and(|p| p.available_window() > 0)
    });
    net.world.leave(alone).unwrap();
    assert_leaves_within(&mut net.world, alone, s(10));
    assert_eq!(unconfirmed(&net.world, alone), None);
    net.world.run_for(s(30));
    assert_all_arrived(&net, &ids, 5);
}
