//! Broadcast trees, one for each publisher: they have nearly shortest paths, data does not change
//! them, and they are repaired after faults.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use rumormill_proto::snapshot::TreeView;
use rumormill_proto::{Config, PeerId};
use rumormill_sim::checkers::copies;
use rumormill_sim::{DiskFate, NodeId, World, WorldConfig};

use crate::common::{Net, lan, ms, s, world_config};

/// Longest delay of a message while its tree is repaired after an inner peer was killed.
const LONGEST_DELAY: Duration = ms(300);
/// The same for a frozen peer: its links stay up, so its neighbours must wait for a timeout first.
const LONGEST_DELAY_FROZEN: Duration = ms(1500);

/// Node settings without edge swaps, so that the overlay does not change.
fn config_without_swaps() -> Config {
    Config::lan().swap_interval(s(86_400)).build().unwrap()
}

/// Settings for a fast world.
fn fast_config(seed: u64) -> WorldConfig {
    WorldConfig { fast: true, check_every: s(1), ..world_config(seed, lan()) }
}

/// A network at rest in which every peer has published.
fn network_with_trees(config: WorldConfig, seeds: usize, peers: usize) -> Net {
    let mut net = Net::new(config, seeds, peers);
    net.assert_at_rest_within(s(60));
    net.build_trees();
    net
}

fn views(w: &World) -> BTreeMap<(NodeId, PeerId), TreeView> {
    let of = |n: NodeId| w.peer_snapshot(n).map(|p| p.trees).unwrap_or_default();
    w.live_peers()
        .into_iter()
        .flat_map(|n| of(n).into_iter().map(move |t| ((n, t.publisher), t)))
        .collect()
}

fn counter(w: &World, name: &str) -> u64 {
    w.live_peers().iter().filter_map(|&n| w.peer_snapshot(n)).map(|p| p.counters.get(name)).sum()
}

/// The peer with the most children in the publisher's tree, apart from the publisher.
pub(crate) fn inner_peer(net: &Net, publisher: NodeId) -> NodeId {
    let (all, id) = (views(&net.world), net.id(publisher));
    let children = |n: &NodeId| all.get(&(*n, id)).map_or(0, |t| t.children.len());
    let others = net.peers.iter().copied().filter(|&p| p != publisher);
    others.max_by_key(children).unwrap()
}

#[test]
fn every_peer_is_on_every_tree() {
    for (seed, n) in [(1, 2), (2, 3), (3, 4), (4, 5), (5, 20), (6, 60)] {
        let net = network_with_trees(world_config(seed, lan()), 1, n);
        assert_eq!(views(&net.world).len(), n * n, "{n} peers");
    }
}

#[test]
fn lone_peer_publishes_to_itself() {
    let mut net = Net::new(world_config(7, lan()), 1, 1);
    net.assert_at_rest_within(s(60));
    for _ in 0..100 {
        net.world.publish(net.peers[0], "t", b"to nobody").unwrap();
    }
    net.world.run_for(s(5));
    assert_eq!(net.world.deliveries().len(), 100);
    net.assert_at_rest_within(s(15));
}

/// Mean length of the shortest paths from publishers to other peers, in links.
fn mean_path(w: &World, publishers: &[NodeId]) -> f64 {
    let graph = w.graph();
    let (mut links, mut paths) = (0, 0);
    for &p in publishers {
        let (mut visited, mut ring, mut depth) = (BTreeSet::from([p]), vec![p], 0);
        while !ring.is_empty() {
            (links, paths) = (links + depth * ring.len(), paths + ring.len());
            depth += 1;
            let next = ring.iter().flat_map(|n| graph.neighbours(*n));
            ring = next.filter(|n| visited.insert(*n)).collect();
        }
        paths -= 1;
    }
    links as f64 / paths as f64
}

#[test]
fn batches_take_nearly_shortest_paths() {
    let mut net = network_with_trees(fast_config(20), 3, 200);
    let from = net.world.now();
    let publishers: Vec<NodeId> = net.peers.iter().copied().step_by(10).collect();
    for &p in &publishers {
        net.world.publish(p, "t", b"x").unwrap();
    }
    net.world.run_for(s(1));
    let paths = mean_path(&net.world, &publishers);
    let since = net.world.deliveries().iter().filter(|a| a.at >= from && a.from.is_some());
    let hops: Vec<u16> = since.map(|a| a.hops).collect();
    let mean = hops.iter().map(|h| f64::from(*h)).sum::<f64>() / hops.len() as f64;
    assert!(mean <= paths * 1.15, "{mean:.2} links, the shortest paths have {paths:.2}");
}

#[test]
fn data_does_not_change_settled_trees() {
    let mut net = Net::new(world_config(8, config_without_swaps()), 3, 40);
    net.assert_at_rest_within(s(60));
    // Peers with surplus neighbours have removed them by then.
    net.world.run_for(s(240));
    net.build_trees();
    let changes = |w: &World| counter(w, "grafts") + counter(w, "prunes");
    let (before, trees, from) = (changes(&net.world), views(&net.world), net.world.now());
    for round in 0..20u64 {
        for (i, p) in net.peers.clone().into_iter().enumerate() {
            if (i as u64 + round).is_multiple_of(2) {
                net.world.publish_all(p, "t", &[&[1; 100], &[2; 10]]).unwrap();
            }
        }
        net.world.run_for(ms(50));
    }
    net.world.run_for(s(2));
    assert_eq!(changes(&net.world), before);
    assert_eq!(views(&net.world), trees, "data changed a tree");
    assert_eq!(copies::check(&net.world.observe(), from, 1.0), []);
    net.assert_at_rest_within(s(15));
}

#[test]
fn network_at_rest_sends_no_grafts_or_prunes() {
    let mut net = Net::new(world_config(9, config_without_swaps()), 3, 40);
    net.assert_at_rest_within(s(60));
    net.world.run_for(s(240));
    net.build_trees();
    let changes = |w: &World| counter(w, "grafts") + counter(w, "prunes");
    let before = changes(&net.world);
    net.world.run_for(s(60));
    assert_eq!(changes(&net.world), before);
}

/// Injects a fault at a peer while another one publishes 20 times a second. Returns the longest
/// delay at the other peers.
fn longest_delay_after(
    net: &mut Net,
    victim: NodeId,
    publisher: NodeId,
    fault: fn(&mut World, NodeId),
) -> Duration {
    let mut ids = BTreeMap::new();
    let mut since = net.world.now();
    for round in 0..200 {
        if round == 20 {
            fault(&mut net.world, victim);
        }
        if round == 160 {
            since = net.world.now();
        }
        let id = net.world.publish(publisher, "t", b"tick").unwrap();
        ids.insert(id, net.world.now());
        net.world.run_for(ms(50));
    }
    net.world.run_for(s(10));
    let arrivals = net.world.deliveries().iter().filter(|a| a.node != victim);
    let delay = arrivals.filter_map(|a| Some(a.at.since(*ids.get(&a.id)?))).max().unwrap();
    net.assert_at_rest_within(s(30));
    net.assert_only_removed(&[victim]);
    net.assert_valid_trees(since);
    delay
}

#[test]
fn messages_are_prompt_after_an_inner_peer_is_killed() {
    for seed in [9, 13, 18, 61, 76, 85, 93, 131, 147, 161, 185] {
        let mut net = network_with_trees(fast_config(seed), 3, 32);
        let publisher = net.peers[0];
        let victim = inner_peer(&net, publisher);
        let delay = longest_delay_after(&mut net, victim, publisher, World::crash);
        assert!(delay < LONGEST_DELAY, "seed {seed}: the slowest message took {delay:?}");
    }
}

#[test]
fn messages_are_prompt_after_an_inner_peer_freezes() {
    for seed in [13, 14, 18, 42, 120, 185] {
        let mut net = network_with_trees(fast_config(seed), 3, 32);
        let publisher = net.peers[0];
        let victim = inner_peer(&net, publisher);
        let delay = longest_delay_after(&mut net, victim, publisher, World::freeze);
        assert!(delay < LONGEST_DELAY_FROZEN, "seed {seed}: the slowest message took {delay:?}");
    }
}

/// The publisher has published nothing recently, so a graft does not name any of its messages.
/// Message lists are not compared during the test, and no further message follows.
#[test]
fn single_message_of_an_idle_publisher_arrives_despite_a_frozen_inner_peer() {
    let config = Config::lan().sync_interval(s(3600)).build().unwrap();
    for seed in [8u64, 9, 10, 11, 22, 23] {
        let mut net = network_with_trees(
            WorldConfig { fast: true, ..world_config(seed, config.clone()) },
            3,
            32,
        );
        let publisher = net.peers[0];
        let victim = inner_peer(&net, publisher);
        net.world.run_for(s(15));
        net.world.freeze(victim);
        // The moments are from before the victim is suspected to just after.
        net.world.run_for(ms(50 * (seed % 12)));
        let (id, at) = (net.world.publish(publisher, "t", b"one").unwrap(), net.world.now());
        net.world.run_for(s(5));
        let mut delays = BTreeMap::new();
        for a in net.world.deliveries().iter().filter(|a| a.id == id) {
            delays.insert(a.node, a.at.since(at));
        }
        let late = |n: &&NodeId| delays.get(n).is_none_or(|d| *d >= LONGEST_DELAY_FROZEN);
        let late: Vec<_> = net.peers.iter().filter(|n| **n != victim).filter(late).collect();
        assert!(late.is_empty(), "seed {seed}: late or missing at {late:?}");
    }
}

#[test]
fn messages_are_prompt_after_an_inner_peer_loses_power() {
    let mut net = network_with_trees(world_config(12, lan()), 3, 32);
    let publisher = net.peers[0];
    let victim = inner_peer(&net, publisher);
    let delay = longest_delay_after(&mut net, victim, publisher, World::power_off);
    assert!(delay < LONGEST_DELAY_FROZEN, "the slowest message took {delay:?}");
}

#[test]
fn message_is_prompt_after_an_inner_peer_leaves() {
    let mut net = network_with_trees(world_config(15, lan()), 3, 20);
    let publisher = net.peers[0];
    let victim = inner_peer(&net, publisher);
    net.world.leave(victim).unwrap();
    net.world.run_for(s(1));
    let at = net.world.now();
    net.world.publish(publisher, "t", b"after").unwrap();
    net.world.run_for(s(1));
    let last = net.world.deliveries().iter().map(|a| a.at).max().unwrap();
    assert!(last.since(at) < ms(50));
}

/// The publisher has other neighbours after its restart, and its first batch must reach all peers.
#[test]
fn restarted_publisher_with_other_neighbours_gets_a_valid_tree() {
    let mut net = network_with_trees(world_config(16, lan()), 3, 30);
    let publisher = net.peers[5];
    net.world.crash(publisher);
    net.world.run_for(s(20));
    net.world.restart(publisher, DiskFate::Kept);
    net.assert_at_rest_within(s(60));
    let at = net.world.now();
    net.world.publish(publisher, "t", b"I am back").unwrap();
    net.world.run_for(s(1));
    let arrivals = net.world.deliveries().iter().filter(|a| a.at >= at).count();
    assert_eq!(arrivals, 30);
    for _ in 0..3 {
        net.world.publish(publisher, "t", b"and go on").unwrap();
        net.world.run_for(ms(500));
    }
    net.assert_valid_trees(at);
}

#[test]
fn trees_are_valid_during_and_after_a_partition() {
    let mut net = network_with_trees(world_config(17, lan()), 3, 24);
    let (near, far) = (net.peers[..12].to_vec(), net.peers[12..].to_vec());
    net.world.partition(&far, &[net.seeds.clone(), near].concat());
    net.world.run_for(s(30));
    net.build_trees();
    net.world.heal();
    net.assert_at_rest_within(s(90));
    net.build_trees();
}

#[test]
fn trees_are_valid_after_churn() {
    let mut net = network_with_trees(world_config(18, lan()), 3, 40);
    for round in 0..10 {
        net.world.crash(net.peers[round * 3 + 1]);
        let new = net.world.add_peers(1);
        net.peers.extend(new);
        net.world.run_for(ms(700));
    }
    net.assert_at_rest_within(s(60));
    net.build_trees();
}

#[test]
fn exploring_batches_cost_few_copies_and_keep_trees_valid() {
    let mut net = network_with_trees(world_config(19, lan()), 3, 30);
    let (p, from) = (net.peers[4], net.world.now());
    for _ in 0..900 {
        net.world.publish(p, "t", b"ten a second").unwrap();
        net.world.run_for(ms(100));
    }
    net.assert_valid_trees(from);
    assert_eq!(copies::check(&net.world.observe(), from, 1.05), []);
}
