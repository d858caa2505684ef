//! The table of frames: type numbers, bodies and names. The bodies stand in a file for each
//! concern.
//!
//! Every field has a number, so that newer versions can add more; unknown fields and unknown frame
//! types are ignored. The section numbers are those of docs/PROTOCOL.md.

use super::broadcast::{
    Ack, Announce, Census, Confirm, ConfirmReply, Data, GetData, Gossip, Graft, Prune, Pull,
    PullEnd, Summary,
};
use super::failure::{Accusation, Appoint, ProbeReply, ProbeRequest, Report, Testify, Votes};
use super::link::{Close, Hello, Ping, Pong, Position, PositionAck};
use super::membership::{
    Digest, Entries, Leave, MembershipUpdate, PeerList, Register, RegisterAck, RegisterReject,
};
use super::overlay::{Neighbourhood, PeerReply, PeerRequest, Permit, Redirect};
use crate::batch::Batch;

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
