//! Helpers for all scenario tests.

use core::time::Duration;
use std::collections::BTreeSet;

use rumormill_proto::snapshot::MemberState;
use rumormill_proto::{Config, Event, MessageId, PeerId, Time};
use rumormill_sim::ledger::Removal;
use rumormill_sim::{NodeId, World, WorldConfig, checkers};

pub(crate) const fn s(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn lan() -> Config {
    Config::lan().build().unwrap()
}

pub(crate) fn classic() -> Config {
    Config::classic().build().unwrap()
}

/// Environment variable with a number that is added to the random seed of every test:
/// `RUMORMILL_SIM_SEED=1000 cargo test -p rumormill-sim`.
const OTHER_WORLDS: &str = "RUMORMILL_SIM_SEED";

// This variable is the only input from the environment; without it every run is the same.
#[allow(clippy::disallowed_methods)]
pub(crate) fn world_config(seed: u64, node: Config) -> WorldConfig {
    let offset: u64 = std::env::var(OTHER_WORLDS).map_or(0, |n| n.parse().unwrap());
    let seed = seed + offset;
    WorldConfig { check_every: ms(100), ..WorldConfig::new(seed, node) }
}

/// A network with seeds and peers.
pub(crate) struct Net {
    pub(crate) world: World,
    pub(crate) seeds: Vec<NodeId>,
    pub(crate) peers: Vec<NodeId>,
}

impl Net {
    /// Lets every peer publish some messages until all trees are valid.
    #[track_caller]
    pub(crate) fn build_trees(&mut self) {
        let from = self.world.now();
        self.publish_three_rounds();
        self.assert_valid_trees(from);
    }

    /// Lets every peer publish three messages.
    pub(crate) fn publish_three_rounds(&mut self) {
        for _ in 0..3 {
            for p in self.world.live_peers() {
                self.world.publish(p, "growing", b"").unwrap();
            }
            self.world.run_for(ms(500));
        }
    }

    /// Waits until the trees of all publishers since `from` are valid.
    #[track_caller]
    pub(crate) fn assert_valid_trees(&mut self, from: Time) {
        let found = |w: &World| checkers::trees::check(&w.observe(), w.now().since(from));
        if !self.world.run_until(s(10), |w| found(w).is_empty()) {
            self.fail("the trees are not valid", &found(&self.world));
        }
    }

    pub(crate) fn new(config: WorldConfig, seeds: usize, peers: usize) -> Self {
        let mut world = World::new(config);
        let seeds = world.add_seeds(seeds);
        let peers = world.add_peers(peers);
        Net { world, seeds, peers }
    }

    /// A settled network with the `lan` preset.
    pub(crate) fn lan(seed: u64, seeds: usize, peers: usize) -> Self {
        let mut net = Net::new(world_config(seed, lan()), seeds, peers);
        net.assert_at_rest_within(s(30));
        // The seeds get the last changes of degrees.
        net.world.run_for(s(3));
        net.assert_at_rest_within(s(30));
        net
    }

    /// A settled network with the `classic` preset.
    pub(crate) fn classic(seed: u64, seeds: usize, peers: usize) -> Self {
        let mut net = Net::new(world_config(seed, classic()), seeds, peers);
        net.assert_at_rest_within(s(90));
        net
    }

    /// Waits until all promises of a network at rest hold.
    #[track_caller]
    pub(crate) fn assert_at_rest_within(&mut self, limit: Duration) {
        let is_at_rest = |w: &World| checkers::at_rest(&w.observe()).is_empty();
        if !self.world.run_until(limit, is_at_rest) {
            let found = checkers::at_rest(&self.world.observe());
            self.fail("the network does not come to rest", &found);
        }
    }

    /// Checks the promises that hold at every moment.
    #[track_caller]
    pub(crate) fn assert_promises_hold(&self) {
        let found = checkers::always(&self.world.observe());
        if !found.is_empty() {
            self.fail("a promise was broken", &found);
        }
    }

    #[track_caller]
    pub(crate) fn fail(&self, what: &str, found: &[checkers::Violation]) {
        let some: Vec<String> = found.iter().take(12).map(ToString::to_string).collect();
        panic!(
            "{what} (seed {}, at {}): {} violations\n  {}",
            self.world.config().seed,
            self.world.now(),
            found.len(),
            some.join("\n  ")
        );
    }

    /// Waits until a condition holds.
    #[track_caller]
    pub(crate) fn wait_until(
        &mut self,
        limit: Duration,
        what: &str,
        holds: impl FnMut(&World) -> bool,
    ) {
        let seed = self.world.config().seed;
        let held = self.world.run_until(limit, holds);
        assert!(held, "not within {limit:?} (seed {seed}, at {}): {what}", self.world.now());
    }

    pub(crate) fn id(&self, node: NodeId) -> PeerId {
        self.world.id(node)
    }

    /// The first peer with at least this many neighbours.
    pub(crate) fn peer_with_degree(&self, at_least: usize) -> NodeId {
        let graph = self.world.graph();
        *self
            .peers
            .iter()
            .find(|&&p| graph.neighbours(p).count() >= at_least)
            .expect("no peer has that many neighbours")
    }

    /// Two neighbours that have other neighbours as well, if there are any.
    pub(crate) fn edge(&self) -> (NodeId, NodeId) {
        let graph = self.world.graph();
        let a = self.peer_with_degree(3);
        let b = graph
            .neighbours(a)
            .find(|&b| graph.neighbours(b).count() >= 3)
            .or_else(|| graph.neighbours(a).next())
            .expect("a neighbour");
        (a, b)
    }

    /// `n` peers, no two of which are neighbours.
    pub(crate) fn non_neighbours(&self, n: usize) -> Vec<NodeId> {
        let graph = self.world.graph();
        let mut chosen: Vec<NodeId> = Vec::new();
        for &p in &self.peers {
            if chosen.len() < n && !chosen.iter().any(|&c| graph.has_edge(c, p)) {
                chosen.push(p);
            }
        }
        assert_eq!(chosen.len(), n, "there are not so many peers without a common edge");
        chosen
    }

    /// Publishes one message at every live peer.
    pub(crate) fn publish_at_all_peers(&mut self) -> Vec<MessageId> {
        let live = self.world.live_peers();
        live.iter().map(|&p| self.world.publish(p, "t", b"hello").unwrap()).collect()
    }

    /// The removals of a node at all live seeds, with their times; `None` until all have removed
    /// it.
    pub(crate) fn removals(&self, node: NodeId) -> Option<Vec<(Time, Removal)>> {
        removals(&self.world, &self.seeds, node)
    }

    /// Waits until every live seed has removed a dead node, and checks the time since its death.
    #[track_caller]
    pub(crate) fn assert_removed_within(&mut self, node: NodeId, died: Time, limit: Duration) {
        let seeds = self.seeds.clone();
        let left = limit.saturating_sub(self.world.now().since(died)) + ms(1);
        self.wait_until(left + s(1), "the dead peer is removed", |w| {
            removals(w, &seeds, node).is_some()
        });
        for (at, removal) in self.removals(node).unwrap() {
            let took = at.since(died);
            assert!(took <= limit, "{} took {took:?} to remove {node}", removal.observer);
        }
    }

    /// Checks that no other nodes than these were ever removed.
    #[track_caller]
    pub(crate) fn assert_only_removed(&self, nodes: &[NodeId]) {
        let allowed: BTreeSet<PeerId> = nodes.iter().map(|&n| self.id(n)).collect();
        let removals = &self.world.ledger().removals;
        if let Some(r) = removals.iter().find(|r| !allowed.contains(&r.subject)) {
            let node = self.world.node_of(&r.subject);
            panic!("{node:?} was removed (seed {}): {r:?}", self.world.config().seed);
        }
    }

    /// The state of a peer in the registry of a seed.
    pub(crate) fn state_at(&self, seed: NodeId, peer: NodeId) -> Option<MemberState> {
        let id = self.id(peer);
        self.world.members(seed).iter().find(|m| m.id == id).map(|m| m.state)
    }

    /// The times of the events of a node that match.
    pub(crate) fn event_times(&self, node: NodeId, matches: impl Fn(&Event) -> bool) -> Vec<Time> {
        let events = self.world.events(node).iter();
        events.filter(|(_, e)| matches(e)).map(|(at, _)| *at).collect()
    }
}

fn removals(w: &World, seeds: &[NodeId], node: NodeId) -> Option<Vec<(Time, Removal)>> {
    let id = w.id(node);
    let live = seeds.iter().filter(|&&s| w.status(s) == rumormill_sim::NodeStatus::Running);
    live.map(|&seed| {
        let removals = &w.ledger().removals;
        let r = removals.iter().find(|r| r.observer == seed && r.subject == id)?;
        Some((r.at, r.clone()))
    })
    .collect()
}

/// A random generator for tests with random faults (SplitMix64; Steele, Lea and Flood 2014).
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    pub(crate) const fn new(seed: u64) -> Self {
        SplitMix64(seed)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}
