//! The state of one stream in the message list.

use crate::limits::MAX_GAPS;
use crate::small::grow;

/// The received ranges and marks of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StreamState {
    /// Disjoint, non-touching ranges that were received or given up, ascending: first number and
    /// the number after the last. One, most of the time, and never many.
    pub(super) ranges: Vec<(u64, u64)>,
    pub(super) received: u64,
    pub(super) last_used: u64,
    /// Numbers below it are from before this node took part.
    pub(super) start: u64,
    /// Everything below it was delivered or reported as a gap.
    pub(super) delivered: u64,
    /// The consumer of this node, or of an earlier process, has processed everything below it.
    pub(super) consumed: u64,
    /// Nothing below it is retained any more.
    pub(super) oldest_retained: u64,
    /// The publisher has signed that the stream goes up to here, received or not.
    pub(super) expected: u64,
    /// Numbers at the end that were given up on the claims of neighbours alone. If one of them
    /// arrives after all, the claims were wrong.
    pub(super) unproven: Option<(u64, u64)>,
    /// The parts of `ranges` that were given up rather than received: ascending, disjoint, at most
    /// [`MAX_GIVEN_UP`].
    pub(super) given_up: Vec<(u64, u64)>,
}

/// Number of given-up ranges that are remembered. Above it, the two oldest are merged, with the
/// messages received between them.
const MAX_GIVEN_UP: usize = 16;

impl StreamState {
    pub(super) fn contains(&self, sequence: u64) -> bool {
        self.beginning_before(sequence.saturating_add(1)).last().is_some_and(|r| sequence < r.1)
    }

    /// The ranges that begin below `limit`.
    pub(super) fn beginning_before(&self, limit: u64) -> &[(u64, u64)] {
        let n = self.ranges.partition_point(|r| r.0 < limit);
        self.ranges.get(..n).unwrap_or_default()
    }

    /// How many of the numbers in `from..to` are new.
    pub(super) fn missing_in(&self, from: u64, to: u64) -> u64 {
        let known: u64 = self
            .beginning_before(to)
            .iter()
            .rev()
            .take_while(|(_, end)| *end > from)
            .map(|&(start, end)| end.min(to) - start.max(from))
            .sum();
        to - from - known
    }

    /// Adds `from..to`, merging the ranges that it touches.
    pub(super) fn add(&mut self, mut from: u64, mut to: u64) {
        // Ranges that touch it are merged with it.
        let first = self.ranges.partition_point(|r| r.1 < from);
        let after = self.ranges.partition_point(|r| r.0 <= to).max(first);
        if let Some(touching) = self.ranges.get(first..after)
            && let (Some(low), Some(high)) = (touching.first(), touching.last())
        {
            (from, to) = (from.min(low.0), to.max(high.1));
        } else {
            grow(&mut self.ranges);
        }
        drop(self.ranges.splice(first..after, [(from, to)]));
    }

    /// Gives up the oldest gaps if there are more than [`MAX_GAPS`]. They are delivered as gaps.
    pub(super) fn close_gaps_over_bound(&mut self) {
        while self.ranges.len() > MAX_GAPS {
            let Some((from, to)) = self.gaps().first().copied() else { return };
            self.close_gaps(from, to);
        }
    }

    /// Gives up the missing messages in `from..to`.
    pub(super) fn close_gaps(&mut self, from: u64, to: u64) {
        let missing = self.missing_below(to);
        for (start, end) in missing.into_iter().filter(|m| m.1 > from) {
            self.given_up.push((start.max(from), end));
        }
        self.given_up.sort_unstable();
        while self.given_up.len() > MAX_GIVEN_UP {
            let (start, _) = self.given_up.remove(0);
            if let Some(oldest) = self.given_up.first_mut() {
                oldest.0 = start;
            }
        }
        self.add(from, to);
    }

    /// The number after the last message that was received without a gap from `from` on; `from` or
    /// less if `from` itself was not received.
    pub(crate) fn held_until(&self, from: u64) -> u64 {
        if from < self.start {
            return from;
        }
        let received = self.ranges.iter().find(|r| r.0 <= from && from < r.1);
        let given_up = self.given_up.iter().find(|g| g.1 > from);
        received.map_or(from, |r| given_up.map_or(r.1, |g| r.1.min(g.0.max(from))))
    }

    /// The smallest number from which everything below `end` was received and may still be
    /// retained.
    pub(crate) fn held_since(&self, end: u64) -> u64 {
        let received = self.beginning_before(end).last().map_or(0, |r| r.0);
        let given_up = self.given_up.iter().rev().find(|g| g.0 < end).map_or(0, |g| g.1.min(end));
        received.max(given_up).max(self.oldest_available())
    }

    /// Whether the start of the stream at this node is known.
    pub(crate) fn has_start(&self) -> bool {
        self.ranges.first().is_some_and(|r| r.0 == 0)
    }

    /// All numbers below it were received or given up; 0 while the start is not known.
    pub(crate) fn high_water(&self) -> u64 {
        self.ranges.first().map_or(0, |r| if r.0 == 0 { r.1 } else { 0 })
    }

    /// The smallest number received or given up.
    pub(crate) fn first(&self) -> u64 {
        self.ranges.first().map_or(0, |r| r.0)
    }

    /// The number after the highest received or given-up one.
    pub(crate) fn next(&self) -> u64 {
        self.ranges.last().map_or(0, |r| r.1)
    }

    /// As [`StreamState::next`], without the claims of neighbours: the end that this node reports
    /// to others.
    pub(crate) fn proven_next(&self) -> u64 {
        self.unproven.map_or(self.next(), |(from, _)| from)
    }

    /// Whether signed messages in `from..to` refute the gap at the end that neighbours claimed.
    pub(super) fn is_refuted_by(&self, from: u64, to: u64) -> bool {
        self.unproven.is_some_and(|(begin, end)| from < end && begin < to)
    }

    /// Signed messages arrived: they prove the claims of neighbours about the end of the stream, or
    /// refute them. A final gap stays in any case.
    pub(super) fn settle_unproven_end(&mut self, from: u64, to: u64, is_final: bool) {
        let Some((begin, end)) = self.unproven.filter(|u| to > u.0) else { return };
        if from >= end || to > end && is_final {
            self.unproven = None;
        }
        if from >= end || is_final {
            return;
        }
        self.unproven = None;
        let cut = from.max(begin);
        while let Some(last) = self.ranges.last_mut() {
            if last.0 < cut {
                last.1 = last.1.min(cut);
                break;
            }
            self.ranges.pop();
        }
        self.given_up.retain(|g| g.0 < cut);
        if let Some(last) = self.given_up.last_mut() {
            last.1 = last.1.min(cut);
        }
        self.delivered = self.delivered.min(cut);
        self.consumed = self.consumed.min(cut);
        self.oldest_retained = self.oldest_retained.min(cut);
    }

    /// The number after the last message that is known to be published.
    pub(crate) fn end(&self) -> u64 {
        self.next().max(self.expected)
    }

    /// Whether a known message is missing.
    pub(crate) fn has_missing(&self) -> bool {
        (self.has_start() || self.expected > 0) && self.high_water() < self.end()
    }

    /// Whether everything known was delivered or reported as a gap.
    pub(crate) fn is_delivered(&self) -> bool {
        self.delivered >= self.end()
    }

    /// The mark that the next process starts from: the delivered one, or the one of the consumer
    /// where there is one. A gap that rests on the claims of neighbours is reported again.
    pub(super) fn durable_mark(&self, follows_consumer: bool) -> u64 {
        let mark = if follows_consumer { self.consumed.max(self.start) } else { self.delivered };
        self.unproven.map_or(mark, |(from, _)| mark.min(from))
    }

    /// Whether nothing is left to report, to the consumer either if there is one.
    pub(super) fn is_closed(&self, follows_consumer: bool) -> bool {
        let consumed = !follows_consumer || self.consumed.max(self.start) >= self.delivered;
        self.is_delivered() && consumed
    }

    /// Number of received messages.
    pub(crate) const fn received(&self) -> u64 {
        self.received
    }

    /// Everything below it was delivered or reported as a gap.
    pub(crate) const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Nothing below it is available from this node.
    pub(crate) fn oldest_available(&self) -> u64 {
        self.oldest_retained.max(self.start)
    }

    /// Missing ranges below [`StreamState::next`].
    pub(crate) fn gaps(&self) -> Vec<(u64, u64)> {
        self.missing_below(self.next())
    }

    /// Missing ranges below `limit`.
    pub(crate) fn missing_below(&self, limit: u64) -> Vec<(u64, u64)> {
        let mut missing = Vec::new();
        let mut expected = 0;
        for &(start, end) in self.beginning_before(limit) {
            if start > expected {
                missing.push((expected, start));
            }
            expected = end;
        }
        if expected < limit {
            missing.push((expected, limit));
        }
        missing
    }

    /// Sets the start of the stream at this node. It can move to an earlier number until a message
    /// of the stream was delivered. Returns whether the delivered mark has moved.
    pub(super) fn set_start(&mut self, at: u64) -> bool {
        let before = self.delivered;
        let fresh = self.delivered == self.start;
        if !self.has_start() {
            // Received messages are not from before the start.
            let at = self.ranges.first().map_or(at, |r| at.min(r.0));
            (self.start, self.delivered) = (at, at);
            if at > 0 {
                self.add(0, at);
            }
        } else if at < self.start && fresh {
            let (_, end) = self.ranges.remove(0);
            if end > self.start {
                self.ranges.insert(0, (self.start, end));
            }
            if at > 0 {
                self.add(0, at);
            }
            (self.start, self.delivered) = (at, at);
        }
        self.delivered != before
    }
}
