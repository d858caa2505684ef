//! Capacities that decrease with the number of a peer.
//!
//! This is the rule of a later prototype of the seeds: peer i, in the order of arrival and counted
//! from 0, may have max(1, ⌊40 · 1.5^(-i/10)⌋) neighbours. The prototype does not say what happens
//! when all capacity is used, so here nothing happens: a newcomer links to peers drawn from those
//! with a free slot, and if there is none it stays isolated until a peer with a spare slot arrives.
//! Numbers are never reused, so under turnover newcomers have the highest numbers and one slot
//! each.
//!
//! In the literal reading a newcomer fills all its slots at once; in the most favourable reading it
//! makes one link and leaves its other slots to later newcomers.

use super::GraphProcess;
use super::links::Links;
use crate::random::RngStream;

/// Slots of the first peer.
const FIRST: f64 = 40.0;
/// Divisor of the capacity for every ten peers.
const DECAY: f64 = 1.5;

/// Number of slots of peer `i`.
#[must_use]
pub fn capacity(i: u64) -> u32 {
    // The truncation is intended: the value is between 0 and 40.
    ((FIRST * DECAY.powf(-(i as f64) / 10.0)) as u32).max(1)
}

/// The graph process of this rule.
#[derive(Debug)]
pub(super) struct Capacity {
    /// Most links that a newcomer makes; `None` for as many as it has slots.
    most: Option<u32>,
    /// Capacity of the peer at each index.
    capacities: Vec<u32>,
    /// Number of peers that have arrived.
    arrived: u64,
}

impl Capacity {
    pub(super) fn new(n: u32, most: Option<u32>) -> Self {
        Capacity { most, capacities: vec![0; n as usize], arrived: 0 }
    }
}

impl GraphProcess for Capacity {
    fn arrive(&mut self, links: &mut Links, newcomer: u32, rng: &mut RngStream) {
        let own = capacity(self.arrived);
        self.arrived += 1;
        self.capacities[newcomer as usize] = own;
        let free = |&p: &u32| p != newcomer && links.degree(p) < self.capacities[p as usize];
        let mut others: Vec<u32> = links.peers().iter().copied().filter(free).collect();
        others.sort_unstable();
        let wanted = self.most.map_or(own, |most| most.min(own));
        for other in rng.pick(&others, wanted as usize) {
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
    fn capacity_follows_the_formula() {
        let table =
            [(0, 40), (1, 38), (5, 32), (10, 26), (20, 17), (30, 11), (50, 5), (70, 2), (90, 1)];
        for (i, slots) in table {
            assert_eq!(capacity(i), slots, "{i}");
        }
        assert_eq!((capacity(100), capacity(1_000_000), capacity(u64::MAX)), (1, 1, 1));
    }

    #[test]
    fn degree_does_not_exceed_capacity() {
        for rule in [Rule::Capacity, Rule::CapacityOne] {
            let links = rule.overlay(500, 0, 3);
            for &p in links.peers() {
                assert!(links.degree(p) <= capacity(u64::from(p)), "{p}");
            }
        }
    }

    #[test]
    fn peers_are_isolated_when_all_slots_are_used() {
        // The slots of the first 91 peers together.
        let slots: u32 = (0..91).map(capacity).sum();
        assert!((900..990).contains(&slots), "{slots}");
        for (rule, least) in [(Rule::Capacity, 400), (Rule::CapacityOne, 10)] {
            let parts = Components::new(&rule.overlay(1000, 0, 1).graph());
            assert!(parts.sizes().len() > least, "{rule}: {}", parts.sizes().len());
        }
        // When all peers have been replaced, every peer has one slot, so only pairs are left.
        let graph = Rule::CapacityOne.overlay(200, 1000, 1).graph();
        assert!(Components::new(&graph).largest() <= 2);
    }
}
