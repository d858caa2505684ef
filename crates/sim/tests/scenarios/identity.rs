//! Copies of a node, and hosts whose address changes.

use rumormill_proto::snapshot::PeerState;
use rumormill_proto::{Event, Time};
use rumormill_sim::{DiskFate, NodeId, NodeStatus, World, WorldConfig};

use crate::common::{Net, lan, ms, s, world_config};

fn is_duplicate(stops: bool) -> impl Fn(&Event) -> bool {
    move |e| matches!(e, Event::DuplicateIdentity { stops: s, .. } if *s == stops)
}

fn claims(w: &World, node: NodeId) -> u64 {
    w.peer_snapshot(node).unwrap().counters.get("identity_claims")
}

/// The nodes that reported a duplicate identity, with the times.
fn duplicate_reports(net: &Net) -> Vec<(NodeId, Time)> {
    let of = |n: &NodeId| {
        let times = net.event_times(*n, |e| matches!(e, Event::DuplicateIdentity { .. }));
        times.into_iter().map(|at| (*n, at)).collect::<Vec<_>>()
    };
    net.peers.iter().chain(&net.seeds).flat_map(of).collect()
}

#[test]
fn later_copy_ends_and_original_continues() {
    for (seed, seeds) in [(1, 1), (2, 3), (3, 3), (4, 5)] {
        let mut net = Net::lan(seed, seeds, 12);
        let p = net.peers[3];
        let before = net.world.peer_snapshot(p).unwrap();
        let copy = net.world.add_copy(p, None).unwrap();
        net.wait_until(s(5), "the copy ends", |w| w.status(copy) == NodeStatus::Left);
        net.world.run_for(s(10));
        assert_eq!(net.event_times(copy, is_duplicate(true)).len(), 1, "seed {seed}");
        assert_eq!(net.event_times(p, is_duplicate(false)).len(), 1, "seed {seed}");
        assert!(claims(&net.world, p) <= 2, "{} claims, seed {seed}", claims(&net.world, p));
        let after = net.world.peer_snapshot(p).unwrap();
        assert_eq!(after.state, PeerState::Joined);
        assert_eq!(after.counters.get("refutations"), before.counters.get("refutations"));
        assert_eq!(after.addresses, before.addresses);
        let reports = duplicate_reports(&net).into_iter();
        let others: Vec<_> = reports.filter(|(n, _)| *n != p).collect();
        assert!(others.iter().all(|(n, _)| net.seeds.contains(n)), "{others:?}");
        net.publish_at_all_peers();
        net.world.run_for(s(15));
        net.assert_at_rest_within(s(30));
        net.assert_only_removed(&[]);
        // The registered address is that of the original.
        let id = net.id(p);
        for &seed in &net.seeds {
            let members = net.world.members(seed);
            let entry = members.iter().find(|m| m.id == id).unwrap();
            assert_eq!(entry.addresses, before.addresses);
        }
    }
}

#[test]
fn restart_is_not_taken_for_a_copy() {
    let mut net = Net::lan(5, 3, 12);
    let p = net.peers[3];
    for (gap, fate) in [(0, DiskFate::Kept), (30, DiskFate::Lost), (4000, DiskFate::Kept)] {
        net.world.crash(p);
        net.world.run_for(ms(gap));
        net.world.restart(p, fate);
        net.world.run_for(s(8));
    }
    // The host loses its power: the new process starts before the old links have ended.
    for fate in [DiskFate::Kept, DiskFate::Lost] {
        net.world.power_off(p);
        net.world.run_for(ms(200));
        net.world.restart(p, fate);
        net.world.run_for(s(20));
    }
    assert_eq!(duplicate_reports(&net), []);
    assert_eq!(net.world.status(p), NodeStatus::Running);
    net.publish_at_all_peers();
    net.world.run_for(s(15));
    net.assert_at_rest_within(s(30));
}

#[test]
fn thawed_original_continues_and_later_copy_ends() {
    let mut net = Net::lan(6, 3, 12);
    let p = net.peers[3];
    net.world.freeze(p);
    net.world.run_for(s(5));
    let copy = net.world.add_copy(p, None).unwrap();
    let joined = |w: &World, n| w.peer_snapshot(n).is_some_and(|s| s.state == PeerState::Joined);
    net.wait_until(s(10), "the copy joins", |w| joined(w, copy));
    net.world.run_for(s(5));
    assert_eq!(
        net.world.status(copy),
        NodeStatus::Running,
        "the frozen original gives no sign of life"
    );
    net.world.thaw(p);
    net.wait_until(s(10), "the copy ends", |w| w.status(copy) == NodeStatus::Left);
    net.wait_until(s(20), "the original is back", |w| joined(w, p));
    net.world.run_for(s(10));
    net.publish_at_all_peers();
    net.world.run_for(s(15));
    net.assert_at_rest_within(s(30));
}

#[test]
fn copies_of_several_peers_end_behind_a_partition_that_heals() {
    let mut net = Net::lan(7, 3, 16);
    let originals: Vec<NodeId> = net.peers[..4].to_vec();
    let copies: Vec<NodeId> =
        originals.iter().map(|p| net.world.add_copy(*p, None).unwrap()).collect();
    net.world.partition(&copies, &originals);
    net.wait_until(s(10), "all copies end", |w| {
        copies.iter().all(|c| w.status(*c) == NodeStatus::Left)
    });
    net.world.heal();
    net.world.run_for(s(10));
    net.publish_at_all_peers();
    net.world.run_for(s(15));
    net.assert_at_rest_within(s(30));
}

#[test]
fn two_seeds_with_one_identity_count_once_for_a_majority() {
    let mut world = World::new(world_config(8, lan()));
    let seeds = world.add_seeds(3);
    world.run_for(s(3));
    world.crash(seeds[1]);
    world.crash(seeds[2]);
    let copy = world.add_copy(seeds[0], Some(seeds[1])).unwrap();
    let peers = world.add_peers(4);
    world.run_for(s(30));
    let shares = |e: &Event| matches!(e, Event::SeedsShareIdentity { .. });
    for &p in &peers {
        let view = world.peer_snapshot(p).unwrap();
        assert_eq!(view.state, PeerState::Joining, "one process is no majority of three seeds");
        assert!(world.events(p).iter().any(|(_, e)| shares(e)));
        assert_eq!(view.seeds.iter().filter(|s| s.registered).count(), 1);
        let problems: Vec<_> = view.seeds.iter().filter_map(|s| s.problem.clone()).collect();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("same identity as seed 10.0.0."), "{problems:?}");
    }
    for seed in [seeds[0], copy] {
        assert!(world.events(seed).iter().any(|(_, e)| shares(e)), "the seeds notice as well");
    }
    // With the third seed two identities are a majority.
    world.restart(seeds[2], DiskFate::Kept);
    let joined = |w: &World| {
        let is_joined = |p: &NodeId| w.peer_snapshot(*p).unwrap().state == PeerState::Joined;
        peers.iter().all(is_joined)
    };
    assert!(world.run_until(s(60), joined));
}

#[test]
fn host_whose_address_changes_is_announced_at_the_new_one_within_a_minute() {
    for seeds in [1, 3] {
        let config = WorldConfig { learned_addresses: true, ..world_config(9, lan()) };
        let mut net = Net::new(config, seeds, 12);
        net.assert_at_rest_within(s(30));
        let p = net.peers[3];
        let before = net.world.peer_snapshot(p).unwrap().addresses;
        assert_eq!(before.len(), 1, "the address that the seeds observe");
        let moved = net.world.now();
        let new = net.world.move_host(p);
        let id = net.id(p);
        let (members, nodes): (Vec<NodeId>, _) = (net.peers.clone(), net.seeds.clone());
        net.wait_until(s(60), "all nodes know the new address", |w| {
            members.iter().chain(&nodes).all(|n| {
                let all = w.members(*n);
                let entry = all.iter().find(|m| m.id == id);
                entry.is_some_and(|m| m.addresses.iter().map(|a| a.0).eq([new]))
            })
        });
        assert!(net.world.now().since(moved) < s(60));
        assert_eq!(net.event_times(p, |e| matches!(e, Event::AddressChanged { .. })).len(), 1);
        let newcomers = net.world.add_peers(2);
        net.peers.extend(newcomers);
        net.publish_at_all_peers();
        net.world.run_for(s(15));
        net.assert_at_rest_within(s(30));
    }
}
