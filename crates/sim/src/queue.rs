//! The event queue: entries by time; entries with the same time keep the order of insertion.
//!
//! The queue is a radix heap (Ahuja, Mehlhorn, Orlin and Tarjan 1990). An entry is in the list of
//! the highest bit in which its time differs from the time of the last entry taken out. Virtual
//! time never runs backwards, so entries only move to lower lists, a few times each, and no path
//! through memory is compared as in a binary heap. Entries with the same time are always in the
//! same list and keep their order.

use std::collections::VecDeque;

use rumormill_proto::Time;

/// Number of lists: one for each bit of a time, and one for the time of the last entry itself.
const LISTS: usize = 65;

/// An entry: its time, and the slot of its payload.
#[derive(Debug, Clone, Copy)]
struct QueueEntry {
    at: u64,
    slot: u32,
}

/// A queue ordered by (time, insertion). A new entry must not be earlier than the last one taken
/// out.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// Slots of the entries due at `last`.
    now: VecDeque<u32>,
    /// The other entries, by the highest bit in which they differ from `last`.
    later: Vec<Vec<QueueEntry>>,
    /// The earliest time of each list.
    earliest: [u64; LISTS],
    /// Time of the last entry taken out.
    last: u64,
    payloads: Vec<Option<T>>,
    free_slots: Vec<u32>,
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
            free_slots: Vec::new(),
            len: 0,
        }
    }

    #[cfg(test)]
    const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, at: Time, payload: T) {
        let at = at.as_micros();
        debug_assert!(at >= self.last, "an entry must not be earlier than the last one taken out");
        let slot = if let Some(slot) = self.free_slots.pop() {
            self.payloads[slot as usize] = Some(payload);
            slot
        } else {
            let slot = u32::try_from(self.payloads.len()).unwrap_or(u32::MAX);
            self.payloads.push(Some(payload));
            slot
        };
        self.len += 1;
        self.insert(QueueEntry { at: at.max(self.last), slot });
    }

    fn insert(&mut self, entry: QueueEntry) {
        if entry.at == self.last {
            self.now.push_back(entry.slot);
            return;
        }
        let list = 64 - (entry.at ^ self.last).leading_zeros() as usize;
        self.later[list].push(entry);
        self.earliest[list] = self.earliest[list].min(entry.at);
    }

    #[cfg(test)]
    fn next_at(&self) -> Option<Time> {
        if !self.now.is_empty() {
            return Some(Time::from_micros(self.last));
        }
        let list = (1..LISTS).find(|&l| !self.later[l].is_empty())?;
        Some(Time::from_micros(self.earliest[list]))
    }

    /// The next entry, if it is due by `until`.
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
        let payload = self.payloads[slot as usize].take()?;
        self.free_slots.push(slot);
        self.len -= 1;
        Some((Time::from_micros(self.last), payload))
    }

    /// Advances `last` to the earliest time of the lowest list with entries, and distributes this
    /// list over the lower ones.
    fn advance(&mut self, list: usize) {
        self.last = self.earliest[list];
        self.earliest[list] = u64::MAX;
        let mut entries = core::mem::take(&mut self.later[list]);
        for entry in entries.drain(..) {
            self.insert(entry);
        }
        // The list keeps its memory for reuse, unless a burst made it large.
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
    fn entries_are_ordered_by_time_then_insertion() {
        let mut q = Queue::new();
        for (at, payload) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b'), (9, 'z')] {
            q.push(Time::from_micros(at), payload);
        }
        let mut popped = Vec::new();
        while let Some((_, payload)) = q.pop_until(Time::from_micros(5)) {
            popped.push(payload);
        }
        assert_eq!(popped, ['a', 'b', 'c', 'd']);
        assert_eq!((q.next_at(), q.len()), (Some(Time::from_micros(9)), 1));
    }

    proptest! {
        #[test]
        fn queue_pops_in_the_same_order_as_a_binary_heap(
            steps in proptest::collection::vec((0u8..4, 0u32..40, any::<u32>()), 1..400),
        ) {
            let mut queue = Queue::new();
            let mut heap = BinaryHeap::new();
            let (mut now, mut number) = (0, 0u32);
            for (step, shift, bits) in steps {
            // Waits of all lengths, many of them equal.
                let wait = u64::from(bits) >> (shift.min(31));
                if step > 0 {
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
