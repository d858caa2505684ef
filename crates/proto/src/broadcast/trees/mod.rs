//! Beacon trees: which links carry payloads.
//!
//! A payload rides the edges of a tree in both directions, so a message costs one copy a peer. A
//! tree is made by the beacons of its root alone: the first link that a beacon comes in on leads to
//! the root. Plumtree (Leitao, Pereira, Rodrigues 2007) lets every duplicate change the tree, and
//! with several publishers at once their messages tear at it from all sides (1.3 to 1.8 copies a
//! peer, measured); here data never changes a tree.
//!
//! There are [`SHARED`] trees, and a publisher's id decides which one it uses; a publisher of much
//! roots one of its own.

mod lost;
mod root;
mod round;
mod tree;

use crate::identity::{Identity, PeerId};
use crate::limits::MAX_OWN_TREES;
use crate::random::Stream;
use crate::small::VecMap;
use crate::time::Time;
use crate::wire::{Beacon, Prune, TreeId};

pub(crate) use root::Candidates;
pub(crate) use tree::Act;
use tree::Tree;

/// Shared trees.
pub(crate) const SHARED: u8 = 4;

/// How a batch travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    /// Whether it rides its publisher's own tree.
    pub(crate) own_tree: bool,
    pub(crate) publisher: PeerId,
}

impl Route {
    /// The shared tree of a publisher.
    fn shared(self) -> TreeId {
        TreeId::Shared(self.publisher.as_bytes().last().map_or(0, |b| b % SHARED))
    }

    fn tree(self) -> TreeId {
        if self.own_tree { TreeId::Own(self.publisher) } else { self.shared() }
    }
}

/// All trees that a peer takes part in.
#[derive(Debug)]
pub(crate) struct Trees {
    all: VecMap<TreeId, Tree>,
    /// Neighbours, and whether they give signs of life.
    neighbours: VecMap<PeerId, bool>,
    rng: Stream,
}

impl Trees {
    pub(crate) fn new(rng: Stream) -> Self {
        let shared = (0..SHARED).map(TreeId::Shared);
        let all = shared.map(|id| (id, Tree::new(id))).collect();
        Trees { all, neighbours: VecMap::new(), rng }
    }

    /// The tree that carries a route here: where a publisher's own is not known, the shared one.
    fn carrying(&self, route: Route) -> Option<&Tree> {
        let own = self.all.get(&route.tree()).filter(|t| t.is_rooted());
        own.or_else(|| self.all.get(&route.shared()))
    }

    /// The neighbours that a batch goes to. Before there is a tree, and until those who want to ride
    /// it have said so, that is everybody.
    pub(crate) fn riders(&self, route: Route, now: Time) -> Vec<PeerId> {
        match self.carrying(route).filter(|t| t.is_settled(now)) {
            Some(tree) => tree.riders().collect(),
            None => self.neighbours.keys().copied().collect(),
        }
    }

    /// Whether a neighbour gets a batch by itself.
    pub(crate) fn rides(&self, neighbour: PeerId, route: Route, now: Time) -> bool {
        match self.carrying(route).filter(|t| t.is_settled(now)) {
            Some(tree) => tree.is_rider(neighbour),
            None => true,
        }
    }

    /// Payload rides a tree: its root beacons more often while that is so.
    pub(crate) fn used(&mut self, route: Route, bytes: u64, now: Time) {
        if let Some(tree) = self.all.get_mut(&route.tree()) {
            tree.used(bytes, now);
        }
    }

    pub(crate) fn link_up(&mut self, neighbour: PeerId, now: Time) -> Vec<Act> {
        self.neighbours.insert(neighbour, true);
        let rng = &mut self.rng;
        self.all.values_mut().flat_map(|t| t.link_up(neighbour, now, rng)).collect()
    }

    pub(crate) fn link_down(&mut self, neighbour: PeerId) -> Vec<Act> {
        self.neighbours.remove(&neighbour);
        let neighbours = &self.neighbours;
        let ended = |t: &mut Tree| t.cut(neighbour, neighbours);
        self.all.values_mut().flat_map(ended).collect()
    }

    /// A neighbour gives no sign of life: what comes through it is fetched from others.
    pub(crate) fn suspect(&mut self, neighbour: PeerId) -> Vec<Act> {
        if let Some(lively) = self.neighbours.get_mut(&neighbour) {
            *lively = false;
        }
        let neighbours = &self.neighbours;
        let away = |t: &mut Tree| t.leave_parent(neighbour, neighbours);
        self.all.values_mut().flat_map(away).collect()
    }

    /// It lives after all.
    pub(crate) fn trust(&mut self, neighbour: PeerId) -> Vec<Act> {
        let Some(lively) = self.neighbours.get_mut(&neighbour) else { return Vec::new() };
        *lively = true;
        self.all.values_mut().flat_map(|t| t.return_to(neighbour)).collect()
    }

    /// A peer is dead or has left: if it is a root, another has to be found.
    pub(crate) fn gone(&mut self, peer: PeerId, now: Time) {
        for tree in self.all.values_mut() {
            tree.root_gone(peer, now, &mut self.rng);
        }
    }

    pub(crate) fn on_beacon(
        &mut self,
        me: PeerId,
        from: PeerId,
        beacon: &Beacon,
        now: Time,
    ) -> Vec<Act> {
        let id = beacon.body.tree;
        match id {
            TreeId::Shared(n) if n >= SHARED => return Vec::new(),
            TreeId::Own(_) if !self.all.contains_key(&id) => {
                self.forget_ended(now);
                if self.all.len() >= MAX_OWN_TREES + usize::from(SHARED) {
                    return Vec::new();
                }
                self.all.insert(id, Tree::new(id));
            }
            _ => {}
        }
        let Some(tree) = self.all.get_mut(&id) else { return Vec::new() };
        tree.on_beacon(me, from, beacon, &self.neighbours, now)
    }

    /// Lets go of the trees of publishers that root none any more.
    fn forget_ended(&mut self, now: Time) {
        self.all.retain(|id, t| matches!(id, TreeId::Shared(_)) || !t.has_ended(now));
    }

    /// A neighbour wants to ride; `astray` if it has lost the way that it had. `None` if the tree is
    /// not known here: then there are no riders to be sent anything.
    pub(crate) fn on_graft(
        &mut self,
        from: PeerId,
        id: TreeId,
        astray: bool,
        now: Time,
    ) -> Option<Vec<Act>> {
        let tree = self.all.get_mut(&id)?;
        Some(tree.on_graft(from, astray, &self.neighbours, now))
    }

    pub(crate) fn on_grafted(&mut self, from: PeerId, id: TreeId, now: Time) -> Vec<Act> {
        let neighbours = &self.neighbours;
        self.all.get_mut(&id).map(|t| t.on_grafted(from, neighbours, now)).unwrap_or_default()
    }

    pub(crate) fn on_prune(&mut self, from: PeerId, prune: &Prune) {
        if let Some(tree) = self.all.get_mut(&prune.tree) {
            tree.on_prune(from);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.all.values().filter_map(Tree::deadline).min()
    }

    pub(crate) fn on_timeout(&mut self, with: &Candidates<'_>, now: Time) -> Vec<Act> {
        let (neighbours, rng) = (&self.neighbours, &mut self.rng);
        let mut acts = Vec::new();
        for tree in self.all.values_mut() {
            acts.extend(tree.on_timeout(with, neighbours, now, rng));
        }
        self.forget_ended(now);
        acts
    }

    /// Roots a tree of one's own, for publishing much.
    pub(crate) fn root_own(&mut self, identity: &Identity, now: Time) {
        let id = TreeId::Own(identity.id());
        self.all.get_or_insert(id, || Tree::new(id)).become_root(now);
    }

    /// Whether one's own tree has been there for long enough that others know it.
    pub(crate) fn own_is_settled(&self, me: PeerId, now: Time) -> bool {
        self.all.get(&TreeId::Own(me)).is_some_and(|t| t.is_settled_root(now))
    }

    /// One's own tree is not needed any more.
    pub(crate) fn end_own(&mut self, me: PeerId) {
        self.all.remove(&TreeId::Own(me));
    }

    /// Root, depth, parents and children of each tree, as views show them.
    pub(crate) fn views(&self, me: PeerId) -> Vec<crate::snapshot::TreeView> {
        self.all.values().filter(|t| t.is_rooted()).map(|t| t.view(me)).collect()
    }
}
