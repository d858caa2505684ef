//! Partitions: nothing but time is needed after they end.

use core::time::Duration;

use rumormill_sim::{NodeId, NodeStatus};

use crate::common::{Net, ms, s};

fn halves(net: &Net) -> (Vec<NodeId>, Vec<NodeId>) {
    let (a, b) = net.peers.split_at(net.peers.len() / 2);
    (a.to_vec(), b.to_vec())
}

/// Half of the peers see neither the others nor the seeds for a while.
fn half_cut_off(seed: u64, time: Duration) {
    let mut net = Net::lan(seed, 3, 30);
    let (near, far) = halves(&net);
    net.world.partition(&far, &[net.seeds.clone(), near].concat());
    net.world.run_for(time);
    net.world.heal();
    net.rests_within(s(90));
    net.only_removed(&far);
    assert!(net.peers.iter().all(|&p| net.world.status(p) == NodeStatus::Running));
    net.publish_everywhere();
    net.world.run_for(s(15));
    net.rests_within(s(30));
}

#[test]
fn half_of_the_peers_cut_off_for_a_second() {
    half_cut_off(1, s(1));
}

#[test]
fn half_of_the_peers_cut_off_for_ten_seconds() {
    half_cut_off(2, s(10));
}

#[test]
fn half_of_the_peers_cut_off_for_a_minute() {
    half_cut_off(3, s(60));
}

#[test]
fn both_halves_gossip_on_while_they_are_apart() {
    let mut net = Net::lan(4, 3, 30);
    let (near, far) = halves(&net);
    net.world.partition(&far, &[net.seeds.clone(), near.clone()].concat());
    net.world.run_for(s(40));
    let graph = net.world.graph();
    for half in [&near, &far] {
        let reached = graph.reachable(half[0]);
        assert!(half.iter().all(|p| reached.contains(p)), "an island within a half: {reached:?}");
    }
    let before = net.world.deliveries().len();
    net.publish_everywhere();
    net.world.run_for(s(12));
    let arrived = net.world.deliveries()[before..].iter().filter(|d| d.from.is_some()).count();
    assert_eq!(arrived, 2 * 15 * 14, "each half among itself");
    net.world.heal();
    net.rests_within(s(90));
}

#[test]
fn messages_of_both_halves_reach_the_other_one_afterwards() {
    let mut net = Net::lan(5, 3, 20);
    let (near, far) = halves(&net);
    net.world.partition(&far, &[net.seeds.clone(), near].concat());
    net.world.run_for(s(20));
    let before = net.world.deliveries().len();
    net.publish_everywhere();
    net.world.run_for(s(10));
    net.world.heal();
    net.waits(s(120), "everybody gets what the others published meanwhile", |w| {
        w.deliveries()[before..].iter().filter(|d| d.from.is_some()).count() == 20 * 19
    });
    net.rests_within(s(60));
}

#[test]
fn peers_apart_that_all_reach_the_seeds_are_not_dead() {
    let mut net = Net::lan(6, 3, 30);
    let (near, far) = halves(&net);
    net.world.partition(&near, &far);
    net.world.run_for(s(40));
    net.only_removed(&[]);
    net.world.heal();
    net.rests_within(s(90));
    net.only_removed(&[]);
}

#[test]
fn one_peer_apart_from_all_others_but_not_from_the_seeds_is_not_dead() {
    let mut net = Net::lan(7, 3, 20);
    let alone = net.peer_of_degree(3);
    let others: Vec<NodeId> = net.peers.iter().copied().filter(|&p| p != alone).collect();
    net.world.partition(&[alone], &others);
    net.world.run_for(s(40));
    net.only_removed(&[]);
    net.world.heal();
    net.rests_within(s(90));
}

#[test]
fn a_one_way_partition_between_halves_kills_nobody() {
    let mut net = Net::lan(8, 3, 20);
    let (near, far) = halves(&net);
    net.world.partition_one_way(&near, &far);
    net.world.run_for(s(40));
    net.only_removed(&[]);
    net.world.heal();
    net.rests_within(s(90));
}

#[test]
fn a_network_that_flickers() {
    let mut net = Net::lan(9, 3, 20);
    let (near, far) = halves(&net);
    for _ in 0..10 {
        net.world.partition(&near, &far);
        net.world.run_for(ms(700));
        net.world.heal();
        net.world.run_for(ms(1500));
    }
    net.only_removed(&[]);
    net.publish_everywhere();
    net.world.run_for(s(15));
    net.rests_within(s(60));
}

#[test]
fn three_islands_become_one() {
    let mut net = Net::lan(10, 3, 30);
    let parts: Vec<Vec<NodeId>> = net.peers.chunks(10).map(<[NodeId]>::to_vec).collect();
    net.world.partition(&parts[0], &[parts[1].clone(), parts[2].clone()].concat());
    net.world.partition(&parts[1], &parts[2]);
    net.world.partition(&parts[2], &net.seeds);
    net.world.run_for(s(60));
    net.world.heal();
    net.rests_within(s(90));
    net.only_removed(&parts[2]);
}

/// The checker of deliveries goes by them.
#[test]
fn newcomer_that_reaches_both_sides_of_a_cut_joins_the_parts_until_it_dies() {
    let mut net = Net::lan(30, 3, 6);
    let (near, far) = halves(&net);
    net.world.partition(&near, &far);
    let is_one = |net: &Net| {
        let parts = &net.world.ledger().parts.last().unwrap().of;
        parts[&near[0]] == parts[&far[0]]
    };
    assert!(!is_one(&net));
    let bridge = net.world.add_peers(1)[0];
    net.world.run_for(s(1));
    assert!(is_one(&net));
    net.world.crash(bridge);
    assert!(!is_one(&net));
}
