//! The read positions of all subscriptions.

use std::collections::BTreeMap;

use super::{MissedRanges, SequenceRange};

/// Identifies the cursor of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CursorId(u64);

/// The read position of one subscription.
#[derive(Debug)]
pub(super) struct Cursor {
    /// Number of the entry to read next.
    pub(super) next: u64,
    /// Entries evicted before they were read. A cursor that lags is always at the front of the log,
    /// so the evicted numbers of one stream are consecutive, and one range describes them.
    pub(super) missed: MissedRanges,
    pub(super) history: HistoryEnd,
}

/// Where history ends for a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HistoryEnd {
    /// The end was reported, or this subscription has no history.
    Passed,
    /// Before this entry.
    At(u64),
    /// The node has not caught up yet.
    Unknown,
}

/// All cursors.
#[derive(Debug)]
pub(super) struct Cursors {
    cursors: BTreeMap<CursorId, Cursor>,
    last_id: u64,
    /// No cursor is before this entry.
    lowest: u64,
}

impl Default for Cursors {
    fn default() -> Self {
        Cursors { cursors: BTreeMap::new(), last_id: 0, lowest: u64::MAX }
    }
}

impl Cursors {
    pub(super) fn open(&mut self, next: u64, history: HistoryEnd) -> CursorId {
        self.last_id += 1;
        let id = CursorId(self.last_id);
        self.cursors.insert(id, Cursor { next, missed: MissedRanges::new(), history });
        self.lowest = self.lowest.min(next);
        id
    }

    pub(super) fn close(&mut self, id: CursorId) {
        self.cursors.remove(&id);
    }

    pub(super) fn get_mut(&mut self, id: CursorId) -> Option<&mut Cursor> {
        self.cursors.get_mut(&id)
    }

    /// Records that the node has caught up: history ends before this entry.
    pub(super) fn mark_caught_up(&mut self, end: u64) {
        for cursor in self.cursors.values_mut().filter(|p| p.history == HistoryEnd::Unknown) {
            cursor.history = HistoryEnd::At(end);
        }
    }

    /// Moves cursors past an entry that was evicted from the front.
    pub(super) fn evicted(&mut self, number: u64, span: SequenceRange) {
        if number < self.lowest {
            return;
        }
        self.lowest = u64::MAX;
        for cursor in self.cursors.values_mut() {
            if cursor.next <= number {
                cursor.next = number + 1;
                let missed = cursor.missed.entry(span.stream).or_insert(span);
                missed.from = missed.from.min(span.from);
                missed.to = missed.to.max(span.to);
            }
            self.lowest = self.lowest.min(cursor.next);
        }
    }
}
