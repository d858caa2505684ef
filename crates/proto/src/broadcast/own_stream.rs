//! The stream of this peer, and the streams of its earlier processes.
//!
//! A process publishes one stream, under the epoch that it started with ([`start_number`]). That
//! number is above those of all processes before it, unless the node was restored from an old copy
//! and its clock is behind as well. Then the seeds or the first neighbour know a higher number, and
//! the stream takes an epoch above it before any of its messages has left this node.

use core::time::Duration;

use super::resume::previous_stream_of;
use super::{Arrival, Broadcast};
use super::{MessageList, batch_id};
use crate::batch::{Batch, BatchBuilder, PreviousStream, seal_group};
use crate::context::{Context, View};
use crate::event::Event;
use crate::io::StoreOp;
use crate::message::StreamId;
use crate::time::{Time, WallTime};
use crate::wire::Summary;

/// How long the first neighbour has to list its streams. Nothing is published meanwhile.
const COMPARE_TIMEOUT: Duration = Duration::from_secs(2);
/// Claims of neighbours that an epoch was used count only below this: the clock in the year 2248. A
/// Summary is not signed, and a peer with a number near the largest one could neither refute its
/// death nor start again.
pub(crate) const HIGHEST_CLAIM: u64 = 1 << 43;

/// The number that a process of a peer starts with, its first incarnation and the epoch of its
/// stream: one more than the last stored one, or the clock in milliseconds since 1970, whichever is
/// higher.
///
/// So a peer that was restored from an old copy, or has lost its store, reuses no number unless its
/// clock is behind. `last` is the highest number in the store.
#[must_use]
pub fn start_number(last: Option<u64>, wall: WallTime) -> u64 {
    let next = last.map_or(1, |last| last.saturating_add(1));
    next.max(wall.0 / 1000)
}

/// The last stream of this peer before `own`, as far as its store knows.
pub(crate) fn previous_stream(list: &MessageList, own: StreamId) -> Option<PreviousStream> {
    let before =
        list.epochs(own.publisher).filter(|(epoch, seen)| *epoch < own.epoch && seen.end() > 0);
    let (epoch, seen) = before.last()?;
    Some(PreviousStream { epoch, next: seen.end() })
}

impl Broadcast {
    /// The stream of the messages that are published from now on.
    pub(crate) const fn own_stream(&self) -> StreamId {
        self.outbox.stream()
    }

    /// The first batch of a stream names the previous one: that is delivered first, or reported as
    /// a gap.
    pub(crate) fn expect_previous_stream(&mut self, cx: &mut Context<'_>, batch: &Batch) {
        if batch.first() == 0 {
            self.store.compact(batch.publisher());
        }
        let Some((stream, end)) = previous_stream_of(batch) else { return };
        let list = &mut self.store.list;
        if list.is_closed(stream) || list.get(stream).is_some_and(|seen| seen.end() >= end) {
            return;
        }
        if !list.is_followed(stream) {
            // It is from before this peer took part: start where a neighbour retains it.
            let Some(oldest_retained) = self.missing.oldest_retained(stream) else { return };
            list.set_start(stream, oldest_retained);
        }
        self.store.list.expect_up_to(stream, end);
        self.missing.expect_more(stream, cx.now);
        self.compare_with_some(cx);
    }

    // ---- epochs that were used before ------------------------------------------------------

    /// Until when nothing is published, because neighbours have not listed their streams yet. Not
    /// needed after a majority of the seeds has registered this process: one of them would have
    /// known an epoch in use.
    pub(crate) fn comparison_deadline(&self, cx: &View<'_>) -> Option<Time> {
        let until = cx.membership.own.participates_since? + COMPARE_TIMEOUT;
        let unknown = cx.membership.registrations.count() < cx.membership.registrations.quorum();
        (unknown && !self.own_stream_is_compared && cx.now < until).then_some(until)
    }

    /// Whether neighbours may still list an earlier process's messages.
    pub(crate) fn may_compare_own_stream(&self, cx: &View<'_>) -> bool {
        let since = cx.membership.own.participates_since;
        !self.own_stream_is_compared && since.is_some_and(|at| cx.now < at + COMPARE_TIMEOUT)
    }

    /// Compares this peer's stream with the one that the first neighbour knows. Returns the highest
    /// epoch of an earlier process that this one must not use.
    pub(crate) fn compare_own_stream(&mut self, summary: &Summary) -> Option<u64> {
        let entries = summary.entries.as_ref().filter(|_| !self.own_stream_is_compared)?;
        let (own, published) = (self.own_stream(), self.outbox.published());
        let is_used = |epoch, next| epoch > own.epoch || (epoch == own.epoch && next > published);
        let of_own = entries.iter().filter(|e| e.publisher == own.publisher);
        let used = of_own
            .filter(|e| e.epoch < HIGHEST_CLAIM && is_used(e.epoch, e.next))
            .map(|e| e.epoch)
            .max();
        self.own_stream_is_compared = true;
        used
    }

    /// The epoch that this peer's stream has to take because an earlier process has used `used`. A
    /// stream with a message that was sent stays: its messages would arrive twice.
    pub(crate) fn epoch_above(&self, cx: &Context<'_>, used: u64) -> Option<u64> {
        let is_movable = !cx.fx.has_sent_watched() && !cx.membership.own.is_leaving();
        (is_movable && used >= self.own_stream().epoch).then(|| used.saturating_add(1))
    }

    /// Gives all published messages another epoch. None of them has left this node. The incarnation
    /// of this peer has to be `number` at least; [`Broadcast::stream_moved`] follows.
    pub(crate) fn move_stream(&mut self, cx: &mut Context<'_>, epoch: u64, number: u64) {
        // Take the old stream out of all state.
        let old = self.own_stream();
        let sealed = self.outbox.take_sealed();
        self.outbox.set_epoch(epoch);
        cx.fx.watch_stream(self.own_stream());
        let retained = self.store.retention.take_stream(old);
        let mut ops: Vec<StoreOp> =
            retained.iter().map(|b| StoreOp::RemoveBatch(batch_id(b))).collect();
        self.store.list.forget_own(old);
        self.acks.forget_stream(old);
        if number > cx.membership.own.record.incarnation {
            ops.push(StoreOp::PutIncarnation(number));
        }
        cx.fx.store(ops);
        // Sign and record its messages under the new epoch.
        let identity = cx.identity;
        let renumbered = |b: &Batch| seal_group([BatchBuilder::with_epoch(b, epoch)], identity);
        for batch in retained.iter().flat_map(renumbered) {
            let receipt = self.outbox.receipt_requested > batch.first();
            self.receive(cx, &batch, Arrival::own(false, receipt));
        }
        self.outbox.requeue_sealed(sealed.iter().flat_map(renumbered).collect());
    }

    /// Records and reports that the stream has another epoch, after the seeds were told.
    pub(crate) fn stream_moved(&mut self, cx: &mut Context<'_>, from: u64) {
        self.confirmations.stream_moved(cx.now);
        cx.fx.counters.streams_moved += 1;
        let (to, messages) = (self.own_stream().epoch, self.outbox.published());
        cx.fx.event(Event::StreamMoved { from, to, messages });
    }

    /// Whether another process with this peer's key published this batch in this peer's stream.
    pub(crate) fn conflicts_with_own_stream(&self, batch: &Batch) -> bool {
        batch.stream() == self.own_stream() && batch.end() > self.outbox.published()
    }

    pub(crate) fn refuse_conflicting_batch(&mut self, cx: &mut Context<'_>, batch: &Batch) {
        let (epoch, from, to) = (batch.epoch(), batch.first(), batch.end());
        cx.fx.counters.stream_conflicts += 1;
        cx.fx.event(Event::StreamConflict { epoch, from, to });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_number_is_above_the_stored_one_and_not_below_the_clock() {
        let clock = WallTime(1_700_000_000_000_000);
        assert_eq!(start_number(None, clock), 1_700_000_000_000);
        assert_eq!(start_number(Some(5), clock), 1_700_000_000_000);
        assert_eq!(start_number(Some(1_800_000_000_000), clock), 1_800_000_000_001);
        assert_eq!(start_number(None, WallTime(0)), 1);
    }
}
