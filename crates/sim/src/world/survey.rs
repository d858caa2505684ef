//! Figures of the overlay of a world, cheap enough for a million peers.

use std::collections::BTreeMap;

use rumormill_proto::Peer;
use rumormill_proto::snapshot::PeerState;

use super::World;
use crate::link::other;
use crate::node::NodeStatus;

/// Figures of the overlay at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Peers whose process runs.
    pub peers: usize,
    /// Peers among them that are registered at a quorum of the seeds.
    pub joined: usize,
    /// Peers among them with fewer neighbours than their target degree.
    pub short: usize,
    /// Neighbours missing to the target degrees of all peers.
    pub missing: usize,
    /// Edges that both ends list.
    pub edges: usize,
    /// Edges that only one end lists: under construction, or lost and not noticed.
    pub one_sided: usize,
    /// Sizes of the components, largest first.
    pub components: Vec<usize>,
    /// Number of peers of each degree, by edges that both ends list.
    pub degrees: BTreeMap<usize, usize>,
}

impl Survey {
    /// Mean degree of a peer.
    #[must_use]
    pub fn mean_degree(&self) -> f64 {
        if self.peers == 0 { 0.0 } else { 2.0 * self.edges as f64 / self.peers as f64 }
    }
}

impl World {
    /// The edges of the overlay that both ends list, as node numbers in ascending order, and the
    /// number of edges that only one end lists.
    #[must_use]
    pub fn edges(&self) -> (Vec<(u32, u32)>, usize) {
        let mut listed: Vec<(u32, u32)> = Vec::new();
        for node in self.nodes().filter(|n| self.node(*n).status == NodeStatus::Running) {
            for (_, link) in self.peer(node).into_iter().flat_map(Peer::neighbours) {
                let Some(there) = self.links.end(other(link)) else { continue };
                listed.push((node.0.min(there.node.0), node.0.max(there.node.0)));
            }
        }
        listed.sort_unstable();
        let all = listed.len();
        let mut edges = Vec::with_capacity(all / 2);
        let mut listed = listed.into_iter().peekable();
        while let Some(edge) = listed.next() {
            if listed.next_if_eq(&edge).is_some() {
                edges.push(edge);
            }
        }
        let one_sided = all - 2 * edges.len();
        (edges, one_sided)
    }

    /// Measures the whole overlay, in time linear in the number of peers and edges.
    #[must_use]
    pub fn survey(&self) -> Survey {
        let mut survey = Survey::default();
        let (edges, one_sided) = self.edges();
        let mut components = UnionFind::new(self.nodes.len());
        let mut degrees = vec![0usize; self.nodes.len()];
        for &(a, b) in &edges {
            components.join(a, b);
            degrees[a as usize] += 1;
            degrees[b as usize] += 1;
        }
        let mut sizes: BTreeMap<u32, usize> = BTreeMap::new();
        for node in self.nodes().filter(|n| self.node(*n).status == NodeStatus::Running) {
            let Some(peer) = self.peer(node) else { continue };
            let degree = degrees[node.0 as usize];
            let missing = usize::from(peer.target()).saturating_sub(degree);
            survey.peers += 1;
            survey.joined += usize::from(peer.state() == PeerState::Joined);
            survey.short += usize::from(missing > 0);
            survey.missing += missing;
            *survey.degrees.entry(degree).or_default() += 1;
            *sizes.entry(components.root(node.0)).or_default() += 1;
        }
        survey.components = sizes.into_values().collect();
        survey.components.sort_unstable_by(|a, b| b.cmp(a));
        (survey.edges, survey.one_sided) = (edges.len(), one_sided);
        survey
    }
}

/// Disjoint sets of connected nodes (union by size, with path halving).
struct UnionFind {
    parent: Vec<u32>,
    size: Vec<u32>,
}

impl UnionFind {
    fn new(nodes: usize) -> Self {
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        UnionFind { parent: (0..nodes).collect(), size: vec![1; nodes as usize] }
    }

    fn root(&mut self, mut node: u32) -> u32 {
        while self.parent[node as usize] != node {
            let grandparent = self.parent[self.parent[node as usize] as usize];
            self.parent[node as usize] = grandparent;
            node = grandparent;
        }
        node
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        if a != b {
            let smaller = self.size[a as usize] < self.size[b as usize];
            let (small, large) = if smaller { (a, b) } else { (b, a) };
            self.parent[small as usize] = large;
            self.size[large as usize] += self.size[small as usize];
        }
    }
}
