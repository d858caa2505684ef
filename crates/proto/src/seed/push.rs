//! Telling the registered peers and the other seeds what changed, a little at a time.

use std::collections::BTreeSet;

use super::Seed;
use crate::death::Certificate;
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::limits::{JOIN_SAMPLE, MAX_PENDING_UPDATES, WHOLE_LIST};
use crate::record::SignedRecord;
use crate::registry::Entry;
use crate::time::Time;
use crate::wire::{MembersChanged, parts};

/// What waits for the next push.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) joined: BTreeSet<PeerId>,
    pub(super) left: BTreeSet<PeerId>,
    pub(super) dead: BTreeSet<PeerId>,
    /// For the other seeds.
    pub(super) entries: BTreeSet<PeerId>,
    pub(super) at: Option<Time>,
}

impl Pending {
    /// A known peer whose address changed is told to the others like a new one.
    pub(super) fn joined_again(
        &mut self,
        id: PeerId,
        before: Option<&SignedRecord>,
        after: &SignedRecord,
    ) {
        if before.is_some_and(|b| b.addresses != after.addresses) {
            self.joined.insert(id);
        }
    }

    fn is_empty(&self) -> bool {
        self.joined.is_empty()
            && self.left.is_empty()
            && self.dead.is_empty()
            && self.entries.is_empty()
    }
}

impl Seed {
    /// Sets the time of the next push when something waits; called after every input.
    pub(super) fn schedule_push(&mut self) {
        if self.pending.at.is_none() && !self.pending.is_empty() {
            // A death is told at once; the rest is gathered.
            let wait = if self.pending.dead.is_empty() {
                self.config.push_delay()
            } else {
                core::time::Duration::ZERO
            };
            self.pending.at = Some(self.fx.now() + wait);
        } else if !self.pending.dead.is_empty() {
            self.pending.at = Some(self.fx.now());
        }
    }

    pub(super) fn push(&mut self) {
        let now = self.fx.now();
        if self.pending.at.is_none_or(|at| at > now) {
            return;
        }
        let pending = core::mem::take(&mut self.pending);
        self.push_to_peers(&pending);
        self.push_to_seeds(&pending.entries);
    }

    fn push_to_peers(&mut self, pending: &Pending) {
        let record = |id: &PeerId| self.table.get(id).map(|e| e.record.clone());
        let is_alive = |id: &&PeerId| self.table.get(id).is_some_and(Entry::is_alive);
        let joined: Vec<SignedRecord> =
            pending.joined.iter().filter(is_alive).filter_map(record).collect();
        let left: Vec<SignedRecord> = pending.left.iter().filter_map(record).collect();
        let dead: Vec<Certificate> = pending
            .dead
            .iter()
            .filter_map(|id| self.table.get(id).and_then(|e| e.certificate.clone()))
            .collect();
        let registrants: Vec<LinkId> = self.registrants.values().copied().collect();
        let hear_of_joins: BTreeSet<LinkId> = if self.table.alive_count() <= WHOLE_LIST {
            registrants.iter().copied().collect()
        } else {
            self.rng.sample(registrants.clone(), JOIN_SAMPLE).into_iter().collect()
        };
        let alive = self.alive_count();
        let frame = |joined: &[SignedRecord], left: &[SignedRecord], dead: &[Certificate]| {
            let (joined, left, dead) = (joined.to_vec(), left.to_vec(), dead.to_vec());
            MembersChanged { joined, left, dead, alive }
        };
        let joins = parts(&joined, SignedRecord::wire_size);
        let joins: Vec<_> = joins.into_iter().map(|p| frame(p, &[], &[])).collect();
        let leaves = parts(&left, SignedRecord::wire_size);
        let leaves = leaves.into_iter().map(|p| frame(&[], p, &[]));
        let deaths = parts(&dead, Certificate::wire_size);
        let ends: Vec<_> = leaves.chain(deaths.into_iter().map(|p| frame(&[], &[], p))).collect();
        for link in registrants {
            let joins = joins.iter().filter(|_| hear_of_joins.contains(&link));
            for changed in joins.chain(&ends) {
                self.fx.send(link, changed.clone());
            }
        }
    }

    fn push_to_seeds(&mut self, ids: &BTreeSet<PeerId>) {
        if ids.len() > MAX_PENDING_UPDATES {
            // The comparison of buckets is cheaper than that.
            self.fx.count("pushes_skipped");
            return;
        }
        let links: Vec<LinkId> = self.others.iter().filter_map(|o| o.link).collect();
        let entries: Vec<Entry> = ids.iter().filter_map(|id| self.table.get(id).cloned()).collect();
        for link in links {
            self.send_entries(link, &entries, Vec::new(), false);
        }
    }
}
