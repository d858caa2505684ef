//! The frames of a link itself: handshake, liveness, positions, close.

use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

use crate::event::CloseReason;
use crate::io::Role;
use crate::record::Address;

/// The version this crate speaks; also in the ALPN name `rumor/1`.
pub const PROTOCOL_VERSION: u16 = 1;

/// First frame in both directions (section 3).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// Highest version the sender speaks.
    #[n(0)]
    pub version: u16,
    /// The role of the sender.
    #[n(1)]
    pub role: Role,
    /// The address at which the sender sees the receiver.
    #[n(2)]
    pub observed: Option<Address>,
    /// Proof of the network key, bound to this TLS session (section 3.2); absent on open networks.
    #[n(3)]
    pub network_proof: Option<ByteArray<32>>,
    /// A number that the sender's process has drawn at random when it started: a node that meets
    /// its own key can tell itself from a copy.
    #[n(4)]
    pub process: u64,
}

/// Last frame of a link (section 4.1).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Close {
    /// Why.
    #[n(0)]
    pub reason: CloseReason,
}

/// "Are you alive?" (section 4.2). Any node may ask on any link.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ping {
    /// Repeated in the answer.
    #[n(0)]
    pub nonce: u64,
}

/// "I am alive." (section 4.2)
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Pong {
    /// The nonce of the request.
    #[n(0)]
    pub nonce: u64,
}

/// The number of bytes sent on this link; the receiver answers when it has read them (section 4.3).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Position {
    /// Repeated in the answer: bytes sent on this link before this frame.
    #[n(0)]
    pub bytes: u64,
}

/// "I have read all that you sent before that position." (section 4.3)
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PositionAck {
    /// The value of the latest [`Position`] that was read.
    #[n(0)]
    pub bytes: u64,
}
