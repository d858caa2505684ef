//! Broadcast: each batch to every member once, in its publisher's order.
//!
//! [`Broadcast`] is the whole of it at one peer. Files with state and decisions of one mechanism:
//! received messages ([`message_list`]), retained batches ([`retention`], [`store`]), delivery
//! order ([`order`]), unsent batches ([`outbox`]) and the send window ([`window`],
//! [`active_publishers`]), eager and lazy links ([`trees`]), announcements ([`announce`]), missing
//! ranges ([`missing`]), acknowledgements ([`acks`]), confirmations by other nodes
//! ([`confirmations`]).
//!
//! Files for one situation: receiving ([`receive`]) and publishing ([`publish`]) a batch, frames of
//! the trees ([`tree`]), of the acknowledgements ([`acknowledge`]), of comparison and repair
//! ([`sync`]), delivery receipts ([`receipts`]), one message by its id ([`fetch`]), confirmation
//! before an exit ([`confirm`]), the sequence numbers of this peer's stream ([`own_stream`]), a
//! restart ([`resume`], [`history`]).

mod ack_view;
mod acknowledge;
pub(crate) mod acks;
mod active_publishers;
mod announce;
mod confirm;
mod confirmations;
mod fetch;
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
use crate::context::Context;
use crate::identity::{Identity, PeerId};
use crate::io::{DeliveredMark, LinkId};
use crate::message::{Delivery, MessageId, StreamId};
use crate::random::RngStream;
use crate::small::VecMap;
use crate::sync::DigestCache;
use crate::time::Time;
use crate::timers::PeerTimer;
use crate::wire::Frame;

use acks::Acks;
use active_publishers::ActivePublishers;
use announce::Announcer;
use confirmations::Confirmations;
use fetch::Fetch;
use history::CatchUp;
use missing::MissingRanges;
use outbox::Outbox;
use publish::ExploringSchedule;
use receipts::Receipts;
use receive::Arrival;
use sync::UnknownStart;
use trees::Trees;

pub(crate) use message_list::{InsertOutcome, MessageList, StreamState};
pub(crate) use order::DeliveryStep;
#[cfg(test)]
pub(crate) use own_stream::HIGHEST_CLAIM;
pub use own_stream::start_number;
pub use publish::PublishError;
pub(crate) use retention::{RetainedBatch, Retention, RetentionNeed, batch_id};
pub(crate) use store::{MessageStore, ReceiveOutcome};

/// The state of broadcast about a neighbour.
#[derive(Debug)]
struct NeighbourState {
    /// It gets no full summary before this time.
    full_summary_after: Time,
    /// It is sent no announcement of what it lacks before this time.
    announce_lacking_after: Time,
    /// Payload goes over this edge: until then, another edge is better to transfer.
    busy_until: Time,
    /// The messages that it fetched by id take until then at the rate that it is allowed.
    served_until: Time,
    /// Whether its first message list has arrived. Used while this peer catches up.
    sent_message_list: bool,
}

/// The broadcast at one peer.
#[derive(Debug)]
pub(crate) struct Broadcast {
    store: MessageStore,
    outbox: Outbox,
    trees: Trees,
    exploring: ExploringSchedule,
    announcer: Announcer,
    missing: MissingRanges,
    acks: Acks,
    active_publishers: ActivePublishers,
    confirmations: Confirmations,
    /// Streams whose start is not known.
    unknown_starts: VecMap<StreamId, UnknownStart>,
    catch_up: CatchUp,
    /// Whether a neighbour has listed its messages under the epoch of this process.
    own_stream_is_compared: bool,
    receipts: Receipts,
    pace_at: Time,
    /// Messages that an earlier process delivered and that are still retained.
    restored: Vec<Delivery>,
    digests: DigestCache,
    next_sync: Time,
    fetches: VecMap<MessageId, Fetch>,
    neighbours: VecMap<PeerId, NeighbourState>,
    rng: RngStream,
}

/// The initial state of broadcast after a start.
pub(crate) struct RestoredState<'a> {
    pub(crate) incarnation: u64,
    pub(crate) retained: &'a [Batch],
    pub(crate) delivered_marks: &'a [DeliveredMark],
    pub(crate) closed_up_to: &'a [StreamId],
}

impl Broadcast {
    /// The broadcast of a peer that has not done anything yet, and the batches that are evicted
    /// because its bounds are lower than those of the last process.
    pub(crate) fn new(
        config: &Config,
        identity: &Identity,
        start: &RestoredState<'_>,
        random: impl Fn(&'static str) -> RngStream,
        now: Time,
    ) -> (Self, Vec<Batch>) {
        let mut store = MessageStore::new(config);
        let (restored, evicted) = resume::restore(
            &mut store,
            (start.closed_up_to, start.delivered_marks),
            start.retained,
            now,
        );
        let mut rng = random("sync");
        let next_sync = now + rng.scaled(config.sync_interval(), 0.5, 1.5);
        let mut outbox = Outbox::new(identity, start.incarnation);
        outbox.set_previous(own_stream::previous_stream(&store.list, outbox.stream()));
        let floods = config.broadcast() == BroadcastMode::Flood;
        let broadcast = Broadcast {
            store,
            outbox,
            trees: Trees::new(identity.id(), floods),
            exploring: ExploringSchedule::new(),
            announcer: Announcer::new(random("announcements")),
            missing: MissingRanges::new(config.retention_age(), random("pulls")),
            acks: Acks::default(),
            active_publishers: ActivePublishers::default(),
            confirmations: Confirmations::default(),
            unknown_starts: VecMap::new(),
            catch_up: CatchUp::default(),
            own_stream_is_compared: false,
            receipts: Receipts::new(),
            pace_at: Time::MAX,
            restored,
            digests: DigestCache::default(),
            next_sync,
            fetches: VecMap::new(),
            neighbours: VecMap::new(),
            rng,
        };
        (broadcast, evicted)
    }

    /// Whether payload went over the edge to a neighbour lately. A peer that transfers the edge has
    /// to find another path for it.
    pub(crate) fn is_busy(&self, neighbour: &PeerId, now: Time) -> bool {
        self.neighbours.get(neighbour).is_some_and(|n| n.busy_until > now)
    }

    /// Adds a neighbour. Comparison begins with [`Broadcast::start_sync`], when both ends know the
    /// edge.
    pub(crate) fn neighbour_up(&mut self, neighbour: PeerId, now: Time) {
        let state = NeighbourState {
            full_summary_after: now,
            announce_lacking_after: now,
            busy_until: now,
            served_until: now,
            sent_message_list: false,
        };
        self.neighbours.insert(neighbour, state);
    }

    /// Removes a neighbour.
    pub(crate) fn neighbour_down(&mut self, cx: &mut Context<'_>, neighbour: PeerId) {
        self.neighbours.remove(&neighbour);
        self.tree_link_down(cx, neighbour);
        self.confirmations.forget_neighbour(&neighbour);
    }

    /// Removes a neighbour to which this peer has sent Leave.
    pub(crate) fn on_leave_sent(&mut self, neighbour: PeerId) {
        self.neighbours.remove(&neighbour);
        self.acks.forget_neighbour(neighbour);
    }

    /// Handles a frame of the kinds that change only the broadcast.
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
            Frame::PullEnd(f) => self.on_pull_end(cx, remote, &f),
            Frame::Ack(f) => self.on_ack(cx, remote, &f),
            Frame::Census(f) => self.on_census(cx, remote, *f),
            Frame::Prune(f) => self.on_prune(cx, remote, &f),
            Frame::Confirm(f) => self.on_confirm(cx, link, remote, &f),
            Frame::GetData(f) => self.on_get_data(cx, link, remote, f.id),
            Frame::Data(f) => self.on_data(cx, remote, *f),
            _ => {}
        }
    }

    /// Sets the timers of the broadcast.
    pub(crate) fn set_timers(&self, cx: &mut Context<'_>) {
        let timers = &mut *cx.timers;
        timers.set(PeerTimer::Sync, self.next_sync);
        timers.set(PeerTimer::Announce, self.announcer.due);
        timers.set(PeerTimer::StreamStart, self.unknown_starts_deadline());
        timers.set(PeerTimer::Pull, self.missing.deadline());
        timers.set(PeerTimer::Acknowledge, self.acks.deadline());
        timers.set(PeerTimer::Pace, self.pace_at);
        timers.set(PeerTimer::Receipts, self.receipts.deadline());
        timers.set(PeerTimer::Fetch, self.fetches_deadline());
        timers.set(PeerTimer::Confirm, self.confirmations.due);
        timers.set(PeerTimer::Expiry, self.store.retention.next_expiry());
        timers.set(PeerTimer::Outbox, self.outbox.deadline());
        timers.set(PeerTimer::Comparison, self.comparison_deadline(&cx.view));
        timers.set(PeerTimer::CatchUp, self.catch_up_deadline(&cx.view));
    }

    /// Performs the action of an expired timer.
    pub(crate) fn on_timer(&mut self, cx: &mut Context<'_>, timer: PeerTimer) {
        match timer {
            PeerTimer::Sync => self.run_sync(cx),
            PeerTimer::Announce => self.run_announcer(cx),
            PeerTimer::StreamStart => self.settle_unknown_starts(cx),
            PeerTimer::Pull => self.run_pulls(cx),
            PeerTimer::Acknowledge => self.run_acks(cx),
            PeerTimer::Pace => self.pace(cx, false),
            PeerTimer::Receipts => {
                self.review_receipts(cx);
                self.run_census(cx);
            }
            PeerTimer::Fetch => self.run_fetches(cx),
            PeerTimer::Confirm => self.run_confirmations(cx),
            PeerTimer::Expiry => self.expire(cx),
            // The end of every call does what these are for.
            _ => {}
        }
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
