//! What the acknowledgements look at: the message list, the trees, and whether there are other members.

use super::acks::{AckContext, Acks};
use super::trees::Trees;
use super::{Awaited, Broadcast, MessageList, Seen, name};
use crate::context::{Context, View};
use crate::identity::PeerId;
use crate::io::StoreOp;
use crate::message::StreamId;
use crate::time::Time;

/// The parts of a peer that [`Acks`] looks at while it changes.
pub(super) struct AckView<'a> {
    list: &'a MessageList,
    trees: &'a Trees,
    me: PeerId,
    /// Other members that are alive.
    others: usize,
}

impl<'a> AckView<'a> {
    pub(super) fn new(list: &'a MessageList, trees: &'a Trees, cx: &View<'_>) -> Self {
        let others = cx.membership.members.alive_count();
        AckView { list, trees, me: cx.id(), others }
    }
}

impl AckContext for AckView<'_> {
    fn high_water(&self, stream: StreamId) -> u64 {
        self.list.get(stream).map_or(0, Seen::high_water)
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

/// Decides which peers still need what is kept below a sequence number.
pub(super) struct NeededBy<'a> {
    acks: &'a Acks,
    trees: &'a Trees,
    me: PeerId,
    others: usize,
    own: StreamId,
    /// Up to where other nodes hold this peer's stream.
    reached: u64,
    now: Time,
}

impl<'a> NeededBy<'a> {
    /// `own` is this peer's stream, and up to where other nodes hold it.
    pub(super) fn new(
        acks: &'a Acks,
        trees: &'a Trees,
        own: (StreamId, u64),
        cx: &View<'_>,
    ) -> Self {
        let others = cx.membership.members.alive_count();
        let (own, reached) = own;
        NeededBy { acks, trees, me: cx.id(), others, own, reached, now: cx.now }
    }

    pub(super) fn below(&self, list: &MessageList, stream: StreamId, number: u64) -> Awaited {
        if stream == self.own && number > self.reached {
            return Awaited::FromHere;
        }
        let view = AckView { list, trees: self.trees, me: self.me, others: self.others };
        match self.acks.summed(stream, self.now, &view) {
            Some(s) if s.patient < number && stream.publisher == self.me => Awaited::FromHere,
            Some(s) if s.patient < number => Awaited::Somebody,
            _ => Awaited::Nobody,
        }
    }
}

impl Broadcast {
    /// Removes what is too old, and is not needed by a peer that is behind.
    pub(crate) fn expire(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        let own = (self.outbox.stream(), self.reached(cx));
        let needed_by = NeededBy::new(&self.acks, &self.trees, own, cx);
        let expired = self.store.expire(now, |list, s, n| needed_by.below(list, s, n));
        if !expired.is_empty() {
            cx.fx.store(expired.iter().map(|b| StoreOp::RemoveBatch(name(b))).collect());
        }
    }
}
