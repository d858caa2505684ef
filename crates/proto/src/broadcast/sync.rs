//! Comparison and repair: announcements, summaries, pulls.

use core::time::Duration;

use super::Broadcast;
use super::StreamState;
use super::digest;
use crate::config::BroadcastMode;
use crate::context::{Context, View};
use crate::identity::PeerId;
use crate::io::{Class, LinkId};
use crate::limits::{
    MAX_BATCH_MESSAGES, MAX_MISSING_STREAMS, MAX_PULL_BATCHES, MAX_PULL_BYTES, MAX_PULL_RANGES,
};
use crate::message::StreamId;
use crate::time::Time;
use crate::wire::{Announce, Pull, PullEnd, Range, Summary, SummaryEntry};

/// Bytes sent at once to a neighbour that grafts. It has grafted on others as well, which send it
/// the same: more is announced, and pulled from one of them.
const MAX_CATCH_UP_BYTES: usize = 64 * 1024;
/// Shortest time between two full summaries for one neighbour.
const FULL_SUMMARY_INTERVAL: Duration = Duration::from_millis(250);
/// A neighbour that is younger was not on a tree: missing messages are pulled from it at once.
const NEW_NEIGHBOUR_AGE: Duration = Duration::from_secs(2);
/// How long neighbours have to report the start of a stream whose first messages are missing.
const START_REPORT_TIME: Duration = Duration::from_secs(2);
/// Number of neighbours that are asked at once about a range that no neighbour has announced.
const COMPARED_AT_ONCE: usize = 3;
/// How long after its first neighbour a peer counts as new.
const NEWCOMER_AGE: Duration = Duration::from_secs(10);

/// A stream whose start is not known.
#[derive(Debug)]
pub(crate) struct UnknownStart {
    since: Time,
    /// The smallest number that a neighbour retains; `u64::MAX` if none has reported one.
    oldest_retained: u64,
}

impl Broadcast {
    // ---- announcements ---------------------------------------------------------------------

    /// Announces received messages on lazy links.
    pub(crate) fn run_announcer(&mut self, cx: &mut Context<'_>) {
        if self.announcer.due.is_none_or(|at| at > cx.now) {
            return;
        }
        let neighbours = cx.overlay.neighbours.keys().copied();
        let (trees, floods) = (&self.trees, cx.config.broadcast() == BroadcastMode::Flood);
        let now = cx.now;
        let is_child = |n: &PeerId, publisher: &PeerId| floods || trees.is_child(n, publisher);
        for (to, ranges) in self.announcer.take_announcements(neighbours, now, is_child) {
            if let Some(n) = cx.overlay.neighbours.get(&to) {
                cx.fx.send_as(n.link, Announce { ranges }, Class::Announce);
            }
        }
    }

    pub(crate) fn on_announce(&mut self, cx: &mut Context<'_>, remote: PeerId, f: &Announce) {
        let now = cx.now;
        for range in &f.ranges {
            self.announcer.on_announced(remote, range, now);
            self.missing.on_announced(&self.store.list, remote, range, now);
        }
    }

    // ---- summaries -------------------------------------------------------------------------

    /// Sends a new neighbour the full message list, and the state of the trees. Both ends know by
    /// now that they are neighbours.
    pub(crate) fn start_sync(&mut self, cx: &mut Context<'_>, link: LinkId, neighbour: PeerId) {
        let summary = self.digests.full_summary(&self.store.list);
        cx.fx.send(link, summary);
        self.tree_link_up(cx, neighbour);
        self.query_new_neighbour(cx);
    }

    /// Compares the digest with a random neighbour.
    pub(crate) fn run_sync(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        if now >= self.next_sync {
            self.next_sync = now + self.rng.scaled(cx.config.sync_interval(), 0.75, 1.25);
            self.compare_with(cx, 1);
            self.missing.review(&self.store.list, now);
        }
    }

    pub(crate) fn compare_with_some(&mut self, cx: &mut Context<'_>) {
        self.compare_with(cx, COMPARED_AT_ONCE);
    }

    fn compare_with(&mut self, cx: &mut Context<'_>, n: usize) {
        let links: Vec<LinkId> = cx.overlay.neighbours.values().map(|n| n.link).collect();
        for link in self.rng.sample(links, n) {
            let query = self.digests.digest_query(&self.store.list);
            cx.fx.send(link, query);
        }
    }

    pub(crate) fn on_summary(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        remote: PeerId,
        f: &Summary,
    ) {
        let now = cx.now;
        if self.digests.of(&self.store.list) == f.hash {
            return self.on_neighbour_history(remote, None);
        }
        if let Some(entries) = &f.entries {
            self.on_neighbour_history(remote, Some(entries));
        }
        let since = cx.overlay.neighbours.get(&remote).map(|n| n.since);
        let (Some(neighbour), Some(since)) = (self.neighbours.get_mut(&remote), since) else {
            return;
        };
        let Some(remote_entries) = &f.entries else {
            // Only the digest came: send the full list, and the other end pulls what it lacks.
            if now >= neighbour.full_summary_after {
                neighbour.full_summary_after = now + FULL_SUMMARY_INTERVAL;
                let summary = self.digests.full_summary(&self.store.list);
                cx.fx.send(link, summary);
            }
            return;
        };
        let at_once = now.since(since) < NEW_NEIGHBOUR_AGE;
        if now >= neighbour.announce_lacking_after {
            let ranges = digest::lacking(&self.store.list, remote_entries);
            if !ranges.is_empty() {
                // Much of it may be in flight: the other end waits before it pulls.
                neighbour.announce_lacking_after = now + cx.config.sync_interval();
                cx.fx.send_as(link, Announce { ranges }, Class::Announce);
            }
        }
        for e in remote_entries {
            let stream = e.stream();
            self.on_start_report(cx, stream, e.oldest_retained);
            self.missing.on_summary_entry(&self.store.list, remote, e, at_once, now);
        }
        self.run_pulls(cx);
    }

    // ---- start of a stream -----------------------------------------------------------------

    /// Whether this peer has participated for long enough to have missed what it did not get.
    /// Messages that a newcomer did not get may be from before its start.
    fn is_established(&self, cx: &View<'_>) -> bool {
        cx.membership.own.participates_since.is_some_and(|at| cx.now.since(at) > NEWCOMER_AGE)
    }

    /// Looks for the start of a stream after a message of it arrived without the first one.
    pub(crate) fn find_stream_start(&mut self, cx: &mut Context<'_>, stream: StreamId) {
        let seen = self.store.list.get(stream);
        if seen.is_some_and(StreamState::has_start) || self.unknown_starts.contains_key(&stream) {
            return;
        }
        let oldest_retained = self.missing.oldest_retained(stream);
        // Such a young stream began while this peer participated, or nearly.
        let is_young = seen.map_or(0, StreamState::first) < MAX_BATCH_MESSAGES as u64;
        let is_full = self.unknown_starts.len() >= MAX_MISSING_STREAMS;
        if is_young || oldest_retained == Some(0) || self.is_established(cx) || is_full {
            return self.store.list.set_start(stream, 0);
        }
        let oldest_retained = oldest_retained.unwrap_or(u64::MAX);
        self.unknown_starts.insert(stream, UnknownStart { since: cx.now, oldest_retained });
        self.compare_with_some(cx);
    }

    /// Handles the report of a neighbour that retains a stream from `oldest_retained` on. It
    /// creates no state for a stream without a received message, because it is only a claim.
    fn on_start_report(&mut self, cx: &mut Context<'_>, stream: StreamId, oldest_retained: u64) {
        if oldest_retained == 0 && self.unknown_starts.remove(&stream).is_some() {
            self.store.list.set_start(stream, 0);
            return self.deliver(cx, stream);
        }
        if let Some(state) = self.unknown_starts.get_mut(&stream) {
            state.oldest_retained = state.oldest_retained.min(oldest_retained);
        }
    }

    /// Starts streams at the oldest number that a neighbour retains, or at the first received
    /// message.
    pub(crate) fn settle_unknown_starts(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        let due = |state: &UnknownStart| state.since + START_REPORT_TIME <= now;
        let all: Vec<(StreamId, u64)> = self
            .unknown_starts
            .iter()
            .filter(|(_, state)| due(state))
            .map(|(s, state)| (*s, state.oldest_retained))
            .collect();
        for (stream, oldest_retained) in all {
            self.unknown_starts.remove(&stream);
            if oldest_retained < u64::MAX {
                self.store.list.set_start(stream, oldest_retained);
            } else {
                self.store.list.start_at_first_received(stream);
            }
            self.deliver(cx, stream);
        }
    }

    pub(crate) fn unknown_starts_deadline(&self) -> Option<Time> {
        self.unknown_starts.values().map(|state| state.since + START_REPORT_TIME).min()
    }

    // ---- pulls -----------------------------------------------------------------------------

    /// Number of neighbours to ask. If the first neighbour is new, the missing ones are counted as
    /// well: it may retain less than they do.
    fn neighbours_to_ask(&self, cx: &View<'_>) -> usize {
        let neighbours = &cx.overlay.neighbours;
        let oldest = neighbours.values().map(|n| n.since).min();
        let is_new = oldest.is_some_and(|at| cx.now.since(at) < NEWCOMER_AGE);
        let to_come = if is_new { usize::from(cx.overlay.deficit()) } else { 0 };
        neighbours.len() + to_come
    }

    /// Pulls missing ranges, and gives up those that no neighbour has.
    pub(crate) fn run_pulls(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        cx.fx.counters.missing_refused += self.missing.take_refused();
        if self.missing.deadline().is_none_or(|at| at > now) {
            return;
        }
        let degree = self.neighbours_to_ask(cx);
        let mut due = self.missing.take_due(&self.store.list, degree, now);
        // Ranges without a known source are pulled from a random neighbour.
        for range in due.from_any_neighbour {
            let stream = range.stream();
            let fresh = |id: &&PeerId| {
                !self.missing.has_failed(stream, id) && self.missing.is_free(id, now)
            };
            let some: Vec<PeerId> = cx.overlay.neighbours.keys().filter(fresh).copied().collect();
            if let Some(neighbour) = some.get(self.rng.below(some.len())) {
                due.pulls.entry(*neighbour).or_default().push(range);
            }
        }
        for (neighbour, mut ranges) in due.pulls {
            ranges.truncate(MAX_PULL_RANGES);
            if let Some(n) = cx.overlay.neighbours.get(&neighbour) {
                cx.fx.counters.pulls += 1;
                let streams = ranges.iter().map(Range::stream).collect();
                let nonce = self.missing.record_pull(neighbour, streams, now);
                cx.fx.send(n.link, Pull { ranges, nonce });
            }
        }
        if due.compare_lists {
            self.compare_with_some(cx);
        }
        for (stream, from, to) in due.given_up {
            self.store.give_up(stream, from, to);
            self.deliver(cx, stream);
        }
    }

    /// Answers a pull. Returns the number of bytes of the answer.
    pub(crate) fn on_pull(&mut self, cx: &mut Context<'_>, link: LinkId, f: &Pull) -> usize {
        let (mut bytes, mut batches) = (0, 0u32);
        let (now, wall) = (cx.now, cx.fx.wall_clock());
        'all: for r in &f.ranges {
            for k in self.store.retention.range(r.stream(), r.from, r.to) {
                if bytes >= MAX_PULL_BYTES || batches >= MAX_PULL_BATCHES {
                    break 'all;
                }
                bytes += k.batch.size();
                batches += 1;
                cx.fx.send_as(link, k.gossip(true, now, wall), Class::History);
            }
        }
        cx.fx.counters.batches_pulled += u64::from(batches);
        // In the same queue as the batches, so that it arrives after them.
        let pulled = PullEnd { batches, refused: false, nonce: f.nonce };
        cx.fx.send_as(link, pulled, Class::History);
        bytes
    }

    pub(crate) fn on_pull_end(&mut self, cx: &mut Context<'_>, remote: PeerId, f: &PullEnd) {
        let (empty, now) = (f.batches == 0, cx.now);
        let Some(streams) = self.missing.take_pull(remote, f.nonce, f.refused, now) else {
            return cx.fx.counters.pulls_answered_late += 1;
        };
        if f.refused {
            // The neighbour may have the range: in time it is asked again, or another one is.
            return cx.fx.counters.pulls_put_off += 1;
        }
        self.missing.on_pull_answered(&self.store.list, remote, &streams, empty, now);
        self.run_pulls(cx);
    }

    /// Sends the other end of a new edge of a tree at once what it has missed, as if pushed along
    /// the tree: its subtree has missed it as well. Returns the number of bytes.
    pub(crate) fn send_catch_up(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        have: &[SummaryEntry],
    ) -> usize {
        let (mut bytes, mut batches) = (0, 0);
        let (now, wall) = (cx.now, cx.fx.wall_clock());
        let mut remaining = Vec::new();
        for entry in have {
            let stream = entry.stream();
            // The other end learns of a stream that is unknown to it by comparison.
            let Some(end) = self.store.list.get(stream).map(StreamState::end) else { continue };
            let gaps = entry.gaps.iter().copied().chain([(entry.next, end)]);
            let mut last = None;
            for (from, to) in gaps {
                for k in self.store.retention.range(stream, from, to) {
                    let first = k.batch.first();
                    if last.replace(first) == Some(first) {
                        continue;
                    }
                    if bytes + k.batch.size() > MAX_CATCH_UP_BYTES || batches >= MAX_PULL_BATCHES {
                        remaining.push(Range::new(stream, from.max(first), to));
                        break;
                    }
                    bytes += k.batch.size();
                    batches += 1;
                    cx.fx.counters.batches_caught_up += 1;
                    cx.fx.send_as(link, k.gossip(false, now, wall), Class::Payload);
                }
            }
        }
        if !remaining.is_empty() {
            // Comparison finds the ranges above the bound.
            remaining.truncate(MAX_PULL_RANGES);
            cx.fx.send_as(link, Announce { ranges: remaining }, Class::Announce);
        }
        bytes
    }
}
