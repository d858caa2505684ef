//! Who is linked with whom while peers come and go.

use rumormill_analysis::Graph;

use crate::random::Dice;

/// Peers in numbered places, and their links.
///
/// A matrix of bits: the densest rule links every second pair, and peers leave it with thousands
/// of links at once. For ten thousand peers it takes 12.5 MB whatever the rule.
#[derive(Debug, Clone)]
pub struct Links {
    /// Words of a row.
    width: usize,
    rows: Vec<u64>,
    degrees: Vec<u32>,
    /// Taken places, in no particular order, but the same one in every run.
    peers: Vec<u32>,
    count: usize,
}

impl Links {
    /// Nobody yet, and `places` for them.
    pub(super) fn new(places: usize) -> Self {
        let width = places.div_ceil(64);
        let rows = vec![0; width * places];
        Links { width, rows, degrees: vec![0; places], peers: Vec::new(), count: 0 }
    }

    /// A peer takes a place that is free.
    pub(super) fn enter(&mut self, place: u32) {
        self.peers.push(place);
    }

    /// A peer and its links are gone. Tells who has lost it.
    pub(super) fn leave(&mut self, place: u32) -> Vec<u32> {
        let lost = self.neighbours(place);
        for &other in &lost {
            self.unlink(place, other);
        }
        if let Some(i) = self.peers.iter().position(|&p| p == place) {
            self.peers.swap_remove(i);
        }
        lost
    }

    /// The places that are taken.
    #[must_use]
    pub fn peers(&self) -> &[u32] {
        &self.peers
    }

    /// Number of links.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Number of links of a peer.
    #[must_use]
    pub fn degree(&self, place: u32) -> u32 {
        self.degrees.get(place as usize).copied().unwrap_or(0)
    }

    /// Whether the two are linked.
    #[must_use]
    pub fn has(&self, a: u32, b: u32) -> bool {
        let word = self.rows.get(a as usize * self.width + b as usize / 64);
        word.is_some_and(|w| w >> (b % 64) & 1 == 1)
    }

    /// The neighbours of a peer, ascending.
    #[must_use]
    pub fn neighbours(&self, place: u32) -> Vec<u32> {
        let mut all = Vec::with_capacity(self.degree(place) as usize);
        let row = place as usize * self.width;
        for (i, &word) in self.rows[row..row + self.width].iter().enumerate() {
            let mut left = word;
            while left != 0 {
                all.push(i as u32 * 64 + left.trailing_zeros());
                left &= left - 1;
            }
        }
        all
    }

    /// Links two peers; says whether they are two, and were not linked before.
    pub(super) fn link(&mut self, a: u32, b: u32) -> bool {
        if a == b || self.has(a, b) {
            return false;
        }
        self.flip(a, b);
        self.degrees[a as usize] += 1;
        self.degrees[b as usize] += 1;
        self.count += 1;
        true
    }

    /// Takes a link out that is there.
    pub(super) fn unlink(&mut self, a: u32, b: u32) {
        if self.has(a, b) {
            self.flip(a, b);
            self.degrees[a as usize] -= 1;
            self.degrees[b as usize] -= 1;
            self.count -= 1;
        }
    }

    fn flip(&mut self, a: u32, b: u32) {
        for (a, b) in [(a, b), (b, a)] {
            self.rows[a as usize * self.width + b as usize / 64] ^= 1 << (b % 64);
        }
    }

    /// A peer, each as likely as any other.
    pub(super) fn any(&self, dice: &mut Dice) -> Option<u32> {
        self.peers.get(dice.below(self.peers.len())).copied()
    }

    /// A peer in proportion to its degree, of those that pass; none if no such peer has a link.
    pub(super) fn by_degree(&self, dice: &mut Dice, pass: impl Fn(u32) -> bool) -> Option<u32> {
        let weight = |&p: &u32| if pass(p) { self.degree(p) as usize } else { 0 };
        let total: usize = self.peers.iter().map(weight).sum();
        let mut at = dice.below(total);
        let found = self.peers.iter().find(|p| match at.checked_sub(weight(p)) {
            Some(left) => {
                at = left;
                false
            }
            None => true,
        });
        found.copied()
    }

    /// A link, each as likely as any other, from either of its ends.
    pub(super) fn any_link(&self, dice: &mut Dice) -> Option<(u32, u32)> {
        let from = self.by_degree(dice, |_| true)?;
        let all = self.neighbours(from);
        all.get(dice.below(all.len())).map(|&to| (from, to))
    }

    /// The graph of all places.
    #[must_use]
    pub fn graph(&self) -> Graph {
        let mut edges = Vec::with_capacity(self.count);
        for a in 0..self.degrees.len() as u32 {
            edges.extend(self.neighbours(a).into_iter().filter(|&b| a < b).map(|b| (a, b)));
        }
        // Both ends are places, and no peer is linked with itself.
        Graph::new(self.degrees.len(), &edges).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn triangle() -> Links {
        let mut links = Links::new(130);
        for p in [0, 64, 129, 7] {
            links.enter(p);
        }
        assert!(links.link(0, 64) && links.link(64, 129) && links.link(129, 0));
        links
    }

    #[test]
    fn a_link_has_two_ends_and_is_there_once() {
        let mut links = triangle();
        assert!(!links.link(64, 0) && !links.link(7, 7));
        assert_eq!((links.count(), links.degree(64), links.degree(7)), (3, 2, 0));
        assert_eq!(links.neighbours(129), [0, 64]);
        assert_eq!(links.graph().edges().collect::<Vec<_>>(), [(0, 64), (0, 129), (64, 129)]);
    }

    #[test]
    fn who_leaves_takes_its_links_along() {
        let mut links = triangle();
        assert_eq!(links.leave(64), [0, 129]);
        assert_eq!((links.count(), links.degree(0), links.peers().len()), (1, 1, 3));
        assert!(!links.has(0, 64) && links.has(0, 129));
    }

    #[test]
    fn draws_are_weighted_by_degree() {
        let mut links = triangle();
        links.link(7, 0);
        let mut dice = Dice::new(1, "t");
        let mut hits = [0; 130];
        for _ in 0..8000 {
            hits[links.by_degree(&mut dice, |p| p != 64).unwrap() as usize] += 1;
        }
        // Degrees 3, 2 and 1 of those that pass.
        assert_eq!(hits[64], 0);
        for (place, expected) in [(0, 4000), (129, 2667), (7, 1333)] {
            assert!(i32::abs(hits[place] - expected) < 200, "{place}: {}", hits[place]);
        }
        assert_eq!(links.by_degree(&mut dice, |_| false), None);
        assert_eq!(Links::new(3).any(&mut dice), None);
        let (a, b) = links.any_link(&mut dice).unwrap();
        assert!(links.has(a, b));
    }
}
