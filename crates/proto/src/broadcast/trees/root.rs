//! Who roots a tree.

use crate::config::Config;
use crate::identity::{Identity, PeerId};
use crate::wire::{BeaconBody, TreeId};

/// Targets from here on count as equally well connected, so that not one hub roots every tree.
const WELL_CONNECTED: u16 = 8;

/// The rank of a root: among several, the highest one stands. A well-connected peer goes first,
/// then rendezvous hashing (Thaler and Ravishankar 1998) spreads the trees over them.
pub(crate) fn rank(tree: TreeId, root: &PeerId, target: u16) -> (u16, [u8; 32]) {
    let mut h = blake3::Hasher::new();
    h.update(b"rumor/1 root");
    match tree {
        TreeId::Shared(n) => h.update(&[n]),
        TreeId::Own(of) => h.update(of.as_bytes()),
    };
    h.update(root.as_bytes());
    (target.min(WELL_CONNECTED), *h.finalize().as_bytes())
}

/// What it takes to know whether this peer should root a tree, and to say so.
pub(crate) struct Candidates<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) incarnation: u64,
    pub(crate) target: u16,
    pub(crate) config: &'a Config,
    /// Other peers alive, with their targets.
    pub(crate) others: &'a dyn Fn() -> Vec<(PeerId, u16)>,
    /// Whether this peer may root anything: it has joined and does not leave.
    pub(crate) eligible: bool,
}

impl Candidates<'_> {
    /// How many of the others would go before this peer.
    pub(super) fn better(&self, tree: TreeId) -> usize {
        let mine = rank(tree, &self.identity.id(), self.target);
        (self.others)().iter().filter(|(id, target)| rank(tree, id, *target) > mine).count()
    }
}

/// Whether one root goes before another.
pub(super) fn goes_before(a: &BeaconBody, b: &BeaconBody) -> bool {
    rank(a.tree, &a.root, a.target) > rank(b.tree, &b.root, b.target)
}
