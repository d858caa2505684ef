//! The signed statements that lead to a removal.

use std::collections::BTreeSet;
use std::sync::Arc;

use minicbor::{Decode, Encode};

use crate::identity::PeerId;
use crate::limits::{MAX_REPORTS, MAX_SEEDS};
use crate::signed::{Signed, Statement};

/// "`neighbour` is my neighbour", signed by `subject` when the link was made. A report must carry
/// one, so that no peer can accuse another one that it never had a link with.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Adjacency {
    /// The signer.
    #[n(0)]
    pub subject: PeerId,
    /// Its neighbour.
    #[n(1)]
    pub neighbour: PeerId,
    /// The incarnation of the subject.
    #[n(2)]
    pub incarnation: u64,
}

impl Statement for Adjacency {
    const DOMAIN: &'static str = "rumor/1 adjacency";
    fn signer(&self) -> PeerId {
        self.subject
    }
}

/// "I am a neighbour of `subject`, got no sign of life from it, and none of its other neighbours
/// that I asked vouched for it."
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeathReport {
    /// The reporter, which signs.
    #[n(0)]
    pub reporter: PeerId,
    /// The accused peer.
    #[n(1)]
    pub subject: PeerId,
    /// The incarnation of the subject that is accused.
    #[n(2)]
    pub incarnation: u64,
    /// The subject's statement that the reporter is its neighbour.
    #[n(3)]
    pub adjacency: Signed<Adjacency>,
}

impl Statement for DeathReport {
    const DOMAIN: &'static str = "rumor/1 death report";
    fn signer(&self) -> PeerId {
        self.reporter
    }
    fn check(&self) -> Result<(), &'static str> {
        let a = self.adjacency.body();
        if a.subject != self.subject || a.neighbour != self.reporter {
            return Err("a death report carries the adjacency of other peers");
        }
        if a.incarnation > self.incarnation {
            return Err("a death report's adjacency is from a later incarnation");
        }
        if self.reporter == self.subject {
            return Err("a death report of a peer about itself");
        }
        Ok(())
    }
}

/// "Probe `subject` and report to me", from a seed to a peer that it drew at random.
///
/// When several neighbours die together, too few are left to report each other. So a seed appoints
/// other peers. No peer can appoint itself: the seed draws, and signs the appointment.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Appointment {
    /// The seed, which signs.
    #[n(0)]
    pub seed: PeerId,
    /// The appointed peer.
    #[n(1)]
    pub witness: PeerId,
    /// The peer to probe.
    #[n(2)]
    pub subject: PeerId,
    /// Its incarnation.
    #[n(3)]
    pub incarnation: u64,
}

impl Statement for Appointment {
    const DOMAIN: &'static str = "rumor/1 appointment";
    fn signer(&self) -> PeerId {
        self.seed
    }
    fn check(&self) -> Result<(), &'static str> {
        if self.witness == self.subject {
            return Err("a peer cannot be a witness of its own death");
        }
        Ok(())
    }
}

/// "A seed appointed me to probe `subject`, and I got no sign of life from it." Where no neighbour
/// can report, the testimonies of appointed witnesses and the seed's own probe suffice.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Testimony {
    /// The witness, which signs.
    #[n(0)]
    pub witness: PeerId,
    /// The seed's appointment, which names the subject.
    #[n(1)]
    pub appointment: Signed<Appointment>,
}

impl Statement for Testimony {
    const DOMAIN: &'static str = "rumor/1 testimony";
    fn signer(&self) -> PeerId {
        self.witness
    }
    fn check(&self) -> Result<(), &'static str> {
        if self.appointment.witness != self.witness {
            return Err("a testimony carries the appointment of another witness");
        }
        Ok(())
    }
}

/// One seed's vote: enough witnesses reported, and the seed's own probe failed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Vote {
    /// The seed, which signs.
    #[n(0)]
    pub seed: PeerId,
    /// The peer that is voted dead.
    #[n(1)]
    pub subject: PeerId,
    /// Its incarnation.
    #[n(2)]
    pub incarnation: u64,
    /// The neighbours and appointed witnesses that reported, ascending.
    #[n(3)]
    pub witnesses: Vec<PeerId>,
}

impl Statement for Vote {
    const DOMAIN: &'static str = "rumor/1 vote";
    fn signer(&self) -> PeerId {
        self.seed
    }
    fn check(&self) -> Result<(), &'static str> {
        if self.witnesses.is_empty() || self.witnesses.len() > MAX_REPORTS {
            return Err("a vote names no witness, or too many");
        }
        if !self.witnesses.is_sorted_by(|a, b| a < b) {
            return Err("the witnesses of a vote are not in ascending order");
        }
        Ok(())
    }
}

/// The agreed verdict: votes of a majority of the seeds on one peer's death in one incarnation.
///
/// A clone is another handle on the same votes: a peer remembers thousands of them.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Certificate {
    #[cbor(n(0), with = "crate::wire::shared")]
    votes: Arc<[Signed<Vote>]>,
}

impl Certificate {
    /// Combines votes. They must agree on subject and incarnation and come from distinct seeds;
    /// `None` otherwise.
    #[must_use]
    pub fn new(votes: Vec<Signed<Vote>>) -> Option<Self> {
        let c = Certificate { votes: votes.into() };
        c.is_well_formed().then_some(c)
    }

    /// Whether the votes agree. Signatures are checked elsewhere.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let Some(first) = self.votes.first() else { return false };
        self.votes.len() <= MAX_SEEDS
            && self.votes.is_sorted_by(|a, b| a.seed < b.seed)
            && self
                .votes
                .iter()
                .all(|v| v.subject == first.subject && v.incarnation == first.incarnation)
    }

    /// The votes, ascending by seed.
    #[must_use]
    pub fn votes(&self) -> &[Signed<Vote>] {
        &self.votes
    }

    /// The dead peer.
    #[must_use]
    pub fn subject(&self) -> PeerId {
        self.votes.first().map_or(PeerId::from_bytes([0; 32]), |v| v.subject)
    }

    /// Its incarnation.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.votes.first().map_or(0, |v| v.incarnation)
    }

    /// The neighbours and appointed witnesses that the votes rest on.
    #[must_use]
    pub fn witnesses(&self) -> Vec<PeerId> {
        let all: BTreeSet<PeerId> =
            self.votes.iter().flat_map(|v| v.witnesses.iter().copied()).collect();
        all.into_iter().collect()
    }

    /// Approximate number of bytes in a frame.
    pub(crate) fn wire_size(&self) -> usize {
        self.votes.iter().map(Signed::wire_size).sum::<usize>() + 8
    }

    /// The seeds that voted.
    #[must_use]
    pub fn seeds(&self) -> Vec<PeerId> {
        self.votes.iter().map(|v| v.seed).collect()
    }

    /// Number of votes from seeds that `is_seed` accepts.
    #[must_use]
    pub fn votes_from(&self, is_seed: impl Fn(&PeerId) -> bool) -> usize {
        self.votes.iter().filter(|v| is_seed(&v.seed)).count()
    }
}
