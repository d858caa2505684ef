//! The graph that the neighbour lists of peers make.

use std::collections::{BTreeMap, BTreeSet};

/// The overlay of living peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// Links.
    pub edges: usize,
    /// Connected components.
    pub components: usize,
    /// The degrees of all peers, ascending.
    pub degrees: Vec<usize>,
}

impl Overlay {
    /// Builds the graph from pairs of an id and the ids of its neighbours. A link counts if one end
    /// lists it; a link to an id that has no list (a dead peer not yet dropped) does not count.
    pub fn of<Id: Copy + Ord>(peers: impl IntoIterator<Item = (Id, Vec<Id>)>) -> Self {
        let lists: Vec<(Id, Vec<Id>)> = peers.into_iter().collect();
        let number: BTreeMap<Id, usize> =
            lists.iter().enumerate().map(|(i, (id, _))| (*id, i)).collect();
        let mut edges = BTreeSet::new();
        for (a, (_, neighbours)) in lists.iter().enumerate() {
            for &b in neighbours.iter().filter_map(|n| number.get(n)) {
                if a != b {
                    edges.insert((a.min(b), a.max(b)));
                }
            }
        }
        let mut degrees = vec![0; lists.len()];
        let mut group: Vec<usize> = (0..lists.len()).collect();
        for &(a, b) in &edges {
            degrees[a] += 1;
            degrees[b] += 1;
            let (x, y) = (root(&mut group, a), root(&mut group, b));
            group[x] = y;
        }
        let components = (0..lists.len()).filter(|&i| group[i] == i).count();
        degrees.sort_unstable();
        Overlay { edges: edges.len(), components, degrees }
    }

    /// Lowest, mean and highest degree; zeros without peers.
    #[allow(clippy::cast_precision_loss)] // A few thousand peers.
    pub fn degree_range(&self) -> (usize, f64, usize) {
        let (Some(&low), Some(&high)) = (self.degrees.first(), self.degrees.last()) else {
            return (0, 0.0, 0);
        };
        let mean = 2.0 * self.edges as f64 / self.degrees.len() as f64;
        (low, mean, high)
    }
}

/// The root of a group (union-find with path halving).
fn root(group: &mut [usize], mut i: usize) -> usize {
    while group[i] != i {
        group[i] = group[group[i]];
        i = group[i];
    }
    i
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(lists: &[(&str, &[&str])]) -> Overlay {
        Overlay::of(lists.iter().map(|(id, neighbours)| (*id, neighbours.to_vec())))
    }

    #[test]
    fn overlay_counts_each_link_once_and_ignores_unknown_ids() {
        let o = overlay(&[("a", &["b", "c", "x"]), ("b", &["a"]), ("c", &[]), ("d", &[])]);
        assert_eq!(o, Overlay { edges: 2, components: 2, degrees: vec![0, 1, 1, 2] });
        assert_eq!(o.degree_range(), (0, 1.0, 2));
    }

    #[test]
    fn overlay_without_peers_has_no_component() {
        assert_eq!(overlay(&[]), Overlay { edges: 0, components: 0, degrees: vec![] });
    }
}
