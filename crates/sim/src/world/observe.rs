//! Looking at a world from outside.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rumormill_proto::failure::reports_needed;
use rumormill_proto::snapshot::{MemberState, MemberView, PeerSnapshot, SeedSnapshot};
use rumormill_proto::{MessageId, Peer, PeerId, Role, Seed};

use super::World;
use crate::graph::Graph;
use crate::machine::Core;
use crate::node::{NodeId, NodeStatus};
use crate::observation::{NodeObservation, Observation, grace, settle};

impl World {
    /// Everything about a peer; `None` if the node is not a peer whose process exists. A frozen
    /// one can be looked at too.
    #[must_use]
    pub fn peer_snapshot(&self, node: NodeId) -> Option<PeerSnapshot> {
        self.peer(node).map(|p| p.snapshot(self.now))
    }

    /// Everything about a seed; `None` if the node is not a seed whose process exists.
    #[must_use]
    pub fn seed_snapshot(&self, node: NodeId) -> Option<SeedSnapshot> {
        self.seed(node).map(|s| s.snapshot(self.now))
    }

    /// The members that a peer sees or a seed has in its registry, by id; empty for other nodes.
    #[must_use]
    pub fn members(&self, node: NodeId) -> Vec<MemberView> {
        match &self.node(node).core {
            Some(Core::Peer(p)) => p.members(self.now),
            Some(Core::Seed(s)) => s.members(self.now),
            _ => Vec::new(),
        }
    }

    /// A peer's core, to ask what a snapshot does not say.
    #[must_use]
    pub fn peer(&self, node: NodeId) -> Option<&Peer> {
        match &self.node(node).core {
            Some(Core::Peer(p)) => Some(p),
            _ => None,
        }
    }

    fn seed(&self, node: NodeId) -> Option<&Seed> {
        match &self.node(node).core {
            Some(Core::Seed(s)) => Some(s),
            _ => None,
        }
    }

    /// Peers whose process runs, ascending.
    #[must_use]
    pub fn live_peers(&self) -> Vec<NodeId> {
        let runs = |n: &NodeId| {
            let is_copy = self.node(*n).is_copy;
            !is_copy && self.status(*n) == NodeStatus::Running && self.peer(*n).is_some()
        };
        self.nodes().filter(runs).collect()
    }

    /// The overlay of the peers whose process runs, as they themselves see it.
    #[must_use]
    pub fn graph(&self) -> Graph {
        let live = self.live_peers();
        let mut said: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
        for node in live {
            let Some(peer) = self.peer(node) else { continue };
            let theirs = peer.neighbours().filter_map(|(id, _)| self.node_of(&id));
            said.insert(node, theirs.filter(|n| !self.node(*n).is_adversary).collect());
        }
        Graph::new(&said)
    }

    /// Whether a peer has a message: that it knows of it, and has not given it up since it last came.
    pub(super) fn has(&self, node: NodeId, id: &MessageId) -> bool {
        if !self.peer(node).is_some_and(|p| p.has_seen(id)) {
            return false;
        }
        let mut gaps = self.ledger.gaps.iter().rev();
        let Some(gap) = gaps.find(|g| g.node == node && g.covers(id)) else { return true };
        self.ledger.arrivals.iter().skip(gap.after).any(|a| a.node == node && a.id == *id)
    }

    /// A running peer that has a message and that a path of neighbours leads to, none of them cut off
    /// from the next; the first one found.
    pub(super) fn reachable_holder(&self, from: NodeId, id: &MessageId) -> Option<NodeId> {
        let graph = self.graph();
        // A peer that says that a stream is over need not have had its messages: it came later, or was told a gap.
        let arrivals = self.ledger.arrivals.iter().filter(|a| a.id == *id);
        let got: BTreeSet<NodeId> = arrivals.map(|a| a.node).collect();
        let mut seen = BTreeSet::from([from]);
        let mut open = VecDeque::from([from]);
        while let Some(node) = open.pop_front() {
            if node != from && got.contains(&node) && self.has(node, id) {
                return Some(node);
            }
            for next in graph.neighbours(node).filter(|n| !self.is_apart(node, *n)) {
                if seen.insert(next) {
                    open.push_back(next);
                }
            }
        }
        None
    }

    /// The peers that a receipt has to count, see [`ReceiptTold`](crate::ledger::ReceiptTold).
    pub(super) fn owed_a_place(&self, publisher: NodeId, id: &MessageId) -> Vec<NodeId> {
        let published = self.ledger.publications.iter().rev().find(|p| p.id == *id);
        let Some(at) = published.map(|p| p.at) else { return Vec::new() };
        let took_part = |n: &NodeId| {
            let since = self.peer(*n).and_then(Peer::participates_since);
            since.is_some_and(|since| since < at)
        };
        let is_live = |m: &MemberView| matches!(m.state, MemberState::Alive | MemberState::Suspect);
        let counts = |m: &MemberView| is_live(m) && m.participates;
        let members = self.members(publisher).into_iter().filter(counts);
        // One member is all processes with its identity: a copy that has the message holds it for the original.
        let copies = self.held_by_copies(id);
        let members = members.filter(|m| !copies.contains(&m.id));
        members.filter_map(|m| self.node_of(&m.id)).filter(took_part).collect()
    }

    /// The members whose identity a copied data directory runs with as well, where the copy has got the message.
    fn held_by_copies(&self, id: &MessageId) -> BTreeSet<PeerId> {
        if !self.nodes().any(|n| self.node(n).is_copy) {
            return BTreeSet::new();
        }
        let copies = self.ledger.arrivals.iter().filter(|a| self.node(a.node).is_copy);
        copies.filter(|a| a.id == *id).map(|a| self.node(a.node).identity.id()).collect()
    }

    /// One look at everything, for the checkers.
    #[must_use]
    pub fn observe(&self) -> Observation {
        let originals = self.nodes().filter(|n| !self.node(*n).is_copy);
        let nodes: Vec<NodeObservation> = originals.map(|n| self.observe_node(n)).collect();
        let seeds = nodes.iter().filter(|n| n.role == Role::Seed).count();
        let longest = |f: fn(&rumormill_proto::Config) -> core::time::Duration| {
            nodes.iter().map(|n| f(&n.config)).max().unwrap_or_default()
        };
        Observation {
            now: self.now,
            seeds,
            graph: self.graph(),
            quiet_since: self.quiet_since(),
            grace: longest(grace),
            settle: longest(settle),
            strangers: self
                .nodes
                .iter()
                .filter(|n| n.is_adversary)
                .map(|n| n.identity.id())
                .collect(),
            nodes,
            ledger: self.ledger.clone(),
        }
    }

    fn observe_node(&self, node: NodeId) -> NodeObservation {
        let n = self.node(node);
        NodeObservation {
            node,
            id: n.identity.id(),
            role: n.role(),
            config: n.config.as_ref().clone(),
            status: n.status,
            life_since: n.life_since,
            lived: n.lived(self.now),
            peer: self.peer_snapshot(node),
            publishers: self.peer(node).map(Peer::publishers).unwrap_or_default(),
            seed: self.seed_snapshot(node),
            registry: if n.role() == Role::Seed { self.members(node) } else { Vec::new() },
            linked: self.linked(node),
        }
    }

    /// The live peers that a live peer has a link to.
    fn linked(&self, node: NodeId) -> Vec<NodeId> {
        let is_live_peer = |n: NodeId| {
            let is_sound = !self.node(n).is_copy && !self.node(n).is_adversary;
            is_sound && self.status(n) == NodeStatus::Running && self.peer(n).is_some()
        };
        if !is_live_peer(node) {
            return Vec::new();
        }
        let mut linked = self.links.open_from(node);
        linked.retain(|n| is_live_peer(*n));
        linked
    }

    /// Reports that would be needed now to remove a node, by its own word on its degree or that of
    /// a seed, whichever needs fewer; never more than there are others.
    pub(super) fn reports_needed(&self, node: NodeId) -> usize {
        let Some(own) = self.peer_snapshot(node) else { return 0 };
        let own_degree = u16::try_from(own.neighbours.len()).unwrap_or(u16::MAX);
        let told = self
            .nodes()
            .filter(|&n| self.seed(n).is_some())
            .flat_map(|n| self.members(n))
            .filter(|m| m.id == own.id)
            .map(|m| m.degree);
        let by_rule = told.chain([own_degree]).map(reports_needed).min().unwrap_or(1);
        by_rule.min(self.live_peers().len().saturating_sub(1)).max(1)
    }
}
