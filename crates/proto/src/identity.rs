//! The identity of a node: an Ed25519 key pair (RFC 8032), whose public half is its id on the
//! network.

use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;
use std::sync::Arc;

use data_encoding::HEXLOWER_PERMISSIVE;
use ed25519_dalek::{Signer as _, SigningKey, Verifier as _, VerifyingKey};
use minicbor::{Decode, Encode};
use serde::{Serialize, Serializer};

use crate::fixed_base::KeyTable;

/// A node's Ed25519 public key. TLS authenticates it, so no other node can use it.
///
/// `Display` gives the first 8 hexadecimal characters, for people; [`PeerId::to_hex`] gives all 64,
/// for configuration and machines, and `FromStr` reads those.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct PeerId(#[cbor(n(0), with = "minicbor::bytes")] [u8; 32]);

impl Ord for PeerId {
    /// By the bytes. The first eight nearly always decide, and comparing them as one number is
    /// fast.
    fn cmp(&self, other: &Self) -> Ordering {
        self.first().cmp(&other.first()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for PeerId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PeerId {
    /// The first bytes as a number.
    pub(crate) fn first(&self) -> u64 {
        self.0.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }

    /// Takes the 32 bytes of a public key. Whether they are a point on the curve shows when a
    /// signature is checked against them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        PeerId(bytes)
    }

    /// The 32 bytes of the public key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// All 64 hexadecimal characters.
    #[must_use]
    pub fn to_hex(self) -> String {
        data_encoding::HEXLOWER.encode(&self.0)
    }

    /// The first 8 hexadecimal characters, as shown beside a name.
    #[must_use]
    pub fn short(self) -> String {
        data_encoding::HEXLOWER.encode(&self.0[..4])
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.short())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.to_hex())
    }
}

/// A text that is not a [`PeerId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a peer id is 64 hexadecimal characters, not {0:?}")]
pub struct ParsePeerIdError(String);

impl FromStr for PeerId {
    type Err = ParsePeerIdError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        HEXLOWER_PERMISSIVE
            .decode(s.as_bytes())
            .ok()
            .and_then(|v| <[u8; 32]>::try_from(v).ok())
            .map(PeerId)
            .ok_or_else(|| ParsePeerIdError(s.chars().take(80).collect()))
    }
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct Signature(#[cbor(n(0), with = "minicbor::bytes")] [u8; 64]);

impl Signature {
    /// The signature of an identity without a key.
    pub(crate) const EMPTY: Signature = Signature([0; 64]);

    /// Takes the 64 bytes of a signature, unchecked.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Signature(bytes)
    }

    /// The 64 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// Whether `signer` signed `message`: the equation of RFC 8032 without the cofactor, canonical
    /// scalars only, no keys of small order. Every node comes to the same verdict.
    #[must_use]
    pub fn verify(&self, signer: &PeerId, message: &[u8]) -> bool {
        PublicKey::of(signer).is_some_and(|key| key.has_signed(message, self))
    }
}

/// A [`PeerId`] prepared for checking signatures: a tenth of the work of a check, done once.
#[derive(Debug, Clone)]
pub(crate) struct PublicKey {
    key: VerifyingKey,
    /// Makes checks faster; the verdicts are the same.
    table: Option<Arc<KeyTable>>,
}

impl PublicKey {
    /// `None` if the id is not a point on the curve, or one of small order: a signature under such
    /// a key can be valid for many messages, and does not prove its signer.
    pub(crate) fn of(id: &PeerId) -> Option<Self> {
        let key = VerifyingKey::from_bytes(&id.0).ok().filter(|key| !key.is_weak());
        Some(PublicKey { key: key?, table: None })
    }

    /// Whether the key's owner signed `message`: the equation of RFC 8032 without the cofactor, its
    /// result compared byte for byte, canonical scalars only. Whether the other point of the
    /// signature is of small order is not checked: it would take another tenth of the time, and
    /// only the owner of the key can make such a signature (Chalkias, Garillot and Nikolaenko,
    /// "Taming the many EdDSAs", 2020, section 4).
    pub(crate) fn has_signed(&self, message: &[u8], signature: &Signature) -> bool {
        match &self.table {
            Some(table) => table.has_signed(&self.key, message, signature),
            None => {
                let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
                self.key.verify(message, &signature).is_ok()
            }
        }
    }

    /// The same key with a table. Making it takes as long as about ten checks.
    pub(crate) fn with_table(mut self) -> Self {
        self.table = Some(Arc::new(KeyTable::new(&self.key)));
        self
    }

    pub(crate) const fn has_table(&self) -> bool {
        self.table.is_some()
    }

    pub(crate) fn drop_table(&mut self) {
        self.table = None;
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sig:{}", data_encoding::HEXLOWER.encode(&self.0[..4]))
    }
}

/// A node's key pair. The secret half never leaves it except through [`Identity::secret_bytes`].
#[derive(Clone)]
pub struct Identity {
    key: Key,
    id: PeerId,
}

#[derive(Clone)]
enum Key {
    Pair(Arc<SigningKey>),
    /// An id without a key, of a node in a large simulation.
    Unsigned([u8; 32]),
}

impl Identity {
    /// The identity of a 32-byte secret. The caller provides the randomness.
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(secret);
        let id = PeerId(key.verifying_key().to_bytes());
        Identity { key: Key::Pair(Arc::new(key)), id }
    }

    /// An id that no key belongs to, with empty signatures: they take no time to make, and no
    /// [`Verifier`](crate::wire::Verifier) accepts one.
    ///
    /// For large simulations, where every node runs the honest code and frames are taken with
    /// [`trust_without_checking`](crate::wire::trust_without_checking). A node on sockets cannot
    /// use it: the key that its connections prove is not this id.
    #[doc(hidden)]
    #[must_use]
    pub fn unsigned(secret: &[u8; 32]) -> Self {
        let id = PeerId(blake3::derive_key("rumor/1 name without a key", secret));
        Identity { key: Key::Unsigned(*secret), id }
    }

    /// The public half.
    #[must_use]
    pub const fn id(&self) -> PeerId {
        self.id
    }

    /// The secret half, to be stored where only its owner can read it.
    #[must_use]
    pub fn secret_bytes(&self) -> [u8; 32] {
        match &self.key {
            Key::Pair(key) => key.to_bytes(),
            Key::Unsigned(secret) => *secret,
        }
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        match &self.key {
            Key::Pair(key) => Signature(key.sign(message).to_bytes()),
            Key::Unsigned(_) => Signature::EMPTY,
        }
    }

    /// Whether there is a key to sign with.
    pub(crate) const fn signs(&self) -> bool {
        matches!(self.key, Key::Pair(_))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trip() {
        let id = Identity::from_secret(&[7; 32]).id();
        assert_eq!(id.to_hex().parse::<PeerId>().unwrap(), id);
        assert_eq!(id.to_hex().to_uppercase().parse::<PeerId>().unwrap(), id);
        assert_eq!(id.short().len(), 8);
        assert!("zz".parse::<PeerId>().is_err());
    }

    #[test]
    fn ids_are_ordered_by_their_bytes() {
        let mut some = vec![[0; 32], [0xff; 32], [0x80; 32]];
        for at in [0, 7, 8, 31] {
            some.extend([1, 0x7f, 0x80, 0xff].map(|byte| {
                let mut bytes = [5; 32];
                bytes[at] = byte;
                bytes
            }));
        }
        for a in &some {
            for b in &some {
                assert_eq!(PeerId(*a).cmp(&PeerId(*b)), a.cmp(b));
            }
        }
    }

    #[test]
    fn signature_binds_key_and_message() {
        let a = Identity::from_secret(&[1; 32]);
        let b = Identity::from_secret(&[2; 32]);
        let s = a.sign(b"hello");
        assert!(s.verify(&a.id(), b"hello"));
        assert!(!s.verify(&a.id(), b"hellp"));
        assert!(!s.verify(&b.id(), b"hello"));
    }

    #[test]
    fn keys_of_small_order_verify_no_signature() {
        // The identity element: with it as the key, R and a scalar of zero, the equation holds for
        // every message.
        let mut one = [0; 32];
        one[0] = 1;
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&one);
        let signature = Signature::from_bytes(signature);
        assert!(!signature.verify(&PeerId::from_bytes(one), b"anything"));
        assert!(PublicKey::of(&PeerId::from_bytes([0; 32])).is_none(), "a point of order 4");
    }

    #[test]
    fn signature_with_a_non_canonical_scalar_is_invalid() {
        let a = Identity::from_secret(&[1; 32]);
        let signature = a.sign(b"hello");
        // The order of the group, little endian (RFC 8032, section 5.1).
        let order = data_encoding::HEXLOWER
            .decode(b"edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
            .unwrap();
        let mut bytes = *signature.as_bytes();
        let mut carry = 0;
        for (byte, add) in bytes[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
        }
        let key = PublicKey::of(&a.id()).unwrap();
        for key in [key.clone(), key.with_table()] {
            assert!(key.has_signed(b"hello", &signature));
            assert!(!key.has_signed(b"hello", &Signature::from_bytes(bytes)));
        }
    }

    #[test]
    fn identity_without_a_key_has_no_valid_signature() {
        for n in 0..32 {
            let unsigned = Identity::unsigned(&[n; 32]);
            assert!(!unsigned.sign(b"hello").verify(&unsigned.id(), b"hello"));
            // A connection of this identity would prove another key.
            let proved = Identity::from_secret(&unsigned.secret_bytes());
            assert_ne!(proved.id(), unsigned.id());
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let a = Identity::from_secret(&[9; 32]);
        assert!(!format!("{a:?}").contains("0909"));
    }
}
