//! Triangles, and degree correlation.

use serde::{Deserialize, Serialize};

use crate::graph::Graph;

/// Among all pairs with a common neighbour, how many are neighbours themselves.
///
/// Exact for every size: listing all triangles from the end of lower degree takes about half a
/// second for a million nodes of an overlay.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Clustering {
    /// Number of triangles.
    pub triangles: u64,
    /// Three times the triangles over the number of connected triples (Newman, SIAM Review 45
    /// (2003)); 0 without triples.
    pub transitivity: f64,
    /// Mean over all nodes of the share of pairs of neighbours that are linked (Watts and
    /// Strogatz, Nature 393 (1998)); nodes with fewer than two neighbours count as 0.
    pub mean_local: f64,
}

impl Clustering {
    /// Counts the triangles of `graph`.
    #[must_use]
    pub fn new(graph: &Graph) -> Self {
        let per_node = triangles(graph);
        let (mut triples, mut corners, mut local) = (0u64, 0u64, 0.0);
        for (node, &count) in graph.nodes().zip(&per_node) {
            let degree = graph.degree(node) as u64;
            let pairs = degree * degree.saturating_sub(1) / 2;
            triples += pairs;
            corners += count;
            if pairs > 0 {
                local += count as f64 / pairs as f64;
            }
        }
        let transitivity = if triples > 0 { corners as f64 / triples as f64 } else { 0.0 };
        let mean_local = if graph.is_empty() { 0.0 } else { local / graph.len() as f64 };
        Self { triangles: corners / 3, transitivity, mean_local }
    }
}

/// The number of triangles at each node.
///
/// Every edge is listed at its end of lower degree, so no node has more than √(2m) edges to visit,
/// and each triangle is found once, at its lowest node.
fn triangles(graph: &Graph) -> Vec<u64> {
    let rank = |v: u32| (graph.degree(v), v);
    let mut starts = Vec::with_capacity(graph.len() + 1);
    let mut upward = Vec::with_capacity(graph.edge_count());
    for node in graph.nodes() {
        starts.push(upward.len());
        let higher = graph.neighbours(node).iter().filter(|&&other| rank(other) > rank(node));
        upward.extend(higher.copied());
    }
    starts.push(upward.len());
    let above = |v: u32| &upward[starts[v as usize]..starts[v as usize + 1]];
    let mut counts = vec![0; graph.len()];
    // The node whose upward neighbours are marked: a mark is the node's index plus one.
    let mut mark = vec![0u32; graph.len()];
    for a in graph.nodes() {
        for &b in above(a) {
            mark[b as usize] = a + 1;
        }
        for &b in above(a) {
            for &c in above(b) {
                if mark[c as usize] == a + 1 {
                    counts[a as usize] += 1;
                    counts[b as usize] += 1;
                    counts[c as usize] += 1;
                }
            }
        }
    }
    counts
}

/// Degree assortativity: the correlation of the degrees at both ends of an edge, from -1 to 1
/// (Newman, Physical Review Letters 89 (2002), equation 4). Above 0, hubs tend to be linked with
/// hubs.
///
/// None without edges or if all ends have the same degree.
#[must_use]
pub fn assortativity(graph: &Graph) -> Option<f64> {
    // Each edge counts in both directions, so both ends have the same mean and variance.
    let ends = graph.edge_count() as f64 * 2.0;
    let square = |v| graph.degree(v) as f64 * graph.degree(v) as f64;
    let sum: f64 = graph.nodes().map(square).sum();
    let mean = sum / ends;
    let (mut covariance, mut variance) = (0.0, 0.0);
    for node in graph.nodes() {
        let here = graph.degree(node) as f64 - mean;
        let around = graph.neighbours(node).iter().map(|&v| graph.degree(v) as f64 - mean);
        covariance += here * around.sum::<f64>();
        variance += here * here * graph.degree(node) as f64;
    }
    (variance > ends * 1e-12).then(|| covariance / variance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn clustering_and_assortativity_match_known_graphs() {
        // A triangle with a tail.
        let graph = Graph::new(4, &[(0, 1), (1, 2), (2, 0), (2, 3)]).unwrap();
        let c = Clustering::new(&graph);
        assert_eq!((c.triangles, c.transitivity), (1, 3.0 / 5.0));
        assert!((c.mean_local - (1.0 + 1.0 + 1.0 / 3.0) / 4.0).abs() < 1e-12);
        assert!((assortativity(&graph).unwrap() + 5.0 / 7.0).abs() < 1e-12);
        let star = Graph::new(5, &[(0, 1), (0, 2), (0, 3), (0, 4)]).unwrap();
        assert_eq!(Clustering::new(&star).transitivity, 0.0);
        assert!((assortativity(&star).unwrap() + 1.0).abs() < 1e-12);
    }

    #[test]
    fn assortativity_is_none_and_clustering_zero_where_undefined() {
        let ring = Graph::new(3, &[(0, 1), (1, 2), (2, 0)]).unwrap();
        assert_eq!(assortativity(&ring), None);
        assert_eq!(assortativity(&Graph::default()), None);
        let none = Clustering::new(&Graph::default());
        assert_eq!((none.triangles, none.transitivity, none.mean_local), (0, 0.0, 0.0));
    }

    proptest! {
        #[test]
        fn triangle_count_equals_a_search_over_all_triples(
            edges in prop::collection::vec((0u32..14, 0u32..14), 0..80),
        ) {
            let edges: Vec<_> = edges.into_iter().filter(|(a, b)| a != b).collect();
            let graph = Graph::new(14, &edges).unwrap();
            let mut expected = 0;
            for a in 0..14 {
                for b in a + 1..14 {
                    for c in b + 1..14 {
                        let all = graph.has_edge(a, b) && graph.has_edge(b, c) && graph.has_edge(a, c);
                        expected += u64::from(all);
                    }
                }
            }
            prop_assert_eq!(Clustering::new(&graph).triangles, expected);
        }
    }
}
