//! This peer's own stream, and what was published before it.
//!
//! A process publishes one stream, under the number that it started with ([`start_number`]). That number is above
//! those of all processes before it, unless the node was restored from an old copy and its clock is behind
//! as well. Then seeds, or the first neighbour, know the number: the stream takes a higher one before
//! anything of it has left this node.

use core::time::Duration;

use super::Peer;
use super::messages::Way;
use super::resume::named_before;
use crate::batch::{Batch, BatchBuilder, PreviousStream, seal_group};
use crate::broadcast::{MessageList, name};
use crate::event::Event;
use crate::io::StoreOp;
use crate::message::StreamId;
use crate::time::{Time, WallTime};
use crate::wire::Summary;

/// How long the first neighbour has to say which streams it knows. Nothing is published meanwhile.
const COMPARE_WITHIN: Duration = Duration::from_secs(2);
/// A neighbour's word that a number was used counts below this: the clock in the year 2248. A Summary is not signed,
/// and a peer that took a number near the largest one could neither refute its death nor start again.
const HIGHEST_CLAIM: u64 = 1 << 43;

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
pub(super) fn previous(list: &MessageList, own: StreamId) -> Option<PreviousStream> {
    let before =
        list.epochs(own.publisher).filter(|(epoch, seen)| *epoch < own.epoch && seen.end() > 0);
    let (epoch, seen) = before.last()?;
    Some(PreviousStream { epoch, next: seen.end() })
}

impl Peer {
    /// The stream of what is published from now on.
    pub(super) const fn own_stream(&self) -> StreamId {
        self.outbox.stream()
    }

    /// The first batch of a stream names the one before it: that is delivered first, or told as a gap.
    pub(super) fn look_for_previous(&mut self, batch: &Batch) {
        if batch.first() == 0 {
            self.broadcast.compact(batch.publisher());
        }
        let Some((stream, end)) = named_before(batch) else { return };
        let list = &mut self.broadcast.list;
        if list.is_over(stream) || list.get(stream).is_some_and(|seen| seen.end() >= end) {
            return;
        }
        if !list.is_owed(stream) {
            // It is of the time before this peer took part: as much as a neighbour offers.
            let Some(floor) = self.missing.floor(stream) else { return };
            list.begin(stream, floor);
        }
        self.broadcast.list.expect(stream, end);
        self.missing.expect(stream, self.fx.now());
        self.ask_some();
    }

    // ---- numbers that were used before -----------------------------------------------------

    /// Until when nothing is published, because neighbours have not said yet which streams they know.
    /// Of a majority of the seeds that have registered this process, one would have known of a number in use.
    pub(super) fn comparison_deadline(&self) -> Option<Time> {
        let until = self.neighbours_since? + COMPARE_WITHIN;
        let unknown = self.registrations.count() < self.registrations.quorum();
        (unknown && !self.stream_compared && self.fx.now() < until).then_some(until)
    }

    /// Compares this peer's stream with what the first neighbour knows of it.
    pub(super) fn compare_own_stream(&mut self, summary: &Summary) {
        let Some(entries) = summary.entries.as_ref().filter(|_| !self.stream_compared) else {
            return;
        };
        let (own, published) = (self.own_stream(), self.outbox.published());
        let is_used = |epoch, next| epoch > own.epoch || (epoch == own.epoch && next > published);
        let of_own = entries.iter().filter(|e| e.publisher == own.publisher);
        let used = of_own
            .filter(|e| e.epoch < HIGHEST_CLAIM && is_used(e.epoch, e.next))
            .map(|e| e.epoch)
            .max();
        if let Some(used) = used {
            self.number_was_used(used);
        }
        self.stream_compared = true;
    }

    /// An earlier process of this peer has used this number. A stream of which anything was sent stays: its
    /// messages would come twice.
    pub(super) fn number_was_used(&mut self, used: u64) {
        let movable = !self.fx.has_sent_watched();
        if movable && used >= self.own_stream().epoch && !self.is_leaving() {
            self.move_stream(used.saturating_add(1));
        }
    }

    /// Gives all that was published another epoch. Nothing of it has left this node.
    fn move_stream(&mut self, epoch: u64) {
        let (old, messages) = (self.own_stream(), self.outbox.published());
        let sealed = self.outbox.take_sealed();
        self.outbox.set_epoch(epoch);
        self.fx.watch(self.own_stream());
        let kept = self.broadcast.kept.take_stream(old);
        let mut ops: Vec<StoreOp> = kept.iter().map(|b| StoreOp::RemoveBatch(name(b))).collect();
        self.broadcast.list.disown(old);
        self.acks.forget_stream(old);
        let number = epoch.max(self.incarnation());
        if number > self.incarnation() {
            ops.push(StoreOp::Incarnation(number));
        }
        self.fx.store(ops);
        let again = |b: &Batch| BatchBuilder::with_epoch(b, epoch);
        for batch in
            kept.iter().flat_map(|b| seal_group([again(b)], &self.identity)).collect::<Vec<_>>()
        {
            let receipt = self.outbox.receipt_wanted > batch.first();
            let way =
                Way { hops: 0, from: None, explores: false, receipt, pulled: false, age_ms: 0 };
            self.take_in(&batch, way);
        }
        let sealed = sealed.iter().flat_map(|b| seal_group([again(b)], &self.identity)).collect();
        self.outbox.put_sealed(sealed);
        if self.incarnation() < number {
            self.renew_record(|r| (r.incarnation, r.sequence) = (number, 0));
            self.tell_seeds();
            self.registrations.unpark(self.fx.now());
        }
        self.handover.stream_moved(self.fx.now());
        self.fx.count("streams_moved");
        self.fx.event(Event::StreamMoved { from: old.epoch, to: epoch, messages });
    }

    /// Whether another process published this batch in this peer's stream, with this peer's key.
    pub(super) fn is_foreign_in_own_stream(&self, batch: &Batch) -> bool {
        batch.stream() == self.own_stream() && batch.end() > self.outbox.published()
    }

    pub(super) fn refuse_foreign_batch(&mut self, batch: &Batch) {
        let (epoch, from, to) = (batch.epoch(), batch.first(), batch.end());
        self.fx.count("stream_conflicts");
        self.fx.event(Event::StreamConflict { epoch, from, to });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Class, LinkId, Output};
    use crate::message::MessageId;
    use crate::peer::example_setup;
    use crate::wire::{Data, SummaryEntry};

    fn peer() -> Peer {
        Peer::new(example_setup(), Time::ZERO)
    }

    #[test]
    fn stream_of_which_a_batch_was_sent_does_not_move() {
        for is_sent in [false, true] {
            let mut p = peer();
            let own = p.own_stream();
            let id = MessageId { publisher: own.publisher, epoch: own.epoch, sequence: 0 };
            let mut batch = BatchBuilder::new(id, WallTime(0));
            batch.push(WallTime(0), "", b"x");
            if is_sent {
                let batch = Some(batch.seal(&p.identity));
                p.fx.send_as(LinkId(1), Data { id, batch, age_ms: None }, Class::Payload);
            }
            p.number_was_used(own.epoch);
            assert_eq!(p.own_stream() == own, is_sent);
        }
    }

    /// What a neighbour's Summary of a stream of this peer under `epoch` makes of its own stream and incarnation.
    fn number_after_summary(epoch: u64) -> (u64, u64) {
        let mut p = peer();
        let entry = SummaryEntry { publisher: p.id(), epoch, next: 3, gaps: vec![], floor: 0 };
        p.compare_own_stream(&Summary { hash: 1, entries: Some(vec![entry]) });
        while let Some(output) = p.poll_output() {
            if let Output::Store { ops, .. } = output {
                let raised = ops.iter().find_map(|op| match op {
                    StoreOp::Incarnation(number) => Some(*number),
                    _ => None,
                });
                assert_eq!(raised.unwrap_or(p.incarnation()), p.incarnation());
            }
        }
        (p.own_stream().epoch, p.incarnation())
    }

    #[test]
    fn stream_moves_only_for_numbers_that_a_clock_can_reach() {
        for epoch in [u64::MAX, u64::MAX - 1, HIGHEST_CLAIM] {
            assert_eq!(number_after_summary(epoch), (2, 2), "{epoch}");
        }
        let last = HIGHEST_CLAIM - 1;
        assert_eq!(number_after_summary(last), (HIGHEST_CLAIM, HIGHEST_CLAIM));
        assert_eq!(number_after_summary(2), (3, 3));
        assert_eq!(number_after_summary(1), (2, 2));
    }

    #[test]
    fn start_number_is_above_the_stored_one_and_not_below_the_clock() {
        let clock = WallTime(1_700_000_000_000_000);
        assert_eq!(start_number(None, clock), 1_700_000_000_000);
        assert_eq!(start_number(Some(5), clock), 1_700_000_000_000);
        assert_eq!(start_number(Some(1_800_000_000_000), clock), 1_800_000_000_001);
        assert_eq!(start_number(None, WallTime(0)), 1);
    }
}
