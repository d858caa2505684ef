//! When missing ranges are given up.

use core::time::Duration;

use super::stream::MissingStream;
use crate::time::Time;

/// Number of fruitless pulls after which no neighbour is expected to have the range any more.
pub(super) const MIN_PULLS: u32 = 7;
/// Nothing is given up earlier, even where neighbours had the range once, or have given it up
/// themselves.
pub(super) const GIVE_UP_EVICTED_AFTER: Duration = Duration::from_secs(30);
/// Where the neighbours look for the range as well, all of them may only be cut off from a peer
/// that has it, and they get it when the network is whole again. With ten seconds, one of twenty
/// networks of a hundred peers under chaos lost a message that way, with thirty one of 250. Only
/// later messages of the same publisher wait, and that publisher does not answer either: so only
/// messages of dead publishers are late.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_secs(120);
/// Everything is given up after this time, also if a neighbour keeps saying that it sends the
/// range.
pub(super) const GIVE_UP_ALWAYS_AFTER: Duration = Duration::from_secs(240);
/// Number of distinct neighbours that must have failed, or all if there are fewer.
pub(super) const NEEDED_NEIGHBOURS: usize = 3;

/// The limits above, or less: messages that wait behind a missing range must not become too old
/// meanwhile.
#[derive(Debug)]
pub(super) struct GiveUpLimits {
    pub(super) evicted: Duration,
    pub(super) common: Duration,
    pub(super) last: Duration,
}

impl GiveUpLimits {
    pub(super) fn of(retention_age: Duration) -> Self {
        GiveUpLimits {
            evicted: GIVE_UP_EVICTED_AFTER.min(retention_age / 4),
            common: GIVE_UP_AFTER.min(retention_age / 4),
            last: GIVE_UP_ALWAYS_AFTER.min(retention_age / 2),
        }
    }

    /// Whether the last limit is reached.
    pub(super) fn is_exhausted(&self, w: &MissingStream, now: Time) -> bool {
        now.since(w.progress) >= self.last
    }

    /// Whether the missing range of a stream is given up, with `degree` neighbours.
    pub(super) fn is_reached(&self, w: &MissingStream, degree: usize, now: Time) -> bool {
        let waited = now.since(w.progress);
        let needed = degree.min(NEEDED_NEIGHBOURS);
        let enough = w.failed.len() >= needed || w.sources.is_empty();
        let asked = w.fruitless_pulls >= MIN_PULLS && enough;
        let evicted = w.evicted_at.len() >= needed.max(1) && waited >= self.evicted;
        (asked && (evicted || waited >= self.common)) || self.is_exhausted(w, now)
    }
}
