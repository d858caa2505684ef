//! The batches kept to hand to others, bounded by bytes and age.
//!
//! Oldest arrivals go first, but for those that somebody who keeps up still waits for: however much
//! others publish meanwhile, they stay, in up to half of the room. (The windows of all publishers
//! together are held to that half; see [`active`](super::active).) What this node published itself and
//! nobody has acknowledged stays in any case, however old it is: if it went, nobody could ever get it.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::batch::Batch;
use crate::identity::PeerId;
use crate::message::{MessageId, StreamId};
use crate::small::GrowMap;
use crate::time::{Time, WallTime};

/// Part of the room that those take which are waited for.
const SPARED_PART: u64 = 2;
/// What is too old and can be had from here only is looked at again so much later.
const POSTPONED: Duration = Duration::from_secs(60);
/// Batches looked at for the one that holds a message.
const OVERLAPS: usize = 4;

/// Who waits for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaited {
    Nobody,
    /// Somebody who keeps up. They are not the only ones to have it.
    Somebody,
    /// Those who should get it from here, its publisher. A window bounds how much that is.
    FromHere,
}

/// A batch that is kept.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) batch: Batch,
    pub(crate) hops: u16,
    /// Who sent it first.
    pub(crate) from: Option<PeerId>,
    pub(crate) received_at: WallTime,
    /// How many times it came again.
    pub(crate) repeats: u32,
    arrived: Time,
    /// When it is too old.
    expires: Time,
    /// For how long it had existed when it arrived, at least; the longest there is if an earlier life of
    /// this node kept it.
    age: Duration,
    order: u64,
}

impl Kept {
    /// For how long it has existed, at least; `Duration::MAX` if an earlier life kept it.
    pub(crate) fn age(&self, now: Time) -> Duration {
        self.age.saturating_add(now.since(self.arrived))
    }

    /// The same for others, who know nothing of this node's lives. For what an earlier life kept, the wall
    /// clock has to do.
    pub(crate) fn age_ms(&self, now: Time, wall: WallTime) -> u32 {
        let age = match self.age {
            Duration::MAX => {
                let published = self.batch.published_at().0;
                let age = Duration::from_micros(wall.0.saturating_sub(published));
                age.max(now.since(self.arrived))
            }
            _ => self.age(now),
        };
        u32::try_from(age.as_millis()).unwrap_or(u32::MAX)
    }

    /// Larger than that of every batch that came before.
    pub(crate) const fn arrival(&self) -> u64 {
        self.order
    }
}

/// The first message of a batch names it.
pub(crate) fn name(batch: &Batch) -> MessageId {
    let StreamId { publisher, epoch } = batch.stream();
    MessageId { publisher, epoch, sequence: batch.first() }
}

/// The store: oldest arrivals go first.
#[derive(Debug)]
pub(crate) struct Retention {
    batches: GrowMap<MessageId, Box<Kept>>,
    /// In order of arrival.
    arrivals: BTreeMap<u64, Batch>,
    /// The number of the next to arrive.
    next: u64,
    messages: u64,
    bytes: u64,
    max_bytes: u64,
    max_age: Duration,
    /// Those whose turn to go has come and which are waited for, by order of arrival.
    spared: BTreeMap<StreamId, BTreeSet<u64>>,
    spared_bytes: u64,
    /// The turn of all before it has come.
    turn: u64,
}

impl Retention {
    pub(crate) const fn new(max_bytes: u64, max_age: Duration) -> Self {
        let batches = GrowMap::new();
        let arrivals = BTreeMap::new();
        let spared = BTreeMap::new();
        Retention {
            batches,
            arrivals,
            next: 0,
            messages: 0,
            bytes: 0,
            max_bytes,
            max_age,
            spared,
            spared_bytes: 0,
            turn: 0,
        }
    }

    /// Keeps a batch; says which others had to go. `awaited` tells who waits for what is below a
    /// number of a stream.
    pub(crate) fn keep(
        &mut self,
        batch: Batch,
        hops: u16,
        from: Option<PeerId>,
        now: Time,
        received_at: WallTime,
        awaited: impl Fn(StreamId, u64) -> Awaited,
    ) -> Vec<Batch> {
        let id = name(&batch);
        if let Some(order) = self.batches.get(&id).map(|old| old.order) {
            self.remove(order);
        }
        self.bytes += batch.size() as u64;
        self.messages += batch.len() as u64;
        let (repeats, order) = (0, self.next);
        self.next += 1;
        self.arrivals.insert(order, batch.clone());
        let (arrived, expires, age) = (now, now + self.max_age, Duration::ZERO);
        let kept = Kept { batch, hops, from, received_at, repeats, arrived, expires, age, order };
        self.batches.insert(id, Box::new(kept));
        let mut gone = Vec::new();
        if self.bytes > self.max_bytes {
            self.release(&awaited, &mut gone);
        }
        while self.bytes > self.max_bytes
            && self.batches.len() > 1
            && let Some(order) = self.next_to_go(&awaited)
        {
            gone.extend(self.remove(order));
        }
        gone
    }

    /// Lets go of what was waited for and is no more, as far as the room is needed.
    fn release(&mut self, awaited: &impl Fn(StreamId, u64) -> Awaited, gone: &mut Vec<Batch>) {
        let streams: Vec<StreamId> = self.spared.keys().copied().collect();
        for stream in streams {
            while self.bytes > self.max_bytes
                && let Some(&order) = self.spared.get(&stream).and_then(BTreeSet::first)
                && self
                    .arrival(order)
                    .is_none_or(|k| awaited(stream, k.batch.end()) == Awaited::Nobody)
            {
                gone.extend(self.remove(order));
            }
        }
    }

    fn arrival(&self, order: u64) -> Option<&Kept> {
        self.batches.get(&name(self.arrivals.get(&order)?)).map(|k| &**k)
    }

    /// Those that arrived from one number on, oldest first.
    fn arrived_from(&self, order: u64) -> impl DoubleEndedIterator<Item = &Kept> {
        self.arrivals.range(order..).filter_map(|(_, b)| self.batches.get(&name(b))).map(|k| &**k)
    }

    /// The oldest that nobody waits for; the oldest of all if too much is waited for.
    fn next_to_go(&mut self, awaited: &impl Fn(StreamId, u64) -> Awaited) -> Option<u64> {
        let newest = *self.arrivals.last_key_value()?.0;
        loop {
            let next = self.arrived_from(self.turn).next();
            let Some(kept) = next.filter(|k| k.order < newest) else { break };
            let (order, stream, size) = (kept.order, kept.batch.stream(), kept.batch.size() as u64);
            let who = awaited(stream, kept.batch.end());
            let room = self.spared_bytes + size <= self.max_bytes / SPARED_PART;
            if who != Awaited::FromHere && !(room && who == Awaited::Somebody) {
                // It may be that nobody waits for it, but what came before makes room first.
                return if room { Some(order) } else { self.oldest_elsewhere(awaited) };
            }
            self.spared.entry(stream).or_default().insert(order);
            self.spared_bytes += size;
            self.turn = order + 1;
        }
        self.oldest_elsewhere(awaited)
    }

    /// The oldest one that others have as well. Not the newest: it has yet to be delivered, and may exceed the bound
    /// until the next one comes. The oldest of all if the others exceed it without that.
    fn oldest_elsewhere(&self, awaited: &impl Fn(StreamId, u64) -> Awaited) -> Option<u64> {
        let from_here = |k: &Kept| awaited(k.batch.stream(), k.batch.end()) == Awaited::FromHere;
        let (&newest, batch) = self.arrivals.last_key_value()?;
        let mut others = self.arrived_from(0).filter(|k| k.order < newest);
        let found = others.find(|k| !from_here(k)).map(|k| k.order);
        let is_too_much = self.bytes - batch.size() as u64 > self.max_bytes;
        let oldest = self.arrivals.first_key_value().map(|(order, _)| *order);
        found.or_else(|| oldest.filter(|_| is_too_much))
    }

    /// Lets go of what is too old. What only this node has stays, and what came after it may stay as much
    /// longer as [`POSTPONED`].
    pub(crate) fn expire(
        &mut self,
        now: Time,
        awaited: impl Fn(StreamId, u64) -> Awaited,
    ) -> Vec<Batch> {
        let mut gone = Vec::new();
        if self.next_expiry().is_none_or(|at| at > now) {
            return gone;
        }
        // Those behind one that stayed are as old as it was then, or younger.
        let is_old = |k: &&Kept| k.arrived + self.max_age <= now;
        let old: Vec<u64> = self.arrived_from(0).take_while(is_old).map(|k| k.order).collect();
        for order in old {
            let Some(kept) = self.arrival(order) else { continue };
            if awaited(kept.batch.stream(), kept.batch.end()) != Awaited::FromHere {
                gone.extend(self.remove(order));
                continue;
            }
            let id = name(&kept.batch);
            if let Some(kept) = self.batches.get_mut(&id) {
                kept.expires = now + POSTPONED;
            }
        }
        gone
    }

    /// When to look for what is too old.
    pub(crate) fn next_expiry(&self) -> Option<Time> {
        self.arrived_from(0).next().map(|k| k.expires)
    }

    fn remove(&mut self, order: u64) -> Option<Batch> {
        let batch = self.arrivals.remove(&order)?;
        let kept = self.batches.remove(&name(&batch))?;
        let (stream, size) = (kept.batch.stream(), kept.batch.size() as u64);
        self.bytes -= size;
        self.messages -= kept.batch.len() as u64;
        if let Some(spared) = self.spared.get_mut(&stream)
            && spared.remove(&order)
        {
            self.spared_bytes -= size;
            if spared.is_empty() {
                self.spared.remove(&stream);
            }
        }
        Some(kept.batch)
    }

    /// Takes out all batches of a stream, in order.
    pub(crate) fn take_stream(&mut self, stream: StreamId) -> Vec<Batch> {
        let orders: Vec<u64> = self.range(stream, 0, u64::MAX).map(|k| k.order).collect();
        orders.into_iter().filter_map(|order| self.remove(order)).collect()
    }

    /// The batch that holds a message.
    pub(crate) fn holding(&self, id: &MessageId) -> Option<&Kept> {
        let first = MessageId { sequence: 0, ..*id };
        // The nearest one, unless a publisher packed a number twice, which an honest one never does.
        let before = self.batches.range(first..=*id).rev().take(OVERLAPS);
        before.map(|(_, k)| &**k).find(|k| id.sequence < k.batch.end())
    }

    /// A batch existed for so long when it arrived.
    pub(crate) fn set_age(&mut self, batch: &Batch, age: Duration) {
        if let Some(kept) = self.batches.get_mut(&name(batch)) {
            kept.age = age;
        }
    }

    /// A batch came again.
    pub(crate) fn repeated(&mut self, batch: &Batch) {
        if let Some(kept) = self.batches.get_mut(&name(batch)) {
            kept.repeats = kept.repeats.saturating_add(1);
        }
    }

    /// The first kept number of a stream from `from` on.
    pub(crate) fn first_from(
        &self,
        StreamId { publisher, epoch }: StreamId,
        from: u64,
    ) -> Option<u64> {
        let from = MessageId { publisher, epoch, sequence: from };
        let to = MessageId { sequence: u64::MAX, ..from };
        self.batches.range(from..=to).next().map(|(id, _)| id.sequence)
    }

    /// Kept batches with messages of one stream in `from..to`, ascending.
    pub(crate) fn range(
        &self,
        stream: StreamId,
        from: u64,
        to: u64,
    ) -> impl Iterator<Item = &Kept> {
        let StreamId { publisher, epoch } = stream;
        let id = MessageId { publisher, epoch, sequence: from };
        // The one that holds `from` may begin before it.
        let first = self.holding(&id).map_or(id, |k| name(&k.batch));
        let last = MessageId { sequence: to.max(first.sequence), ..id };
        self.batches.range(first..last).map(|(_, k)| &**k)
    }

    /// The batches that hold the `limit` newest messages, oldest first; of those that arrived before
    /// one message, if it is still kept, and its own batch.
    pub(crate) fn newest(&self, limit: usize, before: Option<&MessageId>) -> Vec<&Kept> {
        let last = match before {
            None => u64::MAX,
            Some(id) => match self.holding(id) {
                Some(kept) => kept.order,
                // What came before it is gone as well, but for some that somebody waits for.
                None => return Vec::new(),
            },
        };
        let mut list = Vec::new();
        let mut messages = 0;
        let arrived = self.arrivals.range(..=last).rev();
        for kept in arrived.filter_map(|(_, b)| self.batches.get(&name(b))) {
            if messages >= limit {
                break;
            }
            messages += match before.filter(|_| list.is_empty()) {
                Some(id) => usize::try_from(id.sequence - kept.batch.first()).unwrap_or(usize::MAX),
                None => kept.batch.len(),
            };
            list.push(&**kept);
        }
        list.reverse();
        list
    }

    /// Messages kept.
    pub(crate) const fn messages(&self) -> u64 {
        self.messages
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchBuilder;
    use crate::identity::Identity;

    fn batch(first: u64, count: u64, bytes: usize) -> Batch {
        let me = Identity::from_secret(&[1; 32]);
        let id = MessageId { publisher: me.id(), epoch: 1, sequence: first };
        let mut b = BatchBuilder::new(id, WallTime(0));
        for _ in 0..count {
            b.push(WallTime(0), "", &vec![7; bytes]);
        }
        b.seal(&me)
    }

    const fn nobody(_: StreamId, _: u64) -> Awaited {
        Awaited::Nobody
    }

    #[test]
    fn what_somebody_waits_for_stays_in_half_of_the_room() {
        let mut r = Retention::new(10_000, Duration::from_secs(10));
        let other = Identity::from_secret(&[2; 32]);
        let of_other = |first| {
            let id = MessageId { publisher: other.id(), epoch: 1, sequence: first };
            let mut b = BatchBuilder::new(id, WallTime(0));
            b.push(WallTime(0), "", &[7; 500]);
            b.seal(&other)
        };
        let keep = |r: &mut Retention, b: Batch, below: u64| {
            let waits = |s: StreamId, end: u64| {
                if s.publisher == other.id() && end > below {
                    Awaited::Somebody
                } else {
                    Awaited::Nobody
                }
            };
            let gone = r.keep(b, 1, None, Time::ZERO, WallTime(0), waits);
            assert!(r.bytes() <= 10_000 && r.spared_bytes <= 5_000);
            gone
        };
        // Numbers 0 to 2 are waited for, as are all behind them.
        (0..3).for_each(|n| drop(keep(&mut r, of_other(n), 0)));
        for n in 0..100 {
            let gone = keep(&mut r, batch(n, 1, 500), 0);
            assert!(gone.iter().all(|b| b.publisher() != other.id()), "at {n}");
        }
        assert!(
            r.range(StreamId { publisher: other.id(), epoch: 1 }, 0, 3).count() == 3
                && !r.spared.is_empty()
        );
        // When they have come, they go first.
        let gone = keep(&mut r, batch(100, 1, 500), 3);
        assert_eq!((gone[0].publisher(), gone[0].first()), (other.id(), 0));
        (101..110).for_each(|n| drop(keep(&mut r, batch(n, 1, 500), 3)));
        assert!(r.spared.is_empty() && r.spared_bytes == 0);
        assert_eq!(r.first_from(StreamId { publisher: other.id(), epoch: 1 }, 0), None);
        // More than half of the room is not given to them.
        (3..100).for_each(|n| drop(keep(&mut r, of_other(n), 3)));
        assert!(r.first_from(StreamId { publisher: other.id(), epoch: 1 }, 0) > Some(80));
    }

    /// Everybody waits for everything, and nobody has what this node published but this node.
    #[test]
    fn what_was_published_here_and_has_not_come_anywhere_stays() {
        let mut r = Retention::new(10_000, Duration::from_secs(10));
        let other = Identity::from_secret(&[2; 32]);
        let waits = |s: StreamId, _: u64| {
            if s.publisher == other.id() { Awaited::FromHere } else { Awaited::Somebody }
        };
        for n in 0..3 {
            let id = MessageId { publisher: other.id(), epoch: 1, sequence: n };
            let mut b = BatchBuilder::new(id, WallTime(0));
            b.push(WallTime(0), "", &[7; 500]);
            r.keep(b.seal(&other), 0, None, Time::ZERO, WallTime(0), waits);
        }
        for n in 0..100 {
            r.keep(batch(n, 1, 500), 1, None, Time::ZERO, WallTime(0), waits);
            assert!(r.bytes() <= 10_000);
        }
        assert_eq!(r.range(StreamId { publisher: other.id(), epoch: 1 }, 0, 3).count(), 3);
    }

    #[test]
    fn what_was_published_here_and_has_not_come_anywhere_does_not_grow_too_old() {
        let mut r = Retention::new(10_000, Duration::from_secs(10));
        let at = |s: u64| Time::from_micros(s * 1_000_000);
        let waits = |_: StreamId, end: u64| {
            if end == 1 { Awaited::FromHere } else { Awaited::Nobody }
        };
        for n in 0..3 {
            r.keep(batch(n, 1, 500), 0, None, at(n), WallTime(0), waits);
        }
        let gone = |b: Vec<Batch>| b.iter().map(Batch::first).collect::<Vec<_>>();
        assert_eq!(gone(r.expire(at(11), waits)), [1], "the first one stays");
        assert!(
            r.next_expiry().is_some_and(|next| next > at(11)),
            "it is not looked at all the time"
        );
        assert_eq!(gone(r.expire(at(11) + POSTPONED, waits)), [2]);
        assert_eq!(
            gone(r.expire(at(11) + POSTPONED * 2, nobody)),
            [0],
            "now it has come somewhere"
        );
        assert_eq!(r.next_expiry(), None);
    }

    #[test]
    fn what_has_just_come_does_not_go_before_it_is_delivered() {
        let mut r = Retention::new(2_000, Duration::from_secs(10));
        let from_here = |s: StreamId, end: u64| match (s, end) {
            (_, 1) => Awaited::FromHere,
            _ => Awaited::Nobody,
        };
        let mut keep = |n: u64, size| {
            let gone = r.keep(batch(n, 1, size), 1, None, Time::ZERO, WallTime(0), from_here);
            gone.iter().map(Batch::first).collect::<Vec<_>>()
        };
        assert_eq!(keep(0, 1_200), []);
        assert_eq!(keep(1, 500), [], "nor does what only this node has");
        assert_eq!(keep(2, 500), [1]);
    }

    #[test]
    fn bounded_by_bytes_and_age() {
        let mut r = Retention::new(10_000, Duration::from_secs(10));
        let mut gone = Vec::new();
        for n in 0..20 {
            let at = Time::from_micros(n * 1_000_000);
            gone.extend(r.keep(batch(n, 1, 500), 1, None, at, WallTime(0), nobody));
            assert!(r.bytes() <= 10_000);
        }
        assert_eq!(gone.len() as u64 + r.messages(), 20);
        assert!(gone.iter().map(Batch::first).is_sorted(), "oldest first");
        let gone = r.expire(Time::from_micros(100_000_000), |_, _| Awaited::Nobody);
        assert!(!gone.is_empty());
        assert_eq!((r.messages(), r.bytes(), r.next_expiry()), (0, 0, None));
    }

    #[test]
    fn the_same_batch_counts_once() {
        let mut r = Retention::new(1 << 20, Duration::from_secs(10));
        r.keep(batch(1, 2, 100), 1, None, Time::ZERO, WallTime(0), nobody);
        let before = r.bytes();
        r.keep(batch(1, 2, 100), 1, None, Time::ZERO, WallTime(0), nobody);
        assert_eq!((r.messages(), r.bytes(), r.newest(9, None).len()), (2, before, 1));
    }

    #[test]
    fn the_newest_and_those_before_them() {
        let mut r = Retention::new(1 << 20, Duration::from_secs(10));
        for (first, count) in [(10, 3), (0, 4), (20, 2)] {
            r.keep(batch(first, count, 10), 1, None, Time::ZERO, WallTime(0), nobody);
        }
        let at = |sequence| MessageId { sequence, ..name(&batch(0, 1, 1)) };
        let firsts = |limit, before: Option<u64>| {
            let newest = r.newest(limit, before.map(at).as_ref());
            newest.iter().map(|k| k.batch.first()).collect::<Vec<_>>()
        };
        assert_eq!(firsts(3, None), [0, 20]);
        assert_eq!(firsts(9, None), [10, 0, 20]);
        assert_eq!(firsts(1, Some(21)), [20]);
        assert_eq!(firsts(2, Some(21)), [0, 20]);
        assert_eq!(firsts(1, Some(0)), [10, 0]);
        assert_eq!(firsts(9, Some(10)), [10]);
        assert_eq!(firsts(9, Some(99)), Vec::<u64>::new());
    }

    #[test]
    fn a_message_is_found_in_its_batch() {
        let mut r = Retention::new(1 << 20, Duration::from_secs(10));
        for (first, count) in [(0, 3), (3, 1), (10, 5)] {
            r.keep(batch(first, count, 10), 1, None, Time::ZERO, WallTime(0), nobody);
        }
        let b = batch(0, 1, 1);
        let at = |sequence| MessageId { sequence, ..name(&b) };
        let holding = |n| r.holding(&at(n)).map(|k| k.batch.first());
        assert_eq!(
            [0, 2, 3, 4, 10, 14, 15].map(holding).to_vec(),
            [Some(0), Some(0), Some(3), None, Some(10), Some(10), None]
        );
        let range = |a, b2| r.range(b.stream(), a, b2).map(|k| k.batch.first()).collect::<Vec<_>>();
        assert_eq!(range(2, 11), [0, 3, 10]);
        assert_eq!(range(4, 10), Vec::<u64>::new());
        assert_eq!(range(12, 13), [10]);
        assert_eq!(r.first_from(b.stream(), 4), Some(10));
    }
}
