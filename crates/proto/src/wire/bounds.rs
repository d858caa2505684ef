//! How much one frame may name. A frame over a bound is malformed: no honest node sends it.

use super::frame::{Frame, SummaryEntry};
use crate::limits::{
    MAX_GAPS, MAX_HOST_PORT, MAX_NEIGHBOURHOOD, MAX_PULL_RANGES, MAX_RECORDS_PER_FRAME,
    MAX_REPORTS, MAX_REQUEST_NEIGHBOURS, MAX_SEEDS, MAX_SUMMARY,
};

/// Buckets of a registry, each with its hash in a digest.
const BUCKETS: usize = 256;

impl Frame {
    /// Holds the counts in a frame against their bounds.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let within = |n: usize, limit: usize, what| if n > limit { Err(what) } else { Ok(()) };
        match self {
            Frame::Registered(f) => {
                within(f.seeds.len(), MAX_SEEDS, "too many seeds")?;
                let longest = f.seeds.iter().map(|s| s.host_port.len()).max().unwrap_or(0);
                within(longest, MAX_HOST_PORT, "a seed's address is too long")
            }
            Frame::PeerList(f) => {
                within(f.records.len(), MAX_RECORDS_PER_FRAME, "too many records")
            }
            Frame::MembersChanged(f) => within(
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
            Frame::Summary(f) => {
                let entries = f.entries.as_deref().unwrap_or_default();
                within(entries.len(), MAX_SUMMARY, "too many publishers")?;
                // Naming one publisher many times would pass for as many attempts to pull from it.
                let key = |e: &SummaryEntry| (e.publisher, e.incarnation);
                if !entries.is_sorted_by(|a, b| key(a) < key(b)) {
                    return Err("publishers out of order");
                }
                for e in entries {
                    within(e.gaps.len(), MAX_GAPS, "too many gaps")?;
                    let ends = e.gaps.iter().flat_map(|&(from, to)| [from, to]);
                    let ordered = ends.clone().is_sorted_by(|a, b| a < b);
                    if !ordered || e.gaps.last().is_some_and(|&(_, to)| to >= e.next) {
                        return Err("gaps out of order");
                    }
                }
                Ok(())
            }
            Frame::Pull(f) => {
                within(f.ranges.len(), MAX_PULL_RANGES, "too many ranges")?;
                if f.ranges.iter().any(|r| r.from >= r.to) {
                    return Err("an empty range");
                }
                Ok(())
            }
            Frame::Votes(f) => {
                within(f.reports.len(), MAX_REPORTS, "too many reports")?;
                within(f.testimonies.len(), MAX_REPORTS, "too many testimonies")?;
                within(f.votes.len(), MAX_SEEDS, "too many votes")
            }
            Frame::Entries(f) => {
                within(f.entries.len(), MAX_RECORDS_PER_FRAME, "too many entries")?;
                within(f.want.len(), BUCKETS, "too many buckets")
            }
            Frame::Digest(f) => {
                if f.buckets.len() == BUCKETS {
                    Ok(())
                } else {
                    Err("a digest has 256 buckets")
                }
            }
            _ => Ok(()),
        }
    }
}
