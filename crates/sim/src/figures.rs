//! What happened in a world, in figures that stay small however large the world is.

use core::time::Duration;
use std::collections::BTreeMap;

use rumormill_proto::{MessageId, Time};

/// How far one message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// When it was published.
    pub published: Time,
    /// Applications it reached, its publisher's included.
    pub delivered: u64,
    /// When it reached the last of them.
    pub last: Time,
    /// The sum of the times it took to each of them, in microseconds.
    pub micros: u64,
    /// Most links it crossed to one of them.
    pub hops: u16,
    /// Copies of the batch that it begins which reached peers, needed or not.
    pub copies: u64,
}

impl Spread {
    /// How long it took to the last application that it reached.
    #[must_use]
    pub const fn took(&self) -> Duration {
        self.last.since(self.published)
    }
}

/// Counts and sums over a whole run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Every message published, with how far it has come.
    pub spread: BTreeMap<MessageId, Spread>,
    /// Messages that reached applications, repeats after a restart included.
    pub delivered: u64,
    /// Messages that applications were told they will not get.
    pub missed: u64,
    /// Copies of batches that reached peers.
    pub copies: u64,
    /// Those of them that were asked for.
    pub pulled: u64,
    /// Events told by all nodes.
    pub events: u64,
    /// Receipts told.
    pub receipts: u64,
    /// Receipts that were complete.
    pub receipts_complete: u64,
    /// Answers to requests for a message.
    pub fetches: u64,
    /// Removals told, one for every node that told of it.
    pub removals: u64,
}

impl Figures {
    fn spread(&mut self, id: MessageId, at: Time) -> &mut Spread {
        self.spread.entry(id).or_insert(Spread {
            published: at,
            delivered: 0,
            last: at,
            micros: 0,
            hops: 0,
            copies: 0,
        })
    }

    pub(crate) fn published(&mut self, id: MessageId, at: Time) {
        self.spread(id, at);
    }

    pub(crate) fn delivered(&mut self, id: MessageId, at: Time, hops: u16) {
        self.delivered += 1;
        let s = self.spread(id, at);
        s.delivered += 1;
        s.last = at;
        s.hops = s.hops.max(hops);
        let took = u64::try_from(at.since(s.published).as_micros()).unwrap_or(u64::MAX);
        s.micros = s.micros.saturating_add(took);
    }

    pub(crate) fn copy(&mut self, batch: MessageId, pulled: bool) {
        self.copies += 1;
        self.pulled += u64::from(pulled);
        if let Some(s) = self.spread.get_mut(&batch) {
            s.copies += 1;
        }
    }
}
