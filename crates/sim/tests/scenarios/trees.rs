//! The trees that batches ride: everybody is on each of them, only beacons change them, and they
//! grow together again whatever is cut out of them.

use core::time::Duration;
use std::collections::BTreeMap;

use rumormill_proto::snapshot::TreeView;
use rumormill_proto::{Config, PeerId};
use rumormill_sim::checkers::{copies, trees};
use rumormill_sim::{NodeId, World, WorldConfig};

use crate::common::{Net, lan, ms, s, world_config};

/// How long a message may take to anybody while a killed peer is cut out of its tree. In 300 kills
/// (`cargo run --release -p rumormill-sim --example repair -- 100`) it was under 100 ms.
const LONGEST_DELAY: Duration = ms(300);
/// The same for one that is stopped: its links stand, and somebody has to ask and wait in vain first.
const LONGEST_DELAY_STOPPED: Duration = ms(1500);

/// Nothing changes the overlay while one looks.
fn calm() -> Config {
    Config::lan().mix_interval(s(86_400)).build().unwrap()
}

/// A world whose frames are handed over unencoded: it takes little time.
fn large(seed: u64) -> WorldConfig {
    WorldConfig { fast: true, check_every: s(1), ..world_config(seed, lan()) }
}

/// Three beacons at the long interval, which is how long a tree may take.
fn three_beacons(config: &WorldConfig) -> Duration {
    config.node.beacon_interval_idle() * 3 + s(1)
}

/// A settled network whose trees have grown.
pub(crate) fn grown(config: WorldConfig, seeds: usize, peers: usize) -> Net {
    let mut net = Net::new(config, seeds, peers);
    net.rests_within(s(60));
    grows(&mut net);
    net
}

/// Everybody is on every tree within three beacons.
#[track_caller]
fn grows(net: &mut Net) {
    let limit = three_beacons(net.world.config());
    if !net.world.run_until(limit, |w| trees::check(&w.observe()).is_empty()) {
        net.fail("the trees do not grow", &trees::check(&net.world.observe()));
    }
}

fn views(w: &World) -> BTreeMap<(NodeId, String), TreeView> {
    let of = |n: NodeId| w.peer_snapshot(n).map(|p| p.trees).unwrap_or_default();
    w.live_peers()
        .into_iter()
        .flat_map(|n| of(n).into_iter().map(move |t| ((n, t.tree.clone()), t)))
        .collect()
}

fn counter(w: &World, name: &str) -> u64 {
    w.live_peers().iter().filter_map(|&n| w.peer_snapshot(n)).map(|p| p.counters.get(name)).sum()
}

/// The shared tree that a publisher's messages ride.
fn tree_of(id: &PeerId) -> String {
    format!("shared-{}", id.as_bytes()[31] % 4)
}

fn root_of(w: &World, at: NodeId, tree: &str) -> Option<NodeId> {
    let view = w.peer_snapshot(at)?.trees.into_iter().find(|t| t.tree == tree)?;
    w.node_of(&view.root?)
}

/// A peer that is the root of a tree, and a publisher on that tree that is another peer.
pub(crate) fn root_and_publisher(net: &Net) -> (NodeId, NodeId) {
    let w = &net.world;
    let found = net.peers.iter().find_map(|&p| {
        let root = root_of(w, p, &tree_of(&w.id(p)))?;
        (root != p).then_some((root, p))
    });
    found.expect("a publisher that is not the root of its tree")
}

#[test]
fn everybody_is_on_every_tree() {
    for (seed, n) in [(1, 2), (2, 3), (3, 4), (4, 5), (5, 20), (6, 60)] {
        let net = grown(world_config(seed, lan()), 1, n);
        let roots: Vec<_> =
            (0..4).map(|t| root_of(&net.world, net.peers[0], &format!("shared-{t}"))).collect();
        assert!(roots.iter().all(Option::is_some), "{n} peers: {roots:?}");
    }
}

#[test]
fn a_peer_alone_publishes_to_itself() {
    let mut net = grown(world_config(7, lan()), 1, 1);
    for _ in 0..100 {
        net.world.publish(net.peers[0], "t", b"to nobody").unwrap();
    }
    net.world.run_for(s(5));
    assert_eq!(net.world.deliveries().len(), 100);
    net.rests_within(s(15));
}

#[test]
fn no_data_changes_a_tree() {
    let mut net = grown(world_config(8, calm()), 3, 40);
    net.world.run_for(s(30));
    // A round of beacons has just been, the next one comes in a while.
    let before = counter(&net.world, "grafts") + counter(&net.world, "prunes");
    let shape = views(&net.world);
    for round in 0..20u64 {
        for (i, p) in net.peers.clone().into_iter().enumerate() {
            if (i as u64 + round).is_multiple_of(2) {
                net.world.publish_all(p, "t", &[&[1; 100], &[2; 10]]).unwrap();
            }
        }
        net.world.run_for(ms(50));
    }
    assert_eq!(counter(&net.world, "grafts") + counter(&net.world, "prunes"), before);
    assert_eq!(views(&net.world), shape, "data changed a tree");
    net.world.run_for(s(12));
    net.rests_within(s(5));
}

#[test]
fn beacons_leave_a_tree_at_rest_as_it_is() {
    let mut net = grown(world_config(9, calm()), 3, 40);
    // Long enough for those with a neighbour too many to have found each other.
    net.world.run_for(s(240));
    let shape = views(&net.world);
    let before = counter(&net.world, "grafts");
    net.world.run_for(s(60));
    assert_eq!(views(&net.world), shape);
    assert_eq!(counter(&net.world, "grafts"), before);
}

/// Strikes a peer while one publishes 20 times a second; gives the longest delay at the others.
fn struck(
    net: &mut Net,
    victim: NodeId,
    publisher: NodeId,
    strike: fn(&mut World, NodeId),
) -> Duration {
    let mut ids = BTreeMap::new();
    for round in 0..200 {
        if round == 20 {
            strike(&mut net.world, victim);
        }
        let id = net.world.publish(publisher, "t", b"tick").unwrap();
        ids.insert(id, net.world.now());
        net.world.run_for(ms(50));
    }
    net.world.run_for(s(10));
    let arrivals = net.world.deliveries().iter().filter(|a| a.node != victim);
    let delay = arrivals.filter_map(|a| Some(a.at.since(*ids.get(&a.id)?))).max().unwrap();
    net.rests_within(s(30));
    net.only_removed(&[victim]);
    delay
}

#[test]
fn a_root_is_killed_while_messages_flow() {
    let mut net = grown(world_config(10, lan()), 3, 32);
    let (root, publisher) = root_and_publisher(&net);
    let delay = struck(&mut net, root, publisher, World::crash);
    assert!(delay < LONGEST_DELAY, "the slowest message took {delay:?}");
    grows(&mut net);
    assert_ne!(root_of(&net.world, publisher, &tree_of(&net.id(publisher))), Some(root));
}

#[test]
fn a_root_freezes_while_messages_flow() {
    let mut net = grown(world_config(11, lan()), 3, 32);
    let (root, publisher) = root_and_publisher(&net);
    let delay = struck(&mut net, root, publisher, World::freeze);
    assert!(delay < LONGEST_DELAY_STOPPED, "the slowest message took {delay:?}");
    grows(&mut net);
    assert_ne!(root_of(&net.world, publisher, &tree_of(&net.id(publisher))), Some(root));
}

#[test]
fn a_root_without_power_while_messages_flow() {
    let mut net = grown(world_config(12, lan()), 3, 32);
    let (root, publisher) = root_and_publisher(&net);
    let delay = struck(&mut net, root, publisher, World::power_off);
    assert!(delay < LONGEST_DELAY_STOPPED, "the slowest message took {delay:?}");
    grows(&mut net);
}

/// The peer with the most children on the publisher's tree that is neither its root nor itself.
pub(crate) fn interior(net: &Net, publisher: NodeId) -> NodeId {
    let tree = tree_of(&net.id(publisher));
    let root = root_of(&net.world, publisher, &tree);
    let children =
        |n: &NodeId| views(&net.world).get(&(*n, tree.clone())).map_or(0, |t| t.children.len());
    let others = net.peers.iter().copied().filter(|&p| p != publisher && Some(p) != root);
    others.max_by_key(children).unwrap()
}

#[test]
fn an_interior_peer_is_killed_while_messages_flow() {
    let mut net = grown(world_config(13, lan()), 3, 32);
    let victim = interior(&net, net.peers[0]);
    let publisher = net.peers[0];
    let delay = struck(&mut net, victim, publisher, World::crash);
    assert!(delay < LONGEST_DELAY, "the slowest message took {delay:?}");
    grows(&mut net);
}

#[test]
fn an_interior_peer_freezes_while_messages_flow() {
    let mut net = grown(world_config(14, lan()), 3, 32);
    let victim = interior(&net, net.peers[0]);
    let publisher = net.peers[0];
    let delay = struck(&mut net, victim, publisher, World::freeze);
    assert!(delay < LONGEST_DELAY_STOPPED, "the slowest message took {delay:?}");
    grows(&mut net);
}

/// Some of these took up to 1.4 s: those behind the dead peer grafted on each other, and none of them
/// had a way to the rest.
#[test]
fn orphans_do_not_hang_on_each_other() {
    for seed in [9, 18, 61, 76, 85, 93, 131, 147, 161, 185] {
        for root_dies in [true, false] {
            let mut net = grown(large(seed), 3, 32);
            let (root, publisher) = root_and_publisher(&net);
            let victim = if root_dies { root } else { interior(&net, publisher) };
            let delay = struck(&mut net, victim, publisher, World::crash);
            let what = if root_dies { "root" } else { "inner peer" };
            assert!(delay < LONGEST_DELAY, "{what}, seed {seed}: the slowest took {delay:?}");
        }
    }
}

/// A peer that is stopped cuts some off that pull what they hear of; it has to go on from them.
#[test]
fn what_is_pulled_goes_on_to_those_who_were_cut_off_as_well() {
    for seed in [13, 18, 42, 120, 185] {
        for root_freezes in [true, false] {
            let mut net = grown(large(seed), 3, 32);
            let (root, publisher) = root_and_publisher(&net);
            let victim = if root_freezes { root } else { interior(&net, publisher) };
            let delay = struck(&mut net, victim, publisher, World::freeze);
            assert!(delay < LONGEST_DELAY_STOPPED, "seed {seed}: the slowest took {delay:?}");
        }
    }
}

#[test]
fn a_root_that_leaves_is_replaced() {
    let mut net = grown(world_config(15, lan()), 3, 20);
    let (root, publisher) = root_and_publisher(&net);
    net.world.leave(root).unwrap();
    net.world.run_for(s(1));
    grows(&mut net);
    let tree = tree_of(&net.id(publisher));
    assert_ne!(root_of(&net.world, publisher, &tree), Some(root));
    let at = net.world.now();
    net.world.publish(publisher, "t", b"after").unwrap();
    net.world.run_for(s(1));
    let last = net.world.deliveries().iter().map(|a| a.at).max().unwrap();
    assert!(last.since(at) < ms(50));
}

#[test]
fn one_root_after_another_leaves() {
    let mut net = grown(world_config(16, lan()), 3, 20);
    for _ in 0..6 {
        let root =
            root_of(&net.world, *net.world.live_peers().first().unwrap(), "shared-0").unwrap();
        net.world.leave(root).unwrap();
        net.world.run_for(s(1));
        grows(&mut net);
    }
}

#[test]
fn two_halves_have_trees_of_their_own_and_then_one() {
    let mut net = grown(world_config(17, lan()), 3, 24);
    let (near, far) = (net.peers[..12].to_vec(), net.peers[12..].to_vec());
    net.world.partition(&far, &[net.seeds.clone(), near.clone()].concat());
    net.world.run_for(s(30));
    grows(&mut net);
    let roots = |w: &World| (root_of(w, near[0], "shared-1"), root_of(w, far[0], "shared-1"));
    let (a, b) = roots(&net.world);
    assert!(near.contains(&a.unwrap()) && far.contains(&b.unwrap()), "{a:?} {b:?}");
    net.world.heal();
    net.rests_within(s(90));
    grows(&mut net);
    let (a, b) = roots(&net.world);
    assert_eq!(a, b);
}

#[test]
fn trees_under_churn() {
    let mut net = grown(world_config(18, lan()), 3, 40);
    for round in 0..10 {
        net.world.crash(net.peers[round * 3 + 1]);
        let new = net.world.add_peers(1);
        net.peers.extend(new);
        net.world.run_for(ms(700));
    }
    net.rests_within(s(60));
    grows(&mut net);
}

#[test]
fn a_heavy_publisher_roots_a_tree_of_its_own() {
    let mut net = grown(world_config(19, calm()), 3, 30);
    // Those with a neighbour too many have found each other, and no edge goes meanwhile.
    net.world.run_for(s(60));
    let p = net.peers[4];
    let name = format!("own-{}", net.id(p).short());
    let payload = vec![7; 32 * 1024];
    let burst = |net: &mut Net, rounds: usize| {
        for _ in 0..rounds {
            // 640 KiB a second.
            let _ = net.world.publish(p, "t", &payload);
            net.world.run_for(ms(50));
        }
    };
    burst(&mut net, 120);
    let from = net.world.now();
    burst(&mut net, 100);
    assert_eq!(trees::check(&net.world.observe()), [], "also its own tree");
    let on = views(&net.world).keys().filter(|(_, t)| *t == name).count();
    assert_eq!(on, 30, "everybody is on its own tree");
    net.world.run_for(s(2));
    assert_eq!(copies::check(&net.world.observe(), from, 1.05), []);
    // It is given up when there is little to publish.
    net.waits(s(90), "the tree is gone", |w| !views(w).keys().any(|(_, t)| *t == name));
    net.world.publish(p, "t", b"light").unwrap();
    net.world.run_for(s(15));
    net.rests_within(s(15));
}
