//! The sum over a part of a tree, and the minima in it.

use crate::wire::AckEntry;

use super::StreamId;

/// Many are more than one in so many, and more than one.
const MANY: u32 = 4;

/// What is taken of a neighbour that has told nothing: it holds nothing.
pub(super) const UNHEARD: Summed =
    Summed { paced: 0, left: 0, patient: 0, held: 0, peers: 0, sum: 0 };

/// The sum over a part of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summed {
    /// All who have not been behind for [`PATIENCE`](super::progress::PATIENCE) hold everything below it.
    pub(crate) paced: u64,
    /// How many have been.
    pub(crate) left: u32,
    /// All who have not been behind for [`LONG_PATIENCE`](super::progress::LONG_PATIENCE) hold everything below it.
    pub(crate) patient: u64,
    /// All hold everything below it.
    pub(crate) held: u64,
    /// How many they are, the peer that tells it included.
    pub(crate) peers: u32,
    /// Their tokens.
    pub(crate) sum: u64,
}

impl Summed {
    /// What the publisher goes by, if this is the sum over the whole tree: all that it waits for
    /// hold everything below.
    pub(crate) fn pace(&self) -> u64 {
        let many = self.left > 1 && self.left > self.peers / MANY;
        if many { self.patient.min(self.paced) } else { self.paced }
    }

    pub(super) const fn entry(self, StreamId { publisher, epoch }: StreamId) -> AckEntry {
        let Summed { paced, left, patient, held, peers, sum } = self;
        let holders = None;
        AckEntry { publisher, epoch, paced, left, patient, held, peers, sum, holders }
    }

    pub(super) const fn of(e: &AckEntry) -> Self {
        let &AckEntry { paced, left, patient, held, peers, sum, .. } = e;
        Summed { paced, left, patient, held, peers, sum }
    }
}

/// The minimum over those who have come as far as a mark.
pub(super) struct Waited {
    /// One's own progress some time ago: who has not come so far has been behind since.
    pub(super) mark: u64,
    least: Option<u64>,
    /// If all are behind, the fastest that has said anything still counts.
    pub(super) fastest: Option<u64>,
}

impl Waited {
    pub(super) const fn new(mark: u64) -> Self {
        Waited { mark, least: None, fastest: None }
    }

    /// A part has come so far; whether it counts.
    pub(super) fn part(&mut self, reached: u64, heard: bool) -> bool {
        self.fastest = self.fastest.max(heard.then_some(reached));
        let counts = reached >= self.mark;
        if counts {
            self.least = Some(self.least.map_or(reached, |least| least.min(reached)));
        }
        counts
    }

    pub(super) fn least(self, own: u64) -> u64 {
        self.least.or(self.fastest).map_or(own, |n| n.min(own))
    }
}
