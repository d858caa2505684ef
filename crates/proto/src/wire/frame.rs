//! The frames. Every field has a number, so that newer versions can add more; unknown fields and
//! unknown frame types are ignored. The section numbers are those of docs/PROTOCOL.md.

use std::sync::Arc;

use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

use super::messages::{
    Ack, Announce, Census, Confirm, ConfirmReply, Data, GetData, Gossip, Graft, Prune, Pull,
    PullEnd, Summary,
};
use crate::batch::Batch;
use crate::event::{CloseReason, RefuseReason};
use crate::failure::{Adjacency, Appointment, Certificate, DeathReport, Testimony, Vote};
use crate::identity::PeerId;
use crate::io::Role;
use crate::record::{Address, SignedRecord};
use crate::registry::Entry;
use crate::signed::Signed;

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
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
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

/// The kind of edge that a peer asks another one for (section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum PeerRequestKind {
    /// An edge in a free slot.
    #[n(0)]
    FreeSlot,
    /// An edge above the target degree, because no other was found for a while.
    #[n(1)]
    Overflow,
    /// An edge, together with one of the asked peer's edges, which the requester takes over: u-v
    /// becomes u-i and i-v.
    #[n(2)]
    EdgeTransfer,
    /// One of the edges of a peer with surplus neighbours.
    #[n(3)]
    SurplusEdge,
    /// The place of the named neighbour of the asked peer, by that neighbour's permission.
    #[n(4)]
    Replacement(#[n(0)] PeerId),
    /// An edge swap: i-a and u-b become i-u and a-b.
    #[n(5)]
    EdgeSwap {
        /// The neighbour that the requester gives in exchange.
        #[n(0)]
        give: PeerId,
    },
    /// Both have a surplus neighbour: i-a and u-b become a-b.
    #[n(6)]
    SurplusPairing {
        /// The neighbour that the requester gives up.
        #[n(0)]
        give: PeerId,
    },
}

/// "Be my neighbour." (section 6.1)
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PeerRequest {
    /// The requester.
    #[n(0)]
    pub record: SignedRecord,
    /// The kind of the request.
    #[n(1)]
    pub kind: PeerRequestKind,
    /// Its neighbours (at most 128), which are not offered to it.
    #[n(2)]
    pub neighbours: Vec<PeerId>,
    /// Its statement that the two are neighbours, valid if the answer is yes.
    #[n(3)]
    pub adjacency: Signed<Adjacency>,
}

/// Yes (section 6.2).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Accept {
    /// The asked peer.
    #[n(0)]
    pub record: SignedRecord,
    /// Its statement that the two are neighbours.
    #[n(1)]
    pub adjacency: Signed<Adjacency>,
    /// For an edge transfer or an edge swap: the neighbour that is transferred.
    #[n(2)]
    pub transfer: Option<SignedRecord>,
}

/// No (section 6.2).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Reject {
    /// Why.
    #[n(0)]
    pub reason: RefuseReason,
    /// The asked peer, with its present degree.
    #[n(1)]
    pub record: SignedRecord,
    /// For [`PeerRequestKind::SurplusEdge`], [`PeerRequestKind::EdgeTransfer`] and
    /// [`PeerRequestKind::SurplusPairing`]: the edge to take over, although the request is refused.
    #[n(2)]
    pub transfer: Option<SignedRecord>,
}

/// The answer to a [`PeerRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum PeerReply {
    /// Yes.
    #[n(0)]
    Accept(#[n(0)] Accept),
    /// No.
    #[n(1)]
    Reject(#[n(0)] Reject),
}

/// To a neighbour: "the named peer may take my place at you" (section 6.3).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Permit {
    /// The peer that may take it.
    #[n(0)]
    pub peer: PeerId,
}

/// To a neighbour: "link with this peer, in the place of that one, and close our edge" (section
/// 6.3).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Redirect {
    /// The peer to link with.
    #[n(0)]
    pub to: SignedRecord,
    /// The peer whose place to ask for.
    #[n(1)]
    pub in_place_of: PeerId,
}

/// To the neighbours: my neighbours, so that they can pair up if I die, and probe me indirectly
/// (section 6.4).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Neighbourhood {
    /// Id and address of each, at most 256. All receivers share one list.
    #[cbor(n(0), with = "super::shared")]
    pub neighbours: Arc<[(PeerId, Address)]>,
    /// Degree of the sender (more than listed, if it has more neighbours).
    #[n(1)]
    pub degree: u16,
    /// Its target degree.
    #[n(2)]
    pub target: u16,
}

/// To another neighbour of `subject`: "I get no sign of life from it; do you?" (section 8.1)
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ProbeRequest {
    /// The suspect.
    #[n(0)]
    pub subject: PeerId,
    /// Its incarnation.
    #[n(1)]
    pub incarnation: u64,
}

/// The finding of the asked neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Verdict {
    /// The subject gave a sign of life after the question arrived.
    #[n(0)]
    Alive,
    /// The sender gets no sign of life either.
    #[n(1)]
    Silent,
    /// The sender is not its neighbour and does not know.
    #[n(2)]
    Unknown,
}

/// The answer to a [`ProbeRequest`] (section 8.1).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ProbeReply {
    /// The suspect.
    #[n(0)]
    pub subject: PeerId,
    /// The finding.
    #[n(1)]
    pub verdict: Verdict,
}

/// Seed to peer: "you are accused to be dead in this incarnation" (section 8.3).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Accusation {
    /// The incarnation.
    #[n(0)]
    pub incarnation: u64,
    /// The certificate, if there is one already.
    #[n(1)]
    pub certificate: Option<Certificate>,
}

/// The last statement of a leaving peer (section 5.5).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Leave {
    /// Its record with presence `Left`.
    #[n(0)]
    pub record: SignedRecord,
}

/// Between seeds: reports and votes of open cases (section 8.4).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Votes {
    /// Reports of neighbours.
    #[n(0)]
    pub reports: Vec<Signed<DeathReport>>,
    /// The sender's own vote.
    #[n(1)]
    pub vote: Option<Signed<Vote>>,
    /// Testimonies of appointed witnesses.
    #[n(2)]
    pub testimonies: Vec<Signed<Testimony>>,
    /// The peer whose death the sender does not vote for any more, because it has heard from it
    /// since, or because the round has ended.
    #[n(3)]
    pub withdrawn: Option<PeerId>,
    /// A peer that the sender has lost: the receiver probes it as well.
    #[n(4)]
    pub lost: Option<LostPeer>,
}

/// A registered peer whose link to a seed ended without Leave, or whose lease ran out (section
/// 8.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LostPeer {
    /// The peer.
    #[n(0)]
    pub subject: PeerId,
    /// Its incarnation.
    #[n(1)]
    pub incarnation: u64,
}

/// Seed to peer: "probe this peer for me" (section 8.3).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Appoint {
    /// The appointment, to be shown with the testimony.
    #[n(0)]
    pub appointment: Signed<Appointment>,
    /// The subject's record, with its addresses.
    #[n(1)]
    pub record: SignedRecord,
}

/// Appointed witness to seed: the testimony (section 8.3).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Testify {
    /// The testimony.
    #[n(0)]
    pub testimony: Signed<Testimony>,
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

macro_rules! frames {
    ($( $(#[$doc:meta])* $number:literal $name:ident $(($body:ty))?, )*) => {
        /// A frame: its type number and body.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Frame {
            $( $(#[$doc])* $name $((Box<$body>))?, )*
            /// A type that this version does not know. It is ignored and counted.
            Unknown(u16),
        }

        impl Frame {
            /// The number of the type.
            #[must_use]
            pub const fn number(&self) -> u16 {
                match self {
                    $( frames!(@pat $name $(($body))?) => $number, )*
                    Frame::Unknown(n) => *n,
                }
            }

            /// The name of the type.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $( frames!(@pat $name $(($body))?) => stringify!($name), )*
                    Frame::Unknown(_) => "Unknown",
                }
            }

            /// The batch in the frame.
            pub(crate) fn batch(&self) -> Option<&Batch> {
                match self {
                    Frame::Gossip(f) => Some(&f.batch),
                    Frame::Data(f) => f.batch.as_ref(),
                    _ => None,
                }
            }

            /// Whether it is a probe or the answer to one. Such frames are sent in
            /// [`Class::Liveness`](crate::Class::Liveness), ahead of everything else on the link.
            #[must_use]
            pub fn is_liveness(&self) -> bool {
                match self {
                    Frame::Ping(_)
                    | Frame::Pong(_)
                    | Frame::PositionAck(_)
                    | Frame::ProbeRequest(_)
                    | Frame::ProbeReply(_) => true,
                    // With a certificate it is a verdict, not a probe.
                    Frame::Accusation(f) => f.certificate.is_none(),
                    _ => false,
                }
            }

            pub(super) fn encode_body<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                match self {
                    $( frames!(@bind $name $(($body))? b) => frames!(@enc e $(($body))? b), )*
                    Frame::Unknown(_) => e.null().map(|_| ()),
                }
            }

            pub(super) fn decode_body(
                number: u16,
                d: &mut minicbor::Decoder<'_>,
            ) -> Result<Frame, minicbor::decode::Error> {
                Ok(match number {
                    $( $number => frames!(@dec d $name $(($body))?), )*
                    other => { d.skip()?; Frame::Unknown(other) }
                })
            }
        }

        $( $( impl From<$body> for Frame {
            fn from(body: $body) -> Frame { Frame::$name(Box::new(body)) }
        } )? )*
    };
    (@pat $name:ident ($body:ty)) => { Frame::$name(_) };
    (@pat $name:ident) => { Frame::$name };
    (@bind $name:ident ($body:ty) $b:ident) => { Frame::$name($b) };
    (@bind $name:ident $b:ident) => { Frame::$name };
    (@enc $e:ident ($body:ty) $b:ident) => { $e.encode($b).map(|_| ()) };
    (@enc $e:ident $b:ident) => { $e.null().map(|_| ()) };
    (@dec $d:ident $name:ident ($body:ty)) => { Frame::$name(Box::new($d.decode::<$body>()?)) };
    (@dec $d:ident $name:ident) => {{ $d.skip()?; Frame::$name }};
}

frames! {
    /// First frame in both directions.
    0 Hello(Hello),
    /// Last frame of a link.
    1 Close(Close),
    /// Liveness request.
    2 Ping(Ping),
    /// Liveness reply.
    3 Pong(Pong),
    /// Request to report when everything so far has been read.
    4 Position(Position),
    /// Everything so far has been read.
    5 PositionAck(PositionAck),
    /// A registration or its refresh.
    10 Register(Register),
    /// The registration is durable.
    11 RegisterAck(RegisterAck),
    /// The registration is refused.
    12 RegisterReject(RegisterReject),
    /// Request for a list of peers.
    13 GetPeerList,
    /// Some or all of the live peers.
    14 PeerList(PeerList),
    /// Changes of the registry.
    15 MembershipUpdate(MembershipUpdate),
    /// The last statement of a leaving peer.
    16 Leave(Leave),
    /// Request for an edge.
    20 PeerRequest(PeerRequest),
    /// The answer to a request for an edge.
    21 PeerReply(PeerReply),
    /// Permission for another peer to take the sender's place.
    22 Permit(Permit),
    /// Request to link with another peer instead of the sender.
    23 Redirect(Redirect),
    /// The neighbours of the sender.
    24 Neighbourhood(Neighbourhood),
    /// A batch that is spread in the network.
    30 Gossip(Gossip),
    /// Request for one message.
    31 GetData(GetData),
    /// The message, or that the sender does not have it.
    32 Data(Data),
    /// Request for the batches of publishers.
    33 Graft(Graft),
    /// Request for announcements only.
    34 Prune(Prune),
    /// Ranges that the sender has received.
    35 Announce(Announce),
    /// Progress of a subtree.
    36 Ack(Ack),
    /// Request to report progress again.
    37 Census(Census),
    /// The message list of the sender.
    40 Summary(Summary),
    /// Request for missing ranges.
    41 Pull(Pull),
    /// The end of the answer to a pull.
    42 PullEnd(PullEnd),
    /// Query whether the receiver holds ranges.
    43 Confirm(Confirm),
    /// The ranges that the sender holds.
    44 ConfirmReply(ConfirmReply),
    /// Indirect probe of a suspect.
    50 ProbeRequest(ProbeRequest),
    /// The finding of an indirect probe.
    51 ProbeReply(ProbeReply),
    /// A neighbour's death report to the seeds.
    52 Report(Report),
    /// Notice to an accused peer.
    53 Accusation(Accusation),
    /// Appointment of a witness.
    54 Appoint(Appoint),
    /// Testimony of an appointed witness.
    55 Testify(Testify),
    /// Between seeds: reports and votes.
    60 Votes(Votes),
    /// Between seeds: registry entries.
    61 Entries(Entries),
    /// Between seeds: bucket hashes.
    62 Digest(Digest),
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

/// A death report to a seed (section 8.2).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Report {
    /// The report.
    #[n(0)]
    pub report: Signed<DeathReport>,
}
