//! What a peer learns about the members, and what follows for its other concerns.

use super::Peer;
use crate::event::{CloseReason, Event};
use crate::failure::Certificate;
use crate::io::LinkId;
use crate::limits::{FULL_LIST_LIMIT, IDLE_MEMBERS, MAX_SEARCH_MEMBERS, MIN_SEARCH_MEMBERS};
use crate::membership::MergeOutcome;
use crate::record::{Presence, SignedRecord};
use crate::time::Time;
use crate::wire::{MembershipUpdate, PeerList};

impl Peer {
    pub(super) fn on_peer_list(&mut self, link: LinkId, f: &PeerList) {
        let now = self.fx.now();
        for record in &f.records {
            self.merge_record(record);
        }
        let quorum_at = self.membership.registrations.quorum_at();
        let Some(slot) = self.membership.registrations.by_link(link) else { return };
        (slot.alive, slot.participating) = (f.alive, f.participating);
        slot.synced = f.synced;
        if f.last {
            slot.on_list_complete(quorum_at);
        }
        self.remove_unlisted_members();
        self.review_members();
        self.review_target();
        self.review_network_size();
        self.overlay.fill.look_again(now);
        self.review_registrations();
    }

    /// Removes members that no seed lists, after whole lists from a quorum have arrived: this peer
    /// missed the notice of their removal.
    fn remove_unlisted_members(&mut self) {
        let whole = self.membership.registrations.slots.iter().filter(|s| {
            s.list_complete
                && s.synced
                && usize::try_from(s.alive).is_ok_and(|n| n <= FULL_LIST_LIMIT)
        });
        let asked: Vec<Time> = whole.filter_map(|s| s.list_requested).collect();
        if asked.len() < self.membership.registrations.quorum() {
            return;
        }
        let Some(since) = asked.into_iter().min() else { return };
        for slot in &mut self.membership.registrations.slots {
            slot.list_complete = false;
        }
        let neighbours = &self.overlay.neighbours;
        let failure = &self.failure;
        let gone = self
            .membership
            .members
            .remove_unconfirmed(since, |id| neighbours.contains_key(id) || failure.is_suspect(id));
        for record in gone {
            self.fx.event(Event::MemberExpired { id: record.id, name: record.name.clone() });
        }
    }

    pub(super) fn on_membership_update(&mut self, link: LinkId, f: &MembershipUpdate) {
        if let Some(slot) = self.membership.registrations.by_link(link) {
            (slot.alive, slot.participating) = (f.alive, f.participating);
        }
        for record in &f.joined {
            self.merge_record(record);
        }
        for record in &f.left {
            // Only the peer itself can sign that it leaves.
            if record.presence == Presence::Left {
                self.merge_departure(record);
            } else {
                self.fx.counters.leaves_unproved += 1;
            }
        }
        for certificate in &f.dead {
            self.merge_certificate(certificate);
        }
        self.review_members();
        self.review_target();
        self.review_network_size();
    }

    /// In a large network, retains a sample of the members only.
    pub(super) fn review_members(&mut self) {
        if !self.membership.is_large() {
            return;
        }
        let some = match usize::from(self.overlay.deficit()) {
            0 => IDLE_MEMBERS,
            missing => (missing * 8).clamp(MIN_SEARCH_MEMBERS, MAX_SEARCH_MEMBERS),
        };
        if self.membership.members.alive_count() <= some {
            return;
        }
        let neighbours = &self.overlay.neighbours;
        let requests = &self.overlay.requests;
        let keep = neighbours.keys().chain(self.failure.suspects.keys());
        let keep = keep.chain(requests.keys()).chain(self.failure.reports.keys());
        self.membership.members.retain_sample(some, keep, &mut self.rng.overlay);
    }

    /// Merges the record of a peer from any source.
    pub(super) fn merge_record(&mut self, record: &SignedRecord) -> MergeOutcome {
        if record.id == self.id() {
            self.on_own_record(record);
            return MergeOutcome::Unchanged;
        }
        if record.presence == Presence::Left {
            self.merge_departure(record);
            return MergeOutcome::Unchanged;
        }
        let now = self.fx.now();
        if self.membership.members.is_full_for(&record.id) {
            self.fx.counters.members_forgotten += 1;
        }
        let known_process = self.membership.members.get(&record.id).map(|m| m.record.process);
        let learned = self.membership.members.merge_record(record, now);
        // A restarted process has what is on its disk, which may be nothing.
        if learned == MergeOutcome::Newer && known_process != Some(record.process) {
            self.with_broadcast(|b, _| b.forget_progress(&record.id));
        }
        self.with_membership(|m, cx| m.withdraw_loopback(cx, &record.addresses));
        if matches!(learned, MergeOutcome::New | MergeOutcome::Newer) {
            self.with_broadcast(|b, _| b.review_receipts_at_once(now));
        }
        match learned {
            MergeOutcome::New => {
                self.fx.event(Event::MemberJoined {
                    id: record.id,
                    name: record.name.clone(),
                    address: record.addresses.first().copied(),
                    incarnation: record.incarnation,
                });
                self.overlay.fill.look_soon(now);
            }
            MergeOutcome::Newer => {
                // A process that refuted its death is still the other end of the link. A later
                // process has to send a PeerRequest to become a neighbour.
                if let Some(n) = self.overlay.neighbours.get_mut(&record.id)
                    && n.record.process == record.process
                {
                    n.record = record.clone();
                }
            }
            MergeOutcome::Unchanged | MergeOutcome::Dead => {}
        }
        learned
    }

    pub(super) fn merge_departure(&mut self, record: &SignedRecord) {
        if record.id == self.id() || !self.membership.members.merge_departure(record) {
            return;
        }
        let id = record.id;
        self.fx.event(Event::MemberLeft { id, name: record.name.clone() });
        self.remove_ended_member(id, record.incarnation, CloseReason::Done);
        self.review_target();
    }

    /// Handles a certificate: if a majority of the seeds has signed it, its subject is dead.
    pub(super) fn merge_certificate(&mut self, certificate: &Certificate) {
        if !self.membership.registrations.is_valid(certificate) {
            self.fx.counters.certificates_refused += 1;
            return;
        }
        let (id, incarnation) = (certificate.subject(), certificate.incarnation());
        if id == self.id() {
            self.begin_new_incarnation(incarnation);
            return;
        }
        let name = self.membership.members.record(&id).map(|r| r.name.clone());
        if !self.membership.members.merge_certificate(certificate) {
            return;
        }
        self.fx.event(Event::MemberDead {
            id,
            name,
            incarnation,
            witnesses: certificate.witnesses(),
            seeds: certificate.seeds(),
        });
        self.remove_ended_member(id, incarnation, CloseReason::DeclaredDead);
    }
}
