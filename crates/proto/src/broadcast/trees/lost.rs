//! Losing the way to the root, and finding it again before the next beacon.

use super::Act;
use super::near::{Near, Nearby};
use super::round::MOST_LOST;
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
        if let Some(r) = &mut self.round {
            if r.lost >= MOST_LOST {
                // The next beacon shows the way.
                return Vec::new();
            }
            r.lost += 1;
        }
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
        if self.round.as_ref().is_some_and(|r| r.lost >= MOST_LOST) {
            return Vec::new();
        }
        self.plan_telling(None, neighbours, now);
        self.tell_due(now)
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::super::{Act, Trees};
    use crate::identity::{Identity, PeerId};
    use crate::random::Stream;
    use crate::signed::Signed;
    use crate::time::Time;
    use crate::wire::{Beacon, BeaconBody, TreeId};

    const TREE: TreeId = TreeId::Shared(0);

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    fn beacon(root: &Identity, sequence: u64, depth: u16) -> Beacon {
        let body = BeaconBody {
            root: root.id(),
            incarnation: 1,
            tree: TREE,
            sequence,
            target: 3,
            interval_ms: 10_000,
        };
        Beacon { body: Signed::sign(body, root), depth, age_ms: 0 }
    }

    /// A neighbour says again and again that it has lost the way, and another one that it has found
    /// one, as happens on lines that are minutes behind.
    #[test]
    fn words_that_come_late_do_not_make_ever_more_words() {
        let root = Identity::from_secret(&[9; 32]);
        let [me, a, b, c] = [1, 2, 3, 4].map(|n| PeerId::from_bytes([n; 32]));
        let others = (10..20).map(|n| PeerId::from_bytes([n; 32]));
        let mut trees = Trees::new(Stream::new(&[0; 32], "test"));
        for neighbour in [a, b, c].into_iter().chain(others) {
            trees.link_up(neighbour, at(0));
        }
        let (mut words, mut came) = (0, 0);
        for round in 1..=5 {
            let now = at(round * 1000);
            words += trees.on_beacon(me, a, &beacon(&root, round, 0), now).len();
            words += trees.on_grafted(a, TREE, now).len();
            for _ in 0..1000 {
                came += 6;
                words += trees.on_graft(a, TREE, true, now).unwrap().len();
                words += trees.on_beacon(me, b, &beacon(&root, round, 0), now).len();
                words += trees.on_grafted(b, TREE, now).len();
                words += trees.on_graft(b, TREE, true, now).unwrap().len();
                words += trees.on_beacon(me, a, &beacon(&root, round, 0), now).len();
                words += trees.on_grafted(a, TREE, now).len();
            }
        }
        assert!(words * 2 < came, "{words} frames in answer to {came}");
        // The next round shows the way.
        let acts = trees.on_beacon(me, a, &beacon(&root, 6, 0), at(6000));
        assert!(acts.iter().any(|act| matches!(act, Act::Tell { to, .. } if *to == c)), "{acts:?}");
        trees.on_grafted(a, TREE, at(6001));
        let view = &trees.views(me)[0];
        assert_eq!(view.parents, [a]);
    }
}
