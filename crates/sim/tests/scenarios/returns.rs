//! Peers that come back: thawed, restarted, declared dead while they uptime.

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
    let froze = net.world.now();
    net.world.freeze(victim);
    net.assert_removed_within(victim, froze, s(4));
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
    // An old life may have been found dead in the meantime, the new one never.
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
    net.wait_until(s(20), "it lives above its last life", |w| incarnation(w, p) > before);
    net.world.run_for(s(5));
    // Its numbers start again in the new incarnation; others must take them for new messages.
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

/// As a service does that is restarted: its goodbye is still on its way when the next life begins.
#[test]
fn peers_that_leave_and_return_at_once_are_alive() {
    for wait in [0, 10, 30, 60, 100, 150, 200, 300, 500] {
        let mut net = Net::lan(8, 3, 12);
        let those = [net.peers[2], net.peers[3], net.peers[5]];
        let before = those.map(|p| incarnation(&net.world, p));
        for p in those {
            net.world.leave(p).unwrap();
        }
        net.world.run_for(ms(wait));
        for p in those {
            net.world.restart(p, DiskFate::Kept);
        }
        net.world.run_for(s(8));
        for (p, before) in those.into_iter().zip(before) {
            let now = incarnation(&net.world, p);
            assert!(now > before);
            for other in net.peers.iter().filter(|o| **o != p) {
                let members = net.world.peer(*other).unwrap().members(net.world.now());
                let seen =
                    members.iter().find(|m| m.id == net.id(p)).map(|m| (m.state, m.incarnation));
                let there = Some((MemberState::Alive, now));
                assert_eq!(seen, there, "{p} seen by {other}, back after {wait} ms");
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

/// The numbers of a publisher that each life of a node was handed.
fn got(w: &World, node: NodeId, of: MessageId) -> Vec<Vec<u64>> {
    let mut lives: Vec<(u32, Vec<u64>)> = Vec::new();
    for a in w.deliveries().iter().filter(|a| a.node == node && a.id.stream() == of.stream()) {
        match lives.last_mut().filter(|l| l.0 == a.life) {
            Some((_, numbers)) => numbers.push(a.id.sequence),
            None => lives.push((a.life, vec![a.id.sequence])),
        }
    }
    lives.into_iter().map(|l| l.1).collect()
}

/// A network whose peers keep messages for 40 seconds (longer than it takes to give one up), where `victim` has number 0 of `publisher`,
/// keeps it no more, and holds number 2 back behind number 1, which nobody but the publisher has.
fn held_back(seed: u64) -> (Net, NodeId, NodeId, MessageId) {
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
    let seen = MessageId { sequence: 2, ..first };
    assert!(net.world.peer(victim).unwrap().has_seen(&seen), "number 2 is there");
    assert_eq!(got(&net.world, victim, first), [[0]], "and held back");
    (net, publisher, victim, first)
}

#[test]
fn message_waiting_for_order_is_delivered_by_the_next_process() {
    let (mut net, _, victim, first) = held_back(20);
    net.world.crash(victim);
    net.world.run_for(ms(500));
    net.world.restart(victim, DiskFate::Kept);
    net.world.run_for(s(10));
    assert_eq!(got(&net.world, victim, first), [vec![0], vec![1, 2]]);
    net.assert_promises_hold();
}

#[test]
fn lost_message_is_reported_as_a_gap_by_the_next_process() {
    let (mut net, publisher, victim, first) = held_back(21);
    net.world.crash(publisher);
    net.world.crash(victim);
    net.world.run_for(ms(500));
    net.world.restart(victim, DiskFate::Kept);
    net.world.run_for(s(60));
    let told = |g: &&rumormill_sim::ledger::GapReport| {
        g.node == victim && g.first.publisher == first.publisher
    };
    let gaps: Vec<(u64, u64)> =
        net.world.ledger().gaps.iter().filter(told).map(|g| (g.first.sequence, g.to)).collect();
    let got = got(&net.world, victim, first);
    // The others may have got number 1 from the publisher before it was killed.
    assert!(
        (got == [vec![0], vec![2]] && gaps == [(1, 2)]) || got == [vec![0], vec![1, 2]],
        "{got:?} {gaps:?}"
    );
    net.assert_promises_hold();
}

/// What the disk had not heard of when the process was killed may come again; nothing else does, and
/// nothing is left out.
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
    let lives = got(&net.world, victim, ids[0]);
    let mut all = lives.concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, (0..ids.len() as u64).collect::<Vec<_>>(), "nothing is left out");
    // A request takes 2 ms, and a few may wait for each other.
    let last_moment = |at: Time| kills.iter().any(|k| at <= *k && k.since(at) < ms(50));
    for id in &ids {
        let times = net.world.deliveries().iter().filter(|a| a.node == victim && a.id == *id);
        let times: Vec<Time> = times.map(|a| a.at).collect();
        let known = times.split_last().map_or(&[][..], |(_, before)| before);
        assert!(known.iter().all(|at| last_moment(*at)), "{id} at {times:?}, kills {kills:?}");
    }
    net.assert_promises_hold();
}

/// A peer is killed between the delivery of messages and their acknowledgement by its consumer, when the
/// publisher has restarted so often since that the streams of these messages would be forgotten.
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
    assert!(times.values().any(|n| *n > 1), "some were given again");
}
