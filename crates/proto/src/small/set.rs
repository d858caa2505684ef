//! A set for few values.

use super::grow;

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

    pub(crate) fn iter(&self) -> core::slice::Iter<'_, T> {
        self.0.iter()
    }
}

impl<T: Ord> VecSet<T> {
    pub(crate) fn contains(&self, value: &T) -> bool {
        self.0.binary_search(value).is_ok()
    }

    /// Inserts a value. Returns whether it is new.
    pub(crate) fn insert(&mut self, value: T) -> bool {
        let Err(at) = self.0.binary_search(&value) else { return false };
        grow(&mut self.0);
        self.0.insert(at, value);
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
