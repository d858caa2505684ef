//! What the scenarios share.

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

/// Added to the seed of every scenario, to run them all in other worlds:
/// `RUMORMILL_SIM_SEED=1000 cargo test -p rumormill-sim`.
const OTHER_WORLDS: &str = "RUMORMILL_SIM_SEED";

// The only thing a test takes from its surroundings; without it every run is the same.
#[allow(clippy::disallowed_methods)]
pub(crate) fn world_config(seed: u64, node: Config) -> WorldConfig {
    let offset: u64 = std::env::var(OTHER_WORLDS).map_or(0, |n| n.parse().unwrap());
    let seed = seed + offset;
    WorldConfig { check_every: ms(100), ..WorldConfig::new(seed, node) }
}

/// Seeds and peers that have joined and settled.
pub(crate) struct Net {
    pub(crate) world: World,
    pub(crate) seeds: Vec<NodeId>,
    pub(crate) peers: Vec<NodeId>,
}

impl Net {
    /// Every peer publishes some messages, and each has a sound tree.
    #[track_caller]
    pub(crate) fn build_trees(&mut self) {
        let from = self.world.now();
        self.publish_three_rounds();
        self.assert_valid_trees(from);
    }

    /// Every peer publishes some messages.
    pub(crate) fn publish_three_rounds(&mut self) {
        for _ in 0..3 {
            for p in self.world.live_peers() {
                self.world.publish(p, "growing", b"").unwrap();
            }
            self.world.run_for(ms(500));
        }
    }

    /// The trees of those that have published since then come to rest.
    #[track_caller]
    pub(crate) fn assert_valid_trees(&mut self, from: Time) {
        let found = |w: &World| checkers::trees::check(&w.observe(), w.now().since(from));
        if !self.world.run_until(s(10), |w| found(w).is_empty()) {
            self.fail("the trees are not sound", &found(&self.world));
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
        // The last changes reach the seeds.
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

    /// All promises of a network at rest hold within a time.
    #[track_caller]
    pub(crate) fn assert_at_rest_within(&mut self, limit: Duration) {
        let rests = |w: &World| checkers::at_rest(&w.observe()).is_empty();
        if !self.world.run_until(limit, rests) {
            let found = checkers::at_rest(&self.world.observe());
            self.fail("the network does not come to rest", &found);
        }
    }

    /// The promises that hold at any time hold now.
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

    /// Waits for a condition.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, limit: Duration, what: &str, holds: impl FnMut(&World) -> bool) {
        let seed = self.world.config().seed;
        let held = self.world.run_until(limit, holds);
        assert!(held, "not within {limit:?} (seed {seed}, at {}): {what}", self.world.now());
    }

    pub(crate) fn id(&self, node: NodeId) -> PeerId {
        self.world.id(node)
    }

    /// A peer with at least so many neighbours; the first one.
    pub(crate) fn peer_with_degree(&self, at_least: usize) -> NodeId {
        let graph = self.world.graph();
        *self
            .peers
            .iter()
            .find(|&&p| graph.neighbours(p).count() >= at_least)
            .expect("no peer has that many neighbours")
    }

    /// Two peers that are neighbours, neither of them alone with the other.
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

    /// So many peers, no two of them neighbours.
    pub(crate) fn non_neighbours(&self, n: usize) -> Vec<NodeId> {
        let graph = self.world.graph();
        let mut chosen: Vec<NodeId> = Vec::new();
        for &p in &self.peers {
            if chosen.len() < n && !chosen.iter().any(|&c| graph.has_edge(c, p)) {
                chosen.push(p);
            }
        }
        assert_eq!(chosen.len(), n, "there are not so many strangers");
        chosen
    }

    pub(crate) fn publish_at_all_peers(&mut self) -> Vec<MessageId> {
        let live = self.world.live_peers();
        live.iter().map(|&p| self.world.publish(p, "t", b"hello").unwrap()).collect()
    }

    /// When each live seed removed the node; `None` until all of them have.
    pub(crate) fn removals(&self, node: NodeId) -> Option<Vec<(Time, Removal)>> {
        removed(&self.world, &self.seeds, node)
    }

    /// The dead node was removed at every live seed within a time of its death, on enough
    /// witnesses.
    #[track_caller]
    pub(crate) fn assert_removed_within(&mut self, node: NodeId, died: Time, limit: Duration) {
        let seeds = self.seeds.clone();
        let left = limit.saturating_sub(self.world.now().since(died)) + ms(1);
        self.wait_until(left + s(1), "the dead peer is removed", |w| removed(w, &seeds, node).is_some());
        for (at, removal) in self.removals(node).unwrap() {
            let took = at.since(died);
            assert!(took <= limit, "{} took {took:?} to remove {node}", removal.observer);
        }
    }

    /// Nobody was ever removed, apart from these.
    #[track_caller]
    pub(crate) fn assert_only_removed(&self, nodes: &[NodeId]) {
        let allowed: BTreeSet<PeerId> = nodes.iter().map(|&n| self.id(n)).collect();
        let removals = &self.world.ledger().removals;
        if let Some(r) = removals.iter().find(|r| !allowed.contains(&r.subject)) {
            let who = self.world.node_of(&r.subject);
            panic!("{who:?} was removed (seed {}): {r:?}", self.world.config().seed);
        }
    }

    /// What a seed says of a peer.
    pub(crate) fn state_at(&self, seed: NodeId, peer: NodeId) -> Option<MemberState> {
        let id = self.id(peer);
        self.world.members(seed).iter().find(|m| m.id == id).map(|m| m.state)
    }

    pub(crate) fn event_times(&self, node: NodeId, what: impl Fn(&Event) -> bool) -> Vec<Time> {
        let events = self.world.events(node).iter();
        events.filter(|(_, e)| what(e)).map(|(at, _)| *at).collect()
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

/// Chance for a scenario that makes itself up (SplitMix64; Steele, Lea and Flood 2014).
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
