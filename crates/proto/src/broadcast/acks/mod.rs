//! Acknowledgements: summed on their way back to the publisher.
//!
//! Every peer tells the neighbour that brings it a publisher's messages how far all of the part of
//! the tree behind it has come: the minimum over itself and what the neighbours behind it told, and
//! how many peers that is. So the publisher learns with a handful of numbers who holds what, and how
//! fast the slowest part is, whatever the size of the network.
//!
//! Three minima go along. `held` counts everybody, for receipts. `paced` leaves out those who have
//! been behind for [`PATIENCE`](progress::PATIENCE), so that one peer that reads slowly or has
//! stopped does not slow the others. If many are left out, it is not they who are slow, but the way
//! to them (a hub hands everything to eight children over one line): then the publisher goes by
//! `patient`, which leaves out those who have been behind for [`LONG_PATIENCE`]. Only the publisher
//! can tell the one from the other: one of two is many where they are all, and few in a part of a
//! tree. If all have been behind for longer, the fastest of them still counts.

mod names;
mod progress;
mod summed;
#[cfg(test)]
mod tests;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::identity::PeerId;
use crate::limits::MAX_ACKS;
use crate::message::StreamId;
use crate::small::GrowMap;
use crate::time::Time;
use crate::wire::{AckEntry, ack_token};
use names::NameRounds;
use progress::{LATER, LONG_PATIENCE, MARK_EVERY, Part, Progress, SOON};
pub(crate) use summed::Summed;

/// Censuses of one publisher that come faster are not followed.
const SHORTEST_CENSUS: Duration = Duration::from_millis(100);

/// All streams that come through.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// Boxed: a B-tree has room for eleven, which may all but two be empty.
    streams: GrowMap<StreamId, Box<Progress>>,
    /// The streams with an acknowledgement due, by time: with thousands of publishers, a scan of all streams at
    /// every frame took two thirds of the processor time.
    due: BTreeSet<(Time, StreamId)>,
    clock: u64,
    names: NameRounds,
}

/// A batch as the acknowledgements see it.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) stream: StreamId,
    pub(crate) bytes: u64,
    /// Its publisher waits for a receipt up to this number.
    pub(crate) wanted: Option<u64>,
    /// A census that asks for the names of holders.
    pub(crate) names: bool,
}

/// Acknowledgements for one neighbour.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) entries: Vec<AckEntry>,
    pub(crate) congested: bool,
}

/// What the acknowledgements need to know of the rest of the node.
pub(crate) trait AckContext {
    /// Everything below it was received.
    fn high_water(&self, stream: StreamId) -> u64;
    /// The neighbours that get a publisher's batches from this node.
    fn children(&self, publisher: &PeerId) -> Vec<PeerId>;
    /// The neighbour that brings them.
    fn parent(&self, publisher: &PeerId) -> Option<PeerId>;
    /// This node's own id.
    fn me(&self) -> PeerId;
    /// Whether no other member is known.
    fn is_alone(&self) -> bool;
}

impl Acks {
    /// New messages of a stream came in, or were published.
    pub(crate) fn received(&mut self, batch: &Arrived, now: Time, with: &impl AckContext) {
        let &Arrived { stream, bytes, wanted, .. } = batch;
        self.make_room(stream, with.me());
        self.clock += 1;
        let clock = self.clock;
        let fresh = || Box::new(Progress::new(stream.publisher));
        let p = self.streams.get_or_insert(stream, fresh);
        p.touched = clock;
        p.unacknowledged += bytes;
        p.mark(now, with.high_water(stream));
        if let Some(wanted) = wanted {
            p.wanted = p.wanted.max(wanted);
        }
        if let Some(parent) = with.parent(&stream.publisher) {
            let moved = p.told.is_some_and(|(to, _)| to != parent);
            let at = p.wait(now, with);
            schedule(&mut self.due, stream, p, if moved { now } else { at });
        }
    }

    /// A stream is not followed any more.
    pub(crate) fn forget_stream(&mut self, stream: StreamId) {
        if let Some(at) = self.streams.remove(&stream).and_then(|p| p.due) {
            self.due.remove(&(at, stream));
        }
    }

    /// What others acknowledge to this node itself is never forgotten for the streams of others.
    fn make_room(&mut self, stream: StreamId, me: PeerId) {
        if self.streams.len() < MAX_ACKS || self.streams.contains_key(&stream) {
            return;
        }
        let others = self.streams.iter().filter(|(s, _)| s.publisher != me);
        let oldest = others.min_by_key(|(_, p)| p.touched).map(|(k, _)| *k);
        if let Some(oldest) = oldest {
            self.forget_stream(oldest);
        }
    }

    /// What was missing of a stream was pulled: who brings it otherwise hears of it.
    pub(crate) fn caught_up(&mut self, stream: StreamId, now: Time, with: &impl AckContext) {
        if let Some(p) = self.streams.get_mut(&stream) {
            p.mark(now, with.high_water(stream));
            if with.parent(&stream.publisher).is_some() {
                let at = p.wait(now, with);
                schedule(&mut self.due, stream, p, at);
            }
        }
    }

    /// Whether a publisher asks anew to hear who holds what: not the same question again, nor so soon, nor about a
    /// stream before its last one.
    pub(crate) fn is_new_census(&self, stream: StreamId, round: u64, now: Time) -> bool {
        let too_soon = |p: &Progress| p.census > 0 && now.since(p.census_at) < SHORTEST_CENSUS;
        let is_later = |s: &StreamId| s.epoch > stream.epoch;
        let streams = streams_of(&self.streams, stream.publisher);
        let mut known = streams.iter().filter_map(|s| Some((s, self.streams.get(s)?)));
        let is_new = self.streams.get(&stream).is_none_or(|p| p.census < round);
        is_new && !known.any(|(s, p)| is_later(s) || too_soon(p))
    }

    /// The publisher asks anew to hear who holds what.
    pub(crate) fn census(
        &mut self,
        batch: &Arrived,
        round: u64,
        now: Time,
        with: &impl AckContext,
    ) {
        self.received(batch, now, with);
        if let Some(p) = self.streams.get_mut(&batch.stream) {
            (p.census, p.census_at) = (round, now);
            // What was told may have been lost with a link.
            p.told = None;
            self.names.begin(batch.stream, batch.wanted.filter(|_| batch.names), now);
            if with.parent(&batch.stream.publisher).is_some() {
                schedule(&mut self.due, batch.stream, p, now);
            }
        }
    }

    /// A publisher's batches come from another neighbour now: it is told who is behind this peer.
    pub(crate) fn moved(&mut self, publisher: PeerId, now: Time) {
        for stream in streams_of(&self.streams, publisher) {
            if let Some(p) = self.streams.get_mut(&stream) {
                schedule(&mut self.due, stream, p, now);
            }
        }
    }

    /// A neighbour names holders; they are passed on towards the publisher. Says how many names were
    /// refused.
    pub(crate) fn named(
        &mut self,
        from: PeerId,
        e: &AckEntry,
        now: Time,
        with: &impl AckContext,
    ) -> usize {
        let Some(holders) = &e.holders else { return 0 };
        let stream = e.stream();
        let parent = with.parent(&stream.publisher).filter(|parent| *parent != from);
        let Some(p) = self.streams.get_mut(&stream).filter(|_| parent.is_some()) else {
            return holders.len();
        };
        let refused = self.names.take(stream, holders);
        schedule(&mut self.due, stream, p, now);
        refused
    }

    /// A neighbour told of the part behind it. `false` if this peer does not follow the stream.
    pub(crate) fn told(
        &mut self,
        from: PeerId,
        e: &AckEntry,
        now: Time,
        with: &impl AckContext,
    ) -> bool {
        let stream = e.stream();
        let Some(p) = self.streams.get_mut(&stream) else { return false };
        let parent = with.parent(&e.publisher);
        if parent == Some(from) {
            return true;
        }
        let told = Summed::of(e);
        let before = p.behind.insert(from, Part { told, fresh: true });
        if before.is_none_or(|b| b.told != told) && parent.is_some() {
            let at = p.wait(now, with);
            schedule(&mut self.due, stream, p, at);
        }
        true
    }

    /// A queue of this node fills, or one behind it (`stream` alone then).
    pub(crate) fn congested(
        &mut self,
        stream: Option<StreamId>,
        now: Time,
        with: &impl AckContext,
    ) {
        let those = self.streams.iter_mut().filter(|(s, _)| stream.is_none_or(|only| only == **s));
        for (stream, p) in those.filter(|(s, _)| with.parent(&s.publisher).is_some()) {
            p.congested = true;
            schedule(&mut self.due, *stream, p, now + SOON);
        }
    }

    /// The trees of some publishers changed: who is behind whom has to be told anew.
    pub(crate) fn reroute(
        &mut self,
        publishers: impl IntoIterator<Item = PeerId>,
        now: Time,
        with: &impl AckContext,
    ) {
        for publisher in publishers {
            let its = streams_of(&self.streams, publisher);
            self.reschedule(its, now, with);
        }
    }

    /// The trees of all publishers changed, with the neighbours.
    pub(crate) fn reroute_all(&mut self, now: Time, with: &impl AckContext) {
        let all = self.streams.iter().map(|(stream, _)| *stream).collect();
        self.reschedule(all, now, with);
    }

    /// Schedules the acknowledgements of those streams whose publisher waits for a receipt.
    fn reschedule(&mut self, streams: Vec<StreamId>, now: Time, with: &impl AckContext) {
        for stream in streams {
            let Some(p) = self.streams.get_mut(&stream).filter(|p| p.wanted > 0) else { continue };
            if with.parent(&stream.publisher).is_some() {
                let at = p.wait(now, with);
                schedule(&mut self.due, stream, p, at);
            }
        }
    }

    /// A neighbour is gone.
    pub(crate) fn forget(&mut self, neighbour: PeerId) {
        for p in self.streams.values_mut() {
            p.behind.remove(&neighbour);
            if p.told.is_some_and(|(to, _)| to == neighbour) {
                p.told = None;
            }
        }
    }

    /// Time passes for those who are behind, also when nothing new comes.
    pub(crate) fn tick(&mut self, stream: StreamId, now: Time, high_water: u64) {
        if let Some(p) = self.streams.get_mut(&stream) {
            p.mark(now, high_water);
        }
    }

    /// The sum over this peer and everybody behind it.
    pub(crate) fn summed(
        &self,
        stream: StreamId,
        now: Time,
        with: &impl AckContext,
    ) -> Option<Summed> {
        let p = self.streams.get(&stream)?;
        Some(p.summed(with.high_water(stream), now, with))
    }

    /// Whether a child may lack what was pulled here, up to `number`: it has not said that it holds it.
    pub(crate) fn may_lack(&self, stream: StreamId, neighbour: PeerId, number: u64) -> bool {
        let Some(p) = self.streams.get(&stream) else { return true };
        p.behind.get(&neighbour).is_none_or(|b| b.told.held < number)
    }

    /// What the children told of the parts behind them.
    pub(crate) fn parts(&self, stream: StreamId, with: &impl AckContext) -> Vec<(PeerId, Summed)> {
        let Some(p) = self.streams.get(&stream) else { return Vec::new() };
        let children = with.children(&stream.publisher).into_iter();
        children.filter_map(|c| Some((c, p.behind.get(&c)?.told))).collect()
    }

    /// When something is due at the earliest.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What is to be told to whom now.
    pub(crate) fn due(&mut self, now: Time, with: &impl AckContext) -> BTreeMap<PeerId, Told> {
        let mut all: BTreeMap<PeerId, Told> = BTreeMap::new();
        let mut due: Vec<StreamId> = Vec::new();
        while let Some((_, stream)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.pop_first();
            due.push(stream);
        }
        // The order of the entries does not depend on when each fell due.
        due.sort_unstable();
        for stream in &due {
            let Some(p) = self.streams.get_mut(stream) else { continue };
            p.due = None;
            let Some(parent) = with.parent(&stream.publisher) else { continue };
            let own = with.high_water(*stream);
            p.mark(now, own);
            let summed = p.summed(own, now, with);
            for part in p.behind.values_mut() {
                part.fresh = false;
            }
            if summed.paced.min(summed.patient) < own {
                // Whoever is behind catches up, or stops counting without saying anything.
                let hurried = p.hurried.is_some_and(|at| now.since(at) < LONG_PATIENCE);
                schedule(&mut self.due, *stream, p, now + if hurried { MARK_EVERY } else { LATER });
            }
            let congested = core::mem::take(&mut p.congested);
            let named = self.names.has_news(*stream, own);
            if p.told == Some((parent, summed)) && !congested && !named {
                continue;
            }
            p.told = Some((parent, summed));
            p.unacknowledged = 0;
            let told = all.entry(parent).or_default();
            let holders = self.names.drain(*stream, ack_token(&with.me()), own);
            told.entries.push(AckEntry { holders, ..summed.entry(*stream) });
            told.congested |= congested;
            if summed.held < p.wanted {
                // Somebody waits: look again when more is told, and now and then in any case.
                schedule(&mut self.due, *stream, p, now + LATER);
            }
            if self.names.has_news(*stream, own) {
                schedule(&mut self.due, *stream, p, now);
            }
        }
        all
    }
}

fn streams_of<V>(all: &GrowMap<StreamId, V>, publisher: PeerId) -> Vec<StreamId> {
    let first = StreamId { publisher, epoch: 0 };
    all.range(first..=StreamId { epoch: u64::MAX, ..first }).map(|(stream, _)| *stream).collect()
}

/// Schedules the acknowledgement of a stream, unless it is due earlier.
fn schedule(due: &mut BTreeSet<(Time, StreamId)>, stream: StreamId, p: &mut Progress, at: Time) {
    if p.due.is_some_and(|before| before <= at) {
        return;
    }
    if let Some(before) = p.due.replace(at) {
        due.remove(&(before, stream));
    }
    due.insert((at, stream));
}
