//! Registrations.

use core::time::Duration;
use std::collections::BTreeMap;

use minicbor::bytes::ByteArray;

use super::Seed;
use super::links::SeedLink;
use crate::event::{Event, RefuseReason};
use crate::failure::Case;
use crate::identity::PeerId;
use crate::io::{LinkId, StoreOp, StoreTicket};
use crate::limits::{FULL_LIST_LIMIT, LIST_SAMPLE, MAX_RECORDS_PER_FRAME, PARKING_THRESHOLD};
use crate::overlay::target::{max_acceptable_target, rank};
use crate::record::{Presence, SignedRecord};
use crate::registry::{Entry, EntryChange, EntryState};
use crate::wire::{PeerList, RegisterAck, RegisterReject, SeedName};

/// Shortest time between two lists on one link.
const MIN_LIST_INTERVAL: Duration = Duration::from_millis(50);

/// An acknowledgement to send when the registration is durable.
#[derive(Debug)]
pub(super) struct Acknowledgement {
    link: LinkId,
    incarnation: u64,
    sequence: u64,
}

/// A write of an entry that is not durable yet.
#[derive(Debug)]
pub(super) struct PendingWrite {
    id: PeerId,
    acknowledge: Vec<Acknowledgement>,
}

impl Seed {
    pub(super) fn on_register(&mut self, link: LinkId, remote: PeerId, record: SignedRecord) {
        if record.id != remote {
            return self.refuse_registration(link, remote, RefuseReason::WrongIdentity);
        }
        self.show_record_to_other_processes(link, &record);
        let elsewhere = !self.is_on_this_host(link);
        if elsewhere && record.is_on_loopback() && record.presence == Presence::Alive {
            return self.refuse_registration(link, remote, RefuseReason::LoopbackAddress);
        }
        let rank = rank(&remote, &self.nonce);
        let size = u32::try_from(self.table.alive_count()).unwrap_or(u32::MAX);
        // Before the seeds agreed on a nonce, peers may have drawn with another seed's.
        let too_high = record.target > max_acceptable_target(rank, size);
        // A leaving peer needs no edges, and must be accepted whatever its target was in a larger
        // network.
        if self.synced && too_high && record.presence == Presence::Alive {
            return self.refuse_registration(link, remote, RefuseReason::TargetTooHigh);
        }
        if let Some(known) = self.table.get(&remote) {
            // An ended incarnation is not resumed, and a new one takes the next number.
            let over = known.state() != EntryState::Alive
                && known.incarnation() >= record.incarnation
                && record.presence == Presence::Alive;
            if over {
                let reason = match known.state() {
                    EntryState::Dead => RefuseReason::DeclaredDead,
                    _ => RefuseReason::Stale,
                };
                return self.refuse_registration(link, remote, reason);
            }
            // An earlier record on a new link: the peer has lost its memory, and would number its
            // messages again in an incarnation that others have seen.
            let registered_here = self.registrants.get(&remote) == Some(link);
            let version = |r: &SignedRecord| (r.incarnation, r.sequence);
            let earlier = version(&record) < version(&known.record);
            if known.record.incarnation > record.incarnation || (earlier && !registered_here) {
                return self.refuse_registration(link, remote, RefuseReason::Stale);
            }
        }
        self.mark_purpose(link);
        self.table.forget_expiry(&remote);
        self.set_registrant_link(link, &record);
        let (incarnation, sequence) = (record.incarnation, record.sequence);
        let acknowledgement = Acknowledgement { link, incarnation, sequence };
        match self.merge_entry(Entry::new(record)) {
            EntryOutcome::Full => {
                self.refuse_registration(link, remote, RefuseReason::RegistryFull);
            }
            EntryOutcome::Stored(ticket) => self.acknowledge_after(ticket, acknowledgement),
            EntryOutcome::NoWrite => {
                let now = self.fx.now();
                if self.table.touch(&remote, now) {
                    self.pending_updates.joined.insert(remote);
                }
                // This record itself need not be stored, but an earlier one that it builds on may
                // not be durable yet.
                match self.last_writes.get(&remote).copied() {
                    Some(ticket) => self.acknowledge_after(ticket, acknowledgement),
                    None => self.acknowledge(&acknowledgement),
                }
            }
        }
    }

    fn refuse_registration(&mut self, link: LinkId, id: PeerId, reason: RefuseReason) {
        self.fx.counters.registrations_refused += 1;
        self.fx.event(Event::RegistrationRefused { id, reason });
        let known = self.table.get(&id);
        let refused = RegisterReject {
            reason,
            record: known.map(|e| e.record.clone()),
            certificate: known.and_then(|e| e.certificate.clone()),
            nonce: ByteArray::from(self.nonce),
        };
        self.fx.send(link, refused);
    }

    pub(super) fn on_stored(&mut self, ticket: StoreTicket) {
        let Some(stored) = self.pending_writes.remove(&ticket) else { return };
        if self.last_writes.get(&stored.id) == Some(&ticket) {
            self.last_writes.remove(&stored.id);
        }
        for a in stored.acknowledge {
            self.acknowledge(&a);
        }
    }

    /// Handles a failed write. No acknowledgement is sent, so the peer registers again, and the
    /// entry is written then.
    pub(super) fn on_store_failed(&mut self, ticket: StoreTicket) {
        let Some(stored) = self.pending_writes.remove(&ticket) else { return };
        if self.last_writes.get(&stored.id) == Some(&ticket) {
            self.last_writes.remove(&stored.id);
            self.failed_writes.insert(stored.id);
        }
    }

    fn acknowledge_after(&mut self, ticket: StoreTicket, a: Acknowledgement) {
        if let Some(stored) = self.pending_writes.get_mut(&ticket) {
            stored.acknowledge.push(a);
        }
    }

    fn acknowledge(&mut self, a: &Acknowledgement) {
        if !self.links.contains_key(&a.link) {
            return;
        }
        self.fx.counters.registrations_acknowledged += 1;
        let mut seeds: Vec<SeedName> = self
            .others
            .iter()
            .filter_map(|o| {
                Some(SeedName { host_port: o.address.host_port.clone(), id: o.proved()? })
            })
            .collect();
        if let Some(own) = &self.own_address {
            seeds.push(SeedName { host_port: own.clone(), id: self.id() });
        }
        let (alive, participating) = self.counts_for(a.link);
        let registered = RegisterAck {
            incarnation: a.incarnation,
            sequence: a.sequence,
            alive,
            participating,
            nonce: ByteArray::from(self.nonce),
            seeds,
            synced: self.synced,
        };
        self.fx.send(a.link, registered);
        if let Some(l) = self.links.get_mut(&a.link) {
            l.acknowledged = true;
        }
        self.park(a.link);
    }

    /// With many links, closes the link of a registration after both acknowledgement and list were
    /// sent.
    fn park(&mut self, link: LinkId) {
        let done = |l: &SeedLink| l.acknowledged && l.list_sent.is_some();
        if self.links.get(&link).is_some_and(done) && self.links.len() > PARKING_THRESHOLD {
            self.fx.counters.links_parked += 1;
            self.close(link, crate::CloseReason::Done);
        }
    }

    pub(super) fn alive_count(&self) -> u32 {
        super::count(self.table.alive_count())
    }

    /// The numbers of live and of participating peers that a seed may send on a link.
    pub(super) fn counts_for(&self, link: LinkId) -> (u32, u32) {
        let (alive, participating) = (self.table.alive_count(), self.table.participating_count());
        let (hidden_alive, hidden) =
            if self.is_on_this_host(link) { (0, 0) } else { self.table.on_loopback() };
        (super::count(alive - hidden_alive), super::count(participating - hidden))
    }

    /// Whether the other end of a link is on this host: the link uses the loopback interface.
    pub(super) fn is_on_this_host(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|l| l.on_loopback)
    }

    /// Merges an entry, from its owner or from another seed, and handles the change.
    pub(super) fn merge_entry(&mut self, entry: Entry) -> EntryOutcome {
        let now = self.fx.now();
        let id = entry.id();
        let before = self.table.get(&id).map(|e| e.record.clone());
        let change = self.table.merge(entry, now);
        let Some(entry) = self.table.get(&id).cloned() else {
            return if change == EntryChange::Full {
                EntryOutcome::Full
            } else {
                EntryOutcome::NoWrite
            };
        };
        let is_over = |c: &Case| entry.incarnation() > c.incarnation || change == EntryChange::Left;
        if self.cases.get(&id).is_some_and(is_over) {
            self.close_case(&id);
        }
        let is_write_missing = self.failed_writes.contains(&id);
        match change {
            EntryChange::Unchanged if is_write_missing => {}
            EntryChange::Unchanged => return EntryOutcome::NoWrite,
            EntryChange::Full => return EntryOutcome::Full,
            EntryChange::New | EntryChange::Back => {
                self.pending_updates.joined.insert(id);
                let r = &entry.record;
                self.fx.event(Event::PeerRegistered {
                    id,
                    name: r.name.clone(),
                    address: r.addresses.first().copied(),
                    incarnation: r.incarnation,
                    updated: change == EntryChange::Back,
                });
            }
            EntryChange::Newer => {}
            EntryChange::Left => {
                self.pending_updates.left.insert(id);
                let name = entry.record.name.clone();
                self.fx.event(Event::PeerLeft { id, name });
            }
            EntryChange::Died => self.on_death(&entry),
        }
        self.pending_updates.entries.insert(id);
        if change != EntryChange::Left && change != EntryChange::Died {
            let degree = entry.record.degree;
            let changed = before.as_ref().is_none_or(|b| b.degree != degree);
            if changed && entry.is_alive() {
                let name = entry.record.name.clone();
                self.fx.event(Event::PeerDegree { id, name, degree });
            }
        }
        if change != EntryChange::New && entry.is_alive() {
            let is_whole = self.table.alive_count() <= FULL_LIST_LIMIT;
            self.pending_updates.add_if_announced_again(
                id,
                before.as_ref(),
                &entry.record,
                is_whole,
            );
        }
        // A new degree alone, or a refreshed lease, is not worth a write: after a restart the peers
        // send it again.
        let lasting = |r: &SignedRecord| {
            let said = (r.incarnation, r.presence, r.target, r.participates);
            (said, r.name.clone(), r.addresses.clone())
        };
        let same = before.as_ref().is_some_and(|b| lasting(b) == lasting(&entry.record));
        if same && change == EntryChange::Newer && !is_write_missing {
            return EntryOutcome::NoWrite;
        }
        self.failed_writes.remove(&id);
        let ticket = self.fx.store(vec![StoreOp::PutEntry(entry)]);
        self.last_writes.insert(id, ticket);
        self.pending_writes.insert(ticket, PendingWrite { id, acknowledge: Vec::new() });
        EntryOutcome::Stored(ticket)
    }

    pub(super) fn on_get_list(&mut self, link: LinkId) {
        let now = self.fx.now();
        let Some(l) = self.links.get_mut(&link) else { return };
        if l.list_sent.is_some_and(|at| now < at + MIN_LIST_INTERVAL) {
            return self.fx.counters.lists_refused += 1;
        }
        l.list_sent = Some(now);
        let remote = l.remote;
        let mut records = self.list_for(remote);
        if !self.is_on_this_host(link) {
            records.retain(|r| !r.is_on_loopback());
        }
        let ((alive, participating), synced) = (self.counts_for(link), self.synced);
        let list = |records: Vec<SignedRecord>, last| PeerList {
            records,
            alive,
            synced,
            last,
            participating,
        };
        let mut chunks = records.chunks(MAX_RECORDS_PER_FRAME).peekable();
        if chunks.peek().is_none() {
            self.fx.send(link, list(Vec::new(), true));
        }
        while let Some(chunk) = chunks.next() {
            let last = chunks.peek().is_none();
            self.fx.send(link, list(chunk.to_vec(), last));
        }
        self.park(link);
    }

    /// The whole list of a small network; a sample of a large one: half by free slots, so that
    /// there are peers to link with, half uniform, so that every peer is known to some others.
    fn list_for(&mut self, requester: PeerId) -> Vec<SignedRecord> {
        if self.table.alive_count() <= FULL_LIST_LIMIT {
            let all = self.table.alive().map(|e| &e.record);
            return all.filter(|r| r.id != requester).cloned().collect();
        }
        let half = LIST_SAMPLE / 2;
        let mut picked: BTreeMap<PeerId, &SignedRecord> = BTreeMap::new();
        picked.extend(self.table.draw_free(half, &mut self.rng).iter().map(|r| (r.id, *r)));
        picked.extend(self.table.sample(half, &mut self.rng).iter().map(|r| (r.id, *r)));
        picked.remove(&requester);
        picked.into_values().cloned().collect()
    }
}

/// The outcome of merging an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EntryOutcome {
    /// No write is needed.
    NoWrite,
    /// It is being written.
    Stored(StoreTicket),
    /// The registry is full.
    Full,
}
