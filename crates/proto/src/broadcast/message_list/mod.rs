//! The message list: which messages were received, and how far they were delivered.
//!
//! Per publisher and epoch (a stream) it keeps the received ranges of numbers, not one entry per
//! message: a publisher without a missing message takes one range, however many messages it has.

mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::identity::PeerId;
use crate::limits::{MAX_STREAMS, REMEMBERED_EPOCHS};
use crate::message::{MessageId, StreamId};
use crate::small::GrowMap;

pub(crate) use stream::StreamState;

/// The outcome of recording a batch in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InsertOutcome {
    /// This many of its messages are new.
    New(u64),
    /// All of them were received before.
    Duplicate,
}

/// One stream of this many is forgotten when there is no space for another.
const EVICTION_DIVISOR: usize = 64;

/// The list.
#[derive(Debug, Default)]
pub(crate) struct MessageList {
    streams: GrowMap<StreamId, StreamState>,
    clock: u64,
    /// Changes with every change of what was received.
    version: u64,
    /// Ranges of forgotten streams that were not delivered.
    forgotten: Vec<(StreamId, u64, u64)>,
    /// Streams with known messages that are neither delivered nor reported as a gap.
    undelivered: BTreeSet<StreamId>,
    /// Streams whose delivered mark has changed, or that were forgotten, since the marks were last
    /// stored.
    changed_marks: BTreeSet<StreamId>,
    /// The epoch of each publisher up to which its streams are closed: delivered, reported as a
    /// gap, or forgotten with a gap. Messages of closed streams count as duplicates.
    closed: GrowMap<PeerId, u64>,
    /// Publishers whose entry in `closed` has changed or was forgotten since it was last stored.
    changed_closed: BTreeSet<PeerId>,
    /// Messages that the consumer has not processed are delivered to it again after a restart.
    follows_consumer: bool,
}

impl MessageList {
    /// Records the receipt of the numbers `from..to`.
    pub(crate) fn receive(&mut self, stream: StreamId, from: u64, to: u64) -> InsertOutcome {
        let outcome = self.insert(stream, from, to);
        self.review_undelivered(stream);
        outcome
    }

    fn insert(&mut self, stream: StreamId, from: u64, to: u64) -> InsertOutcome {
        self.clock += 1;
        let clock = self.clock;
        let Some(seen) = self.stream_mut(stream) else { return InsertOutcome::Duplicate };
        seen.last_used = clock;
        if from == 0 || (seen.has_start() && from < seen.start) {
            // The publisher itself signed them, so the stream does begin as early as this.
            if seen.set_start(from) {
                self.changed_marks.insert(stream);
            }
        }
        // Messages that fill a gap after messages of a later stream would be out of order.
        let refutes = self.get(stream).is_some_and(|seen| seen.is_refuted_by(from, to));
        let is_final = refutes && self.has_delivered_later(stream);
        let Some(seen) = self.streams.get_mut(&stream) else { return InsertOutcome::Duplicate };
        let unproven = seen.unproven;
        seen.settle_unproven_end(from, to, is_final);
        if seen.unproven != unproven {
            self.changed_marks.insert(stream);
        }
        let new = seen.missing_in(from, to);
        if new == 0 {
            return InsertOutcome::Duplicate;
        }
        seen.add(from, to);
        seen.received += new;
        seen.close_gaps_over_bound();
        InsertOutcome::New(new)
    }

    /// The stream, created if it is not closed.
    fn stream_mut(&mut self, stream: StreamId) -> Option<&mut StreamState> {
        self.version += 1;
        if !self.streams.contains_key(&stream) {
            if self.is_closed(stream) {
                return None;
            }
            if self.streams.len() >= MAX_STREAMS {
                self.evict_streams();
                if self.is_closed(stream) {
                    return None;
                }
            }
        }
        Some(self.streams.get_or_insert(stream, StreamState::default))
    }

    /// Whether a stream was delivered, or reported as a gap, and forgotten since.
    pub(crate) fn is_closed(&self, stream: StreamId) -> bool {
        self.closed.get(&stream.publisher).is_some_and(|&epoch| stream.epoch <= epoch)
    }

    /// Whether this node has followed the publisher since before this stream: then its subscribers
    /// get the stream, or a gap.
    pub(crate) fn is_followed(&self, stream: StreamId) -> bool {
        let before = StreamId { epoch: 0, ..stream };
        self.closed.get(&stream.publisher).is_some()
            || self.streams.range(before..=stream).next().is_some()
    }

    /// Records that the publisher has signed that a stream goes up to `end`.
    pub(crate) fn expect_up_to(&mut self, stream: StreamId, end: u64) {
        if end > 0
            && let Some(seen) = self.stream_mut(stream)
        {
            seen.expected = seen.expected.max(end);
            if let Some((from, to)) = seen.unproven.filter(|u| end > u.0) {
                seen.unproven = (end < to).then_some((from.max(end), to));
                self.changed_marks.insert(stream);
            }
            self.review_undelivered(stream);
        }
    }

    /// Sets the start of a stream, as a node that has the stream reports it: earlier messages are
    /// not available any more.
    pub(crate) fn set_start(&mut self, stream: StreamId, at: u64) {
        if self.stream_mut(stream).is_some_and(|seen| seen.set_start(at)) {
            self.changed_marks.insert(stream);
        }
        self.review_undelivered(stream);
    }

    /// Starts a stream at the first received message, because no neighbour reported its start.
    pub(crate) fn start_at_first_received(&mut self, stream: StreamId) {
        self.version += 1;
        if let Some(seen) = self.streams.get_mut(&stream)
            && let Some(&(first, _)) = seen.ranges.first()
            && seen.set_start(first)
        {
            self.changed_marks.insert(stream);
        }
        self.review_undelivered(stream);
    }

    /// Restores the mark of an earlier process, which delivered everything below `delivered` or
    /// reported it as a gap.
    pub(crate) fn resume(&mut self, stream: StreamId, delivered: u64) {
        // The range after the last possible number cannot be represented.
        let delivered = delivered.min(u64::MAX - 1);
        if delivered == 0 {
            return;
        }
        if let Some(seen) = self.stream_mut(stream) {
            seen.add(0, delivered);
            seen.delivered = seen.delivered.max(delivered);
            seen.consumed = seen.delivered;
            seen.oldest_retained = seen.oldest_retained.max(delivered);
            self.review_undelivered(stream);
        }
    }

    /// Records that everything from `oldest_retained` on that an earlier process delivered is
    /// retained.
    pub(crate) fn lower_oldest_retained(&mut self, stream: StreamId, oldest_retained: u64) {
        if let Some(seen) = self.streams.get_mut(&stream)
            && seen.oldest_retained == seen.delivered
        {
            seen.oldest_retained = oldest_retained;
        }
    }

    /// Records that everything below `to` was delivered or reported as a gap.
    pub(crate) fn set_delivered(&mut self, stream: StreamId, to: u64) {
        if let Some(seen) = self.streams.get_mut(&stream)
            && seen.delivered < to
        {
            seen.delivered = to;
            if !self.follows_consumer {
                self.changed_marks.insert(stream);
            }
            self.review_undelivered(stream);
        }
    }

    /// From now on the stored marks follow the consumer.
    pub(crate) fn follow_consumer(&mut self) {
        self.follows_consumer = true;
        let streams = &self.streams;
        self.changed_marks.retain(|stream| !streams.contains_key(stream));
    }

    /// Records that the consumer has processed everything below `to`. A mark above the delivered
    /// one belongs to a gap that was refuted since, and is ignored.
    pub(crate) fn set_consumed(&mut self, stream: StreamId, to: u64) {
        if self.follows_consumer
            && let Some(seen) = self.streams.get_mut(&stream)
            && (seen.consumed + 1..=seen.delivered).contains(&to)
        {
            seen.consumed = to;
            self.changed_marks.insert(stream);
        }
    }

    /// Takes the marks to store that have changed since the last call; `None` for a stream that was
    /// forgotten.
    pub(crate) fn take_changed_marks(&mut self) -> Vec<(StreamId, Option<u64>)> {
        let changed_marks = core::mem::take(&mut self.changed_marks);
        let durable = |s| self.get(s).map(|seen| seen.durable_mark(self.follows_consumer));
        changed_marks.into_iter().map(|s| (s, durable(s))).collect()
    }

    /// Records that nothing below `to` is retained any more.
    pub(crate) fn raise_oldest_retained(&mut self, stream: StreamId, to: u64) {
        if let Some(seen) = self.streams.get_mut(&stream) {
            seen.oldest_retained = seen.oldest_retained.max(to);
        }
    }

    /// Gives up a range that no neighbour can send any more. Beyond the end that the publisher has
    /// signed, the range rests on the neighbours' claims only.
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

    /// Restores that streams up to this one were closed in an earlier process.
    pub(crate) fn restore_closed(&mut self, stream: StreamId) {
        self.mark_closed(stream);
        self.changed_closed.remove(&stream.publisher);
    }

    /// Forgets the oldest closed streams of a publisher that are not retained, except the latest
    /// [`REMEMBERED_EPOCHS`].
    pub(crate) fn compact(&mut self, publisher: PeerId, is_kept: impl Fn(StreamId) -> bool) {
        let epochs: Vec<u64> = self.epochs(publisher).map(|(epoch, _)| epoch).collect();
        let surplus = epochs.len().saturating_sub(REMEMBERED_EPOCHS);
        for epoch in epochs.into_iter().take(surplus) {
            let stream = StreamId { publisher, epoch };
            let is_closed = self.get(stream).is_some_and(|s| s.is_closed(self.follows_consumer));
            if is_kept(stream) || !is_closed {
                return;
            }
            self.forget_oldest(stream);
        }
    }

    /// Forgets and closes the oldest stream of a publisher.
    fn forget_oldest(&mut self, stream: StreamId) {
        self.forget(stream);
        self.mark_closed(stream);
    }

    fn mark_closed(&mut self, stream: StreamId) {
        let StreamId { publisher, epoch } = stream;
        if self.closed.len() >= MAX_STREAMS && self.closed.get(&publisher).is_none() {
            // Publishers without any known stream are evicted first.
            let part = MAX_STREAMS / EVICTION_DIVISOR;
            let gone = |id: &PeerId| self.epochs(*id).next().is_none();
            let idle: Vec<PeerId> = self.closed.iter().map(|(id, _)| *id).filter(gone).collect();
            let any = self.closed.iter().map(|(id, _)| *id);
            let drop: Vec<PeerId> = idle.into_iter().chain(any).take(part).collect();
            for id in drop {
                self.closed.remove(&id);
                self.changed_closed.insert(id);
            }
        }
        let mark = self.closed.get_or_insert(publisher, || epoch);
        *mark = epoch.max(*mark);
        self.changed_closed.insert(publisher);
    }

    /// Takes the publishers whose closed epoch has changed since the last call; `None` for a
    /// forgotten one.
    pub(crate) fn take_closed_changes(&mut self) -> Vec<(PeerId, Option<u64>)> {
        let changed_marks = core::mem::take(&mut self.changed_closed);
        changed_marks.into_iter().map(|id| (id, self.closed.get(&id).copied())).collect()
    }

    /// Forgets a stream; its undelivered messages are reported as a gap.
    fn forget(&mut self, stream: StreamId) {
        let Some(seen) = self.streams.get(&stream) else { return };
        if !seen.is_delivered() {
            self.forgotten.push((stream, seen.delivered, seen.end()));
        }
        self.forget_own(stream);
    }

    /// Forgets a stream of this node that continues under another epoch.
    pub(crate) fn forget_own(&mut self, stream: StreamId) {
        self.version += 1;
        self.streams.remove(&stream);
        self.changed_marks.insert(stream);
        self.undelivered.remove(&stream);
    }

    /// Takes the undelivered ranges of streams that were forgotten: first number, and the number
    /// after the last.
    pub(crate) fn take_forgotten(&mut self) -> Vec<(StreamId, u64, u64)> {
        core::mem::take(&mut self.forgotten)
    }

    /// The epochs of a publisher, ascending.
    pub(crate) fn epochs(&self, publisher: PeerId) -> impl Iterator<Item = (u64, &StreamState)> {
        let stream = |epoch| StreamId { publisher, epoch };
        let all = self.streams.range(stream(0)..=stream(u64::MAX));
        all.map(|(stream, seen)| (stream.epoch, seen))
    }

    /// Updates `undelivered` after a change of a stream.
    fn review_undelivered(&mut self, stream: StreamId) {
        if self.get(stream).is_some_and(|seen| !seen.is_delivered()) {
            self.undelivered.insert(stream);
        } else {
            self.undelivered.remove(&stream);
        }
    }

    /// The first undelivered stream of the same publisher before this one.
    pub(crate) fn undelivered_before(&self, stream: StreamId) -> Option<StreamId> {
        self.undelivered.range(StreamId { epoch: 0, ..stream }..stream).next().copied()
    }

    /// The first undelivered stream of the same publisher after this one.
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

    /// The state of one stream.
    pub(crate) fn get(&self, stream: StreamId) -> Option<&StreamState> {
        self.streams.get(&stream)
    }

    /// A number that changes whenever the received ranges change.
    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    /// All streams, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&StreamId, &StreamState)> {
        self.streams.iter()
    }

    /// Evicts streams. Publishers with the most streams lose their oldest ones first; if all have
    /// few, the least recently used streams go. It takes a scan, so several streams go at once:
    /// keys are cheap to create, and a scan for each new publisher would cost every node too much.
    fn evict_streams(&mut self) {
        let part = (self.streams.len() / EVICTION_DIVISOR).max(1);
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
            self.streams.iter().map(|(k, s)| (s.last_used, *k)).collect();
        all.select_nth_unstable(part - 1);
        for (_, stream) in all.into_iter().take(part) {
            self.forget(stream);
        }
    }

    /// Publishers with more streams than [`REMEMBERED_EPOCHS`], those with most first.
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
