//! Rumormill's law: target degrees are drawn, and free slots are paired.
//!
//! Every peer draws a rank, its target degree is read from the truncated zeta law at that rank
//! ([`target_degree`]), and all slots are paired at random (the configuration model: Newman,
//! Networks (2010), section 13.2). A pair that cannot be linked, because it is one peer or is
//! linked already, is inserted into a random link: a-b becomes u-a and v-b, as in the protocol's
//! edge transfer, which changes no other peer's degree (Viger and Latapy, COCOON 2005).
//!
//! Under turnover the free slots left by a departed peer and those of the newcomer are paired in
//! the same way. So this is the overlay that the protocol would reach if every peer filled its free
//! slots at once: the reference with which the overlay of the real protocol is compared.

use rumormill_proto::overlay::target::target_degree;

use super::GraphProcess;
use super::links::Links;
use crate::random::RngStream;

/// Random links tried for a pair before its slots stay free until the next change.
const TRIES: u32 = 100;

/// The graph process of this rule.
#[derive(Debug)]
pub(super) struct Law {
    n: u32,
    /// Each peer as often as it has free slots.
    free_slots: Vec<u32>,
}

impl Law {
    pub(super) const fn new(n: u32) -> Self {
        Law { n, free_slots: Vec::new() }
    }

    /// Draws the newcomer's target degree and adds as many free slots.
    fn draw_target(&mut self, newcomer: u32, rng: &mut RngStream) {
        let target = target_degree(rng.unit(), self.n, None);
        self.free_slots.extend((0..target).map(|_| newcomer));
    }

    /// Pairs the free slots at random.
    fn pair_slots(&mut self, links: &mut Links, rng: &mut RngStream) {
        let shuffled = rng.pick(&self.free_slots, self.free_slots.len());
        let pairs = shuffled.chunks_exact(2);
        self.free_slots = pairs.remainder().to_vec();
        // Pairs that need an existing link come last, when there are most links.
        let later: Vec<_> =
            pairs.filter_map(|p| (!links.link(p[0], p[1])).then_some((p[0], p[1]))).collect();
        for (u, v) in later {
            if !insert(links, u, v, rng) {
                self.free_slots.extend([u, v]);
            }
        }
    }
}

/// Inserts u and v, which may be the same, between the ends of a random link.
fn insert(links: &mut Links, u: u32, v: u32, rng: &mut RngStream) -> bool {
    for _ in 0..TRIES {
        let Some((a, b)) = links.random_link(rng) else { return false };
        if a == u || b == v || links.has(u, a) || links.has(v, b) {
            continue;
        }
        links.unlink(a, b);
        links.link(u, a);
        links.link(v, b);
        return true;
    }
    false
}

impl GraphProcess for Law {
    /// Adds all peers at once: the law is that of `n` peers, not of the peers that have arrived so
    /// far.
    fn grow(&mut self, links: &mut Links, n: u32, rng: &mut RngStream) {
        for index in 0..n {
            links.enter(index);
            self.draw_target(index, rng);
        }
        self.pair_slots(links, rng);
    }

    fn arrive(&mut self, links: &mut Links, newcomer: u32, rng: &mut RngStream) {
        self.draw_target(newcomer, rng);
        self.pair_slots(links, rng);
    }

    fn departed(&mut self, _links: &mut Links, gone: u32, lost: &[u32], _dice: &mut RngStream) {
        self.free_slots.retain(|&p| p != gone);
        self.free_slots.extend(lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::Rule;
    use rumormill_analysis::{Components, Cutoff, Fit, FitOptions};
    use rumormill_proto::overlay::target::{MIN_TARGET, max_target, power_law_exponent};

    #[test]
    fn every_peer_gets_the_degree_that_it_drew() {
        let mut rng = RngStream::new(1, "t");
        let (mut law, mut links) = (Law::new(600), Links::new(600));
        law.grow(&mut links, 600, &mut rng);
        // At most one slot is left without a partner.
        assert!(law.free_slots.len() <= 1, "{:?}", law.free_slots);
        let (least, most) = (u32::from(MIN_TARGET), u32::from(max_target(600)));
        let slots = links.count() * 2 + law.free_slots.len();
        let mut again = RngStream::new(1, "t");
        let drawn = (0..600).map(|_| usize::from(target_degree(again.unit(), 600, None)));
        assert_eq!(slots, drawn.sum::<usize>());
        assert!(links.peers().iter().all(|&p| (least - 1..=most).contains(&links.degree(p))));
    }

    #[test]
    fn law_holds_after_all_peers_were_replaced() {
        for turnover in [0, 200] {
            let graph = Rule::Law.overlay(3000, turnover, 1).graph();
            let options = FitOptions { cutoff: Cutoff::At(3), ..FitOptions::default() };
            // One peer may lack one neighbour.
            let fit = Fit::new(&graph.degrees(), &options).unwrap();
            let off = (fit.bounded_alpha - power_law_exponent(3000)).abs();
            assert!(off < 4.0 * fit.bounded_alpha_error, "{turnover} %: {fit}");
            assert_eq!(Components::new(&graph).sizes().len(), 1);
        }
    }
}
