//! Acknowledgements to and from the neighbours.

use core::time::Duration;

use super::Broadcast;
use super::acks::{AckContext as _, ReceivedBatch};
use super::trees::ArrivalKind;
use crate::context::Context;
use crate::identity::PeerId;
use crate::io::Class;
use crate::message::StreamId;
use crate::time::Time;
use crate::wire::{Ack, Census, CensusBody};

/// How often a publisher reviews the aggregate of its tree while no acknowledgement arrives.
const PACE_INTERVAL: Duration = Duration::from_millis(250);

/// If nothing is acknowledged for this long, lagging peers do not count any more, and the others
/// should have acknowledged something: the publisher starts a census.
const STALL_LIMIT: Duration = Duration::from_millis(1250);
/// [`STALL_LIMIT`] while at least half of the window is free: nothing waits for the
/// acknowledgement, and peers gather acknowledgements of little data for longer.
const STALL_LIMIT_WITH_ROOM: Duration = Duration::from_secs(10);

/// One census of this many goes over all links.
const EXPLORING_CENSUS_EVERY: u64 = 3;

/// Whether a census goes over all links. Peers that have become each other's parents in a cycle
/// are not reached along the tree, nor by announcements while the publisher publishes nothing.
const fn is_exploring_round(round: u64) -> bool {
    round.is_multiple_of(EXPLORING_CENSUS_EVERY)
}

/// The first exploring round after this one.
pub(crate) const fn next_exploring_round(round: u64) -> u64 {
    (round / EXPLORING_CENSUS_EVERY + 1) * EXPLORING_CENSUS_EVERY
}

impl Broadcast {
    pub(crate) fn on_ack(&mut self, cx: &mut Context<'_>, remote: PeerId, f: &Ack) {
        let now = cx.now;
        let own = self.own_stream();
        let mut is_own = false;
        for entry in &f.entries {
            let stream = entry.stream();
            let (acks, view) = self.acks_with_view(cx);
            if !acks.on_update(remote, entry, now, &view) {
                cx.fx.counters.acks_unknown += 1;
                continue;
            }
            if stream == own {
                self.on_holders(cx, entry.holders.as_deref().unwrap_or_default());
                is_own = true;
                if entry.paced <= self.outbox.published() {
                    // A lagging peer is left out of this mark, but never the neighbour itself.
                    self.confirmations.on_acknowledged(remote, entry.paced, now);
                }
                continue;
            }
            let refused = acks.on_holder_names(remote, entry, now, &view);
            if f.congested {
                acks.on_congestion(Some(stream), now, &view);
            }
            cx.fx.counters.ack_names_refused += refused as u64;
        }
        if is_own {
            self.pace(cx, f.congested);
            self.review_receipts(cx);
            self.review_confirmed(cx);
        }
    }

    /// Handles a census: a publisher asks its tree to report progress again.
    pub(crate) fn on_census(&mut self, cx: &mut Context<'_>, remote: PeerId, f: Census) {
        let now = cx.now;
        let CensusBody { publisher, epoch, round, until, wants_names } = *f.body.body();
        if publisher == cx.id() {
            return;
        }
        let stream = StreamId { publisher, epoch };
        let upstream = Some(remote);
        // In a large network not all members are known by name, so receipts do not use names.
        let wants_names = wants_names && !cx.membership.is_large();
        let received = ReceivedBatch { stream, bytes: 0, receipt_until: Some(until), wants_names };
        let may_explore = self.trees.may_explore(&publisher, now);
        let kind = match is_exploring_round(round) {
            true if may_explore => ArrivalKind::Exploring,
            _ => ArrivalKind::Pushed,
        };
        if self.acks.is_new_census(stream, round, now) {
            // A census travels as a batch does, and gives orphaned peers a parent. For peers that
            // get batches, the first link that brings a census says little: a census is small and
            // urgent, and overtakes the batches that are queued at a hub.
            let keeps_parent = match kind {
                ArrivalKind::Exploring => self.trees.parent_pushes(&publisher, now),
                // So soon after the last exploring batch, it only helps a peer without a parent.
                _ => is_exploring_round(round) && self.trees.parent(&publisher).is_some(),
            };
            if !keeps_parent {
                self.on_tree_arrival(cx, publisher, upstream, kind);
            }
            let (acks, view) = self.acks_with_view(cx);
            acks.on_census(&received, round, now, &view);
            self.send_census(cx, &f, Some(remote));
        } else {
            // The sender has used all links, whatever this peer makes of the first copy.
            let kind = match is_exploring_round(round) {
                true => ArrivalKind::Exploring,
                false => ArrivalKind::Pushed,
            };
            self.on_tree_duplicate(cx, publisher, remote, kind);
        }
    }

    /// Sends a census along its publisher's tree, or over all links.
    pub(crate) fn send_census(
        &mut self,
        cx: &mut Context<'_>,
        census: &Census,
        from: Option<PeerId>,
    ) {
        let publisher = census.body.publisher;
        let to = if is_exploring_round(census.body.round) {
            cx.overlay.neighbours.keys().copied().collect()
        } else {
            self.trees.children(&publisher)
        };
        for to in to {
            if Some(to) != from
                && to != publisher
                && let Some(n) = cx.overlay.neighbours.get(&to)
            {
                cx.fx.send_as(n.link, census.clone(), Class::Announce);
            }
        }
    }

    /// Applies the aggregate of the whole tree to the send window.
    pub(crate) fn pace(&mut self, cx: &mut Context<'_>, congested: bool) {
        let now = cx.now;
        let own = self.own_stream();
        let (acks, view) = self.acks_with_view(cx);
        acks.record_own_mark(own, now, view.high_water(own));
        if let Some(aggregate) = acks.aggregate(own, now, &view) {
            self.outbox.on_acknowledged(aggregate.pace(), now, congested);
        }
        let has_room = self.outbox.in_flight_bytes() < self.outbox.window() / 2;
        if self.outbox.is_stalled(if has_room { STALL_LIMIT_WITH_ROOM } else { STALL_LIMIT }, now) {
            // An orphaned peer acknowledges nothing; the next batch, or this census, gives it a
            // parent.
            cx.fx.counters.publishing_stalled += 1;
            self.start_census(cx, self.outbox.published());
        }
        // A lagging peer stops counting after a while, without any frame that says so.
        let is_waiting = self.outbox.in_flight_bytes() > 0;
        self.pace_at = if is_waiting { now + PACE_INTERVAL } else { Time::MAX };
    }

    /// Sends the acknowledgements that are due.
    pub(crate) fn run_acks(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        if self.acks.deadline().is_none_or(|at| at > now) {
            return;
        }
        let (acks, view) = self.acks_with_view(cx);
        for (to, update) in acks.take_due(now, &view) {
            if let Some(n) = cx.overlay.neighbours.get(&to) {
                let ack = Ack { entries: update.entries, congested: update.congested };
                cx.fx.counters.acknowledgements += 1;
                cx.fx.send_as(n.link, ack, Class::Announce);
            }
        }
    }
}
