//! What a node tells about itself as it runs: events for people and tools, counters for metrics.

use core::fmt;
use core::net::IpAddr;

use serde::Serialize;

use crate::identity::PeerId;
use crate::message::MessageId;
use crate::name::Name;
use crate::record::Address;
use crate::small::VecMap;

/// Why a link was closed by one of its ends, said in the last frame on it.
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
pub enum CloseReason {
    /// The sender leaves the network.
    #[n(0)]
    Leaving,
    /// The link did what it was for (a probe, a refused request).
    #[n(1)]
    Done,
    /// The edge was handed to another peer.
    #[n(2)]
    HandedOver,
    /// There is another link between the two.
    #[n(3)]
    Duplicate,
    /// The sender has its neighbours.
    #[n(4)]
    Full,
    /// The link stayed without a purpose.
    #[n(5)]
    Idle,
    /// The remote gave no sign of life.
    #[n(6)]
    NoSignOfLife,
    /// The remote sent what it may not.
    #[n(7)]
    ProtocolViolation,
    /// The remote does not read as fast as it must.
    #[n(8)]
    TooSlow,
    /// A limit of the sender is reached.
    #[n(9)]
    Limit,
    /// The remote is dead by certificate, in the incarnation it spoke for.
    #[n(10)]
    DeclaredDead,
    /// The sender speaks no common version, or another protocol.
    #[n(11)]
    Incompatible,
    /// The sender does not know the network key that the remote proves, or the remote proves none.
    #[n(12)]
    OtherNetwork,
}

impl CloseReason {
    /// The reason as a word, for logs and counters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            CloseReason::Leaving => "leaving",
            CloseReason::Done => "done",
            CloseReason::HandedOver => "handed_over",
            CloseReason::Duplicate => "duplicate",
            CloseReason::Full => "full",
            CloseReason::Idle => "idle",
            CloseReason::NoSignOfLife => "no_sign_of_life",
            CloseReason::ProtocolViolation => "protocol_violation",
            CloseReason::TooSlow => "too_slow",
            CloseReason::Limit => "limit",
            CloseReason::DeclaredDead => "declared_dead",
            CloseReason::Incompatible => "incompatible",
            CloseReason::OtherNetwork => "other_network",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a link ended, as the transport saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkDown {
    /// The remote said goodbye first.
    Closed(CloseReason),
    /// Closed or reset without a word. It proves nothing: processes crash, but networks fail too.
    Lost,
    /// This end closed it.
    Local(CloseReason),
}

impl fmt::Display for LinkDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkDown::Closed(r) => write!(f, "the other side closed it ({r})"),
            LinkDown::Lost => f.write_str("lost without a word"),
            LinkDown::Local(r) => write!(f, "closed here ({r})"),
        }
    }
}

/// Why a request for a neighbour was refused.
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
pub enum RefuseReason {
    /// No place free.
    #[n(0)]
    Full,
    /// The two are neighbours already.
    #[n(1)]
    AlreadyNeighbours,
    /// Both asked at once, and the other request stands.
    #[n(2)]
    Crossed,
    /// The requester is known to be dead in this incarnation.
    #[n(3)]
    DeclaredDead,
    /// The record is not the one of the key that the connection proved.
    #[n(4)]
    WrongIdentity,
    /// Nobody announced that the requester may take this edge.
    #[n(5)]
    NoPermit,
    /// Nothing to hand over.
    #[n(6)]
    NothingToGive,
    /// The node is leaving.
    #[n(7)]
    Leaving,
    /// A newer record of the requester is known.
    #[n(8)]
    Stale,
    /// The record claims a target degree that the network's law does not give it.
    #[n(9)]
    TargetTooHigh,
    /// The registry is full.
    #[n(10)]
    RegistryFull,
    /// The requester has asked for too much lately.
    #[n(11)]
    TooManyRequests,
    /// The record has only loopback addresses, and the peer is on another host.
    #[n(12)]
    LoopbackAddress,
    /// Another process with this identity is registered: its record comes with the refusal.
    #[n(13)]
    DuplicateIdentity,
}

impl RefuseReason {
    /// The reason as a word, for logs and counters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            RefuseReason::Full => "full",
            RefuseReason::AlreadyNeighbours => "already_neighbours",
            RefuseReason::Crossed => "crossed",
            RefuseReason::DeclaredDead => "declared_dead",
            RefuseReason::WrongIdentity => "wrong_identity",
            RefuseReason::NoPermit => "no_permit",
            RefuseReason::NothingToGive => "nothing_to_give",
            RefuseReason::Leaving => "leaving",
            RefuseReason::Stale => "stale",
            RefuseReason::TargetTooHigh => "target_too_high",
            RefuseReason::RegistryFull => "registry_full",
            RefuseReason::TooManyRequests => "too_many_requests",
            RefuseReason::LoopbackAddress => "loopback_address",
            RefuseReason::DuplicateIdentity => "duplicate_identity",
        }
    }
}

impl fmt::Display for RefuseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happened in a node. Serialises as an object with a field `event` that names the kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    // ---- a peer and its seeds -------------------------------------------------------------
    /// A seed acknowledged the registration.
    Registered {
        /// The seed's `HOST:PORT`.
        seed: String,
        /// The seed's id.
        seed_id: PeerId,
        /// Peers the seed knows.
        known: u32,
    },
    /// Registered at a quorum of the seeds: the peer is part of the network.
    Joined {
        /// Seeds that acknowledged.
        registrations: u32,
        /// Seeds needed.
        quorum: u32,
    },
    /// A seed could not be reached, or its link ended.
    SeedLost {
        /// The seed's `HOST:PORT`.
        seed: String,
        /// What happened.
        why: String,
        /// Milliseconds until the next try.
        retry_ms: u64,
    },
    /// A seed does not have the id that the configuration pins.
    SeedRefused {
        /// The seed's `HOST:PORT`.
        seed: String,
        /// Why.
        why: String,
    },
    /// Two configured seeds prove one identity: the data directory of one was copied, or both names lead
    /// to one seed. It is used under one of them only, and counts once.
    SeedsShareIdentity {
        /// The `HOST:PORT` that is not used.
        seed: String,
        /// The `HOST:PORT` under which the identity is used; unknown for a connection from a copy.
        other: Option<String>,
        /// The identity.
        id: PeerId,
    },
    /// A seed on another host refuses the registration, because all addresses of this peer are loopback
    /// addresses.
    LoopbackAdvertised {
        /// The seed's `HOST:PORT`.
        seed: String,
        /// The addresses.
        addresses: Vec<Address>,
    },
    /// Others see this peer at another IP address than before; it is announced from now on.
    AddressChanged {
        /// The IP address that was announced.
        from: IpAddr,
        /// The one that is announced now.
        to: IpAddr,
    },
    /// The name of a seed leads to other addresses than the link: the seed is dialled anew.
    SeedMoved {
        /// The seed's `HOST:PORT`.
        seed: String,
    },
    /// Fewer than a quorum of the seeds can be reached. Gossip and healing go on; nobody can be
    /// declared dead and newcomers cannot join here.
    Degraded {
        /// Registrations that hold.
        registrations: u32,
        /// Seeds needed.
        quorum: u32,
    },
    /// A quorum of the seeds is there again.
    Restored {
        /// Registrations that hold.
        registrations: u32,
    },
    // ---- membership -----------------------------------------------------------------------
    /// A peer is new in this node's view.
    MemberJoined {
        /// Its id.
        id: PeerId,
        /// Its name.
        name: Name,
        /// Its first address.
        address: Option<Address>,
        /// Its incarnation.
        incarnation: u64,
    },
    /// No seed knows the peer any more, though nobody found it dead: its lease ran out while its neighbours
    /// were gone as well, or the news of its end was missed.
    MemberGone {
        /// Its id.
        id: PeerId,
        /// Its name.
        name: Name,
    },
    /// A peer said goodbye.
    MemberLeft {
        /// Its id.
        id: PeerId,
        /// Its name.
        name: Name,
    },
    /// A peer is dead by certificate of a majority of the seeds.
    MemberDead {
        /// Its id.
        id: PeerId,
        /// Its name, if known.
        name: Option<Name>,
        /// The incarnation that died.
        incarnation: u64,
        /// The neighbours that reported it.
        witnesses: Vec<PeerId>,
        /// The seeds that agreed.
        seeds: Vec<PeerId>,
    },
    // ---- overlay --------------------------------------------------------------------------
    /// A neighbour more.
    NeighbourUp {
        /// Its id.
        id: PeerId,
        /// Its name.
        name: Name,
        /// Neighbours now.
        degree: u16,
        /// Neighbours wanted.
        target: u16,
    },
    /// A neighbour less.
    NeighbourDown {
        /// Its id.
        id: PeerId,
        /// Its name.
        name: Name,
        /// Why.
        why: LinkDown,
        /// Neighbours now.
        degree: u16,
    },
    /// A request for a neighbour was refused.
    RequestRefused {
        /// The other peer.
        peer: PeerId,
        /// Whether this node refused; otherwise it was refused.
        by_us: bool,
        /// Why.
        reason: RefuseReason,
    },
    /// A link asks for more than it may: what is beyond that is refused. Told every ten seconds at most.
    Throttled {
        /// The other end.
        peer: PeerId,
        /// What it asked for last.
        request: &'static str,
    },
    // ---- liveness -------------------------------------------------------------------------
    /// No sign of life: the probe burst begins.
    Suspected {
        /// The neighbour.
        id: PeerId,
        /// Its name.
        name: Name,
        /// Its incarnation.
        incarnation: u64,
    },
    /// It lives after all.
    SuspicionCleared {
        /// The neighbour.
        id: PeerId,
        /// Who vouched for it: itself, or another of its neighbours.
        by: PeerId,
    },
    /// The burst ended without a sign of life; the seeds are told.
    Reported {
        /// The accused.
        id: PeerId,
        /// Its name.
        name: Name,
        /// Its incarnation.
        incarnation: u64,
    },
    /// More than half of the links failed together: this node doubts itself. A peer reports no neighbour then,
    /// and a seed votes on no death.
    SelfDoubt {
        /// Links in doubt.
        failing: u32,
        /// Links in all.
        links: u32,
    },
    /// Somebody holds this node to be dead; it answers with a higher incarnation.
    Refuted {
        /// The incarnation it lives in from now on.
        incarnation: u64,
    },
    // ---- messages -------------------------------------------------------------------------
    /// Messages of a publisher that were not received and cannot be got any more.
    Gap {
        /// The publisher.
        publisher: PeerId,
        /// The epoch of the stream.
        epoch: u64,
        /// First missing number.
        from: u64,
        /// The number after the last missing one.
        to: u64,
    },
    /// History is over: what the first neighbours of a peer that has just started keep is delivered, or
    /// told as a gap. Once in a life.
    CaughtUp,
    /// Messages were accepted under a number that an earlier process of this peer had used, as a node
    /// restored from an old copy may do whose clock is behind. None of them had left this node: they
    /// were published under another epoch, with the same sequence numbers.
    StreamMoved {
        /// The epoch in the ids that `publish` gave out.
        from: u64,
        /// The epoch that they have now.
        to: u64,
        /// How many messages.
        messages: u64,
    },
    /// Another process published in this peer's stream, with this peer's key and under the same number.
    /// Nodes that have its messages do not take this peer's messages with the same sequence numbers.
    StreamConflict {
        /// The epoch of the stream.
        epoch: u64,
        /// The first sequence number of what the other process published.
        from: u64,
        /// The number after the last one.
        to: u64,
    },
    /// A `get` ended.
    Fetched {
        /// What was asked for.
        id: MessageId,
        /// Whether it was found.
        found: bool,
    },
    // ---- a seed ---------------------------------------------------------------------------
    /// A seed took a registration.
    PeerRegistered {
        /// The peer's id.
        id: PeerId,
        /// Its name.
        name: Name,
        /// Its first address.
        address: Option<Address>,
        /// Its incarnation.
        incarnation: u64,
        /// Registered before, in this or an earlier life.
        updated: bool,
    },
    /// A peer's degree as the seed knows it.
    PeerDegree {
        /// The peer's id.
        id: PeerId,
        /// Its name.
        name: Name,
        /// Its neighbours.
        degree: u16,
    },
    /// A registration was refused.
    RegistrationRefused {
        /// The peer's id.
        id: PeerId,
        /// Why.
        reason: RefuseReason,
    },
    /// A lease ran out: the peer is hidden from lists. It is not declared dead.
    PeerExpired {
        /// The peer's id.
        id: PeerId,
        /// Its name.
        name: Name,
    },
    /// A peer left.
    PeerLeft {
        /// The peer's id.
        id: PeerId,
        /// Its name.
        name: Name,
    },
    /// A death report was taken.
    DeathReported {
        /// The accused.
        id: PeerId,
        /// Its name.
        name: Name,
        /// Who reports.
        reporter: PeerId,
        /// Reports so far.
        reports: u32,
        /// Reports needed.
        needed: u32,
    },
    /// The accused answered this seed's probe: the case is closed.
    AccusationRefuted {
        /// The accused.
        id: PeerId,
        /// Its name.
        name: Name,
    },
    /// This seed voted: enough reports, and its own probe failed.
    Voted {
        /// The accused.
        id: PeerId,
        /// Its name.
        name: Name,
        /// The witnesses it goes by.
        witnesses: Vec<PeerId>,
    },
    /// A peer was removed by certificate.
    PeerRemoved {
        /// The peer's id.
        id: PeerId,
        /// Its name.
        name: Option<Name>,
        /// The incarnation that died.
        incarnation: u64,
        /// The neighbours that reported it.
        witnesses: Vec<PeerId>,
        /// The seeds that agreed.
        seeds: Vec<PeerId>,
    },
    /// A link to another seed works.
    SeedLinked {
        /// Its `HOST:PORT`.
        seed: String,
        /// Its id.
        id: PeerId,
    },
    /// This seed has compared its registry with enough others to answer for the network.
    Synced {
        /// Peers in the registry.
        peers: u32,
    },
    // ---- every node -----------------------------------------------------------------------
    /// A frame that could not be accepted.
    FrameRefused {
        /// Who sent it.
        peer: PeerId,
        /// Why.
        why: String,
    },
    /// A link was closed by this node for what the remote did or failed to do.
    LinkClosed {
        /// The remote.
        peer: PeerId,
        /// Why.
        reason: CloseReason,
    },
    /// Two processes run with one identity: a data directory was copied. At the peer itself, or at a seed
    /// that both are linked with.
    DuplicateIdentity {
        /// The identity.
        id: PeerId,
        /// The name that the other process (at a seed: the later one) goes by.
        name: Name,
        /// Where that process says it is.
        address: Option<Address>,
        /// Whether this process ends because of it: the one that started later does.
        stops: bool,
    },
    /// This node leaves, and no other node that stays is known to hold the last messages that it published, what
    /// its earlier processes published, or what others handed over to it while it was leaving. [`Event::Left`] follows.
    LeftUnconfirmed {
        /// The epoch of the stream that they are in.
        epoch: u64,
        /// The first of them.
        from: u64,
        /// The number after the last of them; `from` if there are none.
        to: u64,
        /// Publishers that have left, or died, and whose last messages this node has confirmed to hold while it was
        /// leaving.
        others: u32,
        /// Streams of earlier processes of this node that are kept here, and of which no other node is known to have
        /// everything.
        earlier: u32,
    },
    /// This node has left the network.
    Left {
        /// Whether a majority of the seeds has acknowledged it, or none has ever registered this node. If not, the
        /// others may find it dead.
        acknowledged: bool,
    },
}

/// Counters by name; the names are those of the metrics without prefix and suffix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Counters(VecMap<&'static str, u64>);

impl Counters {
    /// Counts one.
    pub fn count(&mut self, name: &'static str) {
        self.add(name, 1);
    }

    /// Counts `n`.
    pub fn add(&mut self, name: &'static str, n: u64) {
        let c = self.0.get_or_insert(name, || 0);
        *c = c.saturating_add(n);
    }

    /// One counter's value.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.iter().find(|(n, _)| **n == name).map_or(0, |(_, count)| *count)
    }

    /// All counters, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(k, v)| (*k, *v))
    }

    /// Adds another set to this one.
    pub fn merge(&mut self, other: &Counters) {
        for (name, n) in other.iter() {
            self.add(name, n);
        }
    }
}
