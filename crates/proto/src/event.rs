//! Reports of a running node: events for people and tools, counters for metrics.

use core::fmt;
use core::net::IpAddr;

use serde::Serialize;

use crate::identity::PeerId;
use crate::message::MessageId;
use crate::name::Name;
use crate::record::Address;

/// Why one end closed a link; sent in the last frame on it.
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
    /// The purpose of the link is fulfilled (a probe, a refused request).
    #[n(1)]
    Done,
    /// The edge was transferred to another peer.
    #[n(2)]
    EdgeTransferred,
    /// There is another link between the two nodes.
    #[n(3)]
    Duplicate,
    /// The sender has enough neighbours.
    #[n(4)]
    Full,
    /// The link stayed without a purpose.
    #[n(5)]
    Idle,
    /// The remote gave no sign of life.
    #[n(6)]
    NoSignOfLife,
    /// The remote sent a frame that it must not send.
    #[n(7)]
    ProtocolViolation,
    /// The remote does not read as fast as it must.
    #[n(8)]
    TooSlow,
    /// A limit of the sender is reached.
    #[n(9)]
    Limit,
    /// The remote is dead by certificate, in the incarnation that it used.
    #[n(10)]
    DeclaredDead,
    /// The two have no common version, or the remote speaks another protocol.
    #[n(11)]
    Incompatible,
    /// The remote proves another network key than the sender's, or none.
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
            CloseReason::EdgeTransferred => "edge_transferred",
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

/// How a link ended, as the transport reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkEnd {
    /// The remote sent a reason first.
    Closed(CloseReason),
    /// Closed or reset without a reason. It proves nothing: processes crash, but networks fail too.
    Lost,
    /// This end closed it.
    Local(CloseReason),
}

impl fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkEnd::Closed(r) => write!(f, "the other side closed it ({r})"),
            LinkEnd::Lost => f.write_str("lost without a word"),
            LinkEnd::Local(r) => write!(f, "closed here ({r})"),
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
    /// The peer has its target degree.
    #[n(0)]
    Full,
    /// The two are neighbours already.
    #[n(1)]
    AlreadyNeighbours,
    /// Both asked at the same time, and the other request stands.
    #[n(2)]
    Crossed,
    /// The requester is known to be dead in this incarnation.
    #[n(3)]
    DeclaredDead,
    /// The record does not belong to the key that the connection proved.
    #[n(4)]
    WrongIdentity,
    /// No neighbour has announced that the requester may take this edge.
    #[n(5)]
    NoPermit,
    /// There is no edge to transfer.
    #[n(6)]
    NoEdgeToTransfer,
    /// The node is leaving.
    #[n(7)]
    Leaving,
    /// A newer record of the requester is known.
    #[n(8)]
    Stale,
    /// The record claims a target degree that the network's law does not give to this peer.
    #[n(9)]
    TargetTooHigh,
    /// The registry is full.
    #[n(10)]
    RegistryFull,
    /// The requester has sent too many requests lately.
    #[n(11)]
    TooManyRequests,
    /// The record has only loopback addresses, and the peer is on another host.
    #[n(12)]
    LoopbackAddress,
    /// Another process with this identity is registered: its record is part of the refusal.
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
            RefuseReason::NoEdgeToTransfer => "no_edge_to_transfer",
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

/// An event at a node. Serialises as an object with a field `event` that names the kind.
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
        /// Number of peers that the seed knows.
        known: u32,
    },
    /// Registered at a quorum of the seeds: the peer is part of the network.
    Joined {
        /// Number of seeds that acknowledged.
        registrations: u32,
        /// Number of seeds needed.
        quorum: u32,
    },
    /// A seed could not be reached, or its link ended.
    SeedLost {
        /// The seed's `HOST:PORT`.
        seed: String,
        /// The reason.
        why: String,
        /// Milliseconds until the next try.
        retry_ms: u64,
    },
    /// A seed does not have the id that the configuration pins.
    SeedRefused {
        /// The seed's `HOST:PORT`.
        seed: String,
        /// The reason.
        why: String,
    },
    /// Two configured seeds prove one identity: the data directory of one was copied, or both names
    /// lead to one seed. The identity is used under one of them only, and counts once.
    SeedsShareIdentity {
        /// The `HOST:PORT` that is not used.
        seed: String,
        /// The `HOST:PORT` under which the identity is used; unknown for a connection from a copy.
        other: Option<String>,
        /// The identity.
        id: PeerId,
    },
    /// A seed on another host refuses the registration, because this peer has only loopback
    /// addresses.
    LoopbackAdvertised {
        /// The seed's `HOST:PORT`.
        seed: String,
        /// The addresses.
        addresses: Vec<Address>,
    },
    /// Others see this peer at another IP address than before; the new one is announced from now
    /// on.
    AddressChanged {
        /// The IP address that was announced.
        from: IpAddr,
        /// The one that is announced now.
        to: IpAddr,
    },
    /// The name of a seed resolves to other addresses than that of the link: the seed is dialled
    /// again.
    SeedMoved {
        /// The seed's `HOST:PORT`.
        seed: String,
    },
    /// Fewer than a quorum of the seeds can be reached. Gossip and healing continue; no peer can be
    /// declared dead and no newcomer can join here.
    Degraded {
        /// Registrations that hold.
        registrations: u32,
        /// Seeds needed.
        quorum: u32,
    },
    /// A quorum of the seeds can be reached again.
    Restored {
        /// Registrations that are valid.
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
    /// No seed knows the peer any more, but it was not found dead: its lease expired while its
    /// neighbours were gone as well, or this node missed the notice of its end.
    MemberExpired {
        /// Its id.
        id: PeerId,
        /// Its name.
        name: Name,
    },
    /// A peer has left the network.
    MemberLeft {
        /// Its id.
        id: PeerId,
        /// Its name.
        name: Name,
    },
    /// A peer is dead: a majority of the seeds has signed the certificate.
    MemberDead {
        /// Its id.
        id: PeerId,
        /// Its name, if known.
        name: Option<Name>,
        /// The incarnation that died.
        incarnation: u64,
        /// The neighbours and appointed witnesses that reported it.
        witnesses: Vec<PeerId>,
        /// The seeds that voted.
        seeds: Vec<PeerId>,
    },
    // ---- overlay --------------------------------------------------------------------------
    /// A new neighbour.
    NeighbourUp {
        /// Its id.
        id: PeerId,
        /// Its name.
        name: Name,
        /// The degree now.
        degree: u16,
        /// The target degree.
        target: u16,
    },
    /// A neighbour less.
    NeighbourDown {
        /// Its id.
        id: PeerId,
        /// Its name.
        name: Name,
        /// The reason.
        why: LinkEnd,
        /// The degree now.
        degree: u16,
    },
    /// A request for a neighbour was refused.
    RequestRefused {
        /// The other peer.
        peer: PeerId,
        /// Whether this node refused; otherwise the other peer did.
        by_this_node: bool,
        /// The reason.
        reason: RefuseReason,
    },
    /// A link exceeds its request quota: excess requests are refused. Reported every ten seconds at
    /// most.
    Throttled {
        /// The other end.
        peer: PeerId,
        /// Its last request.
        request: &'static str,
    },
    // ---- liveness -------------------------------------------------------------------------
    /// A neighbour gives no sign of life: the probe burst begins.
    Suspected {
        /// The neighbour.
        id: PeerId,
        /// Its name.
        name: Name,
        /// Its incarnation.
        incarnation: u64,
    },
    /// The suspect is alive.
    SuspicionCleared {
        /// The neighbour.
        id: PeerId,
        /// The node that proved it: the suspect itself, or another of its neighbours.
        by: PeerId,
    },
    /// The burst ended without a sign of life; the seeds get a report.
    Reported {
        /// The accused.
        id: PeerId,
        /// Its name.
        name: Name,
        /// Its incarnation.
        incarnation: u64,
    },
    /// More than half of the links failed together: this node doubts its own view. Meanwhile a peer
    /// reports no neighbour, and a seed votes on no death.
    SelfDoubt {
        /// Links in doubt.
        failing: u32,
        /// Links in all.
        links: u32,
    },
    /// A seed holds this node to be dead; the node answers with a higher incarnation.
    Refuted {
        /// The new incarnation.
        incarnation: u64,
    },
    // ---- messages -------------------------------------------------------------------------
    /// Messages of a publisher that were not received and are not available any more.
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
    /// This peer has caught up: the history that its first neighbours retain is delivered, or
    /// reported as gaps. Once per process.
    CaughtUp,
    /// Messages were published under an epoch that an earlier process of this peer had used, as can
    /// happen to a node that was restored from an old copy and whose clock is behind. None of them
    /// had left this node: they were published under another epoch, with the same sequence numbers.
    StreamMoved {
        /// The epoch in the ids that `publish` returned.
        from: u64,
        /// Their epoch now.
        to: u64,
        /// The number of messages.
        messages: u64,
    },
    /// Another process published in this peer's stream, with this peer's key and under the same
    /// epoch. Nodes with its messages do not accept this peer's messages with the same sequence
    /// numbers.
    StreamConflict {
        /// The epoch of the stream.
        epoch: u64,
        /// The first sequence number that the other process published.
        from: u64,
        /// The number after the last one.
        to: u64,
    },
    /// A `get` ended.
    Fetched {
        /// The message that was asked for.
        id: MessageId,
        /// Whether it was found.
        found: bool,
    },
    // ---- a seed ---------------------------------------------------------------------------
    /// A seed accepted a registration.
    PeerRegistered {
        /// The peer's id.
        id: PeerId,
        /// Its name.
        name: Name,
        /// Its first address.
        address: Option<Address>,
        /// Its incarnation.
        incarnation: u64,
        /// Whether the peer was registered before, by this or an earlier process.
        updated: bool,
    },
    /// The degree of a peer as the seed knows it.
    PeerDegree {
        /// The peer's id.
        id: PeerId,
        /// Its name.
        name: Name,
        /// Its degree.
        degree: u16,
    },
    /// A registration was refused.
    RegistrationRefused {
        /// The peer's id.
        id: PeerId,
        /// The reason.
        reason: RefuseReason,
    },
    /// A lease expired: the peer is hidden from lists. It is not declared dead.
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
    /// A death report was accepted.
    DeathReported {
        /// The accused.
        id: PeerId,
        /// Its name.
        name: Name,
        /// The reporter.
        reporter: PeerId,
        /// Number of reports so far.
        reports: u32,
        /// Number of reports needed.
        needed: u32,
    },
    /// The accused answered this seed's probe: the case is closed.
    AccusationRefuted {
        /// The accused.
        id: PeerId,
        /// Its name.
        name: Name,
    },
    /// This seed voted: there were enough reports, and its own probe failed.
    Voted {
        /// The accused.
        id: PeerId,
        /// Its name.
        name: Name,
        /// The witnesses that the vote rests on.
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
        /// The neighbours and appointed witnesses that reported it.
        witnesses: Vec<PeerId>,
        /// The seeds that voted.
        seeds: Vec<PeerId>,
    },
    /// A link to another seed is up.
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
    /// A frame was refused.
    FrameRefused {
        /// Its sender.
        peer: PeerId,
        /// The reason.
        why: String,
    },
    /// This node closed a link because of what the remote did or failed to do.
    LinkClosed {
        /// The remote.
        peer: PeerId,
        /// The reason.
        reason: CloseReason,
    },
    /// Two processes run with one identity: a data directory was copied. Reported by the peer
    /// itself, or by a seed that both are linked with.
    DuplicateIdentity {
        /// The identity.
        id: PeerId,
        /// The name of the other process (at a seed: of the later one).
        name: Name,
        /// The address that process announces.
        address: Option<Address>,
        /// Whether this process ends because of it: the later one does.
        stops: bool,
    },
    /// This node leaves, and no staying node is known to hold all of these: its last messages, the
    /// streams of its earlier processes, and the streams that others handed over to it while it was
    /// leaving. [`Event::Left`] follows.
    LeftUnconfirmed {
        /// The epoch of its stream.
        epoch: u64,
        /// The first unconfirmed sequence number.
        from: u64,
        /// The number after the last unconfirmed one; `from` if there are none.
        to: u64,
        /// Number of publishers that have left, or died, and whose last messages this node has
        /// confirmed to hold while it was leaving.
        others: u32,
        /// Number of streams of earlier processes of this node that are retained here, and that no
        /// other node is known to hold completely.
        earlier: u32,
    },
    /// This node has left the network.
    Left {
        /// Whether a majority of the seeds has acknowledged it, or none has ever registered this
        /// node. If not, the others may find it dead.
        acknowledged: bool,
    },
}
