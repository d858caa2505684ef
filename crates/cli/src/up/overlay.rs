//! The graph that the peers' neighbour lists make.

use std::collections::{BTreeMap, BTreeSet};

/// The overlay of the peers that are left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overlay {
    pub(crate) edges: usize,
    pub(crate) components: usize,
    /// Ascending.
    pub(crate) degrees: Vec<usize>,
}

impl Overlay {
    /// Puts the lists together. An edge counts if one end names it; an end that is not among the
    /// peers (a dead one not yet dropped) does not count.
    pub(crate) fn of<'a>(peers: impl IntoIterator<Item = (&'a str, &'a [String])>) -> Self {
        let lists: Vec<(&str, &[String])> = peers.into_iter().collect();
        let number: BTreeMap<&str, usize> =
            lists.iter().enumerate().map(|(i, (id, _))| (*id, i)).collect();
        let mut edges = BTreeSet::new();
        for (a, (_, neighbours)) in lists.iter().enumerate() {
            for &b in neighbours.iter().filter_map(|n| number.get(n.as_str())) {
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

    /// Lowest, mean and highest degree.
    #[allow(clippy::cast_precision_loss)] // A few thousand peers.
    pub(crate) fn spread(&self) -> (usize, f64, usize) {
        let (Some(&low), Some(&high)) = (self.degrees.first(), self.degrees.last()) else {
            return (0, 0.0, 0);
        };
        let mean = 2.0 * self.edges as f64 / self.degrees.len() as f64;
        (low, mean, high)
    }
}

/// The root of a group, with the way to it halved (union-find).
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
        let owned: Vec<(String, Vec<String>)> = lists
            .iter()
            .map(|(id, n)| ((*id).to_owned(), n.iter().map(|s| (*s).to_owned()).collect()))
            .collect();
        Overlay::of(owned.iter().map(|(id, n)| (id.as_str(), n.as_slice())))
    }

    #[test]
    fn edges_count_once_and_strangers_not() {
        let o = overlay(&[("a", &["b", "c", "x"]), ("b", &["a"]), ("c", &[]), ("d", &[])]);
        assert_eq!(o, Overlay { edges: 2, components: 2, degrees: vec![0, 1, 1, 2] });
        assert_eq!(o.spread(), (0, 1.0, 2));
    }

    #[test]
    fn nobody_is_no_component() {
        assert_eq!(overlay(&[]), Overlay { edges: 0, components: 0, degrees: vec![] });
    }
}
