//! The peers that a peer knows of.

use std::collections::{BTreeMap, BTreeSet};

use crate::death::Certificate;
use crate::identity::PeerId;
use crate::limits::{MAX_CERTIFICATES, MAX_MEMBERS};
use crate::random::Stream;
use crate::record::{Presence, SignedRecord};
use crate::snapshot::MemberState;
use crate::time::Time;

/// A peer in the table.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) record: SignedRecord,
    pub(crate) suspect: bool,
    /// Not dialled before this time.
    pub(crate) avoid_until: Time,
    /// Dials in a row that failed.
    pub(crate) failures: u32,
    /// When a seed last named it.
    pub(crate) confirmed: Time,
}

/// What a record changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Learned {
    /// A peer not known before, or not known to be alive.
    New,
    /// A newer record of a known peer.
    Newer,
    /// Nothing that was not known.
    Nothing,
    /// It speaks for an incarnation that is known to be dead.
    Dead,
}

/// The table. Own record excluded.
#[derive(Debug, Default)]
pub(crate) struct Members {
    alive: BTreeMap<PeerId, Member>,
    dead: BTreeMap<PeerId, (Certificate, Option<SignedRecord>)>,
    left: BTreeMap<PeerId, SignedRecord>,
}

impl Members {
    pub(crate) fn get(&self, id: &PeerId) -> Option<&Member> {
        self.alive.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &PeerId) -> Option<&mut Member> {
        self.alive.get_mut(id)
    }

    /// The record of a peer, dead and departed ones included.
    pub(crate) fn record(&self, id: &PeerId) -> Option<&SignedRecord> {
        let alive = self.alive.get(id).map(|m| &m.record);
        alive
            .or_else(|| self.left.get(id))
            .or_else(|| self.dead.get(id).and_then(|(_, r)| r.as_ref()))
    }

    pub(crate) fn alive(&self) -> impl Iterator<Item = (&PeerId, &Member)> {
        self.alive.iter()
    }

    pub(crate) fn dead(&self) -> impl Iterator<Item = &(Certificate, Option<SignedRecord>)> {
        self.dead.values()
    }

    pub(crate) fn left(&self) -> impl Iterator<Item = &SignedRecord> {
        self.left.values()
    }

    pub(crate) fn alive_count(&self) -> usize {
        self.alive.len()
    }

    /// The highest incarnation of a peer known to be over.
    fn ended(&self, id: &PeerId) -> Option<u64> {
        let dead = self.dead.get(id).map(|(c, _)| c.incarnation());
        let left = self.left.get(id).map(|r| r.incarnation);
        dead.max(left)
    }

    /// Whether this incarnation of a peer is known to be dead.
    pub(crate) fn is_dead(&self, id: &PeerId, incarnation: u64) -> bool {
        self.dead.get(id).is_some_and(|(c, _)| c.incarnation() >= incarnation)
    }

    /// Whether this incarnation of a peer is known to be over, by death or goodbye.
    pub(crate) fn is_over(&self, id: &PeerId, incarnation: u64) -> bool {
        self.ended(id).is_some_and(|ended| ended >= incarnation)
    }

    /// Takes in a record that says "alive".
    pub(crate) fn learn(&mut self, record: &SignedRecord, now: Time) -> Learned {
        let id = record.id;
        debug_assert_eq!(record.presence, Presence::Alive);
        if self.ended(&id).is_some_and(|ended| ended >= record.incarnation) {
            return Learned::Dead;
        }
        if let Some(m) = self.alive.get_mut(&id) {
            m.confirmed = now;
            if record.version() <= m.record.version() {
                return Learned::Nothing;
            }
            if record.incarnation > m.record.incarnation {
                m.suspect = false;
                m.avoid_until = now;
                m.failures = 0;
            }
            m.record = record.clone();
            return Learned::Newer;
        }
        if self.alive.len() >= MAX_MEMBERS {
            // Whoever was confirmed longest ago makes room.
            let oldest = self.alive.iter().min_by_key(|(_, m)| m.confirmed).map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                self.alive.remove(&oldest);
            }
        }
        self.dead.remove(&id);
        self.left.remove(&id);
        let record = record.clone();
        let fresh =
            Member { record, suspect: false, avoid_until: now, failures: 0, confirmed: now };
        self.alive.insert(id, fresh);
        Learned::New
    }

    /// Takes in a certificate; says whether it ends a life not known to be over.
    pub(crate) fn learn_dead(&mut self, certificate: &Certificate) -> bool {
        let id = certificate.subject();
        if self.ended(&id).is_some_and(|ended| ended >= certificate.incarnation()) {
            return false;
        }
        let survives =
            self.alive.get(&id).is_some_and(|m| m.record.incarnation > certificate.incarnation());
        if survives {
            return false;
        }
        let record = self.alive.remove(&id).map(|m| m.record);
        if self.dead.len() >= MAX_CERTIFICATES {
            self.dead.pop_first();
        }
        self.dead.insert(id, (certificate.clone(), record));
        true
    }

    /// Takes in a goodbye; says whether it ends a life not known to be over.
    pub(crate) fn learn_left(&mut self, record: &SignedRecord) -> bool {
        let id = record.id;
        if self.ended(&id).is_some_and(|ended| ended >= record.incarnation) {
            return false;
        }
        let survives =
            self.alive.get(&id).is_some_and(|m| m.record.incarnation > record.incarnation);
        if survives {
            return false;
        }
        self.alive.remove(&id);
        if self.left.len() >= MAX_CERTIFICATES {
            self.left.pop_first();
        }
        self.left.insert(id, record.clone());
        true
    }

    /// Forgets peers that no seed has named since `since`, except those to keep.
    pub(crate) fn forget_unconfirmed(&mut self, since: Time, keep: impl Fn(&PeerId) -> bool) {
        self.alive.retain(|id, m| m.confirmed >= since || keep(id));
    }

    /// Forgets all but some, drawn at random, and those to keep.
    pub(crate) fn forget_but(
        &mut self,
        some: usize,
        keep: impl Fn(&PeerId) -> bool,
        rng: &mut Stream,
    ) {
        let others: Vec<PeerId> = self.alive.keys().filter(|id| !keep(id)).copied().collect();
        if others.len() <= some {
            return;
        }
        let some: BTreeSet<PeerId> = rng.sample(others, some).into_iter().collect();
        // Made anew: what is left of the old one would lie thinly in its memory.
        let alive = core::mem::take(&mut self.alive);
        self.alive = alive.into_iter().filter(|(id, _)| some.contains(id) || keep(id)).collect();
    }

    /// The state to show.
    pub(crate) fn state(member: &Member) -> MemberState {
        if member.suspect { MemberState::Suspect } else { MemberState::Alive }
    }
}
