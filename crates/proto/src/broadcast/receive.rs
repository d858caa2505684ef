//! The path of a batch through a peer: check, deduplicate, retain, forward, acknowledge, deliver,
//! store.

use core::time::Duration;

use super::ack_view::RetentionPolicy;
use super::acks::ReceivedBatch;
use super::trees::ArrivalKind;
use super::{Broadcast, DeliveryStep, MessageList, ReceiveOutcome, batch_id};
use crate::batch::Batch;
use crate::config::BroadcastMode;
use crate::context::Context;
use crate::event::Event;
use crate::identity::PeerId;
use crate::io::{Class, Output, StoreOp};
use crate::message::StreamId;
use crate::wire::Gossip;

/// How long an edge counts as busy after payload went over it.
const BUSY_AFTER_PAYLOAD: Duration = Duration::from_secs(2);

/// How a batch arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// Number of links that it has passed.
    pub(crate) hops: u16,
    /// The neighbour that sent it; `None` for a batch that this peer publishes.
    pub(crate) from: Option<PeerId>,
    /// Whether it goes over all links.
    pub(crate) explores: bool,
    /// Whether its publisher waits for a receipt.
    pub(crate) receipt: bool,
    /// Whether it was pulled, here or by a peer that passed it on, rather than pushed along a tree.
    pub(crate) pulled: bool,
    /// Its age in milliseconds.
    pub(crate) age_ms: u32,
}

impl Arrival {
    /// The arrival of a batch that this peer publishes.
    pub(crate) const fn own(explores: bool, receipt: bool) -> Self {
        Arrival { hops: 0, from: None, explores, receipt, pulled: false, age_ms: 0 }
    }

    /// The kind of arrival for the trees; `asked` says whether this peer itself pulled the batch.
    const fn kind(self, asked: bool) -> ArrivalKind {
        let age = Duration::from_millis(self.age_ms as u64);
        ArrivalKind::of(age, self.pulled, asked, self.explores)
    }
}

impl Broadcast {
    pub(crate) fn on_gossip(&mut self, cx: &mut Context<'_>, remote: PeerId, f: Gossip) {
        let Gossip { hops, explores, receipt, pulled, age_ms, batch } = f;
        let from = Some(remote);
        self.receive(cx, &batch, Arrival { hops, from, explores, receipt, pulled, age_ms });
    }

    /// Handles a batch that this peer publishes, a batch of a neighbour, or one that answers a
    /// pull.
    pub(crate) fn receive(&mut self, cx: &mut Context<'_>, batch: &Batch, arrival: Arrival) {
        let (now, wall) = (cx.now, cx.fx.wall_clock());
        let stream = batch.stream();

        // Check. The signature is valid already, but another process may publish with this peer's
        // key.
        if arrival.from.is_some() && self.conflicts_with_own_stream(batch) {
            return self.refuse_conflicting_batch(cx, batch);
        }
        let asked =
            arrival.pulled && arrival.from.is_none_or(|from| self.missing.has_pending_pull(&from));
        let is_known = self.trees.knows(&stream.publisher);
        let is_old = arrival.kind(asked) == ArrivalKind::History;
        // A batch of the past without a tree is not flooded: neighbours pull it.
        let goes_on = !arrival.pulled && (is_known || !is_old || arrival.from.is_none());
        let may_explore = !is_old && self.trees.may_explore(&stream.publisher, now);

        // Deduplicate, and retain new messages.
        let own = (self.outbox.stream(), self.ever_confirmed(cx));
        let policy = RetentionPolicy::new(&self.acks, &self.trees, own, cx);
        let need_below = |list: &MessageList, stream, end| policy.need_below(list, stream, end);
        let outcome = self.store.receive(batch, arrival.hops, arrival.from, now, wall, need_below);
        let ReceiveOutcome::New { messages, evicted } = outcome else {
            return self.on_duplicate(cx, batch, arrival);
        };
        let arrival = Arrival { explores: arrival.explores && may_explore, ..arrival };
        self.record_pull_progress(cx, stream, arrival, true);
        self.count_new_messages(cx, batch, messages, arrival);

        // Update the tree: the neighbour that sent the first copy is the parent.
        if let Some(from) = arrival.from.filter(|_| !arrival.pulled) {
            self.review_parent(cx, stream, from);
        }
        self.missing.on_received(&self.store.list, stream, now);
        self.on_tree_arrival(cx, stream.publisher, arrival.from, arrival.kind(asked));

        // Forward.
        if arrival.pulled {
            self.forward_to_lagging_children(cx, batch, arrival);
        } else {
            self.record_skipped_range(cx, batch, arrival.from);
            if goes_on {
                self.forward(cx, batch, arrival);
            }
        }
        if !asked {
            self.record_publisher_activity(cx, batch.publisher(), batch.size() as u64);
        }
        self.announcer.record_batch(batch, arrival.from, goes_on, now);

        // Look for earlier messages.
        self.find_stream_start(cx, stream);
        self.expect_previous_stream(cx, batch);

        self.acknowledge(cx, batch, arrival.receipt, asked);
        self.deliver(cx, stream);

        // Store, in one request with the marks that have changed: otherwise a batch that was
        // delivered at once could be durable as one that was held back.
        let mut ops = vec![StoreOp::PutBatch(batch.clone())];
        ops.extend(evicted.iter().map(|b| StoreOp::RemoveBatch(batch_id(b))));
        ops.extend(self.take_changed_marks());
        cx.fx.store(ops);
    }

    /// Handles a batch without a new message.
    fn on_duplicate(&mut self, cx: &mut Context<'_>, batch: &Batch, arrival: Arrival) {
        self.record_pull_progress(cx, batch.stream(), arrival, false);
        cx.fx.counters.messages_duplicate += batch.len() as u64;
        self.store.retention.record_duplicate(batch);
        if let Some(from) = arrival.from.filter(|_| !arrival.pulled) {
            self.on_tree_duplicate(cx, batch.publisher(), from, arrival.kind(false));
        }
    }

    fn count_new_messages(
        &mut self,
        cx: &mut Context<'_>,
        batch: &Batch,
        messages: u64,
        arrival: Arrival,
    ) {
        if arrival.from.is_some() {
            cx.fx.counters.messages_received += messages;
            cx.fx.counters.batches_received += 1;
        }
        cx.fx.counters.messages_duplicate += batch.len() as u64 - messages;
        if arrival.age_ms > 0 {
            let age = Duration::from_millis(arrival.age_ms.into());
            self.store.retention.set_age(batch, age);
        }
    }

    /// Records that a batch arrived which may answer a pull.
    fn record_pull_progress(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        arrival: Arrival,
        is_new: bool,
    ) {
        if let Some(from) = arrival.from.filter(|_| arrival.pulled) {
            self.missing.on_answer_progress(&from, stream, is_new, cx.now);
        }
    }

    /// Forwards a batch: over all links if it explores, otherwise to the children.
    fn forward(&mut self, cx: &mut Context<'_>, batch: &Batch, arrival: Arrival) {
        let floods = cx.config.broadcast() == BroadcastMode::Flood;
        let to = if arrival.explores || floods {
            cx.overlay.neighbours.keys().copied().collect()
        } else {
            self.trees.children(&batch.publisher())
        };
        self.forward_to_neighbours(cx, to, batch, arrival);
    }

    /// The whole subtree of this peer missed a pulled batch: children that seem to lack it get it
    /// now, and do not have to pull it.
    fn forward_to_lagging_children(
        &mut self,
        cx: &mut Context<'_>,
        batch: &Batch,
        arrival: Arrival,
    ) {
        let (stream, end) = (batch.stream(), batch.end());
        if !self.trees.knows(&stream.publisher) {
            // It is from the past: no tree was made for it.
            return;
        }
        let mut children = self.trees.children(&stream.publisher);
        children.retain(|c| {
            self.acks.may_lack(stream, *c, end) && !self.announcer.has_announced(*c, stream, end)
        });
        self.forward_to_neighbours(cx, children, batch, arrival);
    }

    /// Records missing messages before a batch that came along a tree.
    fn record_skipped_range(&mut self, cx: &mut Context<'_>, batch: &Batch, from: Option<PeerId>) {
        let (stream, first) = (batch.stream(), batch.first());
        let seen = self.store.list.get(stream);
        if let Some(from) = from
            && seen.is_some_and(|s| s.high_water() < first)
        {
            self.missing.on_skipped(stream, from, first, cx.now);
        }
    }

    fn forward_to_neighbours(
        &mut self,
        cx: &mut Context<'_>,
        to: Vec<PeerId>,
        batch: &Batch,
        arrival: Arrival,
    ) {
        let hops = arrival.hops.saturating_add(1);
        let Arrival { explores, receipt, pulled, age_ms, .. } = arrival;
        let busy_until = cx.now + BUSY_AFTER_PAYLOAD;
        if let Some(n) = arrival.from.and_then(|from| self.neighbours.get_mut(&from)) {
            n.busy_until = busy_until;
        }
        for to in to {
            if Some(to) == arrival.from || to == batch.publisher() {
                continue;
            }
            let Some(link) = cx.overlay.neighbours.get(&to).map(|n| n.link) else { continue };
            if let Some(n) = self.neighbours.get_mut(&to) {
                n.busy_until = busy_until;
            }
            cx.fx.counters.batches_forwarded += 1;
            let batch = batch.clone();
            let gossip = Gossip { hops, explores, receipt, pulled, age_ms, batch };
            cx.fx.send_as(link, gossip, Class::Payload);
        }
    }

    /// Records the acknowledgement of a batch.
    fn acknowledge(&mut self, cx: &mut Context<'_>, batch: &Batch, receipt: bool, asked: bool) {
        let now = cx.now;
        let (acks, view) = self.acks_with_view(cx);
        if asked {
            return acks.on_pulled_batch(batch.stream(), now, &view);
        }
        let received = ReceivedBatch {
            stream: batch.stream(),
            bytes: batch.wire().len() as u64,
            receipt_until: receipt.then(|| batch.end()),
            wants_names: false,
        };
        acks.on_batch(&received, now, &view);
    }

    /// Delivers the messages that can be delivered after messages of a stream arrived or were given
    /// up.
    pub(crate) fn deliver(&mut self, cx: &mut Context<'_>, changed: StreamId) {
        for (stream, from, to) in self.store.list.take_forgotten() {
            self.report_gap(cx, stream, from, to);
            // No stream waits for it any more.
            if let Some(behind) = self.store.list.undelivered_after(stream) {
                self.deliver_steps(cx, behind);
            }
        }
        self.deliver_steps(cx, changed);
    }

    fn deliver_steps(&mut self, cx: &mut Context<'_>, changed: StreamId) {
        let now = cx.now;
        for step in self.store.advance(changed) {
            match step {
                DeliveryStep::Deliver { retained, from } => {
                    let end = retained.batch.end();
                    let delivery = retained.delivery(from, end, now);
                    cx.fx.counters.messages_delivered += delivery.count();
                    cx.fx.output(Output::Deliver(delivery));
                }
                DeliveryStep::Gap { stream, from, to } => self.report_gap(cx, stream, from, to),
            }
        }
        self.catch_up.on_delivered(&self.store.list, changed.publisher);
    }

    fn report_gap(
        &mut self,
        cx: &mut Context<'_>,
        StreamId { publisher, epoch }: StreamId,
        from: u64,
        to: u64,
    ) {
        cx.fx.counters.gaps += 1;
        cx.fx.counters.messages_missed += to - from;
        cx.fx.event(Event::Gap { publisher, epoch, from, to });
    }

    /// Handles congestion of a payload queue: the publishers whose batches go through it are told
    /// to slow down.
    pub(crate) fn on_congested(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        cx.fx.counters.congestions += 1;
        let (acks, view) = self.acks_with_view(cx);
        acks.on_congestion(None, now, &view);
        self.outbox.on_congestion(now);
    }
}
