//! Anti-entropy between two neighbours: comparison of their message lists.
//!
//! On a new link both ends send their full lists; later, a peer sends only its digest to a random
//! neighbour. If the digests differ, the other end answers with its list (the version vectors of
//! Demers et al. 1987, section 1.3, per publisher), and gets announcements of what it lacks.
//! Missing ranges are pulled by [`missing`](crate::broadcast::missing).

use std::collections::BTreeSet;

use crate::broadcast::{MessageList, StreamState};
use crate::identity::PeerId;
use crate::limits::{MAX_PULL_RANGES, MAX_SUMMARY_STREAMS};
use crate::message::StreamId;
use crate::wire::{Range, Summary, SummaryEntry};

/// Bytes of entries in one summary. Further entries are compared after these have been settled.
const SUMMARY_BYTES: usize = 512 * 1024;

/// The digest of a message list.
fn hash(list: &MessageList) -> u64 {
    let mut h = blake3::Hasher::new();
    for (&StreamId { publisher, epoch }, seen) in list.iter() {
        h.update(publisher.as_bytes());
        let gaps = seen.gaps();
        for n in [epoch, seen.proven_next()].into_iter().chain(gaps.iter().flat_map(|g| [g.0, g.1]))
        {
            h.update(&n.to_le_bytes());
        }
    }
    let mut hash = [0u8; 8];
    h.finalize_xof().fill(&mut hash);
    u64::from_le_bytes(hash)
}

/// The entries of some publishers.
pub(crate) fn entries_of(list: &MessageList, publishers: &[PeerId]) -> Vec<SummaryEntry> {
    let sorted: BTreeSet<PeerId> = publishers.iter().copied().collect();
    entries(sorted.into_iter().flat_map(|publisher| {
        list.epochs(publisher).map(move |(epoch, seen)| (StreamId { publisher, epoch }, seen))
    }))
}

/// The entries of streams in ascending order, as many as fit into a frame.
fn entries<'a>(streams: impl Iterator<Item = (StreamId, &'a StreamState)>) -> Vec<SummaryEntry> {
    let mut entries = Vec::new();
    let mut bytes = 0;
    for (StreamId { publisher, epoch }, seen) in streams {
        let next = seen.proven_next();
        let oldest_retained = seen.oldest_available().min(next);
        let inside = |&(from, to): &(u64, u64)| {
            (to > oldest_retained).then_some((from.max(oldest_retained), to))
        };
        let gaps: Vec<(u64, u64)> = seen.gaps().iter().filter_map(inside).collect();
        bytes += 64 + gaps.len() * 20;
        if entries.len() >= MAX_SUMMARY_STREAMS || bytes > SUMMARY_BYTES {
            break;
        }
        entries.push(SummaryEntry { publisher, epoch, next, gaps, oldest_retained });
    }
    entries
}

fn all(list: &MessageList) -> Vec<SummaryEntry> {
    entries(list.iter().map(|(stream, seen)| (*stream, seen)))
}

/// The digest of the list at its last version: a query needs no pass over all streams.
#[derive(Debug, Default)]
pub(crate) struct DigestCache(Option<(u64, u64)>);

impl DigestCache {
    /// The digest, as [`hash`] computes it.
    pub(crate) fn of(&mut self, list: &MessageList) -> u64 {
        match self.0 {
            Some((version, hash)) if version == list.version() => hash,
            _ => {
                let hash = hash(list);
                self.0 = Some((list.version(), hash));
                hash
            }
        }
    }

    /// A query with the digest only.
    pub(crate) fn digest_query(&mut self, list: &MessageList) -> Summary {
        Summary { hash: self.of(list), entries: None }
    }

    /// A summary with all entries.
    pub(crate) fn full_summary(&mut self, list: &MessageList) -> Summary {
        Summary { hash: self.of(list), entries: Some(all(list)) }
    }
}

/// The ranges that this node can send and the other end lacks, according to its entries.
pub(crate) fn lacking(list: &MessageList, theirs: &[SummaryEntry]) -> Vec<Range> {
    let mut ranges = Vec::new();
    for (&stream, ours) in list.iter() {
        let at = theirs.binary_search_by_key(&stream, SummaryEntry::stream);
        let entry = at.ok().and_then(|at| theirs.get(at));
        let (gaps, next) = entry.map_or((&[][..], 0), |e| (e.gaps.as_slice(), e.next));
        let missing = ours.gaps();
        let given = |&(from, to): &(u64, u64)| {
            let (from, to) = (from.max(ours.oldest_available()), to.min(ours.proven_next()));
            let none = from >= to || missing.iter().any(|m| m.0 <= from && to <= m.1);
            (!none).then_some(Range::new(stream, from, to))
        };
        ranges.extend(gaps.iter().chain([&(next, u64::MAX)]).filter_map(given));
        if ranges.len() >= MAX_PULL_RANGES {
            // The next comparison finds the others.
            ranges.truncate(MAX_PULL_RANGES);
            break;
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: StreamId = StreamId { publisher: PeerId::from_bytes([1; 32]), epoch: 1 };

    fn list(ranges: &[(u64, u64)]) -> MessageList {
        let mut l = MessageList::default();
        for r in ranges {
            l.receive(S, r.0, r.1);
        }
        l
    }

    #[test]
    fn hash_distinguishes_lists() {
        let of = |r: &[(u64, u64)]| hash(&list(r));
        assert_eq!(of(&[(0, 1), (1, 2)]), of(&[(0, 2)]));
        assert_ne!(of(&[(0, 2)]), of(&[(0, 1), (2, 3)]));
    }

    #[test]
    fn lacking_lists_the_ranges_that_the_other_end_lacks() {
        let lacks = |ours: &[(u64, u64)], theirs: &[(u64, u64)]| {
            let all = lacking(&list(ours), &all(&list(theirs)));
            all.iter().map(|r| (r.from, r.to)).collect::<Vec<_>>()
        };
        assert_eq!(lacks(&[(0, 3)], &[]), [(0, 3)]);
        assert_eq!(lacks(&[(0, 3)], &[(0, 2)]), [(2, 3)]);
        assert_eq!(lacks(&[(0, 3)], &[(0, 1), (2, 3)]), [(1, 2)]);
        assert_eq!(lacks(&[(0, 1), (2, 3)], &[(0, 3)]), []);
        assert_eq!(lacks(&[(0, 1), (2, 3)], &[(0, 1), (2, 3)]), []);
        let mut ours = list(&[(0, 5)]);
        ours.raise_oldest_retained(S, 3);
        let all = lacking(&ours, &[]);
        assert_eq!((all[0].from, all[0].to), (3, 5), "evicted messages cannot be sent");
    }

    #[test]
    fn evicted_messages_are_not_offered() {
        let mut l = list(&[(0, 5), (8, 9)]);
        l.raise_oldest_retained(S, 6);
        let e = &all(&l)[0];
        assert_eq!((e.oldest_retained, e.next, e.gaps.as_slice()), (6, 9, [(6, 8)].as_slice()));
    }
}
