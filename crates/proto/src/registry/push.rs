//! Pushing changes to the registered peers and the other seeds, gathered for a while.

use std::collections::BTreeSet;

use super::{Entry, Registry};
use crate::failure::Certificate;
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::limits::{FULL_LIST_LIMIT, FULL_PUSH_LIMIT, JOIN_SAMPLE, MAX_PENDING_UPDATES};
use crate::record::{Presence, SignedRecord};
use crate::seed::SeedContext;
use crate::time::Time;
use crate::wire::{MembershipUpdate, parts};

/// The changes that wait for the next push.
#[derive(Debug, Default)]
pub(super) struct PendingUpdates {
    pub(super) joined: BTreeSet<PeerId>,
    pub(super) left: BTreeSet<PeerId>,
    pub(super) dead: BTreeSet<PeerId>,
    /// Peers that are sent the deaths in any case: those that reported them.
    pub(super) concerned: BTreeSet<PeerId>,
    /// For the other seeds.
    pub(super) entries: BTreeSet<PeerId>,
    pub(super) at: Option<Time>,
}

impl PendingUpdates {
    fn is_empty(&self) -> bool {
        self.joined.is_empty()
            && self.left.is_empty()
            && self.dead.is_empty()
            && self.entries.is_empty()
    }
}

impl Registry {
    /// Schedules the next push if changes wait; called after every input.
    pub(crate) fn schedule_push(&mut self, cx: &mut SeedContext<'_>) {
        let pending = &mut self.pending_updates;
        if !pending.dead.is_empty() {
            // A death is pushed at once; other changes are gathered.
            pending.at = Some(cx.now);
        } else if pending.at.is_none() && !pending.is_empty() {
            pending.at = Some(cx.now + cx.config.push_delay());
        }
    }

    /// Pushes gathered changes.
    pub(crate) fn push(&mut self, cx: &mut SeedContext<'_>) {
        let pending = core::mem::take(&mut self.pending_updates);
        self.push_to_peers(cx, &pending);
        self.push_to_seeds(cx, &pending.entries);
    }

    fn push_to_peers(&self, cx: &mut SeedContext<'_>, pending: &PendingUpdates) {
        if pending.joined.is_empty() && pending.left.is_empty() && pending.dead.is_empty() {
            return;
        }
        let joined = pending.joined.iter().filter_map(|id| self.table.alive_record(id)).cloned();
        let (on_loopback, joined): (Vec<SignedRecord>, Vec<SignedRecord>) =
            joined.partition(|r| r.is_on_loopback());
        // A peer that has come back meanwhile is announced as joined.
        let has_left = |r: &SignedRecord| r.presence == Presence::Left;
        let left = self.entries(&pending.left).map(|e| e.record.clone());
        let left: Vec<SignedRecord> = left.filter(has_left).collect();
        let dead: Vec<Certificate> =
            self.entries(&pending.dead).filter_map(|e| e.certificate.clone()).collect();
        let none = MembershipUpdate::default;
        let joins = |of: &[SignedRecord]| -> Vec<MembershipUpdate> {
            let parts = parts(of, SignedRecord::wire_size).into_iter();
            parts.map(|p| MembershipUpdate { joined: p.to_vec(), ..none() }).collect()
        };
        let (joins, joins_on_loopback) = (joins(&joined), joins(&on_loopback));
        let leaves = parts(&left, SignedRecord::wire_size).into_iter();
        let leaves = leaves.map(|p| MembershipUpdate { left: p.to_vec(), ..none() });
        let deaths = parts(&dead, Certificate::wire_size).into_iter();
        let deaths = deaths.map(|p| MembershipUpdate { dead: p.to_vec(), ..none() });
        let ends: Vec<_> = leaves.chain(deaths).collect();
        let (join_audience, end_audience) = self.audience(cx, pending);
        for link in join_audience {
            self.send_changes(cx, link, &joins);
            // These addresses are valid on this host only.
            if cx.links.is_on_this_host(link) {
                self.send_changes(cx, link, &joins_on_loopback);
            }
        }
        for link in end_audience {
            self.send_changes(cx, link, &ends);
        }
    }

    fn send_changes(&self, cx: &mut SeedContext<'_>, link: LinkId, changes: &[MembershipUpdate]) {
        let (alive, participating) = self.counts_for(cx.links, link);
        for changed in changes {
            cx.fx.send(link, MembershipUpdate { alive, participating, ..changed.clone() });
        }
    }

    /// The registrants that are sent joins, and ends: all of them, or a few in a network so
    /// large that telling all would be most of its traffic.
    fn audience(
        &self,
        cx: &mut SeedContext<'_>,
        pending: &PendingUpdates,
    ) -> (Vec<LinkId>, Vec<LinkId>) {
        let all_registrants = || self.registrants.iter().map(|(_, link)| *link).collect();
        let size = self.table.alive_count();
        if size <= FULL_LIST_LIMIT {
            return (all_registrants(), all_registrants());
        }
        let some: Vec<LinkId> =
            self.registrants.sample(JOIN_SAMPLE, cx.rng).map(|(_, l)| *l).collect();
        let ends = if pending.left.is_empty() && pending.dead.is_empty() {
            Vec::new()
        } else if size <= FULL_PUSH_LIMIT {
            all_registrants()
        } else {
            let concerned = pending.concerned.iter().filter_map(|id| self.registrants.get(id));
            let ends: BTreeSet<LinkId> = some.iter().copied().chain(concerned).collect();
            ends.into_iter().collect()
        };
        (some, ends)
    }

    fn entries(&self, ids: &BTreeSet<PeerId>) -> impl Iterator<Item = &Entry> {
        ids.iter().filter_map(|id| self.table.get(id))
    }

    fn push_to_seeds(&self, cx: &mut SeedContext<'_>, ids: &BTreeSet<PeerId>) {
        if ids.len() > MAX_PENDING_UPDATES {
            // The comparison of buckets is cheaper.
            cx.fx.counters.pushes_skipped += 1;
            return;
        }
        let entries: Vec<Entry> = self.entries(ids).cloned().collect();
        for link in self.seed_links() {
            self.send_entries(cx, link, &entries, Vec::new(), false);
        }
    }
}
