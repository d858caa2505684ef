//! Bytes to frames and back.
//!
//! `Bytes -> Frame -> Verified<Frame>`: [`decode`] checks the form, [`Verifier::verify`] the
//! signatures, and the state machines accept only verified frames. docs/PROTOCOL.md describes every
//! frame for other implementations.

mod bounds;
mod broadcast;
mod chunks;
mod codec;
mod failure;
mod frame;
mod link;
mod membership;
mod overlay;
mod pieces;
pub(crate) mod shared;
mod verify;

pub use broadcast::{
    Ack, AckEntry, Announce, Census, CensusBody, Confirm, ConfirmReply, Data, GetData, Gossip,
    Graft, Holder, Prune, Pull, PullEnd, Range, StreamMark, Summary, SummaryEntry, ack_token,
};
pub(crate) use chunks::parts;
pub use codec::{DecodeError, Encoded, Header, decode, decode_shared, encode, header};
pub use failure::{
    Accusation, Appoint, LostPeer, ProbeReply, ProbeRequest, Report, Testify, Verdict, Votes,
};
pub use frame::Frame;
pub use link::{Close, Hello, PROTOCOL_VERSION, Ping, Pong, Position, PositionAck};
pub use membership::{
    Digest, Entries, Leave, MembershipUpdate, PeerList, Register, RegisterAck, RegisterReject,
    SeedName,
};
pub use overlay::{
    Accept, Neighbourhood, PeerReply, PeerRequest, PeerRequestKind, Permit, Redirect, Reject,
};
pub use pieces::{TOTAL_LENGTH_BYTES, Unit, unit};
pub use verify::{Verified, Verifier, VerifyError, trust_without_checking};
