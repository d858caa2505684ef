//! The key of a private network, and the proof of possession.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;

/// Label of the TLS exporter value (RFC 8446, section 7.5) that proofs are bound to.
pub(crate) const EXPORTER_LABEL: &[u8] = b"EXPORTER-rumor/1 network proof";

/// The side of a connection that a proof is for. Without it, a listener could send the dialer's own
/// proof back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Dialer,
    Listener,
}

/// The keys of a private network: a node that cannot prove one of them is refused.
///
/// A node proves its first key and accepts all of its keys. A network therefore changes its key in
/// three steps, and at no moment do two honest nodes refuse each other: add the new key after the
/// old one on every node; put it first on every node; remove the old one.
///
/// ```
/// use rumormill::NetworkKey;
/// let old: NetworkKey = "aa".repeat(32).parse().unwrap();
/// let both = NetworkKey::generate().unwrap().accept_also(&old);
/// assert_eq!(both.len(), 2);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct NetworkKey {
    keys: Vec<[u8; 32]>,
}

/// A text that is not a network key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a network key is 64 hexadecimal characters; several are separated by commas or white space"
)]
pub struct ParseNetworkKeyError;

impl NetworkKey {
    /// One key.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        NetworkKey { keys: vec![key] }
    }

    /// A fresh key.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn generate() -> Result<Self, crate::StartError> {
        Ok(NetworkKey::new(crate::random_bytes()?))
    }

    /// Accepts the keys of `other` as well.
    #[must_use]
    pub fn accept_also(mut self, other: &NetworkKey) -> Self {
        for key in &other.keys {
            if !self.keys.contains(key) {
                self.keys.push(*key);
            }
        }
        self
    }

    /// How many keys are accepted.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // There is always at least one key.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys as hexadecimal text, separated by commas. The text is a secret.
    #[must_use]
    pub fn to_secret_text(&self) -> String {
        let keys: Vec<String> =
            self.keys.iter().map(|k| data_encoding::HEXLOWER.encode(k)).collect();
        keys.join(",")
    }

    /// The proof of this node for the connection with this exporter value.
    pub(crate) fn prove(&self, exporter: &[u8; 32], side: Side) -> [u8; 32] {
        // A key ring is never empty.
        self.keys.first().map_or([0; 32], |key| *proof(key, exporter, side).as_bytes())
    }

    /// The key that the remote's proof was made with, if it is one of these keys; the answer to the
    /// remote proves the same key.
    pub(crate) fn check(
        &self,
        presented: &[u8; 32],
        exporter: &[u8; 32],
        side: Side,
    ) -> Option<NetworkKey> {
        // blake3::Hash compares in constant time.
        let key = self.keys.iter().find(|k| proof(k, exporter, side) == *presented)?;
        Some(NetworkKey::new(*key))
    }
}

fn proof(key: &[u8; 32], exporter: &[u8; 32], side: Side) -> blake3::Hash {
    let mut h = blake3::Hasher::new_keyed(key);
    h.update(exporter);
    h.update(match side {
        Side::Dialer => b"dialer",
        Side::Listener => b"listener",
    });
    h.finalize()
}

impl FromStr for NetworkKey {
    type Err = ParseNetworkKeyError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let mut ring: Option<NetworkKey> = None;
        let parts = s.split(|c: char| c == ',' || c.is_whitespace()).filter(|p| !p.is_empty());
        for part in parts {
            let bytes =
                HEXLOWER_PERMISSIVE.decode(part.as_bytes()).map_err(|_| ParseNetworkKeyError)?;
            let key = NetworkKey::new(bytes.try_into().map_err(|_| ParseNetworkKeyError)?);
            ring = Some(match ring {
                None => key,
                Some(r) => r.accept_also(&key),
            });
        }
        ring.ok_or(ParseNetworkKeyError)
    }
}

impl fmt::Debug for NetworkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetworkKey({} keys)", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proof_holds_only_for_its_key_connection_and_side() {
        let key = NetworkKey::new([1; 32]);
        let p = key.prove(&[7; 32], Side::Dialer);
        assert!(key.check(&p, &[7; 32], Side::Dialer).is_some());
        assert!(key.check(&p, &[7; 32], Side::Listener).is_none());
        assert!(key.check(&p, &[8; 32], Side::Dialer).is_none());
        assert!(NetworkKey::new([2; 32]).check(&p, &[7; 32], Side::Dialer).is_none());
    }

    #[test]
    fn nodes_in_adjacent_steps_of_key_rotation_accept_each_other() {
        let (old, new) = (NetworkKey::new([1; 32]), NetworkKey::new([2; 32]));
        let steps = [
            old.clone(),
            old.clone().accept_also(&new),
            new.clone().accept_also(&old),
            new.clone(),
        ];
        for pair in steps.windows(2) {
            for (dialer, listener) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
                let p = dialer.prove(&[9; 32], Side::Dialer);
                let answer = listener.check(&p, &[9; 32], Side::Dialer).unwrap();
                let q = answer.prove(&[9; 32], Side::Listener);
                assert!(dialer.check(&q, &[9; 32], Side::Listener).is_some());
            }
        }
    }

    #[test]
    fn key_ring_round_trips_through_text_and_debug_output_shows_no_key() {
        let ring = NetworkKey::new([0xab; 32]).accept_also(&NetworkKey::new([1; 32]));
        assert_eq!(ring.to_secret_text().parse::<NetworkKey>().unwrap(), ring);
        assert!(!format!("{ring:?}").contains("abab"));
        for bad in ["", "xyz", &"aa".repeat(31), &"aa".repeat(33)] {
            assert!(bad.parse::<NetworkKey>().is_err(), "{bad}");
        }
    }
}
