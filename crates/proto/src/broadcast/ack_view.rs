//! Context of the acknowledgements (message list, trees, members), and which retained batches
//! other peers still need.

use super::acks::{AckContext, Acks};
use super::trees::Trees;
use super::{Broadcast, MessageList, RetentionNeed, StreamState, batch_id};
use crate::context::{Context, View};
use crate::identity::PeerId;
use crate::io::StoreOp;
use crate::message::StreamId;
use crate::time::Time;

/// The [`AckContext`] of a peer.
pub(super) struct AckView<'a> {
    list: &'a MessageList,
    trees: &'a Trees,
    me: PeerId,
    /// Other members that are alive.
    other_members: usize,
}

impl<'a> AckView<'a> {
    pub(super) fn new(list: &'a MessageList, trees: &'a Trees, cx: &View<'_>) -> Self {
        let other_members = cx.membership.members.alive_count();
        AckView { list, trees, me: cx.id(), other_members }
    }
}

impl AckContext for AckView<'_> {
    fn high_water(&self, stream: StreamId) -> u64 {
        self.list.get(stream).map_or(0, StreamState::high_water)
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
        self.other_members == 0
    }
}

/// Decides whether other peers still need what is retained below a sequence number.
pub(super) struct RetentionPolicy<'a> {
    acks: &'a Acks,
    trees: &'a Trees,
    me: PeerId,
    other_members: usize,
    own_stream: StreamId,
    /// Up to this sequence number another node has held this peer's stream at some time.
    ever_confirmed: u64,
    now: Time,
}

impl<'a> RetentionPolicy<'a> {
    /// `own_stream` is this peer's stream and the sequence number up to which another node has held
    /// it at some time.
    pub(super) fn new(
        acks: &'a Acks,
        trees: &'a Trees,
        own_stream: (StreamId, u64),
        cx: &View<'_>,
    ) -> Self {
        let other_members = cx.membership.members.alive_count();
        let (own_stream, ever_confirmed) = own_stream;
        RetentionPolicy {
            acks,
            trees,
            me: cx.id(),
            other_members,
            own_stream,
            ever_confirmed,
            now: cx.now,
        }
    }

    pub(super) fn need_below(
        &self,
        list: &MessageList,
        stream: StreamId,
        below: u64,
    ) -> RetentionNeed {
        if stream == self.own_stream && below > self.ever_confirmed {
            return RetentionNeed::OnlyCopy;
        }
        let view =
            AckView { list, trees: self.trees, me: self.me, other_members: self.other_members };
        match self.acks.aggregate(stream, self.now, &view) {
            Some(s) if s.long_paced < below && stream.publisher == self.me => {
                RetentionNeed::OnlyCopy
            }
            Some(s) if s.long_paced < below => RetentionNeed::Needed,
            _ => RetentionNeed::NotNeeded,
        }
    }
}

impl Broadcast {
    /// The acknowledgements, and what they read of the broadcast.
    pub(super) fn acks_with_view(&mut self, cx: &View<'_>) -> (&mut Acks, AckView<'_>) {
        (&mut self.acks, AckView::new(&self.store.list, &self.trees, cx))
    }

    /// Removes expired batches that no lagging peer needs.
    pub(crate) fn expire(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        let own_stream = (self.outbox.stream(), self.ever_confirmed(cx));
        let policy = RetentionPolicy::new(&self.acks, &self.trees, own_stream, cx);
        let expired =
            self.store.expire(now, |list, stream, end| policy.need_below(list, stream, end));
        if !expired.is_empty() {
            cx.fx.store(expired.iter().map(|b| StoreOp::RemoveBatch(batch_id(b))).collect());
        }
    }
}
