//! What a peer says of itself.

use core::net::IpAddr;
use core::time::Duration;

use super::Peer;
use super::leave::Departure;
use crate::event::Event;
use crate::identity::Identity;
use crate::io::StoreOp;
use crate::membership::Registrations;
use crate::name::Name;
use crate::overlay::target::{MIN_TARGET, rank, target_degree};
use crate::record::{Address, Presence, Record, SignedRecord};
use crate::signed::Signed;
use crate::snapshot::PeerState;
use crate::time::Time;
use crate::wire::Register;

/// How long changes of the degree are gathered before the seeds are told.
const TELL_DELAY: Duration = Duration::from_millis(250);

/// The same for a seed that has to be dialled for it.
const TELL_PARKED: Duration = Duration::from_secs(20);

/// The peer's own record and what goes into the next one.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) record: SignedRecord,
    /// What the target was drawn with last.
    pub(super) nonce: Option<[u8; 16]>,
    /// That and the size of the network, when the target was drawn last.
    drawn: Option<(Option<[u8; 16]>, u32)>,
    pub(super) state: PeerState,
    pub(super) tell_at: Option<Time>,
    pub(super) refresh_at: Time,
    /// An earlier process of this node has had neighbours, so seeds may have registered it.
    pub(super) has_predecessor: bool,
    /// It is leaving.
    pub(super) departure: Option<Box<Departure>>,
    /// The version (incarnation, sequence) of the first record of this incarnation that says that the peer
    /// participates.
    participates_from: Option<(u64, u64)>,
    /// Accusations before this time are answered already.
    pub(super) answer_after: Time,
    /// Where others can reach this peer, as configured; an unspecified IP address stands for the one at
    /// which others see it.
    pub(super) configured: Vec<Address>,
    /// The IP address at which others see it, as announced.
    pub(super) observed: Option<IpAddr>,
    /// Another process with this identity, to be named in every record.
    pub(super) rival: Option<u64>,
    /// The one of which an event was told.
    pub(super) rival_told: Option<u64>,
    /// The registry is not claimed from another process before this time.
    pub(super) claim_after: Time,
}

impl Own {
    pub(super) fn new(
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
            rival: None,
            participates: false,
        };
        Own {
            record: Signed::sign(record, identity),
            nonce: None,
            drawn: None,
            state: PeerState::Joining,
            tell_at: None,
            refresh_at: Time::MAX,
            has_predecessor: false,
            departure: None,
            participates_from: None,
            answer_after: Time::ZERO,
            configured,
            observed: None,
            rival: None,
            rival_told: None,
            claim_after: Time::ZERO,
        }
    }
}

impl Own {
    /// Whether every seed that holds the registration knows that this peer participates.
    pub(super) fn participation_is_known(&self, registrations: &Registrations) -> bool {
        let known = registrations.slots.iter().filter_map(|s| s.acknowledged);
        self.participates_from.is_some_and(|from| known.clone().all(|version| version >= from))
    }

    /// Whether the peer has said goodbye and is done with it.
    pub(super) const fn has_left(&self) -> bool {
        matches!(self.state, PeerState::Left)
    }
}

impl Peer {
    pub(super) fn incarnation(&self) -> u64 {
        self.own.record.incarnation
    }

    /// Whether it has sent Leave: from then on it only ends.
    pub(super) const fn is_leaving(&self) -> bool {
        matches!(self.own.state, PeerState::Leaving | PeerState::Left)
    }

    /// Signs the next record; `change` edits it.
    pub(super) fn renew_record(&mut self, change: impl FnOnce(&mut Record)) {
        let mut record = self.own.record.body().clone();
        record.sequence += 1;
        record.degree = self.overlay.degree();
        record.target = self.overlay.target;
        record.rival = self.own.rival;
        record.participates = self.neighbours_since.is_some();
        change(&mut record);
        let version = (record.incarnation, record.sequence);
        let is_first = self.own.participates_from.is_none_or(|from| from.0 < record.incarnation);
        if record.participates && is_first {
            self.own.participates_from = Some(version);
        }
        self.own.record = Signed::sign(record, &self.identity);
    }

    /// The record with the degree as it is now.
    pub(super) fn current_record(&mut self) -> SignedRecord {
        let r = &self.own.record;
        if self.is_leaving() {
            return r.clone();
        }
        if r.degree != self.overlay.degree() || r.target != self.overlay.target {
            self.renew_record(|_| {});
        }
        self.own.record.clone()
    }

    /// The degree or target changed: the seeds and the neighbours are told soon.
    pub(super) fn own_changed(&mut self) {
        if self.is_leaving() {
            return; // the goodbye was the last word
        }
        let at = self.fx.now() + TELL_DELAY;
        self.own.tell_at.get_or_insert(at);
        self.overlay.schedule_trim(at);
        self.overlay.announce_at.get_or_insert(at);
    }

    /// The first neighbour since the process started: from now on receipts wait for this peer, so the
    /// seeds are told at once.
    pub(super) fn begin_to_participate(&mut self) {
        let now = self.fx.now();
        self.neighbours_since = Some(now);
        if !self.is_leaving() {
            self.own.tell_at = Some(now);
        }
    }

    /// Sends the record to every seed that a link is up with.
    pub(super) fn tell_seeds(&mut self) {
        self.own.tell_at = None;
        if self.is_leaving() {
            return;
        }
        let record = self.current_record();
        let links: Vec<_> = self.registrations.links().collect();
        for link in links {
            self.fx.send(link, Register { record: record.clone() });
        }
        let by = self.fx.now() + self.rng.seeds.scaled(TELL_PARKED, 0.5, 1.0);
        self.registrations.unpark(by);
    }

    /// Refreshes the lease at the seeds.
    pub(super) fn refresh_lease(&mut self) {
        self.own.refresh_at =
            self.fx.now() + self.rng.seeds.scaled(self.config.lease_refresh(), 0.9, 1.0);
        if !self.is_leaving() {
            self.renew_record(|_| {});
            self.tell_seeds();
            self.registrations.unpark(self.fx.now());
        }
    }

    /// Draws the target anew when the size of the network or the seeds' nonce changed.
    pub(super) fn review_target(&mut self) {
        let known = u32::try_from(self.members.alive_count() + 1).unwrap_or(u32::MAX);
        let n = self.registrations.network_size().max(known);
        let limit = self.config.max_degree();
        // Without a seed the last one holds.
        self.own.nonce = self.registrations.nonce().or(self.own.nonce);
        if self.own.drawn == Some((self.own.nonce, n)) {
            return;
        }
        self.own.drawn = Some((self.own.nonce, n));
        let target = match self.own.nonce {
            Some(nonce) => target_degree(rank(&self.id(), &nonce), n, limit),
            // Before a seed answered: the least that keeps together.
            None => MIN_TARGET
                .min(u16::try_from(n - 1).unwrap_or(u16::MAX))
                .min(limit.unwrap_or(u16::MAX)),
        };
        if target != self.overlay.target {
            self.overlay.target = target;
            self.own_changed();
            let now = self.fx.now();
            self.overlay.fill.soon(now);
        }
    }

    /// Begins a new incarnation, because the seeds hold `ended` to be over. The stream goes on.
    pub(super) fn live_again(&mut self, ended: u64) {
        if self.is_leaving() || self.incarnation() > ended {
            return;
        }
        let incarnation = ended.saturating_add(1);
        self.fx.store(vec![StoreOp::Incarnation(incarnation)]);
        self.renew_record(|r| {
            r.incarnation = incarnation;
            r.sequence = 0;
        });
        self.fx.count("refutations");
        self.fx.event(Event::Refuted { incarnation });
        self.tell_seeds();
        self.registrations.unpark(self.fx.now());
        // Others may have let go of this peer: it looks for neighbours everywhere.
        self.mix_soon();
    }
}
