//! Reports of a running node: events for people and tools, counters for metrics.

use core::net::IpAddr;

use serde::Serialize;

use crate::identity::PeerId;
use crate::message::MessageId;
use crate::name::Name;
use crate::record::Address;

pub use crate::reason::{CloseReason, LinkEnd, RefuseReason};

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
