//! A peer and its seeds: links, registration, refusals.

use core::time::Duration;

use super::Peer;
use crate::event::{Event, RefuseReason};
use crate::io::{LinkId, LinkInfo};
use crate::membership::{Membership, MembershipContext, MembershipEffect};
use crate::overlay::Overlay;
use crate::wire::{Accusation, Register, RegisterAck, RegisterReject, Report};

/// Shortest time between two refutations.
const REFUTE_INTERVAL: Duration = Duration::from_millis(200);

impl Peer {
    /// Calls the membership with its context, and passes on what other concerns have to do.
    pub(super) fn with_membership<R>(
        &mut self,
        call: impl FnOnce(&mut Membership, &mut MembershipContext<'_>) -> R,
    ) -> R {
        let result = call(
            &mut self.membership,
            &mut MembershipContext {
                now: self.fx.now(),
                config: &self.config,
                identity: &self.identity,
                fx: &mut self.fx,
                links: &mut self.links,
                rng: &mut self.rng.seeds,
                nonces: &mut self.failure.rng,
                degree: self.overlay.degree(),
                target: self.overlay.target,
            },
        );
        for effect in core::mem::take(&mut self.membership.effects) {
            match effect {
                MembershipEffect::Joined => self.with_overlay(Overlay::start_swapping),
                MembershipEffect::RecordChanged => self.schedule_record_update(),
                MembershipEffect::Restored => self.with_overlay(Overlay::schedule_swaps),
            }
        }
        result
    }

    /// Sends the record to every seed with a link, soon also to those without.
    pub(super) fn send_record_to_seeds(&mut self) {
        self.with_membership(Membership::send_record_to_seeds);
    }

    pub(super) fn review_registrations(&mut self) {
        self.with_membership(Membership::review_registrations);
    }

    pub(super) fn review_network_size(&mut self) {
        self.with_membership(Membership::review_network_size);
    }

    pub(super) fn on_register_ack(&mut self, link: LinkId, f: &RegisterAck) {
        if !self.with_membership(|m, cx| m.on_register_ack(cx, link, f)) {
            return;
        }
        if self.is_leaving() {
            return self.leave_if_acknowledged(f);
        }
        self.review_target();
        self.review_network_size();
        self.review_registrations();
    }

    /// Registers at a seed whose link is up, and reports what it may not have heard.
    pub(super) fn on_seed_up(&mut self, index: usize, link: LinkId, info: &LinkInfo) {
        if !self.with_membership(|m, cx| m.link_up(cx, index, link, info)) {
            return;
        }
        self.with_membership(Membership::review_address);
        let record = self.current_record();
        self.fx.send(link, Register { record });
        for report in self.failure.reports.values() {
            self.fx.send(link, Report { report: report.statement.clone() });
        }
    }

    pub(super) fn on_register_reject(&mut self, link: LinkId, f: &RegisterReject) {
        self.fx.counters.registrations_refused += 1;
        let (peer, reason) = (self.id(), f.reason);
        self.fx.event(Event::RequestRefused { peer, by_this_node: false, reason });
        let own = (self.incarnation(), self.membership.own.record.sequence);
        match reason {
            RefuseReason::DeclaredDead => {
                let me = self.id();
                let proof = f.certificate.as_ref().filter(|c| c.subject() == me);
                match proof.filter(|c| self.membership.registrations.is_valid(c)) {
                    Some(c) => self.begin_new_incarnation(c.incarnation()),
                    None => self.fx.counters.certificates_refused += 1,
                }
            }
            RefuseReason::DuplicateIdentity => {
                if let Some(record) = &f.record {
                    self.on_own_record(record);
                }
            }
            RefuseReason::LoopbackAddress => {
                self.with_membership(|m, cx| m.on_loopback_refused(cx, link));
            }
            // Another process has signed the record: a predecessor, or a copy.
            RefuseReason::Stale if f.record.as_ref().is_some_and(|r| self.on_own_record(r)) => {
                // The seed's record is older than the present one of this process.
                let version = self.membership.own.record.version();
                if f.record.as_ref().is_some_and(|r| r.version() < version) {
                    self.schedule_record_update();
                }
            }
            // Only a record that this peer itself signed proves a past: a statement of one seed
            // alone does not end an incarnation, nor does this process's present record.
            RefuseReason::Stale => match f.record.as_ref().filter(|r| r.id == self.id()) {
                Some(r)
                    if (r.incarnation, r.sequence) >= own && *r != self.membership.own.record =>
                {
                    let used = r.incarnation;
                    self.on_number_used(used);
                    self.begin_new_incarnation(used);
                }
                Some(_) => self.schedule_record_update(),
                None => self.fx.counters.refusals_unproved += 1,
            },
            RefuseReason::TargetTooHigh => {
                // Drawn with a nonce that is not, or no longer, this seed's.
                if let Some(slot) = self.membership.registrations.by_link(link) {
                    slot.nonce = Some(*f.nonce);
                }
                self.review_target();
                self.schedule_record_update();
            }
            _ => {}
        }
    }

    pub(super) fn on_accusation(&mut self, f: &Accusation) {
        let now = self.fx.now();
        if self.is_leaving() || now < self.membership.own.refute_after {
            return;
        }
        let valid = f.certificate.as_ref().is_some_and(|c| {
            c.subject() == self.id()
                && c.incarnation() == f.incarnation
                && self.membership.registrations.is_valid(c)
        });
        if !valid && f.incarnation != self.incarnation() {
            return;
        }
        self.membership.own.refute_after = now + REFUTE_INTERVAL;
        if valid {
            self.begin_new_incarnation(f.incarnation);
        } else {
            // There is no verdict yet: the answer is a new record at the seeds, besides the pong.
            self.fx.counters.accusations += 1;
            self.record_trouble();
            self.renew_record(|_| {});
            self.send_record_to_seeds();
            self.membership.registrations.redial_parked_by(now);
        }
    }
}
