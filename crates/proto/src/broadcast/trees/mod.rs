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
mod near;
mod root;
mod round;
mod tree;

use core::cell::Cell;
use core::time::Duration;

use crate::identity::{Identity, PeerId};
use crate::limits::MAX_OWN_TREES;
use crate::random::Stream;
use crate::time::Time;
use crate::wire::{Beacon, Prune, TreeId};

use near::{Near, Nearby};
pub(crate) use root::Candidates;
use round::is_news;
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

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act<To = PeerId> {
    /// The beacon.
    Tell { to: To, beacon: Beacon },
    /// Become a child. With `catch_up`, the way was lost, and with it what was on it; else the old
    /// parent goes on until the new one has begun.
    Graft { to: To, tree: TreeId, catch_up: bool },
    /// Stop being one.
    Prune { to: To, tree: TreeId },
}

impl Act<Near> {
    fn named(self, neighbours: &Nearby) -> Option<Act> {
        Some(match self {
            Act::Tell { to, beacon } => Act::Tell { to: neighbours.id(to)?, beacon },
            Act::Graft { to, tree, catch_up } => {
                Act::Graft { to: neighbours.id(to)?, tree, catch_up }
            }
            Act::Prune { to, tree } => Act::Prune { to: neighbours.id(to)?, tree },
        })
    }
}

/// All trees that a peer takes part in.
#[derive(Debug)]
pub(crate) struct Trees {
    /// The shared ones and those of publishers, ascending.
    all: Vec<Tree>,
    neighbours: Nearby,
    rng: Stream,
    /// The deadline, once it was asked for and until a tree changes.
    deadline: Cell<Option<Option<Time>>>,
}

impl Trees {
    pub(crate) fn new(rng: Stream) -> Self {
        let shared = (0..SHARED).map(TreeId::Shared);
        Trees {
            all: shared.map(Tree::new).collect(),
            neighbours: Nearby::default(),
            rng,
            deadline: Cell::new(None),
        }
    }

    fn find(&self, id: TreeId) -> Result<usize, usize> {
        self.all.binary_search_by(|t| t.id.cmp(&id))
    }

    fn get(&self, id: TreeId) -> Option<&Tree> {
        self.all.get(self.find(id).ok()?)
    }

    fn get_mut(&mut self, id: TreeId) -> Option<&mut Tree> {
        let at = self.find(id).ok()?;
        self.deadline.set(None);
        self.all.get_mut(at)
    }

    /// Whether there is no room to follow the own tree of another publisher.
    pub(crate) fn is_full_for(&self, id: TreeId) -> bool {
        let full = self.all.len() >= MAX_OWN_TREES + usize::from(SHARED);
        full && matches!(id, TreeId::Own(_)) && self.get(id).is_none()
    }

    /// The tree, made if there is none.
    fn get_or_make(&mut self, id: TreeId) -> &mut Tree {
        self.deadline.set(None);
        let at = self.find(id).unwrap_or_else(|at| {
            self.all.insert(at, Tree::new(id));
            at
        });
        &mut self.all[at]
    }

    /// What one tree wants to be sent, with the names of those that it is for.
    fn named(&self, acts: Vec<Act<Near>>) -> Vec<Act> {
        acts.into_iter().filter_map(|a| a.named(&self.neighbours)).collect()
    }

    /// Asks all trees what is to be sent.
    fn each(
        &mut self,
        mut ask: impl FnMut((&mut Tree, &Nearby, &mut Stream)) -> Vec<Act<Near>>,
    ) -> Vec<Act> {
        let Trees { all, neighbours, rng, deadline } = self;
        deadline.set(None);
        let mut acts = Vec::new();
        for tree in all {
            let told = ask((tree, neighbours, rng));
            acts.extend(told.into_iter().filter_map(|a| a.named(neighbours)));
        }
        acts
    }

    /// The tree that carries a route here: where a publisher's own is not known, the shared one.
    fn carrying(&self, route: Route) -> Option<&Tree> {
        let own = self.get(route.tree()).filter(|t| t.is_rooted());
        own.or_else(|| self.get(route.shared()))
    }

    /// The neighbours that a batch goes to. Before there is a tree, and until those who want to ride
    /// it have said so, that is everybody.
    pub(crate) fn riders(&self, route: Route, now: Time) -> Vec<PeerId> {
        match self.carrying(route).filter(|t| t.is_settled(now)) {
            Some(tree) => tree.riders().filter_map(|p| self.neighbours.id(p)).collect(),
            None => self.neighbours.ids().collect(),
        }
    }

    /// Whether a neighbour gets a batch by itself.
    pub(crate) fn rides(&self, neighbour: PeerId, route: Route, now: Time) -> bool {
        match self.carrying(route).filter(|t| t.is_settled(now)) {
            Some(tree) => self.neighbours.find(&neighbour).is_some_and(|p| tree.is_rider(p)),
            None => true,
        }
    }

    /// Payload rides a tree: its root beacons more often while that is so.
    pub(crate) fn used(&mut self, route: Route, bytes: u64, now: Time) {
        if let Some(tree) = self.get_mut(route.tree()) {
            tree.used(bytes, now);
        }
    }

    pub(crate) fn link_up(&mut self, neighbour: PeerId, now: Time) -> Vec<Act> {
        let Some(near) = self.neighbours.set(neighbour, true) else { return Vec::new() };
        self.each(|(t, _, rng)| t.link_up(near, now, rng))
    }

    pub(crate) fn link_down(&mut self, neighbour: PeerId) -> Vec<Act> {
        let Some(near) = self.neighbours.find(&neighbour) else { return Vec::new() };
        self.neighbours.remove(near);
        self.each(|(t, neighbours, _)| t.cut(near, neighbours))
    }

    /// A neighbour gives no sign of life: what comes through it is fetched from others.
    pub(crate) fn suspect(&mut self, neighbour: PeerId) -> Vec<Act> {
        let Some(near) = self.neighbours.find(&neighbour) else { return Vec::new() };
        self.neighbours.set(neighbour, false);
        self.each(|(t, neighbours, _)| t.leave_parent(near, neighbours))
    }

    /// It lives after all.
    pub(crate) fn trust(&mut self, neighbour: PeerId) -> Vec<Act> {
        let Some(near) = self.neighbours.find(&neighbour) else { return Vec::new() };
        self.neighbours.set(neighbour, true);
        self.each(|(t, _, _)| t.return_to(near))
    }

    /// A peer is dead or has left: if it is a root, another has to be found.
    pub(crate) fn gone(&mut self, peer: PeerId, now: Time) {
        self.deadline.set(None);
        for tree in &mut self.all {
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
            TreeId::Own(_) if self.get(id).is_none() => {
                self.forget_ended(now);
                let age = Duration::from_millis(u64::from(beacon.age_ms));
                if !is_news(&beacon.body, age) {
                    return Vec::new();
                }
                if self.is_full_for(id) {
                    return Vec::new();
                }
                self.get_or_make(id);
            }
            _ => {}
        }
        let Some((tree, from, neighbours)) = self.at(id, from) else { return Vec::new() };
        let acts = tree.on_beacon(me, from, beacon, neighbours, now);
        self.named(acts)
    }

    /// A tree, and a neighbour's number.
    fn at(&mut self, id: TreeId, from: PeerId) -> Option<(&mut Tree, Near, &Nearby)> {
        let (at, from) = (self.find(id).ok()?, self.neighbours.find(&from)?);
        self.deadline.set(None);
        Some((self.all.get_mut(at)?, from, &self.neighbours))
    }

    /// Lets go of the trees of publishers that root none any more.
    fn forget_ended(&mut self, now: Time) {
        if self.all.len() > usize::from(SHARED) {
            self.deadline.set(None);
            self.all.retain(|t| matches!(t.id, TreeId::Shared(_)) || !t.has_ended(now));
        }
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
        let (tree, from, neighbours) = self.at(id, from)?;
        let acts = tree.on_graft(from, astray, neighbours, now);
        Some(self.named(acts))
    }

    pub(crate) fn on_grafted(&mut self, from: PeerId, id: TreeId, now: Time) -> Vec<Act> {
        let Some((tree, from, neighbours)) = self.at(id, from) else { return Vec::new() };
        let acts = tree.on_grafted(from, neighbours, now);
        self.named(acts)
    }

    pub(crate) fn on_prune(&mut self, from: PeerId, prune: &Prune) {
        if let Some((tree, from, _)) = self.at(prune.tree, from) {
            tree.on_prune(from);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let known = self.deadline.get();
        let deadline = known.unwrap_or_else(|| self.all.iter().filter_map(Tree::deadline).min());
        self.deadline.set(Some(deadline));
        deadline
    }

    pub(crate) fn on_timeout(&mut self, with: &Candidates<'_>, now: Time) -> Vec<Act> {
        let acts = self.each(|(t, neighbours, rng)| t.on_timeout(with, neighbours, now, rng));
        self.forget_ended(now);
        acts
    }

    /// Roots a tree of one's own, for publishing much.
    pub(crate) fn root_own(&mut self, identity: &Identity, now: Time) {
        let id = TreeId::Own(identity.id());
        self.get_or_make(id).become_root(now);
    }

    /// Whether one's own tree has been there for long enough that others know it.
    pub(crate) fn own_is_settled(&self, me: PeerId, now: Time) -> bool {
        self.get(TreeId::Own(me)).is_some_and(|t| t.is_settled_root(now))
    }

    /// One's own tree is not needed any more.
    pub(crate) fn end_own(&mut self, me: PeerId) {
        self.deadline.set(None);
        self.all.retain(|t| t.id != TreeId::Own(me));
    }

    /// Root, depth, parents and children of each tree, as views show them.
    pub(crate) fn views(&self, me: PeerId) -> Vec<crate::snapshot::TreeView> {
        let rooted = self.all.iter().filter(|t| t.is_rooted());
        rooted.map(|t| t.view(me, &self.neighbours)).collect()
    }
}
