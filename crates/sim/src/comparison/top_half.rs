//! Links to the half of all peers that has the highest degrees.
//!
//! This is the rule of the oldest prototypes of the seeds: a newcomer gets the list of peers sorted
//! by degree and connects to its first n/2. In the literal reading it connects to all of them, so
//! the overlay has about n²/4 links; in the milder reading, three peers drawn from that half, it
//! has as many links as with the other rules. Of equal degrees the older peer comes first, as in a
//! stable sort of the list. Of an odd number the larger half counts, because otherwise the second
//! peer would have no neighbour.

use core::cmp::Reverse;

use super::GraphProcess;
use super::links::Links;
use crate::random::RngStream;

/// The graph process of this rule.
#[derive(Debug)]
pub(super) struct TopHalf {
    /// Number of links that a newcomer makes to the half; `None` for all.
    links: Option<usize>,
    /// Order of arrival of the peer at each index.
    arrival: Vec<u64>,
    arrivals: u64,
}

impl TopHalf {
    pub(super) const fn new(links: Option<usize>) -> Self {
        TopHalf { links, arrival: Vec::new(), arrivals: 0 }
    }

    /// The half of the other peers with the highest degrees, in a fixed order.
    fn half(&self, links: &Links, newcomer: u32) -> Vec<u32> {
        let mut others: Vec<u32> =
            links.peers().iter().copied().filter(|&p| p != newcomer).collect();
        let half = others.len().div_ceil(2);
        let key = |&p: &u32| (Reverse(links.degree(p)), self.arrival.get(p as usize).copied());
        if half < others.len() {
            others.select_nth_unstable_by_key(half, key);
            others.truncate(half);
        }
        others.sort_unstable();
        others
    }
}

impl GraphProcess for TopHalf {
    fn arrive(&mut self, links: &mut Links, newcomer: u32, rng: &mut RngStream) {
        let index = newcomer as usize;
        self.arrival.resize(self.arrival.len().max(index + 1), 0);
        self.arrival[index] = self.arrivals;
        self.arrivals += 1;
        let half = self.half(links, newcomer);
        let chosen = match self.links {
            Some(n) => rng.pick(&half, n),
            None => half,
        };
        for other in chosen {
            links.link(newcomer, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::comparison::Rule;

    #[test]
    fn newcomer_links_to_half_of_all_peers() {
        let links = Rule::TopHalf.overlay(100, 0, 1);
        // 1 + 1 + 2 + 2 + 3 + ... + 50: the larger half of 1, 2, ... 99.
        assert_eq!(links.count(), (1..100usize).map(|k| k.div_ceil(2)).sum::<usize>());
        // The first peers stay at the top of the list.
        assert_eq!(links.degree(0), 99);
    }

    #[test]
    fn newcomer_of_the_milder_rule_makes_three_links() {
        let links = Rule::TopHalfThree.overlay(100, 0, 1);
        // The first newcomers make 1, 1, 2 and 2 links, because the half is smaller than three.
        assert_eq!(links.count(), 1 + 1 + 2 + 2 + 95 * 3);
        assert!((1..100).all(|p| links.degree(p) >= 1));
    }

    #[test]
    fn degrees_of_the_literal_rule_follow_no_power_law() {
        let graph = Rule::TopHalf.overlay(300, 0, 1).graph();
        let degrees = graph.degrees();
        assert!(degrees.mean().unwrap() > 140.0);
        // A power law has most peers at its lower end.
        assert!(degrees.at_least(100) > 200);
    }
}
