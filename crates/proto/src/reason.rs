//! Why links end and requests are refused: the same words in frames, events and counters.

use core::fmt;

use serde::Serialize;

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

/// The serialised word.
impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
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

/// The serialised word.
impl fmt::Display for RefuseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
