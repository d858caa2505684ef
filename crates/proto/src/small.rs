//! Maps and sets of few entries.
//!
//! A B-tree takes memory for eleven entries when it has one. A peer has many maps with an entry for
//! each neighbour, and most peers have few neighbours: sorted in one piece of memory they take a
//! fraction of it, and are found with fewer looks elsewhere. What is read goes in ascending order, as in
//! a B-tree. Putting in and taking out moves what is behind, so this is for what is bounded by the number
//! of neighbours.

use core::fmt;

use serde::{Serialize, Serializer};

/// Keys with their values, ascending.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct VecMap<K, V>(Vec<(K, V)>);

impl<K, V> Default for VecMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> VecMap<K, V> {
    pub(crate) const fn new() -> Self {
        VecMap(Vec::new())
    }

    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.0 = Vec::new();
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + Clone {
        self.0.iter().map(|(k, v)| (k, v))
    }

    pub(crate) fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + Clone {
        self.0.iter().map(|(k, _)| k)
    }

    pub(crate) fn values(&self) -> impl DoubleEndedIterator<Item = &V> + Clone {
        self.0.iter().map(|(_, v)| v)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, v)| v)
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.0.retain_mut(|(k, v)| keep(k, v));
        give_back(&mut self.0);
    }
}

impl<K: Ord, V> VecMap<K, V> {
    fn find(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(k, _)| k.cmp(key))
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.0.get(self.find(key).ok()?).map(|(_, v)| v)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.find(key).ok()?;
        self.0.get_mut(at).map(|(_, v)| v)
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.find(key).is_ok()
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find(&key) {
            Ok(at) => self.0.get_mut(at).map(|(_, v)| core::mem::replace(v, value)),
            Err(at) => {
                make_room(&mut self.0);
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.find(key).ok()?;
        let (_, value) = self.0.remove(at);
        give_back(&mut self.0);
        Some(value)
    }

    /// The value of a key, made if there is none.
    pub(crate) fn get_or_insert(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let at = match self.find(&key) {
            Ok(at) => at,
            Err(at) => {
                make_room(&mut self.0);
                self.0.insert(at, (key, make()));
                at
            }
        };
        &mut self.0[at].1
    }
}

/// Makes room for one more, and a quarter of what is there: doubling would leave a third of all memory
/// unused.
pub(crate) fn make_room<T>(v: &mut Vec<T>) {
    if v.len() == v.capacity() {
        v.reserve_exact((v.len() / 4).max(2));
    }
}

/// What is only needed now and then takes no memory in between.
fn give_back<T>(v: &mut Vec<T>) {
    if v.is_empty() {
        *v = Vec::new();
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for VecMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Serialize, V: Serialize> Serialize for VecMap<K, V> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.iter())
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for VecMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = VecMap::new();
        for (k, v) in entries {
            map.insert(k, v);
        }
        map
    }
}

impl<K, V> IntoIterator for VecMap<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, K, V> IntoIterator for &'a mut VecMap<K, V> {
    type Item = &'a mut (K, V);
    type IntoIter = core::slice::IterMut<'a, (K, V)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter_mut()
    }
}

impl<'a, K, V> IntoIterator for &'a VecMap<K, V> {
    type Item = &'a (K, V);
    type IntoIter = core::slice::Iter<'a, (K, V)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// Values, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VecSet<T>(Vec<T>);

impl<T> Default for VecSet<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> VecSet<T> {
    pub(crate) const fn new() -> Self {
        VecSet(Vec::new())
    }

    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.0 = Vec::new();
    }

    pub(crate) fn iter(&self) -> core::slice::Iter<'_, T> {
        self.0.iter()
    }
}

impl<T: Ord> VecSet<T> {
    pub(crate) fn contains(&self, value: &T) -> bool {
        self.0.binary_search(value).is_ok()
    }

    /// Says whether it is new.
    pub(crate) fn insert(&mut self, value: T) -> bool {
        let Err(at) = self.0.binary_search(&value) else { return false };
        make_room(&mut self.0);
        self.0.insert(at, value);
        true
    }

    /// Says whether it was there.
    pub(crate) fn remove(&mut self, value: &T) -> bool {
        let Ok(at) = self.0.binary_search(value) else { return false };
        self.0.remove(at);
        give_back(&mut self.0);
        true
    }
}

impl<T> IntoIterator for VecSet<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_same_as_b_trees(
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
                    1 => {
                        prop_assert_eq!(map.remove(&key), tree.remove(&key));
                        prop_assert_eq!(set.remove(&key), of_tree.remove(&key));
                    }
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
    }
}
