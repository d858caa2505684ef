//! The aggregate of a subtree: minima of progress, number of peers, sum of tokens.

use crate::wire::AckEntry;

use super::StreamId;

/// More than one peer, and more than one in this many, are many.
const MANY_DIVISOR: u32 = 4;

/// Taken for a child that has reported nothing: it holds nothing.
pub(super) const NOTHING_REPORTED: Aggregate =
    Aggregate { paced: 0, lagging_peers: 0, long_paced: 0, held: 0, peers: 0, sum: 0 };

/// The aggregate of a subtree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Aggregate {
    /// All peers that have not lagged for [`PACING_LAG_LIMIT`](super::progress::PACING_LAG_LIMIT)
    /// hold everything below it.
    pub(crate) paced: u64,
    /// Number of peers that have lagged for so long.
    pub(crate) lagging_peers: u32,
    /// All peers that have not lagged for
    /// [`LONG_PACING_LAG_LIMIT`](super::progress::LONG_PACING_LAG_LIMIT) hold everything below it.
    pub(crate) long_paced: u64,
    /// All peers hold everything below it.
    pub(crate) held: u64,
    /// Number of peers, including the one that sends the aggregate.
    pub(crate) peers: u32,
    /// The wrapping sum of their tokens.
    pub(crate) sum: u64,
}

impl Aggregate {
    /// The sequence number that the publisher goes by, if this is the aggregate of the whole tree:
    /// all peers that it waits for hold everything below it.
    pub(crate) fn pace(&self) -> u64 {
        let many = self.lagging_peers > 1 && self.lagging_peers > self.peers / MANY_DIVISOR;
        if many { self.long_paced.min(self.paced) } else { self.paced }
    }

    pub(super) const fn entry(self, StreamId { publisher, epoch }: StreamId) -> AckEntry {
        let Aggregate { paced, lagging_peers, long_paced, held, peers, sum } = self;
        let holders = None;
        AckEntry { publisher, epoch, paced, lagging_peers, long_paced, held, peers, sum, holders }
    }

    pub(super) const fn of(e: &AckEntry) -> Self {
        let &AckEntry { paced, lagging_peers, long_paced, held, peers, sum, .. } = e;
        Aggregate { paced, lagging_peers, long_paced, held, peers, sum }
    }
}

/// The minimum over the peers that have not lagged for too long.
pub(super) struct PacingMinimum {
    /// This peer's own progress some time ago: a peer that is below it has lagged since.
    pub(super) mark: u64,
    least: Option<u64>,
    /// If all peers lag, the fastest one that has reported anything still counts.
    pub(super) fastest: Option<u64>,
}

impl PacingMinimum {
    pub(super) const fn new(mark: u64) -> Self {
        PacingMinimum { mark, least: None, fastest: None }
    }

    /// Includes a subtree. Returns whether it counts.
    pub(super) fn include(&mut self, reached: u64, heard: bool) -> bool {
        self.fastest = self.fastest.max(heard.then_some(reached));
        let counts = reached >= self.mark;
        if counts {
            self.least = Some(self.least.map_or(reached, |least| least.min(reached)));
        }
        counts
    }

    /// The minimum over this peer, which has everything below `own`, and the included subtrees.
    pub(super) fn least(self, own: u64) -> u64 {
        self.least.or(self.fastest).map_or(own, |n| n.min(own))
    }
}
