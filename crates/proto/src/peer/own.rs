//! The record of this peer.

use super::Peer;
use crate::event::Event;
use crate::io::StoreOp;
use crate::overlay::Overlay;
use crate::overlay::target::{MIN_TARGET, rank, target_degree};
use crate::record::{Record, SignedRecord};

impl Peer {
    pub(super) fn incarnation(&self) -> u64 {
        self.membership.own.record.incarnation
    }

    /// Whether this peer has sent Leave.
    pub(super) const fn is_leaving(&self) -> bool {
        self.membership.own.is_leaving()
    }

    /// Signs the next record; `change` edits it.
    pub(super) fn renew_record(&mut self, change: impl FnOnce(&mut Record)) {
        let (degree, target) = (self.overlay.degree(), self.overlay.target);
        self.membership.own.renew(&self.identity, degree, target, change);
    }

    /// The record with the degree as it is now.
    pub(super) fn current_record(&mut self) -> SignedRecord {
        let (degree, target) = (self.overlay.degree(), self.overlay.target);
        self.membership.own.current(&self.identity, degree, target)
    }

    /// Schedules an update to seeds and neighbours after a change of degree, target or record.
    pub(super) fn schedule_record_update(&mut self) {
        self.with_overlay(Overlay::degree_changed);
    }

    /// Draws the target again after the size of the network or the seeds' nonce changed.
    pub(super) fn review_target(&mut self) {
        let known = u32::try_from(self.membership.members.alive_count() + 1).unwrap_or(u32::MAX);
        let n = self.membership.registrations.network_size().max(known);
        let limit = self.config.max_degree();
        // Without a seed the last nonce stays.
        let before = self.membership.own.target_inputs;
        let nonce = self.membership.registrations.nonce().or(before.0);
        if before == (nonce, n) {
            return;
        }
        self.membership.own.target_inputs = (nonce, n);
        let target = match nonce {
            Some(nonce) => target_degree(rank(&self.id(), &nonce), n, limit),
            // Before a seed has answered: the minimum for a connected network.
            None => MIN_TARGET
                .min(u16::try_from(n - 1).unwrap_or(u16::MAX))
                .min(limit.unwrap_or(u16::MAX)),
        };
        if target != self.overlay.target {
            self.overlay.target = target;
            self.schedule_record_update();
            let now = self.fx.now();
            self.overlay.fill.look_soon(now);
        }
    }

    /// Begins a new incarnation, because the seeds hold `ended` to have ended. The stream
    /// continues.
    pub(super) fn begin_new_incarnation(&mut self, ended: u64) {
        if self.is_leaving() || self.incarnation() > ended {
            return;
        }
        let incarnation = ended.saturating_add(1);
        self.fx.store(vec![StoreOp::PutIncarnation(incarnation)]);
        self.renew_record(|r| {
            r.incarnation = incarnation;
            r.sequence = 0;
        });
        self.fx.counters.refutations += 1;
        self.fx.event(Event::Refuted { incarnation });
        self.send_record_to_seeds();
        self.membership.registrations.redial_parked_by(self.fx.now());
        // Others may have dropped this peer: it looks for neighbours everywhere.
        self.with_overlay(Overlay::schedule_swaps);
    }

    /// Handles a number that an earlier process of this peer has used: the stream and the
    /// incarnation take a higher one if no message of the stream was sent yet.
    pub(super) fn on_number_used(&mut self, used: u64) {
        let before = self.broadcast.own_stream().epoch;
        let Some(epoch) = self.with_broadcast(|b, cx| b.epoch_above(cx, used)) else { return };
        let number = epoch.max(self.incarnation());
        self.with_broadcast(|b, cx| b.move_stream(cx, epoch, number));
        if self.incarnation() < number {
            self.renew_record(|r| (r.incarnation, r.sequence) = (number, 0));
            self.send_record_to_seeds();
            self.membership.registrations.redial_parked_by(self.fx.now());
        }
        self.with_broadcast(|b, cx| b.stream_moved(cx, before));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchBuilder;
    use crate::broadcast::HIGHEST_CLAIM;
    use crate::identity::PeerId;
    use crate::io::{Class, LinkId, Output};
    use crate::message::MessageId;
    use crate::peer::example_setup;
    use crate::time::{Time, WallTime};
    use crate::wire::Summary;
    use crate::wire::{Data, SummaryEntry};

    fn peer() -> Peer {
        Peer::new(example_setup(), Time::ZERO)
    }

    #[test]
    fn stream_of_which_a_batch_was_sent_does_not_move() {
        for is_sent in [false, true] {
            let mut p = peer();
            let own = p.broadcast.own_stream();
            let id = MessageId { publisher: own.publisher, epoch: own.epoch, sequence: 0 };
            let mut batch = BatchBuilder::new(id, WallTime(0));
            batch.push(WallTime(0), "", b"x");
            if is_sent {
                let batch = Some(batch.seal(&p.identity));
                p.fx.send_as(LinkId(1), Data { id, batch, age_ms: None }, Class::Payload);
            }
            p.on_number_used(own.epoch);
            assert_eq!(p.broadcast.own_stream() == own, is_sent);
        }
    }

    /// The epoch and incarnation of a peer after a neighbour's Summary of its stream under `epoch`.
    fn number_after_summary(epoch: u64) -> (u64, u64) {
        let mut p = peer();
        let entry =
            SummaryEntry { publisher: p.id(), epoch, next: 3, gaps: vec![], oldest_retained: 0 };
        p.on_summary(
            LinkId(1),
            PeerId::from_bytes([9; 32]),
            &Summary { hash: 1, entries: Some(vec![entry]) },
        );
        while let Some(output) = p.poll_output() {
            if let Output::Store { ops, .. } = output {
                let raised = ops.iter().find_map(|op| match op {
                    StoreOp::PutIncarnation(number) => Some(*number),
                    _ => None,
                });
                assert_eq!(raised.unwrap_or(p.incarnation()), p.incarnation());
            }
        }
        (p.broadcast.own_stream().epoch, p.incarnation())
    }

    #[test]
    fn stream_moves_only_for_epochs_that_a_clock_can_reach() {
        for epoch in [u64::MAX, u64::MAX - 1, HIGHEST_CLAIM] {
            assert_eq!(number_after_summary(epoch), (2, 2), "{epoch}");
        }
        let last = HIGHEST_CLAIM - 1;
        assert_eq!(number_after_summary(last), (HIGHEST_CLAIM, HIGHEST_CLAIM));
        assert_eq!(number_after_summary(2), (3, 3));
        assert_eq!(number_after_summary(1), (2, 2));
    }
}
