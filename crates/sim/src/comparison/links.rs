//! The links of an overlay whose peers arrive and depart.

use rumormill_analysis::Graph;

use crate::random::RngStream;

/// Peers at numbered indices, and their links.
///
/// The links are a bit matrix: the densest rule links every second pair, and departing peers lose
/// thousands of links at once. For ten thousand peers it takes 12.5 MB with any rule.
#[derive(Debug, Clone)]
pub struct Links {
    /// Words of a row.
    width: usize,
    rows: Vec<u64>,
    degrees: Vec<u32>,
    /// Used indices, in an order that is the same in every run.
    peers: Vec<u32>,
    count: usize,
}

impl Links {
    /// No peers yet, with room for `capacity` of them.
    pub(super) fn new(capacity: usize) -> Self {
        let width = capacity.div_ceil(64);
        let rows = vec![0; width * capacity];
        Links { width, rows, degrees: vec![0; capacity], peers: Vec::new(), count: 0 }
    }

    /// Adds a peer at an unused index.
    pub(super) fn enter(&mut self, index: u32) {
        self.peers.push(index);
    }

    /// Removes a peer and its links; returns its former neighbours.
    pub(super) fn leave(&mut self, index: u32) -> Vec<u32> {
        let former_neighbours = self.neighbours(index);
        for &other in &former_neighbours {
            self.unlink(index, other);
        }
        if let Some(i) = self.peers.iter().position(|&p| p == index) {
            self.peers.swap_remove(i);
        }
        former_neighbours
    }

    /// The indices in use.
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
    pub fn degree(&self, index: u32) -> u32 {
        self.degrees.get(index as usize).copied().unwrap_or(0)
    }

    /// Whether two peers are linked.
    #[must_use]
    pub fn has(&self, a: u32, b: u32) -> bool {
        let word = self.rows.get(a as usize * self.width + b as usize / 64);
        word.is_some_and(|w| w >> (b % 64) & 1 == 1)
    }

    /// The neighbours of a peer, ascending.
    #[must_use]
    pub fn neighbours(&self, index: u32) -> Vec<u32> {
        let mut all = Vec::with_capacity(self.degree(index) as usize);
        let row = index as usize * self.width;
        for (i, &word) in self.rows[row..row + self.width].iter().enumerate() {
            let mut left = word;
            while left != 0 {
                all.push(i as u32 * 64 + left.trailing_zeros());
                left &= left - 1;
            }
        }
        all
    }

    /// Links two peers; returns false if they are the same or already linked.
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

    /// Removes a link, if there is one.
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

    /// Draws a peer uniformly.
    pub(super) fn random_peer(&self, rng: &mut RngStream) -> Option<u32> {
        self.peers.get(rng.below(self.peers.len())).copied()
    }

    /// Draws a peer in proportion to its degree, of those that pass; none if no such peer has a
    /// link.
    pub(super) fn random_peer_by_degree(
        &self,
        rng: &mut RngStream,
        pass: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let weight = |&p: &u32| if pass(p) { self.degree(p) as usize } else { 0 };
        let total: usize = self.peers.iter().map(weight).sum();
        let mut at = rng.below(total);
        let found = self.peers.iter().find(|p| match at.checked_sub(weight(p)) {
            Some(left) => {
                at = left;
                false
            }
            None => true,
        });
        found.copied()
    }

    /// Draws a link uniformly, starting at either of its ends.
    pub(super) fn random_link(&self, rng: &mut RngStream) -> Option<(u32, u32)> {
        let from = self.random_peer_by_degree(rng, |_| true)?;
        let all = self.neighbours(from);
        all.get(rng.below(all.len())).map(|&to| (from, to))
    }

    /// The graph of all indices.
    #[must_use]
    pub fn graph(&self) -> Graph {
        let mut edges = Vec::with_capacity(self.count);
        for a in 0..self.degrees.len() as u32 {
            edges.extend(self.neighbours(a).into_iter().filter(|&b| a < b).map(|b| (a, b)));
        }
        // Both ends are valid indices, and no peer is linked with itself.
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
    fn pair_of_peers_has_at_most_one_link() {
        let mut links = triangle();
        assert!(!links.link(64, 0) && !links.link(7, 7));
        assert_eq!((links.count(), links.degree(64), links.degree(7)), (3, 2, 0));
        assert_eq!(links.neighbours(129), [0, 64]);
        assert_eq!(links.graph().edges().collect::<Vec<_>>(), [(0, 64), (0, 129), (64, 129)]);
    }

    #[test]
    fn departing_peer_loses_its_links() {
        let mut links = triangle();
        assert_eq!(links.leave(64), [0, 129]);
        assert_eq!((links.count(), links.degree(0), links.peers().len()), (1, 1, 3));
        assert!(!links.has(0, 64) && links.has(0, 129));
    }

    #[test]
    fn draws_are_weighted_by_degree() {
        let mut links = triangle();
        links.link(7, 0);
        let mut rng = RngStream::new(1, "t");
        let mut hits = [0; 130];
        for _ in 0..8000 {
            let drawn = links.random_peer_by_degree(&mut rng, |p| p != 64).unwrap();
            hits[drawn as usize] += 1;
        }
        // The peers that pass have degrees 3, 2 and 1.
        assert_eq!(hits[64], 0);
        for (index, expected) in [(0, 4000), (129, 2667), (7, 1333)] {
            assert!(i32::abs(hits[index] - expected) < 200, "{index}: {}", hits[index]);
        }
        assert_eq!(links.random_peer_by_degree(&mut rng, |_| false), None);
        assert_eq!(Links::new(3).random_peer(&mut rng), None);
        let (a, b) = links.random_link(&mut rng).unwrap();
        assert!(links.has(a, b));
    }
}
