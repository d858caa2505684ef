//! Death by agreement: found in time, by enough witnesses, and only the dead.

use rumormill_proto::failure::reports_needed;
use rumormill_proto::snapshot::MemberState;
use rumormill_proto::{Config, Event};
use rumormill_sim::NodeStatus;

use crate::common::{Net, lan, ms, s, world_config};

#[test]
fn the_rule_for_reports() {
    let rule = [(0, 2), (1, 2), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (8, 5), (9, 5), (50, 5)];
    for (degree, needed) in rule {
        assert_eq!(reports_needed(degree), needed, "with {degree} neighbours");
    }
}

#[test]
fn a_killed_peer_is_removed_within_two_seconds() {
    let mut net = Net::lan(1, 3, 20);
    let victim = net.peer_of_degree(2);
    let died = net.world.now();
    net.world.crash(victim);
    net.removed_within(victim, died, s(2));
    for (_, removal) in net.removed(victim).unwrap() {
        assert!(removal.witnesses.len() >= 2, "{removal:?}");
        assert!(removal.seeds.len() >= 2, "{removal:?}");
    }
    net.publish_everywhere();
    net.world.run_for(s(20));
    net.rests_within(s(30));
    net.only_removed(&[victim]);
}

#[test]
fn a_killed_hub_is_removed_and_its_place_healed() {
    let mut net = Net::lan(2, 3, 60);
    let graph = net.world.graph();
    let hub = *net.peers.iter().max_by_key(|&&p| graph.neighbours(p).count()).unwrap();
    let died = net.world.now();
    net.world.crash(hub);
    net.removed_within(hub, died, s(2));
    net.publish_everywhere();
    net.world.run_for(s(20));
    net.rests_within(s(30));
    net.only_removed(&[hub]);
}

#[test]
fn a_frozen_peer_is_removed_within_four_seconds() {
    let mut net = Net::lan(3, 3, 20);
    let victim = net.peer_of_degree(3);
    let froze = net.world.now();
    net.world.freeze(victim);
    net.removed_within(victim, froze, s(4));
    for (_, removal) in net.removed(victim).unwrap() {
        assert!(removal.witnesses.len() >= 2, "{removal:?}");
    }
    net.world.run_for(s(10));
    net.only_removed(&[victim]);
    net.is_sound();
}

#[test]
fn a_host_without_power_is_removed_within_four_seconds() {
    let mut net = Net::lan(4, 3, 20);
    let victim = net.peer_of_degree(3);
    let died = net.world.now();
    net.world.power_off(victim);
    net.removed_within(victim, died, s(4));
    net.rests_within(s(40));
    net.only_removed(&[victim]);
}

#[test]
fn five_at_once_are_all_found() {
    let mut net = Net::lan(5, 3, 50);
    let at = net.world.now();
    let five = net.strangers(5);
    let (killed, stopped) = five.split_at(3);
    let (killed, stopped) = (killed.to_vec(), stopped.to_vec());
    for &p in &killed {
        net.world.crash(p);
    }
    for &p in &stopped {
        net.world.freeze(p);
    }
    net.publish_everywhere();
    for &p in &killed {
        net.removed_within(p, at, s(2));
    }
    for &p in &stopped {
        net.removed_within(p, at, s(4));
    }
    for &p in &five {
        for (_, removal) in net.removed(p).unwrap() {
            assert!(removal.witnesses.len() >= 2, "{removal:?}");
        }
    }
    net.world.run_for(s(15));
    net.rests_within(s(40));
    net.only_removed(&five);
}

#[test]
fn classic_finds_the_dead_within_a_minute() {
    let mut net = Net::classic(6, 3, 20);
    let (killed, stopped) = (net.peers[4], net.peers[12]);
    let at = net.world.now();
    net.world.crash(killed);
    net.world.freeze(stopped);
    net.removed_within(killed, at, s(60));
    net.removed_within(stopped, at, s(60));
    net.world.run_for(s(60));
    net.only_removed(&[killed, stopped]);
    net.is_sound();
}

/// Of its neighbours only one is left to report it: the seeds appoint further witnesses.
#[test]
fn a_peer_that_dies_with_its_neighbours_is_removed_all_the_same() {
    for seed in 0..5 {
        let mut net = Net::lan(40 + seed, 3, 20);
        let graph = net.world.graph();
        let victim = *net.peers.iter().min_by_key(|&&p| graph.neighbours(p).count()).unwrap();
        let around: Vec<_> = graph.neighbours(victim).collect();
        let died = net.world.now();
        net.world.crash(victim);
        for &n in &around[1..] {
            net.world.freeze(n);
        }
        let gone: Vec<_> = [victim].iter().chain(&around[1..]).copied().collect();
        for &p in &gone {
            net.removed_within(p, died, s(8));
            for (_, removal) in net.removed(p).unwrap() {
                assert!(removal.witnesses.len() >= 2, "seed {seed}: {removal:?}");
            }
        }
        net.only_removed(&gone);
    }
}

#[test]
fn a_quiet_network_buries_nobody() {
    let mut net = Net::lan(7, 3, 30);
    net.world.run_for(s(180));
    net.only_removed(&[]);
    net.rests_within(s(20));
}

/// A death in a small network. What the written rule asks for can be had: never more witnesses
/// than others are left, with one seed one vote, with two seeds both.
fn small(peers: usize, seeds: usize) {
    let seed = 100 + (peers * 10 + seeds) as u64;
    let mut net = Net::lan(seed, seeds, peers);
    let victim = net.peers[0];
    let all = net.peers.clone();
    net.waits(s(20), "in so small a network everybody is everybody's neighbour", |w| {
        all.iter().all(|&p| w.graph().neighbours(p).count() == peers - 1)
    });
    let degree = peers - 1;
    let died = net.world.now();
    net.world.crash(victim);
    net.removed_within(victim, died, s(2));
    for (_, removal) in net.removed(victim).unwrap() {
        let degree = u16::try_from(degree).unwrap();
        let needed = reports_needed(degree).min(peers - 1);
        assert!(removal.witnesses.len() >= needed, "{removal:?}");
        assert_eq!(removal.seeds.len(), seeds / 2 + 1, "{removal:?}");
    }
    net.rests_within(s(30));
    net.only_removed(&[victim]);
}

#[test]
fn small_networks_bury_their_dead() {
    for peers in [2, 3, 4] {
        for seeds in [1, 2, 3] {
            small(peers, seeds);
        }
    }
}

#[test]
fn a_lone_peer_has_no_witness_and_only_expires() {
    for seeds in [1, 2] {
        let short = Config::lan().lease(s(10)).lease_refresh(s(3)).build().unwrap();
        let mut net = Net::new(world_config(200 + seeds as u64, short), seeds, 1);
        net.rests_within(s(20));
        let victim = net.peers[0];
        net.world.crash(victim);
        let seed = net.seeds[0];
        net.world.run_for(s(5));
        assert_eq!(net.state_at(seed, victim), Some(MemberState::Alive));
        net.world.run_for(s(15));
        assert_eq!(net.state_at(seed, victim), Some(MemberState::Expired));
        net.only_removed(&[]);
        net.is_sound();
    }
}

#[test]
fn without_a_majority_of_the_seeds_nobody_is_declared_dead() {
    let mut net = Net::lan(8, 2, 10);
    net.world.crash(net.seeds[1]);
    net.world.run_for(s(5));
    let victim = net.peer_of_degree(3);
    net.world.crash(victim);
    // However long it takes.
    net.world.run_for(s(100));
    net.only_removed(&[]);
    // The other seed comes back: now the verdict can be had.
    net.world.restart(net.seeds[1], rumormill_sim::DiskFate::Kept);
    net.waits(s(20), "the verdict", |w| {
        w.ledger().removals.iter().any(|r| r.subject == w.id(victim))
    });
    net.rests_within(s(60));
}

/// S5: 0 at first, up with each neighbour, down when one dies.
#[test]
fn the_seeds_know_every_degree() {
    let mut net = Net::lan(14, 3, 20);
    let (seed, newcomer) = (net.seeds[0], net.world.add_peers(1)[0]);
    let id = net.id(newcomer);
    let told = |w: &rumormill_sim::World, id| {
        w.members(seed).iter().find(|m| m.id == id).map(|m| m.degree)
    };
    let mut first = None;
    for _ in 0..1000 {
        first = told(&net.world, id);
        if first.is_some() {
            break;
        }
        net.world.run_for(core::time::Duration::from_micros(100));
    }
    assert_eq!(first, Some(0));
    let all_right = |w: &rumormill_sim::World| {
        let graph = w.graph();
        let degree = |p| u16::try_from(graph.neighbours(p).count()).ok();
        w.live_peers().into_iter().all(|p| told(w, w.id(p)) == degree(p))
    };
    net.waits(s(20), "it is told as it is", |w| told(w, id) > Some(0) && all_right(w));
    let victim = net.peer_of_degree(3);
    net.world.crash(victim);
    net.waits(s(20), "also when a neighbour is dead", |w| {
        w.ledger().removals.iter().any(|r| r.subject == w.id(victim)) && all_right(w)
    });
}

#[test]
fn one_seed_of_three_away_does_not_stop_the_verdict() {
    let mut net = Net::lan(9, 3, 20);
    net.world.crash(net.seeds[2]);
    net.world.run_for(s(15));
    let victim = net.peer_of_degree(3);
    let died = net.world.now();
    net.world.crash(victim);
    net.removed_within(victim, died, s(2));
    net.rests_within(s(40));
    net.only_removed(&[victim]);
}

#[test]
fn leaving_is_not_a_death() {
    let mut net = Net::lan(10, 3, 20);
    let gone = net.peer_of_degree(3);
    let left = net.world.now();
    net.world.leave(gone).unwrap();
    net.waits(s(3), "the peer says that it left", |w| w.status(gone) == NodeStatus::Left);
    assert!(net.world.now().since(left) <= ms(1200), "a goodbye takes a second at most");
    for seed in net.seeds.clone() {
        net.waits(s(2), "the seed knows", |w| {
            let id = w.id(gone);
            let members = w.members(seed);
            members.iter().any(|m| m.id == id && m.state == MemberState::Left)
        });
    }
    let id = net.id(gone);
    let heard = |e: &Event| matches!(e, Event::MemberLeft { id: who, .. } if *who == id);
    let others = net.world.live_peers();
    net.world.run_for(s(2));
    for p in others {
        assert_eq!(net.told(p, heard).len(), 1, "{p} hears of it once");
    }
    net.world.run_for(s(20));
    net.only_removed(&[]);
    net.rests_within(s(20));
}

#[test]
fn a_peer_that_leaves_in_the_middle_of_things_is_quiet_afterwards() {
    // At any moment: while it joins, while its neighbours change, while it has news to tell.
    for after in (0..600).step_by(20) {
        let mut net = Net::new(world_config(300 + after, lan()), 2, 6);
        net.world.run_for(ms(after));
        let gone = net.peers[2];
        net.world.leave(gone).unwrap();
        net.world.run_for(s(3));
        assert_eq!(net.world.status(gone), NodeStatus::Left, "left after {after} ms");
        net.is_sound();
        net.only_removed(&[]);
    }
}

#[test]
fn half_of_the_network_leaves() {
    let mut net = Net::lan(11, 3, 30);
    for p in net.peers.clone().into_iter().take(15) {
        net.world.leave(p).unwrap();
        net.world.run_for(ms(200));
    }
    net.world.run_for(s(10));
    net.only_removed(&[]);
    net.publish_everywhere();
    net.world.run_for(s(15));
    net.rests_within(s(30));
}

#[test]
fn a_third_dies_at_once() {
    let mut net = Net::lan(12, 3, 45);
    let dead: Vec<_> = net.peers.iter().copied().step_by(3).collect();
    for &p in &dead {
        net.world.crash(p);
    }
    net.rests_within(s(60));
    net.only_removed(&dead);
}
