//! Registrations.

use minicbor::bytes::ByteArray;

use super::writes::Acknowledgement;
use super::{EntryOutcome, EntryState, Registry};
use crate::event::{CloseReason, Event, RefuseReason};
use crate::identity::PeerId;
use crate::io::{LinkId, StoreTicket};
use crate::limits::PARKING_THRESHOLD;
use crate::overlay::target::{max_acceptable_target, rank};
use crate::record::{Presence, SignedRecord};
use crate::seed::{SeedContext, SeedLink, SeedLinks, count};
use crate::wire::{RegisterAck, RegisterReject, SeedName};

impl Registry {
    /// Handles the record that a peer has sent. Returns the answer to send after the record is
    /// merged; `None` if it is refused.
    pub(crate) fn accept_record(
        &mut self,
        cx: &mut SeedContext<'_>,
        link: LinkId,
        remote: PeerId,
        record: &SignedRecord,
    ) -> Option<Acknowledgement> {
        let refusal = if record.id == remote {
            self.show_record_to_other_processes(cx, link, record);
            self.refusal(cx.links, link, record)
        } else {
            Some(RefuseReason::WrongIdentity)
        };
        if let Some(reason) = refusal {
            self.refuse_registration(cx, link, remote, reason);
            return None;
        }
        cx.links.mark_purpose(link);
        self.table.forget_expiry(&remote);
        self.set_registrant_link(cx, link, record);
        let (incarnation, sequence) = (record.incarnation, record.sequence);
        Some(Acknowledgement { link, incarnation, sequence })
    }

    /// Why a record is refused, if it is.
    fn refusal(
        &self,
        links: &SeedLinks,
        link: LinkId,
        record: &SignedRecord,
    ) -> Option<RefuseReason> {
        let (remote, is_alive) = (record.id, record.presence == Presence::Alive);
        if is_alive && record.is_on_loopback() && !links.is_on_this_host(link) {
            return Some(RefuseReason::LoopbackAddress);
        }
        let rank = rank(&remote, &self.nonce);
        let size = count(self.table.alive_count());
        // Before the seeds agreed on a nonce, peers may have drawn with another seed's.
        let too_high = record.target > max_acceptable_target(rank, size);
        // A leaving peer needs no edges, and must be accepted whatever its target was in a larger
        // network.
        if self.synced && too_high && is_alive {
            return Some(RefuseReason::TargetTooHigh);
        }
        let known = self.table.get(&remote)?;
        // An ended incarnation is not resumed, and a new one takes the next number.
        let resumes = is_alive && known.incarnation() >= record.incarnation;
        match known.state() {
            EntryState::Dead if resumes => return Some(RefuseReason::DeclaredDead),
            EntryState::Left if resumes => return Some(RefuseReason::Stale),
            _ => {}
        }
        // An earlier record on a new link: the peer has lost its memory, and would number its
        // messages again in an incarnation that others have seen.
        let registered_here = self.registrants.get(&remote) == Some(link);
        let version = |r: &SignedRecord| (r.incarnation, r.sequence);
        let earlier = version(record) < version(&known.record);
        let is_stale =
            known.record.incarnation > record.incarnation || (earlier && !registered_here);
        is_stale.then_some(RefuseReason::Stale)
    }

    /// Answers a registration whose record was merged, at once or when it is durable.
    pub(crate) fn answer(
        &mut self,
        cx: &mut SeedContext<'_>,
        answer: Acknowledgement,
        remote: PeerId,
        outcome: EntryOutcome,
    ) {
        let write = match outcome {
            EntryOutcome::Full => {
                let reason = RefuseReason::RegistryFull;
                return self.refuse_registration(cx, answer.link, remote, reason);
            }
            EntryOutcome::Stored(ticket) => Some(ticket),
            EntryOutcome::NoWrite => {
                if self.table.touch(&remote, cx.now) {
                    self.pending_updates.joined.insert(remote);
                }
                // This record itself need not be stored, but an earlier one that it builds on may
                // not be durable yet.
                self.writes.last(&remote)
            }
        };
        match write {
            Some(ticket) => self.writes.acknowledge_after(ticket, answer),
            None => self.acknowledge(cx, &answer),
        }
    }

    fn refuse_registration(
        &self,
        cx: &mut SeedContext<'_>,
        link: LinkId,
        id: PeerId,
        reason: RefuseReason,
    ) {
        cx.fx.counters.registrations_refused += 1;
        cx.fx.event(Event::RegistrationRefused { id, reason });
        let known = self.table.get(&id);
        let refused = RegisterReject {
            reason,
            record: known.map(|e| e.record.clone()),
            certificate: known.and_then(|e| e.certificate.clone()),
            nonce: ByteArray::from(self.nonce),
        };
        cx.fx.send(link, refused);
    }

    /// Sends the acknowledgements that waited for a write.
    pub(crate) fn on_stored(&mut self, cx: &mut SeedContext<'_>, ticket: StoreTicket) {
        for waiting in self.writes.on_stored(ticket) {
            self.acknowledge(cx, &waiting);
        }
    }

    pub(crate) fn on_store_failed(&mut self, ticket: StoreTicket) {
        self.writes.on_failed(ticket);
    }

    fn acknowledge(&mut self, cx: &mut SeedContext<'_>, a: &Acknowledgement) {
        let Some(link) = cx.links.open.get_mut(&a.link) else { return };
        link.acknowledged = true;
        cx.fx.counters.registrations_acknowledged += 1;
        let mut seeds: Vec<SeedName> = self
            .others
            .iter()
            .filter_map(|o| Some(SeedName { host_port: o.address.host_port.clone(), id: o.id? }))
            .collect();
        if let Some(own) = &self.own_address {
            seeds.push(SeedName { host_port: own.clone(), id: self.id });
        }
        let (alive, participating) = self.counts_for(cx.links, a.link);
        let registered = RegisterAck {
            incarnation: a.incarnation,
            sequence: a.sequence,
            alive,
            participating,
            nonce: ByteArray::from(self.nonce),
            seeds,
            synced: self.synced,
        };
        cx.fx.send(a.link, registered);
        self.park(cx, a.link);
    }

    /// With many links, closes the link of a registration after both acknowledgement and list were
    /// sent.
    pub(super) fn park(&mut self, cx: &mut SeedContext<'_>, link: LinkId) {
        let done = |l: &SeedLink| l.acknowledged && l.list_sent.is_some();
        if cx.links.open.get(&link).is_some_and(done) && cx.links.open.len() > PARKING_THRESHOLD {
            cx.fx.counters.links_parked += 1;
            self.close(cx, link, CloseReason::Done);
        }
    }
}
