//! A peer: membership, overlay, liveness, broadcast and sync, composed.
//!
//! Each concern keeps its own state and decides for itself; the files here turn decisions into
//! frames and what arrives into decisions. No other place sends.

mod acks;
mod address;
mod catch_up;
mod death;
mod duplicate;
mod fetch;
mod frames;
mod handover;
mod history;
mod leave;
mod links;
mod messages;
mod neighbours;
mod own;
mod publish;
mod quotas;
mod receipts;
mod resume;
mod seeds;
mod stream;
mod timers;
mod trees;
mod view;

use core::cell::Cell;
use std::sync::Arc;

use crate::batch::Batch;
use crate::broadcast::Broadcast;
use crate::broadcast::acks::Acks;
use crate::broadcast::active::Active;
use crate::broadcast::announce::Announcer;
use crate::broadcast::handover::Handover;
use crate::broadcast::missing::Missing;
use crate::broadcast::outbox::Outbox;
use crate::broadcast::trees::Trees;
use crate::config::{BroadcastMode, Config};
use crate::effects::Effects;
use crate::identity::{Identity, PeerId};
use crate::io::{DeliveredMark, DialId, Input, LinkId, Output, SeedAddress, StoreOp};
use crate::liveness::{Health, LATE};
use crate::membership::{Members, Registrations};
use crate::message::{Delivery, MessageId, StreamId};
use crate::name::Name;
use crate::overlay::Overlay;
use crate::random::Stream;
use crate::record::{Address, SignedRecord};
use crate::small::VecMap;
use crate::sync::Hashed;
use crate::time::Time;

pub(crate) use view::{count, view};

use catch_up::Unbegun;
use death::{OpenReport, Suspect};
use fetch::Fetch;
use history::History;
use links::{DialFor, Link};
use own::Own;
use resume::restore;
use timers::Moves;

use publish::Exploring;
use receipts::Receipts;

pub use stream::start_number;

/// What a peer starts with.
#[derive(Debug, Clone)]
pub struct PeerSetup {
    /// Its settings; many peers of one process may share them.
    pub config: Arc<Config>,
    /// Its key pair.
    pub identity: Identity,
    /// Its name.
    pub name: Name,
    /// Where others can reach it. Where the IP address is unspecified (`0.0.0.0`, `::`), the one at
    /// which seeds and neighbours see it is announced, and followed when it changes.
    pub addresses: Vec<Address>,
    /// The seeds of the network. May be empty: a network of one. Many peers of one process may share
    /// the list.
    pub seeds: Arc<[SeedAddress]>,
    /// The number of this process, as [`start_number`](crate::start_number) gives it: its first
    /// incarnation and the epoch of its stream. Durable before it is used here.
    pub incarnation: u64,
    /// Neighbours of an earlier life, to try while no seed answers.
    pub anchors: Vec<SignedRecord>,
    /// Batches kept from an earlier life, in order of arrival.
    pub kept: Vec<Batch>,
    /// How far an earlier life delivered each publisher's messages. What is kept and not below its
    /// mark is delivered by this life.
    pub delivered: Vec<DeliveredMark>,
    /// Streams up to which all of their publisher were over in an earlier life.
    pub compacted: Vec<StreamId>,
    /// Seed of all its randomness. Fresh OS randomness in production.
    pub rng_seed: [u8; 32],
}

/// Why a message was not published. Nothing was sent, and no number was used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The payload is over the limit.
    #[error("the payload has {0} bytes, at most {max} are allowed", max = crate::limits::MAX_PAYLOAD)]
    PayloadTooLong(usize),
    /// The topic is over the limit.
    #[error("the topic has {0} bytes, at most {max} are allowed", max = crate::limits::MAX_TOPIC)]
    TopicTooLong(usize),
    /// So much is on its way that the network has to catch up first.
    #[error("the network has to catch up first: try again when there is room")]
    Busy,
    /// The peer is leaving or has left.
    #[error("this peer is leaving the network")]
    Leaving,
}

/// The streams of randomness, one for each purpose.
#[derive(Debug)]
struct Streams {
    seeds: Stream,
    overlay: Stream,
    liveness: Stream,
    sync: Stream,
}

/// A peer as a state machine. The crate documentation shows how to drive it.
#[derive(Debug)]
pub struct Peer {
    config: Arc<Config>,
    identity: Identity,
    fx: Effects,
    rng: Streams,
    own: Own,
    links: VecMap<LinkId, Link>,
    dials: VecMap<DialId, DialFor>,
    members: Members,
    registrations: Registrations,
    overlay: Overlay,
    suspects: VecMap<PeerId, Suspect>,
    reports: VecMap<PeerId, OpenReport>,
    broadcast: Broadcast,
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
    /// When this peer had its first neighbour.
    neighbours_since: Option<Time>,
    /// Whether a neighbour has said which messages it knows under the number of this process.
    stream_compared: bool,
    receipts: Receipts,
    pace_at: Time,
    /// What an earlier life delivered of what is still kept.
    restored: Vec<Delivery>,
    hashed: Hashed,
    next_sync: Time,
    fetches: VecMap<MessageId, Fetch>,
    next_idle_check: Time,
    /// Members and seeds have not agreed on how many there are: when to ask for whole lists.
    lists_at: Option<Time>,
    /// The deadline, once it was asked for and until something changes.
    deadline: Cell<Option<Option<Time>>>,
    /// How far this peer trusts its own view of others.
    health: Health,
    /// It was stopped or starved, and what came meanwhile is not all read.
    is_behind: bool,
}

impl Peer {
    /// A peer that has done nothing yet. Drain it, ask for its deadline, and it begins to dial.
    #[must_use]
    pub fn new(setup: PeerSetup, now: Time) -> Self {
        let PeerSetup { config, identity, name, addresses, seeds, .. } = setup;
        let random = |purpose| Stream::new(&setup.rng_seed, purpose);
        let mut rng = Streams {
            seeds: random("seeds"),
            overlay: random("overlay"),
            liveness: random("liveness"),
            sync: random("sync"),
        };
        let mut fx = Effects::default();
        fx.begin(now);
        let mut broadcast = Broadcast::new(&config);
        let (restored, dropped) =
            restore(&mut broadcast, (&setup.compacted, &setup.delivered), &setup.kept, now);
        let missing = Missing::new(config.retention_age(), random("pulls"));
        let mut members = Members::default();
        for anchor in setup.anchors.iter().filter(|a| a.id != identity.id()) {
            members.learn(anchor, now);
        }
        let registrations = Registrations::new(&seeds, &mut rng.seeds, now);
        let next_sync = now + rng.sync.scaled(config.sync_interval(), 0.5, 1.5);
        let mut outbox = Outbox::new(&identity, setup.incarnation);
        outbox.follow(stream::previous(&broadcast.list, outbox.stream()));
        fx.watch(outbox.stream());
        let process = random("process").u64();
        let mut own = Own::new(&identity, name, addresses, setup.incarnation, process);
        own.has_predecessor = !setup.anchors.is_empty();
        let floods = config.broadcast() == BroadcastMode::Flood;
        let nearest_of = config.nearest_of();
        let trees = Trees::new(identity.id(), floods);
        let mut peer = Peer {
            config,
            identity,
            fx,
            rng,
            own,
            links: VecMap::new(),
            dials: VecMap::new(),
            members,
            registrations,
            overlay: Overlay::new(now, nearest_of),
            suspects: VecMap::new(),
            reports: VecMap::new(),
            broadcast,
            outbox,
            trees,
            exploring: Exploring::new(),
            announcer: Announcer::new(random("announcements")),
            missing,
            acks: Acks::default(),
            active: Active::default(),
            handover: Handover::default(),
            unbegun: VecMap::new(),
            history: History::default(),
            neighbours_since: None,
            stream_compared: false,
            receipts: Receipts::new(),
            pace_at: Time::MAX,
            restored,
            hashed: Hashed::default(),
            next_sync,
            fetches: VecMap::new(),
            next_idle_check: Time::MAX,
            lists_at: None,
            deadline: Cell::new(None),
            health: Health::new(now),
            is_behind: false,
        };
        peer.review_target();
        peer.review_registrations();
        peer.resume(&dropped);
        peer.owe_earlier_streams();
        peer
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.identity.id()
    }

    /// Takes in what happened. `now` must not be earlier than in any call before.
    pub fn handle(&mut self, now: Time, input: Input) {
        let before = self.fx.now();
        self.fx.begin(now);
        // What was due before the last input was found to be due then.
        let late = |at: Time| now.since(at.max(before)) > LATE;
        // What is read now may have come long ago.
        self.is_behind |= self.deadline.get().flatten().is_some_and(late);
        let moves = self.moves(&input);
        let known = if moves == Moves::All { self.deadline.take() } else { None };
        match input {
            Input::LinkUp { link, info } => self.on_link_up(link, info),
            Input::LinkDown { link, why } => self.on_link_down(link, why),
            Input::DialFailed { dial, why } => self.on_dial_failed(dial, why),
            Input::Frame { link, frame } => self.on_frame(link, frame.into_inner()),
            Input::Stored { .. } | Input::NotStored { .. } => {}
            Input::Consumed { marks } => self.on_consumed(&marks),
            Input::Congested { link } => {
                self.suffer();
                self.on_congested(link);
            }
            Input::SeedMoved { seed } => self.on_seed_moved(&seed),
            Input::WallClock(wall) => self.fx.set_wall(wall),
            Input::Timeout => {
                let deadline = known.unwrap_or_else(|| self.find_deadline());
                self.on_timeout(deadline.map(|at| at.max(before)));
            }
        }
        self.review_history();
        self.moved(moves);
    }

    /// A call of the application.
    fn begin(&mut self, now: Time) {
        self.fx.begin(now);
        self.deadline.set(None);
    }

    /// The next thing to do, if any. Drain it after every call that changes something.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.fx.poll() {
                return Some(output);
            }
            if !self.send_next_batch() && !self.store_marks() {
                return None;
            }
            self.deadline.set(None);
        }
    }

    /// Whether batches of this peer still wait to be written by the caller. While they do, what is
    /// published meanwhile is held back and packed into the next ones (for at most
    /// [`HOLD_AT_MOST`](crate::limits::HOLD_AT_MOST)): so the larger the load, the fewer and larger
    /// the batches, as with Nagle's algorithm (RFC 896) on a connection, and what is published at
    /// rest waits for nobody. A caller that never says so has each message go out at once.
    pub fn hold_back(&mut self, hold: bool) {
        self.deadline.set(None);
        self.outbox.hold_back(hold);
    }

    /// When to call [`Peer::handle`] with [`Input::Timeout`] at the latest; `None` if nothing is
    /// due. Valid until the next call that changes something.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let known = self.deadline.get();
        let deadline = known.unwrap_or_else(|| self.find_deadline());
        debug_assert!(
            deadline.is_some_and(|at| self.find_deadline().is_none_or(|d| at <= d))
                || self.find_deadline().is_none(),
            "a deadline would be missed"
        );
        self.deadline.set(Some(deadline));
        deadline
    }

    /// Makes the present neighbours durable, to begin with after a restart.
    fn store_anchors(&mut self) {
        let anchors = self.overlay.neighbours.values().map(|n| n.record.clone()).take(32).collect();
        self.fx.store(vec![StoreOp::Anchors(anchors)]);
    }

    /// From now on a message counts as delivered, for the next life, when [`Input::Consumed`] says so, and
    /// no longer when it was handed to the driver. Call it before the first [`Peer::handle`].
    pub fn follow_consumer(&mut self) {
        self.broadcast.list.follow_consumer();
    }

    /// What an earlier life delivered of what is still kept, for subscribers that want it again.
    /// Answers once.
    pub fn take_restored(&mut self) -> Vec<Delivery> {
        core::mem::take(&mut self.restored)
    }
}

/// The name of a peer that has told none: its id.
pub(crate) fn unknown_name(id: &PeerId) -> Name {
    // Eight hexadecimal characters are a valid name.
    Name::new(id.short()).unwrap_or_else(|_| unreachable!("hexadecimal characters are a name"))
}

/// A peer without seeds or history, for unit tests.
#[cfg(test)]
fn example_setup() -> PeerSetup {
    PeerSetup {
        config: Config::lan().build().unwrap().into(),
        identity: Identity::from_secret(&[99; 32]),
        name: Name::new("p").unwrap(),
        addresses: vec![],
        seeds: [].into(),
        incarnation: 2,
        anchors: vec![],
        kept: vec![],
        delivered: vec![],
        compacted: vec![],
        rng_seed: [1; 32],
    }
}
