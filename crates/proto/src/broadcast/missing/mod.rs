//! Missing ranges: their sources, when they are pulled, and when they are given up.
//!
//! Announcements and summaries name the sources of a range. A range that the trees do not deliver
//! in time is pulled from one source after the other. A range that no neighbour has is given up in
//! the end, so that it does not block the delivery of later messages for ever.

mod give_up;
mod pulls;
mod stream;
#[cfg(test)]
mod tests;

use core::cmp::Reverse;
use core::time::Duration;
use std::collections::BTreeMap;

use self::give_up::GiveUpLimits;
use self::stream::{MissingStream, PendingAnnouncement, RetentionReport, SourceRange};
use super::message_list::{MessageList, StreamState};
use crate::identity::PeerId;
use crate::limits::{MAX_MISSING_STREAMS, MAX_SOURCES};
use crate::message::StreamId;
use crate::random::RngStream;
use crate::small::GrowMap;
use crate::time::Time;
use crate::wire::{Range, SummaryEntry};

/// Shortest wait before the second pull of a stream; it doubles with every further one.
const RETRY_DELAY: Duration = Duration::from_millis(250);
/// The longest wait between two pulls of a stream.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(4);
/// Bounds of the time that trees get to deliver an announced range; up to twice as long is waited.
const MIN_TREE_WAIT: Duration = Duration::from_millis(60);
/// Where trees take longer, few peers may have a message, and it is lost if they die before it is
/// pulled.
const MAX_TREE_WAIT: Duration = Duration::from_secs(1);
/// How long earlier messages may still arrive along a changing tree after a later one has, before
/// they are pulled: at least this long, and at most [`MAX_REORDER_WAIT`] if trees were slow lately.
const REORDER_WAIT: Duration = Duration::from_millis(30);
const MAX_REORDER_WAIT: Duration = Duration::from_millis(300);
/// The time that trees get before anything was measured.
const INITIAL_TREE_WAIT: Duration = Duration::from_millis(150);
/// A source that is silent for this many times the usual answer time is pulled from again.
const SILENCE_FACTOR: u32 = 4;
/// But not before it was silent for this long.
const MIN_SILENCE: Duration = Duration::from_secs(4);
/// The longest silence that a source is allowed, after several pulls without an answer.
const MAX_SILENCE: Duration = Duration::from_secs(16);
/// Number of gaps that are remembered of a source.
const MAX_SOURCE_GAPS: usize = 32;

/// The pulls and decisions that are due.
#[derive(Debug, Default)]
pub(crate) struct DuePulls {
    /// The ranges to pull from each neighbour.
    pub(crate) pulls: BTreeMap<PeerId, Vec<Range>>,
    /// The ranges that are given up.
    pub(crate) given_up: Vec<(StreamId, u64, u64)>,
    /// Whether the known sources do not have a range: other neighbours should be asked for their
    /// lists.
    pub(crate) compare_lists: bool,
    /// Ranges to pull from any neighbour, although none has announced them: an empty answer counts
    /// as well.
    pub(crate) from_any_neighbour: Vec<Range>,
}

/// Whether a neighbour announced messages before they arrived along a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EarlierAnnouncement {
    /// No announcement is ahead of the received messages.
    None,
    /// A neighbour has announced more than was received.
    Pending,
    /// This neighbour announced what has been received now, so long before.
    By(PeerId, Duration),
}

/// A pull that is not answered yet.
#[derive(Debug)]
struct PendingPull {
    nonce: u64,
    streams: Vec<StreamId>,
    at: Time,
    /// How long its source may be silent.
    silence: Duration,
    /// Until then its source is asked for nothing else: on a slow link, answers would queue up
    /// faster than they are sent.
    until: Time,
}

fn is_free(pulls: &BTreeMap<PeerId, PendingPull>, neighbour: &PeerId, now: Time) -> bool {
    pulls.get(neighbour).is_none_or(|p| p.until <= now)
}

/// Smooths as RFC 6298, section 2, does: gains of 1/8 and 1/4.
fn smooth(estimate: &mut Option<(Duration, Duration)>, sample: Duration) {
    *estimate = Some(match *estimate {
        None => (sample, sample / 2),
        Some((mean, dev)) => ((mean * 7 + sample) / 8, (dev * 3 + sample.abs_diff(mean)) / 4),
    });
}

/// All streams with missing ranges.
#[derive(Debug)]
pub(crate) struct MissingRanges {
    streams: GrowMap<StreamId, MissingStream>,
    /// How long after an announcement the payload arrives along a tree: mean and deviation.
    tree_delay: Option<(Duration, Duration)>,
    /// How long sources take to answer a pull: mean and deviation.
    answer_time: Option<(Duration, Duration)>,
    /// The last pull of each neighbour that has not answered it.
    pulls: BTreeMap<PeerId, PendingPull>,
    last_nonce: u64,
    limits: GiveUpLimits,
    /// While there are too many streams: when to look for space again.
    full_until: Time,
    refused: u64,
    rng: RngStream,
}

impl MissingRanges {
    pub(crate) fn new(retention_age: Duration, rng: RngStream) -> Self {
        let limits = GiveUpLimits::of(retention_age);
        MissingRanges {
            streams: GrowMap::new(),
            tree_delay: None,
            answer_time: None,
            pulls: BTreeMap::new(),
            last_nonce: 0,
            limits,
            full_until: Time::ZERO,
            refused: 0,
            rng,
        }
    }

    /// How long trees get to deliver a range that a neighbour has: as long as they took lately.
    fn tree_wait(&mut self) -> Duration {
        let usual =
            self.tree_delay.map_or(INITIAL_TREE_WAIT, |(mean, deviation)| mean + deviation * 4);
        self.rng.scaled(usual.clamp(MIN_TREE_WAIT, MAX_TREE_WAIT), 1.0, 2.0)
    }

    /// The wait before the second pull of a stream: the usual answer time.
    fn retry_delay(&self) -> Duration {
        let usual = self.answer_time.map_or(RETRY_DELAY, |(mean, deviation)| mean + deviation * 4);
        usual.clamp(RETRY_DELAY, MAX_RETRY_DELAY)
    }

    /// Records that a batch arrived along a tree without those before it. Links keep the order, so
    /// they were skipped or lost, and the sender of this one is the likeliest source.
    pub(crate) fn on_skipped(
        &mut self,
        stream: StreamId,
        neighbour: PeerId,
        below: u64,
        now: Time,
    ) {
        // A reported start of its retention stands.
        let oldest =
            self.streams.get(&stream).and_then(|w| w.retained_from(&neighbour)).unwrap_or(0);
        let source =
            SourceRange { oldest, is_retention_bound: false, next: below, gaps: Vec::new() };
        let usual = self.tree_delay.map_or(REORDER_WAIT, |(mean, deviation)| mean + deviation * 2);
        let due = now + usual.clamp(REORDER_WAIT, MAX_REORDER_WAIT);
        self.add_source(stream, neighbour, source, due, Some(now), now);
    }

    /// Starts to look after every stream with a missing range, whether or not a source is known: in
    /// the end the range is given up.
    pub(crate) fn review(&mut self, list: &MessageList, now: Time) {
        for (stream, seen) in list.iter() {
            let known = self.streams.contains_key(stream);
            if !known && seen.has_missing() && self.ensure_room(now) {
                self.streams.insert(*stream, MissingStream::new(now + RETRY_DELAY, None, now));
            }
        }
    }

    /// Records that a publisher has signed a later end of a stream than was received.
    pub(crate) fn expect_more(&mut self, stream: StreamId, now: Time) {
        if self.streams.contains_key(&stream) || self.ensure_room(now) {
            self.streams.get_or_insert(stream, || MissingStream::new(now + RETRY_DELAY, None, now));
        }
    }

    /// Handles a range that a neighbour has announced.
    pub(crate) fn on_announced(
        &mut self,
        list: &MessageList,
        neighbour: PeerId,
        r: &Range,
        now: Time,
    ) {
        let stream = r.stream();
        let seen = list.get(stream);
        let is_missing = !list.is_closed(stream)
            && seen.is_none_or(|s| s.missing_below(r.to).last().is_some_and(|m| m.1 > r.from));
        if is_missing {
            let source = SourceRange {
                oldest: r.from,
                is_retention_bound: false,
                next: r.to,
                gaps: Vec::new(),
            };
            let due = now + self.tree_wait();
            self.add_source(stream, neighbour, source, due, Some(now), now);
            if let Some(w) = self.streams.get_mut(&stream)
                // Of two announcements, keep the one that can be judged sooner: the other neighbour
                // may have announced messages that do not exist.
                && w.pending_announcement.is_none_or(|a| r.to < a.to)
            {
                w.pending_announcement = Some(PendingAnnouncement { neighbour, to: r.to, at: now });
            }
        }
    }

    /// Handles a neighbour's summary of a stream; `at_once` if no tree can be bringing it.
    pub(crate) fn on_summary_entry(
        &mut self,
        list: &MessageList,
        neighbour: PeerId,
        e: &SummaryEntry,
        at_once: bool,
        now: Time,
    ) {
        let stream = e.stream();
        if list.is_closed(stream) {
            return;
        }
        let missing =
            list.get(stream).map_or_else(|| vec![(0, e.next)], |s| s.missing_below(e.next));
        let gaps: Vec<_> = e.gaps.iter().copied().take(MAX_SOURCE_GAPS).collect();
        let source =
            SourceRange { oldest: e.oldest_retained, is_retention_bound: true, next: e.next, gaps };
        if missing.iter().any(|m| source.has_any_of(m.0, m.1)) {
            let due = if at_once { now } else { now + self.tree_wait() };
            self.add_source(stream, neighbour, source, due, None, now);
        } else if !missing.is_empty() {
            if list.is_followed(stream) {
                // No neighbour can send it any more: in time that is reported as a gap.
                self.expect_more(stream, now);
            }
            if let Some(w) = self.streams.get_mut(&stream) {
                w.failed.insert(neighbour);
            }
        }
        if let Some(w) = self.streams.get_mut(&stream) {
            w.record_retention_report(RetentionReport {
                neighbour,
                oldest_retained: e.oldest_retained,
            });
        }
    }

    fn add_source(
        &mut self,
        stream: StreamId,
        neighbour: PeerId,
        source: SourceRange,
        due: Time,
        announced_at: Option<Time>,
        now: Time,
    ) {
        if !self.streams.contains_key(&stream) && !self.ensure_room(now) {
            return;
        }
        let new_stream = || MissingStream::new(due, announced_at, now);
        let w = self.streams.get_or_insert(stream, new_stream);
        if w.fruitless_pulls == 0 {
            w.due = w.due.min(due);
        }
        let full = w.sources.len() >= MAX_SOURCES;
        match w.sources.iter_mut().find(|(id, _)| *id == neighbour) {
            Some((_, c)) if announced_at.is_some() => {
                c.oldest = c.oldest.min(source.oldest);
                c.next = c.next.max(source.next);
            }
            Some((_, c)) => *c = source,
            None if full => {}
            None => {
                w.sources.push((neighbour, source));
                if w.fruitless_pulls > 0 {
                    // The other sources were pulled from already: do not wait for their turn.
                    w.due = w.due.min(now + RETRY_DELAY);
                }
            }
        }
    }

    /// Makes space for another stream if necessary. Returns whether there is some. A full table is
    /// searched for many streams at once, and not again for a [`RETRY_DELAY`] if few can go:
    /// otherwise a neighbour that invents streams could cause a search for each.
    fn ensure_room(&mut self, now: Time) -> bool {
        if self.streams.len() < MAX_MISSING_STREAMS {
            return true;
        }
        if now < self.full_until {
            self.refused += 1;
            return false;
        }
        // Invented streams are pulled without an answer, or wait for a silent neighbour, and none
        // of their messages arrives. Real streams are given up with a gap in time.
        let is_unanswered =
            |w: &MissingStream| w.received == 0 && (w.fruitless_pulls > 1 || w.waits_for_sources);
        let candidates = self.streams.iter().filter(|(_, w)| is_unanswered(w));
        let mut unanswered: Vec<(Reverse<u32>, StreamId)> =
            candidates.map(|(s, w)| (Reverse(w.fruitless_pulls), *s)).collect();
        unanswered.sort_unstable();
        if unanswered.len() < MAX_MISSING_STREAMS / 16 {
            self.full_until = now + RETRY_DELAY;
        }
        for (_, stream) in unanswered.iter().take(MAX_MISSING_STREAMS / 16) {
            self.streams.remove(stream);
        }
        self.refused += u64::from(unanswered.is_empty());
        !unanswered.is_empty()
    }

    /// Number of streams that were not recorded since the last call, because there was no space.
    pub(crate) fn take_refused(&mut self) -> u64 {
        core::mem::take(&mut self.refused)
    }

    /// Whether a neighbour had announced the messages of a stream that have arrived by now.
    /// Returned once.
    pub(crate) fn take_earlier_announcement(
        &mut self,
        list: &MessageList,
        stream: StreamId,
        now: Time,
    ) -> EarlierAnnouncement {
        let has = list.get(stream).map_or(0, StreamState::high_water);
        let Some(w) = self.streams.get_mut(&stream) else { return EarlierAnnouncement::None };
        match w.pending_announcement {
            None => EarlierAnnouncement::None,
            Some(announced) if announced.to > has => EarlierAnnouncement::Pending,
            Some(announced) => {
                w.pending_announcement = None;
                EarlierAnnouncement::By(announced.neighbour, now.since(announced.at))
            }
        }
    }

    /// Handles a batch of a stream: a stream that is complete now is no longer missing.
    pub(crate) fn on_received(&mut self, list: &MessageList, stream: StreamId, now: Time) {
        let Some(w) = self.streams.get(&stream) else { return };
        let claimed = w.sources.iter().map(|(_, c)| c.next).max().unwrap_or(0);
        let complete = list
            .get(stream)
            .is_some_and(|s| s.has_start() && s.missing_below(claimed.max(s.end())).is_empty());
        if !complete {
            return;
        }
        if let Some(at) = w.announced_at.filter(|_| w.fruitless_pulls == 0) {
            smooth(&mut self.tree_delay, now.since(at));
        }
        self.streams.remove(&stream);
    }

    /// The smallest number of a stream that a neighbour says it retains.
    pub(crate) fn oldest_retained(&self, stream: StreamId) -> Option<u64> {
        let w = self.streams.get(&stream)?;
        w.sources.iter().filter(|(_, c)| c.is_retention_bound).map(|(_, c)| c.oldest).min()
    }

    /// Whether a neighbour was asked for the missing ranges of a stream without success.
    pub(crate) fn has_failed(&self, stream: StreamId, neighbour: &PeerId) -> bool {
        self.streams.get(&stream).is_some_and(|w| w.failed.contains(neighbour))
    }

    /// Forgets a neighbour that is gone.
    pub(crate) fn forget_source(&mut self, neighbour: PeerId, now: Time) {
        self.pulls.remove(&neighbour);
        for w in self.streams.values_mut() {
            let before = w.sources.len();
            w.sources.retain(|(id, _)| *id != neighbour);
            w.retention_reports.retain(|e| e.neighbour != neighbour);
            w.pending_announcement.take_if(|a| a.neighbour == neighbour);
            if w.sources.len() < before && w.fruitless_pulls > 0 {
                w.due = w.due.min(now + RETRY_DELAY);
            }
        }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.streams.values().map(|w| w.due).min()
    }
}
