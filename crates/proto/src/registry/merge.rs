//! Merging entries into the table, and the consequences of the change.

use super::{Entry, EntryChange, Registry};
use crate::event::{CloseReason, Event};
use crate::failure::Certificate;
use crate::identity::PeerId;
use crate::io::{StoreOp, StoreTicket};
use crate::limits::FULL_LIST_LIMIT;
use crate::record::SignedRecord;
use crate::seed::SeedContext;
use crate::time::Time;
use crate::wire::Accusation;

/// An entry as it is in the table after a merge.
#[derive(Debug)]
pub(crate) struct MergedEntry {
    pub(crate) entry: Entry,
    pub(crate) change: EntryChange,
    before: Option<SignedRecord>,
}

/// The outcome of merging an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryOutcome {
    /// No write is needed.
    NoWrite,
    /// It is being written.
    Stored(StoreTicket),
    /// The registry is full.
    Full,
}

impl Registry {
    /// Merges an entry, from its owner or from another seed, into the table. The consequences of
    /// the change are the second step, [`Registry::record`]. Fails if the table has no such entry.
    pub(crate) fn merge(&mut self, now: Time, entry: Entry) -> Result<MergedEntry, EntryOutcome> {
        let id = entry.id();
        let before = self.table.get(&id).map(|e| e.record.clone());
        let change = self.table.merge(entry, now);
        match self.table.get(&id).cloned() {
            Some(entry) => Ok(MergedEntry { entry, change, before }),
            None if change == EntryChange::Full => Err(EntryOutcome::Full),
            None => Err(EntryOutcome::NoWrite),
        }
    }

    /// Announces and stores a merged entry. `accusers` are the witnesses of a death.
    pub(crate) fn record(
        &mut self,
        cx: &mut SeedContext<'_>,
        merged: MergedEntry,
        accusers: Vec<PeerId>,
    ) -> EntryOutcome {
        let MergedEntry { entry, change, before } = merged;
        let (id, before) = (entry.id(), before.as_ref());
        let is_write_missing = self.writes.has_failed(&id);
        match change {
            EntryChange::Unchanged if !is_write_missing => return EntryOutcome::NoWrite,
            EntryChange::Unchanged | EntryChange::Newer => {}
            EntryChange::Full => return EntryOutcome::Full,
            EntryChange::New | EntryChange::Back => {
                self.pending_updates.joined.insert(id);
                let r = &entry.record;
                cx.fx.event(Event::PeerRegistered {
                    id,
                    name: r.name.clone(),
                    address: r.addresses.first().copied(),
                    incarnation: r.incarnation,
                    updated: change == EntryChange::Back,
                });
            }
            EntryChange::Left => {
                self.pending_updates.left.insert(id);
                let name = entry.record.name.clone();
                cx.fx.event(Event::PeerLeft { id, name });
            }
            EntryChange::Died => {
                self.pending_updates.concerned.extend(accusers);
                if let Some(certificate) = &entry.certificate {
                    self.on_death(cx, &entry, certificate);
                }
            }
        }
        self.pending_updates.entries.insert(id);
        if entry.is_alive() {
            let r = &entry.record;
            if before.is_none_or(|b| b.degree != r.degree) {
                let (name, degree) = (r.name.clone(), r.degree);
                cx.fx.event(Event::PeerDegree { id, name, degree });
            }
            // A known peer is announced like a new one after its address changed or it has begun to
            // participate. Where lists are samples, participants are only counted.
            let is_whole = self.table.alive_count() <= FULL_LIST_LIMIT;
            let begins = |b: &SignedRecord| is_whole && b.participates != r.participates;
            if before.is_some_and(|b| b.addresses != r.addresses || begins(b)) {
                self.pending_updates.joined.insert(id);
            }
        }
        // A new degree alone, or a refreshed lease, is not worth a write: after a restart the peers
        // send it again.
        let lasting = |r: &SignedRecord| {
            let said = (r.incarnation, r.presence, r.target, r.participates);
            (said, r.name.clone(), r.addresses.clone())
        };
        let same = before.is_some_and(|b| lasting(b) == lasting(&entry.record));
        if same && change == EntryChange::Newer && !is_write_missing {
            return EntryOutcome::NoWrite;
        }
        let ticket = cx.fx.store(vec![StoreOp::PutEntry(entry)]);
        self.writes.begin(id, ticket);
        EntryOutcome::Stored(ticket)
    }

    /// Handles a death, certified here or by other seeds.
    fn on_death(&mut self, cx: &mut SeedContext<'_>, entry: &Entry, certificate: &Certificate) {
        let id = entry.id();
        self.pending_updates.dead.insert(id);
        cx.fx.counters.removals += 1;
        cx.fx.event(Event::PeerRemoved {
            id,
            name: Some(entry.record.name.clone()),
            incarnation: certificate.incarnation(),
            witnesses: certificate.witnesses(),
            seeds: certificate.seeds(),
        });
        if let Some(link) = self.registrants.remove(&id) {
            // If it is alive after all, it learns here what to refute.
            let incarnation = certificate.incarnation();
            let accused = Accusation { incarnation, certificate: Some(certificate.clone()) };
            cx.fx.send(link, accused);
            self.close(cx, link, CloseReason::DeclaredDead);
        }
    }

    /// Hides entries whose lease has expired, and forgets entries whose tombstone has. Returns the
    /// peers whose entries are hidden.
    pub(crate) fn expire(&mut self, cx: &mut SeedContext<'_>) -> Vec<PeerId> {
        self.next_expiry = cx.now + cx.config.lease() / 24;
        let (hidden, forgotten) = self.table.expire(cx.now);
        for entry in &hidden {
            cx.fx.counters.leases_expired += 1;
            let name = entry.record.name.clone();
            cx.fx.event(Event::PeerExpired { id: entry.id(), name });
        }
        if !forgotten.is_empty() {
            self.writes.forget(&forgotten);
            cx.fx.store(forgotten.into_iter().map(StoreOp::RemoveEntry).collect());
        }
        hidden.iter().map(Entry::id).collect()
    }
}
