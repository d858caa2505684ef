//! The table of other peers.

use std::collections::BTreeMap;

use crate::failure::Certificate;
use crate::identity::PeerId;
use crate::limits::{MAX_CERTIFICATES, MAX_MEMBERS};
use crate::random::RngStream;
use crate::record::{Presence, SignedRecord};
use crate::small::grow;
use crate::snapshot::MemberState;
use crate::time::Time;

/// A peer in the table.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) record: SignedRecord,
    pub(crate) suspect: bool,
    /// It is not dialled before this time.
    pub(crate) avoid_until: Time,
    /// Number of consecutive failed dials.
    pub(crate) failures: u32,
    /// When a seed last listed it.
    pub(crate) confirmed: Time,
}

/// The outcome of merging a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MergeOutcome {
    /// The peer was not known before, or not known to be alive.
    New,
    /// The record of a known peer is newer.
    Newer,
    /// Nothing in it is new.
    Unchanged,
    /// Its incarnation is known to be dead.
    Dead,
}

/// Members, ascending by id. In one piece of memory, and with only the first bytes of the id, they
/// take a third of the memory of a B-tree; the rest of the id is in the record, and is seldom read.
/// An insertion moves the entries behind it, which takes some microseconds at the maximum size.
#[derive(Debug, Default)]
struct SortedMembers(Vec<(u64, Member)>);

impl SortedMembers {
    fn find(&self, id: &PeerId) -> Result<usize, usize> {
        let first = id.first();
        self.0.binary_search_by(|(f, m)| f.cmp(&first).then_with(|| m.record.id.cmp(id)))
    }

    fn get(&self, id: &PeerId) -> Option<&Member> {
        self.0.get(self.find(id).ok()?).map(|(_, m)| m)
    }

    fn get_mut(&mut self, id: &PeerId) -> Option<&mut Member> {
        let at = self.find(id).ok()?;
        self.0.get_mut(at).map(|(_, m)| m)
    }

    fn iter(&self) -> impl Iterator<Item = (&PeerId, &Member)> {
        self.0.iter().map(|(_, m)| (&m.record.id, m))
    }

    fn insert(&mut self, member: Member) {
        let id = member.record.id;
        match self.find(&id) {
            Ok(at) => self.0[at].1 = member,
            Err(at) => {
                grow(&mut self.0);
                self.0.insert(at, (id.first(), member));
            }
        }
    }

    fn remove(&mut self, id: &PeerId) -> Option<Member> {
        let at = self.find(id).ok()?;
        Some(self.0.remove(at).1)
    }

    /// Removes the members at some indices, given in ascending order.
    fn remove_at(&mut self, places: &[usize]) {
        if let [one] = places {
            self.0.remove(*one);
            return;
        }
        let (mut at, mut places) = (0, places.iter().peekable());
        self.0.retain(|_| {
            let goes = places.next_if_eq(&&at).is_some();
            at += 1;
            !goes
        });
        self.shrink();
    }

    fn shrink(&mut self) {
        if self.0.capacity() > self.0.len() / 2 * 3 + 4 {
            self.0.shrink_to_fit();
        }
    }
}

/// The table of other peers, without the own record.
#[derive(Debug, Default)]
pub(crate) struct Members {
    alive: SortedMembers,
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

    /// Sets the time before which a peer is not dialled.
    pub(crate) fn avoid(&mut self, id: &PeerId, until: Time) {
        if let Some(m) = self.alive.get_mut(id) {
            m.avoid_until = until;
        }
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

    /// The live member with this acknowledgement token.
    pub(crate) fn with_token(&self, token: u64) -> Option<PeerId> {
        // The token is the first eight bytes of the id, little endian; the table is sorted by them
        // in big endian order.
        let first = token.swap_bytes();
        let at = self.alive.0.partition_point(|(f, _)| *f < first);
        self.alive.0.get(at).filter(|(f, _)| *f == first).map(|(_, m)| m.record.id)
    }

    pub(crate) fn dead(&self) -> impl Iterator<Item = &(Certificate, Option<SignedRecord>)> {
        self.dead.values()
    }

    pub(crate) fn left(&self) -> impl Iterator<Item = &SignedRecord> {
        self.left.values()
    }

    pub(crate) fn alive_count(&self) -> usize {
        self.alive.0.len()
    }

    /// The highest incarnation of a peer that is known to have ended.
    fn ended_incarnation(&self, id: &PeerId) -> Option<u64> {
        let dead = self.dead.get(id).map(|(c, _)| c.incarnation());
        let left = self.left.get(id).map(|r| r.incarnation);
        dead.max(left)
    }

    /// Whether the end of an incarnation is news, and no later one is known.
    fn may_end(&self, id: &PeerId, incarnation: u64) -> bool {
        self.ended_incarnation(id) < Some(incarnation)
            && self.alive.get(id).is_none_or(|m| m.record.incarnation <= incarnation)
    }

    /// Whether this incarnation of a peer is known to be dead.
    pub(crate) fn is_dead(&self, id: &PeerId, incarnation: u64) -> bool {
        self.dead.get(id).is_some_and(|(c, _)| c.incarnation() >= incarnation)
    }

    /// Whether the last known process of a peer has died or left.
    pub(crate) fn has_ended(&self, id: &PeerId) -> bool {
        self.dead.contains_key(id) || self.left.contains_key(id)
    }

    /// Whether another member has to be evicted for this peer.
    pub(crate) fn is_full_for(&self, id: &PeerId) -> bool {
        self.alive.0.len() >= MAX_MEMBERS && self.alive.get(id).is_none()
    }

    /// Merges a record of a live peer.
    pub(crate) fn merge_record(&mut self, record: &SignedRecord, now: Time) -> MergeOutcome {
        let id = record.id;
        debug_assert_eq!(record.presence, Presence::Alive);
        if self.ended_incarnation(&id) >= Some(record.incarnation) {
            return MergeOutcome::Dead;
        }
        if let Some(m) = self.alive.get_mut(&id) {
            m.confirmed = now;
            if record.version() <= m.record.version() {
                return MergeOutcome::Unchanged;
            }
            if record.incarnation > m.record.incarnation {
                m.suspect = false;
                m.avoid_until = now;
                m.failures = 0;
            }
            m.record = record.clone();
            return MergeOutcome::Newer;
        }
        if self.is_full_for(&id) {
            // Evict the member whose last confirmation is oldest.
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
        self.alive.insert(fresh);
        MergeOutcome::New
    }

    /// Merges a certificate. Returns whether it ends an incarnation that was not known to have
    /// ended.
    pub(crate) fn merge_certificate(&mut self, certificate: &Certificate) -> bool {
        let id = certificate.subject();
        if !self.may_end(&id, certificate.incarnation()) {
            return false;
        }
        let record = self.alive.remove(&id).map(|m| m.record);
        if self.dead.len() >= MAX_CERTIFICATES {
            self.dead.pop_first();
        }
        self.dead.insert(id, (certificate.clone(), record));
        true
    }

    /// Merges the record of a peer that has left. Returns whether it ends an incarnation that was
    /// not known to have ended.
    pub(crate) fn merge_departure(&mut self, record: &SignedRecord) -> bool {
        debug_assert_eq!(record.presence, Presence::Left);
        let id = record.id;
        if !self.may_end(&id, record.incarnation) {
            return false;
        }
        self.alive.remove(&id);
        if self.left.len() >= MAX_CERTIFICATES {
            self.left.pop_first();
        }
        self.left.insert(id, record.clone());
        true
    }

    /// Removes peers that no seed has listed since `since`, except those to keep. Returns the
    /// removed ones.
    pub(crate) fn remove_unconfirmed(
        &mut self,
        since: Time,
        keep: impl Fn(&PeerId) -> bool,
    ) -> Vec<SignedRecord> {
        let goes = |m: &Member| m.confirmed < since && !keep(&m.record.id);
        let gone = self.alive.0.extract_if(.., |(_, m)| goes(m)).map(|(_, m)| m.record).collect();
        self.alive.shrink();
        gone
    }

    /// Removes all but a random sample of `sample_size` members, and those to keep.
    pub(crate) fn retain_sample<'a>(
        &mut self,
        sample_size: usize,
        keep: impl Iterator<Item = &'a PeerId>,
        rng: &mut RngStream,
    ) {
        let mut protected: Vec<usize> = keep.filter_map(|id| self.alive.find(id).ok()).collect();
        protected.sort_unstable();
        protected.dedup();
        let others = self.alive.0.len() - protected.len();
        let surplus = others.saturating_sub(sample_size);
        if surplus == 0 {
            return;
        }
        // The other members are numbered; the index of each is behind the kept ones before it.
        let mut before = 0;
        let place = |other: usize| {
            while protected.get(before).is_some_and(|at| *at <= other + before) {
                before += 1;
            }
            other + before
        };
        let gone: Vec<usize> = rng.distinct(others, surplus).into_iter().map(place).collect();
        self.alive.remove_at(&gone);
    }

    /// The state to display.
    pub(crate) fn state(member: &Member) -> MemberState {
        if member.suspect { MemberState::Suspect } else { MemberState::Alive }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::name::Name;
    use crate::record::Record;
    use crate::signed::Signed;

    fn record(n: u8) -> SignedRecord {
        let me = Identity::unsigned(&[n; 32]);
        let (id, name) = (me.id(), Name::new("x").unwrap());
        let (addresses, presence) = (Vec::new(), Presence::Alive);
        let (incarnation, sequence, degree, target) = (1, 0, 0, 3);
        let (process, other_process) = (1, None);
        let participates = true;
        let record = Record {
            id,
            name,
            addresses,
            incarnation,
            sequence,
            presence,
            degree,
            target,
            process,
            other_process,
            participates,
        };
        Signed::sign(record, &me)
    }

    #[test]
    fn sample_retains_protected_members_and_draws_others_uniformly() {
        let mut rng = RngStream::new(&[1; 32], "t");
        let protected = [3, 4, 9].map(|n| record(n).id);
        let mut stayed = BTreeMap::new();
        for round in 0..300 {
            let mut members = Members::default();
            (0..12).for_each(|n| {
                assert_eq!(members.merge_record(&record(n), Time::ZERO), MergeOutcome::New);
            });
            assert!(members.alive().map(|(id, _)| id).is_sorted());
            let sample_size = round % 9;
            members.retain_sample(sample_size, protected.iter().chain(&protected[..1]), &mut rng);
            assert_eq!(members.alive_count(), sample_size + protected.len());
            assert!(protected.iter().all(|id| members.get(id).is_some()));
            for (id, _) in members.alive() {
                *stayed.entry(*id).or_insert(0) += 1;
            }
        }
        let others = stayed.iter().filter(|(id, _)| !protected.contains(id));
        assert!(
            others.clone().count() == 9 && others.into_iter().all(|(_, n)| (80..190).contains(n))
        );
    }
}
