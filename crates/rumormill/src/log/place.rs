//! The read positions of all subscriptions.

use std::collections::BTreeMap;

use super::{Missed, Span};

/// Identifies the cursor of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PlaceId(u64);

/// The read position of one subscription.
#[derive(Debug)]
pub(super) struct Place {
    /// Number of the entry to read next.
    pub(super) next: u64,
    /// Entries evicted before they were read. A cursor that lags is always at the front of the log,
    /// so the evicted numbers of one stream are consecutive, and one range describes them.
    pub(super) missed: Missed,
    pub(super) history: History,
}

/// Where history ends for a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum History {
    /// The end was reported, or this subscription has no history.
    Over,
    /// Before this entry.
    Until(u64),
    /// The node has not caught up yet.
    Unknown,
}

/// All cursors.
#[derive(Debug)]
pub(super) struct Places {
    places: BTreeMap<PlaceId, Place>,
    names: u64,
    /// No cursor is before this entry.
    lowest: u64,
}

impl Default for Places {
    fn default() -> Self {
        Places { places: BTreeMap::new(), names: 0, lowest: u64::MAX }
    }
}

impl Places {
    pub(super) fn open(&mut self, next: u64, history: History) -> PlaceId {
        self.names += 1;
        let id = PlaceId(self.names);
        self.places.insert(id, Place { next, missed: Missed::new(), history });
        self.lowest = self.lowest.min(next);
        id
    }

    pub(super) fn leave(&mut self, id: PlaceId) {
        self.places.remove(&id);
    }

    pub(super) fn get_mut(&mut self, id: PlaceId) -> Option<&mut Place> {
        self.places.get_mut(&id)
    }

    /// Records that the node has caught up: history ends before this entry.
    pub(super) fn caught_up(&mut self, end: u64) {
        for place in self.places.values_mut().filter(|p| p.history == History::Unknown) {
            place.history = History::Until(end);
        }
    }

    /// Moves cursors past an entry that was evicted from the front.
    pub(super) fn passed(&mut self, number: u64, span: Span) {
        if number < self.lowest {
            return;
        }
        self.lowest = u64::MAX;
        for place in self.places.values_mut() {
            if place.next <= number {
                place.next = number + 1;
                let missed = place.missed.entry(span.stream).or_insert(span);
                missed.from = missed.from.min(span.from);
                missed.to = missed.to.max(span.to);
            }
            self.lowest = self.lowest.min(place.next);
        }
    }
}
