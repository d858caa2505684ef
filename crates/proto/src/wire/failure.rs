//! The frames of failure detection and death by agreement.

use minicbor::{Decode, Encode};

use crate::failure::{Appointment, Certificate, DeathReport, Testimony, Vote};
use crate::identity::PeerId;
use crate::record::SignedRecord;
use crate::signed::Signed;

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

/// A death report to a seed (section 8.2).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Report {
    /// The report.
    #[n(0)]
    pub report: Signed<DeathReport>,
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

/// Between seeds: reports and votes of open cases (section 8.4).
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
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
