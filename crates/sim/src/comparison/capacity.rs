//! Places that become fewer with the number of a peer.
//!
//! The rule of a later prototype of the seeds: peer i, in the order of arrival and counted from 0,
//! may have max(1, ⌊40 · 1.5^(-i/10)⌋) neighbours. The prototype does not say what happens when
//! the places run out, so nothing does: a newcomer links to peers drawn from those with a free
//! place, and if there is none it stays alone until somebody comes who has one to spare. Numbers
//! are never used again, so under turnover newcomers have the highest ones, and one place each.
//!
//! Read plainly a newcomer fills all its places at once; in the kindest reading it makes one link
//! and leaves its other places to those who come later.

use super::Process;
use super::links::Links;
use crate::random::Dice;

/// Places of the first peer.
const FIRST: f64 = 40.0;
/// By what they are divided every ten peers.
const DECAY: f64 = 1.5;

/// Places of peer `i`.
#[must_use]
pub fn capacity(i: u64) -> u32 {
    // Truncation is meant: the value is between 0 and 40.
    ((FIRST * DECAY.powf(-(i as f64) / 10.0)) as u32).max(1)
}

/// The process.
#[derive(Debug)]
pub(super) struct Capacity {
    /// Most links that a newcomer makes; none for as many as it has places.
    most: Option<u32>,
    /// Places of the peer in each place of the overlay.
    capacities: Vec<u32>,
    came: u64,
}

impl Capacity {
    pub(super) fn new(n: u32, most: Option<u32>) -> Self {
        Capacity { most, capacities: vec![0; n as usize], came: 0 }
    }
}

impl Process for Capacity {
    fn arrive(&mut self, links: &mut Links, newcomer: u32, dice: &mut Dice) {
        let own = capacity(self.came);
        self.came += 1;
        self.capacities[newcomer as usize] = own;
        let free = |&p: &u32| p != newcomer && links.degree(p) < self.capacities[p as usize];
        let mut others: Vec<u32> = links.peers().iter().copied().filter(free).collect();
        others.sort_unstable();
        let wanted = self.most.map_or(own, |most| most.min(own));
        for other in dice.pick(&others, wanted as usize) {
            links.link(newcomer, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::Rule;
    use rumormill_analysis::Components;

    #[test]
    fn the_formula_gives_these_places() {
        let table =
            [(0, 40), (1, 38), (5, 32), (10, 26), (20, 17), (30, 11), (50, 5), (70, 2), (90, 1)];
        for (i, places) in table {
            assert_eq!(capacity(i), places, "{i}");
        }
        assert_eq!((capacity(100), capacity(1_000_000), capacity(u64::MAX)), (1, 1, 1));
    }

    #[test]
    fn nobody_has_more_links_than_places() {
        for rule in [Rule::Capacity, Rule::CapacityOne] {
            let links = rule.overlay(500, 0, 3);
            for &p in links.peers() {
                assert!(links.degree(p) <= capacity(u64::from(p)), "{p}");
            }
        }
    }

    #[test]
    fn places_run_out_and_leave_peers_alone() {
        // All places of the first 91 peers together.
        let places: u32 = (0..91).map(capacity).sum();
        assert!((900..990).contains(&places), "{places}");
        for (rule, least) in [(Rule::Capacity, 400), (Rule::CapacityOne, 10)] {
            let parts = Components::new(&rule.overlay(1000, 0, 1).graph());
            assert!(parts.sizes().len() > least, "{rule}: {}", parts.sizes().len());
        }
        // When all have been replaced, everybody has one place: pairs are left.
        let graph = Rule::CapacityOne.overlay(200, 1000, 1).graph();
        assert!(Components::new(&graph).largest() <= 2);
    }
}
