//! The writes of entries that are not durable yet, and the acknowledgements that wait for them.

use std::collections::{BTreeMap, BTreeSet};

use crate::identity::PeerId;
use crate::io::{LinkId, StoreTicket};

/// An acknowledgement to send when the registration is durable.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Acknowledgement {
    pub(super) link: LinkId,
    pub(super) incarnation: u64,
    pub(super) sequence: u64,
}

/// A write of an entry that is not durable yet.
#[derive(Debug)]
struct PendingWrite {
    id: PeerId,
    acknowledge: Vec<Acknowledgement>,
}

/// The writes of a registry.
#[derive(Debug, Default)]
pub(super) struct Writes {
    pending: BTreeMap<StoreTicket, PendingWrite>,
    /// The last write of each entry that is not durable yet.
    last: BTreeMap<PeerId, StoreTicket>,
    /// Entries whose last write was given up: no registration that builds on it is acknowledged.
    failed: BTreeSet<PeerId>,
}

impl Writes {
    /// Records that the write of an entry has begun.
    pub(super) fn begin(&mut self, id: PeerId, ticket: StoreTicket) {
        self.failed.remove(&id);
        self.last.insert(id, ticket);
        self.pending.insert(ticket, PendingWrite { id, acknowledge: Vec::new() });
    }

    /// The last write of an entry, if it is not durable yet.
    pub(super) fn last(&self, id: &PeerId) -> Option<StoreTicket> {
        self.last.get(id).copied()
    }

    /// Whether the last write of an entry was given up.
    pub(super) fn has_failed(&self, id: &PeerId) -> bool {
        self.failed.contains(id)
    }

    /// Keeps an acknowledgement until a write is durable.
    pub(super) fn acknowledge_after(&mut self, ticket: StoreTicket, a: Acknowledgement) {
        if let Some(write) = self.pending.get_mut(&ticket) {
            write.acknowledge.push(a);
        }
    }

    /// Ends a durable write. Returns the acknowledgements that waited for it.
    pub(super) fn on_stored(&mut self, ticket: StoreTicket) -> Vec<Acknowledgement> {
        self.end(ticket).map(|(write, _)| write.acknowledge).unwrap_or_default()
    }

    /// Ends a failed write. No acknowledgement is sent, and the next record of the peer is written
    /// even if it says the same. A peer that misses the acknowledgement registers at a spare seed.
    pub(super) fn on_failed(&mut self, ticket: StoreTicket) {
        if let Some((write, true)) = self.end(ticket) {
            self.failed.insert(write.id);
        }
    }

    /// Removes a write. Returns it, and whether it was the last one of its entry.
    fn end(&mut self, ticket: StoreTicket) -> Option<(PendingWrite, bool)> {
        let write = self.pending.remove(&ticket)?;
        let is_last = self.last.get(&write.id) == Some(&ticket);
        if is_last {
            self.last.remove(&write.id);
        }
        Some((write, is_last))
    }

    /// Forgets the failed writes of entries that the registry has forgotten.
    pub(super) fn forget(&mut self, ids: &[PeerId]) {
        self.failed.retain(|id| !ids.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgement_waits_for_the_last_write_of_its_entry() {
        let (id, link) = (PeerId::from_bytes([1; 32]), LinkId(1));
        let ack = |sequence| Acknowledgement { link, incarnation: 1, sequence };
        let (first, second) = (StoreTicket(1), StoreTicket(2));
        let mut writes = Writes::default();
        writes.begin(id, first);
        writes.acknowledge_after(first, ack(1));
        writes.begin(id, second);
        writes.acknowledge_after(second, ack(2));
        assert_eq!(writes.on_stored(first), [ack(1)]);
        assert_eq!(writes.last(&id), Some(second), "a later write is not durable yet");
        assert_eq!(writes.on_stored(second), [ack(2)]);
        assert_eq!((writes.last(&id), writes.on_stored(second)), (None, Vec::new()));
    }

    #[test]
    fn failed_write_counts_until_the_entry_is_written_again() {
        let id = PeerId::from_bytes([1; 32]);
        let mut writes = Writes::default();
        writes.begin(id, StoreTicket(1));
        writes.begin(id, StoreTicket(2));
        writes.on_failed(StoreTicket(1));
        assert!(!writes.has_failed(&id), "a later write has the same content or newer");
        writes.on_failed(StoreTicket(2));
        assert!(writes.has_failed(&id) && writes.last(&id).is_none());
        writes.begin(id, StoreTicket(3));
        assert!(!writes.has_failed(&id));
        writes.on_failed(StoreTicket(3));
        writes.forget(&[id]);
        assert!(!writes.has_failed(&id));
    }
}
