//! Queries for the state of a world, and the observation for the checkers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rumormill_proto::failure::reports_needed;
use rumormill_proto::snapshot::{MemberState, MemberView, PeerSnapshot, SeedSnapshot};
use rumormill_proto::{MessageId, Peer, PeerId, Role, Seed};

use super::World;
use crate::graph::Graph;
use crate::machine::NodeCore;
use crate::node::{NodeId, NodeStatus};
use crate::observation::{NodeObservation, Observation, grace, settle};

impl World {
    /// The snapshot of a peer, also of a frozen one; `None` if the node is not a peer whose process
    /// exists.
    #[must_use]
    pub fn peer_snapshot(&self, node: NodeId) -> Option<PeerSnapshot> {
        self.peer(node).map(|p| p.snapshot(self.now))
    }

    /// The snapshot of a seed; `None` if the node is not a seed whose process exists.
    #[must_use]
    pub fn seed_snapshot(&self, node: NodeId) -> Option<SeedSnapshot> {
        self.seed(node).map(|s| s.snapshot(self.now))
    }

    /// The members that a peer knows or that a seed has in its registry, by id; empty for other
    /// nodes.
    #[must_use]
    pub fn members(&self, node: NodeId) -> Vec<MemberView> {
        match &self.node(node).core {
            Some(NodeCore::Peer(p)) => p.members(),
            Some(NodeCore::Seed(s)) => s.members(),
            _ => Vec::new(),
        }
    }

    /// A peer's core, for queries that a snapshot does not answer.
    #[must_use]
    pub fn peer(&self, node: NodeId) -> Option<&Peer> {
        match &self.node(node).core {
            Some(NodeCore::Peer(p)) => Some(p),
            _ => None,
        }
    }

    fn seed(&self, node: NodeId) -> Option<&Seed> {
        match &self.node(node).core {
            Some(NodeCore::Seed(s)) => Some(s),
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

    /// The overlay of the live peers, by the neighbours that they list.
    #[must_use]
    pub fn graph(&self) -> Graph {
        let live = self.live_peers();
        let mut listed: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
        for node in live {
            let Some(peer) = self.peer(node) else { continue };
            let neighbours = peer.neighbours().filter_map(|(id, _)| self.node_of(&id));
            listed.insert(node, neighbours.filter(|n| !self.node(*n).is_adversary).collect());
        }
        Graph::new(&listed)
    }

    /// Whether a peer has a message: it is on the message list, and the peer has not reported a gap
    /// for it since it last arrived.
    pub(super) fn has(&self, node: NodeId, id: &MessageId) -> bool {
        if !self.peer(node).is_some_and(|p| p.has_seen(id)) {
            return false;
        }
        let mut gaps = self.ledger.gaps.iter().rev();
        let Some(gap) = gaps.find(|g| g.node == node && g.covers(id)) else { return true };
        self.ledger.arrivals.iter().skip(gap.after).any(|a| a.node == node && a.id == *id)
    }

    /// The first running peer found that has a message and that an unblocked path of the overlay
    /// connects with `from`.
    pub(super) fn reachable_holder(&self, from: NodeId, id: &MessageId) -> Option<NodeId> {
        let graph = self.graph();
        // A peer that marks a stream as ended need not have had its messages: it may have joined
        // later or reported a gap. So only peers with a delivery count.
        let arrivals = self.ledger.arrivals.iter().filter(|a| a.id == *id);
        let receivers: BTreeSet<NodeId> = arrivals.map(|a| a.node).collect();
        let mut visited = BTreeSet::from([from]);
        let mut open = VecDeque::from([from]);
        while let Some(node) = open.pop_front() {
            if node != from && receivers.contains(&node) && self.has(node, id) {
                return Some(node);
            }
            for next in graph.neighbours(node).filter(|n| !self.is_apart(node, *n)) {
                if visited.insert(next) {
                    open.push_back(next);
                }
            }
        }
        None
    }

    /// The peers that a receipt must count, see [`ReceiptUpdate`](crate::ledger::ReceiptUpdate).
    pub(super) fn peers_to_count(&self, publisher: NodeId, id: &MessageId) -> Vec<NodeId> {
        let published = self.ledger.publications.iter().rev().find(|p| p.id == *id);
        let Some(at) = published.map(|p| p.at) else { return Vec::new() };
        let participated = |n: &NodeId| {
            let since = self.peer(*n).and_then(Peer::participates_since);
            since.is_some_and(|since| since < at)
        };
        let is_live = |m: &MemberView| matches!(m.state, MemberState::Alive | MemberState::Suspect);
        let is_counted = |m: &MemberView| is_live(m) && m.participates;
        let members = self.members(publisher).into_iter().filter(is_counted);
        // All processes with one identity are one member: a copy that has the message holds it for
        // the original.
        let copies = self.held_by_copies(id);
        let members = members.filter(|m| !copies.contains(&m.id));
        members.filter_map(|m| self.node_of(&m.id)).filter(participated).collect()
    }

    /// The members of which a copy has received the message.
    fn held_by_copies(&self, id: &MessageId) -> BTreeSet<PeerId> {
        if !self.nodes().any(|n| self.node(n).is_copy) {
            return BTreeSet::new();
        }
        let copies = self.ledger.arrivals.iter().filter(|a| self.node(a.node).is_copy);
        copies.filter(|a| a.id == *id).map(|a| self.node(a.node).identity.id()).collect()
    }

    /// The observation of the whole world, for the checkers.
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
            adversaries: self
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
            started_at: n.started_at,
            uptime: n.uptime(self.now),
            peer: self.peer_snapshot(node),
            publishers: self.peer(node).map(Peer::publishers).unwrap_or_default(),
            seed: self.seed_snapshot(node),
            registry: if n.role() == Role::Seed { self.members(node) } else { Vec::new() },
            linked: self.linked_peers(node),
        }
    }

    /// The live peers to which a live peer has a link.
    fn linked_peers(&self, node: NodeId) -> Vec<NodeId> {
        let is_live_peer = |n: NodeId| {
            let is_checked = !self.node(n).is_copy && !self.node(n).is_adversary;
            is_checked && self.status(n) == NodeStatus::Running && self.peer(n).is_some()
        };
        if !is_live_peer(node) {
            return Vec::new();
        }
        let mut linked = self.links.linked_nodes(node);
        linked.retain(|n| is_live_peer(*n));
        linked
    }

    /// Death reports that a removal of this node would need now: by its own degree or the degree
    /// that a seed has stored, whichever needs fewer, and at most as many as there are other live
    /// peers.
    pub(super) fn reports_needed(&self, node: NodeId) -> usize {
        let Some(own) = self.peer_snapshot(node) else { return 0 };
        let own_degree = u16::try_from(own.neighbours.len()).unwrap_or(u16::MAX);
        let stored_degrees = self
            .nodes()
            .filter(|&n| self.seed(n).is_some())
            .flat_map(|n| self.members(n))
            .filter(|m| m.id == own.id)
            .map(|m| m.degree);
        let by_rule = stored_degrees.chain([own_degree]).map(reports_needed).min().unwrap_or(1);
        by_rule.min(self.live_peers().len().saturating_sub(1)).max(1)
    }
}
