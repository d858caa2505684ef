//! The Message List: which messages were received, and how far they were handed on.
//!
//! Per publisher and epoch (a stream) it keeps the ranges of numbers received, not one entry
//! per message: a publisher whose messages all came takes one range, however many they are.

mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::identity::PeerId;
use crate::limits::{MAX_PUBLISHERS, REMEMBERED_EPOCHS};
use crate::message::{MessageId, StreamId};
use crate::small::GrowMap;

pub(crate) use stream::Seen;

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
