//! Checks that a subscriber gets each message once, and in the order of its publisher.

use std::collections::BTreeSet;

/// Messages that may be ahead of a missing one before it counts as lost, which bounds the memory
/// for one publisher.
const MAX_EARLY: usize = 65_536;

/// The messages of one publisher that one subscriber has received.
#[derive(Debug, Default)]
pub(crate) struct OrderChecker {
    epoch: u64,
    /// All smaller numbers have arrived, or were given up.
    next: u64,
    /// Larger numbers that have arrived.
    early: BTreeSet<u64>,
}

/// The order of a delivery among the others of its publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A new message, later than all that arrived before it; earlier ones may be missing.
    InOrder,
    /// A new message that arrived after a later one.
    Late,
    /// A message that had arrived before.
    Duplicate,
}

impl OrderChecker {
    /// Records a delivery. Numbers begin with 0 in each epoch.
    pub(crate) fn record(&mut self, epoch: u64, number: u64) -> Arrival {
        if epoch == self.epoch && number == self.next && self.early.is_empty() {
            self.next += 1;
            return Arrival::InOrder;
        }
        self.record_unexpected(epoch, number)
    }

    #[cold]
    fn record_unexpected(&mut self, epoch: u64, number: u64) -> Arrival {
        if epoch > self.epoch {
            *self = OrderChecker { epoch, ..OrderChecker::default() };
        } else if epoch < self.epoch {
            return Arrival::Late;
        }
        if number < self.next || self.early.contains(&number) {
            return Arrival::Duplicate;
        }
        let late = self.early.last().is_some_and(|last| *last > number);
        self.early.insert(number);
        if self.early.len() > MAX_EARLY {
            // The missing messages count as lost; one that arrives later counts as a duplicate.
            self.next = self.early.first().copied().unwrap_or(self.next);
        }
        while self.early.remove(&self.next) {
            self.next += 1;
        }
        if late { Arrival::Late } else { Arrival::InOrder }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Arrival::{Duplicate, InOrder, Late};

    fn places(numbers: &[u64]) -> Vec<Arrival> {
        let mut sequence = OrderChecker::default();
        numbers.iter().map(|n| sequence.record(1, *n)).collect()
    }

    #[test]
    fn messages_in_order_are_in_order() {
        assert_eq!(places(&[0, 1, 2, 3]), [InOrder; 4]);
    }

    #[test]
    fn late_messages_are_told_from_duplicates() {
        assert_eq!(places(&[0, 2, 1, 3]), [InOrder, InOrder, Late, InOrder]);
        assert_eq!(
            places(&[0, 2, 2, 1, 1, 0]),
            [InOrder, InOrder, Duplicate, Late, Duplicate, Duplicate]
        );
        // A gap does not affect the order; the number of deliveries shows missing messages.
        assert_eq!(places(&[0, 1, 5, 6]), [InOrder; 4]);
    }

    #[test]
    fn new_epoch_begins_with_number_zero() {
        let mut s = OrderChecker::default();
        assert_eq!((s.record(1, 0), s.record(1, 1), s.record(2, 0)), (InOrder, InOrder, InOrder));
        assert_eq!((s.record(1, 2), s.record(2, 0), s.record(2, 1)), (Late, Duplicate, InOrder));
    }

    #[test]
    fn number_of_kept_messages_is_bounded() {
        let mut s = OrderChecker::default();
        for number in 1..=MAX_EARLY as u64 + 1 {
            assert_eq!(s.record(1, number), InOrder);
        }
        assert!(s.early.is_empty());
        assert_eq!(s.record(1, 0), Duplicate);
    }
}
