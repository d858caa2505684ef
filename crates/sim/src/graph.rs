//! The overlay of the live peers as a graph.

use std::collections::{BTreeMap, BTreeSet};

use crate::node::NodeId;

/// The live peers and their links. Two peers have an edge if each lists the other as a neighbour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    neighbours: BTreeMap<NodeId, BTreeSet<NodeId>>,
    /// Pairs of which only the first lists the second as a neighbour: a request is under way, or
    /// the other end has not noticed yet that the link is lost.
    pub one_sided: Vec<(NodeId, NodeId)>,
}

impl Graph {
    /// Builds the graph from the neighbours that each peer lists.
    #[must_use]
    pub fn new(listed: &BTreeMap<NodeId, BTreeSet<NodeId>>) -> Self {
        let mut graph = Graph::default();
        for (&a, neighbours) in listed {
            let set = graph.neighbours.entry(a).or_default();
            for &b in neighbours {
                if listed.get(&b).is_some_and(|s| s.contains(&a)) {
                    set.insert(b);
                } else {
                    graph.one_sided.push((a, b));
                }
            }
        }
        graph
    }

    /// The peers, ascending.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.neighbours.keys().copied()
    }

    /// The neighbours of one peer, ascending.
    pub fn neighbours(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.neighbours.get(&node).into_iter().flatten().copied()
    }

    /// Hops on the shortest path from one peer to each peer that it reaches; 0 to itself.
    #[must_use]
    pub fn distances(&self, from: NodeId) -> BTreeMap<NodeId, u32> {
        let mut all = BTreeMap::from([(from, 0)]);
        let mut frontier = vec![from];
        for hops in 1.. {
            let mut next = Vec::new();
            for node in frontier.into_iter().flat_map(|n| self.neighbours(n)) {
                all.entry(node).or_insert_with(|| {
                    next.push(node);
                    hops
                });
            }
            if next.is_empty() {
                break;
            }
            frontier = next;
        }
        all
    }

    /// Whether the two are neighbours.
    #[must_use]
    pub fn has_edge(&self, a: NodeId, b: NodeId) -> bool {
        self.neighbours.get(&a).is_some_and(|s| s.contains(&b))
    }

    /// Number of edges.
    #[must_use]
    pub fn edges(&self) -> usize {
        self.neighbours.values().map(BTreeSet::len).sum::<usize>() / 2
    }

    /// Degree of each peer, in the order of [`Graph::nodes`].
    #[must_use]
    pub fn degrees(&self) -> Vec<usize> {
        self.neighbours.values().map(BTreeSet::len).collect()
    }

    /// Number of peers of each degree.
    #[must_use]
    pub fn histogram(&self) -> BTreeMap<usize, usize> {
        let mut h = BTreeMap::new();
        for d in self.degrees() {
            *h.entry(d).or_default() += 1;
        }
        h
    }

    /// The peers with a path from this one, the start included, ascending.
    #[must_use]
    pub fn reachable(&self, from: NodeId) -> BTreeSet<NodeId> {
        let mut visited = BTreeSet::from([from]);
        let mut open = vec![from];
        while let Some(node) = open.pop() {
            for next in self.neighbours(node) {
                if visited.insert(next) {
                    open.push(next);
                }
            }
        }
        visited
    }

    /// The components, largest first.
    #[must_use]
    pub fn components(&self) -> Vec<BTreeSet<NodeId>> {
        let mut left: BTreeSet<NodeId> = self.nodes().collect();
        let mut all = Vec::new();
        while let Some(&first) = left.first() {
            let component = self.reachable(first);
            left.retain(|n| !component.contains(n));
            all.push(component);
        }
        all.sort_by_key(|c| core::cmp::Reverse(c.len()));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(u32, u32)], isolated: &[u32]) -> Graph {
        let mut listed: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
        for &(a, b) in edges {
            listed.entry(NodeId(a)).or_default().insert(NodeId(b));
            listed.entry(NodeId(b)).or_default();
        }
        for &n in isolated {
            listed.entry(NodeId(n)).or_default();
        }
        Graph::new(&listed)
    }

    #[test]
    fn edge_exists_only_if_both_ends_list_it() {
        let g = graph(&[(0, 1), (1, 0), (1, 2)], &[]);
        assert!(g.has_edge(0.into(), 1.into()));
        assert!(!g.has_edge(1.into(), 2.into()));
        assert_eq!(g.one_sided, [(NodeId(1), NodeId(2))]);
        assert_eq!(g.edges(), 1);
    }

    #[test]
    fn components_are_sorted_by_size_descending() {
        let g = graph(&[(0, 1), (1, 0), (3, 4), (4, 3), (4, 5), (5, 4)], &[9]);
        let sizes: Vec<usize> = g.components().iter().map(BTreeSet::len).collect();
        assert_eq!(sizes, [3, 2, 1]);
        assert_eq!(g.histogram(), BTreeMap::from([(0, 1), (1, 4), (2, 1)]));
    }

    #[test]
    fn distances_count_hops_of_shortest_paths() {
        let both = |pairs: &[(u32, u32)]| -> Vec<(u32, u32)> {
            pairs.iter().flat_map(|&(a, b)| [(a, b), (b, a)]).collect()
        };
        let g = graph(&both(&[(0, 1), (1, 2), (2, 3), (0, 3), (3, 4)]), &[9]);
        let distances: Vec<(u32, u32)> =
            g.distances(0.into()).iter().map(|(n, d)| (n.0, *d)).collect();
        assert_eq!(distances, [(0, 0), (1, 1), (2, 2), (3, 1), (4, 2)]);
    }

    impl From<u32> for NodeId {
        fn from(n: u32) -> Self {
            NodeId(n)
        }
    }
}
