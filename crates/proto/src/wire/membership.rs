//! The frames of membership: between a peer and a seed, and between seeds.

use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

use crate::event::RefuseReason;
use crate::failure::Certificate;
use crate::identity::PeerId;
use crate::record::SignedRecord;
use crate::registry::Entry;

/// A peer registers at a seed, or refreshes its registration (section 5.1).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Register {
    /// The peer's own record.
    #[n(0)]
    pub record: SignedRecord,
}

/// A seed under its configured address, as another seed knows it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SeedName {
    /// `HOST:PORT`.
    #[n(0)]
    pub host_port: String,
    /// Its id.
    #[n(1)]
    pub id: PeerId,
}

/// The registration is durable (section 5.2).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RegisterAck {
    /// Incarnation of the record that is acknowledged.
    #[n(0)]
    pub incarnation: u64,
    /// Its sequence.
    #[n(1)]
    pub sequence: u64,
    /// Number of live peers in the registry.
    #[n(2)]
    pub alive: u32,
    /// The nonce of the target degrees.
    #[n(3)]
    pub nonce: ByteArray<16>,
    /// The seeds whose keys this seed has proved, itself included.
    #[n(4)]
    pub seeds: Vec<SeedName>,
    /// Whether this seed answers for the network.
    #[n(5)]
    pub synced: bool,
    /// How many of the live peers participate, according to their records.
    #[n(6)]
    pub participating: u32,
}

/// Refusal of a registration (section 5.2).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RegisterReject {
    /// Why.
    #[n(0)]
    pub reason: RefuseReason,
    /// The record of the peer that the seed holds, as the peer signed it: no seed can claim a false
    /// past of a peer. A peer whose own record is older has lost its memory and must begin a new
    /// incarnation; one whose own record is newer was overtaken in flight, and sends its record
    /// again.
    #[n(1)]
    pub record: Option<SignedRecord>,
    /// The certificate, if the peer is dead.
    #[n(2)]
    pub certificate: Option<Certificate>,
    /// The nonce of the target degrees.
    #[n(3)]
    pub nonce: ByteArray<16>,
}

/// The answer to `GetPeerList` (section 5.3), possibly in several frames.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PeerList {
    /// Some or all of the live peers.
    #[n(0)]
    pub records: Vec<SignedRecord>,
    /// Number of live peers in the registry.
    #[n(1)]
    pub alive: u32,
    /// Whether this seed answers for the network.
    #[n(2)]
    pub synced: bool,
    /// Whether this is the last frame of the answer.
    #[n(3)]
    pub last: bool,
    /// How many of them participate, according to their records.
    #[n(4)]
    pub participating: u32,
}

/// Changes of the registry, from a seed to its registered peers (section 5.4).
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MembershipUpdate {
    /// New peers, new incarnations, new addresses, and peers that have begun to participate.
    #[n(0)]
    pub joined: Vec<SignedRecord>,
    /// Peers that left; each has signed it itself.
    #[n(1)]
    pub left: Vec<SignedRecord>,
    /// Peers that died.
    #[n(2)]
    pub dead: Vec<Certificate>,
    /// Number of live peers in the registry.
    #[n(3)]
    pub alive: u32,
    /// How many of them participate, according to their records.
    #[n(4)]
    pub participating: u32,
}

/// The last statement of a leaving peer (section 5.5).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Leave {
    /// Its record with presence `Left`.
    #[n(0)]
    pub record: SignedRecord,
}

/// Between seeds: new or changed entries, or the content of buckets (section 9.1).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Entries {
    /// The entries.
    #[n(0)]
    pub entries: Vec<Entry>,
    /// Buckets that the sender requests in return.
    #[n(1)]
    pub requested_buckets: Vec<u8>,
    /// The sender's nonce for target degrees; the smallest one of the synced seeds wins.
    #[n(2)]
    pub nonce: ByteArray<16>,
    /// Whether this ends a comparison that the receiver has begun.
    #[n(3)]
    pub compared: bool,
    /// Whether the sender answers for the network.
    #[n(4)]
    pub synced: bool,
}

/// Between seeds: hashes of the 256 buckets of a registry (section 9.2).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Digest {
    /// One hash per bucket, in order.
    #[n(0)]
    pub buckets: Vec<u64>,
    /// The sender's nonce for target degrees; the smallest one of the synced seeds wins.
    #[n(1)]
    pub nonce: ByteArray<16>,
    /// Whether the sender answers for the network.
    #[n(2)]
    pub synced: bool,
}
