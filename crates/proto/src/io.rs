//! The seam: what goes into a state machine and what comes out.
//!
//! A driver (sockets, simulator, test) does four things: it calls `handle` for what happened,
//! drains `poll_output` until it is empty, sleeps until `poll_timeout`, and calls `handle` with
//! [`Input::Timeout`]. Nothing in the core waits.

use core::fmt;
use core::net::SocketAddr;

use serde::Serialize;

use crate::batch::Batch;
use crate::event::{CloseReason, Event, LinkDown};
use crate::identity::PeerId;
use crate::message::{Delivery, Message, MessageId, StreamId};
use crate::record::{Address, SignedRecord};
use crate::registry::Entry;
use crate::snapshot::Receipt;
use crate::time::WallTime;
use crate::wire::{Frame, Verified};

/// What a node is.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    minicbor::Encode,
    minicbor::Decode,
    Serialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Takes part in the overlay and in gossip.
    #[n(0)]
    Peer,
    /// Keeps the registry; never carries gossip.
    #[n(1)]
    Seed,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Peer => "peer",
            Role::Seed => "seed",
        })
    }
}

/// One authenticated connection. The driver numbers them; a number is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct LinkId(pub u64);

/// One attempt to connect. The core numbers them; a number is never used again. The attempt ends
/// in [`Input::LinkUp`] with this number or in [`Input::DialFailed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub u64);

/// One request to store. The core numbers them; [`Input::Stored`] confirms one, [`Input::NotStored`] gives
/// one up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreTicket(pub u64);

/// A seed as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SeedAddress {
    /// `HOST:PORT`. The driver resolves it at every dial, so that DNS may change.
    pub host_port: String,
    /// The id it must have, if the configuration says.
    pub pin: Option<PeerId>,
}

impl fmt::Display for SeedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host_port)
    }
}

/// Whom to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialTarget {
    /// A seed. With a pin, anybody else who answers is refused.
    Seed(SeedAddress),
    /// A peer: its addresses, best first. Anybody else who answers is refused.
    Peer {
        /// Who must answer.
        id: PeerId,
        /// Where.
        addresses: Vec<Address>,
    },
}

/// Why a dial failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DialError {
    /// The host of the remote answered, and it was no.
    Refused,
    /// There is no route to the remote, or the attempt was broken off.
    NoRoute,
    /// The name of the remote has no address.
    NoAddress,
    /// No answer in time.
    TimedOut,
    /// Somebody answered who is not who was asked for.
    WrongIdentity,
    /// TLS or Hello failed: another protocol or version.
    Incompatible,
    /// The two have not the same network key.
    OtherNetwork,
    /// This node has no room for a further connection.
    Limit,
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DialError::Refused => "connection refused",
            DialError::NoRoute => "no route",
            DialError::NoAddress => "it has no address, or none for its name",
            DialError::TimedOut => "no answer in time",
            DialError::WrongIdentity => "it answered with another key than the one expected",
            DialError::Incompatible => "it does not speak this protocol, or not this version",
            DialError::OtherNetwork => "it belongs to another network: the network keys differ",
            DialError::Limit => "this node has no room for a further connection",
        })
    }
}

/// What the transport knows of a new link: both ends have proved their keys and said Hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkInfo {
    /// The key the remote proved.
    pub remote: PeerId,
    /// What the remote says it is.
    pub role: Role,
    /// The dial that made it; `None` for an inbound link.
    pub dial: Option<DialId>,
    /// Where the remote is.
    pub remote_address: SocketAddr,
    /// How the remote sees this node (its address after any translation).
    pub observed: Option<SocketAddr>,
    /// This node's address on the connection, as its own socket says (before any translation).
    pub local_address: Option<SocketAddr>,
    /// Whether the remote is this very process, which has dialled itself. A remote with this node's key
    /// that is not runs with a copy of the key.
    pub same_process: bool,
}

/// What happened. Commands of the application are methods of [`Peer`](crate::Peer), because they
/// have typed answers.
#[derive(Debug)]
pub enum Input {
    /// A link is ready.
    LinkUp {
        /// Its number.
        link: LinkId,
        /// Who is at its other end.
        info: LinkInfo,
    },
    /// A link has ended. The driver says it once for every link that was up, also for those that
    /// the core closed.
    LinkDown {
        /// Its number.
        link: LinkId,
        /// How it ended.
        why: LinkDown,
    },
    /// A dial failed.
    DialFailed {
        /// Which.
        dial: DialId,
        /// Why.
        why: DialError,
    },
    /// A frame came whose signatures hold.
    Frame {
        /// On which link.
        link: LinkId,
        /// The frame.
        frame: Verified<Frame>,
    },
    /// What was to be stored is safe on disk.
    Stored {
        /// Which request.
        ticket: StoreTicket,
    },
    /// What was to be stored was given up: the disk has failed for so long that no more can wait for it.
    NotStored {
        /// Which request.
        ticket: StoreTicket,
    },
    /// The consumer of a peer has dealt with everything below these marks. Of use only after
    /// [`Peer::follow_consumer`](crate::Peer::follow_consumer).
    Consumed {
        /// How far it has come with the streams of which it got something.
        marks: Vec<DeliveredMark>,
    },
    /// More than half of a link's payload queue is in use. Told again only after it was less than a
    /// quarter.
    Congested {
        /// Which link.
        link: LinkId,
    },
    /// The name of a seed that a link leads to has had other addresses for a while.
    SeedMoved {
        /// The seed's `HOST:PORT`.
        seed: String,
    },
    /// The wall clock, at start and whenever the driver sees it jump. Only shown, never decided by.
    WallClock(WallTime),
    /// The deadline of `poll_timeout` has come. The driver first feeds all probes
    /// that have arrived, and one frame of every link that has some, so that an overloaded node does not take its
    /// own backlog for others' silence.
    Timeout,
}

/// How urgent a frame is. Each class has its own bounded queue on each link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Probes and their answers: ahead of everything else on the link, so that load is not taken for
    /// death. The oldest are dropped first; a probe is repeated.
    Liveness,
    /// Small and needed: if it does not fit, the link is closed.
    Control,
    /// Hints: the oldest are dropped first.
    Announce,
    /// Messages: one that does not fit is skipped and pulled later.
    Payload,
    /// Messages that were asked for, possibly long ago published. They get what payloads leave, and
    /// a small share in any case; one that does not fit is skipped and asked for again.
    History,
    /// Leave: everything else that is queued on the link goes before it.
    Last,
}

/// How far the messages of one stream were handed to the application: everything
/// below `to` was delivered or told as a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveredMark {
    /// The publisher of the stream.
    pub publisher: PeerId,
    /// The epoch of the stream.
    pub epoch: u64,
    /// The next number to deliver.
    pub to: u64,
}

impl DeliveredMark {
    /// The stream that it is about.
    #[must_use]
    pub const fn stream(&self) -> StreamId {
        StreamId { publisher: self.publisher, epoch: self.epoch }
    }
}

/// Something to make durable.
#[derive(Debug, Clone)]
pub enum StoreOp {
    /// A peer's incarnation, from now on.
    Incarnation(u64),
    /// Peers to try first after a restart.
    Anchors(Vec<SignedRecord>),
    /// A batch to keep.
    PutBatch(Batch),
    /// A batch no longer kept, by its first message.
    RemoveBatch(MessageId),
    /// How far a publisher's messages were delivered, from now on.
    Delivered(DeliveredMark),
    /// A stream that is not followed any more.
    Forget(StreamId),
    /// All streams of a publisher up to this one are over: delivered, or told as a gap.
    Compacted(StreamId),
    /// That is not remembered of a publisher any more.
    RemoveCompacted(PeerId),
    /// A registry entry, new or changed.
    PutEntry(Entry),
    /// A registry entry whose tombstone has expired.
    RemoveEntry(PeerId),
    /// The nonce that the network's target degrees are drawn with.
    Nonce([u8; 16]),
}

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// Queue a frame; never waits.
    Send {
        /// On which link.
        link: LinkId,
        /// The frame.
        frame: Frame,
        /// Its queue.
        class: Class,
    },
    /// Connect. Ends in [`Input::LinkUp`] or [`Input::DialFailed`] with this number.
    Dial {
        /// The number.
        dial: DialId,
        /// To whom.
        to: DialTarget,
    },
    /// Say why, flush what is queued (within a second) and close.
    Close {
        /// Which link.
        link: LinkId,
        /// Why.
        reason: CloseReason,
    },
    /// Make durable, in this order, all or nothing; then [`Input::Stored`].
    Store {
        /// The request's number.
        ticket: StoreTicket,
        /// What.
        ops: Vec<StoreOp>,
    },
    /// Messages for the application: in each publisher's order, each once. What is missing in
    /// between was told before as [`Event::Gap`].
    Deliver(Delivery),
    /// Who holds a message that a receipt was wanted for; told whenever it changes, until it is
    /// complete.
    Receipt(Receipt),
    /// More of what this peer published is confirmed to be held by another node, after
    /// [`Peer::flush`](crate::Peer::flush).
    Confirmed {
        /// Every number of the present stream below it is.
        to: u64,
    },
    /// A `get` ended; `None` if nobody asked had it.
    Fetched {
        /// What was asked for.
        id: MessageId,
        /// The message.
        message: Option<Message>,
    },
    /// Something to tell.
    Event(Event),
}
