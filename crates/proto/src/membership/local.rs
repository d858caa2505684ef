//! The signed record of this peer.

use core::net::IpAddr;

use super::{Departure, Registrations};
use crate::identity::Identity;
use crate::name::Name;
use crate::record::{Address, Presence, Record, SignedRecord};
use crate::signed::Signed;
use crate::snapshot::PeerState;
use crate::time::Time;

/// The record of this peer, and the values for the next one.
#[derive(Debug)]
pub(crate) struct LocalRecord {
    pub(crate) record: SignedRecord,
    /// The inputs of the last draw of the target degree: the nonce and the size of the network,
    /// which is 0 before the first draw.
    pub(crate) target_inputs: (Option<[u8; 16]>, u32),
    pub(crate) state: PeerState,
    pub(crate) update_at: Option<Time>,
    pub(crate) refresh_at: Time,
    /// Whether an earlier process of this node has had neighbours, so that seeds may have
    /// registered it.
    pub(crate) has_predecessor: bool,
    /// Set while the peer is leaving.
    pub(crate) departure: Option<Box<Departure>>,
    /// The version (incarnation, sequence) of the first record of this incarnation that says that
    /// the peer participates.
    pub(crate) participates_from: Option<(u64, u64)>,
    /// When this process had its first neighbour: it participates since then.
    pub(crate) participates_since: Option<Time>,
    /// Accusations before this time are answered already.
    pub(crate) refute_after: Time,
    /// The configured addresses of this peer; an unspecified IP address stands for the one at which
    /// others see it.
    pub(crate) configured: Vec<Address>,
    /// The IP address at which others see it, as announced.
    pub(crate) observed: Option<IpAddr>,
    /// Another process with this identity, to be named in every record.
    pub(crate) other_process: Option<u64>,
    /// The other process that an event has reported.
    pub(crate) reported_process: Option<u64>,
    /// The registry entry is not claimed from another process before this time.
    pub(crate) claim_after: Time,
}

impl LocalRecord {
    pub(crate) fn new(
        identity: &Identity,
        name: Name,
        configured: Vec<Address>,
        incarnation: u64,
        random: u64,
    ) -> Self {
        let is_known = |a: &&Address| !a.is_unspecified();
        let record = Record {
            id: identity.id(),
            name,
            addresses: configured.iter().filter(is_known).copied().collect(),
            incarnation,
            sequence: 0,
            presence: Presence::Alive,
            degree: 0,
            target: 0,
            process: Record::process_number(incarnation, random),
            other_process: None,
            participates: false,
        };
        LocalRecord {
            record: Signed::sign(record, identity),
            target_inputs: (None, 0),
            state: PeerState::Joining,
            update_at: None,
            refresh_at: Time::MAX,
            has_predecessor: false,
            departure: None,
            participates_from: None,
            participates_since: None,
            refute_after: Time::ZERO,
            configured,
            observed: None,
            other_process: None,
            reported_process: None,
            claim_after: Time::ZERO,
        }
    }
}

impl LocalRecord {
    /// Signs the next record; `change` edits it.
    pub(crate) fn renew(
        &mut self,
        identity: &Identity,
        degree: u16,
        target: u16,
        change: impl FnOnce(&mut Record),
    ) {
        let mut record = self.record.body().clone();
        record.sequence += 1;
        (record.degree, record.target) = (degree, target);
        record.other_process = self.other_process;
        record.participates = self.participates_since.is_some();
        change(&mut record);
        let version = (record.incarnation, record.sequence);
        let is_first = self.participates_from.is_none_or(|from| from.0 < record.incarnation);
        if record.participates && is_first {
            self.participates_from = Some(version);
        }
        self.record = Signed::sign(record, identity);
    }

    /// The record with this degree and target.
    pub(crate) fn current(
        &mut self,
        identity: &Identity,
        degree: u16,
        target: u16,
    ) -> SignedRecord {
        if !self.is_leaving() && (self.record.degree, self.record.target) != (degree, target) {
            self.renew(identity, degree, target, |_| {});
        }
        self.record.clone()
    }

    /// Begins to participate with the first neighbour since the process started: from now on
    /// receipts wait for this peer, so the seeds get the record at once.
    pub(crate) fn begin_to_participate(&mut self, now: Time) {
        self.participates_since = Some(now);
        if !self.is_leaving() {
            self.update_at = Some(now);
        }
    }

    /// Whether every seed that holds the registration knows that this peer participates.
    pub(crate) fn participation_is_known(&self, registrations: &Registrations) -> bool {
        let known = registrations.slots.iter().filter_map(|s| s.acknowledged);
        self.participates_from.is_some_and(|from| known.clone().all(|version| version >= from))
    }

    /// Whether the peer has sent Leave.
    pub(crate) const fn is_leaving(&self) -> bool {
        matches!(self.state, PeerState::Leaving | PeerState::Left)
    }

    /// Whether the peer is about to leave, or has left: nothing is published any more.
    pub(crate) const fn is_departing(&self) -> bool {
        self.departure.is_some() || self.has_left()
    }

    /// Whether the peer is about to leave and still a member.
    pub(crate) fn is_draining(&self) -> bool {
        self.departure.as_ref().is_some_and(|d| d.is_draining())
    }

    /// Whether no seed can know this node: one that has registered this process has sent its nonce,
    /// and an earlier process may still be registered.
    pub(crate) const fn is_unknown_to_seeds(&self) -> bool {
        self.target_inputs.0.is_none() && !self.has_predecessor
    }

    /// Whether the peer has left.
    pub(crate) const fn has_left(&self) -> bool {
        matches!(self.state, PeerState::Left)
    }
}
