//! Seeds that stop, restart and lose their disks.

use std::collections::BTreeSet;

use rumormill_proto::snapshot::PeerState;
use rumormill_proto::{Event, PeerId};
use rumormill_sim::{DiskFate, NodeId, World};

use crate::common::{Net, lan, ms, s, world_config};

fn registered_ids(w: &World, seed: NodeId) -> BTreeSet<PeerId> {
    w.members(seed).iter().map(|m| m.id).collect()
}

/// The peers whose registration a seed has acknowledged.
fn acknowledged_by(net: &Net, seed: NodeId) -> BTreeSet<PeerId> {
    let id = net.id(seed);
    let by = |e: &Event| matches!(e, Event::Registered { seed_id, .. } if *seed_id == id);
    net.peers.iter().filter(|&&p| !net.event_times(p, by).is_empty()).map(|&p| net.id(p)).collect()
}

#[test]
fn gossip_continues_without_seeds_which_restart_with_their_registry() {
    let mut net = Net::lan(1, 3, 20);
    for &seed in &net.seeds {
        net.world.crash(seed);
    }
    let live = net.world.live_peers();
    net.wait_until(s(20), "the peers notice that the seeds are down", |w| {
        live.iter().all(|&p| w.peer_snapshot(p).unwrap().state == PeerState::Degraded)
    });
    let before = net.world.deliveries().len();
    for _ in 0..5 {
        net.publish_at_all_peers();
        net.world.run_for(s(2));
    }
    net.world.run_for(s(10));
    let arrived = net.world.deliveries()[before..].iter().filter(|d| d.from.is_some()).count();
    assert_eq!(arrived, 5 * 20 * 19);
    let all: BTreeSet<PeerId> = net.peers.iter().map(|&p| net.id(p)).collect();
    for &seed in &net.seeds.clone() {
        net.world.restart(seed, DiskFate::Kept);
        assert_eq!(registered_ids(&net.world, seed), all, "the registry comes from the disk");
    }
    let late = net.world.add_peers(3);
    net.peers.extend(late);
    net.assert_at_rest_within(s(60));
    net.assert_only_removed(&[]);
    for &p in &live {
        assert!(!net.event_times(p, |e| matches!(e, Event::Degraded { .. })).is_empty());
        assert!(!net.event_times(p, |e| matches!(e, Event::Restored { .. })).is_empty());
    }
}

#[test]
fn overlay_repairs_around_a_dead_peer_without_seeds() {
    let mut net = Net::lan(2, 3, 20);
    for &seed in &net.seeds {
        net.world.crash(seed);
    }
    net.world.run_for(s(5));
    let victim = net.peer_with_degree(3);
    net.world.crash(victim);
    net.world.run_for(s(20));
    net.assert_only_removed(&[]);
    let components = net.world.graph().components();
    assert_eq!(components.len(), 1, "the repair needs no seed: {components:?}");
    for &seed in &net.seeds.clone() {
        net.world.restart(seed, DiskFate::Kept);
    }
    // The dead peer expires, or it is removed if a former neighbour can still be a witness. In both
    // cases the live peers must be registered again.
    let live = net.world.live_peers();
    net.wait_until(s(60), "the live peers are registered again", |w| {
        live.iter().all(|&p| w.peer_snapshot(p).unwrap().state == PeerState::Joined)
    });
    net.assert_promises_hold();
}

#[test]
fn seed_killed_during_200_registrations_keeps_acknowledged_ones() {
    let mut config = world_config(3, lan());
    config.fast = true;
    let mut world = World::new(config);
    let seeds = world.add_seeds(3);
    let peers = world.add_peers_over(200, s(2));
    let mut net = Net { world, seeds, peers };
    net.world.run_for(s(1));
    let victim = net.seeds[0];
    net.world.crash(victim);
    let acknowledged = acknowledged_by(&net, victim);
    assert!(acknowledged.len() > 20, "{} were acknowledged by then", acknowledged.len());
    net.world.restart(victim, DiskFate::Kept);
    let registered = registered_ids(&net.world, victim);
    assert!(acknowledged.is_subset(&registered), "an acknowledged registration is lost");
    net.world.run_for(s(2));
    net.assert_at_rest_within(s(60));
    net.assert_only_removed(&[]);
}

#[test]
fn seed_without_its_disk_recovers_from_other_seeds() {
    let mut net = Net::lan(4, 3, 20);
    let seed = net.seeds[1];
    net.world.crash(seed);
    net.world.run_for(s(3));
    net.world.restart(seed, DiskFate::Lost);
    assert!(!net.world.seed_snapshot(seed).unwrap().synced, "it does not answer joining peers yet");
    net.assert_at_rest_within(s(60));
    assert!(net.world.seed_snapshot(seed).unwrap().synced);
    assert!(!net.event_times(seed, |e| matches!(e, Event::Synced { .. })).is_empty());
    net.assert_only_removed(&[]);
}

#[test]
fn lone_seed_without_its_disk_learns_from_peers() {
    let mut net = Net::lan(5, 1, 10);
    net.world.crash(net.seeds[0]);
    net.world.run_for(s(3));
    net.world.restart(net.seeds[0], DiskFate::Lost);
    net.assert_at_rest_within(s(60));
    net.assert_only_removed(&[]);
}

#[test]
fn registrations_move_to_other_seeds_while_two_are_down() {
    let mut net = Net::lan(6, 5, 10);
    let victims = [net.seeds[0], net.seeds[1]];
    for seed in victims {
        net.world.crash(seed);
    }
    net.assert_at_rest_within(s(60));
    for seed in victims {
        net.world.restart(seed, DiskFate::Kept);
    }
    net.assert_at_rest_within(s(60));
}

#[test]
fn partitioned_seeds_agree_afterwards() {
    let mut net = Net::lan(7, 3, 15);
    let (one, others) = net.seeds.split_at(1);
    let (one, others) = (one.to_vec(), others.to_vec());
    net.world.partition(&one, &others);
    let late = net.world.add_peers(5);
    net.peers.extend(late);
    net.world.run_for(s(20));
    net.world.leave(net.peers[3]).unwrap();
    net.world.run_for(s(10));
    net.assert_only_removed(&[]);
    net.world.heal();
    net.assert_at_rest_within(s(60));
}

#[test]
fn frozen_seed_does_not_prevent_joins() {
    let mut net = Net::lan(8, 3, 15);
    net.world.freeze(net.seeds[0]);
    net.world.run_for(s(20));
    net.assert_only_removed(&[]);
    let late = net.world.add_peers(2);
    net.peers.extend(late);
    net.world.run_for(s(20));
    net.world.thaw(net.seeds[0]);
    net.assert_at_rest_within(s(60));
    net.assert_only_removed(&[]);
}

#[test]
fn rolling_restart_of_seeds_removes_no_peer() {
    let mut net = Net::lan(9, 3, 20);
    for seed in net.seeds.clone() {
        net.world.restart(seed, DiskFate::Kept);
        net.publish_at_all_peers();
        net.world.run_for(s(8));
    }
    net.assert_at_rest_within(s(30));
    net.assert_only_removed(&[]);
}

#[test]
fn seed_with_slow_disk_acknowledges_only_durable_registrations() {
    let mut config = world_config(10, lan());
    config.disk_latency = ms(300);
    let mut net = Net::new(config, 3, 10);
    for _ in 0..200 {
        net.world.run_for(ms(20));
        for &seed in &net.seeds {
            let stored: BTreeSet<PeerId> = net.world.disk(seed).entries.keys().copied().collect();
            let acknowledged = acknowledged_by(&net, seed);
            let early: Vec<_> = acknowledged.difference(&stored).collect();
            assert!(early.is_empty(), "{seed} acknowledged before it stored: {early:?}");
        }
    }
    net.assert_at_rest_within(s(60));
}
