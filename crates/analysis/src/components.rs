//! Connected components.

use crate::graph::Graph;

/// The connected components of a graph, largest first; components of equal size are ordered by
/// their smallest node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Components {
    sizes: Vec<usize>,
    membership: Vec<u32>,
}

impl Components {
    /// The components of `graph`.
    #[must_use]
    pub fn new(graph: &Graph) -> Self {
        const UNLABELLED: u32 = u32::MAX;
        let mut membership = vec![UNLABELLED; graph.len()];
        let mut sizes = Vec::new();
        let mut open = Vec::new();
        for start in graph.nodes() {
            if membership[start as usize] != UNLABELLED {
                continue;
            }
            let label = sizes.len() as u32;
            membership[start as usize] = label;
            open.push(start);
            let mut size = 0;
            while let Some(node) = open.pop() {
                size += 1;
                for &next in graph.neighbours(node) {
                    if membership[next as usize] == UNLABELLED {
                        membership[next as usize] = label;
                        open.push(next);
                    }
                }
            }
            sizes.push(size);
        }
        // Labels were given by smallest node; a stable sort keeps that order among equals.
        let mut order: Vec<u32> = (0..sizes.len() as u32).collect();
        order.sort_by_key(|&label| core::cmp::Reverse(sizes[label as usize]));
        let mut rank = vec![0; sizes.len()];
        for (new, &old) in (0..).zip(&order) {
            rank[old as usize] = new;
        }
        for label in &mut membership {
            *label = rank[*label as usize];
        }
        sizes.sort_by_key(|&size| core::cmp::Reverse(size));
        Self { sizes, membership }
    }

    /// Number of nodes in each component, descending.
    #[must_use]
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// For each node, the index of its component in [`Components::sizes`].
    #[must_use]
    pub fn membership(&self) -> &[u32] {
        &self.membership
    }

    /// Number of nodes in the largest component; 0 without nodes.
    #[must_use]
    pub fn largest(&self) -> usize {
        self.sizes.first().copied().unwrap_or(0)
    }

    /// The nodes of one component, ascending; none if there is no such component.
    #[must_use]
    pub fn nodes(&self, component: usize) -> Vec<u32> {
        let nodes = (0..).zip(&self.membership);
        nodes.filter(|&(_, &c)| c as usize == component).map(|(node, _)| node).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn components_are_ordered_by_size_then_by_smallest_node() {
        let graph = Graph::new(8, &[(0, 1), (4, 5), (5, 6), (7, 2)]).unwrap();
        let components = Components::new(&graph);
        assert_eq!(components.sizes(), [3, 2, 2, 1]);
        assert_eq!(components.membership(), [1, 1, 2, 3, 0, 0, 0, 2]);
        assert_eq!((components.largest(), components.nodes(2)), (3, vec![2, 7]));
        assert_eq!(Components::new(&Graph::default()).largest(), 0);
    }

    proptest! {
        #[test]
        fn both_ends_of_every_edge_are_in_one_component(
            edges in prop::collection::vec((0u32..40, 40u32..60), 0..60),
        ) {
            let graph = Graph::new(60, &edges).unwrap();
            let components = Components::new(&graph);
            prop_assert_eq!(components.sizes().iter().sum::<usize>(), 60);
            prop_assert!(components.sizes().is_sorted_by(|a, b| a >= b));
            for (a, b) in edges {
                let of = |v: u32| components.membership()[v as usize];
                prop_assert_eq!(of(a), of(b));
            }
            for (i, &size) in components.sizes().iter().enumerate() {
                prop_assert_eq!(components.nodes(i).len(), size);
            }
        }
    }
}
