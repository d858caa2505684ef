//! Deaths that no neighbour can report, and lost links that are no deaths.

use rumormill_proto::Config;
use rumormill_proto::snapshot::MemberState;
use rumormill_sim::{DiskFate, NodeId, NodeStatus};

use crate::common::{Net, lan, ms, s, world_config};

/// Within this time of a kill the dead are certified where only seeds can notice.
const KILLED_ALONE: core::time::Duration = s(3);
/// The same for hosts that lose their power: their seeds notice by silence.
const SILENT_ALONE: core::time::Duration = s(10);
/// The same where two thirds of the peers or more fall silent at once: a lease, and a round of the cases.
const MOST_SILENT: core::time::Duration = s(160);

/// A peer of few neighbours, and those.
fn with_neighbours(net: &Net) -> Vec<NodeId> {
    let graph = net.world.graph();
    let victim = *net.peers.iter().min_by_key(|&&p| graph.neighbours(p).count()).unwrap();
    [victim].into_iter().chain(graph.neighbours(victim)).collect()
}

#[test]
fn peer_killed_with_all_its_neighbours_is_removed() {
    for seed in 0..6 {
        let mut net = Net::lan(500 + seed, 3, 20);
        let gone = with_neighbours(&net);
        let died = net.world.now();
        gone.iter().for_each(|&p| net.world.crash(p));
        for &p in &gone {
            net.assert_removed_within(p, died, KILLED_ALONE);
            for (_, removal) in net.removals(p).unwrap() {
                assert!(removal.witnesses.len() >= 2, "seed {seed}: {removal:?}");
                assert!(removal.seeds.len() >= 2, "seed {seed}: {removal:?}");
            }
        }
        net.assert_at_rest_within(s(40));
        net.assert_only_removed(&gone);
    }
}

#[test]
fn hosts_of_a_peer_and_all_its_neighbours_without_power_are_removed() {
    for seed in 0..3 {
        let mut net = Net::lan(510 + seed, 3, 20);
        let gone = with_neighbours(&net);
        let died = net.world.now();
        gone.iter().for_each(|&p| net.world.power_off(p));
        for &p in &gone {
            net.assert_removed_within(p, died, SILENT_ALONE);
        }
        net.assert_only_removed(&gone);
    }
}

/// Starts a peer and kills it as soon as a majority of the seeds has it in the registry.
fn killed_after_joining(net: &mut Net) -> NodeId {
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
        let gone = killed_after_joining(&mut net);
        let died = net.world.now();
        net.assert_removed_within(gone, died, KILLED_ALONE);
        net.assert_at_rest_within(s(40));
        net.assert_only_removed(&[gone]);
    }
}

#[test]
fn crash_loop_of_ten_peers_leaves_none_alive() {
    let mut net = Net::lan(530, 3, 20);
    let mut gone = Vec::new();
    for _ in 0..10 {
        gone.push(killed_after_joining(&mut net));
        net.world.run_for(ms(100));
    }
    let died = net.world.now();
    for &p in &gone {
        net.assert_removed_within(p, died, KILLED_ALONE);
    }
    net.assert_at_rest_within(s(40));
    net.assert_only_removed(&gone);
}

/// Its neighbours are stopped for a moment while it dies, with frames of it in their sockets.
#[test]
fn paused_neighbours_do_not_vouch_for_a_dead_publisher() {
    for seed in 0..6 {
        let mut net = Net::lan(540 + seed, 3, 20);
        let gone = net.peer_with_degree(3);
        let around: Vec<NodeId> = net.world.graph().neighbours(gone).collect();
        for _ in 0..50 {
            let _ = net.world.publish(gone, "t", &[7; 500]);
            net.world.run_for(ms(10));
        }
        // One neighbour goes on and asks the others, which are stopped when the frames come.
        for &n in &around[1..] {
            net.world.freeze(n);
        }
        for _ in 0..20 {
            let _ = net.world.publish(gone, "t", &[7; 500]);
            net.world.run_for(ms(5));
        }
        let died = net.world.now();
        net.world.power_off(gone);
        net.world.run_for(ms(300));
        around[1..].iter().for_each(|&n| net.world.thaw(n));
        net.assert_removed_within(gone, died, s(4));
        net.assert_only_removed(&[gone]);
    }
}

/// Seeds cannot reach each other; a peer that dies meanwhile is removed within seconds after the cut has healed.
#[test]
fn death_while_seeds_are_partitioned_is_certified_soon_afterwards() {
    for (n, cut) in [(0, s(20)), (1, s(60)), (2, s(200))] {
        let mut net = Net::lan(550 + n, 3, 20);
        for (at, &a) in net.seeds.clone().iter().enumerate() {
            net.seeds.clone()[at + 1..].iter().for_each(|&b| net.world.cut_path(a, b));
        }
        net.world.run_for(s(20));
        let gone = net.peer_with_degree(3);
        net.world.crash(gone);
        net.world.run_for(cut);
        net.assert_only_removed(&[]);
        for (at, &a) in net.seeds.clone().iter().enumerate() {
            net.seeds.clone()[at + 1..].iter().for_each(|&b| net.world.restore_path(a, b));
        }
        let healed = net.world.now();
        // They dial each other again every ten seconds.
        net.assert_removed_within(gone, healed, s(20));
        net.assert_only_removed(&[gone]);
    }
}

/// A peer that no seed can reach is no dead peer while others can.
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

/// The seeds reach a few peers only. The others are most of the network, and reach each other.
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
        // The seeds were late to hear of peers that live, and are patient for a while.
        net.world.run_for(s(60));
        let gone = net.peer_with_degree(3);
        let died = net.world.now();
        net.world.crash(gone);
        net.assert_removed_within(gone, died, KILLED_ALONE);
        net.assert_only_removed(&[gone]);
    }
}

/// Peers come back one by one after each cut, and the doubt of one is over when the next one comes.
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

/// Half of the peers are enough for the seeds, also where one seed serves more peers of the far side.
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

/// Their hosts refuse connections, so the seeds know that they are not cut off.
#[test]
fn most_peers_killed_at_once_are_removed_in_the_usual_time() {
    let mut net = Net::lan(610, 3, 20);
    let gone = net.peers[6..].to_vec();
    let died = net.world.now();
    gone.iter().for_each(|&p| net.world.crash(p));
    for &p in &gone {
        net.assert_removed_within(p, died, KILLED_ALONE);
    }
    net.assert_at_rest_within(s(60));
    net.assert_only_removed(&gone);
}

#[test]
fn three_of_five_hosts_without_power_are_removed_in_the_usual_time() {
    for n in 0..5 {
        let mut net = Net::lan(630 + n, 3, 20);
        let gone = net.peers[8..].to_vec();
        let died = net.world.now();
        gone.iter().for_each(|&p| net.world.power_off(p));
        for &p in &gone {
            net.assert_removed_within(p, died, SILENT_ALONE);
        }
        net.assert_only_removed(&gone);
    }
}

/// Most hosts lose their power, which looks as if the seeds were cut off from them.
#[test]
fn most_hosts_without_power_are_removed_after_a_lease() {
    let mut net = Net::lan(611, 3, 20);
    let gone = net.peers[2..].to_vec();
    let died = net.world.now();
    gone.iter().for_each(|&p| net.world.power_off(p));
    for &p in &gone {
        net.assert_removed_within(p, died, MOST_SILENT);
    }
    net.assert_only_removed(&gone);
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

/// Its only seed was away when it died, and it had no neighbour: its lease ends, and then its case begins.
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
