//! The connectivity of a network as its nodes fail or are attacked (Albert, Jeong, Barabási, Nature
//! 406 (2000)).

use serde::{Deserialize, Serialize};

use crate::graph::Graph;
use crate::random::{shuffle, stream};

/// The order in which nodes are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attack {
    /// At random: failures.
    Random,
    /// By their degree in the whole graph, highest first; equals in random order.
    InitialDegree,
    /// By their degree among the remaining nodes, highest first, determined anew after each
    /// removal.
    CurrentDegree,
}

/// One point of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RobustnessPoint {
    /// Share of the nodes that were removed.
    pub removed: f64,
    /// Nodes in the largest component, as a share of all nodes at the start.
    pub largest: f64,
    /// Nodes in the largest component, as a share of the remaining nodes; 0 if none is left.
    pub largest_of_left: f64,
}

/// How the largest component shrinks: means over the repetitions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Robustness {
    /// The order of removal.
    pub attack: Attack,
    /// The number of repetitions; each has a separate order.
    pub repetitions: u32,
    /// The curve, from no node removed to all nodes removed.
    pub points: Vec<RobustnessPoint>,
    /// Share of removed nodes at which the largest component first holds less than half of the
    /// remaining nodes; `None` if that did not happen in each repetition.
    pub below_half_of_left: Option<f64>,
    /// Share of removed nodes at which the largest component first holds less than 1 % of all nodes
    /// at the start.
    pub below_one_percent: f64,
}

impl Robustness {
    /// Removes all nodes one by one, `repetitions` times (at least once), in orders drawn from
    /// `seed`, and reports `points` points of the curve (at least 2, at most one more than there
    /// are nodes), evenly spaced.
    ///
    /// The order is determined first; then nodes and their edges are added in reverse to a
    /// union-find structure, which gives the largest component after every single removal in nearly
    /// linear time. This works for [`Attack::CurrentDegree`] as well, since its order depends on
    /// degrees only.
    ///
    /// None for a graph without nodes.
    #[must_use]
    pub fn new(
        graph: &Graph,
        attack: Attack,
        repetitions: u32,
        points: usize,
        seed: u64,
    ) -> Option<Self> {
        let n = graph.len();
        if n == 0 {
            return None;
        }
        let repetitions = repetitions.max(1);
        let last = points.clamp(2, n + 1) - 1;
        let removed_at: Vec<usize> =
            (0..=last).map(|i| (i as u128 * n as u128 / last as u128) as usize).collect();
        let mut sums = vec![0u64; removed_at.len()];
        let (mut half, mut percent) = (Some(0), 0);
        for repetition in 0..repetitions {
            let order = removal_order(graph, attack, seed, u64::from(repetition));
            let largest = largest_components(graph, &order);
            for (sum, &removed) in sums.iter_mut().zip(&removed_at) {
                *sum += u64::from(largest[removed]);
            }
            let first = |below: &dyn Fn(usize, u64) -> bool| {
                (0..=n).find(|&removed| below(removed, u64::from(largest[removed])))
            };
            half = half.zip(first(&|removed, s| 2 * s < (n - removed) as u64)).map(|(a, b)| a + b);
            percent += first(&|_, size| 100 * size < n as u64).unwrap_or(n);
        }
        let share = |sum: f64, of: usize| sum / (of.max(1) as f64 * f64::from(repetitions));
        let point = |(&removed, &sum): (&usize, &u64)| RobustnessPoint {
            removed: removed as f64 / n as f64,
            largest: share(sum as f64, n),
            largest_of_left: share(sum as f64, n - removed),
        };
        Some(Self {
            attack,
            repetitions,
            points: removed_at.iter().zip(&sums).map(point).collect(),
            below_half_of_left: half.map(|sum| share(sum as f64, n)),
            below_one_percent: share(percent as f64, n),
        })
    }
}

/// All nodes in the order of their removal.
fn removal_order(graph: &Graph, attack: Attack, seed: u64, repetition: u64) -> Vec<u32> {
    let mut order: Vec<u32> = graph.nodes().collect();
    shuffle(&mut stream(seed, b"removal-", repetition), &mut order);
    match attack {
        Attack::Random => order,
        Attack::InitialDegree => {
            order.sort_by_key(|&node| core::cmp::Reverse(graph.degree(node)));
            order
        }
        Attack::CurrentDegree => current_degree_order(graph, &order),
    }
}

/// The node of highest remaining degree, repeatedly. Nodes wait in one bucket per degree; a node
/// whose degree falls is added to the lower bucket too, and its outdated entry is skipped later.
fn current_degree_order(graph: &Graph, shuffled: &[u32]) -> Vec<u32> {
    let mut degree: Vec<usize> = graph.nodes().map(|v| graph.degree(v)).collect();
    let highest = degree.iter().copied().max().unwrap_or(0);
    let mut buckets: Vec<Vec<u32>> = vec![Vec::new(); highest + 1];
    for &node in shuffled {
        buckets[degree[node as usize]].push(node);
    }
    let mut removed = vec![false; graph.len()];
    let mut order = Vec::with_capacity(graph.len());
    // Degrees only fall, so no bucket above the current one fills again.
    for current in (0..=highest).rev() {
        while let Some(node) = buckets[current].pop() {
            if removed[node as usize] || degree[node as usize] != current {
                continue;
            }
            removed[node as usize] = true;
            order.push(node);
            for &other in graph.neighbours(node) {
                if !removed[other as usize] {
                    let left = &mut degree[other as usize];
                    *left -= 1;
                    buckets[*left].push(other);
                }
            }
        }
    }
    order
}

/// Size of the largest component after 0, 1, … n removals in this order.
fn largest_components(graph: &Graph, order: &[u32]) -> Vec<u32> {
    let n = graph.len();
    let mut sizes = vec![0; n + 1];
    let mut union = UnionFind::new(n);
    let mut present = vec![false; n];
    let mut largest = 0;
    for (removed, &node) in order.iter().enumerate().rev() {
        present[node as usize] = true;
        largest = largest.max(1);
        for &other in graph.neighbours(node) {
            if present[other as usize] {
                largest = largest.max(union.join(node, other));
            }
        }
        sizes[removed] = largest;
    }
    sizes
}

/// Disjoint sets, joined by size, with path halving (Tarjan).
struct UnionFind {
    parent: Vec<u32>,
    size: Vec<u32>,
}

impl UnionFind {
    fn new(n: usize) -> Self {
        Self { parent: (0..n as u32).collect(), size: vec![1; n] }
    }

    fn root(&mut self, mut node: u32) -> u32 {
        while self.parent[node as usize] != node {
            let grandparent = self.parent[self.parent[node as usize] as usize];
            self.parent[node as usize] = grandparent;
            node = grandparent;
        }
        node
    }

    /// Joins two sets and returns the size of the result.
    fn join(&mut self, a: u32, b: u32) -> u32 {
        let (mut a, mut b) = (self.root(a), self.root(b));
        if a != b {
            if self.size[a as usize] < self.size[b as usize] {
                core::mem::swap(&mut a, &mut b);
            }
            self.parent[b as usize] = a;
            self.size[a as usize] += self.size[b as usize];
        }
        self.size[a as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::Components;
    use proptest::prelude::*;

    fn star() -> Graph {
        Graph::new(5, &[(0, 1), (0, 2), (0, 3), (0, 4)]).unwrap()
    }

    #[test]
    fn star_falls_apart_when_its_centre_is_removed() {
        for attack in [Attack::InitialDegree, Attack::CurrentDegree] {
            let r = Robustness::new(&star(), attack, 3, 6, 1).unwrap();
            assert_eq!(r.below_half_of_left, Some(0.2));
            assert_eq!(r.below_one_percent, 1.0);
            let sizes: Vec<f64> = r.points.iter().map(|p| (p.largest * 5.0).round()).collect();
            assert_eq!(sizes, [5.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
        }
        assert!(Robustness::new(&Graph::default(), Attack::Random, 1, 9, 1).is_none());
    }

    #[test]
    fn complete_graph_never_falls_apart() {
        let edges: Vec<_> = (0..9).flat_map(|a| (0..a).map(move |b| (a, b))).collect();
        let graph = Graph::new(9, &edges).unwrap();
        let r = Robustness::new(&graph, Attack::Random, 5, 100, 1).unwrap();
        assert_eq!((r.below_half_of_left, r.points.len()), (None, 10));
        assert!(r.points[..9].iter().all(|p| (p.largest_of_left - 1.0).abs() < 1e-12));
        assert_eq!(r.points[9].largest_of_left, 0.0);
    }

    #[test]
    fn curve_starts_with_no_node_and_ends_with_all_nodes_removed() {
        for points in [0, 2, 3, 100] {
            let r = Robustness::new(&star(), Attack::Random, 1, points, 1).unwrap();
            let (first, last) = (r.points[0], r.points[r.points.len() - 1]);
            assert_eq!(
                (first.removed, first.largest, last.removed, last.largest),
                (0.0, 1.0, 1.0, 0.0)
            );
        }
    }

    proptest! {
        #[test]
        fn sizes_equal_those_of_the_remaining_graphs(
            edges in prop::collection::vec((0u32..20, 20u32..30), 0..60), which in 0usize..3,
        ) {
            let graph = Graph::new(30, &edges).unwrap();
            let attack = [Attack::Random, Attack::InitialDegree, Attack::CurrentDegree][which];
            let order = removal_order(&graph, attack, 7, 0);
            let sizes = largest_components(&graph, &order);
            for removed in 0..=30 {
                let gone = &order[..removed];
                let left: Vec<_> =
                    graph.edges().filter(|(a, b)| !gone.contains(a) && !gone.contains(b)).collect();
                let rest = Graph::new(30, &left).unwrap();
                // Removed nodes stay as isolated nodes here, which matters when no other node is
                // left.
                let largest = if removed == 30 { 0 } else { Components::new(&rest).largest() };
                prop_assert_eq!(sizes[removed] as usize, largest);
                if attack == Attack::CurrentDegree && removed < 30 {
                    let highest = rest.nodes().map(|v| rest.degree(v)).max().unwrap();
                    prop_assert_eq!(rest.degree(order[removed]), highest);
                }
            }
        }
    }
}
