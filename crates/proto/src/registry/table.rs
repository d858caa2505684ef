//! The registry of one seed.

use core::time::Duration;
use std::collections::BTreeMap;

use super::entry::{Entry, EntryState};
use super::pool::Pool;
use crate::identity::PeerId;
use crate::limits::{MAX_REGISTRY, REGISTRY_BUCKETS};
use crate::random::RngStream;
use crate::record::SignedRecord;
use crate::time::Time;

/// The change that an update made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryChange {
    /// Nothing.
    Unchanged,
    /// A peer that was not known.
    New,
    /// A known peer in a new incarnation, or one whose lease had expired.
    Back,
    /// A newer record of a peer that is alive.
    Newer,
    /// It left.
    Left,
    /// It died.
    Died,
    /// The registry is full.
    Full,
}

#[derive(Debug)]
struct Slot {
    entry: Entry,
    /// For live peers: when the lease ends. For others: when they are forgotten.
    until: Time,
    expired: bool,
    /// Its index in the pool of live peers.
    place: Option<u32>,
    /// Where it counts in [`Table::counts`].
    counted: [bool; 3],
}

impl Slot {
    /// Whether the peer is alive with a valid lease.
    fn is_valid(&self) -> bool {
        !self.expired && self.entry.is_alive()
    }
}

/// The table, with a hash per bucket that is kept up to date.
#[derive(Debug)]
pub(crate) struct Table {
    slots: BTreeMap<PeerId, Slot>,
    hashes: Vec<u64>,
    /// The live peers with a valid lease, weighted by free slots.
    alive: Pool,
    /// How many of them participate, have only loopback addresses, and both.
    counts: [usize; 3],
    /// The versions (incarnation, sequence) up to which a forgotten peer is not learned again from
    /// a seed that forgets it later: the whole incarnation of a peer that had ended, and the known
    /// version of a silent one.
    forgotten: BTreeMap<PeerId, ((u64, u64), Time)>,
    lease: Duration,
    tombstone: Duration,
}

impl Table {
    pub(crate) fn new(lease: Duration, tombstone: Duration) -> Self {
        Table {
            slots: BTreeMap::new(),
            hashes: vec![0; REGISTRY_BUCKETS],
            alive: Pool::default(),
            counts: [0; 3],
            forgotten: BTreeMap::new(),
            lease,
            tombstone,
        }
    }

    pub(crate) fn get(&self, id: &PeerId) -> Option<&Entry> {
        self.slots.get(id).map(|s| &s.entry)
    }

    /// The record of a peer that is alive, even if its lease has expired.
    pub(crate) fn alive_record(&self, id: &PeerId) -> Option<&SignedRecord> {
        self.get(id).filter(|e| e.is_alive()).map(|e| &e.record)
    }

    /// The live peers with a valid lease.
    pub(crate) fn alive(&self) -> impl Iterator<Item = &Entry> {
        self.slots.values().filter(|s| s.is_valid()).map(|s| &s.entry)
    }

    pub(crate) const fn alive_count(&self) -> usize {
        self.alive.len()
    }

    /// How many of them participate, according to their records.
    pub(crate) const fn participating_count(&self) -> usize {
        let [participating, ..] = self.counts;
        participating
    }

    /// How many live peers, and how many participating ones, have only loopback addresses.
    pub(crate) const fn on_loopback(&self) -> (usize, usize) {
        let [_, alive, participating] = self.counts;
        (alive, participating)
    }

    /// `n` of the live peers, each with the same chance.
    pub(crate) fn sample(&self, n: usize, rng: &mut RngStream) -> Vec<&SignedRecord> {
        let drawn = self.alive.sample(n, rng);
        drawn.filter_map(|id| self.slots.get(&id)).map(|s| &s.entry.record).collect()
    }

    /// `n` of the live peers, each in proportion to its free slots.
    pub(crate) fn draw_free(&self, n: usize, rng: &mut RngStream) -> Vec<&SignedRecord> {
        let drawn = self.alive.draw(n, rng);
        drawn.filter_map(|id| self.slots.get(&id)).map(|s| &s.entry.record).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// All entries, each with whether its lease has expired.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Entry, bool)> {
        self.slots.values().map(|s| (&s.entry, s.expired))
    }

    pub(crate) fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    /// The entries of one bucket.
    pub(crate) fn bucket(&self, bucket: u8) -> impl Iterator<Item = &Entry> {
        let (mut low, mut high) = ([0; 32], [0xff; 32]);
        low[0] = bucket;
        high[0] = bucket;
        let range = PeerId::from_bytes(low)..=PeerId::from_bytes(high);
        self.slots.range(range).map(|(_, s)| &s.entry)
    }

    /// Whether a peer is alive with a valid lease.
    pub(crate) fn counts_as_alive(&self, id: &PeerId) -> bool {
        self.slots.get(id).is_some_and(Slot::is_valid)
    }

    /// Adds an entry to the pool of live peers, updates its weight, or removes it.
    fn place(&mut self, id: &PeerId) {
        let Some(s) = self.slots.get_mut(id) else { return };
        let (record, is_valid) = (&s.entry.record, s.is_valid());
        let weight = u32::from(record.free_slots());
        let (participates, on_loopback) = (record.participates, record.is_on_loopback());
        let counted =
            [participates, on_loopback, participates && on_loopback].map(|c| is_valid && c);
        for ((n, before), after) in self.counts.iter_mut().zip(s.counted).zip(counted) {
            *n = *n - usize::from(before) + usize::from(after);
        }
        s.counted = counted;
        match (is_valid, s.place) {
            (true, Some(at)) => self.alive.set_weight(at as usize, weight),
            (true, None) => {
                // At most MAX_REGISTRY.
                s.place = u32::try_from(self.alive.push(*id, weight)).ok();
            }
            (false, Some(at)) => {
                s.place = None;
                if let Some(moved) = self.alive.remove(at as usize)
                    && let Some(other) = self.slots.get_mut(&moved)
                {
                    other.place = Some(at);
                }
            }
            (false, None) => {}
        }
    }

    fn bucket_of(id: &PeerId) -> usize {
        usize::from(id.as_bytes()[0])
    }

    fn toggle_hash(hashes: &mut [u64], entry: &Entry) {
        if let Some(h) = hashes.get_mut(Self::bucket_of(&entry.id())) {
            *h ^= entry.fingerprint();
        }
    }

    /// Merges an entry. A newer record extends the lease.
    pub(crate) fn merge(&mut self, entry: Entry, now: Time) -> EntryChange {
        let id = entry.id();
        let Some(slot) = self.slots.get_mut(&id) else { return self.insert(entry, now) };
        let (old, was_expired) = (slot.entry.clone(), slot.expired);
        if !slot.entry.merge(entry) {
            return EntryChange::Unchanged;
        }
        Self::toggle_hash(&mut self.hashes, &old);
        Self::toggle_hash(&mut self.hashes, &slot.entry);
        let (before, after) = (old.state(), slot.entry.state());
        slot.expired = false;
        slot.until = now + if after == EntryState::Alive { self.lease } else { self.tombstone };
        let new_life = slot.entry.incarnation() > old.incarnation();
        self.place(&id);
        match (before, after) {
            (_, EntryState::Alive) => {
                let back = before != EntryState::Alive || was_expired || new_life;
                if back { EntryChange::Back } else { EntryChange::Newer }
            }
            (EntryState::Alive, EntryState::Left) => EntryChange::Left,
            (EntryState::Alive | EntryState::Left, EntryState::Dead) => EntryChange::Died,
            _ => EntryChange::Newer,
        }
    }

    fn insert(&mut self, mut entry: Entry, now: Time) -> EntryChange {
        entry.drop_outdated_certificate();
        let (id, state) = (entry.id(), entry.state());
        let ended = state != EntryState::Alive;
        let version = (entry.incarnation(), if ended { 0 } else { entry.record.sequence });
        if self.forgotten.get(&id).is_some_and(|(forgotten, _)| *forgotten >= version) {
            return EntryChange::Unchanged;
        }
        if self.slots.len() >= MAX_REGISTRY {
            return EntryChange::Full;
        }
        Self::toggle_hash(&mut self.hashes, &entry);
        let until = now + if ended { self.tombstone } else { self.lease };
        let counted = [false; 3];
        self.slots.insert(id, Slot { entry, until, expired: false, place: None, counted });
        self.place(&id);
        match state {
            EntryState::Alive => EntryChange::New,
            EntryState::Left => EntryChange::Left,
            EntryState::Dead => EntryChange::Died,
        }
    }

    /// Extends the lease, because the peer itself has sent its present record again. Returns
    /// whether the lease had expired.
    pub(crate) fn touch(&mut self, id: &PeerId, now: Time) -> bool {
        let lease = self.lease;
        let Some(s) = self.slots.get_mut(id).filter(|s| s.entry.is_alive()) else { return false };
        s.until = now + lease;
        let back = core::mem::replace(&mut s.expired, false);
        self.place(id);
        back
    }

    /// Clears what was forgotten of a peer, because the peer itself has registered.
    pub(crate) fn forget_expiry(&mut self, id: &PeerId) {
        self.forgotten.remove(id);
    }

    /// Hides entries whose lease has expired, and forgets entries whose tombstone has expired.
    /// Returns both.
    pub(crate) fn expire(&mut self, now: Time) -> (Vec<Entry>, Vec<PeerId>) {
        let mut hidden = Vec::new();
        let mut forgotten = Vec::new();
        for (id, s) in &mut self.slots {
            if s.until > now {
                continue;
            }
            if s.entry.is_alive() && !s.expired {
                s.expired = true;
                s.until = now + self.tombstone;
                hidden.push(s.entry.clone());
            } else {
                forgotten.push(*id);
            }
        }
        for entry in &hidden {
            self.place(&entry.id());
        }
        for id in &forgotten {
            if let Some(s) = self.slots.remove(id) {
                Self::toggle_hash(&mut self.hashes, &s.entry);
                let sequence = if s.entry.is_alive() { s.entry.record.sequence } else { u64::MAX };
                if self.forgotten.len() < MAX_REGISTRY {
                    let version = (s.entry.incarnation(), sequence);
                    self.forgotten.insert(*id, (version, now + self.tombstone));
                }
            }
        }
        self.forgotten.retain(|_, (_, until)| *until > now);
        (hidden, forgotten)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::failure::{Certificate, Vote};
    use crate::identity::Identity;
    use crate::name::Name;
    use crate::record::{Presence, Record};
    use crate::signed::Signed;

    fn record(number: u8, incarnation: u64, sequence: u64, left: bool, degree: u16) -> Entry {
        let identity = Identity::from_secret(&[number; 32]);
        let record = Record {
            id: identity.id(),
            name: Name::new("x").unwrap(),
            addresses: Vec::new(),
            incarnation,
            sequence,
            presence: if left { Presence::Left } else { Presence::Alive },
            degree,
            target: 3,
            process: 1,
            other_process: None,
            participates: sequence > 0,
        };
        Entry::new(Signed::sign(record, &identity))
    }

    fn dead(number: u8, incarnation: u64, seed: u8) -> Entry {
        let mut entry = record(number, incarnation, 0, false, 0);
        let identity = Identity::from_secret(&[100 + seed; 32]);
        let vote = Vote {
            seed: identity.id(),
            subject: entry.id(),
            incarnation,
            witnesses: vec![PeerId::from_bytes([9; 32])],
        };
        entry.certificate = Certificate::new(vec![Signed::sign(vote, &identity)]);
        entry
    }

    fn table() -> Table {
        Table::new(Duration::from_secs(120), Duration::from_secs(3600))
    }

    /// Seeds forget at different times; a peer that one has forgotten does not come back from
    /// another.
    #[test]
    fn forgotten_silent_peer_is_not_learned_again_from_another_seed() {
        let (mut a, mut b) = (table(), table());
        let at = |s: u64| Time::ZERO + Duration::from_secs(s);
        for t in [&mut a, &mut b] {
            assert_eq!(t.merge(record(1, 1, 5, false, 3), at(0)), EntryChange::New);
            assert_eq!(t.expire(at(121)).0.len(), 1, "hidden");
        }
        let id = record(1, 1, 5, false, 3).id();
        assert_eq!(a.expire(at(121 + 3601)).1, [id]);
        let copies: Vec<Entry> = b.iter().map(|(e, _)| e.clone()).collect();
        for e in copies {
            assert_eq!(a.merge(e, at(121 + 3602)), EntryChange::Unchanged);
        }
        assert_eq!((a.len(), a.alive_count()), (0, 0));
        // A newer record is news, and so is a registration by the peer itself.
        assert_eq!(a.merge(record(1, 1, 6, false, 3), at(121 + 3603)), EntryChange::New);
        a.expire(at(8000));
        a.expire(at(12000));
        assert_eq!(a.merge(record(1, 1, 6, false, 3), at(12001)), EntryChange::Unchanged);
        a.forget_expiry(&id);
        assert_eq!(a.merge(record(1, 1, 6, false, 3), at(12002)), EntryChange::New);
    }

    /// A small set of updates, signed once.
    fn universe() -> &'static Vec<Entry> {
        static ALL: std::sync::OnceLock<Vec<Entry>> = std::sync::OnceLock::new();
        ALL.get_or_init(|| {
            let mut all = Vec::new();
            for number in 1..3 {
                for incarnation in 1..3 {
                    for sequence in 0..2 {
                        for left in [false, true] {
                            // Equal versions with different content as well.
                            for degree in 0..2 {
                                all.push(record(number, incarnation, sequence, left, degree));
                            }
                        }
                    }
                    all.push(dead(number, incarnation, 0));
                    all.push(dead(number, incarnation, 1));
                }
            }
            all
        })
    }

    proptest! {
        #[test]
        fn any_order_of_the_same_updates_gives_the_same_registry(
            picks in proptest::collection::vec(any::<prop::sample::Index>(), 1..24),
            seed in any::<u64>(),
        ) {
            let updates: Vec<&Entry> = picks.iter().map(|i| i.get(universe())).collect();
            let mut shuffled = updates.clone();
            let mut rng = crate::random::RngStream::new(&[seed as u8; 32], "t");
            shuffled = rng.sample(shuffled, updates.len());
            let build = |list: &[&Entry]| {
                let mut t = table();
                for e in list {
                    t.merge((*e).clone(), Time::ZERO);
                }
                t
            };
            let (a, mut b) = (build(&updates), build(&shuffled));
            prop_assert_eq!(a.hashes(), b.hashes());
            prop_assert_eq!(a.alive_count(), b.alive().count());
            prop_assert_eq!(b.alive_count(), b.alive().count());
            let participating = b.alive().filter(|e| e.record.participates).count();
            prop_assert_eq!(b.participating_count(), participating);
            prop_assert_eq!(a.participating_count(), participating);
            let on_loopback = || b.alive().filter(|e| e.record.is_on_loopback());
            let participating = on_loopback().filter(|e| e.record.participates).count();
            prop_assert_eq!(b.on_loopback(), (on_loopback().count(), participating));
            let drawn = b.sample(usize::MAX, &mut rng).len();
            prop_assert_eq!(drawn, b.alive_count());
            // Idempotent: merging the whole of one into the other changes nothing.
            for (e, _) in a.iter() {
                prop_assert_eq!(b.merge(e.clone(), Time::ZERO), EntryChange::Unchanged);
            }
        }
    }

    #[test]
    fn end_of_an_incarnation_wins_over_it_and_a_new_incarnation_wins_over_the_end() {
        let mut t = table();
        assert_eq!(t.merge(record(1, 1, 5, false, 0), Time::ZERO), EntryChange::New);
        assert_eq!(t.merge(dead(1, 1, 0), Time::ZERO), EntryChange::Died);
        assert_eq!(t.merge(record(1, 1, 9, false, 0), Time::ZERO), EntryChange::Newer);
        assert_eq!(t.alive_count(), 0);
        assert_eq!(t.merge(record(1, 2, 0, false, 0), Time::ZERO), EntryChange::Back);
        assert_eq!(t.merge(dead(1, 1, 1), Time::ZERO), EntryChange::Unchanged);
        assert_eq!(t.alive_count(), 1);
        assert_eq!(t.merge(record(1, 2, 1, true, 0), Time::ZERO), EntryChange::Left);
    }

    #[test]
    fn expired_lease_hides_a_peer_and_the_dead_stay_forgotten() {
        let mut t = table();
        let s = |n: u64| Time::from_micros(n * 1_000_000);
        t.merge(record(1, 1, 1, false, 0), s(0));
        t.merge(dead(2, 1, 0), s(0));
        assert_eq!(t.participating_count(), 1);
        assert!(t.expire(s(119)).0.is_empty());
        let (hidden, _) = t.expire(s(120));
        assert_eq!((hidden.len(), t.alive_count(), t.len()), (1, 0, 2));
        assert_eq!(t.participating_count(), 0);
        assert!(t.touch(&record(1, 1, 1, false, 0).id(), s(130)), "it is back");
        assert_eq!(t.alive_count(), 1);
        t.touch(&record(1, 1, 1, false, 0).id(), s(3590));
        assert_eq!(t.expire(s(3601)).1.len(), 1);
        assert_eq!(t.merge(dead(2, 1, 0), s(3602)), EntryChange::Unchanged, "not learned again");
        assert_eq!(t.merge(record(2, 2, 0, false, 0), s(3602)), EntryChange::New);
    }
}
