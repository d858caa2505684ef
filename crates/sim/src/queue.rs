//! What is to happen, in order of time; what is due at the same time comes in the order in which
//! it was put in.
//!
//! A radix heap (Ahuja, Mehlhorn, Orlin and Tarjan 1990): an entry stands in the list of the highest
//! bit in which its time differs from that of the last one taken. Time never runs backwards here, so
//! entries only move to lower lists, a few times each; nothing is compared along a path through memory
//! as in a binary heap. Entries with one time are always in one list, and stay in their order.

use std::collections::VecDeque;

use rumormill_proto::Time;

/// Lists: one for each bit of a time, and one for the time of the last entry itself.
const LISTS: usize = 65;

/// An entry: when, and where its payload is.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: u64,
    slot: u32,
}

/// A queue by (time, insertion). Nothing may be put in before the last one taken out.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// Entries due at `last`.
    now: VecDeque<u32>,
    /// The others, by the highest bit in which they differ from `last`.
    later: Vec<Vec<Due>>,
    /// The earliest of each list.
    earliest: [u64; LISTS],
    last: u64,
    payloads: Vec<Option<T>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Queue {
            now: VecDeque::new(),
            later: (0..LISTS).map(|_| Vec::new()).collect(),
            earliest: [u64::MAX; LISTS],
            last: 0,
            payloads: Vec::new(),
            free: Vec::new(),
            len: 0,
        }
    }

    #[cfg(test)]
    const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, at: Time, what: T) {
        let at = at.as_micros();
        debug_assert!(at >= self.last, "something is to happen in the past");
        let slot = if let Some(slot) = self.free.pop() {
            self.payloads[slot as usize] = Some(what);
            slot
        } else {
            let slot = u32::try_from(self.payloads.len()).unwrap_or(u32::MAX);
            self.payloads.push(Some(what));
            slot
        };
        self.len += 1;
        self.place(Due { at: at.max(self.last), slot });
    }

    fn place(&mut self, due: Due) {
        if due.at == self.last {
            self.now.push_back(due.slot);
            return;
        }
        let list = 64 - (due.at ^ self.last).leading_zeros() as usize;
        self.later[list].push(due);
        self.earliest[list] = self.earliest[list].min(due.at);
    }

    #[cfg(test)]
    fn next_at(&self) -> Option<Time> {
        if !self.now.is_empty() {
            return Some(Time::from_micros(self.last));
        }
        let list = (1..LISTS).find(|&l| !self.later[l].is_empty())?;
        Some(Time::from_micros(self.earliest[list]))
    }

    /// The next one, if it is due by `until`.
    pub(crate) fn pop_until(&mut self, until: Time) -> Option<(Time, T)> {
        let until = until.as_micros();
        if self.now.is_empty() {
            let list = (1..LISTS).find(|&l| !self.later[l].is_empty())?;
            if self.earliest[list] > until {
                return None;
            }
            self.advance(list);
        } else if self.last > until {
            return None;
        }
        let slot = self.now.pop_front()?;
        let what = self.payloads[slot as usize].take()?;
        self.free.push(slot);
        self.len -= 1;
        Some((Time::from_micros(self.last), what))
    }

    /// The first entries of the lowest list that has some are the next: the list is spread over
    /// those below it.
    fn advance(&mut self, list: usize) {
        self.last = self.earliest[list];
        self.earliest[list] = u64::MAX;
        let mut entries = core::mem::take(&mut self.later[list]);
        for due in entries.drain(..) {
            self.place(due);
        }
        // Its memory is used again, unless a burst made it large.
        entries.shrink_to(4096);
        self.later[list] = entries;
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use proptest::prelude::*;

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
        assert_eq!((q.next_at(), q.len()), (Some(Time::from_micros(9)), 1));
    }

    proptest! {
        #[test]
        fn the_same_as_a_heap(
            steps in proptest::collection::vec((0u8..4, 0u32..40, any::<u32>()), 1..400),
        ) {
            let mut queue = Queue::new();
            let mut heap = BinaryHeap::new();
            let (mut now, mut number) = (0, 0u32);
            for (what, shift, bits) in steps {
                // Waits of all lengths, many of them the same.
                let wait = u64::from(bits) >> (shift.min(31));
                if what > 0 {
                    queue.push(Time::from_micros(now + wait), number);
                    heap.push(Reverse((now + wait, number)));
                    number += 1;
                } else {
                    let until = now + wait;
                    prop_assert_eq!(
                        queue.next_at().map(Time::as_micros),
                        heap.peek().map(|Reverse((at, _))| *at)
                    );
                    while let Some((at, n)) = queue.pop_until(Time::from_micros(until)) {
                        prop_assert_eq!(heap.pop(), Some(Reverse((at.as_micros(), n))));
                        now = at.as_micros();
                        if bits % 3 == 0 {
                            break;
                        }
                    }
                    prop_assert!(bits % 3 == 0 || heap.peek().is_none_or(|r| r.0.0 > until));
                    prop_assert_eq!(queue.len(), heap.len());
                }
            }
        }
    }
}
