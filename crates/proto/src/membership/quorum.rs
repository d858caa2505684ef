//! Registrations at a majority of the seeds: record, acknowledgement, lease.

use core::time::Duration;

use super::{Membership, MembershipContext, MembershipEffect, QuorumChange};
use crate::event::Event;
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::snapshot::PeerState;
use crate::wire::{Frame, Register, RegisterAck};

/// How long an update of the record waits for a seed that has to be dialled for it.
const PARKED_UPDATE_DELAY: Duration = Duration::from_secs(20);

impl Membership {
    /// Sends the record to every seed with a link.
    pub(crate) fn send_record_to_seeds(&mut self, cx: &mut MembershipContext<'_>) {
        self.own.update_at = None;
        if self.own.is_leaving() {
            return;
        }
        let record = self.own.current(cx.identity, cx.degree, cx.target);
        let links: Vec<_> = self.registrations.links().collect();
        for link in links {
            cx.fx.send(link, Register { record: record.clone() });
        }
        let by = cx.now + cx.rng.scaled(PARKED_UPDATE_DELAY, 0.5, 1.0);
        self.registrations.redial_parked_by(by);
    }

    /// Refreshes the lease at the seeds.
    pub(crate) fn refresh_lease(&mut self, cx: &mut MembershipContext<'_>) {
        self.own.refresh_at = cx.now + cx.rng.scaled(cx.config.lease_refresh(), 0.9, 1.0);
        if !self.own.is_leaving() {
            self.own.renew(cx.identity, cx.degree, cx.target, |_| {});
            self.send_record_to_seeds(cx);
            self.registrations.redial_parked_by(cx.now);
        }
    }

    /// Handles the acknowledgement of a registration. Returns whether it is one of this record.
    pub(crate) fn on_register_ack(
        &mut self,
        cx: &mut MembershipContext<'_>,
        link: LinkId,
        f: &RegisterAck,
    ) -> bool {
        let Some(index) = self.registrations.index_of_link(link) else { return false };
        let (incarnation, now) = (self.own.record.incarnation, cx.now);
        let leaves = self.own.is_leaving();
        if leaves && f.sequence != self.own.record.sequence {
            // It acknowledges a record before Leave.
            return false;
        }
        if let Some(slot) = self.registrations.slots.get_mut(index) {
            (slot.alive, slot.participating) = (f.alive, f.participating);
            slot.synced = f.synced;
            slot.nonce = Some(*f.nonce);
            slot.failures = 0;
            if f.incarnation == incarnation {
                let first = slot.acknowledged.replace((f.incarnation, f.sequence)).is_none();
                slot.problem = None;
                slot.acknowledged_at = now;
                slot.overdue = false;
                if first && !leaves {
                    // Also before there is a quorum: the lease runs from now on.
                    let refresh_at = now + cx.config.lease_refresh();
                    self.own.refresh_at = self.own.refresh_at.min(refresh_at);
                    let seed = slot.address.host_port.clone();
                    let seed_id = slot.id.unwrap_or(PeerId::from_bytes([0; 32]));
                    cx.fx.event(Event::Registered { seed, seed_id, known: f.alive });
                }
            }
        }
        if !leaves {
            self.registrations.vouch(index, &f.seeds);
        }
        true
    }

    /// Compares the registrations with the quorum, after one of them has changed.
    pub(crate) fn review_registrations(&mut self, cx: &mut MembershipContext<'_>) {
        if self.own.is_leaving() {
            // Now the seeds acknowledge Leave.
            return;
        }
        let registrations = u32::try_from(self.registrations.count()).unwrap_or(u32::MAX);
        let quorum = u32::try_from(self.registrations.quorum()).unwrap_or(u32::MAX);
        let now = cx.now;
        let quorum_now = self.registrations.review(now);
        self.request_quorum_lists(cx);
        match quorum_now {
            QuorumChange::Unchanged => {}
            QuorumChange::Reached => {
                self.set_state(PeerState::Joined);
                cx.fx.event(Event::Joined { registrations, quorum });
                self.effects.push(MembershipEffect::Joined);
            }
            QuorumChange::Lost => {
                self.set_state(PeerState::Degraded);
                cx.fx.event(Event::Degraded { registrations, quorum });
            }
            QuorumChange::Regained => {
                self.set_state(PeerState::Joined);
                cx.fx.event(Event::Restored { registrations });
                self.effects.push(MembershipEffect::Restored);
            }
        }
    }

    /// Requests the lists that this peer needs before it reports that it has joined. They are
    /// requested after a quorum has acknowledged: of two peers that join at the same time, at least
    /// one then finds the other in the list of the seed that they share.
    pub(super) fn request_quorum_lists(&mut self, cx: &mut MembershipContext<'_>) {
        for link in self.registrations.take_due_lists(cx.now) {
            cx.fx.counters.lists_asked += 1;
            cx.fx.send(link, Frame::GetPeerList);
        }
    }

    fn set_state(&mut self, state: PeerState) {
        if !self.own.is_leaving() {
            self.own.state = state;
        }
    }
}
