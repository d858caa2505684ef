//! Several batches under one signature.
//!
//! Under load a publisher has several batches waiting at the same time. It signs them together: the
//! leaves of a hash tree are the batches, its root is signed, and each batch carries the siblings
//! on its path to the root. So every batch can be checked by itself, even if others are lost, and a
//! node that has checked one of them has checked the signature of all: each of the others costs a
//! few hashes. (Tree chaining: Wong and Lam, "Digital Signatures for Flows and Multicasts",
//! IEEE/ACM Transactions on Networking 7(4), 1999, section III; Merkle 1979.)

use minicbor::{Decoder, Encoder, decode};

use crate::limits::MAX_GROUP;

/// A BLAKE3 hash.
pub(super) type Hash = [u8; 32];

/// Separates the inner nodes of the tree from its leaves, which are batches.
const GROUP_DOMAIN: &str = "rumor/1 batch group";
/// Most siblings on the path to the root.
const MAX_DEPTH: usize = MAX_GROUP.ilog2() as usize;
/// Bytes of a hash.
const HASH_BYTES: usize = 32;

/// The path from one batch to the signed root; empty for a batch that was signed alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Proof {
    /// Bit i is set if the sibling on level i is on the left.
    left_sides: u8,
    depth: u8,
    siblings: [Hash; MAX_DEPTH],
}

impl Proof {
    /// The siblings, from the leaf up.
    fn siblings(&self) -> &[Hash] {
        self.siblings.get(..usize::from(self.depth)).unwrap_or_default()
    }

    /// Whether the batch was signed alone.
    pub(super) const fn is_empty(&self) -> bool {
        self.depth == 0
    }

    /// The root that this path leads to.
    pub(super) fn root(&self, leaf: Hash) -> Hash {
        self.siblings().iter().enumerate().fold(leaf, |hash, (level, sibling)| {
            if self.left_sides >> level & 1 == 1 {
                node(sibling, &hash)
            } else {
                node(&hash, sibling)
            }
        })
    }

    fn push(&mut self, sibling: Hash, is_left: bool) {
        if let Some(place) = self.siblings.get_mut(usize::from(self.depth)) {
            *place = sibling;
            self.left_sides |= u8::from(is_left) << self.depth;
            self.depth += 1;
        }
    }

    /// Writes the two values that follow the signature.
    pub(super) fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
        // Writing into a Vec cannot fail: its error type is Infallible.
        let _ = e.u8(self.left_sides).and_then(|e| e.bytes(self.siblings().as_flattened()));
    }

    /// Reads the two values that follow the signature.
    pub(super) fn decode(d: &mut Decoder<'_>) -> Result<Self, decode::Error> {
        let left_sides = d.u8()?;
        let bytes = d.bytes()?;
        let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
        if !rest.is_empty() || hashes.is_empty() || hashes.len() > MAX_DEPTH {
            return Err(decode::Error::message("the way to a batch's signature is 1 to 6 hashes"));
        }
        if usize::from(left_sides) >= 1 << hashes.len() {
            return Err(decode::Error::message("a side without a hash"));
        }
        let mut proof = Proof::default();
        for (level, hash) in hashes.iter().enumerate() {
            proof.push(*hash, left_sides >> level & 1 == 1);
        }
        Ok(proof)
    }
}

/// The hash of an inner node.
fn node(left: &Hash, right: &Hash) -> Hash {
    let mut both = [0; 2 * HASH_BYTES];
    let (l, r) = both.split_at_mut(HASH_BYTES);
    l.copy_from_slice(left);
    r.copy_from_slice(right);
    blake3::derive_key(GROUP_DOMAIN, &both)
}

/// The root over some leaves, and the path from each of them. A node without a sibling is its own
/// parent.
pub(super) fn group(leaves: &[Hash]) -> (Hash, Vec<Proof>) {
    let mut proofs = vec![Proof::default(); leaves.len()];
    let mut level = leaves.to_vec();
    // The index of the node of the present level that each leaf is under.
    let mut under: Vec<usize> = (0..leaves.len()).collect();
    while level.len() > 1 {
        for (proof, place) in proofs.iter_mut().zip(&mut under) {
            if let Some(sibling) = level.get(*place ^ 1) {
                proof.push(*sibling, *place & 1 == 1);
            }
            *place /= 2;
        }
        let parents = level.chunks(2).filter_map(|pair| match pair {
            [left, right] => Some(node(left, right)),
            [alone] => Some(*alone),
            _ => None,
        });
        level = parents.collect();
    }
    (level.first().copied().unwrap_or_default(), proofs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(n: usize) -> Vec<Hash> {
        (0..n).map(|i| blake3::derive_key("test", &i.to_le_bytes())).collect()
    }

    fn over_the_wire(proof: &Proof) -> Result<Proof, decode::Error> {
        let mut bytes = Vec::new();
        proof.encode(&mut Encoder::new(&mut bytes));
        Proof::decode(&mut Decoder::new(&bytes))
    }

    #[test]
    fn each_leaf_of_each_group_leads_to_the_root_and_no_other_hash_does() {
        for n in 1..=MAX_GROUP {
            let leaves = leaves(n);
            let (root, proofs) = group(&leaves);
            assert_eq!(proofs.len(), n);
            for (leaf, proof) in leaves.iter().zip(&proofs) {
                assert_eq!(proof.root(*leaf), root, "{n} leaves");
                assert_eq!(proof.is_empty(), n == 1);
                if n > 1 {
                    assert_eq!(over_the_wire(proof).unwrap(), *proof);
                }
                let mut other = *leaf;
                other[0] ^= 1;
                assert_ne!(proof.root(other), root);
            }
        }
    }

    #[test]
    fn inner_node_is_no_leaf() {
        // To present the hash of two batches as a batch, an attacker would need a body with that
        // hash in the domain of batches.
        let [a, b] = [[1; 32], [2; 32]];
        let both = [a, b].concat();
        assert_ne!(node(&a, &b), blake3::derive_key("rumor/1 batch", &both));
    }

    #[test]
    fn malformed_proofs_are_refused() {
        let read = |left_sides: u8, bytes: &[u8]| {
            let mut v = Vec::new();
            let _ = Encoder::new(&mut v).u8(left_sides).and_then(|e| e.bytes(bytes));
            Proof::decode(&mut Decoder::new(&v)).is_ok()
        };
        assert!(read(1, &[0; 32]) && read(0, &[0; 6 * 32]));
        assert!(!read(0, &[]) && !read(0, &[0; 31]) && !read(0, &[0; 33]));
        assert!(!read(0, &[0; 7 * 32]), "too long");
        assert!(!read(2, &[0; 32]), "a side without a hash");
    }
}
