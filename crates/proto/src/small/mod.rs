//! Maps and sets that are small in most peers.
//!
//! A B-tree allocates memory for eleven entries when it has one. A peer has many maps with an entry
//! per neighbour, and most peers have few neighbours: sorted in one vector ([`VecMap`], [`VecSet`])
//! the entries take a fraction of that memory, and are found with fewer cache misses. Iteration is
//! in ascending order, as in a B-tree. Insertion and removal move the entries behind, so these
//! types are for maps that are bounded by the number of neighbours; [`GrowMap`] is for maps with
//! few entries in most networks and very many in some.

mod grow;
mod map;
mod set;

pub(crate) use grow::GrowMap;
pub(crate) use map::VecMap;
pub(crate) use set::VecSet;

/// Reserves space for another entry, and for a quarter of the present ones: doubling would leave a
/// third of all memory unused.
pub(crate) fn grow<T>(v: &mut Vec<T>) {
    if v.len() == v.capacity() {
        v.reserve_exact((v.len() / 4).max(2));
    }
}

/// Releases the memory of an empty vector.
fn release_if_empty<T>(v: &mut Vec<T>) {
    if v.is_empty() {
        *v = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn vec_map_and_set_behave_as_b_trees(
            steps in proptest::collection::vec((0u8..4, 0u8..20, any::<u8>()), 0..200),
        ) {
            let (mut map, mut set) = (VecMap::new(), VecSet::new());
            let (mut tree, mut of_tree) = (BTreeMap::new(), BTreeSet::new());
            for (what, key, value) in steps {
                match what {
                    0 => {
                        prop_assert_eq!(map.insert(key, value), tree.insert(key, value));
                        prop_assert_eq!(set.insert(key), of_tree.insert(key));
                    }
                    1 => prop_assert_eq!(map.remove(&key), tree.remove(&key)),
                    2 => {
                        let theirs = tree.entry(key).or_insert(value);
                        prop_assert_eq!(map.get_or_insert(key, || value), theirs);
                        prop_assert_eq!(set.contains(&key), of_tree.contains(&key));
                    }
                    _ => {
                        map.retain(|k, v| *k > key || *v > value);
                        tree.retain(|k, v| *k > key || *v > value);
                    }
                }
                prop_assert!(map.iter().eq(tree.iter()) && set.iter().eq(of_tree.iter()));
                prop_assert_eq!(map.get(&key), tree.get(&key));
                prop_assert_eq!((map.len(), set.len()), (tree.len(), of_tree.len()));
            }
        }

        /// Through both of its forms and back.
        #[test]
        fn grow_map_behaves_as_a_b_tree(
            steps in proptest::collection::vec((0u8..5, 0u8..20, any::<u8>()), 0..400),
        ) {
            let (mut map, mut tree) = (GrowMap::new(), BTreeMap::new());
            for (what, key, value) in steps {
                match what {
                    0 => prop_assert_eq!(map.insert(key, value), tree.insert(key, value)),
                    1 => prop_assert_eq!(map.remove(&key), tree.remove(&key)),
                    2 => {
                        let theirs = tree.entry(key).or_insert(value);
                        prop_assert_eq!(map.get_or_insert(key, || value), theirs);
                    }
                    3 => {
                        prop_assert_eq!(map.get_mut(&key), tree.get_mut(&key));
                        map.values_mut().chain(tree.values_mut()).for_each(|v| *v ^= value);
                    }
                    _ => {
                        let raise = |(k, v): (&u8, &mut u8)| *v = v.wrapping_add(*k);
                        map.iter_mut().for_each(raise);
                        tree.iter_mut().for_each(raise);
                    }
                }
                let to = key.saturating_add(value % 8);
                prop_assert!(map.range(key..to).eq(tree.range(key..to)));
                prop_assert!(map.range(..=key).rev().eq(tree.range(..=key).rev()));
                prop_assert!(map.iter().eq(tree.iter()) && map.values().eq(tree.values()));
                prop_assert_eq!(map.get(&key), tree.get(&key));
                prop_assert_eq!(map.contains_key(&key), tree.contains_key(&key));
                prop_assert_eq!((map.len(), map.is_empty()), (tree.len(), tree.is_empty()));
            }
        }
    }
}
