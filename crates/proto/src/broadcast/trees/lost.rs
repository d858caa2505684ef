//! Losing the way to the root, and finding it again before the next beacon.

use super::Act;
use super::near::{Near, Nearby};
use super::tree::Tree;
use crate::time::Time;

impl Tree {
    /// What came through this neighbour has to come through another.
    pub(crate) fn leave_parent(&mut self, peer: Near, neighbours: &Nearby) -> Vec<Act<Near>> {
        let depth = self.round.as_mut().and_then(|r| r.offers.remove(&peer));
        if !self.parents.remove(&peer) {
            return Vec::new();
        }
        if let Some(depth) = depth {
            self.left.insert(peer, depth);
        }
        self.unconfirmed.remove(&peer);
        let mut acts = vec![Act::Prune { to: peer, tree: self.id }];
        if self.parents.is_empty() {
            acts.extend(self.adopt_another(neighbours));
        }
        acts
    }

    /// Without a parent: the best of those that brought the last beacon; they lead to the root
    /// without coming back here, because they are nearer to it than this peer said it is.
    fn adopt_another(&mut self, neighbours: &Nearby) -> Vec<Act<Near>> {
        if let Some(r) = &self.round {
            let lively = |p: &Near| neighbours.is_lively(*p);
            let nearer = r.offers.iter().filter(|(p, depth)| **depth < r.depth && lively(p));
            let best = nearer.min_by_key(|(p, depth)| (**depth, **p)).map(|(p, _)| *p);
            if let Some(best) = best {
                return vec![self.graft(best, true)];
            }
        }
        self.lose_the_way(neighbours)
    }

    /// No neighbour is known to lead to the root. Perhaps only somebody further down has one that
    /// does, so payload goes to and comes from all neighbours, and the children learn by the graft
    /// that they are as lost as this peer and do the same. The next beacon leaves one parent.
    pub(super) fn lose_the_way(&mut self, neighbours: &Nearby) -> Vec<Act<Near>> {
        self.lost = true;
        let lively = neighbours.all().filter(|p| neighbours.is_lively(*p));
        let new: Vec<Near> = lively.filter(|p| !self.parents.contains(p)).collect();
        new.into_iter().map(|p| self.graft(p, true)).collect()
    }

    /// A parent that gave no sign of life does after all. If no other was found meanwhile, it is the
    /// way again, as by the last beacon.
    pub(crate) fn return_to(&mut self, peer: Near) -> Vec<Act<Near>> {
        let Some(depth) = self.left.remove(&peer) else { return Vec::new() };
        let Some(r) = &mut self.round else { return Vec::new() };
        let leads = depth < r.depth;
        r.offers.insert(peer, depth);
        if self.lost && leads { vec![self.graft(peer, true)] } else { Vec::new() }
    }

    /// There is a way again. Those behind this peer were told that there was none: the beacon, once
    /// more, says otherwise.
    pub(super) fn find_the_way(&mut self, neighbours: &Nearby, now: Time) -> Vec<Act<Near>> {
        self.lost = false;
        self.plan_telling(None, neighbours, now);
        self.tell_due(now)
    }
}
