//! Each message once, and in the order of its publisher: what a subscriber got, checked.

use std::collections::BTreeSet;

/// Messages that may be ahead of a missing one before it counts as lost: what is kept for one
/// publisher stays bounded.
const MAX_EARLY: usize = 65_536;

/// What one subscriber got of one publisher.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    epoch: u64,
    /// All below it came, or were given up.
    next: u64,
    /// What came before its turn.
    early: BTreeSet<u64>,
}

/// What came of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// New, and after all that came before it, though something may be missing in between.
    InOrder,
    /// New, but a later one came before it.
    Late,
    /// It had come before.
    Again,
}

impl Sequence {
    /// Takes note of a delivery. Numbers begin with 0 in each epoch.
    pub(crate) fn take(&mut self, epoch: u64, number: u64) -> Place {
        if epoch == self.epoch && number == self.next && self.early.is_empty() {
            self.next += 1;
            return Place::InOrder;
        }
        self.take_unexpected(epoch, number)
    }

    #[cold]
    fn take_unexpected(&mut self, epoch: u64, number: u64) -> Place {
        if epoch > self.epoch {
            *self = Sequence { epoch, ..Sequence::default() };
        } else if epoch < self.epoch {
            return Place::Late;
        }
        if number < self.next || self.early.contains(&number) {
            return Place::Again;
        }
        let late = self.early.last().is_some_and(|last| *last > number);
        self.early.insert(number);
        if self.early.len() > MAX_EARLY {
            // The missing ones are lost; if one comes all the same, it counts as a repetition.
            self.next = self.early.first().copied().unwrap_or(self.next);
        }
        while self.early.remove(&self.next) {
            self.next += 1;
        }
        if late { Place::Late } else { Place::InOrder }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Place::{Again, InOrder, Late};

    fn places(numbers: &[u64]) -> Vec<Place> {
        let mut sequence = Sequence::default();
        numbers.iter().map(|n| sequence.take(1, *n)).collect()
    }

    #[test]
    fn in_order() {
        assert_eq!(places(&[0, 1, 2, 3]), [InOrder; 4]);
    }

    #[test]
    fn what_comes_late_is_told_from_what_comes_again() {
        assert_eq!(places(&[0, 2, 1, 3]), [InOrder, InOrder, Late, InOrder]);
        assert_eq!(places(&[0, 2, 2, 1, 1, 0]), [InOrder, InOrder, Again, Late, Again, Again]);
        // A hole is no matter of order; that something is missing shows in the count.
        assert_eq!(places(&[0, 1, 5, 6]), [InOrder; 4]);
    }

    #[test]
    fn a_new_life_begins_anew() {
        let mut s = Sequence::default();
        assert_eq!((s.take(1, 0), s.take(1, 1), s.take(2, 0)), (InOrder, InOrder, InOrder));
        assert_eq!((s.take(1, 2), s.take(2, 0), s.take(2, 1)), (Late, Again, InOrder));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut s = Sequence::default();
        for number in 1..=MAX_EARLY as u64 + 1 {
            assert_eq!(s.take(1, number), InOrder);
        }
        assert!(s.early.is_empty());
        assert_eq!(s.take(1, 0), Again);
    }
}
