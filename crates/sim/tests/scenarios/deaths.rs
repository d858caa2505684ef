//! Removal of dead peers: in time, on enough witnesses, and of dead peers only.

use rumormill_proto::failure::reports_needed;
use rumormill_proto::snapshot::MemberState;
use rumormill_proto::{Config, Event};
use rumormill_sim::NodeStatus;

use crate::common::{Net, lan, ms, s, world_config};

#[test]
fn needed_reports_follow_the_degree() {
    let rule = [(0, 2), (1, 2), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (8, 5), (9, 5), (50, 5)];
    for (degree, needed) in rule {
        assert_eq!(reports_needed(degree), needed, "with {degree} neighbours");
    }
}

#[test]
fn killed_peer_is_removed_within_two_seconds() {
    let mut net = Net::lan(1, 3, 20);
    let victim = net.peer_with_degree(2);
    let died = net.world.now();
    net.world.crash(victim);
    net.assert_removed_within(victim, died, s(2));
    for (_, removal) in net.removals(victim).unwrap() {
        assert!(removal.witnesses.len() >= 2, "{removal:?}");
        assert!(removal.seeds.len() >= 2, "{removal:?}");
    }
    net.publish_at_all_peers();
    net.world.run_for(s(20));
    net.assert_at_rest_within(s(30));
    net.assert_only_removed(&[victim]);
}

#[test]
fn killed_hub_is_removed_and_overlay_repaired() {
    let mut net = Net::lan(2, 3, 60);
    let graph = net.world.graph();
    let hub = *net.peers.iter().max_by_key(|&&p| graph.neighbours(p).count()).unwrap();
    let died = net.world.now();
    net.world.crash(hub);
    net.assert_removed_within(hub, died, s(2));
    net.publish_at_all_peers();
    net.world.run_for(s(20));
    net.assert_at_rest_within(s(30));
    net.assert_only_removed(&[hub]);
}

#[test]
fn frozen_peer_is_removed_within_four_seconds() {
    let mut net = Net::lan(3, 3, 20);
    let victim = net.peer_with_degree(3);
    let frozen_at = net.world.now();
    net.world.freeze(victim);
    net.assert_removed_within(victim, frozen_at, s(4));
    for (_, removal) in net.removals(victim).unwrap() {
        assert!(removal.witnesses.len() >= 2, "{removal:?}");
    }
    net.world.run_for(s(10));
    net.assert_only_removed(&[victim]);
    net.assert_promises_hold();
}

#[test]
fn host_without_power_is_removed_within_four_seconds() {
    let mut net = Net::lan(4, 3, 20);
    let victim = net.peer_with_degree(3);
    let died = net.world.now();
    net.world.power_off(victim);
    net.assert_removed_within(victim, died, s(4));
    net.assert_at_rest_within(s(40));
    net.assert_only_removed(&[victim]);
}

#[test]
fn five_simultaneous_deaths_are_all_detected() {
    let mut net = Net::lan(5, 3, 50);
    let at = net.world.now();
    let five = net.non_neighbours(5);
    let (killed, stopped) = five.split_at(3);
    let (killed, stopped) = (killed.to_vec(), stopped.to_vec());
    for &p in &killed {
        net.world.crash(p);
    }
    for &p in &stopped {
        net.world.freeze(p);
    }
    net.publish_at_all_peers();
    for &p in &killed {
        net.assert_removed_within(p, at, s(2));
    }
    for &p in &stopped {
        net.assert_removed_within(p, at, s(4));
    }
    for &p in &five {
        for (_, removal) in net.removals(p).unwrap() {
            assert!(removal.witnesses.len() >= 2, "{removal:?}");
        }
    }
    net.world.run_for(s(15));
    net.assert_at_rest_within(s(40));
    net.assert_only_removed(&five);
}

#[test]
fn classic_preset_removes_dead_peers_within_a_minute() {
    let mut net = Net::classic(6, 3, 20);
    let (killed, stopped) = (net.peers[4], net.peers[12]);
    let at = net.world.now();
    net.world.crash(killed);
    net.world.freeze(stopped);
    net.assert_removed_within(killed, at, s(60));
    net.assert_removed_within(stopped, at, s(60));
    net.world.run_for(s(60));
    net.assert_only_removed(&[killed, stopped]);
    net.assert_promises_hold();
}

/// Only one neighbour is left to report the death, so the seeds appoint further witnesses.
#[test]
fn peer_is_removed_when_all_but_one_neighbour_are_frozen() {
    for seed in 0..5 {
        let mut net = Net::lan(40 + seed, 3, 20);
        let graph = net.world.graph();
        let victim = *net.peers.iter().min_by_key(|&&p| graph.neighbours(p).count()).unwrap();
        let neighbours: Vec<_> = graph.neighbours(victim).collect();
        let died = net.world.now();
        net.world.crash(victim);
        for &n in &neighbours[1..] {
            net.world.freeze(n);
        }
        let victims: Vec<_> = [victim].iter().chain(&neighbours[1..]).copied().collect();
        for &p in &victims {
            net.assert_removed_within(p, died, s(8));
            for (_, removal) in net.removals(p).unwrap() {
                assert!(removal.witnesses.len() >= 2, "seed {seed}: {removal:?}");
            }
        }
        net.assert_only_removed(&victims);
    }
}

#[test]
fn undisturbed_network_removes_no_peer() {
    let mut net = Net::lan(7, 3, 30);
    net.world.run_for(s(180));
    net.assert_only_removed(&[]);
    net.assert_at_rest_within(s(20));
}

/// A death in a small network. A removal needs at most as many witnesses as there are other peers;
/// with one seed it needs one vote, with two seeds both votes.
fn death_in_small_network(peers: usize, seeds: usize) {
    let seed = 100 + (peers * 10 + seeds) as u64;
    let mut net = Net::lan(seed, seeds, peers);
    let victim = net.peers[0];
    let all = net.peers.clone();
    net.wait_until(s(20), "all peers of a small network are neighbours", |w| {
        all.iter().all(|&p| w.graph().neighbours(p).count() == peers - 1)
    });
    let degree = peers - 1;
    let died = net.world.now();
    net.world.crash(victim);
    net.assert_removed_within(victim, died, s(2));
    for (_, removal) in net.removals(victim).unwrap() {
        let degree = u16::try_from(degree).unwrap();
        let needed = reports_needed(degree).min(peers - 1);
        assert!(removal.witnesses.len() >= needed, "{removal:?}");
        assert_eq!(removal.seeds.len(), seeds / 2 + 1, "{removal:?}");
    }
    net.assert_at_rest_within(s(30));
    net.assert_only_removed(&[victim]);
}

#[test]
fn small_networks_remove_dead_peers() {
    for peers in [2, 3, 4] {
        for seeds in [1, 2, 3] {
            death_in_small_network(peers, seeds);
        }
    }
}

#[test]
fn dead_peer_without_witness_expires() {
    for seeds in [1, 2] {
        let short = Config::lan().lease(s(10)).lease_refresh(s(3)).build().unwrap();
        let mut net = Net::new(world_config(200 + seeds as u64, short), seeds, 1);
        net.assert_at_rest_within(s(20));
        let victim = net.peers[0];
        net.world.crash(victim);
        let seed = net.seeds[0];
        net.world.run_for(s(5));
        assert_eq!(net.state_at(seed, victim), Some(MemberState::Alive));
        net.world.run_for(s(15));
        assert_eq!(net.state_at(seed, victim), Some(MemberState::Expired));
        net.assert_only_removed(&[]);
        net.assert_promises_hold();
    }
}

#[test]
fn no_peer_is_declared_dead_without_a_majority_of_seeds() {
    let mut net = Net::lan(8, 2, 10);
    net.world.crash(net.seeds[1]);
    net.world.run_for(s(5));
    let victim = net.peer_with_degree(3);
    net.world.crash(victim);
    // Even after a long time no peer is removed.
    net.world.run_for(s(100));
    net.assert_only_removed(&[]);
    // The other seed restarts, so a majority can vote.
    net.world.restart(net.seeds[1], rumormill_sim::DiskFate::Kept);
    net.wait_until(s(20), "the removal", |w| {
        w.ledger().removals.iter().any(|r| r.subject == w.id(victim))
    });
    net.assert_at_rest_within(s(60));
}

/// S5: the degree is 0 at first, grows with each neighbour, and shrinks when one dies.
#[test]
fn seeds_know_the_degree_of_every_peer() {
    let mut net = Net::lan(14, 3, 20);
    let (seed, newcomer) = (net.seeds[0], net.world.add_peers(1)[0]);
    let id = net.id(newcomer);
    let stored_degree = |w: &rumormill_sim::World, id| {
        w.members(seed).iter().find(|m| m.id == id).map(|m| m.degree)
    };
    let mut first = None;
    for _ in 0..1000 {
        first = stored_degree(&net.world, id);
        if first.is_some() {
            break;
        }
        net.world.run_for(core::time::Duration::from_micros(100));
    }
    assert_eq!(first, Some(0));
    let all_correct = |w: &rumormill_sim::World| {
        let graph = w.graph();
        let degree = |p| u16::try_from(graph.neighbours(p).count()).ok();
        w.live_peers().into_iter().all(|p| stored_degree(w, w.id(p)) == degree(p))
    };
    net.wait_until(s(20), "all degrees are correct", |w| {
        stored_degree(w, id) > Some(0) && all_correct(w)
    });
    let victim = net.peer_with_degree(3);
    net.world.crash(victim);
    net.wait_until(s(20), "all degrees are correct after a death", |w| {
        w.ledger().removals.iter().any(|r| r.subject == w.id(victim)) && all_correct(w)
    });
}

#[test]
fn two_of_three_seeds_remove_a_dead_peer() {
    let mut net = Net::lan(9, 3, 20);
    net.world.crash(net.seeds[2]);
    net.world.run_for(s(15));
    let victim = net.peer_with_degree(3);
    let died = net.world.now();
    net.world.crash(victim);
    net.assert_removed_within(victim, died, s(2));
    net.assert_at_rest_within(s(40));
    net.assert_only_removed(&[victim]);
}

#[test]
fn leaving_peer_is_not_removed_as_dead() {
    let mut net = Net::lan(10, 3, 20);
    let leaver = net.peer_with_degree(3);
    let start = net.world.now();
    net.world.leave(leaver).unwrap();
    net.wait_until(s(3), "the peer has left", |w| w.status(leaver) == NodeStatus::Left);
    assert!(net.world.now().since(start) <= ms(1200), "leaving takes about a second at most");
    for seed in net.seeds.clone() {
        net.wait_until(s(2), "the seed knows", |w| {
            let id = w.id(leaver);
            let members = w.members(seed);
            members.iter().any(|m| m.id == id && m.state == MemberState::Left)
        });
    }
    let id = net.id(leaver);
    let left = |e: &Event| matches!(e, Event::MemberLeft { id: member, .. } if *member == id);
    let others = net.world.live_peers();
    net.world.run_for(s(2));
    for p in others {
        assert_eq!(net.event_times(p, left).len(), 1, "{p} reports the exit once");
    }
    net.world.run_for(s(20));
    net.assert_only_removed(&[]);
    net.assert_at_rest_within(s(20));
}

#[test]
fn peer_that_leaves_during_startup_exits_cleanly() {
    // The peer leaves at any moment: while it joins, while its neighbours change, while it has
    // registry changes to send.
    for after in (0..600).step_by(20) {
        let mut net = Net::new(world_config(300 + after, lan()), 2, 6);
        net.world.run_for(ms(after));
        let leaver = net.peers[2];
        net.world.leave(leaver).unwrap();
        net.world.run_for(s(3));
        assert_eq!(net.world.status(leaver), NodeStatus::Left, "left after {after} ms");
        net.assert_promises_hold();
        net.assert_only_removed(&[]);
    }
}

#[test]
fn network_recovers_when_half_of_its_peers_leave() {
    let mut net = Net::lan(11, 3, 30);
    for p in net.peers.clone().into_iter().take(15) {
        net.world.leave(p).unwrap();
        net.world.run_for(ms(200));
    }
    net.world.run_for(s(10));
    net.assert_only_removed(&[]);
    net.publish_at_all_peers();
    net.world.run_for(s(15));
    net.assert_at_rest_within(s(30));
}

#[test]
fn network_recovers_when_a_third_of_its_peers_die() {
    let mut net = Net::lan(12, 3, 45);
    let dead: Vec<_> = net.peers.iter().copied().step_by(3).collect();
    for &p in &dead {
        net.world.crash(p);
    }
    net.assert_at_rest_within(s(60));
    net.assert_only_removed(&dead);
}
