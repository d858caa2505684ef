//! Anti-entropy between two neighbours: compare what was seen, pull what is missing.
//!
//! On a new link both ends say everything they have seen; later one asks a random neighbour with a
//! hash alone, and the vectors are exchanged only if the hashes differ (the version vectors of
//! Demers et al. 1987, section 1.3, per publisher).

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::broadcast::{MessageList, Seen};
use crate::identity::PeerId;
use crate::limits::{MAX_PULL_RANGES, MAX_SUMMARY};
use crate::time::Time;
use crate::wire::{Range, Summary, SummaryEntry};

/// Pulls of the same range after which nobody is expected to have it any more. With the waits
/// between them it takes over two minutes to get there.
const ATTEMPTS: u32 = 8;
/// Wait before the same range is pulled again; it doubles with every attempt. What was pulled is
/// on its way in the meantime, and busy neighbours are not asked for the same thing by the dozen.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Ranges whose attempts are counted; beyond it the count begins anew.
const MAX_ATTEMPTS_KEPT: usize = 4_096;

/// Distinct neighbours that must have been asked, or all if there are fewer.
const WITNESSES: usize = 3;
/// Gaps given up after one comparison.
const MAX_LOST: usize = 64;
/// Bytes of entries in one summary. What does not fit is compared when the rest has been settled.
const SUMMARY_BYTES: usize = 512 * 1024;

/// What has been asked for and has not come.
#[derive(Debug, Default)]
pub(crate) struct Sync {
    attempts: BTreeMap<(PeerId, u64, u64), Attempt>,
}

#[derive(Debug)]
struct Attempt {
    made: u32,
    next: Time,
    /// Neighbours that were asked: one alone cannot make a publisher's messages disappear.
    asked: BTreeSet<PeerId>,
}

/// What a comparison leads to.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    /// Ranges to pull from the other side.
    pub(crate) pull: Vec<Range>,
    /// Ranges that were asked for often enough in vain.
    pub(crate) lost: Vec<Range>,
    /// Whether this side has something that the other has not.
    pub(crate) other_lacks: bool,
}

/// What this node has seen, for another to compare with.
pub(crate) fn summary(list: &MessageList, with_entries: bool) -> Summary {
    let mut h = blake3::Hasher::new();
    let mut entries = Vec::new();
    let mut bytes = 0;
    for (&(publisher, incarnation), seen) in list.iter() {
        let (next, gaps) = (seen.next(), seen.gaps());
        h.update(publisher.as_bytes());
        for n in [incarnation, next].into_iter().chain(gaps.iter().flat_map(|g| [g.0, g.1])) {
            h.update(&n.to_le_bytes());
        }
        bytes += 64 + gaps.len() * 20;
        if with_entries && entries.len() < MAX_SUMMARY && bytes <= SUMMARY_BYTES {
            entries.push(SummaryEntry { publisher, incarnation, next, gaps });
        }
    }
    let mut hash = [0u8; 8];
    h.finalize_xof().fill(&mut hash);
    Summary { hash: u64::from_le_bytes(hash), entries: with_entries.then_some(entries) }
}

impl Sync {
    /// Holds another's summary against this node's list.
    pub(crate) fn compare(
        &mut self,
        list: &MessageList,
        theirs: &[SummaryEntry],
        other: PeerId,
        degree: usize,
        now: Time,
    ) -> Missing {
        let mut missing = Missing::default();
        if self.attempts.len() > MAX_ATTEMPTS_KEPT {
            self.attempts.retain(|_, a| a.next > now);
        }
        for e in theirs {
            let ours = list.get(e.publisher, e.incarnation);
            let next = ours.map_or(0, Seen::next);
            let mut wanted = ours.map(Seen::gaps).unwrap_or_default();
            missing.other_lacks |= next > e.next || has_any(&e.gaps, &wanted);
            if next < e.next {
                wanted.push((next, e.next));
            }
            for (from, to) in subtract(&wanted, &e.gaps, e.next) {
                let range = Range { publisher: e.publisher, incarnation: e.incarnation, from, to };
                let key = (e.publisher, e.incarnation, from);
                if !self.attempts.contains_key(&key) && self.attempts.len() >= MAX_ATTEMPTS_KEPT {
                    continue;
                }
                let fresh = || Attempt { made: 0, next: now, asked: BTreeSet::new() };
                let tried = self.attempts.entry(key).or_insert_with(fresh);
                if tried.next > now {
                    continue;
                }
                let enough = tried.made >= ATTEMPTS && tried.asked.len() >= degree.min(WITNESSES);
                if enough && to <= next {
                    if missing.lost.len() < MAX_LOST {
                        missing.lost.push(range);
                    }
                } else if missing.pull.len() < MAX_PULL_RANGES {
                    tried.next = now + FIRST_WAIT * (1 << tried.made.min(ATTEMPTS - 1));
                    tried.made = tried.made.saturating_add(1);
                    if tried.asked.len() < WITNESSES {
                        tried.asked.insert(other);
                    }
                    missing.pull.push(range);
                }
            }
        }
        missing.other_lacks |= list.iter().count() > theirs.len();
        for lost in &missing.lost {
            self.attempts.remove(&(lost.publisher, lost.incarnation, lost.from));
        }
        missing
    }
}

/// Whether some number in `gaps` (theirs) is outside of `ours` (our gaps): we have it, they don't.
fn has_any(gaps: &[(u64, u64)], ours: &[(u64, u64)]) -> bool {
    gaps.iter().any(|g| !ours.iter().any(|o| o.0 <= g.0 && g.1 <= o.1))
}

/// The parts of `wanted` below `end` that are not in `without`. Both ascend.
fn subtract(wanted: &[(u64, u64)], without: &[(u64, u64)], end: u64) -> Vec<(u64, u64)> {
    let mut out = Vec::new();
    for &(from, to) in wanted {
        let (mut from, to) = (from, to.min(end));
        for &(a, b) in without {
            if b <= from || a >= to {
                continue;
            }
            if a > from {
                out.push((from, a));
            }
            from = from.max(b);
        }
        if from < to {
            out.push((from, to));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageId;

    const P: PeerId = PeerId::from_bytes([1; 32]);

    fn list(numbers: &[u64]) -> MessageList {
        let mut l = MessageList::default();
        for &sequence in numbers {
            l.receive(&MessageId { publisher: P, incarnation: 1, sequence });
        }
        l
    }

    fn pulled(ours: &[u64], theirs: &[u64]) -> (Vec<(u64, u64)>, bool) {
        let entries = summary(&list(theirs), true).entries.unwrap();
        let m = Sync::default().compare(&list(ours), &entries, P, 1, Time::ZERO);
        (m.pull.iter().map(|r| (r.from, r.to)).collect(), m.other_lacks)
    }

    #[test]
    fn pulls_just_what_the_other_has_and_we_lack() {
        assert_eq!(pulled(&[], &[0, 1, 2]), (vec![(0, 3)], false));
        assert_eq!(pulled(&[0, 1, 2], &[]), (vec![], true));
        assert_eq!(pulled(&[0, 3], &[0, 1, 3, 4]), (vec![(1, 2), (4, 5)], false));
        assert_eq!(pulled(&[0, 2], &[0, 1]), (vec![(1, 2)], true));
        assert_eq!(pulled(&[0, 1], &[0, 1]), (vec![], false));
    }

    #[test]
    fn the_hash_tells_lists_apart() {
        let hash = |l: &[u64]| summary(&list(l), false).hash;
        assert_eq!(hash(&[0, 1]), hash(&[1, 0]));
        assert_ne!(hash(&[0, 1]), hash(&[0, 2]));
    }

    #[test]
    fn what_nobody_has_is_given_up_in_the_end() {
        let entries = summary(&list(&[0, 1, 2]), true).entries.unwrap();
        let ours = list(&[2]);
        let mut sync = Sync::default();
        let mut now = Time::ZERO;
        for n in 0..ATTEMPTS {
            assert_eq!(sync.compare(&ours, &entries, P, 1, now).pull.len(), 1);
            assert_eq!(sync.compare(&ours, &entries, P, 1, now).pull.len(), 0, "not twice at once");
            now += FIRST_WAIT * (1 << n);
        }
        let last = sync.compare(&ours, &entries, P, 1, now);
        assert_eq!((last.pull.len(), last.lost.len()), (0, 1));
    }
}
