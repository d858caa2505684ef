//! Bytes to frames and back.
//!
//! `Bytes -> Frame -> Verified<Frame>`: [`decode`] checks the form, [`Verifier::verify`] the
//! signatures, and the state machines accept only verified frames. docs/PROTOCOL.md describes every
//! frame for other implementations.

mod bounds;
mod chunks;
mod codec;
mod frame;
mod messages;
mod pieces;
pub(crate) mod shared;
mod verify;

pub(crate) use chunks::parts;
pub use codec::{DecodeError, Encoded, Header, decode, decode_shared, encode, header};
pub use frame::{
    Accept, Accusation, Appoint, Close, Digest, Entries, Frame, Hello, Leave, LostPeer,
    MembershipUpdate, Neighbourhood, PROTOCOL_VERSION, PeerList, PeerReply, PeerRequest,
    PeerRequestKind, Permit, Ping, Pong, Position, PositionAck, ProbeReply, ProbeRequest, Redirect,
    Register, RegisterAck, RegisterReject, Reject, Report, SeedName, Testify, Verdict, Votes,
};
pub use messages::{
    Ack, AckEntry, Announce, Census, CensusBody, Confirm, ConfirmReply, Data, GetData, Gossip,
    Graft, Holder, Prune, Pull, PullEnd, Range, StreamMark, Summary, SummaryEntry, ack_token,
};
pub use pieces::{TOTAL_LENGTH_BYTES, Unit, unit};
pub use verify::{Verified, Verifier, VerifyError, trust_without_checking};
