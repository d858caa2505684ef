//! The path of a batch through a peer: check, deduplicate, keep, forward, acknowledge, deliver, store.

use core::time::Duration;

use super::ack_view::{AckView, NeededBy};
use super::acks::Arrived;
use super::trees;
use super::{Broadcast, MessageList, Seen, Step, Taken, name};
use crate::batch::Batch;
use crate::config::BroadcastMode;
use crate::context::Context;
use crate::event::Event;
use crate::identity::PeerId;
use crate::io::{Class, Output, StoreOp};
use crate::message::{Delivery, StreamId};
use crate::wire::Gossip;

/// How long an edge counts as busy after payload went over it.
const BUSY: Duration = Duration::from_secs(2);

/// How a batch came here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// Links that it has passed.
    pub(crate) hops: u16,
    /// The neighbour that sent it; `None` for a batch of this peer.
    pub(crate) from: Option<PeerId>,
    /// Whether it goes over all links.
    pub(crate) explores: bool,
    /// Whether its publisher waits for a receipt.
    pub(crate) receipt: bool,
    /// Whether it was pulled, here or by a peer that passed it on, rather than sent along a tree.
    pub(crate) pulled: bool,
    /// Its age in milliseconds.
    pub(crate) age_ms: u32,
}

impl Arrival {
    /// That of a batch that this peer publishes.
    pub(crate) const fn own(explores: bool, receipt: bool) -> Self {
        Arrival { hops: 0, from: None, explores, receipt, pulled: false, age_ms: 0 }
    }

    /// As the trees see it; `asked` says whether this peer itself pulled it.
    const fn kind(self, asked: bool) -> trees::Way {
        let age = Duration::from_millis(self.age_ms as u64);
        trees::Way::of(age, self.pulled, asked, self.explores)
    }
}

impl Broadcast {
    pub(crate) fn on_gossip(&mut self, cx: &mut Context<'_>, remote: PeerId, f: Gossip) {
        let Gossip { hops, explores, receipt, pulled, age_ms, batch } = f;
        let from = Some(remote);
        self.receive(cx, &batch, Arrival { hops, from, explores, receipt, pulled, age_ms });
    }

    /// Takes in a batch of this peer, of a neighbour, or the answer to a pull.
    pub(crate) fn receive(&mut self, cx: &mut Context<'_>, batch: &Batch, arrival: Arrival) {
        let (now, wall) = (cx.now, cx.fx.wall());
        let stream = batch.stream();

        // Check. The signature holds already; under this peer's key another process may publish.
        if arrival.from.is_some() && self.is_foreign_in_own_stream(batch) {
            return self.refuse_foreign_batch(cx, batch);
        }
        let asked = arrival.pulled && arrival.from.is_none_or(|from| self.missing.is_asked(&from));
        let is_known = self.trees.knows(&stream.publisher);
        let is_old = arrival.kind(asked) == trees::Way::History;
        // A batch of the past that finds no tree is not flooded: neighbours pull it.
        let goes_on = !arrival.pulled && (is_known || !is_old || arrival.from.is_none());
        let may_explore = !is_old && self.trees.may_explore(&stream.publisher, now);

        // Deduplicate, and keep what is new.
        let own = (self.outbox.stream(), self.reached(cx));
        let needed_by = NeededBy::new(&self.acks, &self.trees, own, cx);
        let needed_by = |list: &MessageList, s, n| needed_by.below(list, s, n);
        let taken = self.store.receive(batch, arrival.hops, arrival.from, now, wall, needed_by);
        let Taken::New { messages, dropped } = taken else {
            return self.receive_repeat(cx, batch, arrival);
        };
        let arrival = Arrival { explores: arrival.explores && may_explore, ..arrival };
        self.note_answer(cx, stream, arrival, true);
        self.count_new(cx, batch, messages, arrival);

        // Follow the tree: the neighbour that sent it first is the parent.
        if let Some(from) = arrival.from.filter(|_| !arrival.pulled) {
            self.review_parent(cx, stream, from);
        }
        self.missing.received(&self.store.list, stream, now);
        self.follow_tree(cx, stream.publisher, arrival.from, arrival.kind(asked));

        // Forward.
        if arrival.pulled {
            self.forward_to_children_behind(cx, batch, arrival);
        } else {
            self.note_missing_before(cx, batch, arrival.from);
            if goes_on {
                self.forward(cx, batch, arrival);
            }
        }
        if !asked {
            self.share_retention(cx, batch.publisher(), batch.size() as u64);
        }
        self.announcer.note(batch, arrival.from, goes_on, now);

        // Look for what comes before it.
        self.look_for_beginning(cx, stream);
        self.look_for_previous(cx, batch);

        self.acknowledge(cx, batch, arrival.receipt, asked);
        self.deliver(cx, stream);

        // Store, in one request with the marks that it moved: a batch is never durable as one that was
        // held back when it was delivered as it came.
        let mut ops = vec![StoreOp::PutBatch(batch.clone())];
        ops.extend(dropped.iter().map(|b| StoreOp::RemoveBatch(name(b))));
        ops.extend(self.moved_marks());
        cx.fx.store(ops);
    }

    /// All of a batch was received before.
    fn receive_repeat(&mut self, cx: &mut Context<'_>, batch: &Batch, arrival: Arrival) {
        self.note_answer(cx, batch.stream(), arrival, false);
        cx.fx.add("messages_duplicate", batch.len() as u64);
        self.store.kept.repeated(batch);
        if let Some(from) = arrival.from.filter(|_| !arrival.pulled) {
            self.tree_repeat(cx, batch.publisher(), from, arrival.kind(false));
        }
    }

    fn count_new(&mut self, cx: &mut Context<'_>, batch: &Batch, messages: u64, arrival: Arrival) {
        if arrival.from.is_some() {
            cx.fx.add("messages_received", messages);
            cx.fx.count("batches_received");
        }
        cx.fx.add("messages_duplicate", batch.len() as u64 - messages);
        if arrival.age_ms > 0 {
            let age = Duration::from_millis(arrival.age_ms.into());
            self.store.kept.set_age(batch, age);
        }
    }

    /// A batch came that may be the answer to a pull.
    fn note_answer(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        arrival: Arrival,
        is_new: bool,
    ) {
        if let Some(from) = arrival.from.filter(|_| arrival.pulled) {
            self.missing.answer_goes_on(&from, stream, is_new, cx.now);
        }
    }

    fn forward(&mut self, cx: &mut Context<'_>, batch: &Batch, arrival: Arrival) {
        let floods = cx.config.broadcast() == BroadcastMode::Flood;
        let to = if arrival.explores || floods {
            cx.overlay.neighbours.keys().copied().collect()
        } else {
            self.trees.children(&batch.publisher())
        };
        self.forward_to(cx, to, batch, arrival);
    }

    /// The whole subtree of this peer missed what was pulled: children that seem to lack it get it now, and
    /// do not have to pull it.
    fn forward_to_children_behind(
        &mut self,
        cx: &mut Context<'_>,
        batch: &Batch,
        arrival: Arrival,
    ) {
        let (stream, end) = (batch.stream(), batch.end());
        if !self.trees.knows(&stream.publisher) {
            // It is of the past: no tree was made for it.
            return;
        }
        let mut children = self.trees.children(&stream.publisher);
        children.retain(|c| {
            self.acks.may_lack(stream, *c, end) && !self.announcer.has_told(*c, stream, end)
        });
        self.forward_to(cx, children, batch, arrival);
    }

    /// A batch along a tree shows that what comes before it is missing.
    fn note_missing_before(&mut self, cx: &mut Context<'_>, batch: &Batch, from: Option<PeerId>) {
        let (stream, first) = (batch.stream(), batch.first());
        let seen = self.store.list.get(stream);
        if let Some(from) = from
            && seen.is_some_and(|s| s.high_water() < first)
        {
            self.missing.hole(stream, from, first, cx.now);
        }
    }

    fn forward_to(
        &mut self,
        cx: &mut Context<'_>,
        to: Vec<PeerId>,
        batch: &Batch,
        arrival: Arrival,
    ) {
        let hops = arrival.hops.saturating_add(1);
        let Arrival { explores, receipt, pulled, age_ms, .. } = arrival;
        let busy_until = cx.now + BUSY;
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
            cx.fx.count("batches_forwarded");
            let batch = batch.clone();
            let gossip = Gossip { hops, explores, receipt, pulled, age_ms, batch };
            cx.fx.send_as(link, gossip, Class::Payload);
        }
    }

    /// Notes what has to be acknowledged for a batch.
    fn acknowledge(&mut self, cx: &mut Context<'_>, batch: &Batch, receipt: bool, asked: bool) {
        let now = cx.now;
        let view = AckView::new(&self.store.list, &self.trees, cx);
        if asked {
            return self.acks.caught_up(batch.stream(), now, &view);
        }
        let arrived = Arrived {
            stream: batch.stream(),
            bytes: batch.wire().len() as u64,
            wanted: receipt.then(|| batch.end()),
            names: false,
        };
        self.acks.received(&arrived, now, &view);
    }

    pub(crate) fn has_begun(&self, stream: StreamId) -> bool {
        self.store.list.get(stream).is_some_and(Seen::has_begun)
    }

    /// Hands what has become deliverable to the application, since something of a stream came or was
    /// given up.
    pub(crate) fn deliver(&mut self, cx: &mut Context<'_>, changed: StreamId) {
        for (stream, from, to) in self.store.list.take_forgotten() {
            self.tell_gap(cx, stream, from, to);
            // Nothing waits for it any more.
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
                Step::Deliver { kept, from } => {
                    let delivery = Delivery {
                        age: kept.age(now),
                        to: kept.batch.end(),
                        batch: kept.batch,
                        from,
                        neighbour: kept.from,
                        hops: kept.hops,
                        received_at: kept.received_at,
                    };
                    cx.fx.add("messages_delivered", delivery.count());
                    cx.fx.output(Output::Deliver(delivery));
                }
                Step::Gap { stream, from, to } => self.tell_gap(cx, stream, from, to),
            }
        }
        self.history.delivered(&self.store.list, changed.publisher);
    }

    fn tell_gap(
        &mut self,
        cx: &mut Context<'_>,
        StreamId { publisher, epoch }: StreamId,
        from: u64,
        to: u64,
    ) {
        cx.fx.count("gaps");
        cx.fx.add("messages_missed", to - from);
        cx.fx.event(Event::Gap { publisher, epoch, from, to });
    }

    /// A payload queue fills: the publishers behind it are told to slow down.
    pub(crate) fn on_congested(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        cx.fx.count("congestions");
        let view = AckView::new(&self.store.list, &self.trees, cx);
        self.acks.congested(None, now, &view);
        self.outbox.congested(now);
    }
}
