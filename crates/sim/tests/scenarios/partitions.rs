//! Partitions: the network recovers after they end without intervention.

use core::time::Duration;

use rumormill_sim::{NodeId, NodeStatus};

use crate::common::{Net, ms, s};

fn halves(net: &Net) -> (Vec<NodeId>, Vec<NodeId>) {
    let (a, b) = net.peers.split_at(net.peers.len() / 2);
    (a.to_vec(), b.to_vec())
}

/// Partitions half of the peers from the other half and from the seeds for a time.
fn partition_half(seed: u64, time: Duration) {
    let mut net = Net::lan(seed, 3, 30);
    let (near, far) = halves(&net);
    net.world.partition(&far, &[net.seeds.clone(), near].concat());
    net.world.run_for(time);
    net.world.heal();
    net.assert_at_rest_within(s(90));
    net.assert_only_removed(&far);
    assert!(net.peers.iter().all(|&p| net.world.status(p) == NodeStatus::Running));
    net.publish_at_all_peers();
    net.world.run_for(s(15));
    net.assert_at_rest_within(s(30));
}

#[test]
fn network_recovers_from_a_partition_of_one_second() {
    partition_half(1, s(1));
}

#[test]
fn network_recovers_from_a_partition_of_ten_seconds() {
    partition_half(2, s(10));
}

#[test]
fn network_recovers_from_a_partition_of_a_minute() {
    partition_half(3, s(60));
}

#[test]
fn both_sides_of_a_partition_keep_delivering() {
    let mut net = Net::lan(4, 3, 30);
    let (near, far) = halves(&net);
    net.world.partition(&far, &[net.seeds.clone(), near.clone()].concat());
    net.world.run_for(s(40));
    let graph = net.world.graph();
    for half in [&near, &far] {
        let reached = graph.reachable(half[0]);
        assert!(half.iter().all(|p| reached.contains(p)), "a half is not connected: {reached:?}");
    }
    let before = net.world.deliveries().len();
    net.publish_at_all_peers();
    net.world.run_for(s(12));
    let arrived = net.world.deliveries()[before..].iter().filter(|d| d.from.is_some()).count();
    assert_eq!(arrived, 2 * 15 * 14, "each half delivers its own messages");
    net.world.heal();
    net.assert_at_rest_within(s(90));
}

#[test]
fn messages_cross_to_the_other_side_after_a_partition() {
    let mut net = Net::lan(5, 3, 20);
    let (near, far) = halves(&net);
    net.world.partition(&far, &[net.seeds.clone(), near].concat());
    net.world.run_for(s(20));
    let before = net.world.deliveries().len();
    net.publish_at_all_peers();
    net.world.run_for(s(10));
    net.world.heal();
    net.wait_until(s(120), "all peers get the messages of the other side", |w| {
        w.deliveries()[before..].iter().filter(|d| d.from.is_some()).count() == 20 * 19
    });
    net.assert_at_rest_within(s(60));
}

#[test]
fn partitioned_peers_that_reach_the_seeds_are_not_removed() {
    let mut net = Net::lan(6, 3, 30);
    let (near, far) = halves(&net);
    net.world.partition(&near, &far);
    net.world.run_for(s(40));
    net.assert_only_removed(&[]);
    net.world.heal();
    net.assert_at_rest_within(s(90));
    net.assert_only_removed(&[]);
}

#[test]
fn peer_partitioned_from_all_peers_but_not_from_seeds_is_not_removed() {
    let mut net = Net::lan(7, 3, 20);
    let alone = net.peer_with_degree(3);
    let others: Vec<NodeId> = net.peers.iter().copied().filter(|&p| p != alone).collect();
    net.world.partition(&[alone], &others);
    net.world.run_for(s(40));
    net.assert_only_removed(&[]);
    net.world.heal();
    net.assert_at_rest_within(s(90));
}

#[test]
fn one_way_partition_between_halves_removes_no_peer() {
    let mut net = Net::lan(8, 3, 20);
    let (near, far) = halves(&net);
    net.world.partition_one_way(&near, &far);
    net.world.run_for(s(40));
    net.assert_only_removed(&[]);
    net.world.heal();
    net.assert_at_rest_within(s(90));
}

#[test]
fn repeated_short_partitions_remove_no_peer() {
    let mut net = Net::lan(9, 3, 20);
    let (near, far) = halves(&net);
    for _ in 0..10 {
        net.world.partition(&near, &far);
        net.world.run_for(ms(700));
        net.world.heal();
        net.world.run_for(ms(1500));
    }
    net.assert_only_removed(&[]);
    net.publish_at_all_peers();
    net.world.run_for(s(15));
    net.assert_at_rest_within(s(60));
}

#[test]
fn three_partitioned_parts_become_one_component() {
    let mut net = Net::lan(10, 3, 30);
    let parts: Vec<Vec<NodeId>> = net.peers.chunks(10).map(<[NodeId]>::to_vec).collect();
    net.world.partition(&parts[0], &[parts[1].clone(), parts[2].clone()].concat());
    net.world.partition(&parts[1], &parts[2]);
    net.world.partition(&parts[2], &net.seeds);
    net.world.run_for(s(60));
    net.world.heal();
    net.assert_at_rest_within(s(90));
    net.assert_only_removed(&parts[2]);
}

/// The checker of deliveries uses the recorded parts of the network.
#[test]
fn newcomer_that_reaches_both_sides_of_a_partition_connects_the_parts() {
    let mut net = Net::lan(30, 3, 6);
    let (near, far) = halves(&net);
    net.world.partition(&near, &far);
    let is_one = |net: &Net| {
        let parts = &net.world.ledger().parts.last().unwrap().part_of;
        parts[&near[0]] == parts[&far[0]]
    };
    assert!(!is_one(&net));
    let bridge = net.world.add_peers(1)[0];
    net.world.run_for(s(1));
    assert!(is_one(&net));
    net.world.crash(bridge);
    assert!(!is_one(&net));
}
