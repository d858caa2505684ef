//! An undirected graph over node indices, in compact form.

use crate::Histogram;

/// Why a list of edges is not a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// An edge names a node that does not exist.
    #[error("an edge names node {node}, and there are {nodes} nodes")]
    NoSuchNode {
        /// The index in the edge.
        node: u32,
        /// The number of nodes.
        nodes: usize,
    },
    /// An edge connects a node with itself.
    #[error("an edge connects node {node} with itself")]
    SelfLoop {
        /// The node.
        node: u32,
    },
    /// More nodes or edge ends than fit into 32 bits.
    #[error(
        "{nodes} nodes and {edges} edges are too many: both ends of all edges must fit 32 bits"
    )]
    TooLarge {
        /// The number of nodes requested.
        nodes: usize,
        /// The number of edges listed.
        edges: usize,
    },
}

/// An undirected graph without self-loops and parallel edges, over the nodes 0..n.
///
/// The neighbours of all nodes are in one array, ascending per node, and a second array holds the
/// start of each node's range (compressed sparse rows): 4 bytes per node and 8 per edge, so a
/// million nodes with 2.5 million edges take 24 MB, and every search reads memory mostly in order.
/// A graph library would add nothing that is needed here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    /// n + 1 offsets into `neighbours`.
    offsets: Vec<u32>,
    neighbours: Vec<u32>,
    merged: usize,
}

impl Graph {
    /// The graph with `nodes` nodes and these edges, in any order and direction. An edge listed
    /// more than once counts once; [`Graph::merged`] returns the number of duplicates.
    ///
    /// # Errors
    ///
    /// If an edge is a self-loop or names a node that does not exist, or if there are more than
    /// 2^31 - 1 edges or 2^32 - 1 nodes.
    pub fn new(nodes: usize, edges: &[(u32, u32)]) -> Result<Self, GraphError> {
        if nodes >= u32::MAX as usize || edges.len() > (u32::MAX / 2) as usize {
            return Err(GraphError::TooLarge { nodes, edges: edges.len() });
        }
        let mut offsets = vec![0u32; nodes + 1];
        for &(a, b) in edges {
            if a == b {
                return Err(GraphError::SelfLoop { node: a });
            }
            for node in [a, b] {
                match offsets.get_mut(node as usize + 1) {
                    Some(degree) => *degree += 1,
                    None => return Err(GraphError::NoSuchNode { node, nodes }),
                }
            }
        }
        for i in 0..nodes {
            offsets[i + 1] += offsets[i];
        }
        let mut next = offsets.clone();
        let mut neighbours = vec![0u32; edges.len() * 2];
        for &(a, b) in edges {
            for (from, to) in [(a, b), (b, a)] {
                let offset = &mut next[from as usize];
                neighbours[*offset as usize] = to;
                *offset += 1;
            }
        }
        let mut graph = Self { offsets, neighbours, merged: 0 };
        graph.sort_and_merge();
        Ok(graph)
    }

    /// Sorts each node's neighbours and removes duplicates.
    fn sort_and_merge(&mut self) {
        let before = self.neighbours.len();
        let mut kept = 0;
        for node in 0..self.len() {
            let (start, end) = (self.offsets[node] as usize, self.offsets[node + 1] as usize);
            self.neighbours[start..end].sort_unstable();
            self.offsets[node] = kept as u32;
            let first = kept;
            for i in start..end {
                let neighbour = self.neighbours[i];
                if kept == first || self.neighbours[kept - 1] != neighbour {
                    self.neighbours[kept] = neighbour;
                    kept += 1;
                }
            }
        }
        if let Some(end) = self.offsets.last_mut() {
            *end = kept as u32;
        }
        self.neighbours.truncate(kept);
        self.merged = (before - kept) / 2;
    }

    /// Number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether the graph has no nodes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of edges.
    #[must_use]
    pub fn edge_count(&self) -> usize {
        self.neighbours.len() / 2
    }

    /// The number of listed edges that were left out as duplicates.
    #[must_use]
    pub fn merged(&self) -> usize {
        self.merged
    }

    /// The neighbours of a node, ascending; empty for a node that does not exist.
    #[must_use]
    pub fn neighbours(&self, node: u32) -> &[u32] {
        let node = node as usize;
        match (self.offsets.get(node), self.offsets.get(node + 1)) {
            (Some(&start), Some(&end)) => &self.neighbours[start as usize..end as usize],
            _ => &[],
        }
    }

    /// The degree of a node; 0 for one that does not exist.
    #[must_use]
    pub fn degree(&self, node: u32) -> usize {
        self.neighbours(node).len()
    }

    /// The nodes, ascending.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = u32> + use<> {
        0..self.len() as u32
    }

    /// Every edge once, from the smaller to the larger index, ascending.
    pub fn edges(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.nodes().flat_map(move |a| {
            let all = self.neighbours(a);
            all[all.partition_point(|&b| b < a)..].iter().map(move |&b| (a, b))
        })
    }

    /// Whether two nodes are neighbours.
    #[must_use]
    pub fn has_edge(&self, a: u32, b: u32) -> bool {
        self.neighbours(a).binary_search(&b).is_ok()
    }

    /// The distribution of the degrees.
    #[must_use]
    pub fn degrees(&self) -> Histogram {
        let largest = self.nodes().map(|v| self.degree(v)).max().unwrap_or(0);
        let mut counts = vec![0u64; largest + 1];
        for node in self.nodes() {
            counts[self.degree(node)] += 1;
        }
        Histogram::from_counts((0..).zip(counts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn invalid_edges_and_sizes_are_refused() {
        assert_eq!(Graph::new(3, &[(0, 1), (2, 2)]), Err(GraphError::SelfLoop { node: 2 }));
        let missing = GraphError::NoSuchNode { node: 3, nodes: 3 };
        assert_eq!(Graph::new(3, &[(0, 3)]), Err(missing));
        assert!(matches!(Graph::new(usize::MAX, &[]), Err(GraphError::TooLarge { .. })));
    }

    #[test]
    fn graph_without_nodes_is_empty() {
        for graph in [Graph::new(0, &[]).unwrap(), Graph::default()] {
            assert!(graph.is_empty() && graph.degrees().is_empty());
            assert_eq!((graph.edge_count(), graph.nodes().len()), (0, 0));
            assert_eq!(graph.neighbours(0), [0u32; 0]);
        }
    }

    proptest! {
        #[test]
        fn every_listed_edge_is_returned_once(
            pairs in prop::collection::vec((0u32..30, 0u32..30), 0..200),
        ) {
            let listed: Vec<_> = pairs.into_iter().filter(|(a, b)| a != b).collect();
            let graph = Graph::new(30, &listed).unwrap();
            let different: BTreeSet<_> =
                listed.iter().map(|&(a, b)| (a.min(b), a.max(b))).collect();
            prop_assert_eq!(&graph.edges().collect::<BTreeSet<_>>(), &different);
            prop_assert_eq!(graph.edge_count(), different.len());
            prop_assert_eq!(graph.merged(), listed.len() - different.len());
            let degrees = graph.degrees();
            prop_assert_eq!(degrees.n(), 30);
            let ends: u64 = degrees.bins().iter().map(|(d, c)| d * c).sum();
            prop_assert_eq!(ends as usize, 2 * different.len());
            for (a, b) in different {
                prop_assert!(graph.has_edge(a, b) && graph.has_edge(b, a));
            }
        }
    }
}
