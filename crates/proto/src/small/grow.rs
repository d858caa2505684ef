//! A map for few or very many entries.

use core::ops::RangeBounds;
use std::collections::BTreeMap;

use super::VecMap;

/// Up to this many entries are kept in one sorted vector; more of them in a B-tree.
const MAX_FEW: usize = 8;

/// Keys with their values, ascending: in a [`VecMap`] while they are few, in a B-tree from then on.
/// One of the two is always empty. It returns to the first form when half of [`MAX_FEW`] are left,
/// so that one entry more or less does not move all of them each time.
#[derive(Debug, Clone)]
pub(crate) struct GrowMap<K, V> {
    few: VecMap<K, V>,
    many: BTreeMap<K, V>,
}

impl<K, V> Default for GrowMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> GrowMap<K, V> {
    pub(crate) const fn new() -> Self {
        GrowMap { few: VecMap::new(), many: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.few.len() + self.many.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.few.is_empty() && self.many.is_empty()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.few.iter().chain(&self.many)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.few.iter_mut().chain(&mut self.many)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.few.values().chain(self.many.values())
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.few.values_mut().chain(self.many.values_mut())
    }
}

impl<K: Ord, V> GrowMap<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        if self.many.is_empty() { self.few.get(key) } else { self.many.get(key) }
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        if self.many.is_empty() { self.few.get_mut(key) } else { self.many.get_mut(key) }
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// The entries with keys in a range, ascending.
    pub(crate) fn range(
        &self,
        keys: impl RangeBounds<K> + Clone,
    ) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.few.range(keys.clone()).chain(self.many.range(keys))
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.grow_for(&key);
        if self.many.is_empty() {
            self.few.insert(key, value)
        } else {
            self.many.insert(key, value)
        }
    }

    /// The value of a key, inserted if there is none.
    pub(crate) fn get_or_insert(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.grow_for(&key);
        if self.many.is_empty() {
            self.few.get_or_insert(key, make)
        } else {
            self.many.entry(key).or_insert_with(make)
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        if self.many.is_empty() {
            return self.few.remove(key);
        }
        let value = self.many.remove(key)?;
        if self.many.len() <= MAX_FEW / 2 {
            self.few = core::mem::take(&mut self.many).into_iter().collect();
        }
        Some(value)
    }

    /// Moves all entries into the B-tree when one more would be too many.
    fn grow_for(&mut self, key: &K) {
        if self.few.len() >= MAX_FEW && !self.few.contains_key(key) {
            self.many = core::mem::take(&mut self.few).into_iter().collect();
        }
    }
}
