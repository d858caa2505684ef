//! The half of all peers that has the highest degrees.
//!
//! The rule of the oldest prototypes of the seeds: a newcomer is given the list of peers sorted by
//! degree, and connects to its first n/2. Read plainly that is all of them, so the overlay has
//! about n²/4 links; the milder reading, three peers drawn from that half, has as many links as
//! the other rules. Of equal degrees the older peer comes first, as a stable sort of the list has
//! it, and of an odd number the larger half counts, or the second peer would have nobody.

use core::cmp::Reverse;

use super::Process;
use super::links::Links;
use crate::random::Dice;

/// The process.
#[derive(Debug)]
pub(super) struct TopHalf {
    /// How many of the half a newcomer links to; none for all.
    links: Option<usize>,
    /// When the peer in each place came.
    came: Vec<u64>,
    clock: u64,
}

impl TopHalf {
    pub(super) const fn new(links: Option<usize>) -> Self {
        TopHalf { links, came: Vec::new(), clock: 0 }
    }

    /// The half with the highest degrees, without the newcomer, in a fixed order.
    fn half(&self, links: &Links, newcomer: u32) -> Vec<u32> {
        let mut others: Vec<u32> =
            links.peers().iter().copied().filter(|&p| p != newcomer).collect();
        let half = others.len().div_ceil(2);
        let key = |&p: &u32| (Reverse(links.degree(p)), self.came.get(p as usize).copied());
        if half < others.len() {
            others.select_nth_unstable_by_key(half, key);
            others.truncate(half);
        }
        others.sort_unstable();
        others
    }
}

impl Process for TopHalf {
    fn arrive(&mut self, links: &mut Links, newcomer: u32, dice: &mut Dice) {
        let place = newcomer as usize;
        self.came.resize(self.came.len().max(place + 1), 0);
        self.came[place] = self.clock;
        self.clock += 1;
        let half = self.half(links, newcomer);
        let chosen = match self.links {
            Some(n) => dice.pick(&half, n),
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
    fn every_newcomer_links_to_half_of_all() {
        let links = Rule::TopHalf.overlay(100, 0, 1);
        // 1 + 1 + 2 + 2 + 3 + ... + 50: the larger half of 1, 2, ... 99.
        assert_eq!(links.count(), (1..100usize).map(|k| k.div_ceil(2)).sum::<usize>());
        // The first peers are on top of the list for ever.
        assert_eq!(links.degree(0), 99);
    }

    #[test]
    fn three_links_are_three_links() {
        let links = Rule::TopHalfThree.overlay(100, 0, 1);
        // 1, 1 and 2 while the half has no more, then two of the 4th, three of all others.
        assert_eq!(links.count(), 1 + 1 + 2 + 2 + 95 * 3);
        assert!((1..100).all(|p| links.degree(p) >= 1));
    }

    #[test]
    fn a_plain_reading_is_no_power_law() {
        let graph = Rule::TopHalf.overlay(300, 0, 1).graph();
        let degrees = graph.degrees();
        assert!(degrees.mean().unwrap() > 140.0);
        // A power law has most peers at its lower end.
        assert!(degrees.at_least(100) > 200);
    }
}
