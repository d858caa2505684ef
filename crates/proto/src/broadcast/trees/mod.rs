//! Broadcast trees: which links carry the batches of which publishers.
//!
//! Every publisher has its own tree, as Plumtree (Leitao, Pereira, Rodrigues 2007) has one for its
//! single sender. A peer knows only its own position in a tree: the *parent*, the neighbour that
//! sends the publisher's batches, and the *lazy* links, which carry announcements only. All other
//! links are eager.
//!
//! - The batches of an unknown publisher are flooded. The link of its first batch leads to the
//!   parent; a link with a duplicate becomes lazy, in both directions. The eager links that
//!   are left are the tree of shortest paths of that flood.
//! - After that, batches change nothing: with several changes at once, duplicates would destroy the
//!   tree from all sides. A parent is left if its link ends, if it is suspected, or if other
//!   neighbours send batches before it does, several times in a row.
//! - A peer that loses its parent without a replacement (an orphaned publisher) grafts on all its
//!   neighbours. It cannot know which of them are in its own subtree; those take the graft of their
//!   parent for a loss of their own, and do the same. So every link that leads out of the orphaned
//!   subtree carries batches again, and the first batch selects one of them.
//! - Now and then, a publisher marks a batch as exploring: it goes over all links, and the first
//!   link on which it arrives leads to the parent from then on. Among peers that follow it, a
//!   parent is nearer to the publisher in time than its child, so they are on no cycle, and trees
//!   follow the present delays. A cycle that forms otherwise ends after some batches, since pulled
//!   batches do not count in favour of a parent.
//!
//! The batches of a forgotten publisher are flooded again. At rest no frame is sent for trees.

mod links;
mod slots;
#[cfg(test)]
mod tests;

use core::time::Duration;

use crate::identity::PeerId;
use crate::limits::{MAX_GRAFT_PUBLISHERS, MAX_TREES};
use crate::small::GrowMap;
use crate::snapshot::TreeView;
use crate::time::Time;
use crate::wire::ack_token;

use slots::{NeighbourIndex, NeighbourSlot, SlotSet};

/// How often in a row other neighbours have to send batches before the parent does.
const MAX_MISSES: u8 = 3;
/// Misses in shorter intervals count as one: the batches of one gap are pulled separately.
const MISS_INTERVAL: Duration = Duration::from_millis(200);
/// A parent is late if another neighbour announced a batch so long before: the delay of several
/// links, and more than announcements are gathered for.
const LATE_BY: Duration = Duration::from_millis(300);
/// How often in a row the parent has to be late before the other neighbour becomes the parent.
const MAX_LATE: u8 = 3;
/// Exploring batches that follow each other faster are not followed.
const MIN_EXPLORE_INTERVAL: Duration = Duration::from_secs(5);
/// Shortest time between two prunes to one neighbour: duplicates may have been in flight meanwhile.
const PRUNE_INTERVAL: Duration = Duration::from_secs(1);
/// A graft lists what this peer has of publishers whose last batch arrived so lately: a batch may
/// have been missed meanwhile. Batches of others that are being spread are announced to a peer that
/// grafts.
const RECENT_BATCH: Duration = Duration::from_secs(10);

/// How a batch arrived at this peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArrivalKind {
    /// Pushed along the tree.
    Pushed,
    /// Pushed over all links, to find the shortest paths.
    Exploring,
    /// Pulled by this peer; its parent should have pushed it.
    Pulled,
    /// Pulled by another peer, and passed on to children that seem to lack it.
    PulledUpstream,
    /// Too old to say anything about the path of the next batch.
    History,
}

impl ArrivalKind {
    /// The kind of arrival of a batch with this age.
    pub(crate) const fn of(
        age: Duration,
        pulled: bool,
        requested: bool,
        explores: bool,
    ) -> ArrivalKind {
        if age.as_millis() >= RECENT_BATCH.as_millis() {
            ArrivalKind::History
        } else if pulled && requested {
            ArrivalKind::Pulled
        } else if pulled {
            ArrivalKind::PulledUpstream
        } else if explores {
            ArrivalKind::Exploring
        } else {
            ArrivalKind::Pushed
        }
    }

    /// Whether a peer on the path had to pull it.
    pub(crate) const fn was_pulled(self) -> bool {
        matches!(self, ArrivalKind::Pulled | ArrivalKind::PulledUpstream)
    }
}

/// A frame to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TreeAction {
    /// Asks for the publishers' batches. Of the `recent` publishers, batches may have been missed.
    Graft { to: PeerId, publishers: Vec<u64>, recent: Vec<PeerId> },
    /// Asks for announcements of the publishers' batches only.
    Prune { to: PeerId, publishers: Vec<u64> },
}

/// This peer's position in the tree of one publisher.
#[derive(Debug)]
struct Tree {
    publisher: PeerId,
    /// The neighbour that sends the batches. `None` at the publisher itself, and while it is
    /// orphaned.
    parent: Option<NeighbourSlot>,
    /// Links that carry announcements only; the parent is always among them.
    lazy: SlotSet,
    /// Neighbours that have grafted on this peer.
    grafted: SlotSet,
    /// Neighbours that were pruned since `pruned_at`.
    pruned: SlotSet,
    pruned_at: Time,
    /// Another neighbour that has sent a batch before the parent did.
    faster_neighbour: Option<NeighbourSlot>,
    misses: u8,
    missed_at: Time,
    /// How often in a row the parent was late.
    times_late: u8,
    /// Whether the present parent has pushed a batch, and when it last did.
    parent_pushes: bool,
    pushed_at: Time,
    last_used: Time,
    explored_at: Time,
}

impl Tree {
    fn new(publisher: PeerId, now: Time) -> Self {
        Tree {
            publisher,
            parent: None,
            lazy: SlotSet::default(),
            grafted: SlotSet::default(),
            pruned: SlotSet::default(),
            pruned_at: Time::ZERO,
            faster_neighbour: None,
            misses: 0,
            missed_at: Time::ZERO,
            times_late: 0,
            parent_pushes: false,
            pushed_at: Time::ZERO,
            last_used: now,
            explored_at: now,
        }
    }

    fn token(&self) -> u64 {
        ack_token(&self.publisher)
    }

    /// Sets another parent. Returns the previous one.
    fn set_parent(&mut self, parent: NeighbourSlot) -> Option<NeighbourSlot> {
        self.set_lazy(parent);
        (self.faster_neighbour, self.misses, self.times_late, self.parent_pushes) =
            (None, 0, 0, false);
        self.parent.replace(parent)
    }

    /// Clears the parent. Earlier misses say nothing about the next one.
    fn clear_parent(&mut self) {
        (self.parent, self.faster_neighbour) = (None, None);
        (self.misses, self.times_late, self.parent_pushes) = (0, 0, false);
    }

    /// Makes a link lazy.
    fn set_lazy(&mut self, slot: NeighbourSlot) {
        self.lazy.insert(slot);
        self.grafted.remove(slot);
    }

    /// Records that another neighbour sent a batch before the parent. Returns whether this is the
    /// last miss that is tolerated.
    fn record_miss(&mut self, now: Time) -> bool {
        if self.misses == 0 || now.since(self.missed_at) >= MISS_INTERVAL {
            self.misses += 1;
            self.missed_at = now;
        }
        self.misses >= MAX_MISSES
    }
}

/// The positions of a peer in all trees.
#[derive(Debug)]
pub(crate) struct Trees {
    me: PeerId,
    /// By the publisher's token.
    all: GrowMap<u64, Tree>,
    neighbours: NeighbourIndex,
    /// Batches go over all links anyway: no neighbour is pruned for duplicates.
    floods: bool,
}

impl Trees {
    pub(crate) fn new(me: PeerId, floods: bool) -> Self {
        Trees { me, all: GrowMap::new(), neighbours: NeighbourIndex::default(), floods }
    }

    fn get(&self, publisher: &PeerId) -> Option<&Tree> {
        self.all.get(&ack_token(publisher))
    }

    /// The neighbour that sends a publisher's batches.
    pub(crate) fn parent(&self, publisher: &PeerId) -> Option<PeerId> {
        self.neighbours.id(self.get(publisher)?.parent?)
    }

    /// Whether the parent has pushed batches lately. In a cycle of parents it does not.
    pub(crate) fn parent_pushes(&self, publisher: &PeerId, now: Time) -> bool {
        let lately = |t: &Tree| t.parent_pushes && now.since(t.pushed_at) < RECENT_BATCH;
        self.get(publisher).is_some_and(lately)
    }

    /// The neighbours that get a publisher's batches from this peer: all of them for an unknown
    /// publisher.
    pub(crate) fn children(&self, publisher: &PeerId) -> Vec<PeerId> {
        let tree = self.get(publisher);
        let gets = |slot: &NeighbourSlot| tree.is_none_or(|t| !t.lazy.contains(*slot));
        let ids = self.neighbours.all().filter(gets).filter_map(|slot| self.neighbours.id(slot));
        ids.filter(|id| id != publisher).collect()
    }

    /// Whether a neighbour is a child.
    pub(crate) fn is_child(&self, neighbour: &PeerId, publisher: &PeerId) -> bool {
        let tree = self.get(publisher);
        let slot = self.neighbours.find(neighbour);
        let gets = |slot| tree.is_none_or(|t| !t.lazy.contains(slot));
        neighbour != publisher && slot.is_some_and(gets)
    }

    /// Whether an exploring batch is to be followed: not so soon after the last one.
    pub(crate) fn may_explore(&self, publisher: &PeerId, now: Time) -> bool {
        self.get(publisher).is_none_or(|t| now.since(t.explored_at) >= MIN_EXPLORE_INTERVAL)
    }

    /// Handles the first copy of a batch.
    pub(crate) fn on_first(
        &mut self,
        publisher: PeerId,
        from: Option<PeerId>,
        kind: ArrivalKind,
        now: Time,
    ) -> Vec<TreeAction> {
        // An old batch says nothing about paths.
        if kind == ArrivalKind::History {
            return Vec::new();
        }
        let from = from.and_then(|id| self.neighbours.find(&id));
        let token = ack_token(&publisher);
        // A new tree: the sender is the parent.
        if !self.all.contains_key(&token) {
            self.evict_if_full();
            self.all.insert(token, Tree::new(publisher, now));
            if publisher == self.me {
                return Vec::new();
            }
            let pushed = from.filter(|_| !kind.was_pulled());
            let Some((from, tree)) = pushed.zip(self.all.get_mut(&token)) else {
                // The neighbours may remember a position of this peer that it has forgotten.
                return self.graft_on_all(&[token], now);
            };
            tree.set_parent(from);
            return self.graft_on_sender(from, token).into_iter().collect();
        }
        let Some(tree) = self.all.get_mut(&token) else { return Vec::new() };
        tree.last_used = now;
        if kind == ArrivalKind::Exploring {
            tree.explored_at = now;
        }
        let Some(from) = from.filter(|_| publisher != self.me) else { return Vec::new() };
        let is_parent = tree.parent == Some(from);
        if is_parent && kind != ArrivalKind::Pulled {
            // A batch that the parent had to pull says nothing: in a cycle, it may be this peer's
            // own answer. A batch that went over all links says nothing about the tree.
            if kind == ArrivalKind::Pushed {
                tree.misses = 0;
                (tree.parent_pushes, tree.pushed_at) = (true, now);
            }
            return Vec::new();
        }
        // A pulled batch counts as a miss of the parent.
        if kind.was_pulled() {
            // The sender may have pulled it as well, from the subtree of this peer: it may lead
            // nowhere.
            if !tree.record_miss(now) {
                return Vec::new();
            }
            if core::mem::take(&mut tree.parent_pushes) {
                // The parent has pushed batches, but late: there may be more to send over its links
                // than they carry. If no batch is pushed until the next misses, the parent is
                // orphaned itself.
                tree.misses = 0;
                let may_lead = kind == ArrivalKind::Pulled && !tree.grafted.contains(from);
                return if may_lead { self.switch_parent(from, token, now) } else { Vec::new() };
            }
            tree.clear_parent();
            return self.graft_on_all(&[token], now);
        }
        let waits_for_batches = tree.grafted.contains(from);
        if waits_for_batches && !tree.record_miss(now) {
            // The sender is a child, and sent this batch before it became one: grafts overtake
            // batches on a link. Once it has another parent, it prunes first, unless it has
            // forgotten its graft.
            return Vec::new();
        }
        if tree.parent.is_some() && kind == ArrivalKind::Pushed {
            tree.faster_neighbour = Some(from);
            if !tree.record_miss(now) {
                return Vec::new();
            }
        }
        // The sender becomes the parent.
        let mut actions = Vec::new();
        let old = tree.set_parent(from);
        if waits_for_batches {
            // After a second graft, a child answers if it still is one.
            actions.extend(self.prune(from, token, now));
        }
        match old {
            Some(old) => {
                actions.extend(self.graft([from], &[token], now));
                actions.extend(self.prune(old, token, now));
            }
            // The publisher was orphaned: this peer has grafted on all neighbours.
            None => {
                actions.extend(self.graft_on_sender(from, token));
                let others: Vec<NeighbourSlot> =
                    self.neighbours.all().filter(|n| *n != from).collect();
                actions.extend(others.into_iter().filter_map(|n| self.prune(n, token, now)));
            }
        }
        actions
    }

    /// A batch arrived along the tree that a neighbour had announced so long before. If that is
    /// late several times in a row, the neighbour is the better parent: it had the batch without
    /// this peer.
    pub(crate) fn on_announced_earlier(
        &mut self,
        publisher: &PeerId,
        neighbour: PeerId,
        by: Duration,
        now: Time,
    ) -> Vec<TreeAction> {
        let token = ack_token(publisher);
        let Some(slot) = self.neighbours.find(&neighbour) else { return Vec::new() };
        let Some(tree) = self.all.get_mut(&token) else { return Vec::new() };
        if by < LATE_BY {
            tree.times_late = 0;
            return Vec::new();
        }
        // A child does not become the parent.
        let may_lead = tree.parent.is_some_and(|p| p != slot) && !tree.grafted.contains(slot);
        if self.floods || !may_lead {
            return Vec::new();
        }
        tree.times_late += 1;
        if tree.times_late < MAX_LATE { Vec::new() } else { self.switch_parent(slot, token, now) }
    }

    /// A batch arrived along the tree that no neighbour had announced. If the parent sent it, that
    /// was in time.
    pub(crate) fn on_first_from(&mut self, publisher: &PeerId, from: PeerId) {
        let slot = self.neighbours.find(&from);
        let tree = self.all.get_mut(&ack_token(publisher));
        if let Some(tree) = tree.filter(|t| slot.is_some() && t.parent == slot) {
            tree.times_late = 0;
        }
    }

    /// Grafts on the new parent and prunes the old one. The new parent may also be the present one,
    /// which takes this peer for one that needs no batches.
    fn switch_parent(&mut self, parent: NeighbourSlot, token: u64, now: Time) -> Vec<TreeAction> {
        let Some(tree) = self.all.get_mut(&token) else { return Vec::new() };
        let old = tree.set_parent(parent);
        let mut actions = self.graft([parent], &[token], now);
        let old = old.filter(|old| *old != parent);
        actions.extend(old.and_then(|old| self.prune(old, token, now)));
        actions
    }

    /// Handles a duplicate, along its tree or over all links.
    pub(crate) fn on_duplicate(
        &mut self,
        publisher: PeerId,
        from: PeerId,
        kind: ArrivalKind,
        now: Time,
    ) -> Option<TreeAction> {
        let slot = self.neighbours.find(&from)?;
        let token = ack_token(&publisher);
        let floods = self.floods;
        let tree = self.all.get_mut(&token)?;
        let parent = tree.parent?;
        if parent == slot {
            // A duplicate over all links, or one that was pulled, says nothing about the tree.
            if kind != ArrivalKind::Pushed {
                return None;
            }
            // The parent was only late; the faster neighbour need not send the batch as well.
            (tree.parent_pushes, tree.pushed_at) = (true, now);
            if now.since(tree.missed_at) < LATE_BY {
                tree.misses = 0;
            }
            let faster_neighbour = tree.faster_neighbour.take().filter(|_| !floods)?;
            return self.prune(faster_neighbour, token, now);
        }
        if kind == ArrivalKind::History {
            return None;
        }
        // The publisher is not sent its own batches, so it sees no duplicates, and it waits for
        // reports of its children.
        let is_publisher = from == publisher;
        let is_lazy = tree.lazy.contains(slot) || tree.grafted.contains(slot) || is_publisher;
        if !is_lazy {
            // Each end has got the batch from the other again, so both make the link lazy.
            tree.lazy.insert(slot);
            return None;
        }
        if (kind == ArrivalKind::Exploring || floods) && !is_publisher {
            // The batch goes over lazy links as well.
            return None;
        }
        let lately = floods || now.since(tree.pruned_at) < PRUNE_INTERVAL;
        if tree.pruned.contains(slot) && lately { None } else { self.prune(slot, token, now) }
    }

    /// Grafts on these neighbours for these trees, in frames of at most [`MAX_GRAFT_PUBLISHERS`]
    /// publishers.
    fn graft(
        &mut self,
        to: impl IntoIterator<Item = NeighbourSlot>,
        tokens: &[u64],
        now: Time,
    ) -> Vec<TreeAction> {
        let to: Vec<NeighbourSlot> = to.into_iter().collect();
        let mut actions = Vec::new();
        for publishers in tokens.chunks(MAX_GRAFT_PUBLISHERS) {
            let mut recent = Vec::new();
            for token in publishers {
                let Some(tree) = self.all.get_mut(token) else { continue };
                to.iter().for_each(|slot| tree.pruned.remove(*slot));
                if now.since(tree.last_used) < RECENT_BATCH {
                    recent.push(tree.publisher);
                }
            }
            for to in to.iter().filter_map(|slot| self.neighbours.id(*slot)) {
                let (publishers, recent) = (publishers.to_vec(), recent.clone());
                actions.push(TreeAction::Graft { to, publishers, recent });
            }
        }
        actions
    }

    /// Grafts on a parent that sends batches already. Its last batch may have come over a link that
    /// is lazy for the next one, or the parent may take this peer for one that needs none, or be
    /// orphaned meanwhile.
    fn graft_on_sender(&mut self, parent: NeighbourSlot, token: u64) -> Option<TreeAction> {
        self.all.get_mut(&token)?.pruned.remove(parent);
        let to = self.neighbours.id(parent)?;
        Some(TreeAction::Graft { to, publishers: vec![token], recent: Vec::new() })
    }

    /// Prunes a neighbour, and remembers that for a while.
    fn prune(&mut self, to: NeighbourSlot, token: u64, now: Time) -> Option<TreeAction> {
        let tree = self.all.get_mut(&token)?;
        if now.since(tree.pruned_at) >= PRUNE_INTERVAL {
            (tree.pruned, tree.pruned_at) = (SlotSet::default(), now);
        }
        tree.pruned.insert(to);
        Some(TreeAction::Prune { to: self.neighbours.id(to)?, publishers: vec![token] })
    }

    // ---- neighbours ------------------------------------------------------------------------

    /// Whether this peer has a position in a publisher's tree.
    pub(crate) fn knows(&self, publisher: &PeerId) -> bool {
        self.get(publisher).is_some()
    }

    // ---- publishers ------------------------------------------------------------------------

    /// Forgets the tree of a publisher that is dead or has left.
    pub(crate) fn remove_publisher(&mut self, publisher: &PeerId) {
        self.all.remove(&ack_token(publisher));
    }

    /// Evicts a part of the least recently used trees if there are too many.
    fn evict_if_full(&mut self) {
        if self.all.len() < MAX_TREES {
            return;
        }
        let others = self.all.values().filter(|t| t.publisher != self.me);
        let mut by_use: Vec<(Time, u64)> = others.map(|t| (t.last_used, t.token())).collect();
        by_use.sort_unstable();
        for (_, token) in by_use.iter().take(MAX_TREES / 16) {
            self.all.remove(token);
        }
    }

    /// The positions of this peer, for views.
    pub(crate) fn views(&self) -> Vec<TreeView> {
        let view = |t: &Tree| TreeView {
            publisher: t.publisher,
            parent: t.parent.and_then(|slot| self.neighbours.id(slot)),
            children: self.children(&t.publisher),
        };
        self.all.values().map(view).collect()
    }
}
