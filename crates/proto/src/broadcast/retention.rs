//! The batches retained for others, bounded by bytes and age.
//!
//! Oldest arrivals are evicted first, except those that a peer which keeps up still needs: however
//! much others publish meanwhile, they stay, in up to half of the space. (The windows of all
//! publishers together are held to that half; see [`active_publishers`](super::active_publishers).)
//! Batches that this node has published and no other node has acknowledged stay in any case,
//! whatever their age: if they went, no node could ever get them.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::batch::Batch;
use crate::identity::PeerId;
use crate::message::{Delivery, MessageId, StreamId};
use crate::small::GrowMap;
use crate::time::{Time, WallTime};
use crate::wire::Gossip;

/// The part of the space for batches that are needed.
const PROTECTED_DIVISOR: u64 = 2;
/// How long the eviction of an expired only copy is postponed.
const EXPIRY_RETRY: Duration = Duration::from_secs(60);
/// Number of batches searched for the one that holds a message.
const MAX_OVERLAPPING: usize = 4;

/// Whether other peers need a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetentionNeed {
    NotNeeded,
    /// A peer that keeps up needs it. This node is not the only one to have it.
    Needed,
    /// Peers need it, and can get it only here, from its publisher. A window bounds the bytes of
    /// such batches.
    OnlyCopy,
}

/// A retained batch.
#[derive(Debug, Clone)]
pub(crate) struct RetainedBatch {
    pub(crate) batch: Batch,
    pub(crate) hops: u16,
    /// The neighbour that sent it first.
    pub(crate) from: Option<PeerId>,
    pub(crate) received_at: WallTime,
    /// Number of times that it arrived again.
    pub(crate) duplicates: u32,
    arrived: Time,
    /// When it expires.
    expires: Time,
    /// Its least age when it arrived; `Duration::MAX` if an earlier process of this node retained
    /// it.
    age: Duration,
    arrival_order: u64,
}

impl RetainedBatch {
    /// Its least age; `Duration::MAX` if an earlier process retained it.
    pub(crate) fn age(&self, now: Time) -> Duration {
        self.age.saturating_add(now.since(self.arrived))
    }

    /// Its age for other nodes, which do not know the processes of this node. The wall clock
    /// decides for batches that an earlier process retained.
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

    /// The delivery of its messages in `from..to`.
    pub(crate) fn delivery(self, from: u64, to: u64, now: Time) -> Delivery {
        Delivery {
            age: self.age(now),
            batch: self.batch,
            from,
            to,
            neighbour: self.from,
            hops: self.hops,
            received_at: self.received_at,
        }
    }

    /// The frame that sends it to another node; `pulled` if that node has asked for it.
    pub(crate) fn gossip(&self, pulled: bool, now: Time, wall: WallTime) -> Gossip {
        Gossip {
            hops: self.hops.saturating_add(1),
            explores: false,
            receipt: false,
            pulled,
            age_ms: self.age_ms(now, wall),
            batch: self.batch.clone(),
        }
    }

    /// Larger than the number of every batch that arrived earlier.
    pub(crate) const fn arrival_order(&self) -> u64 {
        self.arrival_order
    }
}

/// The id of a batch: that of its first message.
pub(crate) fn batch_id(batch: &Batch) -> MessageId {
    batch.stream().message(batch.first())
}

/// The retained batches.
#[derive(Debug)]
pub(crate) struct Retention {
    batches: GrowMap<MessageId, Box<RetainedBatch>>,
    /// In order of arrival.
    arrivals: BTreeMap<u64, Batch>,
    /// The arrival number of the next batch.
    next: u64,
    messages: u64,
    bytes: u64,
    max_bytes: u64,
    max_age: Duration,
    /// Needed batches that would otherwise have been evicted, by order of arrival.
    protected: BTreeMap<StreamId, BTreeSet<u64>>,
    protected_bytes: u64,
    /// All batches before it were considered for eviction.
    eviction_cursor: u64,
}

impl Retention {
    pub(crate) const fn new(max_bytes: u64, max_age: Duration) -> Self {
        Retention {
            batches: GrowMap::new(),
            arrivals: BTreeMap::new(),
            next: 0,
            messages: 0,
            bytes: 0,
            max_bytes,
            max_age,
            protected: BTreeMap::new(),
            protected_bytes: 0,
            eviction_cursor: 0,
        }
    }

    /// Retains a batch and returns the batches that were evicted for it. `need_below` says whether
    /// peers need the messages of a stream below a sequence number.
    pub(crate) fn retain(
        &mut self,
        batch: Batch,
        hops: u16,
        from: Option<PeerId>,
        now: Time,
        received_at: WallTime,
        need_below: impl Fn(StreamId, u64) -> RetentionNeed,
    ) -> Vec<Batch> {
        let id = batch_id(&batch);
        if let Some(arrival_order) = self.batches.get(&id).map(|old| old.arrival_order) {
            self.remove(arrival_order);
        }
        self.bytes += batch.size() as u64;
        self.messages += batch.len() as u64;
        let (duplicates, arrival_order) = (0, self.next);
        self.next += 1;
        self.arrivals.insert(arrival_order, batch.clone());
        let (arrived, expires, age) = (now, now + self.max_age, Duration::ZERO);
        let retained = RetainedBatch {
            batch,
            hops,
            from,
            received_at,
            duplicates,
            arrived,
            expires,
            age,
            arrival_order,
        };
        self.batches.insert(id, Box::new(retained));
        let mut evicted = Vec::new();
        if self.bytes > self.max_bytes {
            self.evict_released(&need_below, &mut evicted);
        }
        while self.bytes > self.max_bytes
            && self.batches.len() > 1
            && let Some(arrival_order) = self.next_eviction(&need_below)
        {
            evicted.extend(self.remove(arrival_order));
        }
        evicted
    }

    /// Evicts protected batches that are no longer needed, as far as the space is required.
    fn evict_released(
        &mut self,
        need_below: &impl Fn(StreamId, u64) -> RetentionNeed,
        evicted: &mut Vec<Batch>,
    ) {
        let streams: Vec<StreamId> = self.protected.keys().copied().collect();
        for stream in streams {
            while self.bytes > self.max_bytes
                && let Some(&arrival_order) = self.protected.get(&stream).and_then(BTreeSet::first)
                && self
                    .by_order(arrival_order)
                    .is_none_or(|k| need_below(stream, k.batch.end()) == RetentionNeed::NotNeeded)
            {
                evicted.extend(self.remove(arrival_order));
            }
        }
    }

    fn by_order(&self, arrival_order: u64) -> Option<&RetainedBatch> {
        self.batches.get(&batch_id(self.arrivals.get(&arrival_order)?)).map(|k| &**k)
    }

    /// The batches from one arrival number on, oldest first.
    fn arrived_from(&self, arrival_order: u64) -> impl DoubleEndedIterator<Item = &RetainedBatch> {
        self.arrivals
            .range(arrival_order..)
            .filter_map(|(_, b)| self.batches.get(&batch_id(b)))
            .map(|k| &**k)
    }

    /// The oldest batch that is not needed; the oldest of all if too many are needed.
    fn next_eviction(
        &mut self,
        need_below: &impl Fn(StreamId, u64) -> RetentionNeed,
    ) -> Option<u64> {
        let newest = *self.arrivals.last_key_value()?.0;
        loop {
            let next = self.arrived_from(self.eviction_cursor).next();
            let Some(retained) = next.filter(|k| k.arrival_order < newest) else { break };
            let (arrival_order, stream, size) =
                (retained.arrival_order, retained.batch.stream(), retained.batch.size() as u64);
            let need = need_below(stream, retained.batch.end());
            let has_room = self.protected_bytes + size <= self.max_bytes / PROTECTED_DIVISOR;
            if need != RetentionNeed::OnlyCopy && !(has_room && need == RetentionNeed::Needed) {
                // It may not be needed, but earlier batches are evicted first.
                return if has_room {
                    Some(arrival_order)
                } else {
                    self.oldest_held_elsewhere(need_below)
                };
            }
            self.protected.entry(stream).or_default().insert(arrival_order);
            self.protected_bytes += size;
            self.eviction_cursor = arrival_order + 1;
        }
        self.oldest_held_elsewhere(need_below)
    }

    /// The oldest batch that other nodes have as well. Not the newest, which is not delivered yet,
    /// and may exceed the bound until the next one arrives. The oldest of all if the others exceed
    /// the bound without the newest.
    fn oldest_held_elsewhere(
        &self,
        need_below: &impl Fn(StreamId, u64) -> RetentionNeed,
    ) -> Option<u64> {
        let is_only_copy = |k: &RetainedBatch| {
            need_below(k.batch.stream(), k.batch.end()) == RetentionNeed::OnlyCopy
        };
        let (&newest, batch) = self.arrivals.last_key_value()?;
        let mut others = self.arrived_from(0).filter(|k| k.arrival_order < newest);
        let found = others.find(|k| !is_only_copy(k)).map(|k| k.arrival_order);
        let is_too_much = self.bytes - batch.size() as u64 > self.max_bytes;
        let oldest = self.arrivals.first_key_value().map(|(arrival_order, _)| *arrival_order);
        found.or_else(|| oldest.filter(|_| is_too_much))
    }

    /// Evicts expired batches. Only copies stay, and later batches may stay longer by
    /// [`EXPIRY_RETRY`].
    pub(crate) fn expire(
        &mut self,
        now: Time,
        need_below: impl Fn(StreamId, u64) -> RetentionNeed,
    ) -> Vec<Batch> {
        let mut evicted = Vec::new();
        if self.next_expiry().is_none_or(|at| at > now) {
            return evicted;
        }
        // Batches behind a postponed one are as old as it was then, or younger.
        let is_old = |k: &&RetainedBatch| k.arrived + self.max_age <= now;
        let old: Vec<u64> =
            self.arrived_from(0).take_while(is_old).map(|k| k.arrival_order).collect();
        for arrival_order in old {
            let Some(retained) = self.by_order(arrival_order) else { continue };
            if need_below(retained.batch.stream(), retained.batch.end()) != RetentionNeed::OnlyCopy
            {
                evicted.extend(self.remove(arrival_order));
                continue;
            }
            let id = batch_id(&retained.batch);
            if let Some(retained) = self.batches.get_mut(&id) {
                retained.expires = now + EXPIRY_RETRY;
            }
        }
        evicted
    }

    /// When to look for expired batches.
    pub(crate) fn next_expiry(&self) -> Option<Time> {
        self.arrived_from(0).next().map(|k| k.expires)
    }

    fn remove(&mut self, arrival_order: u64) -> Option<Batch> {
        let batch = self.arrivals.remove(&arrival_order)?;
        let retained = self.batches.remove(&batch_id(&batch))?;
        let (stream, size) = (retained.batch.stream(), retained.batch.size() as u64);
        self.bytes -= size;
        self.messages -= retained.batch.len() as u64;
        if let Some(protected) = self.protected.get_mut(&stream)
            && protected.remove(&arrival_order)
        {
            self.protected_bytes -= size;
            if protected.is_empty() {
                self.protected.remove(&stream);
            }
        }
        Some(retained.batch)
    }

    /// Removes all batches of a stream and returns them in order.
    pub(crate) fn take_stream(&mut self, stream: StreamId) -> Vec<Batch> {
        let orders: Vec<u64> = self.range(stream, 0, u64::MAX).map(|k| k.arrival_order).collect();
        orders.into_iter().filter_map(|arrival_order| self.remove(arrival_order)).collect()
    }

    /// The batch that holds a message.
    pub(crate) fn batch_with(&self, id: &MessageId) -> Option<&RetainedBatch> {
        let first = MessageId { sequence: 0, ..*id };
        // The nearest one, unless a publisher packed a number twice, which an honest one never
        // does.
        let before = self.batches.range(first..=*id).rev().take(MAX_OVERLAPPING);
        before.map(|(_, k)| &**k).find(|k| id.sequence < k.batch.end())
    }

    /// Sets the age that a batch had when it arrived.
    pub(crate) fn set_age(&mut self, batch: &Batch, age: Duration) {
        if let Some(retained) = self.batches.get_mut(&batch_id(batch)) {
            retained.age = age;
        }
    }

    /// Counts a batch that arrived again.
    pub(crate) fn record_duplicate(&mut self, batch: &Batch) {
        if let Some(retained) = self.batches.get_mut(&batch_id(batch)) {
            retained.duplicates = retained.duplicates.saturating_add(1);
        }
    }

    /// The first retained number of a stream from `from` on.
    pub(crate) fn first_retained_from(&self, stream: StreamId, from: u64) -> Option<u64> {
        let ids = stream.message(from)..=stream.message(u64::MAX);
        self.batches.range(ids).next().map(|(id, _)| id.sequence)
    }

    /// Retained batches with messages of one stream in `from..to`, ascending.
    pub(crate) fn range(
        &self,
        stream: StreamId,
        from: u64,
        to: u64,
    ) -> impl Iterator<Item = &RetainedBatch> {
        let id = stream.message(from);
        // The batch that holds `from` may begin before it.
        let first = self.batch_with(&id).map_or(id, |k| batch_id(&k.batch));
        let last = MessageId { sequence: to.max(first.sequence), ..id };
        self.batches.range(first..last).map(|(_, k)| &**k)
    }

    /// The batches that hold the `limit` newest messages, oldest first. With `before`, only batches
    /// up to that message; none if it is not retained any more.
    pub(crate) fn newest(&self, limit: usize, before: Option<&MessageId>) -> Vec<&RetainedBatch> {
        let last = match before {
            None => u64::MAX,
            Some(id) => match self.batch_with(id) {
                Some(retained) => retained.arrival_order,
                // Earlier batches are evicted as well, except some that are needed.
                None => return Vec::new(),
            },
        };
        let mut list = Vec::new();
        let mut messages = 0;
        let arrived = self.arrivals.range(..=last).rev();
        for retained in arrived.filter_map(|(_, b)| self.batches.get(&batch_id(b))) {
            if messages >= limit {
                break;
            }
            messages += match before.filter(|_| list.is_empty()) {
                Some(id) => {
                    usize::try_from(id.sequence - retained.batch.first()).unwrap_or(usize::MAX)
                }
                None => retained.batch.len(),
            };
            list.push(&**retained);
        }
        list.reverse();
        list
    }

    /// Number of retained messages.
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

    const fn not_needed(_: StreamId, _: u64) -> RetentionNeed {
        RetentionNeed::NotNeeded
    }

    #[test]
    fn needed_batches_stay_in_half_of_the_space() {
        let mut r = Retention::new(10_000, Duration::from_secs(10));
        let other = Identity::from_secret(&[2; 32]);
        let of_other = |first| {
            let id = MessageId { publisher: other.id(), epoch: 1, sequence: first };
            let mut b = BatchBuilder::new(id, WallTime(0));
            b.push(WallTime(0), "", &[7; 500]);
            b.seal(&other)
        };
        let retain = |r: &mut Retention, b: Batch, below: u64| {
            let need_below = |s: StreamId, end: u64| {
                if s.publisher == other.id() && end > below {
                    RetentionNeed::Needed
                } else {
                    RetentionNeed::NotNeeded
                }
            };
            let evicted = r.retain(b, 1, None, Time::ZERO, WallTime(0), need_below);
            assert!(r.bytes() <= 10_000 && r.protected_bytes <= 5_000);
            evicted
        };
        // The sequence numbers from 0 on are needed.
        (0..3).for_each(|n| drop(retain(&mut r, of_other(n), 0)));
        for n in 0..100 {
            let evicted = retain(&mut r, batch(n, 1, 500), 0);
            assert!(evicted.iter().all(|b| b.publisher() != other.id()), "at {n}");
        }
        assert!(
            r.range(StreamId { publisher: other.id(), epoch: 1 }, 0, 3).count() == 3
                && !r.protected.is_empty()
        );
        // When they are not needed any more, they are evicted first.
        let evicted = retain(&mut r, batch(100, 1, 500), 3);
        assert_eq!((evicted[0].publisher(), evicted[0].first()), (other.id(), 0));
        (101..110).for_each(|n| drop(retain(&mut r, batch(n, 1, 500), 3)));
        assert!(r.protected.is_empty() && r.protected_bytes == 0);
        assert_eq!(r.first_retained_from(StreamId { publisher: other.id(), epoch: 1 }, 0), None);
        // They get no more than half of the space.
        (3..100).for_each(|n| drop(retain(&mut r, of_other(n), 3)));
        assert!(r.first_retained_from(StreamId { publisher: other.id(), epoch: 1 }, 0) > Some(80));
    }

    /// All batches are needed, and other nodes do not have the ones that this node has published.
    #[test]
    fn only_copies_stay_when_the_space_is_full() {
        let mut r = Retention::new(10_000, Duration::from_secs(10));
        let other = Identity::from_secret(&[2; 32]);
        let need_below = |s: StreamId, _: u64| {
            if s.publisher == other.id() { RetentionNeed::OnlyCopy } else { RetentionNeed::Needed }
        };
        for n in 0..3 {
            let id = MessageId { publisher: other.id(), epoch: 1, sequence: n };
            let mut b = BatchBuilder::new(id, WallTime(0));
            b.push(WallTime(0), "", &[7; 500]);
            r.retain(b.seal(&other), 0, None, Time::ZERO, WallTime(0), need_below);
        }
        for n in 0..100 {
            r.retain(batch(n, 1, 500), 1, None, Time::ZERO, WallTime(0), need_below);
            assert!(r.bytes() <= 10_000);
        }
        assert_eq!(r.range(StreamId { publisher: other.id(), epoch: 1 }, 0, 3).count(), 3);
    }

    #[test]
    fn only_copies_do_not_expire() {
        let mut r = Retention::new(10_000, Duration::from_secs(10));
        let at = |s: u64| Time::from_micros(s * 1_000_000);
        let need_below = |_: StreamId, end: u64| {
            if end == 1 { RetentionNeed::OnlyCopy } else { RetentionNeed::NotNeeded }
        };
        for n in 0..3 {
            r.retain(batch(n, 1, 500), 0, None, at(n), WallTime(0), need_below);
        }
        let evicted = |b: Vec<Batch>| b.iter().map(Batch::first).collect::<Vec<_>>();
        assert_eq!(evicted(r.expire(at(11), need_below)), [1], "the first one stays");
        assert!(
            r.next_expiry().is_some_and(|next| next > at(11)),
            "it is not checked all the time"
        );
        assert_eq!(evicted(r.expire(at(11) + EXPIRY_RETRY, need_below)), [2]);
        assert_eq!(
            evicted(r.expire(at(11) + EXPIRY_RETRY * 2, not_needed)),
            [0],
            "now another node has it"
        );
        assert_eq!(r.next_expiry(), None);
    }

    #[test]
    fn newest_batch_is_not_evicted_before_it_is_delivered() {
        let mut r = Retention::new(2_000, Duration::from_secs(10));
        let from_here = |s: StreamId, end: u64| match (s, end) {
            (_, 1) => RetentionNeed::OnlyCopy,
            _ => RetentionNeed::NotNeeded,
        };
        let mut retain = |n: u64, size| {
            let evicted = r.retain(batch(n, 1, size), 1, None, Time::ZERO, WallTime(0), from_here);
            evicted.iter().map(Batch::first).collect::<Vec<_>>()
        };
        assert!(retain(0, 1_200).is_empty());
        assert!(retain(1, 500).is_empty(), "nor is an only copy");
        assert_eq!(retain(2, 500), [1]);
    }

    #[test]
    fn retention_is_bounded_by_bytes_and_age() {
        let mut r = Retention::new(10_000, Duration::from_secs(10));
        let mut evicted = Vec::new();
        for n in 0..20 {
            let at = Time::from_micros(n * 1_000_000);
            evicted.extend(r.retain(batch(n, 1, 500), 1, None, at, WallTime(0), not_needed));
            assert!(r.bytes() <= 10_000);
        }
        assert_eq!(evicted.len() as u64 + r.messages(), 20);
        assert!(evicted.iter().map(Batch::first).is_sorted(), "oldest first");
        let evicted = r.expire(Time::from_micros(100_000_000), |_, _| RetentionNeed::NotNeeded);
        assert!(!evicted.is_empty());
        assert_eq!((r.messages(), r.bytes(), r.next_expiry()), (0, 0, None));
    }

    #[test]
    fn repeated_batch_counts_once() {
        let mut r = Retention::new(1 << 20, Duration::from_secs(10));
        r.retain(batch(1, 2, 100), 1, None, Time::ZERO, WallTime(0), not_needed);
        let before = r.bytes();
        r.retain(batch(1, 2, 100), 1, None, Time::ZERO, WallTime(0), not_needed);
        assert_eq!((r.messages(), r.bytes(), r.newest(9, None).len()), (2, before, 1));
    }

    #[test]
    fn newest_batches_are_listed_by_arrival() {
        let mut r = Retention::new(1 << 20, Duration::from_secs(10));
        for (first, count) in [(10, 3), (0, 4), (20, 2)] {
            r.retain(batch(first, count, 10), 1, None, Time::ZERO, WallTime(0), not_needed);
        }
        let at = |sequence| MessageId { sequence, ..batch_id(&batch(0, 1, 1)) };
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
    fn message_is_found_in_its_batch() {
        let mut r = Retention::new(1 << 20, Duration::from_secs(10));
        for (first, count) in [(0, 3), (3, 1), (10, 5)] {
            r.retain(batch(first, count, 10), 1, None, Time::ZERO, WallTime(0), not_needed);
        }
        let b = batch(0, 1, 1);
        let at = |sequence| MessageId { sequence, ..batch_id(&b) };
        let holding = |n| r.batch_with(&at(n)).map(|k| k.batch.first());
        assert_eq!(
            [0, 2, 3, 4, 10, 14, 15].map(holding).to_vec(),
            [Some(0), Some(0), Some(3), None, Some(10), Some(10), None]
        );
        let range = |a, b2| r.range(b.stream(), a, b2).map(|k| k.batch.first()).collect::<Vec<_>>();
        assert_eq!(range(2, 11), [0, 3, 10]);
        assert_eq!(range(4, 10), Vec::<u64>::new());
        assert_eq!(range(12, 13), [10]);
        assert_eq!(r.first_retained_from(b.stream(), 4), Some(10));
    }
}
