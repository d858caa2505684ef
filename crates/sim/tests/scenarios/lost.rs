//! Deaths that no neighbour can report, and lost links without a death.

use rumormill_proto::Config;
use rumormill_proto::snapshot::MemberState;
use rumormill_sim::{DiskFate, NodeId, NodeStatus};

use crate::common::{Net, lan, ms, s, world_config};

/// Longest time to the removal of killed peers if only seeds can detect the death.
const KILLED_ALONE: core::time::Duration = s(3);
/// The same for hosts that lose power, whose death the seeds detect by silence.
const SILENT_ALONE: core::time::Duration = s(10);
/// The same if two thirds of the peers or more become silent at once: a lease, and one round of the
/// cases.
const MOST_SILENT: core::time::Duration = s(160);

/// The peer with the fewest neighbours, and its neighbours.
fn peer_with_neighbours(net: &Net) -> Vec<NodeId> {
    let graph = net.world.graph();
    let victim = *net.peers.iter().min_by_key(|&&p| graph.neighbours(p).count()).unwrap();
    [victim].into_iter().chain(graph.neighbours(victim)).collect()
}

#[test]
fn peer_killed_with_all_its_neighbours_is_removed() {
    for seed in 0..6 {
        let mut net = Net::lan(500 + seed, 3, 20);
        let victims = peer_with_neighbours(&net);
        let died = net.world.now();
        victims.iter().for_each(|&p| net.world.crash(p));
        for &p in &victims {
            net.assert_removed_within(p, died, KILLED_ALONE);
            for (_, removal) in net.removals(p).unwrap() {
                assert!(removal.witnesses.len() >= 2, "seed {seed}: {removal:?}");
                assert!(removal.seeds.len() >= 2, "seed {seed}: {removal:?}");
            }
        }
        net.assert_at_rest_within(s(40));
        net.assert_only_removed(&victims);
    }
}

#[test]
fn hosts_of_a_peer_and_all_its_neighbours_without_power_are_removed() {
    for seed in 0..3 {
        let mut net = Net::lan(510 + seed, 3, 20);
        let victims = peer_with_neighbours(&net);
        let died = net.world.now();
        victims.iter().for_each(|&p| net.world.power_off(p));
        for &p in &victims {
            net.assert_removed_within(p, died, SILENT_ALONE);
        }
        net.assert_only_removed(&victims);
    }
}

/// Starts a peer and kills it as soon as a majority of the seeds has registered it.
fn kill_newcomer(net: &mut Net) -> NodeId {
    let p = net.world.add_peers(1)[0];
    let id = net.id(p);
    let seeds = net.seeds.clone();
    for _ in 0..5000 {
        let knows = |&&s: &&NodeId| net.world.members(s).iter().any(|m| m.id == id);
        if seeds.iter().filter(knows).count() > seeds.len() / 2 {
            break;
        }
        net.world.run_for(core::time::Duration::from_micros(100));
    }
    assert_eq!(net.world.graph().neighbours(p).count(), 0, "it has no neighbour yet");
    net.world.crash(p);
    p
}

#[test]
fn peer_killed_right_after_joining_is_removed() {
    for seed in 0..5 {
        let mut net = Net::lan(520 + seed, 3, 20);
        let victim = kill_newcomer(&mut net);
        let died = net.world.now();
        net.assert_removed_within(victim, died, KILLED_ALONE);
        net.assert_at_rest_within(s(40));
        net.assert_only_removed(&[victim]);
    }
}

#[test]
fn crash_loop_of_ten_peers_leaves_none_alive() {
    let mut net = Net::lan(530, 3, 20);
    let mut victims = Vec::new();
    for _ in 0..10 {
        victims.push(kill_newcomer(&mut net));
        net.world.run_for(ms(100));
    }
    let died = net.world.now();
    for &p in &victims {
        net.assert_removed_within(p, died, KILLED_ALONE);
    }
    net.assert_at_rest_within(s(40));
    net.assert_only_removed(&victims);
}

/// The neighbours are frozen for a moment while the peer dies, with its last frames in their
/// sockets.
#[test]
fn paused_neighbours_do_not_vouch_for_a_dead_publisher() {
    for seed in 0..6 {
        let mut net = Net::lan(540 + seed, 3, 20);
        let victim = net.peer_with_degree(3);
        let neighbours: Vec<NodeId> = net.world.graph().neighbours(victim).collect();
        for _ in 0..50 {
            let _ = net.world.publish(victim, "t", &[7; 500]);
            net.world.run_for(ms(10));
        }
        // One neighbour keeps running and asks the others, which are frozen when the frames arrive.
        for &n in &neighbours[1..] {
            net.world.freeze(n);
        }
        for _ in 0..20 {
            let _ = net.world.publish(victim, "t", &[7; 500]);
            net.world.run_for(ms(5));
        }
        let died = net.world.now();
        net.world.power_off(victim);
        net.world.run_for(ms(300));
        neighbours[1..].iter().for_each(|&n| net.world.thaw(n));
        net.assert_removed_within(victim, died, s(4));
        net.assert_only_removed(&[victim]);
    }
}

/// The paths between the seeds are cut; a peer that dies meanwhile is removed within seconds after
/// they are restored.
#[test]
fn death_while_seeds_are_partitioned_is_certified_soon_afterwards() {
    for (n, cut) in [(0, s(20)), (1, s(60)), (2, s(200))] {
        let mut net = Net::lan(550 + n, 3, 20);
        for (at, &a) in net.seeds.clone().iter().enumerate() {
            net.seeds.clone()[at + 1..].iter().for_each(|&b| net.world.cut_path(a, b));
        }
        net.world.run_for(s(20));
        let victim = net.peer_with_degree(3);
        net.world.crash(victim);
        net.world.run_for(cut);
        net.assert_only_removed(&[]);
        for (at, &a) in net.seeds.clone().iter().enumerate() {
            net.seeds.clone()[at + 1..].iter().for_each(|&b| net.world.restore_path(a, b));
        }
        let healed = net.world.now();
        // The seeds dial each other every ten seconds.
        net.assert_removed_within(victim, healed, s(20));
        net.assert_only_removed(&[victim]);
    }
}

/// A peer that no seed can reach is not dead if other peers can reach it.
#[test]
fn peer_unreachable_only_from_seeds_is_not_declared_dead() {
    let mut net = Net::lan(560, 3, 20);
    let apart = net.peer_with_degree(3);
    net.seeds.clone().iter().for_each(|&seed| net.world.cut_path(seed, apart));
    net.world.run_for(s(200));
    net.assert_only_removed(&[]);
    net.seeds.clone().iter().for_each(|&seed| net.world.restore_path(seed, apart));
    net.assert_at_rest_within(s(60));
    net.assert_only_removed(&[]);
}

/// The seeds reach only a few peers. The others are most of the network and reach each other.
#[test]
fn partition_of_seeds_and_few_peers_from_the_rest_removes_no_peer() {
    for (n, few, cut) in [(0, 1, s(20)), (1, 2, s(60)), (2, 3, s(100)), (3, 0, s(30))] {
        let mut net = Net::lan(600 + n, 3, 20);
        let (near, far) = net.peers.split_at(few);
        let near = [net.seeds.clone(), near.to_vec()].concat();
        let far = far.to_vec();
        net.world.partition(&near, &far);
        net.world.run_for(cut);
        net.assert_only_removed(&[]);
        net.world.heal();
        net.assert_at_rest_within(s(60));
        net.assert_only_removed(&[]);
        // The seeds got late answers of live peers, so they wait longer for a while.
        net.world.run_for(s(60));
        let victim = net.peer_with_degree(3);
        let died = net.world.now();
        net.world.crash(victim);
        net.assert_removed_within(victim, died, KILLED_ALONE);
        net.assert_only_removed(&[victim]);
    }
}

/// Peers become reachable one by one after each partition, so a seed may clear one of them when the
/// next one is reached.
#[test]
fn repeated_partition_between_seeds_and_most_peers_removes_no_peer() {
    let mut net = Net::lan(605, 3, 20);
    let (near, far) = net.peers.split_at(2);
    let (near, far) = ([net.seeds.clone(), near.to_vec()].concat(), far.to_vec());
    for _ in 0..3 {
        net.world.partition(&near, &far);
        net.world.run_for(s(30));
        net.world.heal();
        net.world.run_for(s(130));
    }
    net.assert_only_removed(&[]);
    net.assert_at_rest_within(s(60));
}

/// Reaching half of the peers is enough for the seeds to vote, also if one seed has more
/// registrations of the other side.
#[test]
fn partitioned_half_of_a_small_network_is_removed_in_the_usual_time() {
    for n in 0..10 {
        let mut net = Net::lan(620 + n, 3, 6);
        let (near, far) = net.peers.split_at(3);
        let (near, far) = ([net.seeds.clone(), near.to_vec()].concat(), far.to_vec());
        let cut = net.world.now();
        net.world.partition(&near, &far);
        for &p in &far {
            net.assert_removed_within(p, cut, SILENT_ALONE);
        }
        net.assert_only_removed(&far);
    }
}

/// The hosts of killed peers refuse connections, so the seeds know that they are not partitioned.
#[test]
fn most_peers_killed_at_once_are_removed_in_the_usual_time() {
    let mut net = Net::lan(610, 3, 20);
    let victims = net.peers[6..].to_vec();
    let died = net.world.now();
    victims.iter().for_each(|&p| net.world.crash(p));
    for &p in &victims {
        net.assert_removed_within(p, died, KILLED_ALONE);
    }
    net.assert_at_rest_within(s(60));
    net.assert_only_removed(&victims);
}

#[test]
fn three_of_five_hosts_without_power_are_removed_in_the_usual_time() {
    for n in 0..5 {
        let mut net = Net::lan(630 + n, 3, 20);
        let victims = net.peers[8..].to_vec();
        let died = net.world.now();
        victims.iter().for_each(|&p| net.world.power_off(p));
        for &p in &victims {
            net.assert_removed_within(p, died, SILENT_ALONE);
        }
        net.assert_only_removed(&victims);
    }
}

/// Most hosts lose power, which the seeds cannot distinguish from a partition.
#[test]
fn most_hosts_without_power_are_removed_after_a_lease() {
    let mut net = Net::lan(611, 3, 20);
    let victims = net.peers[2..].to_vec();
    let died = net.world.now();
    victims.iter().for_each(|&p| net.world.power_off(p));
    for &p in &victims {
        net.assert_removed_within(p, died, MOST_SILENT);
    }
    net.assert_only_removed(&victims);
}

#[test]
fn restarts_of_all_seeds_remove_no_peer() {
    let mut net = Net::lan(570, 3, 20);
    for &seed in &net.seeds.clone() {
        net.world.restart(seed, DiskFate::Kept);
        net.world.run_for(s(15));
    }
    for &seed in &net.seeds.clone() {
        net.world.freeze(seed);
        net.world.run_for(s(10));
        net.world.thaw(seed);
        net.world.run_for(s(10));
    }
    net.assert_only_removed(&[]);
    net.assert_at_rest_within(s(40));
}

/// The only seed was down when the peer died, and the peer had no neighbour: its case opens when
/// its lease ends.
#[test]
fn expired_lease_opens_the_case_of_a_dead_peer() {
    let short = Config::lan().lease(s(10)).lease_refresh(s(3)).build().unwrap();
    let mut net = Net::new(world_config(580, short), 1, 10);
    net.assert_at_rest_within(s(30));
    let seed = net.seeds[0];
    let p = net.world.add_peers(1)[0];
    net.world.run_for(ms(30));
    assert_eq!(net.world.graph().neighbours(p).count(), 0);
    assert_eq!(net.state_at(seed, p), Some(MemberState::Alive));
    net.world.crash(seed);
    net.world.crash(p);
    let died = net.world.now();
    net.world.run_for(s(1));
    net.world.restart(seed, DiskFate::Kept);
    net.assert_removed_within(p, died, s(20));
    net.assert_only_removed(&[p]);
}

#[test]
fn death_of_the_last_peer_is_certified_once_another_peer_joins() {
    let mut net = Net::new(world_config(590, lan()), 1, 1);
    net.assert_at_rest_within(s(20));
    let alone = net.peers[0];
    net.world.crash(alone);
    net.world.run_for(s(20));
    net.assert_only_removed(&[]);
    let other = net.world.add_peers(1)[0];
    net.wait_until(s(90), "the dead peer is removed", |w| {
        w.ledger().removals.iter().any(|r| r.subject == w.id(alone))
    });
    assert_eq!(net.world.status(other), NodeStatus::Running);
    net.assert_only_removed(&[alone]);
}
