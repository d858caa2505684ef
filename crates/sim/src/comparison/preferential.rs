//! Preferential attachment (Barabási and Albert, Science 286 (1999)).
//!
//! A newcomer makes m = 3 links to different peers, each drawn in proportion to its degree; the
//! first four peers are linked with each other. As long as peers only come, degrees follow a power
//! law of exponent 3. When they also go it becomes steeper, and where as many go as come there is
//! no power law any more (Sarshar and Roychowdhury, Physical Review E 69, 026101 (2004); Moore,
//! Ghoshal and Newman, Physical Review E 74, 036121 (2006)).
//!
//! Plainly, peers that lose a neighbour do nothing, and one that has lost all is never drawn. With
//! repair, a peer with fewer than m links left makes new ones as a newcomer does.

use super::Process;
use super::links::Links;
use crate::random::Dice;

/// m: links that a newcomer makes. As many as Rumormill's smallest target.
pub const LINKS: usize = 3;

/// The process.
#[derive(Debug)]
pub(super) struct Preferential {
    repair: bool,
}

impl Preferential {
    pub(super) const fn new(repair: bool) -> Self {
        Preferential { repair }
    }
}

/// Links a peer to others in proportion to their degree, until it has [`LINKS`].
fn attach(links: &mut Links, peer: u32, dice: &mut Dice) {
    while (links.degree(peer) as usize) < LINKS {
        let stranger = |p| p != peer && !links.has(p, peer);
        let Some(other) = links.by_degree(dice, stranger) else { return };
        links.link(peer, other);
    }
}

impl Process for Preferential {
    fn arrive(&mut self, links: &mut Links, newcomer: u32, dice: &mut Dice) {
        if links.peers().len() <= LINKS + 1 {
            for other in links.peers().to_vec() {
                links.link(newcomer, other);
            }
        }
        attach(links, newcomer, dice);
    }

    fn departed(&mut self, links: &mut Links, _gone: u32, lost: &[u32], dice: &mut Dice) {
        if self.repair {
            for &peer in lost {
                attach(links, peer, dice);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::Rule;
    use rumormill_analysis::{Cutoff, Fit, FitOptions};

    #[test]
    fn every_newcomer_makes_three_links() {
        let links = Rule::Preferential.overlay(500, 0, 2);
        assert_eq!(links.count(), 6 + 496 * LINKS);
        assert!(links.peers().iter().all(|&p| links.degree(p) >= 3));
    }

    #[test]
    fn repair_keeps_three_links_and_doing_nothing_does_not() {
        let least = |rule: Rule| {
            let links = rule.overlay(500, 200, 2);
            links.peers().iter().map(|&p| links.degree(p)).min()
        };
        assert_eq!(least(Rule::PreferentialRepair), Some(3));
        assert!(least(Rule::Preferential) < Some(3));
    }

    fn alpha(rule: Rule, turnover: u32) -> f64 {
        let degrees = rule.overlay(4000, turnover, 1).graph().degrees();
        let options = FitOptions { cutoff: Cutoff::Scan { min_tail: 50 }, ..FitOptions::default() };
        Fit::new(&degrees, &options).unwrap().alpha
    }

    #[test]
    fn the_exponent_is_three_until_peers_go() {
        let grown = alpha(Rule::Preferential, 0);
        assert!((grown - 3.0).abs() < 0.3, "{grown}");
        for rule in [Rule::Preferential, Rule::PreferentialRepair] {
            let churned = alpha(rule, 200);
            assert!(churned > grown + 0.3, "{rule}: {grown} became {churned}");
        }
    }
}
