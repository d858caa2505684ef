//! The lists of peers that a seed sends.

use core::time::Duration;
use std::collections::BTreeMap;

use super::Registry;
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::limits::{FULL_LIST_LIMIT, LIST_SAMPLE, MAX_RECORDS_PER_FRAME};
use crate::record::SignedRecord;
use crate::seed::SeedContext;
use crate::wire::PeerList;

/// Shortest time between two lists on one link.
const MIN_LIST_INTERVAL: Duration = Duration::from_millis(50);

impl Registry {
    /// Answers a request for the list of peers.
    pub(crate) fn on_get_list(&mut self, cx: &mut SeedContext<'_>, link: LinkId) {
        let now = cx.now;
        let Some(l) = cx.links.open.get_mut(&link) else { return };
        if l.list_sent.is_some_and(|at| now < at + MIN_LIST_INTERVAL) {
            return cx.fx.counters.lists_refused += 1;
        }
        l.list_sent = Some(now);
        let remote = l.remote;
        let mut records = self.list_for(cx, remote);
        if !cx.links.is_on_this_host(link) {
            records.retain(|r| !r.is_on_loopback());
        }
        let ((alive, participating), synced) = (self.counts_for(cx.links, link), self.synced);
        let list = |records: &[SignedRecord], last| {
            let records = records.to_vec();
            PeerList { records, alive, synced, last, participating }
        };
        let mut chunks: Vec<_> = records.chunks(MAX_RECORDS_PER_FRAME).collect();
        let last = chunks.pop().unwrap_or_default();
        for chunk in chunks {
            cx.fx.send(link, list(chunk, false));
        }
        cx.fx.send(link, list(last, true));
        self.park(cx, link);
    }

    /// The whole list of a small network; a sample of a large one: half by free slots, so that
    /// there are peers to link with, half uniform, so that every peer is known to some others.
    fn list_for(&self, cx: &mut SeedContext<'_>, requester: PeerId) -> Vec<SignedRecord> {
        if self.table.alive_count() <= FULL_LIST_LIMIT {
            let all = self.table.alive().map(|e| &e.record);
            return all.filter(|r| r.id != requester).cloned().collect();
        }
        let half = LIST_SAMPLE / 2;
        let mut picked: BTreeMap<PeerId, &SignedRecord> = BTreeMap::new();
        picked.extend(self.table.draw_free(half, cx.rng).iter().map(|r| (r.id, *r)));
        picked.extend(self.table.sample(half, cx.rng).iter().map(|r| (r.id, *r)));
        picked.remove(&requester);
        picked.into_values().cloned().collect()
    }
}
