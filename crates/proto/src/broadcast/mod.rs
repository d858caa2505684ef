//! Broadcast: each batch to every member once, in its publisher's order.
//!
//! [`Broadcast`] is the whole of it at one peer. Files with state and decisions of one mechanism: what was
//! received ([`message_list`]), what is kept ([`retention`], [`store`]), what may be delivered ([`order`]),
//! what waits to be sent ([`outbox`]) and how fast ([`window`], [`active`]), which links carry payloads
//! ([`trees`]), what the lazy links are told ([`announce`]), what is missing ([`missing`]), how far each
//! subtree is ([`acks`]), what other nodes have confirmed ([`handover`]).
//!
//! Files with what is done in one situation: a batch comes in ([`receive`]), is published ([`publish`]), frames
//! of the trees ([`tree`]), of the acknowledgements ([`acknowledge`]), of comparison and repair ([`sync`],
//! [`pull`]), delivery receipts ([`receipts`]), one message by its id ([`fetch`]), confirmation before an exit
//! ([`confirm`]), the numbers of this peer's stream ([`own_stream`]), a restart ([`resume`], [`history`]).

mod ack_view;
mod acknowledge;
pub(crate) mod acks;
mod active;
mod announce;
mod confirm;
mod fetch;
mod handover;
mod history;
mod message_list;
mod missing;
mod order;
mod outbox;
mod own_stream;
mod publish;
mod receipts;
mod receive;
mod resume;
mod retention;
mod store;
mod sync;
mod tree;
mod trees;
mod view;
mod window;

use crate::batch::Batch;
use crate::config::{BroadcastMode, Config};
use crate::context::{Context, View};
use crate::identity::{Identity, PeerId};
use crate::io::{DeliveredMark, LinkId};
use crate::message::{Delivery, MessageId, StreamId};
use crate::random::Stream;
use crate::small::VecMap;
use crate::sync::Hashed;
use crate::time::Time;
use crate::wire::Frame;

use acks::Acks;
use active::Active;
use announce::Announcer;
use fetch::Fetch;
use handover::Handover;
use history::History;
use missing::Missing;
use outbox::Outbox;
use publish::Exploring;
use receipts::Receipts;
use receive::Arrival;
use sync::Unbegun;
use trees::Trees;

pub(crate) use message_list::{MessageList, Receipt, Seen};
pub(crate) use order::Step;
#[cfg(test)]
pub(crate) use own_stream::HIGHEST_CLAIM;
pub use own_stream::start_number;
pub use publish::PublishError;
pub(crate) use retention::{Awaited, Kept, Retention, name};
pub(crate) use store::{MessageStore, Taken};

/// What broadcast keeps of a neighbour.
#[derive(Debug)]
struct NeighbourState {
    /// It gets no whole summary before this time.
    tell_all_after: Time,
    /// It is not told what it lacks before this time.
    tell_lacking_after: Time,
    /// Payload goes over this edge: until then another one is better to give away.
    busy_until: Time,
    /// What it was served by id takes until then at the rate that it may have.
    served_until: Time,
    /// Whether its first message list has come. Of use while this peer catches up.
    has_told: bool,
}

/// The broadcast at one peer.
#[derive(Debug)]
pub(crate) struct Broadcast {
    store: MessageStore,
    outbox: Outbox,
    trees: Trees,
    exploring: Exploring,
    announcer: Announcer,
    missing: Missing,
    acks: Acks,
    active: Active,
    handover: Handover,
    /// Streams of which it is not known where they begin.
    unbegun: VecMap<StreamId, Unbegun>,
    history: History,
    /// Whether a neighbour has said which messages it knows under the number of this process.
    stream_compared: bool,
    receipts: Receipts,
    pace_at: Time,
    /// What an earlier process delivered of what is still kept.
    restored: Vec<Delivery>,
    hashed: Hashed,
    next_sync: Time,
    fetches: VecMap<MessageId, Fetch>,
    neighbours: VecMap<PeerId, NeighbourState>,
    rng: Stream,
}

/// What broadcast begins with.
pub(crate) struct Start<'a> {
    pub(crate) incarnation: u64,
    pub(crate) kept: &'a [Batch],
    pub(crate) delivered: &'a [DeliveredMark],
    pub(crate) compacted: &'a [StreamId],
}

impl Broadcast {
    /// The broadcast of a peer that has done nothing yet, and the batches that it does not keep any more
    /// because its bounds are narrower now.
    pub(crate) fn new(
        config: &Config,
        identity: &Identity,
        start: &Start<'_>,
        random: impl Fn(&'static str) -> Stream,
        now: Time,
    ) -> (Self, Vec<Batch>) {
        let mut store = MessageStore::new(config);
        let (restored, dropped) =
            resume::restore(&mut store, (start.compacted, start.delivered), start.kept, now);
        let mut rng = random("sync");
        let next_sync = now + rng.scaled(config.sync_interval(), 0.5, 1.5);
        let mut outbox = Outbox::new(identity, start.incarnation);
        outbox.follow(own_stream::previous(&store.list, outbox.stream()));
        let floods = config.broadcast() == BroadcastMode::Flood;
        let broadcast = Broadcast {
            store,
            outbox,
            trees: Trees::new(identity.id(), floods),
            exploring: Exploring::new(),
            announcer: Announcer::new(random("announcements")),
            missing: Missing::new(config.retention_age(), random("pulls")),
            acks: Acks::default(),
            active: Active::default(),
            handover: Handover::default(),
            unbegun: VecMap::new(),
            history: History::default(),
            stream_compared: false,
            receipts: Receipts::new(),
            pace_at: Time::MAX,
            restored,
            hashed: Hashed::default(),
            next_sync,
            fetches: VecMap::new(),
            neighbours: VecMap::new(),
            rng,
        };
        (broadcast, dropped)
    }

    /// Whether payload went over the edge to a neighbour lately. A peer that gives it away has to find
    /// another path for what was on it.
    pub(crate) fn is_busy(&self, neighbour: &PeerId, now: Time) -> bool {
        self.neighbours.get(neighbour).is_some_and(|n| n.busy_until > now)
    }

    /// An edge is made. Comparing begins with [`Broadcast::start_sync`], when both ends know of it.
    pub(crate) fn neighbour_up(&mut self, neighbour: PeerId, now: Time) {
        let state = NeighbourState {
            tell_all_after: now,
            tell_lacking_after: now,
            busy_until: now,
            served_until: now,
            has_told: false,
        };
        self.neighbours.insert(neighbour, state);
    }

    /// An edge is gone.
    pub(crate) fn neighbour_down(&mut self, cx: &mut Context<'_>, neighbour: PeerId) {
        self.neighbours.remove(&neighbour);
        self.tree_link_down(cx, neighbour);
        self.handover.forget_neighbour(&neighbour);
    }

    /// This peer has sent Leave to a neighbour.
    pub(crate) fn neighbour_left_behind(&mut self, neighbour: PeerId) {
        self.neighbours.remove(&neighbour);
        self.acks.forget(neighbour);
    }

    /// Takes in a frame of the kinds that change nothing but the broadcast.
    pub(crate) fn on_frame(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        remote: PeerId,
        frame: Frame,
    ) {
        match frame {
            Frame::Gossip(f) => self.on_gossip(cx, remote, *f),
            Frame::Announce(f) => self.on_announce(cx, remote, &f),
            Frame::Pulled(f) => self.on_pulled(cx, remote, &f),
            Frame::Ack(f) => self.on_ack(cx, remote, &f),
            Frame::Census(f) => self.on_census(cx, remote, *f),
            Frame::Prune(f) => self.on_prune(cx, remote, &f),
            Frame::Confirm(f) => self.on_confirm(cx, link, remote, &f),
            Frame::GetData(f) => self.on_get_data(cx, link, remote, f.id),
            Frame::Data(f) => self.on_data(cx, remote, *f),
            _ => {}
        }
    }

    /// The first moment at which something is due.
    pub(crate) fn deadline(&self, cx: &View<'_>) -> Option<Time> {
        let all = [
            self.fetches_deadline(),
            self.store.kept.next_expiry(),
            self.handover.due,
            Some(self.next_sync),
            self.announcer.due,
            self.missing.deadline(),
            self.acks.deadline(),
            self.outbox.deadline(),
            self.comparison_deadline(cx),
            self.begin_deadline(),
            Some(self.receipts.deadline()),
            Some(self.pace_at),
            self.history_deadline(cx),
        ];
        all.into_iter().flatten().min()
    }

    /// Does what is due, but for [`Broadcast::run_handover`] and [`Broadcast::expire`].
    pub(crate) fn on_timeout(&mut self, cx: &mut Context<'_>) {
        self.run_sync(cx);
        self.run_announcer(cx);
        self.begin_streams(cx);
        self.run_pulls(cx);
        self.run_acks(cx);
        if self.pace_at <= cx.now {
            self.pace(cx, false);
        }
        if self.receipts.deadline() <= cx.now {
            self.review_receipts(cx);
            self.run_census(cx);
        }
        self.run_fetches(cx);
    }

    /// See [`Peer::follow_consumer`](crate::Peer::follow_consumer).
    pub(crate) fn follow_consumer(&mut self) {
        self.store.list.follow_consumer();
    }

    /// See [`Peer::take_restored`](crate::Peer::take_restored).
    pub(crate) fn take_restored(&mut self) -> Vec<Delivery> {
        core::mem::take(&mut self.restored)
    }
}
