//! One stream with missing ranges: the neighbours that claim to have them, and those that do not.

use std::collections::BTreeSet;

use super::give_up::{GiveUpLimits, NEEDED_NEIGHBOURS};
use crate::identity::PeerId;
use crate::limits::MAX_SOURCES;
use crate::time::Time;

/// The part of a stream that a neighbour claims to have.
#[derive(Debug, Clone, Default)]
pub(super) struct SourceRange {
    pub(super) oldest: u64,
    /// Whether the neighbour retains nothing below `oldest`, rather than having announced nothing.
    pub(super) is_retention_bound: bool,
    pub(super) next: u64,
    pub(super) gaps: Vec<(u64, u64)>,
}

impl SourceRange {
    /// Whether the neighbour has a part of a range.
    pub(super) fn has_any_of(&self, from: u64, to: u64) -> bool {
        let inside = from.max(self.oldest) < to.min(self.next);
        inside
            && !self
                .gaps
                .iter()
                .any(|gap| gap.0 <= from.max(self.oldest) && to.min(self.next) <= gap.1)
    }
}

/// The oldest number of a stream that a neighbour retains, as its summary says.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetentionReport {
    pub(super) neighbour: PeerId,
    /// The neighbour retains nothing below.
    pub(super) oldest_retained: u64,
}

/// An announcement of messages that were not received yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingAnnouncement {
    pub(super) neighbour: PeerId,
    /// The number after the last announced one.
    pub(super) to: u64,
    pub(super) at: Time,
}

/// A stream with missing ranges.
#[derive(Debug)]
pub(super) struct MissingStream {
    pub(super) sources: Vec<(PeerId, SourceRange)>,
    pub(super) due: Time,
    pub(super) fruitless_pulls: u32,
    /// All sources have another pull to answer first.
    pub(super) waits_for_sources: bool,
    /// When the range was first announced, while nothing has been pulled yet.
    pub(super) announced_at: Option<Time>,
    /// An announcement ahead of the received messages, to measure how much later they arrive.
    pub(super) pending_announcement: Option<PendingAnnouncement>,
    /// Number of its messages received at the last pull.
    pub(super) received: u64,
    /// The first missing number at the last pull; `progress` says since when it is.
    pub(super) first: u64,
    /// The number after the highest one received then: ranges below it are missing for as long.
    pub(super) horizon: u64,
    pub(super) progress: Time,
    /// Neighbours that answered with nothing, or reported a gap there. A neighbour that has not
    /// answered may have the range: the answer may have been dropped from a full queue.
    pub(super) failed: BTreeSet<PeerId>,
    /// Those of them that had reported no gap there, and have evicted a part of the stream: they do
    /// not look for the range.
    pub(super) evicted_at: BTreeSet<PeerId>,
    /// The retention reports of neighbours, including those without any of the missing messages.
    pub(super) retention_reports: Vec<RetentionReport>,
}

impl MissingStream {
    pub(super) const fn new(due: Time, announced_at: Option<Time>, now: Time) -> Self {
        MissingStream {
            sources: Vec::new(),
            due,
            fruitless_pulls: 0,
            waits_for_sources: false,
            announced_at,
            pending_announcement: None,
            received: 0,
            first: 0,
            horizon: 0,
            progress: now,
            failed: BTreeSet::new(),
            evicted_at: BTreeSet::new(),
            retention_reports: Vec::new(),
        }
    }

    /// Records the retention report of a neighbour.
    pub(super) fn record_retention_report(&mut self, report: RetentionReport) {
        let room = self.retention_reports.len() < MAX_SOURCES;
        match self.retention_reports.iter_mut().find(|e| e.neighbour == report.neighbour) {
            Some(before) => *before = report,
            None if room => self.retention_reports.push(report),
            None => {}
        }
    }

    /// The oldest number that a neighbour reports to retain.
    pub(super) fn retained_from(&self, neighbour: &PeerId) -> Option<u64> {
        let (_, source) =
            self.sources.iter().find(|(id, c)| id == neighbour && c.is_retention_bound)?;
        Some(source.oldest)
    }

    /// The highest number below which any neighbour has had everything and retains nothing.
    pub(super) fn claimed_end(&self) -> u64 {
        self.retention_reports.iter().map(|report| report.oldest_retained).max().unwrap_or(0)
    }

    /// The number up to which enough of `degree` neighbours have had the stream and retain nothing,
    /// after the stream has made no progress for so long that no message of it can be in flight. In
    /// the end fewer neighbours have to agree: the others may have been cut off as well.
    pub(super) fn agreed_end(&self, degree: usize, limits: &GiveUpLimits, now: Time) -> u64 {
        let waited = now.since(self.progress);
        let needed = if waited >= limits.last {
            degree / 2
        } else if waited >= limits.evicted {
            degree
        } else {
            return 0;
        };
        self.evicted_below(needed)
    }

    /// The number below which enough of `degree` neighbours retain nothing any more. Such messages
    /// were not given up, and are not missing there: they were received and evicted for later ones.
    pub(super) fn evicted_below(&self, degree: usize) -> u64 {
        let mut oldest: Vec<u64> =
            self.retention_reports.iter().map(|report| report.oldest_retained).collect();
        oldest.sort_unstable_by(|a, b| b.cmp(a));
        oldest.get(degree.clamp(1, NEEDED_NEIGHBOURS) - 1).copied().unwrap_or(0)
    }

    /// Splits off the missing ranges that neighbours have evicted and no source claims to have.
    pub(super) fn split_evicted(
        &self,
        missing: &mut Vec<(u64, u64)>,
        degree: usize,
    ) -> Vec<(u64, u64)> {
        let evicted_end = self.evicted_below(degree);
        let mut evicted = Vec::new();
        for m in missing.iter_mut().take_while(|m| m.0 < evicted_end) {
            let old = (m.0, m.1.min(evicted_end));
            if !self.sources.iter().any(|(_, c)| c.has_any_of(old.0, old.1)) {
                evicted.push(old);
                m.0 = old.1;
            }
        }
        missing.retain(|m| m.0 < m.1);
        evicted
    }
}
