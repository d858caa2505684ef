//! Acknowledgements to and from the neighbours.

use core::time::Duration;

use super::Broadcast;
use super::ack_view::AckView;
use super::acks::{AckContext as _, Arrived};
use super::trees;
use crate::context::Context;
use crate::identity::PeerId;
use crate::io::Class;
use crate::message::StreamId;
use crate::time::Time;
use crate::wire::{Ack, Census, CensusBody};

/// How often a publisher looks how far the others are when nothing is told.
const PACE_EVERY: Duration = Duration::from_millis(250);

/// If nothing is acknowledged for so long, those who have been behind for too long do not count any more,
/// and the others should have said something.
const STALLED: Duration = Duration::from_millis(1250);
/// The same while there is room: nothing waits for it, and little is acknowledged at leisure.
const STALLED_AT_EASE: Duration = Duration::from_secs(10);

/// One census in so many goes over all links.
const EXPLORING_CENSUS: u64 = 3;

/// Whether a census goes over all links. While its publisher publishes nothing, no announcement reaches peers that have
/// become each other's parents in a cycle, and a census along the tree does not either.
const fn explores(round: u64) -> bool {
    round.is_multiple_of(EXPLORING_CENSUS)
}

/// The first round after this one that does.
pub(crate) const fn next_exploring(round: u64) -> u64 {
    (round / EXPLORING_CENSUS + 1) * EXPLORING_CENSUS
}

impl Broadcast {
    pub(crate) fn on_ack(&mut self, cx: &mut Context<'_>, remote: PeerId, f: &Ack) {
        let now = cx.now;
        let own = self.own_stream();
        let mut mine = false;
        for e in &f.entries {
            let stream = e.stream();
            if !self.acks.told(remote, e, now, &AckView::new(&self.store.list, &self.trees, cx)) {
                cx.fx.count("acks_unknown");
                continue;
            }
            if stream == own {
                self.on_holders(cx, e.holders.as_deref().unwrap_or_default());
                mine = true;
                if e.paced <= self.outbox.published() {
                    // It leaves out peers that are behind, but never the neighbour itself.
                    self.handover.acknowledged(remote, e.paced, now);
                }
            } else {
                cx.fx.add(
                    "ack_names_refused",
                    self.acks.named(
                        remote,
                        e,
                        now,
                        &AckView::new(&self.store.list, &self.trees, cx),
                    ) as u64,
                );
            }
            if f.congested && stream != own {
                self.acks.congested(
                    Some(stream),
                    now,
                    &AckView::new(&self.store.list, &self.trees, cx),
                );
            }
        }
        if mine {
            self.pace(cx, f.congested);
            self.review_receipts(cx);
            self.review_confirmed(cx);
        }
    }

    /// A publisher asks to be told anew who holds what.
    pub(crate) fn on_census(&mut self, cx: &mut Context<'_>, remote: PeerId, f: Census) {
        let now = cx.now;
        let CensusBody { publisher, epoch, round, until, names } = *f.body.body();
        if publisher == cx.id() {
            return;
        }
        let stream = StreamId { publisher, epoch };
        let upstream = Some(remote);
        // Where not all members are known by name, no receipt goes by names.
        let names = names && !cx.membership.is_large();
        let arrived = Arrived { stream, bytes: 0, wanted: Some(until), names };
        let may_explore = self.trees.may_explore(&publisher, now);
        let way = match explores(round) {
            true if may_explore => trees::Way::Explores,
            _ => trees::Way::Pushed,
        };
        if self.acks.is_new_census(stream, round, now) {
            // It travels as a batch does, and finds the way back for those who have lost it. Where batches come, the first
            // link that brings it says little: it is small and urgent, and overtakes those that wait at a hub.
            let keeps_parent = match way {
                trees::Way::Explores => self.trees.parent_brings(&publisher, now),
                // So soon after the last one it says nothing, but to who has no parent.
                _ => explores(round) && self.trees.parent(&publisher).is_some(),
            };
            if !keeps_parent {
                self.follow_tree(cx, publisher, upstream, way);
            }
            self.acks.census(
                &arrived,
                round,
                now,
                &AckView::new(&self.store.list, &self.trees, cx),
            );
            self.send_census(cx, &f, Some(remote));
        } else {
            let way = if explores(round) { trees::Way::Explores } else { trees::Way::Pushed };
            self.tree_repeat(cx, publisher, remote, way);
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
        let to = if explores(census.body.round) {
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

    /// Makes room for what is published by what was acknowledged.
    pub(crate) fn pace(&mut self, cx: &mut Context<'_>, congested: bool) {
        let now = cx.now;
        let own = self.own_stream();
        let high_water = AckView::new(&self.store.list, &self.trees, cx).high_water(own);
        self.acks.tick(own, now, high_water);
        if let Some(summed) =
            self.acks.summed(own, now, &AckView::new(&self.store.list, &self.trees, cx))
        {
            self.outbox.acknowledged(summed.pace(), now, congested);
        }
        let at_ease = self.outbox.on_the_way_bytes() < self.outbox.window() / 2;
        if self.outbox.is_stalled(if at_ease { STALLED_AT_EASE } else { STALLED }, now) {
            // Whoever has lost the way tells nobody anything, and finds it with what comes next, which may be this.
            cx.fx.count("publishing_stalled");
            self.take_census(cx, self.outbox.published());
        }
        // Whoever is behind stops counting after a while, and says nothing when it does.
        let waits = self.outbox.on_the_way_bytes() > 0;
        self.pace_at = if waits { now + PACE_EVERY } else { Time::MAX };
    }

    /// Tells the neighbours what is due.
    pub(crate) fn run_acks(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        if self.acks.deadline().is_none_or(|at| at > now) {
            return;
        }
        for (to, told) in self.acks.due(now, &AckView::new(&self.store.list, &self.trees, cx)) {
            if let Some(n) = cx.overlay.neighbours.get(&to) {
                let ack = Ack { entries: told.entries, congested: told.congested };
                cx.fx.count("acknowledgements");
                cx.fx.send_as(n.link, ack, Class::Announce);
            }
        }
    }
}
