//! One peer in a registry.

use std::cmp::Ordering;

use minicbor::{Decode, Encode};

use crate::failure::Certificate;
use crate::identity::PeerId;
use crate::record::{Presence, SignedRecord};

/// The state of an entry; within one incarnation, the later variant wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryState {
    /// The peer is alive.
    Alive,
    /// The peer has left.
    Left,
    /// Dead by certificate.
    Dead,
}

/// One peer in a registry: its own record, and the certificate if it is dead.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Entry {
    /// The newest record of the peer.
    #[n(0)]
    pub record: SignedRecord,
    /// Its death certificate, for the incarnation of the record or a later one.
    #[n(1)]
    pub certificate: Option<Certificate>,
}

impl Entry {
    /// An entry of a record without a certificate.
    #[must_use]
    pub const fn new(record: SignedRecord) -> Self {
        Entry { record, certificate: None }
    }

    /// The id of the peer.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.record.id
    }

    /// The highest incarnation in the entry.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        let dead = self.certificate.as_ref().map_or(0, Certificate::incarnation);
        self.record.incarnation.max(dead)
    }

    /// The state: dead if the certificate is for the record's incarnation or a later one.
    #[must_use]
    pub fn state(&self) -> EntryState {
        match &self.certificate {
            Some(c) if c.incarnation() >= self.record.incarnation => EntryState::Dead,
            _ if self.record.presence == Presence::Left => EntryState::Left,
            _ => EntryState::Alive,
        }
    }

    /// Whether the peer is alive.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.state() == EntryState::Alive
    }

    /// Merges another entry of the same peer into this one. Returns whether anything changed.
    ///
    /// Record and certificate merge separately: the record with the larger version wins, the
    /// certificate with the later incarnation wins. Equal versions with different content (an owner
    /// that signed two) are ordered by their bytes. Each is the maximum of a total order, so the
    /// merge is commutative, associative and idempotent: any order of the same updates gives the
    /// same registry, without a clock.
    pub fn merge(&mut self, other: Entry) -> bool {
        debug_assert_eq!(self.id(), other.id());
        let mut changed = self.drop_outdated_certificate();
        if record_order(&other.record, &self.record).is_gt() {
            self.record = other.record;
            changed = true;
        }
        if let Some(other) = other.certificate {
            let newer =
                self.certificate.as_ref().is_none_or(|own| certificate_order(&other, own).is_gt());
            // A certificate of an earlier incarnation is obsolete.
            if newer && other.incarnation() >= self.record.incarnation {
                self.certificate = Some(other);
                changed = true;
            }
        }
        changed | self.drop_outdated_certificate()
    }

    /// Drops a certificate of an earlier incarnation than the record's. Returns whether there was
    /// one.
    pub(crate) fn drop_outdated_certificate(&mut self) -> bool {
        let incarnation = self.record.incarnation;
        self.certificate.take_if(|c| c.incarnation() < incarnation).is_some()
    }

    /// Approximate number of bytes in a frame.
    pub(crate) fn wire_size(&self) -> usize {
        self.record.wire_size() + self.certificate.as_ref().map_or(0, Certificate::wire_size)
    }

    /// A hash of the content of the entry, for comparing registries.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut h = blake3::Hasher::new();
        h.update(&self.record.body_bytes());
        h.update(self.record.signature().as_bytes());
        if let Some(c) = &self.certificate {
            for v in c.votes() {
                h.update(v.signature().as_bytes());
            }
        }
        let mut out = [0u8; 8];
        h.finalize_xof().fill(&mut out);
        u64::from_le_bytes(out)
    }
}

fn record_order(a: &SignedRecord, b: &SignedRecord) -> Ordering {
    a.version()
        .cmp(&b.version())
        .then_with(|| a.body_bytes().cmp(&b.body_bytes()))
        .then_with(|| a.signature().cmp(b.signature()))
}

fn certificate_order(a: &Certificate, b: &Certificate) -> Ordering {
    let key = |c: &Certificate| {
        let votes: Vec<_> =
            c.votes().iter().map(|v| (v.body_bytes().into_owned(), *v.signature())).collect();
        (c.incarnation(), votes)
    };
    key(a).cmp(&key(b))
}
