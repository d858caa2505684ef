//! The overlay of a world in figures: cheap enough for a million peers.

use std::collections::BTreeMap;

use rumormill_proto::Peer;
use rumormill_proto::snapshot::PeerState;

use super::World;
use crate::link::other;
use crate::node::NodeStatus;

/// The overlay at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Peers whose process runs.
    pub peers: usize,
    /// Those of them that are registered at a quorum of the seeds.
    pub joined: usize,
    /// Those of them that have fewer neighbours than they want.
    pub short: usize,
    /// Neighbours that are missing, over all of them.
    pub missing: usize,
    /// Edges that both ends call one.
    pub edges: usize,
    /// Edges that one end calls so: on their way, or broken and not noticed.
    pub one_sided: usize,
    /// Sizes of the components, largest first.
    pub components: Vec<usize>,
    /// How many peers have which degree, by edges that both ends call one.
    pub degrees: BTreeMap<usize, usize>,
}

impl Survey {
    /// Edges per peer, counted at both ends.
    #[must_use]
    pub fn mean_degree(&self) -> f64 {
        if self.peers == 0 { 0.0 } else { 2.0 * self.edges as f64 / self.peers as f64 }
    }
}

impl World {
    /// The edges of the overlay that both ends call one, as node numbers in ascending order, and how
    /// many are called so by one end only.
    #[must_use]
    pub fn edges(&self) -> (Vec<(u32, u32)>, usize) {
        let mut said: Vec<(u32, u32)> = Vec::new();
        for node in self.nodes().filter(|n| self.node(*n).status == NodeStatus::Running) {
            for (_, link) in self.peer(node).into_iter().flat_map(Peer::neighbours) {
                let Some(there) = self.links.end(other(link)) else { continue };
                said.push((node.0.min(there.node.0), node.0.max(there.node.0)));
            }
        }
        said.sort_unstable();
        let all = said.len();
        let mut edges = Vec::with_capacity(all / 2);
        let mut said = said.into_iter().peekable();
        while let Some(edge) = said.next() {
            if said.next_if_eq(&edge).is_some() {
                edges.push(edge);
            }
        }
        let one_sided = all - 2 * edges.len();
        (edges, one_sided)
    }

    /// Looks at the whole overlay, in a time that follows the number of peers and edges.
    #[must_use]
    pub fn survey(&self) -> Survey {
        let mut survey = Survey::default();
        let (edges, one_sided) = self.edges();
        let mut islands = Islands::new(self.nodes.len());
        let mut degrees = vec![0usize; self.nodes.len()];
        for &(a, b) in &edges {
            islands.join(a, b);
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
            *sizes.entry(islands.of(node.0)).or_default() += 1;
        }
        survey.components = sizes.into_values().collect();
        survey.components.sort_unstable_by(|a, b| b.cmp(a));
        (survey.edges, survey.one_sided) = (edges.len(), one_sided);
        survey
    }
}

/// Sets of nodes that a path connects (union by size, with path halving).
struct Islands {
    parent: Vec<u32>,
    size: Vec<u32>,
}

impl Islands {
    fn new(nodes: usize) -> Self {
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        Islands { parent: (0..nodes).collect(), size: vec![1; nodes as usize] }
    }

    fn of(&mut self, mut node: u32) -> u32 {
        while self.parent[node as usize] != node {
            let above = self.parent[self.parent[node as usize] as usize];
            self.parent[node as usize] = above;
            node = above;
        }
        node
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.of(a), self.of(b));
        if a != b {
            let smaller = self.size[a as usize] < self.size[b as usize];
            let (small, large) = if smaller { (a, b) } else { (b, a) };
            self.parent[small as usize] = large;
            self.size[large as usize] += self.size[small as usize];
        }
    }
}
