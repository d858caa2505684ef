//! Counts and sums over a run, for worlds of any size: a few numbers for each message.

use core::time::Duration;
use std::collections::BTreeMap;

use rumormill_proto::{MessageId, Time};

/// How far one message has spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageSpread {
    /// When it was published.
    pub published: Time,
    /// Applications that it reached, the publisher's included.
    pub delivered: u64,
    /// When it reached the last of these.
    pub last: Time,
    /// Sum of the times from publication to each delivery, in microseconds.
    pub micros: u64,
    /// Largest number of links that it crossed to one of them.
    pub hops: u16,
    /// Copies received by peers, duplicates included, of the batch of which it is the first
    /// message.
    pub copies: u64,
}

impl MessageSpread {
    /// Time from publication to the last delivery.
    #[must_use]
    pub const fn duration(&self) -> Duration {
        self.last.since(self.published)
    }
}

/// Counts and sums over a whole run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Every published message with its spread.
    pub spread: BTreeMap<MessageId, MessageSpread>,
    /// Messages delivered to applications, repeats after a restart included.
    pub delivered: u64,
    /// Messages reported to applications as gaps.
    pub missed: u64,
    /// Copies of batches received by peers.
    pub copies: u64,
    /// Copies among them that were pulled.
    pub pulled: u64,
    /// Events emitted by all nodes.
    pub events: u64,
    /// Receipt updates delivered to publishers.
    pub receipts: u64,
    /// Complete receipts among them.
    pub receipts_complete: u64,
    /// Answers to fetches.
    pub fetches: u64,
    /// Removals, counted once for every node that emitted the event.
    pub removals: u64,
}

impl Figures {
    fn spread(&mut self, id: MessageId, at: Time) -> &mut MessageSpread {
        self.spread.entry(id).or_insert(MessageSpread {
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
