//! Acknowledgements: aggregated on their way back to the publisher.
//!
//! Every peer reports to its parent on a publisher's tree how far its whole subtree is: the
//! minimum over itself and the reports of its children, and the number of peers. So the publisher
//! learns from a handful of numbers which peers hold what, and how fast the slowest subtree is,
//! whatever the size of the network.
//!
//! Each report has three minima. `held` counts all peers; receipts use it. `paced` leaves out peers
//! that have lagged for [`PACING_LAG_LIMIT`](progress::PACING_LAG_LIMIT), so that one slow or
//! paused peer does not slow the others. If many peers are left out, the peers are not slow, but
//! the path to them is (a hub forwards everything to eight children over one line): then the
//! publisher goes by `long_paced`, which leaves out peers that have lagged for
//! [`LONG_PACING_LAG_LIMIT`]. Only the publisher can tell the two cases apart: one of two peers is
//! many in a network of two, and few in a subtree. If all peers have lagged for longer, the fastest
//! of them still counts.

mod aggregate;
mod names;
mod progress;
#[cfg(test)]
mod tests;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::identity::PeerId;
use crate::limits::MAX_ACK_STREAMS;
use crate::message::StreamId;
use crate::small::GrowMap;
use crate::time::Time;
use crate::wire::{AckEntry, ack_token};
pub(crate) use aggregate::Aggregate;
use names::NameRounds;
use progress::{
    ACK_GATHER_DELAY, ACK_LEAF_DELAY, ChildReport, LONG_PACING_LAG_LIMIT, MARK_INTERVAL, Progress,
};

/// A peer ignores censuses of one publisher that follow each other faster.
const MIN_CENSUS_INTERVAL: Duration = Duration::from_millis(100);

/// The acknowledgement state of all streams.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// Boxed: a B-tree node has room for eleven entries, and up to nine of them may be empty.
    streams: GrowMap<StreamId, Box<Progress>>,
    /// The streams with an acknowledgement due, by time. With thousands of publishers, a scan of
    /// all streams at every frame took two thirds of the processor time.
    due: BTreeSet<(Time, StreamId)>,
    clock: u64,
    names: NameRounds,
}

/// A received batch or census, as far as the acknowledgements use it.
#[derive(Debug)]
pub(crate) struct ReceivedBatch {
    pub(crate) stream: StreamId,
    pub(crate) bytes: u64,
    /// The publisher waits for a receipt up to this sequence number.
    pub(crate) receipt_until: Option<u64>,
    /// Whether this is a census that asks for the names of holders.
    pub(crate) wants_names: bool,
}

/// The acknowledgements that one neighbour is sent.
#[derive(Debug, Default)]
pub(crate) struct AckUpdate {
    pub(crate) entries: Vec<AckEntry>,
    pub(crate) congested: bool,
}

/// The parts of the node that the acknowledgements read.
pub(crate) trait AckContext {
    /// The sequence number below which everything was received.
    fn high_water(&self, stream: StreamId) -> u64;
    /// The neighbours that get a publisher's batches from this node.
    fn children(&self, publisher: &PeerId) -> Vec<PeerId>;
    /// The neighbour that brings a publisher's batches.
    fn parent(&self, publisher: &PeerId) -> Option<PeerId>;
    /// The id of this node.
    fn me(&self) -> PeerId;
    /// Whether no other member is known.
    fn is_alone(&self) -> bool;
}

impl Acks {
    /// Records new messages of a stream, received or published.
    pub(crate) fn on_batch(&mut self, batch: &ReceivedBatch, now: Time, context: &impl AckContext) {
        let &ReceivedBatch { stream, bytes, receipt_until, .. } = batch;
        self.evict_if_full(stream, context.me());
        self.clock += 1;
        let clock = self.clock;
        let new_progress = || Box::new(Progress::new(stream.publisher));
        let p = self.streams.get_or_insert(stream, new_progress);
        p.last_used = clock;
        p.unacknowledged_bytes += bytes;
        p.record_mark(now, context.high_water(stream));
        if let Some(receipt_until) = receipt_until {
            p.receipt_until = p.receipt_until.max(receipt_until);
        }
        if let Some(parent) = context.parent(&stream.publisher) {
            let is_new_parent = p.last_sent.is_some_and(|(to, _)| to != parent);
            let at = p.ack_due_at(now, context);
            schedule(&mut self.due, stream, p, if is_new_parent { now } else { at });
        }
    }

    /// Stops following a stream.
    pub(crate) fn forget_stream(&mut self, stream: StreamId) {
        if let Some(at) = self.streams.remove(&stream).and_then(|p| p.due) {
            self.due.remove(&(at, stream));
        }
    }

    /// Evicts the least recently used stream of another publisher if there are too many. This
    /// node's stream, which others acknowledge, always stays.
    fn evict_if_full(&mut self, stream: StreamId, me: PeerId) {
        if self.streams.len() < MAX_ACK_STREAMS || self.streams.contains_key(&stream) {
            return;
        }
        let others = self.streams.iter().filter(|(s, _)| s.publisher != me);
        let oldest = others.min_by_key(|(_, p)| p.last_used).map(|(k, _)| *k);
        if let Some(oldest) = oldest {
            self.forget_stream(oldest);
        }
    }

    /// Records that missing messages of a stream were pulled: the parent is sent the progress.
    pub(crate) fn on_pulled_batch(
        &mut self,
        stream: StreamId,
        now: Time,
        context: &impl AckContext,
    ) {
        if let Some(p) = self.streams.get_mut(&stream) {
            p.record_mark(now, context.high_water(stream));
            if context.parent(&stream.publisher).is_some() {
                let at = p.ack_due_at(now, context);
                schedule(&mut self.due, stream, p, at);
            }
        }
    }

    /// Whether a census is new: not a repeated round, not too soon after the last one, and not
    /// about a stream before the publisher's last one.
    pub(crate) fn is_new_census(&self, stream: StreamId, round: u64, now: Time) -> bool {
        let too_soon = |p: &Progress| p.census > 0 && now.since(p.census_at) < MIN_CENSUS_INTERVAL;
        let is_later = |s: &StreamId| s.epoch > stream.epoch;
        let streams = streams_of(&self.streams, stream.publisher);
        let mut known = streams.iter().filter_map(|s| Some((s, self.streams.get(s)?)));
        let is_new = self.streams.get(&stream).is_none_or(|p| p.census < round);
        is_new && !known.any(|(s, p)| is_later(s) || too_soon(p))
    }

    /// Handles a census: the progress of the subtree is sent again.
    pub(crate) fn on_census(
        &mut self,
        batch: &ReceivedBatch,
        round: u64,
        now: Time,
        context: &impl AckContext,
    ) {
        self.on_batch(batch, now, context);
        if let Some(p) = self.streams.get_mut(&batch.stream) {
            (p.census, p.census_at) = (round, now);
            // The last acknowledgement may have been lost with a link.
            p.last_sent = None;
            self.names.begin_round(
                batch.stream,
                batch.receipt_until.filter(|_| batch.wants_names),
                now,
            );
            if context.parent(&batch.stream.publisher).is_some() {
                schedule(&mut self.due, batch.stream, p, now);
            }
        }
    }

    /// Schedules acknowledgements of a publisher's streams, because it has another parent here.
    pub(crate) fn on_parent_change(&mut self, publisher: PeerId, now: Time) {
        for stream in streams_of(&self.streams, publisher) {
            if let Some(p) = self.streams.get_mut(&stream) {
                schedule(&mut self.due, stream, p, now);
            }
        }
    }

    /// Handles names of holders from a neighbour, and passes them on towards the publisher. Returns
    /// the number of names that were refused.
    pub(crate) fn on_holder_names(
        &mut self,
        from: PeerId,
        e: &AckEntry,
        now: Time,
        context: &impl AckContext,
    ) -> usize {
        let Some(holders) = &e.holders else { return 0 };
        let stream = e.stream();
        let parent = context.parent(&stream.publisher).filter(|parent| *parent != from);
        let Some(p) = self.streams.get_mut(&stream).filter(|_| parent.is_some()) else {
            return holders.len();
        };
        let refused = self.names.accept(stream, holders);
        schedule(&mut self.due, stream, p, now);
        refused
    }

    /// Handles a neighbour's report of its subtree. Returns `false` if this peer does not follow
    /// the stream.
    pub(crate) fn on_update(
        &mut self,
        from: PeerId,
        e: &AckEntry,
        now: Time,
        context: &impl AckContext,
    ) -> bool {
        let stream = e.stream();
        let Some(p) = self.streams.get_mut(&stream) else { return false };
        let parent = context.parent(&e.publisher);
        if parent == Some(from) {
            return true;
        }
        let aggregate = Aggregate::of(e);
        let before = p.child_reports.insert(from, ChildReport { aggregate, is_unsent: true });
        if before.is_none_or(|report| report.aggregate != aggregate) && parent.is_some() {
            let at = p.ack_due_at(now, context);
            schedule(&mut self.due, stream, p, at);
        }
        true
    }

    /// Handles congestion: of a queue of this node (all streams), or downstream of `stream`.
    pub(crate) fn on_congestion(
        &mut self,
        stream: Option<StreamId>,
        now: Time,
        context: &impl AckContext,
    ) {
        let affected =
            self.streams.iter_mut().filter(|(s, _)| stream.is_none_or(|only| only == **s));
        for (stream, p) in affected.filter(|(s, _)| context.parent(&s.publisher).is_some()) {
            p.congested = true;
            schedule(&mut self.due, *stream, p, now + ACK_GATHER_DELAY);
        }
    }

    /// Reschedules acknowledgements of publishers whose trees have changed, because the subtree of
    /// this peer has changed.
    pub(crate) fn on_trees_changed(
        &mut self,
        publishers: impl IntoIterator<Item = PeerId>,
        now: Time,
        context: &impl AckContext,
    ) {
        for publisher in publishers {
            let streams = streams_of(&self.streams, publisher);
            self.reschedule(streams, now, context);
        }
    }

    /// Reschedules all acknowledgements, because the neighbours have changed.
    pub(crate) fn on_all_trees_changed(&mut self, now: Time, context: &impl AckContext) {
        let all = self.streams.iter().map(|(stream, _)| *stream).collect();
        self.reschedule(all, now, context);
    }

    /// Schedules the acknowledgements of those streams whose publisher waits for a receipt.
    fn reschedule(&mut self, streams: Vec<StreamId>, now: Time, context: &impl AckContext) {
        for stream in streams {
            let Some(p) = self.streams.get_mut(&stream).filter(|p| p.receipt_until > 0) else {
                continue;
            };
            if context.parent(&stream.publisher).is_some() {
                let at = p.ack_due_at(now, context);
                schedule(&mut self.due, stream, p, at);
            }
        }
    }

    /// Forgets a neighbour that is gone.
    pub(crate) fn forget_neighbour(&mut self, neighbour: PeerId) {
        for p in self.streams.values_mut() {
            p.child_reports.remove(&neighbour);
            if p.last_sent.is_some_and(|(to, _)| to == neighbour) {
                p.last_sent = None;
            }
        }
    }

    /// Records this node's own progress, so that lagging peers stop counting also while nothing new
    /// arrives.
    pub(crate) fn record_own_mark(&mut self, stream: StreamId, now: Time, high_water: u64) {
        if let Some(p) = self.streams.get_mut(&stream) {
            p.record_mark(now, high_water);
        }
    }

    /// The aggregate of this peer and its subtree.
    pub(crate) fn aggregate(
        &self,
        stream: StreamId,
        now: Time,
        context: &impl AckContext,
    ) -> Option<Aggregate> {
        let p = self.streams.get(&stream)?;
        Some(p.aggregate(context.high_water(stream), now, context))
    }

    /// Whether a child may lack what was pulled here up to `number`: it has not reported to hold
    /// it.
    pub(crate) fn may_lack(&self, stream: StreamId, neighbour: PeerId, number: u64) -> bool {
        let Some(p) = self.streams.get(&stream) else { return true };
        p.child_reports.get(&neighbour).is_none_or(|report| report.aggregate.held < number)
    }

    /// The aggregates that the children have reported.
    pub(crate) fn child_aggregates(
        &self,
        stream: StreamId,
        context: &impl AckContext,
    ) -> Vec<(PeerId, Aggregate)> {
        let Some(p) = self.streams.get(&stream) else { return Vec::new() };
        let children = context.children(&stream.publisher).into_iter();
        children.filter_map(|c| Some((c, p.child_reports.get(&c)?.aggregate))).collect()
    }

    /// The time of the next acknowledgement.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the acknowledgements that are due now, by the neighbour to send them to.
    pub(crate) fn take_due(
        &mut self,
        now: Time,
        context: &impl AckContext,
    ) -> BTreeMap<PeerId, AckUpdate> {
        let mut all: BTreeMap<PeerId, AckUpdate> = BTreeMap::new();
        // Take the streams that are due.
        let mut due: Vec<StreamId> = Vec::new();
        while let Some((_, stream)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.pop_first();
            due.push(stream);
        }
        // The order of the entries does not depend on the time at which each stream became due.
        due.sort_unstable();
        for stream in &due {
            let Some(p) = self.streams.get_mut(stream) else { continue };
            p.due = None;
            let Some(parent) = context.parent(&stream.publisher) else { continue };
            // Aggregate the subtree.
            let own = context.high_water(*stream);
            p.record_mark(now, own);
            let aggregate = p.aggregate(own, now, context);
            for report in p.child_reports.values_mut() {
                report.is_unsent = false;
            }
            if aggregate.paced.min(aggregate.long_paced) < own {
                // A lagging peer catches up, or stops counting without any frame: review it later.
                let is_hurried =
                    p.hurried_at.is_some_and(|at| now.since(at) < LONG_PACING_LAG_LIMIT);
                schedule(
                    &mut self.due,
                    *stream,
                    p,
                    now + if is_hurried { MARK_INTERVAL } else { ACK_LEAF_DELAY },
                );
            }
            let congested = core::mem::take(&mut p.congested);
            // Send it if the parent or the aggregate is another one, or there are names to pass on.
            let has_names = self.names.has_unsent(*stream, own);
            if p.last_sent == Some((parent, aggregate)) && !congested && !has_names {
                continue;
            }
            p.last_sent = Some((parent, aggregate));
            p.unacknowledged_bytes = 0;
            let update = all.entry(parent).or_default();
            let holders = self.names.take_names(*stream, ack_token(&context.me()), own);
            update.entries.push(AckEntry { holders, ..aggregate.entry(*stream) });
            update.congested |= congested;
            if aggregate.held < p.receipt_until {
                // A receipt is open: review at the latest after this time.
                schedule(&mut self.due, *stream, p, now + ACK_LEAF_DELAY);
            }
            if self.names.has_unsent(*stream, own) {
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
