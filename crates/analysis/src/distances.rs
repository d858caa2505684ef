//! Distances between nodes: diameter and mean path length of the largest component.

use serde::{Deserialize, Serialize};

use crate::components::Components;
use crate::graph::Graph;
use crate::random::{choose, stream};

/// Up to this many nodes in the largest component, a search from each of them gives exact values.
pub const EXACT_UP_TO: usize = 2000;

/// The longest of all shortest paths, in hops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Diameter {
    /// The exact value.
    Exact(u32),
    /// A path of this length exists; there may be longer ones.
    AtLeast(u32),
}

impl Diameter {
    /// The number of hops, exact or not.
    #[must_use]
    pub fn hops(self) -> u32 {
        match self {
            Diameter::Exact(hops) | Diameter::AtLeast(hops) => hops,
        }
    }
}

/// Distances between the nodes of the largest component, in hops.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Distances {
    /// Nodes in the component.
    pub nodes: usize,
    /// Its diameter.
    pub diameter: Diameter,
    /// Mean over all pairs of different nodes, or over the sources searched from; 0 for one node.
    pub mean_path: f64,
    /// Standard error of the mean: 0 where it is exact, none with a single source.
    pub mean_path_error: Option<f64>,
    /// The number of nodes that were searched from; all nodes if the mean is exact.
    pub sources: usize,
}

impl Distances {
    /// Measures the largest component.
    ///
    /// Up to [`EXACT_UP_TO`] nodes, or if `sources` are no fewer than the nodes, everything is
    /// exact. Above, the mean is taken over searches from `sources` nodes (at least 1) drawn from
    /// `seed`, and the diameter is the longest path that these find, or a second search from the
    /// furthest node of each of the first four (the double sweep, which is exact on trees and
    /// mostly so on networks like this). Each search visits every edge: about 0.1 s for a million
    /// nodes.
    ///
    /// None for a graph without nodes.
    #[must_use]
    pub fn new(graph: &Graph, sources: usize, seed: u64) -> Option<Self> {
        let nodes = Components::new(graph).nodes(0);
        let exact = nodes.len() <= EXACT_UP_TO || nodes.len() <= sources;
        let chosen = if exact {
            (0..nodes.len()).collect()
        } else {
            choose(&mut stream(seed, b"distance", 0), nodes.len(), sources.max(1))
        };
        if chosen.is_empty() {
            return None;
        }
        let mut search = Search::new(graph.len());
        let others = (nodes.len() - 1).max(1) as f64;
        let mut means = Vec::with_capacity(chosen.len());
        let mut longest = 0;
        for (i, &source) in chosen.iter().enumerate() {
            let reach = search.from(graph, nodes[source]);
            longest = longest.max(reach.furthest_hops);
            means.push(reach.total_hops as f64 / others);
            if !exact && i < 4 {
                let back = search.from(graph, reach.furthest);
                longest = longest.max(back.furthest_hops);
            }
        }
        let diameter = if exact { Diameter::Exact(longest) } else { Diameter::AtLeast(longest) };
        let count = means.len() as f64;
        let mean_path = means.iter().sum::<f64>() / count;
        let squares: f64 = means.iter().map(|m| (m - mean_path) * (m - mean_path)).sum();
        let mean_path_error = match means.len() {
            _ if exact => Some(0.0),
            1 => None,
            // Drawn without replacement: the error vanishes as the sources become all nodes.
            _ => {
                let left = 1.0 - count / nodes.len() as f64;
                Some((squares / (count - 1.0) / count * left).sqrt())
            }
        };
        let (nodes, sources) = (nodes.len(), means.len());
        Some(Self { nodes, diameter, mean_path, mean_path_error, sources })
    }
}

/// Hops from one node to each node; none to those in other components or to nodes that do not
/// exist.
#[must_use]
pub fn hops_from(graph: &Graph, source: u32) -> Vec<Option<u32>> {
    let mut search = Search::new(graph.len());
    if (source as usize) < graph.len() {
        search.from(graph, source);
    }
    search.hops.iter().map(|&h| (h != Search::UNREACHED).then_some(h)).collect()
}

/// The result of one breadth-first search.
struct SearchResult {
    furthest: u32,
    furthest_hops: u32,
    total_hops: u64,
}

/// Breadth-first searches over one graph, with reused memory.
struct Search {
    hops: Vec<u32>,
    queue: Vec<u32>,
}

impl Search {
    const UNREACHED: u32 = u32::MAX;

    fn new(nodes: usize) -> Self {
        Self { hops: vec![Self::UNREACHED; nodes], queue: Vec::with_capacity(nodes) }
    }

    fn from(&mut self, graph: &Graph, source: u32) -> SearchResult {
        for &node in &self.queue {
            self.hops[node as usize] = Self::UNREACHED;
        }
        self.queue.clear();
        self.queue.push(source);
        self.hops[source as usize] = 0;
        let mut total_hops = 0;
        let mut next = 0;
        while let Some(&node) = self.queue.get(next) {
            next += 1;
            let further = self.hops[node as usize] + 1;
            for &other in graph.neighbours(node) {
                let hops = &mut self.hops[other as usize];
                if *hops == Self::UNREACHED {
                    *hops = further;
                    total_hops += u64::from(further);
                    self.queue.push(other);
                }
            }
        }
        // The queue is in order of distance.
        let furthest = self.queue.last().copied().unwrap_or(source);
        SearchResult { furthest, furthest_hops: self.hops[furthest as usize], total_hops }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(n: u32) -> Graph {
        let edges: Vec<_> = (0..n).map(|i| (i, (i + 1) % n)).collect();
        Graph::new(n as usize, &edges).unwrap()
    }

    #[test]
    fn small_graphs_are_exact() {
        let d = Distances::new(&ring(7), 1, 0).unwrap();
        assert_eq!(
            (d.diameter, d.mean_path, d.mean_path_error),
            (Diameter::Exact(3), 2.0, Some(0.0))
        );
        assert!(Distances::new(&Graph::default(), 3, 0).is_none());
        let lone = Distances::new(&Graph::new(2, &[]).unwrap(), 3, 0).unwrap();
        assert_eq!((lone.nodes, lone.diameter, lone.mean_path), (1, Diameter::Exact(0), 0.0));
    }

    #[test]
    fn only_the_largest_component_is_measured() {
        let graph = Graph::new(7, &[(0, 1), (3, 4), (4, 5), (5, 6)]).unwrap();
        let d = Distances::new(&graph, 1, 0).unwrap();
        assert_eq!((d.nodes, d.diameter), (4, Diameter::Exact(3)));
        assert!((d.mean_path - 10.0 / 6.0).abs() < 1e-12);
        let hops = hops_from(&graph, 3);
        assert_eq!((hops[6], hops[0]), (Some(3), None));
        assert_eq!(hops_from(&graph, 99), [None; 7]);
    }

    #[test]
    fn large_graph_is_sampled_within_the_error_of_the_exact_mean() {
        // A path: the double sweep is exact on trees.
        let edges: Vec<_> = (0..2999).map(|i| (i, i + 1)).collect();
        let path = Graph::new(3000, &edges).unwrap();
        let d = Distances::new(&path, 200, 5).unwrap();
        assert_eq!((d.diameter, d.sources), (Diameter::AtLeast(2999), 200));
        let error = d.mean_path_error.unwrap();
        assert!(error > 0.0 && (d.mean_path - 3001.0 / 3.0).abs() < 4.0 * error, "{d:?}");
        assert_eq!(Distances::new(&path, 1, 5).unwrap().mean_path_error, None);
        let all = Distances::new(&path, 3000, 5).unwrap();
        assert_eq!(all.diameter, Diameter::Exact(2999));
        assert!((all.mean_path - 3001.0 / 3.0).abs() < 1e-9);
    }
}
