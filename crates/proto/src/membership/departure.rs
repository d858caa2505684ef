//! The departure of this peer: its stages and deadlines, and what the seeds are told.

use core::time::Duration;

use super::{Membership, MembershipContext};
use crate::io::LinkId;
use crate::time::Time;
use crate::wire::{Leave, RegisterAck};

/// The part of the deadline reserved for telling the seeds: a quarter of it, at most this.
const SEEDS_TIME: Duration = Duration::from_secs(1);

/// The stage of a departure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DepartureStage {
    /// Messages are handed over.
    Draining,
    /// Neighbours have been sent Leave.
    Leaving,
    /// The seeds have been sent Leave.
    TellingSeeds,
}

/// The departure of a peer.
#[derive(Debug)]
pub(crate) struct Departure {
    pub(crate) stage: DepartureStage,
    /// The end of the whole departure; drain and links have to end a little earlier.
    pub(crate) by: Time,
    /// The end of the drain and of the links to neighbours.
    pub(crate) leave_links_by: Time,
    /// When to look for progress again.
    pub(crate) review_at: Time,
    /// When to ping the neighbours whose links are still up.
    pub(crate) ping_at: Time,
}

impl Departure {
    pub(crate) fn new(now: Time, within: Duration) -> Self {
        let mut departure = Departure {
            stage: DepartureStage::Draining,
            by: Time::MAX,
            leave_links_by: Time::MAX,
            review_at: now,
            ping_at: now,
        };
        departure.bound(now, within);
        departure
    }

    /// Applies a deadline; an earlier one replaces a later one.
    pub(crate) fn bound(&mut self, now: Time, within: Duration) {
        self.by = self.by.min(now + within);
        self.leave_links_by =
            self.leave_links_by.min(now + (within - (within / 4).min(SEEDS_TIME)));
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.stage == DepartureStage::Draining
    }

    /// When to continue.
    pub(crate) fn deadline(&self) -> Time {
        match self.stage {
            DepartureStage::Draining => self.review_at.min(self.leave_links_by),
            DepartureStage::Leaving => self.review_at.min(self.ping_at).min(self.leave_links_by),
            DepartureStage::TellingSeeds => self.by,
        }
    }
}

impl Membership {
    /// Sends Leave to the seeds. Returns `None` while acknowledgements are awaited; otherwise the
    /// departure ends now, and the value says whether it counts as acknowledged: that of a peer
    /// without seeds does.
    pub(crate) fn send_leave(&mut self, cx: &mut MembershipContext<'_>) -> Option<bool> {
        let departure = self.own.departure.as_mut()?;
        departure.stage = DepartureStage::TellingSeeds;
        // Time left from the other stages is not added here.
        departure.by = departure.by.min(cx.now + SEEDS_TIME);
        let ends = cx.now >= departure.by;
        let seeds: Vec<LinkId> = self.registrations.links().collect();
        for link in &seeds {
            cx.fx.send(*link, Leave { record: self.own.record.clone() });
        }
        for slot in &mut self.registrations.slots {
            slot.acknowledged = None;
        }
        self.registrations.redial_parked_by(cx.now);
        let no_seed = seeds.is_empty() && !self.registrations.slots.iter().any(|s| s.parked);
        (no_seed || ends).then_some(self.registrations.slots.is_empty())
    }

    /// Handles an acknowledgement. Returns `None` while others are awaited; otherwise the departure
    /// ends now, and the value says whether a majority of the seeds has acknowledged Leave.
    pub(crate) fn leave_acknowledged(&self, f: &RegisterAck) -> Option<bool> {
        let departure = self.own.departure.as_ref()?;
        let is_leave =
            f.sequence == self.own.record.sequence && f.incarnation == self.own.record.incarnation;
        // A seed that holds the registration without a link gets the record on a new link.
        let slots = self.registrations.slots.iter();
        let linked = slots.filter(|s| s.link.is_some() || s.parked).count();
        let (count, quorum) = (self.registrations.count(), self.registrations.quorum());
        let tells_seeds = departure.stage == DepartureStage::TellingSeeds;
        (tells_seeds && is_leave && count >= quorum.min(linked)).then_some(count >= quorum)
    }
}
