//! Peers that come back: thawed, restarted, declared dead while they lived.

use rumormill_proto::Event;
use rumormill_proto::snapshot::PeerState;
use rumormill_sim::{DiskFate, NodeId, World};

use crate::common::{Net, ms, s};

fn incarnation(w: &World, node: NodeId) -> u64 {
    w.peer_snapshot(node).unwrap().incarnation
}

#[test]
fn a_thawed_peer_refutes_its_death() {
    let mut net = Net::lan(1, 3, 20);
    let victim = net.peer_of_degree(3);
    let before = incarnation(&net.world, victim);
    let froze = net.world.now();
    net.world.freeze(victim);
    net.removed_within(victim, froze, s(4));
    net.world.run_for(s(5));
    net.world.thaw(victim);
    net.waits(s(20), "it is back with a higher incarnation", |w| {
        let view = w.peer_snapshot(victim).unwrap();
        view.incarnation > before && view.state == PeerState::Joined
    });
    assert!(!net.told(victim, |e| matches!(e, Event::Refuted { .. })).is_empty());
    assert_eq!(net.world.disk(victim).incarnation, Some(incarnation(&net.world, victim)));
    net.publish_everywhere();
    net.world.run_for(s(15));
    net.rests_within(s(30));
    net.only_removed(&[victim]);
}

#[test]
fn a_short_freeze_is_forgiven() {
    let mut net = Net::lan(2, 3, 20);
    let victim = net.peer_of_degree(3);
    for _ in 0..5 {
        net.world.freeze(victim);
        net.world.run_for(ms(400));
        net.world.thaw(victim);
        net.world.run_for(s(3));
    }
    net.only_removed(&[]);
    net.rests_within(s(30));
}

#[test]
fn a_restarted_peer_has_a_higher_incarnation() {
    let mut net = Net::lan(3, 3, 20);
    let p = net.peer_of_degree(3);
    let before = incarnation(&net.world, p);
    net.world.crash(p);
    net.world.run_for(s(10));
    net.world.restart(p, DiskFate::Kept);
    net.rests_within(s(30));
    assert!(incarnation(&net.world, p) > before);
    net.publish_everywhere();
    net.world.run_for(s(15));
    net.rests_within(s(20));
    net.only_removed(&[p]);
}

#[test]
fn a_peer_that_restarts_at_once_is_not_buried_afterwards() {
    let mut net = Net::lan(4, 3, 20);
    let p = net.peer_of_degree(3);
    net.world.crash(p);
    net.world.run_for(ms(50));
    net.world.restart(p, DiskFate::Kept);
    net.world.run_for(s(20));
    net.rests_within(s(30));
    // An old life may have been found dead in the meantime, the new one never.
    let now = incarnation(&net.world, p);
    let removals = &net.world.ledger().removals;
    assert!(removals.iter().all(|r| r.subject == net.id(p) && r.incarnation < now));
}

#[test]
fn a_restarted_peer_without_its_disk_finds_a_higher_incarnation() {
    let mut net = Net::lan(5, 3, 20);
    let p = net.peer_of_degree(3);
    let before = incarnation(&net.world, p);
    net.publish_everywhere();
    net.world.run_for(s(1));
    net.world.restart(p, DiskFate::Lost);
    net.waits(s(20), "it lives above its last life", |w| incarnation(w, p) > before);
    net.world.run_for(s(5));
    // Its numbers start again in the new incarnation; others must take them for new messages.
    net.publish_everywhere();
    net.world.run_for(s(15));
    net.rests_within(s(30));
}

#[test]
fn everybody_restarts_one_after_the_other() {
    let mut net = Net::lan(6, 3, 12);
    for p in net.peers.clone() {
        net.world.restart(p, DiskFate::Kept);
        net.world.run_for(s(3));
    }
    net.publish_everywhere();
    net.world.run_for(s(15));
    net.rests_within(s(30));
}

#[test]
fn a_peer_that_left_can_come_back() {
    let mut net = Net::lan(7, 3, 10);
    let p = net.peers[2];
    net.world.leave(p).unwrap();
    net.world.run_for(s(5));
    net.world.restart(p, DiskFate::Kept);
    net.world.run_for(s(5));
    net.publish_everywhere();
    net.world.run_for(s(15));
    net.rests_within(s(30));
    net.only_removed(&[]);
}
