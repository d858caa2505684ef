//! The step from a well-formed frame to one with valid signatures.

use core::ops::Deref;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::frame::Frame;
use super::overlay::PeerReply;
use crate::batch::Batch;
use crate::failure::{Certificate, DeathReport, Testimony};
use crate::identity::{PeerId, PublicKey, Signature};
use crate::limits::{KEY_TABLES, VERIFIED_CACHE, VERIFIED_KEYS};
use crate::registry::Entry;
use crate::signed::{Signed, Statement};
use crate::time::WallTime;

/// A value whose signatures were checked. Outside of tests and simulations, only a [`Verifier`]
/// makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// The value.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// An invalid signature. Its sender made it up or passed it on unchecked: the link is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature of a {0} does not hold")]
pub struct VerifyError(&'static str);

/// After this many checks since the last review of the tables, a key gets a table: several times the
/// number of checks whose gain pays for making it.
const CHECKS_BEFORE_TABLE: u32 = 64;
/// Shortest time between two reviews of the tables.
const TABLE_REVIEW_INTERVAL: Duration = Duration::from_secs(50);

/// The prepared key of a signer.
#[derive(Debug)]
struct SignerKey {
    key: PublicKey,
    /// Checks since the last review of the tables.
    checks: u32,
}

/// The prepared keys of signers.
#[derive(Debug, Default)]
struct SignerKeys {
    keys: Recent<PeerId, SignerKey>,
    /// When the tables were last reviewed.
    reviewed: WallTime,
}

impl SignerKeys {
    fn tables(&self) -> usize {
        self.keys.known.values().filter(|signer| signer.key.has_table()).count()
    }
}

/// A key under which a checked statement and signature are remembered.
fn fingerprint(digest: &[u8; 32], signature: &Signature) -> [u8; 32] {
    let mut h = blake3::Hasher::new();
    h.update(digest).update(signature.as_bytes());
    *h.finalize().as_bytes()
}

/// The last entries, in the order of their insertion.
#[derive(Debug)]
struct Recent<K, V> {
    known: BTreeMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Recent { known: BTreeMap::new(), order: VecDeque::new() }
    }
}

impl<K: Ord + Copy, V> Recent<K, V> {
    /// Inserts an entry; beyond `limit`, the oldest one is forgotten.
    fn insert(&mut self, key: K, value: V, limit: usize) {
        if self.known.insert(key, value).is_none() {
            self.order.push_back(key);
            if self.order.len() > limit
                && let Some(old) = self.order.pop_front()
            {
                self.known.remove(&old);
            }
        }
    }
}

/// A poisoned lock only means that the task of another link panicked between two inserts.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Checks signatures, and remembers the last valid ones: the same record or message arrives from
/// several neighbours, and is checked once. It is shared by the links of one node and used outside
/// the task that runs the protocol, so that a flood of bad signatures cannot stall that task.
#[derive(Debug)]
pub struct Verifier {
    /// The fingerprints of statements that were checked.
    checked: Mutex<Recent<[u8; 32], ()>>,
    signers: Mutex<SignerKeys>,
    /// Number of nodes that share it; the caches are as many times as large.
    nodes: usize,
}

impl Default for Verifier {
    fn default() -> Self {
        Self::for_nodes(1)
    }
}

impl Verifier {
    /// A verifier that remembers nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A verifier that this many nodes of one process share. A check by one of them counts for all:
    /// they run in the same process, so they can trust each other's checks.
    #[must_use]
    pub fn for_nodes(nodes: usize) -> Self {
        Verifier { checked: Mutex::default(), signers: Mutex::default(), nodes: nodes.max(1) }
    }

    /// Checks every signature in `frame`.
    ///
    /// # Errors
    /// Names the kind of the first statement with an invalid signature.
    pub fn verify(&self, frame: Frame) -> Result<Verified<Frame>, VerifyError> {
        match &frame {
            Frame::Register(f) => self.signed(&f.record)?,
            Frame::RegisterReject(f) => {
                self.all(&f.record)?;
                self.certificates(f.certificate.iter())?;
            }
            Frame::PeerList(f) => self.all(&f.records)?,
            Frame::MembershipUpdate(f) => {
                self.all(&f.joined)?;
                self.all(&f.left)?;
                self.certificates(&f.dead)?;
            }
            Frame::Leave(f) => self.signed(&f.record)?,
            Frame::PeerRequest(f) => {
                self.signed(&f.record)?;
                self.signed(&f.adjacency)?;
            }
            Frame::PeerReply(f) => match &**f {
                PeerReply::Accept(a) => {
                    self.signed(&a.record)?;
                    self.signed(&a.adjacency)?;
                    self.all(&a.transfer)?;
                }
                PeerReply::Reject(r) => {
                    self.signed(&r.record)?;
                    self.all(&r.transfer)?;
                }
            },
            Frame::Redirect(f) => self.signed(&f.to)?,
            Frame::Gossip(f) => self.batch(&f.batch)?,
            Frame::Data(f) => f.batch.iter().try_for_each(|b| self.batch(b))?,
            Frame::Census(f) => self.signed(&f.body)?,
            Frame::Report(f) => self.report(&f.report)?,
            Frame::Appoint(f) => {
                self.signed(&f.appointment)?;
                self.signed(&f.record)?;
            }
            Frame::Testify(f) => self.testimony(&f.testimony)?,
            Frame::Accusation(f) => self.certificates(f.certificate.iter())?,
            Frame::Votes(f) => {
                for r in &f.reports {
                    self.report(r)?;
                }
                for t in &f.testimonies {
                    self.testimony(t)?;
                }
                self.all(&f.vote)?;
            }
            Frame::Entries(f) => {
                for e in &f.entries {
                    self.entry(e)?;
                }
            }
            Frame::Hello(_)
            | Frame::Close(_)
            | Frame::Ping(_)
            | Frame::Pong(_)
            | Frame::Position(_)
            | Frame::PositionAck(_)
            | Frame::RegisterAck(_)
            | Frame::GetPeerList
            | Frame::Permit(_)
            | Frame::Neighbourhood(_)
            | Frame::GetData(_)
            | Frame::Summary(_)
            | Frame::Pull(_)
            | Frame::PullEnd(_)
            | Frame::Confirm(_)
            | Frame::ConfirmReply(_)
            | Frame::Graft(_)
            | Frame::Prune(_)
            | Frame::Announce(_)
            | Frame::Ack(_)
            | Frame::ProbeRequest(_)
            | Frame::ProbeReply(_)
            | Frame::Digest(_)
            | Frame::Unknown(_) => {}
        }
        Ok(Verified(frame))
    }

    /// Checks an entry from a store or from another seed.
    ///
    /// # Errors
    /// Names the kind of the first statement with an invalid signature.
    pub fn entry(&self, entry: &Entry) -> Result<(), VerifyError> {
        self.signed(&entry.record)?;
        self.certificates(entry.certificate.iter())
    }

    /// Checks one statement.
    ///
    /// # Errors
    /// The signature is invalid.
    pub fn signed<T: Statement>(&self, s: &Signed<T>) -> Result<(), VerifyError> {
        self.check(&s.signer(), &s.digest(), s.signature(), T::DOMAIN)
    }

    /// Checks a batch.
    ///
    /// # Errors
    /// The signature is invalid.
    pub fn batch(&self, b: &Batch) -> Result<(), VerifyError> {
        self.check(&b.publisher(), &b.digest(), b.signature(), "batch")
    }

    /// Checks the signature of a statement of this kind, unless that was done before.
    fn check(
        &self,
        signer: &PeerId,
        digest: &[u8; 32],
        signature: &Signature,
        kind: &'static str,
    ) -> Result<(), VerifyError> {
        let fingerprint = fingerprint(digest, signature);
        if lock(&self.checked).known.contains_key(&fingerprint) {
            return Ok(());
        }
        if !self.key(signer).is_some_and(|key| key.has_signed(digest, signature)) {
            return Err(VerifyError(kind));
        }
        let limit = VERIFIED_CACHE.saturating_mul(self.nodes);
        lock(&self.checked).insert(fingerprint, (), limit);
        Ok(())
    }

    fn all<'a, T: Statement + 'a>(
        &self,
        list: impl IntoIterator<Item = &'a Signed<T>>,
    ) -> Result<(), VerifyError> {
        list.into_iter().try_for_each(|s| self.signed(s))
    }

    fn report(&self, r: &Signed<DeathReport>) -> Result<(), VerifyError> {
        self.signed(&r.adjacency)?;
        self.signed(r)
    }

    fn testimony(&self, t: &Signed<Testimony>) -> Result<(), VerifyError> {
        self.signed(&t.appointment)?;
        self.signed(t)
    }

    fn certificates<'a>(
        &self,
        list: impl IntoIterator<Item = &'a Certificate>,
    ) -> Result<(), VerifyError> {
        list.into_iter().try_for_each(|c| {
            if !c.is_well_formed() {
                return Err(VerifyError("certificate"));
            }
            self.all(c.votes())
        })
    }

    /// The prepared key of a signer, for one check.
    fn key(&self, id: &PeerId) -> Option<PublicKey> {
        let mut guard = lock(&self.signers);
        if let Some(signer) = guard.keys.known.get_mut(id) {
            signer.checks = signer.checks.saturating_add(1);
            let (key, checks) = (signer.key.clone(), signer.checks);
            if checks != CHECKS_BEFORE_TABLE
                || key.has_table()
                || guard.tables() >= KEY_TABLES.saturating_mul(self.nodes)
            {
                return Some(key);
            }
            // Outside the lock, because it takes about a millisecond.
            drop(guard);
            let key = key.with_table();
            if let Some(signer) = lock(&self.signers).keys.known.get_mut(id) {
                signer.key = key.clone();
            }
            return Some(key);
        }
        drop(guard);
        let key = PublicKey::of(id)?;
        let signer = SignerKey { key: key.clone(), checks: 1 };
        let limit = VERIFIED_KEYS.saturating_mul(self.nodes);
        lock(&self.signers).keys.insert(*id, signer, limit);
        Some(key)
    }

    /// Drops the tables of keys that were not used since the last review, so that a node that has
    /// become idle gives their memory back. To be called about once a minute. A call within
    /// 50 s of the last review does nothing: nodes that share a verifier all call this.
    pub fn release_unused_tables(&self, now: WallTime) {
        let mut signers = lock(&self.signers);
        let passed = Duration::from_micros(now.0.abs_diff(signers.reviewed.0));
        if passed < TABLE_REVIEW_INTERVAL {
            return;
        }
        signers.reviewed = now;
        for signer in signers.keys.known.values_mut() {
            if signer.checks == 0 {
                signer.key.drop_table();
            }
            signer.checks = 0;
        }
    }
}

/// Takes a frame that this process itself has made as verified, without the cost of a check.
///
/// For large simulations, where every node runs the honest code.
#[must_use]
pub fn trust_without_checking(frame: Frame) -> Verified<Frame> {
    Verified(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    fn check(verifier: &Verifier, identity: &Identity, n: u32) -> Result<(), VerifyError> {
        let digest = *blake3::hash(&n.to_le_bytes()).as_bytes();
        verifier.check(&identity.id(), &digest, &identity.sign(&digest), "statement")
    }

    fn tables(verifier: &Verifier) -> usize {
        lock(&verifier.signers).tables()
    }

    fn at_second(seconds: u64) -> WallTime {
        WallTime(1_700_000_000_000_000 + seconds * 1_000_000)
    }

    #[test]
    fn key_gets_table_after_many_checks_and_loses_it_when_it_is_not_used() {
        let (verifier, identity) = (Verifier::new(), Identity::from_secret(&[1; 32]));
        for n in 1..CHECKS_BEFORE_TABLE {
            check(&verifier, &identity, n).unwrap();
        }
        check(&verifier, &identity, 1).unwrap();
        assert_eq!(tables(&verifier), 0, "a statement that was checked before needs no key");
        check(&verifier, &identity, CHECKS_BEFORE_TABLE).unwrap();
        assert_eq!(tables(&verifier), 1);
        verifier.release_unused_tables(at_second(0));
        assert_eq!(tables(&verifier), 1, "it was used");
        verifier.release_unused_tables(at_second(1));
        assert_eq!(tables(&verifier), 1, "another node that shares the verifier calls as well");
        let forged = Identity::from_secret(&[2; 32]).sign(&[7; 32]);
        assert!(verifier.check(&identity.id(), &[7; 32], &forged, "statement").is_err());
        verifier.release_unused_tables(at_second(60));
        assert_eq!(tables(&verifier), 1, "it was used again");
        verifier.release_unused_tables(at_second(120));
        assert_eq!(tables(&verifier), 0);
        check(&verifier, &identity, 1000).unwrap();
    }

    #[test]
    fn keys_beyond_the_limit_of_tables_are_checked_without_one() {
        let verifier = Verifier::new();
        for secret in 0..=u8::try_from(KEY_TABLES).unwrap() {
            let identity = Identity::from_secret(&[secret; 32]);
            (0..=CHECKS_BEFORE_TABLE).for_each(|n| check(&verifier, &identity, n).unwrap());
        }
        assert_eq!(tables(&verifier), KEY_TABLES);
    }
}
