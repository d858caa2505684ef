//! Acknowledgements to and from the neighbours.

use core::time::Duration;

use super::Peer;
use super::messages::around;
use crate::broadcast::acks::{Arrived, Surroundings as _};
use crate::broadcast::trees;
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
pub(super) const fn next_exploring(round: u64) -> u64 {
    (round / EXPLORING_CENSUS + 1) * EXPLORING_CENSUS
}

impl Peer {
    pub(super) fn on_ack(&mut self, remote: PeerId, f: &Ack) {
        let now = self.fx.now();
        let own = self.own_stream();
        let mut mine = false;
        for e in &f.entries {
            let stream = e.stream();
            if !self.acks.told(remote, e, now, &around!(self)) {
                self.fx.count("acks_unknown");
                continue;
            }
            if stream == own {
                self.on_holders(e.holders.as_deref().unwrap_or_default());
                mine = true;
                if e.paced <= self.outbox.published() {
                    // It leaves out peers that are behind, but never the neighbour itself.
                    self.handover.acknowledged(remote, e.paced, now);
                }
            } else {
                self.fx.add(
                    "ack_names_refused",
                    self.acks.named(remote, e, now, &around!(self)) as u64,
                );
            }
            if f.congested && stream != own {
                self.acks.congested(Some(stream), now, &around!(self));
            }
        }
        if mine {
            self.pace(f.congested);
            self.review_receipts();
            self.review_confirmed();
        }
    }

    /// A publisher asks to be told anew who holds what.
    pub(super) fn on_census(&mut self, remote: PeerId, f: Census) {
        let now = self.fx.now();
        let CensusBody { publisher, epoch, round, until, names } = *f.body.body();
        if publisher == self.id() {
            return;
        }
        let stream = StreamId { publisher, epoch };
        let upstream = Some(remote);
        // Where not all members are known by name, no receipt goes by names.
        let names = names && !self.is_large();
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
                self.follow_tree(publisher, upstream, way);
            }
            self.acks.census(&arrived, round, now, &around!(self));
            self.send_census(&f, Some(remote));
        } else {
            let way = if explores(round) { trees::Way::Explores } else { trees::Way::Pushed };
            self.tree_repeat(publisher, remote, way);
        }
    }

    /// Sends a census along its publisher's tree, or over all links.
    pub(super) fn send_census(&mut self, census: &Census, from: Option<PeerId>) {
        let publisher = census.body.publisher;
        let to = if explores(census.body.round) {
            self.overlay.neighbours.keys().copied().collect()
        } else {
            self.trees.children(&publisher)
        };
        for to in to {
            if Some(to) != from
                && to != publisher
                && let Some(n) = self.overlay.neighbours.get(&to)
            {
                self.fx.send_as(n.link, census.clone(), Class::Announce);
            }
        }
    }

    /// Makes room for what is published by what was acknowledged.
    pub(super) fn pace(&mut self, congested: bool) {
        let now = self.fx.now();
        let own = self.own_stream();
        let high_water = around!(self).high_water(own);
        self.acks.tick(own, now, high_water);
        if let Some(summed) = self.acks.summed(own, now, &around!(self)) {
            self.outbox.acknowledged(summed.pace(), now, congested);
        }
        let at_ease = self.outbox.on_the_way_bytes() < self.outbox.window() / 2;
        if self.outbox.is_stalled(if at_ease { STALLED_AT_EASE } else { STALLED }, now) {
            // Whoever has lost the way tells nobody anything, and finds it with what comes next, which may be this.
            self.fx.count("publishing_stalled");
            self.take_census(self.outbox.published());
        }
        // Whoever is behind stops counting after a while, and says nothing when it does.
        let waits = self.outbox.on_the_way_bytes() > 0;
        self.pace_at = if waits { now + PACE_EVERY } else { Time::MAX };
    }

    /// Tells the neighbours what is due.
    pub(super) fn run_acks(&mut self) {
        let now = self.fx.now();
        if self.acks.deadline().is_none_or(|at| at > now) {
            return;
        }
        for (to, told) in self.acks.due(now, &around!(self)) {
            if let Some(n) = self.overlay.neighbours.get(&to) {
                let ack = Ack { entries: told.entries, congested: told.congested };
                self.fx.count("acknowledgements");
                self.fx.send_as(n.link, ack, Class::Announce);
            }
        }
    }
}
