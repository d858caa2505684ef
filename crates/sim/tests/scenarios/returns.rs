//! Peers that return: thawed, restarted, or declared dead while they lived.

use std::collections::BTreeMap;

use rumormill_proto::snapshot::{MemberState, PeerState};
use rumormill_proto::{Config, Event, MessageId, Time};
use rumormill_sim::{DiskFate, NodeId, World, WorldConfig};

use crate::common::{Net, ms, s, world_config};

fn incarnation(w: &World, node: NodeId) -> u64 {
    w.peer_snapshot(node).unwrap().incarnation
}

#[test]
fn thawed_peer_refutes_its_death() {
    let mut net = Net::lan(1, 3, 20);
    let victim = net.peer_with_degree(3);
    let before = incarnation(&net.world, victim);
    let frozen_at = net.world.now();
    net.world.freeze(victim);
    net.assert_removed_within(victim, frozen_at, s(4));
    net.world.run_for(s(5));
    net.world.thaw(victim);
    net.wait_until(s(20), "it is back with a higher incarnation", |w| {
        let view = w.peer_snapshot(victim).unwrap();
        view.incarnation > before && view.state == PeerState::Joined
    });
    assert!(!net.event_times(victim, |e| matches!(e, Event::Refuted { .. })).is_empty());
    assert_eq!(net.world.disk(victim).incarnation, Some(incarnation(&net.world, victim)));
    net.publish_at_all_peers();
    net.world.run_for(s(15));
    net.assert_at_rest_within(s(30));
    net.assert_only_removed(&[victim]);
}

#[test]
fn short_freeze_causes_no_removal() {
    let mut net = Net::lan(2, 3, 20);
    let victim = net.peer_with_degree(3);
    for _ in 0..5 {
        net.world.freeze(victim);
        net.world.run_for(ms(400));
        net.world.thaw(victim);
        net.world.run_for(s(3));
    }
    net.assert_only_removed(&[]);
    net.assert_at_rest_within(s(30));
}

#[test]
fn restarted_peer_has_a_higher_incarnation() {
    let mut net = Net::lan(3, 3, 20);
    let p = net.peer_with_degree(3);
    let before = incarnation(&net.world, p);
    net.world.crash(p);
    net.world.run_for(s(10));
    net.world.restart(p, DiskFate::Kept);
    net.assert_at_rest_within(s(30));
    assert!(incarnation(&net.world, p) > before);
    net.publish_at_all_peers();
    net.world.run_for(s(15));
    net.assert_at_rest_within(s(20));
    net.assert_only_removed(&[p]);
}

#[test]
fn new_process_is_not_removed_for_the_death_of_the_old_one() {
    let mut net = Net::lan(4, 3, 20);
    let p = net.peer_with_degree(3);
    net.world.crash(p);
    net.world.run_for(ms(50));
    net.world.restart(p, DiskFate::Kept);
    net.world.run_for(s(20));
    net.assert_at_rest_within(s(30));
    // The old incarnation may have been removed meanwhile, the new one never.
    let now = incarnation(&net.world, p);
    let removals = &net.world.ledger().removals;
    assert!(removals.iter().all(|r| r.subject == net.id(p) && r.incarnation < now));
}

#[test]
fn peer_restarted_without_its_disk_gets_a_higher_incarnation() {
    let mut net = Net::lan(5, 3, 20);
    let p = net.peer_with_degree(3);
    let before = incarnation(&net.world, p);
    net.publish_at_all_peers();
    net.world.run_for(s(1));
    net.world.restart(p, DiskFate::Lost);
    net.wait_until(s(20), "its incarnation is higher than before", |w| incarnation(w, p) > before);
    net.world.run_for(s(5));
    // Sequence numbers start again in the new epoch; other peers must treat them as new messages.
    net.publish_at_all_peers();
    net.world.run_for(s(15));
    net.assert_at_rest_within(s(30));
}

#[test]
fn network_recovers_from_rolling_restart_of_all_peers() {
    let mut net = Net::lan(6, 3, 12);
    for p in net.peers.clone() {
        net.world.restart(p, DiskFate::Kept);
        net.world.run_for(s(3));
    }
    net.publish_at_all_peers();
    net.world.run_for(s(15));
    net.assert_at_rest_within(s(30));
}

/// A restarted service behaves like this: its leave is still in transit when the next process
/// starts.
#[test]
fn peers_that_leave_and_return_at_once_are_alive() {
    for wait in [0, 10, 30, 60, 100, 150, 200, 300, 500] {
        let mut net = Net::lan(8, 3, 12);
        let leavers = [net.peers[2], net.peers[3], net.peers[5]];
        let before = leavers.map(|p| incarnation(&net.world, p));
        for p in leavers {
            net.world.leave(p).unwrap();
        }
        net.world.run_for(ms(wait));
        for p in leavers {
            net.world.restart(p, DiskFate::Kept);
        }
        net.world.run_for(s(8));
        for (p, before) in leavers.into_iter().zip(before) {
            let now = incarnation(&net.world, p);
            assert!(now > before);
            for other in net.peers.iter().filter(|o| **o != p) {
                let members = net.world.peer(*other).unwrap().members();
                let state =
                    members.iter().find(|m| m.id == net.id(p)).map(|m| (m.state, m.incarnation));
                let expected = Some((MemberState::Alive, now));
                assert_eq!(state, expected, "{p} at {other}, restarted after {wait} ms");
            }
        }
        net.publish_at_all_peers();
        net.world.run_for(s(15));
        net.assert_at_rest_within(s(30));
    }
}

#[test]
fn peer_that_left_can_rejoin() {
    let mut net = Net::lan(7, 3, 10);
    let p = net.peers[2];
    net.world.leave(p).unwrap();
    net.world.run_for(s(5));
    net.world.restart(p, DiskFate::Kept);
    net.world.run_for(s(5));
    net.publish_at_all_peers();
    net.world.run_for(s(15));
    net.assert_at_rest_within(s(30));
    net.assert_only_removed(&[]);
}

/// The sequence numbers of a stream that each process of a node delivered.
fn delivered_by_process(w: &World, node: NodeId, of: MessageId) -> Vec<Vec<u64>> {
    let mut processes: Vec<(u32, Vec<u64>)> = Vec::new();
    for a in w.deliveries().iter().filter(|a| a.node == node && a.id.stream() == of.stream()) {
        match processes.last_mut().filter(|p| p.0 == a.process) {
            Some((_, numbers)) => numbers.push(a.id.sequence),
            None => processes.push((a.process, vec![a.id.sequence])),
        }
    }
    processes.into_iter().map(|p| p.1).collect()
}

/// A network whose peers retain messages for 40 seconds, which is longer than the time to give one
/// up. `victim` has received number 0 of `publisher` and does not retain it any more; it does not
/// deliver number 2, because number 1 is missing, which only the publisher has.
fn with_undelivered_message(seed: u64) -> (Net, NodeId, NodeId, MessageId) {
    let brief = Config::lan().retention_age(s(40)).build().unwrap();
    let mut net = Net::new(world_config(seed, brief), 3, 12);
    net.assert_at_rest_within(s(60));
    let (publisher, victim) = (net.peers[0], net.peers[7]);
    let first = net.world.publish(publisher, "t", b"0").unwrap();
    net.world.run_for(s(45));
    net.world.set_queue_drops(1.0);
    net.world.publish(publisher, "t", b"1").unwrap();
    net.world.run_for(ms(20));
    net.world.set_queue_drops(0.0);
    net.world.publish(publisher, "t", b"2").unwrap();
    net.world.run_for(ms(12));
    let third = MessageId { sequence: 2, ..first };
    assert!(net.world.peer(victim).unwrap().has_seen(&third), "number 2 has arrived");
    assert_eq!(delivered_by_process(&net.world, victim, first), [[0]], "it is not delivered");
    (net, publisher, victim, first)
}

#[test]
fn message_waiting_for_order_is_delivered_by_the_next_process() {
    let (mut net, _, victim, first) = with_undelivered_message(20);
    net.world.crash(victim);
    net.world.run_for(ms(500));
    net.world.restart(victim, DiskFate::Kept);
    net.world.run_for(s(10));
    assert_eq!(delivered_by_process(&net.world, victim, first), [vec![0], vec![1, 2]]);
    net.assert_promises_hold();
}

#[test]
fn lost_message_is_reported_as_a_gap_by_the_next_process() {
    let (mut net, publisher, victim, first) = with_undelivered_message(21);
    net.world.crash(publisher);
    net.world.crash(victim);
    net.world.run_for(ms(500));
    net.world.restart(victim, DiskFate::Kept);
    net.world.run_for(s(60));
    let is_relevant = |g: &&rumormill_sim::ledger::GapReport| {
        g.node == victim && g.first.publisher == first.publisher
    };
    let gaps: Vec<(u64, u64)> = net
        .world
        .ledger()
        .gaps
        .iter()
        .filter(is_relevant)
        .map(|g| (g.first.sequence, g.to))
        .collect();
    let delivered = delivered_by_process(&net.world, victim, first);
    // The other peers may have received number 1 from the publisher before it was killed.
    assert!(
        (delivered == [vec![0], vec![2]] && gaps == [(1, 2)]) || delivered == [vec![0], vec![1, 2]],
        "{delivered:?} {gaps:?}"
    );
    net.assert_promises_hold();
}

/// Deliveries that were not durable when the process was killed may be repeated; no others are
/// repeated, and no message is skipped.
#[test]
fn repeatedly_killed_process_repeats_only_the_last_deliveries() {
    let mut net = Net::lan(22, 3, 12);
    let (publisher, victim) = (net.peers[0], net.peers[7]);
    let (mut ids, mut kills) = (Vec::new(), Vec::new());
    for round in 0..40 {
        net.world.set_queue_drops(if round % 3 == 0 { 0.5 } else { 0.0 });
        for _ in 0..5 {
            ids.push(net.world.publish(publisher, "t", b"x").unwrap());
            net.world.run_for(ms(7));
        }
        net.world.run_for(ms(10));
        if round % 4 == 1 {
            kills.push(net.world.now());
            net.world.restart(victim, DiskFate::Kept);
            net.world.run_for(ms(150));
        }
    }
    net.world.set_queue_drops(0.0);
    net.world.run_for(s(30));
    let processes = delivered_by_process(&net.world, victim, ids[0]);
    let mut all = processes.concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, (0..ids.len() as u64).collect::<Vec<_>>(), "no message is skipped");
    // A commit takes 2 ms, and a few commits may wait for each other.
    let is_before_kill = |at: Time| kills.iter().any(|k| at <= *k && k.since(at) < ms(50));
    for id in &ids {
        let times = net.world.deliveries().iter().filter(|a| a.node == victim && a.id == *id);
        let times: Vec<Time> = times.map(|a| a.at).collect();
        let repeated = times.split_last().map_or(&[][..], |(_, before)| before);
        assert!(
            repeated.iter().all(|at| is_before_kill(*at)),
            "{id} at {times:?}, kills {kills:?}"
        );
    }
    net.assert_promises_hold();
}

/// A peer is killed between deliveries and their acknowledgement by its consumer, after the
/// publisher has restarted so often that the peer would forget the streams of these messages.
#[test]
fn unacknowledged_messages_are_delivered_to_the_consumer_again() {
    let config = Config::lan().retention_age(s(40)).build().unwrap();
    let config = WorldConfig { consumer_lag: Some(s(60)), ..world_config(23, config) };
    let mut net = Net::new(config, 3, 8);
    net.assert_at_rest_within(s(60));
    let victim = *net.peers.iter().find(|p| p.0 % 2 == 1).unwrap();
    let publisher = *net.peers.iter().find(|p| p.0 % 2 == 0).unwrap();
    for round in 0..60 {
        for _ in 0..3 {
            net.world.publish(publisher, "t", b"x").unwrap();
        }
        net.world.run_for(s(1));
        net.world.restart(publisher, DiskFate::Kept);
        net.world.run_for(s(1));
        if round == 55 {
            net.world.restart(victim, DiskFate::Kept);
        }
    }
    net.world.run_for(s(20));
    net.assert_promises_hold();
    let mut times: BTreeMap<MessageId, u32> = BTreeMap::new();
    for a in net.world.deliveries().iter().filter(|a| a.node == victim) {
        *times.entry(a.id).or_default() += 1;
    }
    assert!(times.values().any(|n| *n > 1), "some messages are delivered again");
}
