//! Bytes to frames and back.
//!
//! `Bytes -> Frame -> Verified<Frame>`: [`decode`] checks the form, [`Verifier::verify`] the
//! signatures, and the state machines take nothing that was not verified. docs/PROTOCOL.md
//! describes every frame for other implementations.

mod bounds;
mod chunks;
mod codec;
mod frame;
mod verify;

pub(crate) use chunks::parts;
pub use codec::{DecodeError, Header, decode, encode, header};
pub use frame::{
    Accept, Accused, Appoint, Close, Data, Digest, Entries, Frame, GetData, Gossip, Hello, Leave,
    MembersChanged, Neighbourhood, PROTOCOL_VERSION, PeerList, PeerReply, PeerRequest, Permit,
    Ping, Pong, ProbeReply, ProbeRequest, Pull, Range, Register, RegisterRefused, Registered,
    Reject, Report, Rewire, SeedName, Summary, SummaryEntry, Testify, Verdict, Votes, Want,
};
pub use verify::{Verified, Verifier, VerifyError, trust_without_checking};
