//! How links that come, go or change their kind move the trees.

use super::slots::NeighbourSlot;
use super::{Tree, TreeAction, Trees};
use crate::identity::PeerId;
use crate::limits::MAX_GRAFT_PUBLISHERS;
use crate::time::Time;

impl Trees {
    /// The orphaned publishers.
    fn orphaned(&self) -> Vec<u64> {
        let orphaned = self.all.values().filter(|t| t.parent.is_none() && t.publisher != self.me);
        orphaned.map(Tree::token).collect()
    }

    /// Leaves a parent. Returns the publishers that are orphaned by that.
    fn leave_parent(&mut self, parent: NeighbourSlot) -> Vec<u64> {
        let of = self.all.values_mut().filter(|t| t.parent == Some(parent));
        of.map(|t| {
            t.clear_parent();
            t.token()
        })
        .collect()
    }

    /// Adds a neighbour, and sends it Prune and Graft for the publishers that it need not or should
    /// send.
    pub(crate) fn link_up(&mut self, neighbour: PeerId, now: Time) -> Vec<TreeAction> {
        let Some(slot) = self.neighbours.insert(neighbour) else { return Vec::new() };
        // Batches with another parent are not needed from the new neighbour; batches of orphaned
        // publishers are. It sends the batches of publishers that are unknown here.
        let followed = self.all.values().filter(|t| t.parent.is_some() || t.publisher == self.me);
        let followed: Vec<u64> = followed.map(Tree::token).collect();
        let prunes = followed
            .chunks(MAX_GRAFT_PUBLISHERS)
            .map(|publishers| TreeAction::Prune { to: neighbour, publishers: publishers.to_vec() });
        let orphaned = self.orphaned();
        prunes.chain(self.graft([slot], &orphaned, now)).collect()
    }

    /// Removes a neighbour, and grafts on the others for the publishers that it orphans.
    pub(crate) fn link_down(&mut self, neighbour: PeerId, now: Time) -> Vec<TreeAction> {
        let Some(slot) = self.neighbours.find(&neighbour) else { return Vec::new() };
        let orphaned = self.leave_parent(slot);
        self.neighbours.remove(slot);
        for tree in self.all.values_mut() {
            // Another neighbour may get this slot.
            tree.lazy.remove(slot);
            tree.grafted.remove(slot);
            tree.pruned.remove(slot);
            tree.faster_neighbour.take_if(|r| *r == slot);
        }
        self.graft_on_all(&orphaned, now)
    }

    /// Leaves a suspected parent: its batches are fetched through others. If it was only late, its
    /// next batch makes it the parent again, unless another neighbour was first.
    pub(crate) fn on_suspect(&mut self, neighbour: PeerId, now: Time) -> Vec<TreeAction> {
        let Some(slot) = self.neighbours.find(&neighbour) else { return Vec::new() };
        let orphaned = self.leave_parent(slot);
        self.graft_on_all(&orphaned, now)
    }

    /// Handles a graft. Returns the publishers for which the child is new, and the frames to send.
    pub(crate) fn on_graft(
        &mut self,
        from: PeerId,
        publishers: &[u64],
        now: Time,
    ) -> (Vec<PeerId>, Vec<TreeAction>) {
        let (mut orphaned, mut before, mut changed) = (Vec::new(), Vec::new(), Vec::new());
        let Some(slot) = self.neighbours.find(&from) else { return (changed, Vec::new()) };
        for token in publishers {
            let Some(tree) = self.all.get_mut(token) else { continue };
            let is_new = !tree.grafted.contains(slot);
            if is_new || tree.lazy.contains(slot) {
                changed.push(tree.publisher);
            }
            tree.lazy.remove(slot);
            tree.grafted.insert(slot);
            if tree.parent == Some(slot) {
                // The parent is orphaned, and with it this peer.
                tree.clear_parent();
                orphaned.push(*token);
            } else if tree.parent.is_none() && tree.publisher != self.me && is_new {
                // The child must learn that this peer is orphaned, too: it may not have known the
                // publisher when this peer grafted.
                before.push(*token);
            }
        }
        let mut actions = self.graft([slot], &before, now);
        actions.extend(self.graft_on_all(&orphaned, now));
        (changed, actions)
    }

    /// Handles a prune. Returns the publishers for which the neighbour was a child.
    pub(crate) fn on_prune(&mut self, from: PeerId, publishers: &[u64]) -> Vec<PeerId> {
        let mut changed = Vec::new();
        let Some(slot) = self.neighbours.find(&from) else { return changed };
        for token in publishers {
            if let Some(tree) = self.all.get_mut(token) {
                if !tree.lazy.contains(slot) {
                    changed.push(tree.publisher);
                }
                tree.set_lazy(slot);
            }
        }
        changed
    }

    /// Grafts on all neighbours for orphaned publishers.
    pub(super) fn graft_on_all(&mut self, orphaned: &[u64], now: Time) -> Vec<TreeAction> {
        let all: Vec<NeighbourSlot> = self.neighbours.all().collect();
        self.graft(all, orphaned, now)
    }
}
