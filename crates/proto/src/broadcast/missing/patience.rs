//! When what is missing is given up.

use core::time::Duration;

use super::wanted::Wanted;
use crate::time::Time;

/// Pulls without effect after which nobody is expected to have it any more.
pub(super) const ATTEMPTS: u32 = 7;
/// Nothing is given up before something was missing of the stream for so long, even where neighbours
/// had it once, or have given it up themselves.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Where they are looking for it as well, all of them may only be cut off from somebody who has it,
/// and will be told when the way there is open again. With ten seconds, one of twenty networks of a
/// hundred peers under chaos lost something that way, with thirty one of 250. What waits is what came after it of
/// the same publisher, which does not answer either: so only that of the dead is late.
pub(super) const COMMON_PATIENCE: Duration = Duration::from_secs(120);
/// But everything is given up in the end, also if a neighbour goes on saying that it sends it.
pub(super) const LAST_PATIENCE: Duration = Duration::from_secs(240);
/// Distinct neighbours that must have failed, or all if there are fewer.
pub(super) const WITNESSES: usize = 3;

/// [`PATIENCE`] and the others, or less: what waits behind something that is missing is not to grow too
/// old meanwhile.
#[derive(Debug)]
pub(super) struct Patience {
    pub(super) gone: Duration,
    pub(super) common: Duration,
    pub(super) last: Duration,
}

impl Patience {
    pub(super) fn of(retention_age: Duration) -> Self {
        Patience {
            gone: PATIENCE.min(retention_age / 4),
            common: COMMON_PATIENCE.min(retention_age / 4),
            last: LAST_PATIENCE.min(retention_age / 2),
        }
    }

    /// Whether nothing more is waited for.
    pub(super) fn is_exhausted(&self, w: &Wanted, now: Time) -> bool {
        now.since(w.progress) >= self.last
    }

    /// Whether what was asked for in vain is given up, with so many neighbours.
    pub(super) fn is_over(&self, w: &Wanted, degree: usize, now: Time) -> bool {
        let waited = now.since(w.progress);
        let witnesses = degree.min(WITNESSES);
        let enough = w.failed.len() >= witnesses || w.sources.is_empty();
        let asked = w.tries >= ATTEMPTS && enough;
        let gone = w.gone.len() >= witnesses.max(1) && waited >= self.gone;
        (asked && (gone || waited >= self.common)) || self.is_exhausted(w, now)
    }
}
