//! Batches on their way: taking in, forwarding, delivering.

use core::time::Duration;

use super::Peer;
use crate::batch::Batch;
use crate::broadcast::acks::{Acks, Arrived, Surroundings};
use crate::broadcast::trees::{self, Trees};
use crate::broadcast::{Awaited, MessageList, Step, Taken, name};
use crate::config::BroadcastMode;
use crate::event::Event;
use crate::identity::PeerId;
use crate::io::{Class, LinkId, Output, StoreOp};
use crate::message::{Delivery, StreamId};
use crate::time::Time;
use crate::wire::Gossip;

/// An edge that carried payload is busy for so long.
const BUSY: Duration = Duration::from_secs(2);

/// How a batch came here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub(super) hops: u16,
    pub(super) from: Option<PeerId>,
    pub(super) explores: bool,
    pub(super) receipt: bool,
    /// It was asked for, here or by somebody who passed it on, rather than sent along a tree.
    pub(super) pulled: bool,
    /// For how long it had existed, in milliseconds.
    pub(super) age_ms: u32,
}

impl Way {
    /// As the trees see it; whether this peer itself `asked` for what was pulled.
    const fn kind(self, asked: bool) -> trees::Way {
        let age = Duration::from_millis(self.age_ms as u64);
        trees::Way::of(age, self.pulled, asked, self.explores)
    }
}

/// What the acknowledgements look at.
pub(super) struct Around<'a> {
    list: &'a MessageList,
    trees: &'a Trees,
    me: PeerId,
    /// Members known to live.
    others: usize,
}

impl Surroundings for Around<'_> {
    fn high_water(&self, stream: StreamId) -> u64 {
        self.list.get(stream).map_or(0, crate::broadcast::Seen::high_water)
    }

    fn children(&self, publisher: &PeerId) -> Vec<PeerId> {
        self.trees.children(publisher)
    }

    fn parent(&self, publisher: &PeerId) -> Option<PeerId> {
        self.trees.parent(publisher)
    }

    fn me(&self) -> PeerId {
        self.me
    }

    fn is_alone(&self) -> bool {
        self.others == 0
    }
}

/// The parts of a peer that [`Around`] looks at, so that the others can be changed meanwhile.
macro_rules! around {
    ($peer:ident) => {
        $crate::peer::messages::Around::new(
            &$peer.broadcast.list,
            &$peer.trees,
            $peer.identity.id(),
            $peer.members.alive_count(),
        )
    };
}
pub(super) use around;

/// Who waits for what is below a number of a stream.
macro_rules! awaited {
    ($peer:ident, $now:ident) => {{
        let (acks, trees) = (&$peer.acks, &$peer.trees);
        let (me, others) = ($peer.identity.id(), $peer.members.alive_count());
        let (own, reached) = ($peer.outbox.stream(), $peer.reached());
        move |list: &$crate::broadcast::MessageList, stream: $crate::message::StreamId, number| {
            if stream == own && number > reached {
                return $crate::broadcast::Awaited::FromHere;
            }
            let around = $crate::peer::messages::Around::new(list, trees, me, others);
            $crate::peer::messages::who_waits(acks, stream, number, $now, &around)
        }
    }};
}
pub(super) use awaited;

pub(super) fn who_waits(
    acks: &Acks,
    stream: StreamId,
    number: u64,
    now: Time,
    around: &Around<'_>,
) -> Awaited {
    match acks.summed(stream, now, around) {
        Some(s) if s.patient < number && stream.publisher == around.me => Awaited::FromHere,
        Some(s) if s.patient < number => Awaited::Somebody,
        _ => Awaited::Nobody,
    }
}

impl<'a> Around<'a> {
    pub(super) const fn new(
        list: &'a MessageList,
        trees: &'a Trees,
        me: PeerId,
        others: usize,
    ) -> Self {
        Around { list, trees, me, others }
    }
}

impl Peer {
    pub(super) fn on_gossip(&mut self, remote: PeerId, f: Gossip) {
        let Gossip { hops, explores, receipt, pulled, age_ms, batch } = f;
        let from = Some(remote);
        self.take_in(&batch, Way { hops, from, explores, receipt, pulled, age_ms });
    }

    /// Takes in a batch: one's own, a neighbour's, or the answer to a question.
    pub(super) fn take_in(&mut self, batch: &Batch, way: Way) {
        let (now, wall) = (self.fx.now(), self.fx.wall());
        let stream = batch.stream();
        if way.from.is_some() && self.is_foreign_in_own_stream(batch) {
            return self.refuse_foreign_batch(batch);
        }
        let asked = way.pulled && way.from.is_none_or(|from| self.missing.is_asked(&from));
        let is_known = self.trees.knows(&stream.publisher);
        let is_old = way.kind(asked) == trees::Way::History;
        // What is old finds no tree: where none is known, neighbours ask for it, and are not flooded with it.
        let goes_on = !way.pulled && (is_known || !is_old || way.from.is_none());
        let may_explore = !is_old && self.trees.may_explore(&stream.publisher, now);
        let awaited = awaited!(self, now);
        match self.broadcast.receive(batch, way.hops, way.from, now, wall, awaited) {
            Taken::Repeat => {
                self.note_answer(stream, way, false);
                self.fx.add("messages_duplicate", batch.len() as u64);
                self.broadcast.kept.repeated(batch);
                self.on_repeat(stream.publisher, way);
            }
            Taken::New { messages, dropped } => {
                let way = Way { explores: way.explores && may_explore, ..way };
                self.note_answer(stream, way, true);
                if way.from.is_some() {
                    self.fx.add("messages_received", messages);
                    self.fx.count("batches_received");
                }
                self.fx.add("messages_duplicate", batch.len() as u64 - messages);
                if way.age_ms > 0 {
                    let age = Duration::from_millis(way.age_ms.into());
                    self.broadcast.kept.set_age(batch, age);
                }
                if let Some(from) = way.from.filter(|_| !way.pulled) {
                    self.review_parent(stream, from);
                }
                self.missing.received(&self.broadcast.list, stream, now);
                self.follow_tree(stream.publisher, way.from, way.kind(asked));
                if way.pulled {
                    self.forward_to_those_behind(batch, way);
                } else {
                    self.look_for_hole(batch, way.from);
                    if goes_on {
                        self.forward(batch, way);
                    }
                }
                if !asked {
                    self.share_retention(batch.publisher(), batch.size() as u64);
                }
                self.announcer.note(batch, way.from, goes_on, now);
                self.look_for_beginning(stream);
                self.look_for_previous(batch);
                self.acknowledge(batch, way.receipt, asked);
                self.deliver(stream);
                // With the marks that it moved: a batch is never durable as one that was held back
                // when it was delivered as it came.
                let mut ops = vec![StoreOp::PutBatch(batch.clone())];
                ops.extend(dropped.iter().map(|b| StoreOp::RemoveBatch(name(b))));
                ops.extend(self.moved_marks());
                self.fx.store(ops);
            }
        }
    }

    /// What was asked for, perhaps, has come.
    fn note_answer(&mut self, stream: StreamId, way: Way, is_new: bool) {
        if let Some(from) = way.from.filter(|_| way.pulled) {
            self.missing.answer_goes_on(&from, stream, is_new, self.fx.now());
        }
    }

    fn forward(&mut self, batch: &Batch, way: Way) {
        let floods = self.config.broadcast() == BroadcastMode::Flood;
        let to = if way.explores || floods {
            self.overlay.neighbours.keys().copied().collect()
        } else {
            self.trees.children(&batch.publisher())
        };
        self.forward_to(to, batch, way);
    }

    /// What was pulled was missed by everybody behind this peer: those who do not seem to have it get it now,
    /// and not when they hear of it.
    fn forward_to_those_behind(&mut self, batch: &Batch, way: Way) {
        let (stream, end) = (batch.stream(), batch.end());
        if !self.trees.knows(&stream.publisher) {
            // It is of the past: nothing was found out by it about who is behind this peer.
            return;
        }
        let mut children = self.trees.children(&stream.publisher);
        children.retain(|c| {
            self.acks.may_lack(stream, *c, end) && !self.announcer.has_told(*c, stream, end)
        });
        self.forward_to(children, batch, way);
    }

    fn look_for_hole(&mut self, batch: &Batch, from: Option<PeerId>) {
        let (stream, first) = (batch.stream(), batch.first());
        let seen = self.broadcast.list.get(stream);
        if let Some(from) = from
            && seen.is_some_and(|s| s.high_water() < first)
        {
            self.missing.hole(stream, from, first, self.fx.now());
        }
    }

    fn forward_to(&mut self, to: Vec<PeerId>, batch: &Batch, way: Way) {
        let hops = way.hops.saturating_add(1);
        let Way { explores, receipt, pulled, age_ms, .. } = way;
        let busy_until = self.fx.now() + BUSY;
        if let Some(n) = way.from.and_then(|from| self.overlay.neighbours.get_mut(&from)) {
            n.busy_until = busy_until;
        }
        for to in to {
            if Some(to) == way.from || to == batch.publisher() {
                continue;
            }
            let Some(n) = self.overlay.neighbours.get_mut(&to) else { continue };
            n.busy_until = busy_until;
            self.fx.count("batches_forwarded");
            let batch = batch.clone();
            let gossip = Gossip { hops, explores, receipt, pulled, age_ms, batch };
            self.fx.send_as(n.link, gossip, Class::Payload);
        }
    }

    /// Notes what has to be acknowledged for a batch.
    fn acknowledge(&mut self, batch: &Batch, receipt: bool, asked: bool) {
        if asked {
            let now = self.fx.now();
            return self.acks.caught_up(batch.stream(), now, &around!(self));
        }
        let arrived = Arrived {
            stream: batch.stream(),
            bytes: batch.wire().len() as u64,
            wanted: receipt.then(|| batch.end()),
            names: false,
        };
        let now = self.fx.now();
        self.acks.received(&arrived, now, &around!(self));
    }

    fn on_repeat(&mut self, publisher: PeerId, way: Way) {
        if let Some(from) = way.from.filter(|_| !way.pulled) {
            self.tree_repeat(publisher, from, way.kind(false));
        }
    }

    pub(super) fn has_begun(&self, stream: StreamId) -> bool {
        self.broadcast.list.get(stream).is_some_and(crate::broadcast::Seen::has_begun)
    }

    /// Hands what has become deliverable to the application, since something of a stream came or was
    /// given up.
    pub(super) fn deliver(&mut self, changed: StreamId) {
        for (stream, from, to) in self.broadcast.list.take_forgotten() {
            self.tell_gap(stream, from, to);
            // Nothing waits for it any more.
            if let Some(behind) = self.broadcast.list.undelivered_after(stream) {
                self.deliver_steps(behind);
            }
        }
        self.deliver_steps(changed);
    }

    fn deliver_steps(&mut self, changed: StreamId) {
        let now = self.fx.now();
        for step in self.broadcast.advance(changed) {
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
                    self.fx.add("messages_delivered", delivery.count());
                    self.fx.output(Output::Deliver(delivery));
                }
                Step::Gap { stream, from, to } => self.tell_gap(stream, from, to),
            }
        }
        self.history.delivered(&self.broadcast.list, changed.publisher);
    }

    fn tell_gap(&mut self, StreamId { publisher, epoch }: StreamId, from: u64, to: u64) {
        self.fx.count("gaps");
        self.fx.add("messages_missed", to - from);
        self.fx.event(Event::Gap { publisher, epoch, from, to });
    }

    /// A payload queue fills: the publishers behind it are told to slow down.
    pub(super) fn on_congested(&mut self, link: LinkId) {
        if self.links.contains_key(&link) {
            let now = self.fx.now();
            self.fx.count("congestions");
            self.acks.congested(None, now, &around!(self));
            self.outbox.congested(now);
        }
    }
}
