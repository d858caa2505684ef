//! What is to happen, in order of time; what is due at the same time comes in the order in which
//! it was put in.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use rumormill_proto::Time;

/// A queue by (time, insertion).
#[derive(Debug)]
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Reverse<Due<T>>>,
    inserted: u64,
}

#[derive(Debug)]
struct Due<T> {
    at: Time,
    number: u64,
    what: T,
}

impl<T> Due<T> {
    const fn key(&self) -> (Time, u64) {
        (self.at, self.number)
    }
}

impl<T> PartialEq for Due<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl<T> Eq for Due<T> {}
impl<T> PartialOrd for Due<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Due<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl<T> Queue<T> {
    pub(crate) const fn new() -> Self {
        Queue { heap: BinaryHeap::new(), inserted: 0 }
    }

    pub(crate) fn push(&mut self, at: Time, what: T) {
        self.heap.push(Reverse(Due { at, number: self.inserted, what }));
        self.inserted += 1;
    }

    /// When the next one is due.
    pub(crate) fn next_at(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse(due)| due.at)
    }

    /// The next one, if it is due by `until`.
    pub(crate) fn pop_until(&mut self, until: Time) -> Option<(Time, T)> {
        if self.next_at()? > until {
            return None;
        }
        self.heap.pop().map(|Reverse(due)| (due.at, due.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_first_then_insertion() {
        let mut q = Queue::new();
        for (at, what) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b'), (9, 'z')] {
            q.push(Time::from_micros(at), what);
        }
        let mut seen = Vec::new();
        while let Some((_, what)) = q.pop_until(Time::from_micros(5)) {
            seen.push(what);
        }
        assert_eq!(seen, ['a', 'b', 'c', 'd']);
        assert_eq!(q.next_at(), Some(Time::from_micros(9)));
    }
}
