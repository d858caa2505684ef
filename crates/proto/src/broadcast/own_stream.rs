//! This peer's own stream, and what was published before it.
//!
//! A process publishes one stream, under the number that it started with ([`start_number`]). That number is above
//! those of all processes before it, unless the node was restored from an old copy and its clock is behind
//! as well. Then seeds, or the first neighbour, know the number: the stream takes a higher one before
//! anything of it has left this node.

use core::time::Duration;

use super::resume::named_before;
use super::{Arrival, Broadcast};
use super::{MessageList, name};
use crate::batch::{Batch, BatchBuilder, PreviousStream, seal_group};
use crate::context::{Context, View};
use crate::event::Event;
use crate::io::StoreOp;
use crate::message::StreamId;
use crate::time::{Time, WallTime};
use crate::wire::Summary;

/// How long the first neighbour has to say which streams it knows. Nothing is published meanwhile.
const COMPARE_WITHIN: Duration = Duration::from_secs(2);
/// A neighbour's word that a number was used counts below this: the clock in the year 2248. A Summary is not signed,
/// and a peer that took a number near the largest one could neither refute its death nor start again.
pub(crate) const HIGHEST_CLAIM: u64 = 1 << 43;

/// The number that a process of a peer starts with, its first incarnation and the epoch of its stream:
/// one more than the last one that was stored, or the clock in milliseconds since 1970, whichever is higher.
///
/// So a peer that was restored from an old copy, or has lost its store, reuses no number unless its
/// clock is behind. `last` is the highest number that the store has.
#[must_use]
pub fn start_number(last: Option<u64>, wall: WallTime) -> u64 {
    let next = last.map_or(1, |last| last.saturating_add(1));
    next.max(wall.0 / 1000)
}

/// The last stream of this peer before `own`, as far as its store knows.
pub(crate) fn previous(list: &MessageList, own: StreamId) -> Option<PreviousStream> {
    let before =
        list.epochs(own.publisher).filter(|(epoch, seen)| *epoch < own.epoch && seen.end() > 0);
    let (epoch, seen) = before.last()?;
    Some(PreviousStream { epoch, next: seen.end() })
}

impl Broadcast {
    /// The stream of what is published from now on.
    pub(crate) const fn own_stream(&self) -> StreamId {
        self.outbox.stream()
    }

    /// The first batch of a stream names the one before it: that is delivered first, or told as a gap.
    pub(crate) fn look_for_previous(&mut self, cx: &mut Context<'_>, batch: &Batch) {
        if batch.first() == 0 {
            self.store.compact(batch.publisher());
        }
        let Some((stream, end)) = named_before(batch) else { return };
        let list = &mut self.store.list;
        if list.is_over(stream) || list.get(stream).is_some_and(|seen| seen.end() >= end) {
            return;
        }
        if !list.is_owed(stream) {
            // It is of the time before this peer took part: as much as a neighbour offers.
            let Some(floor) = self.missing.floor(stream) else { return };
            list.begin(stream, floor);
        }
        self.store.list.expect(stream, end);
        self.missing.expect(stream, cx.now);
        self.ask_some(cx);
    }

    // ---- numbers that were used before -----------------------------------------------------

    /// Until when nothing is published, because neighbours have not said yet which streams they know.
    /// Of a majority of the seeds that have registered this process, one would have known of a number in use.
    pub(crate) fn comparison_deadline(&self, cx: &View<'_>) -> Option<Time> {
        let until = cx.membership.own.participates_since? + COMPARE_WITHIN;
        let unknown = cx.membership.registrations.count() < cx.membership.registrations.quorum();
        (unknown && !self.stream_compared && cx.now < until).then_some(until)
    }

    /// Compares this peer's stream with what the first neighbour knows of it. Says the highest number of an
    /// earlier process that this one must not use.
    pub(crate) fn compare_own_stream(&mut self, summary: &Summary) -> Option<u64> {
        let entries = summary.entries.as_ref().filter(|_| !self.stream_compared)?;
        let (own, published) = (self.own_stream(), self.outbox.published());
        let is_used = |epoch, next| epoch > own.epoch || (epoch == own.epoch && next > published);
        let of_own = entries.iter().filter(|e| e.publisher == own.publisher);
        let used = of_own
            .filter(|e| e.epoch < HIGHEST_CLAIM && is_used(e.epoch, e.next))
            .map(|e| e.epoch)
            .max();
        self.stream_compared = true;
        used
    }

    /// The epoch that this peer's stream has to take because an earlier process has used the number `used`. A
    /// stream of which anything was sent stays: its messages would come twice.
    pub(crate) fn epoch_above(&self, cx: &Context<'_>, used: u64) -> Option<u64> {
        let is_movable = !cx.fx.has_sent_watched() && !cx.membership.own.is_leaving();
        (is_movable && used >= self.own_stream().epoch).then(|| used.saturating_add(1))
    }

    /// Gives all that was published another epoch. Nothing of it has left this node. The incarnation of this
    /// peer has to be `number` at least; [`Broadcast::stream_moved`] follows.
    pub(crate) fn move_stream(&mut self, cx: &mut Context<'_>, epoch: u64, number: u64) {
        let old = self.own_stream();
        let sealed = self.outbox.take_sealed();
        self.outbox.set_epoch(epoch);
        cx.fx.watch(self.own_stream());
        let kept = self.store.kept.take_stream(old);
        let mut ops: Vec<StoreOp> = kept.iter().map(|b| StoreOp::RemoveBatch(name(b))).collect();
        self.store.list.disown(old);
        self.acks.forget_stream(old);
        if number > cx.membership.own.record.incarnation {
            ops.push(StoreOp::Incarnation(number));
        }
        cx.fx.store(ops);
        let again = |b: &Batch| BatchBuilder::with_epoch(b, epoch);
        for batch in
            kept.iter().flat_map(|b| seal_group([again(b)], cx.identity)).collect::<Vec<_>>()
        {
            let receipt = self.outbox.receipt_wanted > batch.first();
            self.receive(cx, &batch, Arrival::own(false, receipt));
        }
        let sealed = sealed.iter().flat_map(|b| seal_group([again(b)], cx.identity)).collect();
        self.outbox.put_sealed(sealed);
    }

    /// The stream has another epoch than before, and the seeds have been told.
    pub(crate) fn stream_moved(&mut self, cx: &mut Context<'_>, from: u64) {
        self.handover.stream_moved(cx.now);
        cx.fx.count("streams_moved");
        let (to, messages) = (self.own_stream().epoch, self.outbox.published());
        cx.fx.event(Event::StreamMoved { from, to, messages });
    }

    /// Whether another process published this batch in this peer's stream, with this peer's key.
    pub(crate) fn is_foreign_in_own_stream(&self, batch: &Batch) -> bool {
        batch.stream() == self.own_stream() && batch.end() > self.outbox.published()
    }

    pub(crate) fn refuse_foreign_batch(&mut self, cx: &mut Context<'_>, batch: &Batch) {
        let (epoch, from, to) = (batch.epoch(), batch.first(), batch.end());
        cx.fx.count("stream_conflicts");
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
