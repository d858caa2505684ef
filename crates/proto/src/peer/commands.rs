//! What the application asks of a peer.

use core::time::Duration;

use super::Peer;
use crate::event::{CloseReason, Event, LinkDown};
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::record::Presence;
use crate::snapshot::PeerState;
use crate::time::Time;
use crate::wire::{Leave, Registered};

/// How long a peer that leaves waits for its seeds to acknowledge.
const LEAVE_WAIT: Duration = Duration::from_secs(1);

impl Peer {
    /// Says goodbye to neighbours and seeds. [`Event::Left`] follows when a quorum of the seeds has
    /// acknowledged, or after a second; then nothing comes any more.
    pub fn leave(&mut self, now: Time) {
        self.begin(now);
        if self.is_leaving() {
            return;
        }
        self.own.state = PeerState::Leaving;
        self.own.leave_deadline = Some(now + LEAVE_WAIT);
        let neighbours: Vec<(PeerId, LinkId)> =
            self.overlay.neighbours.iter().map(|(id, n)| (*id, n.link)).collect();
        self.renew_record(|r| {
            r.presence = Presence::Left;
            r.degree = 0;
        });
        let record = self.own.record.clone();
        for (id, link) in neighbours {
            self.fx.send(link, Leave { record: record.clone() });
            self.close(link, CloseReason::Leaving);
            self.drop_neighbour(id, LinkDown::Local(CloseReason::Leaving));
        }
        self.suspects.clear();
        let seeds: Vec<LinkId> = self.registrations.links().collect();
        for link in &seeds {
            self.fx.send(*link, Leave { record: record.clone() });
        }
        for slot in &mut self.registrations.slots {
            slot.acknowledged = None;
        }
        self.registrations.unpark(now);
        if seeds.is_empty() && !self.registrations.slots.iter().any(|s| s.parked) {
            self.finish_leave();
        }
    }

    /// A seed acknowledged something; if it was the goodbye and a quorum has, this peer is gone.
    pub(super) fn leave_if_acknowledged(&mut self, f: &Registered) {
        let goodbye = self.own.record.presence == Presence::Left
            && f.sequence == self.own.record.sequence
            && f.incarnation == self.incarnation();
        // A seed that holds the registration without a link is told on a new one.
        let slots = self.registrations.slots.iter();
        let linked = slots.filter(|s| s.link.is_some() || s.parked).count();
        let needed = self.registrations.quorum().min(linked);
        if goodbye && self.own.state == PeerState::Leaving && self.registrations.count() >= needed {
            self.finish_leave();
        }
    }

    pub(super) fn check_leave(&mut self) {
        if self.own.leave_deadline.is_some_and(|at| at <= self.fx.now()) {
            self.finish_leave();
        }
    }

    fn finish_leave(&mut self) {
        if self.own.has_left() {
            return;
        }
        self.own.state = PeerState::Left;
        self.own.leave_deadline = None;
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.close(link, CloseReason::Leaving);
        }
        for slot in &mut self.registrations.slots {
            slot.link = None;
        }
        self.fx.event(Event::Left);
    }

    /// A neighbour, or somebody who passed through, says goodbye.
    pub(super) fn on_leave(&mut self, remote: PeerId, record: &crate::record::SignedRecord) {
        if record.id == remote && record.presence == Presence::Left {
            self.learn_left(record);
        }
    }
}
