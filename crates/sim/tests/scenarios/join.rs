//! Joining: registrations at a majority of the seeds, one component, degrees.

use core::time::Duration;

use rumormill_proto::{Address, Config, Event};
use rumormill_sim::{Latency, NodeId, PeerSpec, World, checkers};

use crate::common::{Net, lan, ms, s, world_config};

/// `peers` peers join `seeds` seeds. At rest all checkers pass, also the one for registrations at
/// floor(n/2)+1 seeds.
fn join_network(peers: usize, seeds: usize) {
    let seed = (peers * 10 + seeds) as u64;
    let mut net = Net::new(world_config(seed, lan()), seeds, peers);
    net.assert_at_rest_within(s(30));
    for &p in &net.peers {
        let view = net.world.peer_snapshot(p).unwrap();
        assert_eq!(view.seed_quorum as usize, seeds / 2 + 1);
        assert!(peers == 1 || !view.neighbours.is_empty(), "{p} is alone");
        let times = net.event_times(p, |e| matches!(e, Event::Joined { .. }));
        assert!(!times.is_empty(), "{p} never reported that it joined");
    }
    let all = net.peers.clone();
    net.wait_until(s(10), "all peers know the size of the network", |w| {
        all.iter().all(|&p| w.peer_snapshot(p).unwrap().network_size as usize == all.len())
    });
    wait_for_target_degrees(&mut net);
    net.assert_only_removed(&[]);
}

/// Waits until every peer lacks at most one neighbour to its target degree. Hubs of small networks
/// are exempt: if several of twenty peers have a target of nineteen, not all of them can reach it.
pub(crate) fn wait_for_target_degrees(net: &mut Net) {
    let others = net.peers.len() - 1;
    let most = if others < 10 { others } else { others / 3 };
    let peers = net.peers.clone();
    net.wait_until(s(60), "the degrees reach their targets", |w| {
        peers.iter().all(|&p| {
            let view = w.peer_snapshot(p).unwrap();
            view.neighbours.len() + 1 >= usize::from(view.target).min(most)
        })
    });
}

#[test]
fn single_peer_joins_any_number_of_seeds() {
    for seeds in [1, 2, 3, 5] {
        join_network(1, seeds);
    }
}

#[test]
fn two_peers_join_any_number_of_seeds() {
    for seeds in [1, 2, 3, 5] {
        join_network(2, seeds);
    }
}

#[test]
fn three_peers_join_any_number_of_seeds() {
    for seeds in [1, 2, 3, 5] {
        join_network(3, seeds);
    }
}

#[test]
fn five_peers_join_any_number_of_seeds() {
    for seeds in [1, 2, 3, 5] {
        join_network(5, seeds);
    }
}

#[test]
fn twenty_peers_join_any_number_of_seeds() {
    for seeds in [1, 2, 3, 5] {
        join_network(20, seeds);
    }
}

#[test]
fn hundred_peers_join_one_seed() {
    join_network(100, 1);
}

#[test]
fn hundred_peers_join_two_seeds() {
    join_network(100, 2);
}

#[test]
fn hundred_peers_join_three_seeds() {
    join_network(100, 3);
}

#[test]
fn hundred_peers_join_five_seeds() {
    join_network(100, 5);
}

#[test]
fn peers_that_start_over_time_form_one_overlay() {
    let mut world = World::new(world_config(5, lan()));
    let seeds = world.add_seeds(3);
    let peers = world.add_peers_over(30, s(15));
    let mut net = Net { world, seeds, peers };
    net.world.run_for(s(16));
    net.assert_at_rest_within(s(30));
    net.assert_only_removed(&[]);
}

#[test]
fn peer_joins_while_a_minority_of_seeds_is_down() {
    let mut net = Net::lan(6, 5, 5);
    net.world.crash(net.seeds[0]);
    net.world.crash(net.seeds[3]);
    let late = net.world.add_peers(3);
    net.peers.extend(late);
    net.assert_at_rest_within(s(60));
}

/// Peers start within half a second, and each frame takes 1 to 150 ms: a seed can answer long
/// before a peer is registered at a majority. The checker `joining` compares the members that each
/// peer knows when it reports that it has joined with the peers that had joined before.
#[test]
fn joined_peer_knows_every_peer_that_had_joined_before() {
    for seed in 0..6 {
        let mut config = world_config(600 + seed, lan());
        config.latency = Latency::Uniform { min: ms(1), max: ms(150) };
        let mut world = World::new(config);
        let seeds = world.add_seeds(3);
        let peers = world.add_peers_over(12, ms(500));
        let mut net = Net { world, seeds, peers };
        net.world.run_for(s(5));
        let joined = net.world.ledger().joins.len();
        assert_eq!(joined, net.peers.len(), "all have joined");
        let found = checkers::joining::check(&net.world.observe());
        if !found.is_empty() {
            net.fail("a joined peer does not know an earlier one", &found);
        }
        net.assert_at_rest_within(s(30));
    }
}

#[test]
fn peer_without_known_address_learns_it_from_seeds() {
    let mut world = World::new(world_config(7, lan()));
    let seeds = world.add_seeds(3);
    let mut peers = world.add_peers(3);
    let unspecified = vec![Address("0.0.0.0:7000".parse().unwrap())];
    let spec = PeerSpec { advertise: Some(unspecified), ..PeerSpec::default() };
    let peer = world.add_peer_with(spec);
    peers.push(peer);
    let mut net = Net { world, seeds, peers };
    net.assert_at_rest_within(s(30));
    let id = net.id(peer);
    let members = net.world.members(net.seeds[0]);
    let entry = members.iter().find(|m| m.id == id).unwrap();
    assert_eq!(entry.addresses, [Address(net.world.address(peer))]);
}

#[test]
fn peer_without_seeds_publishes_to_itself() {
    let mut world = World::new(world_config(8, lan()));
    let peers = world.add_peers(1);
    let mut net = Net { world, seeds: Vec::new(), peers };
    net.world.run_for(s(5));
    net.world.publish(net.peers[0], "t", b"to myself").unwrap();
    net.world.run_for(ms(100));
    net.assert_promises_hold();
}

/// Regression test for a fault found by `rumor-lab sim --builtin join`: two of three peers kept a
/// surplus neighbour forever.
#[test]
fn surplus_neighbours_of_peers_that_join_over_time_disappear() {
    let mut config = world_config(21, lan());
    config.fast = true;
    let mut net = Net::new(config, 3, 0);
    net.world.add_peers_over(300, s(30));
    net.world.run_for(s(30));
    let surplus_percent = |w: &World| {
        let all = w.live_peers();
        let has_surplus = |p: &&NodeId| {
            let view = w.peer_snapshot(**p).unwrap();
            view.neighbours.len() > usize::from(view.target)
        };
        all.iter().filter(has_surplus).count() * 100 / all.len()
    };
    assert!(surplus_percent(&net.world) > 10, "without surplus the test shows nothing");
    net.wait_until(s(90), "at most 1 % of the peers have a surplus", |w| surplus_percent(w) <= 1);
    net.world.run_for(s(60));
    net.assert_at_rest_within(s(10));
    assert!(surplus_percent(&net.world) <= 1, "the surplus does not return");
}

/// P4: the degree limit is kept also while peers join, and the overlay is one component.
#[test]
fn configured_degree_limit_is_kept() {
    let config = Config::lan().max_degree(Some(3)).build().unwrap();
    let mut net = Net::new(world_config(77, config), 3, 40);
    let most = |w: &World| w.live_peers().iter().map(|&p| w.graph().neighbours(p).count()).max();
    for _ in 0..100 {
        net.world.run_for(ms(100));
        // A peer accepts one neighbour over its limit from a peer with none or one.
        assert!(most(&net.world) <= Some(4), "{:?} neighbours", most(&net.world));
    }
    net.assert_at_rest_within(s(30));
    assert!(most(&net.world) >= Some(3));
}

/// Measurements of an overlay whose peers have positions on a map.
struct MapOverlay {
    /// Mean round-trip time of all links.
    delay: Duration,
    /// Diameter in links.
    diameter: u32,
    /// Unused links that only the idle timeout closed.
    idle_closed: u64,
}

fn map_overlay(dial_candidates: u32) -> MapOverlay {
    let node = Config::wan().dial_candidates(dial_candidates).build().unwrap();
    let mut config = world_config(38, node);
    config.latency = Latency::Map { min: ms(5), max: ms(100) };
    let mut net = Net::new(config, 3, 60);
    net.assert_at_rest_within(s(120));
    wait_for_target_degrees(&mut net);
    net.assert_only_removed(&[]);
    // By then every link has a measured round-trip time.
    net.world.run_for(s(30));
    let views: Vec<_> = net.peers.iter().map(|&p| net.world.peer_snapshot(p).unwrap()).collect();
    let neighbours = views.iter().flat_map(|v| &v.neighbours);
    let delays: Vec<Duration> = neighbours.filter_map(|n| n.smoothed_delay).collect();
    let links = u32::try_from(delays.len()).unwrap();
    let graph = net.world.graph();
    let eccentricities =
        net.peers.iter().filter_map(|&p| graph.distances(p).values().copied().max());
    MapOverlay {
        delay: delays.iter().sum::<Duration>() / links,
        diameter: eccentricities.max().unwrap(),
        idle_closed: views.iter().map(|v| v.counters.get("links_idle_closed")).sum(),
    }
}

#[test]
fn overlay_that_prefers_near_neighbours_has_shorter_links_and_stays_compact() {
    let (drawn, near) = (map_overlay(1), map_overlay(4));
    assert!(near.delay * 10 <= drawn.delay * 9, "{:?} instead of {:?}", near.delay, drawn.delay);
    assert!(near.diameter <= 6, "the diameter is {} links", near.diameter);
    assert!(
        near.idle_closed <= 2 * drawn.idle_closed,
        "links to slower candidates are closed at once"
    );
}
