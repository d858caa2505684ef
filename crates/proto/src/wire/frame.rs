//! The frames. Every field has a number, so that newer versions can add more; unknown fields and
//! unknown frame types are ignored. The section numbers are those of docs/PROTOCOL.md.

use std::sync::Arc;

use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

use super::messages::{
    Ack, Announce, Census, Confirm, Confirmed, Data, GetData, Gossip, Graft, Prune, Pull, Pulled,
    Summary,
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
    /// What the sender is.
    #[n(1)]
    pub role: Role,
    /// The address the sender sees the receiver at.
    #[n(2)]
    pub observed: Option<Address>,
    /// Proof of the network key, bound to this TLS session (section 3.2); absent on open networks.
    #[n(3)]
    pub network_proof: Option<ByteArray<32>>,
    /// A number that the sender's process has drawn at random when it started: a node that meets its own
    /// key can tell itself from a copy.
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

/// "Are you there?" (section 4.2). Anybody may ask on any link.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ping {
    /// Given back in the answer.
    #[n(0)]
    pub nonce: u64,
}

/// "I am." (section 4.2)
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Pong {
    /// The nonce of the question.
    #[n(0)]
    pub nonce: u64,
}

/// "So much have I sent on this link: say when you have read it." (section 4.3)
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Position {
    /// Given back in the answer: bytes sent on this link before it.
    #[n(0)]
    pub bytes: u64,
}

/// "I have read all that you sent before that position." (section 4.3)
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PositionRead {
    /// That of the latest [`Position`] that was read.
    #[n(0)]
    pub bytes: u64,
}

/// A peer enters itself in a seed's registry, or refreshes its entry (section 5.1).
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
pub struct Registered {
    /// Incarnation of the record that is acknowledged.
    #[n(0)]
    pub incarnation: u64,
    /// Its sequence.
    #[n(1)]
    pub sequence: u64,
    /// Peers alive in the registry.
    #[n(2)]
    pub alive: u32,
    /// The nonce that target degrees are drawn with.
    #[n(3)]
    pub nonce: ByteArray<16>,
    /// The seeds whose keys this seed has proved, itself included.
    #[n(4)]
    pub seeds: Vec<SeedName>,
    /// Whether this seed answers for the network.
    #[n(5)]
    pub synced: bool,
    /// Those of them whose records say that they participate.
    #[n(6)]
    pub participating: u32,
}

/// "Who is there?" (section 5.3), and its answer, possibly in several frames.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PeerList {
    /// Some or all of the peers alive.
    #[n(0)]
    pub records: Vec<SignedRecord>,
    /// Peers alive in the registry.
    #[n(1)]
    pub alive: u32,
    /// Whether this seed answers for the network.
    #[n(2)]
    pub synced: bool,
    /// Whether this is the last frame of the answer.
    #[n(3)]
    pub last: bool,
    /// Peers alive in the registry whose records say that they participate.
    #[n(4)]
    pub participating: u32,
}

/// A seed tells registered peers what changed (section 5.4).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MembersChanged {
    /// New peers, new incarnations, new addresses, and peers that have begun to participate.
    #[n(0)]
    pub joined: Vec<SignedRecord>,
    /// Peers that left, by their own word.
    #[n(1)]
    pub left: Vec<SignedRecord>,
    /// Peers that died.
    #[n(2)]
    pub dead: Vec<Certificate>,
    /// Peers alive in the registry.
    #[n(3)]
    pub alive: u32,
    /// Those of them whose records say that they participate.
    #[n(4)]
    pub participating: u32,
}

/// What a peer asks of another peer (section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum PeerRequestKind {
    /// A free place.
    #[n(0)]
    Place,
    /// A place over the target, because no other was found for a while.
    #[n(1)]
    Overflow,
    /// A place, in exchange for one of the asked peer's neighbours, which the requester takes over
    /// as well: u-v becomes u-i and i-v.
    #[n(2)]
    HandOver,
    /// One of the edges of a peer that has too many.
    #[n(3)]
    Edge,
    /// The place that the named neighbour of the asked peer has had, by its permission.
    #[n(4)]
    Replace(#[n(0)] PeerId),
    /// An exchange of edges: i-a and u-b become i-u and a-b.
    #[n(5)]
    Mix {
        /// The neighbour that the requester gives in exchange.
        #[n(0)]
        give: PeerId,
    },
    /// Both have one too many: i-a and u-b become a-b.
    #[n(6)]
    Shed {
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
    /// What it asks for.
    #[n(1)]
    pub want: PeerRequestKind,
    /// Its neighbours (at most 128), so that nobody offers it one of those.
    #[n(2)]
    pub neighbours: Vec<PeerId>,
    /// Its word that the two are neighbours, should the answer be yes.
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
    /// Its word that the two are neighbours.
    #[n(1)]
    pub adjacency: Signed<Adjacency>,
    /// For a hand-over or mix: the neighbour that goes over.
    #[n(2)]
    pub then: Option<SignedRecord>,
}

/// No (section 6.2).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Reject {
    /// Why.
    #[n(0)]
    pub reason: RefuseReason,
    /// The asked peer, with its degree as it is now.
    #[n(1)]
    pub record: SignedRecord,
    /// For [`PeerRequestKind::Edge`], [`PeerRequestKind::HandOver`] and [`PeerRequestKind::Shed`]: the edge to take, though no place was given.
    #[n(2)]
    pub take: Option<SignedRecord>,
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

/// To a neighbour: "the named peer may take my place with you" (section 6.3).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Permit {
    /// Who may.
    #[n(0)]
    pub peer: PeerId,
}

/// To a neighbour: "link with this peer, in the place of that one, and let me go" (section 6.3).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Rewire {
    /// Whom to link with.
    #[n(0)]
    pub to: SignedRecord,
    /// Whose place to ask for.
    #[n(1)]
    pub in_place_of: PeerId,
}

/// To the neighbours: who my neighbours are, so that they can close the hole if I die, and whom to
/// ask about me (section 6.4).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Neighbourhood {
    /// Id and address of each, at most 256. One list for all who are told.
    #[cbor(n(0), with = "super::shared")]
    pub neighbours: Arc<[(PeerId, Address)]>,
    /// Degree of the sender (more than listed, if it has more).
    #[n(1)]
    pub degree: u16,
    /// Its target.
    #[n(2)]
    pub target: u16,
}

/// To another neighbour of `subject`: "I get no sign of life from it; do you?" (section 8.1)
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ProbeRequest {
    /// About whom.
    #[n(0)]
    pub subject: PeerId,
    /// In which incarnation.
    #[n(1)]
    pub incarnation: u64,
}

/// What the asked neighbour found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Verdict {
    /// It gave a sign of life after the question came.
    #[n(0)]
    Alive,
    /// No sign of life either: the sender agrees.
    #[n(1)]
    Silent,
    /// The sender is not its neighbour and cannot tell.
    #[n(2)]
    Unknown,
}

/// The answer to a [`ProbeRequest`] (section 8.1).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ProbeReply {
    /// About whom.
    #[n(0)]
    pub subject: PeerId,
    /// What was found.
    #[n(1)]
    pub verdict: Verdict,
}

/// Seed to peer: "you are held to be dead in this incarnation" (section 8.3).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Accused {
    /// The incarnation.
    #[n(0)]
    pub incarnation: u64,
    /// The certificate, if there is one already.
    #[n(1)]
    pub certificate: Option<Certificate>,
}

/// A peer's last word (section 5.5).
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
    /// Whom the sender has heard from, or heard no more of, since it voted on its death: it does not
    /// stand by that vote.
    #[n(3)]
    pub withdrawn: Option<PeerId>,
    /// A peer that the sender lost: the receiver probes it as well.
    #[n(4)]
    pub lost: Option<LostPeer>,
}

/// A registered peer whose link to a seed ended without Leave, or whose lease ran out (section 8.4).
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

/// Seed to peer: "look after somebody" (section 8.3).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Appoint {
    /// The appointment, to be shown with the testimony.
    #[n(0)]
    pub appointment: Signed<Appointment>,
    /// The subject's record: where to look.
    #[n(1)]
    pub record: SignedRecord,
}

/// Appointed witness to seed: what it found (section 8.3).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Testify {
    /// The testimony.
    #[n(0)]
    pub testimony: Signed<Testimony>,
}

/// Between seeds: entries new or changed, or the content of buckets (section 9.1).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Entries {
    /// The entries.
    #[n(0)]
    pub entries: Vec<Entry>,
    /// Buckets that the sender wants in return.
    #[n(1)]
    pub want: Vec<u8>,
    /// The sender's nonce for target degrees; the smallest of the synced seeds' wins.
    #[n(2)]
    pub nonce: ByteArray<16>,
    /// Whether this ends a comparison that the receiver began.
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
    /// One hash a bucket, in order.
    #[n(0)]
    pub buckets: Vec<u64>,
    /// The sender's nonce for target degrees; the smallest of the synced seeds' wins.
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
            /// The type's number.
            #[must_use]
            pub const fn number(&self) -> u16 {
                match self {
                    $( frames!(@pat $name $(($body))?) => $number, )*
                    Frame::Unknown(n) => *n,
                }
            }

            /// The type's name.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $( frames!(@pat $name $(($body))?) => stringify!($name), )*
                    Frame::Unknown(_) => "Unknown",
                }
            }

            /// The batch that it carries.
            pub(crate) fn batch(&self) -> Option<&Batch> {
                match self {
                    Frame::Gossip(f) => Some(&f.batch),
                    Frame::Data(f) => f.batch.as_ref(),
                    _ => None,
                }
            }

            /// Whether it is a probe or the answer to one. Such frames travel in
            /// [`Class::Liveness`](crate::Class::Liveness), ahead of everything else on the link.
            #[must_use]
            pub fn is_liveness(&self) -> bool {
                match self {
                    Frame::Ping(_)
                    | Frame::Pong(_)
                    | Frame::PositionRead(_)
                    | Frame::ProbeRequest(_)
                    | Frame::ProbeReply(_) => true,
                    // With a certificate it is the verdict, not a probe.
                    Frame::Accused(f) => f.certificate.is_none(),
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
    /// Say when you have read so far.
    4 Position(Position),
    /// All so far has been read.
    5 PositionRead(PositionRead),
    /// Enter or refresh a registration.
    10 Register(Register),
    /// The registration is durable.
    11 Registered(Registered),
    /// The registration is refused.
    12 RegisterRefused(RegisterRefused),
    /// Who is there?
    13 GetPeerList,
    /// Some or all of the peers.
    14 PeerList(PeerList),
    /// What changed in the registry.
    15 MembersChanged(MembersChanged),
    /// A peer's last word.
    16 Leave(Leave),
    /// Be my neighbour.
    20 PeerRequest(PeerRequest),
    /// Yes or no.
    21 PeerReply(PeerReply),
    /// Somebody may take my place with you.
    22 Permit(Permit),
    /// Link with somebody else and let me go.
    23 Rewire(Rewire),
    /// Who my neighbours are.
    24 Neighbourhood(Neighbourhood),
    /// A batch on its way.
    30 Gossip(Gossip),
    /// Send me that message.
    31 GetData(GetData),
    /// Here it is, or not.
    32 Data(Data),
    /// Send me their batches.
    33 Graft(Graft),
    /// Send me announcements only.
    34 Prune(Prune),
    /// I have these.
    35 Announce(Announce),
    /// How far messages have come.
    36 Ack(Ack),
    /// Be counted.
    37 Census(Census),
    /// What I have seen.
    40 Summary(Summary),
    /// Send me those.
    41 Pull(Pull),
    /// That was my answer to your pull.
    42 Pulled(Pulled),
    /// Do you hold these?
    43 Confirm(Confirm),
    /// I hold these.
    44 Confirmed(Confirmed),
    /// Does it live?
    50 ProbeRequest(ProbeRequest),
    /// What I found.
    51 ProbeReply(ProbeReply),
    /// A neighbour's report to the seeds.
    52 Report(Report),
    /// You are held to be dead.
    53 Accused(Accused),
    /// Look after somebody.
    54 Appoint(Appoint),
    /// What I found when I looked.
    55 Testify(Testify),
    /// Between seeds: reports and votes.
    60 Votes(Votes),
    /// Between seeds: registry entries.
    61 Entries(Entries),
    /// Between seeds: bucket hashes.
    62 Digest(Digest),
}

/// No (section 5.2).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RegisterRefused {
    /// Why.
    #[n(0)]
    pub reason: RefuseReason,
    /// The record of the peer that the seed holds, as the peer signed it: no seed can make it believe in a
    /// past that it did not have. A peer that has not yet got there lost its memory and must begin a new
    /// life; one that is beyond it was overtaken on the way, and tells its record again.
    #[n(1)]
    pub record: Option<SignedRecord>,
    /// The certificate, if it is dead.
    #[n(2)]
    pub certificate: Option<Certificate>,
    /// The nonce that target degrees are drawn with.
    #[n(3)]
    pub nonce: ByteArray<16>,
}

/// A death report on its way to a seed (section 8.2).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Report {
    /// The report.
    #[n(0)]
    pub report: Signed<DeathReport>,
}
