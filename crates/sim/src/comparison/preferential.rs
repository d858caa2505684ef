//! Preferential attachment (Barabási and Albert, Science 286 (1999)).
//!
//! A newcomer makes m = 3 links to different peers, each drawn in proportion to its degree; the
//! first four peers are linked with each other. As long as peers only arrive, degrees follow a
//! power law of exponent 3. When peers also depart the law becomes steeper, and with as many
//! departures as arrivals there is no power law any more (Sarshar and Roychowdhury, Physical Review
//! E 69, 026101 (2004); Moore, Ghoshal and Newman, Physical Review E 74, 036121 (2006)).
//!
//! Without repair, peers that lose a neighbour do nothing, and a peer without neighbours is never
//! drawn. With repair, a peer with fewer than m links makes new ones as a newcomer does.

use super::GraphProcess;
use super::links::Links;
use crate::random::RngStream;

/// m: the number of links that a newcomer makes, which is Rumormill's smallest target degree.
pub const LINKS: usize = 3;

/// The graph process of this rule.
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
fn attach(links: &mut Links, peer: u32, rng: &mut RngStream) {
    while (links.degree(peer) as usize) < LINKS {
        let is_not_linked = |p| p != peer && !links.has(p, peer);
        let Some(other) = links.random_peer_by_degree(rng, is_not_linked) else { return };
        links.link(peer, other);
    }
}

impl GraphProcess for Preferential {
    fn arrive(&mut self, links: &mut Links, newcomer: u32, rng: &mut RngStream) {
        if links.peers().len() <= LINKS + 1 {
            for other in links.peers().to_vec() {
                links.link(newcomer, other);
            }
        }
        attach(links, newcomer, rng);
    }

    fn departed(&mut self, links: &mut Links, _gone: u32, lost: &[u32], rng: &mut RngStream) {
        if self.repair {
            for &peer in lost {
                attach(links, peer, rng);
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
    fn only_repair_keeps_three_links_under_turnover() {
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
    fn exponent_is_three_without_departures_and_steeper_with_them() {
        let grown = alpha(Rule::Preferential, 0);
        assert!((grown - 3.0).abs() < 0.3, "{grown}");
        for rule in [Rule::Preferential, Rule::PreferentialRepair] {
            let churned = alpha(rule, 200);
            assert!(churned > grown + 0.3, "{rule}: {grown} became {churned}");
        }
    }
}
