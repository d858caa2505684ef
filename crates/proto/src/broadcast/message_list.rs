//! The Message List: which messages were received.
//!
//! Per publisher and incarnation it keeps the ranges of numbers received, not one entry per
//! message: a publisher whose messages all came takes one range, however many they are.

use std::collections::BTreeMap;

use crate::identity::PeerId;
use crate::limits::{MAX_GAPS, MAX_LIVES, MAX_PUBLISHERS};
use crate::message::MessageId;

/// The numbers received of one publisher in one incarnation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Disjoint, non-touching ranges: first number to the number after the last.
    ranges: BTreeMap<u64, u64>,
    received: u64,
    touched: u64,
}

impl Seen {
    fn contains(&self, sequence: u64) -> bool {
        self.ranges.range(..=sequence).next_back().is_some_and(|(_, &end)| sequence < end)
    }

    /// Adds `from..to`, joining what it touches.
    fn add(&mut self, mut from: u64, mut to: u64) {
        while let Some((&start, &end)) = self.ranges.range(..=to).next_back() {
            if end < from {
                break;
            }
            from = from.min(start);
            to = to.max(end);
            self.ranges.remove(&start);
        }
        self.ranges.insert(from, to);
    }

    /// Holds the number of gaps to its bound; says which one was closed for it.
    fn close_oldest_gap(&mut self) -> Option<(u64, u64)> {
        if self.ranges.len() <= MAX_GAPS {
            return None;
        }
        let (from, to) = self.gaps().first().copied()?;
        self.add(from, to);
        Some((from, to))
    }

    /// All numbers below it were received.
    pub(crate) fn high_water(&self) -> u64 {
        self.ranges.get(&0).copied().unwrap_or(0)
    }

    /// The number after the highest one received.
    pub(crate) fn next(&self) -> u64 {
        self.ranges.last_key_value().map_or(0, |(_, &end)| end)
    }

    /// Messages received.
    pub(crate) const fn received(&self) -> u64 {
        self.received
    }

    /// Missing ranges below [`Seen::next`].
    pub(crate) fn gaps(&self) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut expected = 0;
        for (&start, &end) in &self.ranges {
            if start > expected {
                gaps.push((expected, start));
            }
            expected = end;
        }
        gaps
    }
}

/// A range given up, because the list of gaps or publishers was full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forgotten {
    pub(crate) publisher: PeerId,
    pub(crate) incarnation: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// What happened to a message offered to the list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Receipt {
    /// New. A gap may have been closed for good to make room.
    First(Option<Forgotten>),
    /// Received before.
    Repeat,
}

/// The list.
#[derive(Debug, Default)]
pub(crate) struct MessageList {
    publishers: BTreeMap<(PeerId, u64), Seen>,
    clock: u64,
}

impl MessageList {
    /// Notes the receipt of a message.
    pub(crate) fn receive(&mut self, id: &MessageId) -> Receipt {
        let key = (id.publisher, id.incarnation);
        self.clock += 1;
        if !self.publishers.contains_key(&key) {
            if !self.make_room_for(key) {
                return Receipt::Repeat;
            }
            if self.publishers.len() >= MAX_PUBLISHERS {
                self.forget_least_recent();
            }
        }
        let clock = self.clock;
        let seen = self.publishers.entry(key).or_default();
        if seen.contains(id.sequence) {
            return Receipt::Repeat;
        }
        seen.add(id.sequence, id.sequence.saturating_add(1));
        seen.received += 1;
        seen.touched = clock;
        let closed = seen.close_oldest_gap();
        let forgotten = closed.map(|(from, to)| {
            let (publisher, incarnation) = key;
            Forgotten { publisher, incarnation, from, to }
        });
        Receipt::First(forgotten)
    }

    /// Closes a gap that nobody can fill any more: as much of the range as lies below what was
    /// received. (That there is more above it is only somebody's claim.) Says what was given up.
    pub(crate) fn give_up(
        &mut self,
        publisher: PeerId,
        incarnation: u64,
        from: u64,
        to: u64,
    ) -> Vec<Forgotten> {
        let Some(seen) = self.publishers.get_mut(&(publisher, incarnation)) else {
            return Vec::new();
        };
        let to = to.min(seen.next());
        if from >= to {
            return Vec::new();
        }
        seen.add(from, to);
        let closed = seen.close_oldest_gap();
        let named = |(from, to)| Forgotten { publisher, incarnation, from, to };
        [Some((from, to)), closed].into_iter().flatten().map(named).collect()
    }

    /// Makes room for a further incarnation of a publisher: the oldest goes. One that is older than
    /// all that are kept has been forgotten before; what comes of it counts as a repeat.
    fn make_room_for(&mut self, (publisher, incarnation): (PeerId, u64)) -> bool {
        let lives: Vec<u64> = self
            .publishers
            .range((publisher, 0)..=(publisher, u64::MAX))
            .map(|((_, life), _)| *life)
            .collect();
        let Some(&oldest) = lives.first().filter(|_| lives.len() >= MAX_LIVES) else { return true };
        if incarnation < oldest {
            return false;
        }
        self.publishers.remove(&(publisher, oldest));
        true
    }

    /// Whether a message was received.
    pub(crate) fn contains(&self, id: &MessageId) -> bool {
        self.publishers
            .get(&(id.publisher, id.incarnation))
            .is_some_and(|s| s.contains(id.sequence))
    }

    /// What was received of one publisher.
    pub(crate) fn get(&self, publisher: PeerId, incarnation: u64) -> Option<&Seen> {
        self.publishers.get(&(publisher, incarnation))
    }

    /// All publishers, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&(PeerId, u64), &Seen)> {
        self.publishers.iter()
    }

    /// Makes room by forgetting the publisher not heard of for longest. It takes a scan, which
    /// happens only at the bound, where each newcomer pays for itself.
    fn forget_least_recent(&mut self) {
        let oldest = self.publishers.iter().min_by_key(|(_, s)| s.touched).map(|(k, _)| *k);
        if let Some(key) = oldest {
            self.publishers.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn id(sequence: u64) -> MessageId {
        MessageId { publisher: PeerId::from_bytes([1; 32]), incarnation: 1, sequence }
    }

    #[test]
    fn in_order_takes_one_range() {
        let mut ml = MessageList::default();
        for s in 0..100_000 {
            assert_eq!(ml.receive(&id(s)), Receipt::First(None));
        }
        let seen = ml.get(id(0).publisher, 1).unwrap();
        assert_eq!((seen.ranges.len(), seen.high_water(), seen.next()), (1, 100_000, 100_000));
        assert_eq!(ml.receive(&id(5)), Receipt::Repeat);
    }

    #[test]
    fn gaps_are_bounded_and_the_closed_one_is_named() {
        let mut ml = MessageList::default();
        let mut given_up = 0;
        for s in 0..2 * MAX_GAPS as u64 {
            if let Receipt::First(Some(f)) = ml.receive(&id(2 * s + 1)) {
                given_up += f.to - f.from;
            }
        }
        assert_eq!(given_up, MAX_GAPS as u64);
        assert!(ml.get(id(0).publisher, 1).unwrap().gaps().len() <= MAX_GAPS);
    }

    #[test]
    fn the_last_number_there_is() {
        let mut ml = MessageList::default();
        assert_eq!(ml.receive(&id(u64::MAX - 1)), Receipt::First(None));
        assert_eq!(ml.receive(&id(u64::MAX - 1)), Receipt::Repeat);
        // u64::MAX itself cannot be held as a range; it is refused before it gets here.
    }

    proptest! {
        #[test]
        fn it_is_a_set(order in proptest::collection::vec(0u64..120, 0..300)) {
            let mut ml = MessageList::default();
            let mut model = BTreeSet::new();
            for s in order {
                let first = ml.receive(&id(s)) != Receipt::Repeat;
                prop_assert_eq!(first, model.insert(s));
                let seen = ml.get(id(0).publisher, 1).unwrap();
                let missing: u64 = seen.gaps().iter().map(|(a, b)| b - a).sum();
                prop_assert_eq!(seen.next() - missing, model.len() as u64);
                prop_assert!((0..seen.high_water()).all(|k| model.contains(&k)));
                prop_assert!(!model.contains(&seen.high_water()));
            }
        }
    }
}
