//! Another process with this peer's identity: a copied data directory, a cloned machine.
//!
//! Every record carries the number of the process that signed it, which is larger for one that
//! started later, and the number of another process with the same identity that the signer knows of
//! (its *other process*). Only the key itself can sign either.
//!
//! - A record of another process proves nothing: it may be of a predecessor that has ended and that
//!   registries remember. So a peer continues after an ordinary restart, also after `kill -9` while
//!   the old links linger.
//! - A record of another process that names *this* process as the other one proves that both run:
//!   it was signed after this process had started. Of the two, the one that started later ends.
//!
//! A process whose registry entry was taken over by another one claims it back with the next
//! incarnation, and names the other one. If the other has ended, no answer comes. If it runs, it
//! reads its own number: the later one announces that once (its last record names the earlier one)
//! and ends; the earlier one claims the registry entry once, and continues.

use core::time::Duration;

use super::Peer;
use crate::event::{CloseReason, Event};
use crate::io::{LinkId, StoreOp};
use crate::overlay::Overlay;
use crate::record::SignedRecord;
use crate::wire::Register;

/// Shortest time between two claims: this bounds the cost of a copy that does not end, such as a
/// thief's.
const CLAIM_INTERVAL: Duration = Duration::from_secs(1);

impl Peer {
    /// Handles a record of this peer's own identity. Returns whether another process signed it.
    pub(super) fn on_own_record(&mut self, record: &SignedRecord) -> bool {
        let own = self.membership.own.record.process;
        if record.id != self.id() || record.process == own {
            return false;
        }
        if self.is_leaving() {
            return true;
        }
        if record.other_process == Some(own) {
            self.on_concurrent_process(record);
        }
        if !self.is_leaving() && record.version() >= self.membership.own.record.version() {
            self.claim_identity(record);
        }
        true
    }

    /// Handles the proof that another process with this identity runs.
    fn on_concurrent_process(&mut self, record: &SignedRecord) {
        let stops = record.process < self.membership.own.record.process;
        if stops {
            self.stop_as_duplicate(record.process);
        }
        if self.membership.own.reported_process == Some(record.process) {
            return;
        }
        self.membership.own.reported_process = Some(record.process);
        self.fx.counters.duplicate_identities += 1;
        let (id, name) = (record.id, record.name.clone());
        let address = record.addresses.first().copied();
        // After the last record, because a driver ends with this event.
        self.fx.event(Event::DuplicateIdentity { id, name, address, stops });
    }

    /// Claims the registry entry back from another process.
    fn claim_identity(&mut self, record: &SignedRecord) {
        let now = self.fx.now();
        self.on_number_used(record.incarnation);
        if now < self.membership.own.claim_after {
            // The seeds refuse the record of this process until then, and send the other record
            // again.
            let at = self.membership.own.claim_after;
            self.membership.own.update_at =
                Some(self.membership.own.update_at.map_or(at, |t| t.min(at)));
            return;
        }
        self.membership.own.claim_after = now + CLAIM_INTERVAL;
        self.membership.own.other_process = Some(record.process);
        let incarnation = record.incarnation.saturating_add(1).max(self.incarnation());
        if incarnation > self.incarnation() {
            self.fx.store(vec![StoreOp::PutIncarnation(incarnation)]);
        }
        self.renew_record(|r| {
            if r.incarnation < incarnation {
                (r.incarnation, r.sequence) = (incarnation, 0);
            }
        });
        self.fx.counters.identity_claims += 1;
        self.send_record_to_seeds();
        self.membership.registrations.redial_parked_by(now);
        // Other peers may have ended their edges for the record of the other process.
        self.with_overlay(Overlay::schedule_swaps);
    }

    /// Ends without Leave, which would be one of the other process as well: its links and its
    /// registry entry stay.
    fn stop_as_duplicate(&mut self, other_process: u64) {
        self.membership.own.other_process = Some(other_process);
        self.renew_record(|_| {});
        let record = self.membership.own.record.clone();
        let seeds: Vec<LinkId> = self.membership.registrations.links().collect();
        for link in seeds {
            self.fx.send(link, Register { record: record.clone() });
        }
        if self.membership.own.departure.is_some() {
            // The handover ends here: the application learns which messages are not confirmed.
            self.with_broadcast(|b, cx| b.report_unconfirmed(cx));
        }
        self.with_failure(|f, _| f.suspects.clear());
        self.end_participation(CloseReason::Duplicate);
    }
}
