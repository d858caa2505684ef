//! The interface of a state machine: its inputs and outputs.
//!
//! A driver (sockets, simulator, test) does four things: it calls `handle` for each input, drains
//! `poll_output` until it is empty, sleeps until `poll_timeout`, and calls `handle` with
//! [`Input::Timeout`]. No call into the core waits.

use core::fmt;
use core::net::SocketAddr;

use serde::Serialize;

use crate::batch::Batch;
use crate::event::{CloseReason, Event, LinkEnd};
use crate::identity::PeerId;
use crate::message::{Delivery, Message, MessageId, StreamId};
use crate::record::{Address, SignedRecord};
use crate::registry::Entry;
use crate::snapshot::Receipt;
use crate::time::WallTime;
use crate::wire::{Frame, Verified};

/// The role of a node.
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
    /// Participates in the overlay and in gossip.
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

/// One request to store. The core numbers them; [`Input::Stored`] confirms one,
/// [`Input::StoreFailed`] reports that one was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreTicket(pub u64);

/// A seed as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SeedAddress {
    /// `HOST:PORT`. The driver resolves it at every dial, so that DNS may change.
    pub host_port: String,
    /// The id that it must have, if the configuration pins one.
    pub pin: Option<PeerId>,
}

impl fmt::Display for SeedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host_port)
    }
}

/// The target of a dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialTarget {
    /// A seed. With a pin, a remote with another id is refused.
    Seed(SeedAddress),
    /// A peer: its addresses, best first. A remote with another id is refused.
    Peer {
        /// The id that the remote must have.
        id: PeerId,
        /// Its addresses.
        addresses: Vec<Address>,
    },
}

/// Why a dial failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DialError {
    /// The host of the remote refused the connection.
    Refused,
    /// There is no route to the remote, or the attempt was aborted.
    NoRoute,
    /// The name of the remote resolves to no address.
    NoAddress,
    /// No answer in time.
    TimedOut,
    /// The remote has another id than expected.
    WrongIdentity,
    /// TLS or Hello failed: another protocol or version.
    Incompatible,
    /// The two nodes have different network keys.
    OtherNetwork,
    /// This node has reached its limit of connections.
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

/// The transport's information on a new link: both ends have proved their keys and sent Hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkInfo {
    /// The key the remote proved.
    pub remote: PeerId,
    /// The role that the remote announces.
    pub role: Role,
    /// The dial that made it; `None` for an inbound link.
    pub dial: Option<DialId>,
    /// The address of the remote.
    pub remote_address: SocketAddr,
    /// How the remote sees this node (its address after any translation).
    pub observed: Option<SocketAddr>,
    /// This node's address on the connection, as its own socket reports it (before any
    /// translation).
    pub local_address: Option<SocketAddr>,
    /// Whether the remote is this very process, which has dialled itself. A remote with this node's
    /// key that is another process runs with a copy of the key.
    pub same_process: bool,
}

/// An input of a state machine. Commands of the application are methods of [`Peer`](crate::Peer),
/// because they have typed answers.
#[derive(Debug)]
pub enum Input {
    /// A link is ready.
    LinkUp {
        /// Its number.
        link: LinkId,
        /// Its number.
        info: LinkInfo,
    },
    /// A link has ended. The driver reports it once for every link that was up, also for those that
    /// the core closed.
    LinkDown {
        /// Its number.
        link: LinkId,
        /// How it ended.
        why: LinkEnd,
    },
    /// A dial failed.
    DialFailed {
        /// Its number.
        dial: DialId,
        /// The reason.
        why: DialError,
    },
    /// A frame with valid signatures arrived.
    Frame {
        /// The link.
        link: LinkId,
        /// The frame.
        frame: Verified<Frame>,
    },
    /// A request to store is durable.
    Stored {
        /// The request.
        ticket: StoreTicket,
    },
    /// A request to store was given up: the disk has failed for so long that no more can be queued.
    StoreFailed {
        /// The request.
        ticket: StoreTicket,
    },
    /// The consumer of a peer has processed everything below these marks. Only used after
    /// [`Peer::follow_consumer`](crate::Peer::follow_consumer).
    Consumed {
        /// The progress of the consumer in the streams that were delivered to it.
        marks: Vec<DeliveredMark>,
    },
    /// More than half of a link's payload queue is in use. Reported again only after it was less
    /// than a quarter.
    Congested {
        /// The link.
        link: LinkId,
    },
    /// The name of a linked seed has resolved to other addresses for a while.
    SeedMoved {
        /// The seed's `HOST:PORT`.
        seed: String,
    },
    /// The wall clock, at start and whenever the driver sees it jump. Only displayed, never used
    /// for decisions.
    WallClock(WallTime),
    /// The deadline of `poll_timeout` has come. The driver first feeds all probes that have
    /// arrived, and one frame of every link with frames, so that an overloaded node does not take
    /// its own backlog for the silence of others.
    Timeout,
}

/// How urgent a frame is. Each class has its own bounded queue on each link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Probes and their answers: ahead of everything else on the link, so that load is not taken
    /// for death. The oldest are dropped first; probes are repeated.
    Liveness,
    /// Small and necessary: if one does not fit, the link is closed.
    Control,
    /// Hints: the oldest are dropped first.
    Announce,
    /// Messages: one that does not fit is skipped and pulled later.
    Payload,
    /// Messages that were requested, possibly published long ago. They get the bandwidth that
    /// payloads leave, and a small share in any case; one that does not fit is skipped and
    /// requested again.
    History,
    /// Leave: everything else that is queued on the link goes before it.
    Last,
}

/// How far the messages of one stream were delivered to the application: everything below `to` was
/// delivered or reported as a gap.
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
    /// The stream of the mark.
    #[must_use]
    pub const fn stream(&self) -> StreamId {
        StreamId { publisher: self.publisher, epoch: self.epoch }
    }
}

/// A change to make durable.
#[derive(Debug, Clone)]
pub enum StoreOp {
    /// A peer's incarnation, from now on.
    PutIncarnation(u64),
    /// Peers to dial first after a restart.
    PutAnchors(Vec<SignedRecord>),
    /// A batch to retain.
    PutBatch(Batch),
    /// A batch that was evicted, by its first message.
    RemoveBatch(MessageId),
    /// How far a publisher's messages were delivered, from now on.
    PutDelivered(DeliveredMark),
    /// A stream that is not followed any more.
    RemoveDelivered(StreamId),
    /// All streams of a publisher up to this one are closed: delivered, or reported as a gap.
    PutClosedUpTo(StreamId),
    /// The closed streams of a publisher are not remembered any more.
    RemoveClosedUpTo(PeerId),
    /// A registry entry, new or changed.
    PutEntry(Entry),
    /// A registry entry whose tombstone has expired.
    RemoveEntry(PeerId),
    /// The nonce of the network's target degrees.
    PutNonce([u8; 16]),
}

/// An action for the driver.
#[derive(Debug)]
pub enum Output {
    /// Queue a frame; never waits.
    Send {
        /// The link.
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
        /// The target.
        to: DialTarget,
    },
    /// Send the reason, flush queued frames (within a second) and close.
    Close {
        /// The link.
        link: LinkId,
        /// The reason.
        reason: CloseReason,
    },
    /// Make durable, in this order, all or nothing; then [`Input::Stored`].
    Store {
        /// The request's number.
        ticket: StoreTicket,
        /// The changes.
        ops: Vec<StoreOp>,
    },
    /// Messages for the application: in each publisher's order, each once. Missing messages in
    /// between were reported before as [`Event::Gap`].
    Deliver(Delivery),
    /// The holders of a message that a receipt was requested for; whenever they change, until the
    /// receipt is complete.
    Receipt(Receipt),
    /// More of what this peer published is confirmed to be held by another node, after
    /// [`Peer::flush`](crate::Peer::flush).
    Confirmed {
        /// The end of the confirmed part of the present stream.
        to: u64,
    },
    /// A `get` ended; `None` if no asked node had the message.
    Fetched {
        /// The message that was asked for.
        id: MessageId,
        /// The message.
        message: Option<Message>,
    },
    /// An event to report.
    Event(Event),
}
