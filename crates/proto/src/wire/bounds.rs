//! Bounds on the contents of one frame. A frame above a bound is malformed: no honest node sends
//! it.

use super::broadcast::{Range, StreamMark, SummaryEntry};
use super::frame::Frame;
use crate::limits::{
    FULL_LIST_LIMIT, MAX_ACK_STREAMS, MAX_CONFIRM_STREAMS, MAX_GAPS, MAX_GRAFT_PUBLISHERS,
    MAX_HOST_PORT, MAX_NEIGHBOURHOOD, MAX_PULL_RANGES, MAX_RECORDS_PER_FRAME, MAX_REPORTS,
    MAX_REQUEST_NEIGHBOURS, MAX_SEEDS, MAX_SUMMARY_STREAMS, REGISTRY_BUCKETS,
};

fn within(n: usize, limit: usize, what: &'static str) -> Result<(), &'static str> {
    if n > limit { Err(what) } else { Ok(()) }
}

fn entries(entries: &[SummaryEntry]) -> Result<(), &'static str> {
    within(entries.len(), MAX_SUMMARY_STREAMS, "too many publishers")?;
    // A publisher that is listed many times would count as many attempts to pull from it.
    if !entries.is_sorted_by(|a, b| a.stream() < b.stream()) {
        return Err("publishers out of order");
    }
    for e in entries {
        within(e.gaps.len(), MAX_GAPS, "too many gaps")?;
        let ends = e.gaps.iter().flat_map(|&(from, to)| [from, to]);
        if !ends.clone().is_sorted_by(|a, b| a < b) {
            return Err("gaps out of order");
        }
        let (first, last) = (e.gaps.first(), e.gaps.last());
        let outside =
            first.is_some_and(|g| g.0 < e.oldest_retained) || last.is_some_and(|g| g.1 >= e.next);
        if outside || e.oldest_retained > e.next {
            return Err("gaps out of range");
        }
    }
    Ok(())
}

fn publishers(tokens: &[u64]) -> Result<(), &'static str> {
    within(tokens.len(), MAX_GRAFT_PUBLISHERS, "too many publishers")
}

fn ranges(ranges: &[Range]) -> Result<(), &'static str> {
    within(ranges.len(), MAX_PULL_RANGES, "too many ranges")?;
    if ranges.iter().any(|r| r.from >= r.to) {
        return Err("an empty range");
    }
    Ok(())
}

fn marks(marks: &[StreamMark]) -> Result<(), &'static str> {
    within(marks.len(), MAX_CONFIRM_STREAMS, "too many streams")?;
    let key = |m: &StreamMark| (m.publisher, m.epoch);
    if marks.is_sorted_by(|a, b| key(a) < key(b)) { Ok(()) } else { Err("streams out of order") }
}

fn one_range_each(list: &[Range]) -> Result<(), &'static str> {
    within(list.len(), MAX_CONFIRM_STREAMS, "too many streams")?;
    ranges(list)?;
    let in_order = list.is_sorted_by(|a, b| a.stream() < b.stream());
    if in_order { Ok(()) } else { Err("streams out of order") }
}

impl Frame {
    /// Checks the counts in a frame against their bounds.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        match self {
            Frame::RegisterAck(f) => {
                within(f.seeds.len(), MAX_SEEDS, "too many seeds")?;
                let longest = f.seeds.iter().map(|s| s.host_port.len()).max().unwrap_or(0);
                within(longest, MAX_HOST_PORT, "a seed's address is too long")
            }
            Frame::PeerList(f) => {
                within(f.records.len(), MAX_RECORDS_PER_FRAME, "too many records")
            }
            Frame::MembershipUpdate(f) => within(
                f.joined.len().max(f.left.len()).max(f.dead.len()),
                MAX_RECORDS_PER_FRAME,
                "too many changes",
            ),
            Frame::PeerRequest(f) => {
                within(f.neighbours.len(), MAX_REQUEST_NEIGHBOURS, "too many neighbours named")
            }
            Frame::Neighbourhood(f) => {
                within(f.neighbours.len(), MAX_NEIGHBOURHOOD, "too many neighbours named")
            }
            Frame::Summary(f) => entries(f.entries.as_deref().unwrap_or_default()),
            Frame::Graft(f) => {
                publishers(&f.publishers)?;
                entries(&f.have)
            }
            Frame::Prune(f) => publishers(&f.publishers),
            Frame::Pull(f) => ranges(&f.ranges),
            Frame::Announce(f) => ranges(&f.ranges),
            Frame::Confirm(f) => one_range_each(&f.streams),
            Frame::ConfirmReply(f) => marks(&f.streams),
            Frame::Ack(f) => {
                within(f.entries.len(), MAX_ACK_STREAMS, "too many acknowledgements")?;
                let names = f.entries.iter().filter_map(|e| e.holders.as_ref()).map(Vec::len);
                within(names.max().unwrap_or(0), FULL_LIST_LIMIT, "too many holders named")
            }
            Frame::Votes(f) => {
                within(f.reports.len(), MAX_REPORTS, "too many reports")?;
                within(f.testimonies.len(), MAX_REPORTS, "too many testimonies")
            }
            Frame::Entries(f) => {
                within(f.entries.len(), MAX_RECORDS_PER_FRAME, "too many entries")?;
                within(f.requested_buckets.len(), REGISTRY_BUCKETS, "too many buckets")
            }
            Frame::Digest(f) => {
                if f.buckets.len() == REGISTRY_BUCKETS {
                    Ok(())
                } else {
                    Err("a digest has 256 buckets")
                }
            }
            _ => Ok(()),
        }
    }
}
