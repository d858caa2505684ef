//! The state of broadcast for status commands, views and checkers.

use super::{Broadcast, RetainedBatch, StreamState};
use crate::message::{MessageId, StreamId};
use crate::snapshot::{PublisherView, TreeView};

impl Broadcast {
    /// Number of messages published in the present stream.
    pub(crate) const fn published(&self) -> u64 {
        self.outbox.published()
    }

    /// Retained messages and bytes.
    pub(crate) fn held(&self) -> (u64, u64) {
        (self.store.retention.messages(), self.store.retention.bytes())
    }

    /// Published bytes that are not acknowledged.
    pub(crate) const fn in_flight_bytes(&self) -> u64 {
        self.outbox.in_flight_bytes()
    }

    /// Bytes that may be in flight.
    pub(crate) const fn window_bytes(&self) -> u64 {
        self.outbox.window()
    }

    pub(crate) fn tree_views(&self) -> Vec<TreeView> {
        self.trees.views()
    }

    /// See [`Peer::publishers`](crate::Peer::publishers).
    pub(crate) fn publishers(&self) -> Vec<PublisherView> {
        let view = |(&StreamId { publisher, epoch }, s): (&StreamId, &StreamState)| PublisherView {
            publisher,
            epoch,
            high_water: s.high_water(),
            gaps: s.gaps(),
            received: s.received(),
        };
        self.store.list.iter().map(view).collect()
    }

    /// The batches that hold the newest `limit` messages, or those before `before`.
    pub(crate) fn newest(&self, limit: usize, before: Option<&MessageId>) -> Vec<&RetainedBatch> {
        self.store.retention.newest(limit, before)
    }

    /// Whether a message was received, retained or not.
    pub(crate) fn has_seen(&self, id: &MessageId) -> bool {
        self.store.list.contains(id)
    }
}
