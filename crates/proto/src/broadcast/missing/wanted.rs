//! One stream that something is missing of: which neighbours claim to have it, and which do not.

use std::collections::BTreeSet;

use super::patience::{Patience, WITNESSES};
use crate::identity::PeerId;
use crate::limits::MAX_SOURCES;
use crate::time::Time;

/// What a neighbour says it has of a stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Claim {
    pub(super) floor: u64,
    /// Whether what is below the floor is not kept, rather than not announced.
    pub(super) kept_from: bool,
    pub(super) next: u64,
    pub(super) lacks: Vec<(u64, u64)>,
}

impl Claim {
    /// Whether it has something of a range.
    pub(super) fn has_of(&self, from: u64, to: u64) -> bool {
        let inside = from.max(self.floor) < to.min(self.next);
        inside
            && !self.lacks.iter().any(|l| l.0 <= from.max(self.floor) && to.min(self.next) <= l.1)
    }
}

/// From where a neighbour keeps a stream, as it tells in a summary.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) neighbour: PeerId,
    /// It keeps nothing below.
    pub(super) floor: u64,
}

/// A neighbour has announced something that has not come here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ahead {
    pub(super) neighbour: PeerId,
    /// The number after the last one that it announced.
    pub(super) to: u64,
    pub(super) at: Time,
}

/// A stream that something is missing of.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) sources: Vec<(PeerId, Claim)>,
    pub(super) due: Time,
    pub(super) tries: u32,
    /// Those who have it have something else to answer first.
    pub(super) is_waiting: bool,
    /// When it was first announced, while nothing has been pulled yet.
    pub(super) announced: Option<Time>,
    /// What a neighbour announced before it came, to see how much later it comes.
    pub(super) ahead: Option<Ahead>,
    /// Messages received of it at the last pull.
    pub(super) received: u64,
    /// The first missing number at the last pull, and since when it is.
    pub(super) first: u64,
    /// The number after the highest one received then: what is missing below it has been for as long.
    pub(super) horizon: u64,
    pub(super) progress: Time,
    /// Neighbours that answered with nothing, or said that they have it not. One that has not
    /// answered may have it: the answer found no room on the way.
    pub(super) failed: BTreeSet<PeerId>,
    /// Those of them that had said before that it is not missing there, and have let go of something of
    /// the stream: they do not look for it.
    pub(super) gone: BTreeSet<PeerId>,
    /// What neighbours say they keep the stream from, also those that have nothing of what is missing.
    pub(super) told: Vec<Extent>,
}

impl Wanted {
    pub(super) const fn new(due: Time, announced: Option<Time>, now: Time) -> Self {
        Wanted {
            sources: Vec::new(),
            due,
            tries: 0,
            is_waiting: false,
            announced,
            ahead: None,
            received: 0,
            first: 0,
            horizon: 0,
            progress: now,
            failed: BTreeSet::new(),
            gone: BTreeSet::new(),
            told: Vec::new(),
        }
    }

    /// A neighbour has told its extent of the stream.
    pub(super) fn note_extent(&mut self, extent: Extent) {
        let room = self.told.len() < MAX_SOURCES;
        match self.told.iter_mut().find(|e| e.neighbour == extent.neighbour) {
            Some(before) => *before = extent,
            None if room => self.told.push(extent),
            None => {}
        }
    }

    /// From where a neighbour says that it keeps the stream.
    pub(super) fn kept_from(&self, who: &PeerId) -> Option<u64> {
        let (_, claim) = self.sources.iter().find(|(id, c)| id == who && c.kept_from)?;
        Some(claim.floor)
    }

    /// The highest number below which any neighbour has had everything and keeps nothing.
    pub(super) fn claimed_end(&self) -> u64 {
        self.told.iter().map(|e| e.floor).max().unwrap_or(0)
    }

    /// The number up to which enough of so many neighbours have had the stream and keep nothing, once the stream has not
    /// moved for so long that nothing of it can be on its way. In the end fewer have to agree: the
    /// others may have been cut off as well.
    pub(super) fn agreed_end(&self, degree: usize, patience: &Patience, now: Time) -> u64 {
        let waited = now.since(self.progress);
        let needed = if waited >= patience.last {
            degree / 2
        } else if waited >= patience.gone {
            degree
        } else {
            return 0;
        };
        self.kept_nowhere_below(needed)
    }

    /// The number below which enough of so many neighbours keep nothing any more. That is not what they
    /// gave up or look for themselves: it had come and made room for what came after it.
    pub(super) fn kept_nowhere_below(&self, degree: usize) -> u64 {
        let mut floors: Vec<u64> = self.told.iter().map(|e| e.floor).collect();
        floors.sort_unstable_by(|a, b| b.cmp(a));
        floors.get(degree.clamp(1, WITNESSES) - 1).copied().unwrap_or(0)
    }

    /// Takes out of what is missing what nobody keeps any more and no neighbour claims to have.
    pub(super) fn split_gone(
        &self,
        missing: &mut Vec<(u64, u64)>,
        degree: usize,
    ) -> Vec<(u64, u64)> {
        let bound = self.kept_nowhere_below(degree);
        let mut gone = Vec::new();
        for m in missing.iter_mut().take_while(|m| m.0 < bound) {
            let old = (m.0, m.1.min(bound));
            if !self.sources.iter().any(|(_, c)| c.has_of(old.0, old.1)) {
                gone.push(old);
                m.0 = old.1;
            }
        }
        missing.retain(|m| m.0 < m.1);
        gone
    }
}
