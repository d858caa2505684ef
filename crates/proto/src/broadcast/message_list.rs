//! The Message List: which messages were received, and how far they were handed on.
//!
//! Per publisher and epoch (a stream) it keeps the ranges of numbers received, not one entry
//! per message: a publisher whose messages all came takes one range, however many they are.

use std::collections::BTreeSet;

use crate::identity::PeerId;
use crate::limits::{MAX_GAPS, MAX_PUBLISHERS, REMEMBERED_EPOCHS};
use crate::message::{MessageId, StreamId};
use crate::small::{GrowMap, make_room};

/// What is known of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Disjoint, non-touching ranges of what was received or given up, ascending: first number and
    /// the number after the last. One, most of the time, and never many.
    ranges: Vec<(u64, u64)>,
    received: u64,
    touched: u64,
    /// Numbers below it are of the time before this node took part.
    start: u64,
    /// Everything below it was delivered or told as a gap.
    delivered: u64,
    /// The node's consumer has dealt with everything below it, and so had that of an earlier process.
    consumed: u64,
    /// What is below it is not kept any more.
    floor: u64,
    /// The publisher has signed that the stream goes up to here, whether or not it was received.
    expected: u64,
    /// Numbers at the end that were given up on the word of neighbours alone. If something of them
    /// comes after all, that word was wrong.
    unproven: Option<(u64, u64)>,
    /// What of the ranges was given up rather than received: ascending, disjoint, at most
    /// [`MAX_GIVEN_UP`].
    given_up: Vec<(u64, u64)>,
}

/// Ranges of a stream that are remembered as given up. Of more, the two oldest become one, with what was
/// received between them.
const MAX_GIVEN_UP: usize = 16;

impl Seen {
    fn contains(&self, sequence: u64) -> bool {
        self.beginning_before(sequence.saturating_add(1)).last().is_some_and(|r| sequence < r.1)
    }

    /// The ranges that begin below `limit`.
    fn beginning_before(&self, limit: u64) -> &[(u64, u64)] {
        let n = self.ranges.partition_point(|r| r.0 < limit);
        self.ranges.get(..n).unwrap_or_default()
    }

    /// How many of the numbers in `from..to` are new.
    fn missing_in(&self, from: u64, to: u64) -> u64 {
        let known: u64 = self
            .beginning_before(to)
            .iter()
            .rev()
            .take_while(|(_, end)| *end > from)
            .map(|&(start, end)| end.min(to) - start.max(from))
            .sum();
        to - from - known
    }

    /// Adds `from..to`, joining what it touches.
    fn add(&mut self, mut from: u64, mut to: u64) {
        // Those that touch it become one with it.
        let first = self.ranges.partition_point(|r| r.1 < from);
        let after = self.ranges.partition_point(|r| r.0 <= to).max(first);
        if let Some(touching) = self.ranges.get(first..after)
            && let (Some(low), Some(high)) = (touching.first(), touching.last())
        {
            (from, to) = (from.min(low.0), to.max(high.1));
        } else {
            make_room(&mut self.ranges);
        }
        drop(self.ranges.splice(first..after, [(from, to)]));
    }

    /// Holds the number of gaps to its bound. What is closed for it shows as a gap in the
    /// deliveries.
    fn close_gaps_over_bound(&mut self) {
        while self.ranges.len() > MAX_GAPS {
            let Some((from, to)) = self.gaps().first().copied() else { return };
            self.close_gaps(from, to);
        }
    }

    /// Gives up what is missing in `from..to`.
    fn close_gaps(&mut self, from: u64, to: u64) {
        let missing = self.missing_below(to);
        for (start, end) in missing.into_iter().filter(|m| m.1 > from) {
            self.given_up.push((start.max(from), end));
        }
        self.given_up.sort_unstable();
        while self.given_up.len() > MAX_GIVEN_UP {
            let (start, _) = self.given_up.remove(0);
            if let Some(oldest) = self.given_up.first_mut() {
                oldest.0 = start;
            }
        }
        self.add(from, to);
    }

    /// The number after the last one of those that were received without a hole from `from` on; not above `from`
    /// if that one was not.
    pub(crate) fn held_until(&self, from: u64) -> u64 {
        if from < self.start {
            return from;
        }
        let received = self.ranges.iter().find(|r| r.0 <= from && from < r.1);
        let given_up = self.given_up.iter().find(|g| g.1 > from);
        received.map_or(from, |r| given_up.map_or(r.1, |g| r.1.min(g.0.max(from))))
    }

    /// The smallest number from which on everything below `end` was received and may still be kept.
    pub(crate) fn held_since(&self, end: u64) -> u64 {
        let received = self.beginning_before(end).last().map_or(0, |r| r.0);
        let given_up = self.given_up.iter().rev().find(|g| g.0 < end).map_or(0, |g| g.1.min(end));
        received.max(given_up).max(self.floor())
    }

    /// Whether it is known where the stream begins for this node.
    pub(crate) fn has_begun(&self) -> bool {
        self.ranges.first().is_some_and(|r| r.0 == 0)
    }

    /// All numbers below it were received or given up; 0 while the beginning is not known.
    pub(crate) fn high_water(&self) -> u64 {
        self.ranges.first().map_or(0, |r| if r.0 == 0 { r.1 } else { 0 })
    }

    /// The smallest number received or given up.
    pub(crate) fn first(&self) -> u64 {
        self.ranges.first().map_or(0, |r| r.0)
    }

    /// The number after the highest one received.
    pub(crate) fn next(&self) -> u64 {
        self.ranges.last().map_or(0, |r| r.1)
    }

    /// As [`Seen::next`], without what is only the neighbours' word: what this node tells others.
    pub(crate) fn proven_next(&self) -> u64 {
        self.unproven.map_or(self.next(), |(from, _)| from)
    }

    /// Whether signed messages from `from` on show that the gap at the end, which neighbours claimed, is none.
    fn is_refuted_by(&self, from: u64, to: u64) -> bool {
        self.unproven.is_some_and(|(begin, end)| from < end && begin < to)
    }

    /// Signed messages came: they prove what neighbours said of the end of the stream, or refute it. A gap that
    /// is final stays in any case.
    fn settle_unproven(&mut self, from: u64, to: u64, is_final: bool) {
        let Some((begin, end)) = self.unproven.filter(|u| to > u.0) else { return };
        if from >= end || to > end && is_final {
            self.unproven = None;
        }
        if from >= end || is_final {
            return;
        }
        self.unproven = None;
        let cut = from.max(begin);
        while let Some(last) = self.ranges.last_mut() {
            if last.0 < cut {
                last.1 = last.1.min(cut);
                break;
            }
            self.ranges.pop();
        }
        self.given_up.retain(|g| g.0 < cut);
        if let Some(last) = self.given_up.last_mut() {
            last.1 = last.1.min(cut);
        }
        self.delivered = self.delivered.min(cut);
        self.consumed = self.consumed.min(cut);
        self.floor = self.floor.min(cut);
    }

    /// The number after the last message that the publisher is known to have published.
    pub(crate) fn end(&self) -> u64 {
        self.next().max(self.expected)
    }

    /// Whether something of it is known to be missing.
    pub(crate) fn has_missing(&self) -> bool {
        (self.has_begun() || self.expected > 0) && self.high_water() < self.end()
    }

    /// Whether everything that is known of it was delivered or told as a gap.
    pub(crate) fn is_delivered(&self) -> bool {
        self.delivered >= self.end()
    }

    /// How far the next process need not go back: what was delivered, or what the consumer has dealt with where
    /// it has to. A gap that rests on the word of neighbours is told again.
    fn durable(&self, follows_consumer: bool) -> u64 {
        let mark = if follows_consumer { self.consumed.max(self.start) } else { self.delivered };
        self.unproven.map_or(mark, |(from, _)| mark.min(from))
    }

    /// Whether nothing more is to be told of it, to the consumer either if there is one.
    fn is_over(&self, follows_consumer: bool) -> bool {
        let consumed = !follows_consumer || self.consumed.max(self.start) >= self.delivered;
        self.is_delivered() && consumed
    }

    /// Messages received.
    pub(crate) const fn received(&self) -> u64 {
        self.received
    }

    /// Everything below it was delivered or told as a gap.
    pub(crate) const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// What is below it cannot be had from here.
    pub(crate) fn floor(&self) -> u64 {
        self.floor.max(self.start)
    }

    /// Missing ranges below [`Seen::next`].
    pub(crate) fn gaps(&self) -> Vec<(u64, u64)> {
        self.missing_below(self.next())
    }

    /// Missing ranges below `limit`.
    pub(crate) fn missing_below(&self, limit: u64) -> Vec<(u64, u64)> {
        let mut missing = Vec::new();
        let mut expected = 0;
        for &(start, end) in self.beginning_before(limit) {
            if start > expected {
                missing.push((expected, start));
            }
            expected = end;
        }
        if expected < limit {
            missing.push((expected, limit));
        }
        missing
    }

    /// The stream begins at `at` for this node. It may turn out to begin earlier, until something
    /// was delivered of it. Says whether that moved the delivered mark.
    fn begin(&mut self, at: u64) -> bool {
        let before = self.delivered;
        let fresh = self.delivered == self.start;
        if !self.has_begun() {
            // What came is not of the time before.
            let at = self.ranges.first().map_or(at, |r| at.min(r.0));
            (self.start, self.delivered) = (at, at);
            if at > 0 {
                self.add(0, at);
            }
        } else if at < self.start && fresh {
            let (_, end) = self.ranges.remove(0);
            if end > self.start {
                self.ranges.insert(0, (self.start, end));
            }
            if at > 0 {
                self.add(0, at);
            }
            (self.start, self.delivered) = (at, at);
        }
        self.delivered != before
    }
}

/// What happened to a batch offered to the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receipt {
    /// So many of its messages are new.
    New(u64),
    /// All were received before.
    Repeat,
}

/// One of so many streams is forgotten when there is no room for another.
const SCANNED_FOR: usize = 64;

/// The list.
#[derive(Debug, Default)]
pub(crate) struct MessageList {
    streams: GrowMap<StreamId, Seen>,
    clock: u64,
    /// Changes with every change of what was received.
    version: u64,
    /// What was still missing of streams that had to be forgotten.
    forgotten: Vec<(StreamId, u64, u64)>,
    /// Streams of which something known is neither delivered nor told as a gap.
    undelivered: BTreeSet<StreamId>,
    /// Streams whose delivered mark has moved, or that were forgotten, since it was last made durable.
    moved: BTreeSet<StreamId>,
    /// The epoch of each publisher up to which its streams are over: delivered, told as a gap, or
    /// forgotten with a gap. What comes of them is a repeat.
    over: GrowMap<PeerId, u64>,
    /// Publishers whose mark in `over` has moved, or was forgotten, since it was last made durable.
    over_moved: BTreeSet<PeerId>,
    /// What the consumer has not dealt with is told to it again after a restart.
    follows_consumer: bool,
}

impl MessageList {
    /// Notes the receipt of the numbers `from..to`.
    pub(crate) fn receive(&mut self, stream: StreamId, from: u64, to: u64) -> Receipt {
        let receipt = self.insert(stream, from, to);
        self.review_undelivered(stream);
        receipt
    }

    fn insert(&mut self, stream: StreamId, from: u64, to: u64) -> Receipt {
        self.clock += 1;
        let clock = self.clock;
        let Some(seen) = self.stream_mut(stream) else { return Receipt::Repeat };
        seen.touched = clock;
        if from == 0 || (seen.has_begun() && from < seen.start) {
            // Signed by the publisher itself: so the stream does begin as early as this.
            if seen.begin(from) {
                self.moved.insert(stream);
            }
        }
        // What comes out of a gap after messages of a later stream would be out of order.
        let refutes = self.get(stream).is_some_and(|seen| seen.is_refuted_by(from, to));
        let is_final = refutes && self.has_delivered_later(stream);
        let Some(seen) = self.streams.get_mut(&stream) else { return Receipt::Repeat };
        let unproven = seen.unproven;
        seen.settle_unproven(from, to, is_final);
        if seen.unproven != unproven {
            self.moved.insert(stream);
        }
        let new = seen.missing_in(from, to);
        if new == 0 {
            return Receipt::Repeat;
        }
        seen.add(from, to);
        seen.received += new;
        seen.close_gaps_over_bound();
        Receipt::New(new)
    }

    /// The stream, made if it is not over.
    fn stream_mut(&mut self, stream: StreamId) -> Option<&mut Seen> {
        self.version += 1;
        if !self.streams.contains_key(&stream) {
            if self.is_over(stream) {
                return None;
            }
            if self.streams.len() >= MAX_PUBLISHERS {
                self.make_room();
                if self.is_over(stream) {
                    return None;
                }
            }
        }
        Some(self.streams.get_or_insert(stream, Seen::default))
    }

    /// Whether a stream was delivered, or told as a gap, and forgotten since.
    pub(crate) fn is_over(&self, stream: StreamId) -> bool {
        self.over.get(&stream.publisher).is_some_and(|&epoch| stream.epoch <= epoch)
    }

    /// Whether this node has followed the publisher since before this stream: then it owes its
    /// subscribers the stream, or a gap.
    pub(crate) fn is_owed(&self, stream: StreamId) -> bool {
        let before = StreamId { epoch: 0, ..stream };
        self.over.get(&stream.publisher).is_some()
            || self.streams.range(before..=stream).next().is_some()
    }

    /// The publisher has signed that a stream goes up to `end`.
    pub(crate) fn expect(&mut self, stream: StreamId, end: u64) {
        if end > 0
            && let Some(seen) = self.stream_mut(stream)
        {
            seen.expected = seen.expected.max(end);
            if let Some((from, to)) = seen.unproven.filter(|u| end > u.0) {
                seen.unproven = (end < to).then_some((from.max(end), to));
                self.moved.insert(stream);
            }
            self.review_undelivered(stream);
        }
    }

    /// Somebody who has the stream says where it begins: what is below cannot be had any more.
    pub(crate) fn begin(&mut self, stream: StreamId, at: u64) {
        if self.stream_mut(stream).is_some_and(|seen| seen.begin(at)) {
            self.moved.insert(stream);
        }
        self.review_undelivered(stream);
    }

    /// Nobody said where the stream begins: with what was received of it.
    pub(crate) fn begin_with_what_came(&mut self, stream: StreamId) {
        self.version += 1;
        if let Some(seen) = self.streams.get_mut(&stream)
            && let Some(&(first, _)) = seen.ranges.first()
            && seen.begin(first)
        {
            self.moved.insert(stream);
        }
        self.review_undelivered(stream);
    }

    /// An earlier life of this node delivered everything below `delivered`, or told it as a gap.
    pub(crate) fn resume(&mut self, stream: StreamId, delivered: u64) {
        // What follows the last number there is cannot be held as a range.
        let delivered = delivered.min(u64::MAX - 1);
        if delivered == 0 {
            return;
        }
        if let Some(seen) = self.stream_mut(stream) {
            seen.add(0, delivered);
            seen.delivered = seen.delivered.max(delivered);
            seen.consumed = seen.delivered;
            seen.floor = seen.floor.max(delivered);
            self.review_undelivered(stream);
        }
    }

    /// Of what an earlier life of this node delivered, everything from `floor` on is kept.
    pub(crate) fn lower_floor(&mut self, stream: StreamId, floor: u64) {
        if let Some(seen) = self.streams.get_mut(&stream)
            && seen.floor == seen.delivered
        {
            seen.floor = floor;
        }
    }

    /// Everything below `to` was delivered or told as a gap.
    pub(crate) fn set_delivered(&mut self, stream: StreamId, to: u64) {
        if let Some(seen) = self.streams.get_mut(&stream)
            && seen.delivered < to
        {
            seen.delivered = to;
            if !self.follows_consumer {
                self.moved.insert(stream);
            }
            self.review_undelivered(stream);
        }
    }

    /// From now on the marks that are made durable follow the consumer.
    pub(crate) fn follow_consumer(&mut self) {
        self.follows_consumer = true;
        let streams = &self.streams;
        self.moved.retain(|stream| !streams.contains_key(stream));
    }

    /// The consumer has dealt with everything below `to`. A mark above what is delivered is of a gap that
    /// was refuted since.
    pub(crate) fn set_consumed(&mut self, stream: StreamId, to: u64) {
        if self.follows_consumer
            && let Some(seen) = self.streams.get_mut(&stream)
            && (seen.consumed + 1..=seen.delivered).contains(&to)
        {
            seen.consumed = to;
            self.moved.insert(stream);
        }
    }

    /// The marks to be made durable that have moved since this was last asked; `None` for a stream that was
    /// forgotten.
    pub(crate) fn take_moved(&mut self) -> Vec<(StreamId, Option<u64>)> {
        let moved = core::mem::take(&mut self.moved);
        let durable = |s| self.get(s).map(|seen| seen.durable(self.follows_consumer));
        moved.into_iter().map(|s| (s, durable(s))).collect()
    }

    /// What is below `to` is not kept any more.
    pub(crate) fn raise_floor(&mut self, stream: StreamId, to: u64) {
        if let Some(seen) = self.streams.get_mut(&stream) {
            seen.floor = seen.floor.max(to);
        }
    }

    /// Closes a gap that no neighbour can fill any more. What is above the end of what the publisher has
    /// signed is only the neighbours' word.
    pub(crate) fn give_up(&mut self, stream: StreamId, from: u64, to: u64) {
        if from < to
            && let Some(seen) = self.stream_mut(stream)
        {
            let known = seen.end();
            if to > known {
                let from = seen.unproven.map_or(known.max(from), |u| u.0);
                seen.unproven = Some((from, to));
            }
            seen.close_gaps(from, to);
            self.review_undelivered(stream);
        }
    }

    /// Streams up to this one were over in an earlier life of this node.
    pub(crate) fn resume_over(&mut self, stream: StreamId) {
        self.set_over(stream);
        self.over_moved.remove(&stream.publisher);
    }

    /// Forgets the oldest streams of a publisher that are over and not kept, but for some.
    pub(crate) fn compact(&mut self, publisher: PeerId, is_kept: impl Fn(StreamId) -> bool) {
        let epochs: Vec<u64> = self.epochs(publisher).map(|(epoch, _)| epoch).collect();
        let surplus = epochs.len().saturating_sub(REMEMBERED_EPOCHS);
        for epoch in epochs.into_iter().take(surplus) {
            let stream = StreamId { publisher, epoch };
            let is_over = self.get(stream).is_some_and(|s| s.is_over(self.follows_consumer));
            if is_kept(stream) || !is_over {
                return;
            }
            self.forget_oldest(stream);
        }
    }

    /// Forgets the oldest stream of a publisher; what is not delivered of it is told as a gap.
    fn forget_oldest(&mut self, stream: StreamId) {
        self.forget(stream);
        self.set_over(stream);
    }

    fn set_over(&mut self, stream: StreamId) {
        let StreamId { publisher, epoch } = stream;
        if self.over.len() >= MAX_PUBLISHERS && self.over.get(&publisher).is_none() {
            // Those of publishers of which nothing else is known go first.
            let part = MAX_PUBLISHERS / SCANNED_FOR;
            let gone = |id: &PeerId| self.epochs(*id).next().is_none();
            let idle: Vec<PeerId> = self.over.iter().map(|(id, _)| *id).filter(gone).collect();
            let any = self.over.iter().map(|(id, _)| *id);
            let drop: Vec<PeerId> = idle.into_iter().chain(any).take(part).collect();
            for id in drop {
                self.over.remove(&id);
                self.over_moved.insert(id);
            }
        }
        let mark = self.over.get_or_insert(publisher, || epoch);
        *mark = epoch.max(*mark);
        self.over_moved.insert(publisher);
    }

    /// The publishers whose streams are over up to another epoch since this was last asked; `None` for one
    /// of which that was forgotten.
    pub(crate) fn take_over_moved(&mut self) -> Vec<(PeerId, Option<u64>)> {
        let moved = core::mem::take(&mut self.over_moved);
        moved.into_iter().map(|id| (id, self.over.get(&id).copied())).collect()
    }

    fn forget(&mut self, stream: StreamId) {
        if let Some(seen) = self.streams.remove(&stream) {
            self.version += 1;
            self.moved.insert(stream);
            self.undelivered.remove(&stream);
            if seen.delivered < seen.end() {
                self.forgotten.push((stream, seen.delivered, seen.end()));
            }
        }
    }

    /// Forgets a stream of this node's own that is to go on under another epoch.
    pub(crate) fn disown(&mut self, stream: StreamId) {
        self.version += 1;
        self.streams.remove(&stream);
        self.moved.insert(stream);
        self.undelivered.remove(&stream);
    }

    /// What is not delivered any more of streams that had to be forgotten: first number, one after
    /// the last.
    pub(crate) fn take_forgotten(&mut self) -> Vec<(StreamId, u64, u64)> {
        core::mem::take(&mut self.forgotten)
    }

    /// The epochs of a publisher, ascending.
    pub(crate) fn epochs(&self, publisher: PeerId) -> impl Iterator<Item = (u64, &Seen)> {
        let stream = |epoch| StreamId { publisher, epoch };
        let all = self.streams.range(stream(0)..=stream(u64::MAX));
        all.map(|(stream, seen)| (stream.epoch, seen))
    }

    /// A stream has changed: whether all that is known of it is delivered.
    fn review_undelivered(&mut self, stream: StreamId) {
        if self.get(stream).is_some_and(|seen| !seen.is_delivered()) {
            self.undelivered.insert(stream);
        } else {
            self.undelivered.remove(&stream);
        }
    }

    /// The first stream of the same publisher before this one that is not delivered.
    pub(crate) fn undelivered_before(&self, stream: StreamId) -> Option<StreamId> {
        self.undelivered.range(StreamId { epoch: 0, ..stream }..stream).next().copied()
    }

    /// The first stream of the same publisher behind this one that is not delivered.
    pub(crate) fn undelivered_after(&self, stream: StreamId) -> Option<StreamId> {
        let of = |epoch| StreamId { epoch, ..stream };
        let from = of(stream.epoch.checked_add(1)?);
        self.undelivered.range(from..=of(u64::MAX)).next().copied()
    }

    /// Whether anything of a later stream of the same publisher was delivered.
    fn has_delivered_later(&self, stream: StreamId) -> bool {
        let mut later = self.epochs(stream.publisher).filter(|(epoch, _)| *epoch > stream.epoch);
        later.any(|(_, seen)| seen.delivered > seen.start)
    }

    /// Whether a message was received.
    pub(crate) fn contains(&self, id: &MessageId) -> bool {
        self.get(id.stream()).is_some_and(|s| s.contains(id.sequence))
    }

    /// What was received of one stream.
    pub(crate) fn get(&self, stream: StreamId) -> Option<&Seen> {
        self.streams.get(&stream)
    }

    /// Another number whenever something else was received.
    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    /// All streams, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&StreamId, &Seen)> {
        self.streams.iter()
    }

    /// Makes room. Publishers with the most streams give up their oldest ones first; where all have
    /// few, the streams not heard of for longest go. It takes a scan, so a part of them goes at once:
    /// keys are made in no time, and a scan for each would be the work of every node.
    fn make_room(&mut self) {
        let part = (self.streams.len() / SCANNED_FOR).max(1);
        let crowded = self.crowded_publishers();
        let mut left = part;
        for (count, publisher) in crowded {
            let surplus = (count - REMEMBERED_EPOCHS).div_ceil(2).min(left);
            let oldest: Vec<u64> = self.epochs(publisher).map(|(e, _)| e).take(surplus).collect();
            for epoch in oldest {
                self.forget_oldest(StreamId { publisher, epoch });
            }
            left -= surplus;
            if left == 0 {
                return;
            }
        }
        if left < part {
            return;
        }
        let mut all: Vec<(u64, StreamId)> =
            self.streams.iter().map(|(k, s)| (s.touched, *k)).collect();
        all.select_nth_unstable(part - 1);
        for (_, stream) in all.into_iter().take(part) {
            self.forget(stream);
        }
    }

    /// Publishers with more streams than are remembered of each, most first.
    fn crowded_publishers(&self) -> Vec<(usize, PeerId)> {
        let mut counts: Vec<(usize, PeerId)> = Vec::new();
        for (stream, _) in self.streams.iter() {
            match counts.last_mut() {
                Some((count, publisher)) if *publisher == stream.publisher => *count += 1,
                _ => counts.push((1, stream.publisher)),
            }
        }
        counts.retain(|(count, _)| *count > REMEMBERED_EPOCHS);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const S: StreamId = StreamId { publisher: PeerId::from_bytes([1; 32]), epoch: 1 };

    fn of_epoch(epoch: u64) -> StreamId {
        StreamId { epoch, ..S }
    }

    #[test]
    fn delivered_streams_become_a_mark_and_the_newest_are_remembered() {
        let mut ml = MessageList::default();
        let epochs = REMEMBERED_EPOCHS as u64 + 10;
        for epoch in 1..=epochs {
            ml.receive(of_epoch(epoch), 0, 2);
            ml.set_delivered(of_epoch(epoch), 2);
        }
        ml.compact(S.publisher, |_| true);
        assert_eq!(ml.epochs(S.publisher).count() as u64, epochs, "all are kept");
        ml.compact(S.publisher, |s| s.epoch == 6);
        assert_eq!(ml.epochs(S.publisher).next().unwrap().0, 6);
        assert_eq!(ml.receive(of_epoch(5), 0, 2), Receipt::Repeat, "it is over");
        assert_eq!(ml.take_over_moved(), [(S.publisher, Some(5))]);
        ml.compact(S.publisher, |_| false);
        assert_eq!(ml.epochs(S.publisher).count(), REMEMBERED_EPOCHS);
        assert_eq!(ml.take_forgotten(), [], "nothing was lost");
    }

    #[test]
    fn compaction_stops_at_a_stream_with_something_missing() {
        let mut ml = MessageList::default();
        for epoch in 1..=REMEMBERED_EPOCHS as u64 + 3 {
            ml.receive(of_epoch(epoch), 0, 2);
            ml.set_delivered(of_epoch(epoch), 2);
        }
        ml.expect(of_epoch(2), 4);
        ml.compact(S.publisher, |_| false);
        assert_eq!(ml.epochs(S.publisher).next().unwrap().0, 2);
        assert!(ml.is_over(of_epoch(1)) && !ml.is_over(of_epoch(2)));
    }

    #[test]
    fn publisher_with_the_most_streams_gives_up_its_oldest_ones_with_a_gap() {
        let mut ml = MessageList::default();
        let other = StreamId { publisher: PeerId::from_bytes([2; 32]), epoch: 1 };
        ml.receive(other, 0, 1);
        for epoch in 1..=MAX_PUBLISHERS as u64 {
            ml.receive(of_epoch(epoch), 0, 1);
        }
        assert!(ml.get(other).is_some() && ml.streams.len() <= MAX_PUBLISHERS);
        let forgotten = ml.take_forgotten();
        assert_eq!(forgotten.first(), Some(&(of_epoch(1), 0, 1)));
        assert!(ml.is_over(of_epoch(1)) && ml.get(of_epoch(MAX_PUBLISHERS as u64)).is_some());
    }

    #[test]
    fn end_on_the_word_of_neighbours_is_not_told_to_others_and_refuted_by_what_comes() {
        let mut ml = MessageList::default();
        ml.receive(S, 0, 5);
        ml.set_delivered(S, 5);
        ml.give_up(S, 5, 1 << 40);
        ml.set_delivered(S, 1 << 40);
        let seen = ml.get(S).unwrap();
        assert_eq!((seen.high_water(), seen.proven_next()), (1 << 40, 5));
        assert_eq!(ml.receive(S, 6, 7), Receipt::New(1));
        let seen = ml.get(S).unwrap();
        assert_eq!((seen.delivered(), seen.next(), seen.proven_next()), (6, 7, 7));
        ml.give_up(S, 7, 9);
        assert_eq!(ml.receive(S, 9, 10), Receipt::New(1));
        assert_eq!(ml.get(S).unwrap().proven_next(), 10, "there was more");
        assert_eq!(ml.receive(S, 8, 9), Receipt::Repeat, "it was told as a gap");
    }

    #[test]
    fn tail_given_up_on_the_word_of_neighbours_stands_once_a_later_stream_was_delivered() {
        let mut ml = MessageList::default();
        ml.receive(S, 0, 5);
        ml.set_delivered(S, 5);
        ml.give_up(S, 5, 9);
        ml.set_delivered(S, 9);
        ml.receive(of_epoch(2), 0, 1);
        ml.set_delivered(of_epoch(2), 1);
        assert_eq!(ml.receive(S, 5, 6), Receipt::Repeat, "it was told as a gap, before epoch 2");
        let seen = ml.get(S).unwrap();
        assert_eq!((seen.delivered(), seen.next(), seen.proven_next()), (9, 9, 5));
        assert_eq!(ml.receive(S, 7, 11), Receipt::New(2), "that there is more was not known");
        assert_eq!(ml.get(S).unwrap().proven_next(), 11);
    }

    #[test]
    fn stream_is_over_when_the_consumer_has_dealt_with_it() {
        let mut ml = MessageList::default();
        ml.follow_consumer();
        for epoch in 1..=REMEMBERED_EPOCHS as u64 + 3 {
            ml.receive(of_epoch(epoch), 0, 2);
            ml.set_delivered(of_epoch(epoch), 2);
        }
        ml.compact(S.publisher, |_| false);
        assert_eq!(ml.epochs(S.publisher).next().unwrap().0, 1, "the consumer lacks it");
        assert_eq!((ml.take_moved(), ml.take_over_moved()), (vec![], vec![]));
        ml.set_consumed(of_epoch(1), 2);
        ml.set_consumed(of_epoch(2), 1);
        assert_eq!(ml.take_moved(), [(of_epoch(1), Some(2)), (of_epoch(2), Some(1))]);
        ml.compact(S.publisher, |_| false);
        assert_eq!(ml.epochs(S.publisher).next().unwrap().0, 2);
        assert_eq!(ml.take_moved(), [(of_epoch(1), None)]);
        assert_eq!(ml.take_over_moved(), [(S.publisher, Some(1))]);
    }

    #[test]
    fn marks_of_streams_that_are_over_are_bounded_on_the_disk_as_well() {
        let mut ml = MessageList::default();
        let publisher = |n: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
            PeerId::from_bytes(bytes)
        };
        for n in 0..MAX_PUBLISHERS {
            ml.resume_over(StreamId { publisher: publisher(n), epoch: 7 });
        }
        assert_eq!(ml.take_over_moved(), []);
        ml.resume_over(StreamId { publisher: publisher(MAX_PUBLISHERS), epoch: 7 });
        let forgotten = ml.take_over_moved();
        assert_eq!(forgotten.len(), MAX_PUBLISHERS / SCANNED_FOR);
        assert!(forgotten.iter().all(|(_, mark)| mark.is_none()));
    }

    fn id(sequence: u64) -> MessageId {
        MessageId { publisher: S.publisher, epoch: S.epoch, sequence }
    }

    #[test]
    fn in_order_takes_one_range() {
        let mut ml = MessageList::default();
        for s in 0..100_000 {
            assert_eq!(ml.receive(S, s, s + 1), Receipt::New(1));
        }
        let seen = ml.get(S).unwrap();
        assert_eq!((seen.ranges.len(), seen.high_water(), seen.next()), (1, 100_000, 100_000));
        assert_eq!(ml.receive(S, 5, 6), Receipt::Repeat);
        assert_eq!(ml.receive(S, 99_990, 100_010), Receipt::New(10));
    }

    #[test]
    fn gaps_are_bounded() {
        let mut ml = MessageList::default();
        for s in 0..2 * MAX_GAPS as u64 {
            ml.receive(S, 2 * s + 1, 2 * s + 2);
        }
        assert!(ml.get(S).unwrap().gaps().len() <= MAX_GAPS);
    }

    #[test]
    fn the_last_number_there_is() {
        let mut ml = MessageList::default();
        let last = u64::MAX - 1;
        assert_eq!(ml.receive(S, last, u64::MAX), Receipt::New(1));
        assert_eq!(ml.receive(S, last, u64::MAX), Receipt::Repeat);
        assert!(ml.contains(&id(last)));
        // u64::MAX itself cannot be held as a range; it is refused before it gets here.
    }

    #[test]
    fn a_late_joiner_begins_where_history_does() {
        let mut ml = MessageList::default();
        ml.receive(S, 100, 110);
        assert_eq!(ml.get(S).unwrap().high_water(), 0, "not known yet where it begins");
        ml.begin(S, 40);
        let seen = ml.get(S).unwrap();
        assert_eq!((seen.delivered(), seen.high_water(), seen.floor()), (40, 40, 40));
        assert_eq!(seen.gaps(), [(40, 100)]);
        ml.begin(S, 20);
        assert_eq!(ml.get(S).unwrap().gaps(), [(20, 100)], "somebody has more of it");
        ml.begin(S, 60);
        assert_eq!(ml.get(S).unwrap().gaps(), [(20, 100)], "not less");
        ml.set_delivered(S, 30);
        ml.begin(S, 0);
        assert_eq!(ml.get(S).unwrap().gaps(), [(20, 100)], "it has begun");
    }

    #[test]
    fn a_false_beginning_hides_nothing() {
        let mut ml = MessageList::default();
        ml.begin(S, 1 << 40);
        assert_eq!(ml.receive(S, 7, 9), Receipt::New(2));
        assert_eq!((ml.get(S).unwrap().delivered(), ml.get(S).unwrap().high_water()), (7, 9));
    }

    proptest! {
        #[test]
        fn it_is_a_set(order in proptest::collection::vec((0u64..120, 1u64..6), 0..300)) {
            let mut ml = MessageList::default();
            let mut model = BTreeSet::new();
            for (from, n) in order {
                let before = model.len();
                model.extend(from..from + n);
                let new = (model.len() - before) as u64;
                let expected = if new == 0 { Receipt::Repeat } else { Receipt::New(new) };
                prop_assert_eq!(ml.receive(S, from, from + n), expected);
                let seen = ml.get(S).unwrap();
                let missing: u64 = seen.gaps().iter().map(|(a, b)| b - a).sum();
                prop_assert_eq!(seen.next() - missing, model.len() as u64);
                prop_assert!((0..seen.high_water()).all(|k| model.contains(&k)));
                prop_assert!(!model.contains(&seen.high_water()));
                prop_assert_eq!(seen.received(), model.len() as u64);
                prop_assert_eq!(ml.undelivered.contains(&S), !seen.is_delivered());
                let delivered = seen.high_water();
                ml.set_delivered(S, delivered);
                let is_delivered = ml.get(S).unwrap().is_delivered();
                prop_assert_eq!(ml.undelivered.contains(&S), !is_delivered);
            }
        }
    }
}
