//! Getting what was missed: announcements, summaries, pulls.

use core::time::Duration;

use super::Broadcast;
use super::Seen;
use crate::config::BroadcastMode;
use crate::context::{Context, View};
use crate::identity::PeerId;
use crate::io::{Class, LinkId};
use crate::limits::{
    MAX_BATCH_MESSAGES, MAX_MISSING, MAX_PULL_BATCHES, MAX_PULL_BYTES, MAX_PULL_RANGES,
};
use crate::message::StreamId;
use crate::sync;
use crate::time::Time;
use crate::wire::{Announce, Gossip, Pull, Pulled, Range, Summary, SummaryEntry};

/// Bytes sent at once to whoever grafts. It has grafted on others as well, who send it the same: more than that is
/// announced, and pulled from one of them.
const MAX_CATCH_UP: usize = 64 * 1024;
/// Shortest time between two whole summaries for one neighbour.
const TELL_ALL_EVERY: Duration = Duration::from_millis(250);
/// A neighbour that is so new has not been on a tree: what it has is pulled at once.
const NEW_NEIGHBOUR: Duration = Duration::from_secs(2);
/// How long neighbours have to say where a stream begins whose first messages did not come.
const BEGIN_WITHIN: Duration = Duration::from_secs(2);
/// Neighbours that are asked at once when something is missing that nobody has announced.
const ASKED_AT_ONCE: usize = 3;
/// How long after its first neighbour a peer is new.
const NEWCOMER: Duration = Duration::from_secs(10);

/// A stream of which it is not known where it begins.
#[derive(Debug)]
pub(crate) struct Unbegun {
    since: Time,
    /// The smallest number that a neighbour can give; the largest there is if none said.
    floor: u64,
}

impl Broadcast {
    // ---- announcements ---------------------------------------------------------------------

    /// Tells the links that are on no tree what came.
    pub(crate) fn run_announcer(&mut self, cx: &mut Context<'_>) {
        if self.announcer.due.is_none_or(|at| at > cx.now) {
            return;
        }
        let neighbours = cx.overlay.neighbours.keys().copied();
        let (trees, flood) = (&self.trees, cx.config.broadcast() == BroadcastMode::Flood);
        let now = cx.now;
        let gets = |n: &PeerId, publisher: &PeerId| flood || trees.is_child(n, publisher);
        for (to, ranges) in self.announcer.round(neighbours, now, gets) {
            if let Some(n) = cx.overlay.neighbours.get(&to) {
                cx.fx.send_as(n.link, Announce { ranges }, Class::Announce);
            }
        }
    }

    pub(crate) fn on_announce(&mut self, cx: &mut Context<'_>, remote: PeerId, f: &Announce) {
        let now = cx.now;
        for range in &f.ranges {
            self.announcer.heard(remote, range, now);
            self.missing.announced(&self.store.list, remote, range, now);
        }
    }

    // ---- summaries -------------------------------------------------------------------------

    /// Tells a new neighbour everything that was seen, and of the trees. Both ends know by now that
    /// they are neighbours.
    pub(crate) fn start_sync(&mut self, cx: &mut Context<'_>, link: LinkId, neighbour: PeerId) {
        {
            let summary = self.hashed.whole(&self.store.list);
            cx.fx.send(link, summary);
        };
        self.tree_link_up(cx, neighbour);
        self.ask_new_neighbour(cx);
    }

    /// Asks a random neighbour whether it has seen the same.
    pub(crate) fn run_sync(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        if now >= self.next_sync {
            self.next_sync = now + self.rng.scaled(cx.config.sync_interval(), 0.75, 1.25);
            self.ask_somebody(cx);
            self.missing.review(&self.store.list, now);
        }
    }

    fn ask_somebody(&mut self, cx: &mut Context<'_>) {
        self.ask(cx, 1);
    }

    pub(crate) fn ask_some(&mut self, cx: &mut Context<'_>) {
        self.ask(cx, ASKED_AT_ONCE);
    }

    fn ask(&mut self, cx: &mut Context<'_>, n: usize) {
        let links: Vec<LinkId> = cx.overlay.neighbours.values().map(|n| n.link).collect();
        for link in self.rng.sample(links, n) {
            let question = self.hashed.question(&self.store.list);
            cx.fx.send(link, question);
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
        if self.hashed.of(&self.store.list) == f.hash {
            return self.hear_of_history(remote, None);
        }
        if let Some(entries) = &f.entries {
            self.hear_of_history(remote, Some(entries));
        }
        let since = cx.overlay.neighbours.get(&remote).map(|n| n.since);
        let (Some(neighbour), Some(since)) = (self.neighbours.get_mut(&remote), since) else {
            return;
        };
        let Some(theirs) = &f.entries else {
            // Only the hash came: tell all, and the other side pulls what it lacks.
            if now >= neighbour.tell_all_after {
                neighbour.tell_all_after = now + TELL_ALL_EVERY;
                {
                    let summary = self.hashed.whole(&self.store.list);
                    cx.fx.send(link, summary);
                };
            }
            return;
        };
        let at_once = now.since(since) < NEW_NEIGHBOUR;
        if now >= neighbour.tell_lacking_after {
            let ranges = sync::lacking(&self.store.list, theirs);
            if !ranges.is_empty() {
                // Much of it may be on its way: what comes by itself is not pulled.
                neighbour.tell_lacking_after = now + cx.config.sync_interval();
                cx.fx.send_as(link, Announce { ranges }, Class::Announce);
            }
        }
        for e in theirs {
            let stream = e.stream();
            self.hear_of_beginning(cx, stream, e.floor);
            self.missing.told(&self.store.list, remote, e, at_once, now);
        }
        self.run_pulls(cx);
    }

    // ---- where a stream begins -------------------------------------------------------------

    /// Whether this peer took part before it could have missed anything that is on its way now.
    /// What such a peer did not get is missing; what a newcomer did not get may be of the past.
    fn is_old_hand(&self, cx: &View<'_>) -> bool {
        cx.membership.own.participates_since.is_some_and(|at| cx.now.since(at) > NEWCOMER)
    }

    /// Something came of a stream: if its beginning did not, others may know where it is.
    pub(crate) fn look_for_beginning(&mut self, cx: &mut Context<'_>, stream: StreamId) {
        if self.has_begun(stream) || self.unbegun.contains_key(&stream) {
            return;
        }
        let floor = self.missing.floor(stream);
        // A stream so young began while this peer took part, or nearly.
        let first = self.store.list.get(stream).map_or(0, crate::broadcast::Seen::first);
        let young = first < MAX_BATCH_MESSAGES as u64;
        let full = self.unbegun.len() >= MAX_MISSING;
        if young || floor == Some(0) || self.is_old_hand(cx) || full {
            return self.store.list.begin(stream, 0);
        }
        let floor = floor.unwrap_or(u64::MAX);
        self.unbegun.insert(stream, Unbegun { since: cx.now, floor });
        self.ask_some(cx);
    }

    /// A neighbour can give a stream from `floor` on. Nothing is made of a stream of which nothing
    /// has come: it is only somebody's word.
    fn hear_of_beginning(&mut self, cx: &mut Context<'_>, stream: StreamId, floor: u64) {
        if floor == 0 && self.unbegun.remove(&stream).is_some() {
            self.store.list.begin(stream, 0);
            return self.deliver(cx, stream);
        }
        if let Some(u) = self.unbegun.get_mut(&stream) {
            u.floor = u.floor.min(floor);
        }
    }

    /// Streams begin where the neighbours can give them from, or with what came.
    pub(crate) fn begin_streams(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        let due = |u: &Unbegun| u.since + BEGIN_WITHIN <= now;
        let all: Vec<(StreamId, u64)> =
            self.unbegun.iter().filter(|(_, u)| due(u)).map(|(s, u)| (*s, u.floor)).collect();
        for (stream, floor) in all {
            self.unbegun.remove(&stream);
            if floor < u64::MAX {
                self.store.list.begin(stream, floor);
            } else {
                self.store.list.begin_with_what_came(stream);
            }
            self.deliver(cx, stream);
        }
    }

    pub(crate) fn begin_deadline(&self) -> Option<Time> {
        self.unbegun.values().map(|u| u.since + BEGIN_WITHIN).min()
    }

    // ---- pulls -----------------------------------------------------------------------------

    /// How many neighbours there are to ask. Where the first one is new, the others are still to come: it may
    /// keep less than they do.
    fn neighbours_to_ask(&self, cx: &View<'_>) -> usize {
        let neighbours = &cx.overlay.neighbours;
        let oldest = neighbours.values().map(|n| n.since).min();
        let is_new = oldest.is_some_and(|at| cx.now.since(at) < NEWCOMER);
        let to_come = if is_new { usize::from(cx.overlay.deficit()) } else { 0 };
        neighbours.len() + to_come
    }

    /// Asks for what is missing and gives up what nobody has.
    pub(crate) fn run_pulls(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        match self.missing.take_refused() {
            0 => {}
            refused => cx.fx.add("missing_refused", refused),
        }
        if self.missing.deadline().is_none_or(|at| at > now) {
            return;
        }
        let degree = self.neighbours_to_ask(cx);
        let mut due = self.missing.due(&self.store.list, degree, now);
        for range in due.ask_anybody {
            let stream = range.stream();
            let fresh = |id: &&PeerId| {
                !self.missing.has_failed(stream, id) && self.missing.is_free(id, now)
            };
            let some: Vec<PeerId> = cx.overlay.neighbours.keys().filter(fresh).copied().collect();
            if let Some(who) = some.get(self.rng.below(some.len())) {
                due.pulls.entry(*who).or_default().push(range);
            }
        }
        for (who, mut ranges) in due.pulls {
            ranges.truncate(MAX_PULL_RANGES);
            if let Some(n) = cx.overlay.neighbours.get(&who) {
                cx.fx.count("pulls");
                let streams = ranges.iter().map(Range::stream).collect();
                let nonce = self.missing.asked(who, streams, now);
                cx.fx.send(n.link, Pull { ranges, nonce });
            }
        }
        if due.ask_others {
            self.ask_some(cx);
        }
        for (stream, from, to) in due.lost {
            self.store.give_up(stream, from, to);
            self.deliver(cx, stream);
        }
    }

    /// Answers a pull. Says how many bytes that took.
    pub(crate) fn on_pull(&mut self, cx: &mut Context<'_>, link: LinkId, f: &Pull) -> usize {
        let (mut bytes, mut batches) = (0, 0u32);
        let (now, wall) = (cx.now, cx.fx.wall());
        'all: for r in &f.ranges {
            let mut last = None;
            for k in self.store.kept.range(r.stream(), r.from, r.to) {
                if bytes >= MAX_PULL_BYTES || batches >= MAX_PULL_BATCHES {
                    break 'all;
                }
                if last == Some(k.batch.first()) {
                    continue;
                }
                last = Some(k.batch.first());
                bytes += k.batch.size();
                batches += 1;
                let hops = k.hops.saturating_add(1);
                let (explores, receipt, pulled) = (false, false, true);
                let (age_ms, batch) = (k.age_ms(now, wall), k.batch.clone());
                let gossip = Gossip { hops, explores, receipt, pulled, age_ms, batch };
                cx.fx.send_as(link, gossip, Class::History);
            }
        }
        cx.fx.add("batches_pulled", u64::from(batches));
        // In the same queue: it comes when the batches have come.
        let pulled = Pulled { batches, refused: false, nonce: f.nonce };
        cx.fx.send_as(link, pulled, Class::History);
        bytes
    }

    pub(crate) fn on_pulled(&mut self, cx: &mut Context<'_>, remote: PeerId, f: &Pulled) {
        let (empty, now) = (f.batches == 0, cx.now);
        let Some(streams) = self.missing.take_asked(remote, f.nonce, f.refused, now) else {
            return cx.fx.count("pulls_answered_late");
        };
        if f.refused {
            // It may have it, and says nothing of that: it is asked again, or another one is, in time.
            return cx.fx.count("pulls_put_off");
        }
        self.missing.answered(&self.store.list, remote, &streams, empty, now);
        self.run_pulls(cx);
    }

    /// Sends the other end of a new edge of a tree at once what it has missed, as if it came along
    /// the tree: those behind it have missed it as well. Says how many bytes that took.
    pub(crate) fn send_what_lacks(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        have: &[SummaryEntry],
    ) -> usize {
        let (mut bytes, mut batches) = (0, 0);
        let (now, wall) = (cx.now, cx.fx.wall());
        let mut rest = Vec::new();
        for has in have {
            let stream = has.stream();
            let StreamId { publisher, epoch } = stream;
            // A stream that the other does not know at all, it learns of by comparing.
            let Some(end) = self.store.list.get(stream).map(Seen::end) else { continue };
            let gaps = has.gaps.iter().copied().chain([(has.next, end)]);
            let mut last = None;
            for (from, to) in gaps {
                for k in self.store.kept.range(stream, from, to) {
                    if last == Some(k.batch.first()) {
                        continue;
                    }
                    last = Some(k.batch.first());
                    if bytes + k.batch.size() > MAX_CATCH_UP || batches >= MAX_PULL_BATCHES {
                        let from = from.max(k.batch.first());
                        rest.push(Range { publisher, epoch, from, to });
                        break;
                    }
                    bytes += k.batch.size();
                    batches += 1;
                    let hops = k.hops.saturating_add(1);
                    let (explores, receipt, pulled) = (false, false, false);
                    let (age_ms, batch) = (k.age_ms(now, wall), k.batch.clone());
                    let gossip = Gossip { hops, explores, receipt, pulled, age_ms, batch };
                    cx.fx.count("batches_caught_up");
                    cx.fx.send_as(link, gossip, Class::Payload);
                }
            }
        }
        if !rest.is_empty() {
            // What does not fit is found by comparing.
            rest.truncate(MAX_PULL_RANGES);
            cx.fx.send_as(link, Announce { ranges: rest }, Class::Announce);
        }
        bytes
    }
}
