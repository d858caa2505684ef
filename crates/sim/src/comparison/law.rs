//! Rumormill's own law: degrees are drawn, and places are paired.
//!
//! Every peer draws a rank, its target degree is read from the truncated zeta law at that rank
//! ([`target_degree`]), and all places are paired at random (the configuration model: Newman,
//! Networks (2010), section 13.2). A pair that cannot be linked, because it is one peer or is
//! linked already, takes a random link in its midst: a-b becomes u-a and v-b, as the protocol's
//! hand-over does, which changes nobody else's degree (Viger and Latapy, COCOON 2005).
//!
//! Under turnover the places that a departed peer leaves behind and those of the newcomer are
//! paired in the same way. So this is what the protocol would come to if every peer found at once
//! what it looks for: the reference that the overlay of the real protocol is held against.

use rumormill_proto::overlay::target::target_degree;

use super::Process;
use super::links::Links;
use crate::random::Dice;

/// Random links that are tried for a pair before its places stay open until the next change.
const TRIES: u32 = 100;

/// The process.
#[derive(Debug)]
pub(super) struct Law {
    n: u32,
    /// Each peer as often as it has places open.
    open: Vec<u32>,
}

impl Law {
    pub(super) const fn new(n: u32) -> Self {
        Law { n, open: Vec::new() }
    }

    /// Opens as many places as the newcomer's target.
    fn draw(&mut self, newcomer: u32, dice: &mut Dice) {
        let target = target_degree(dice.unit(), self.n, None);
        self.open.extend((0..target).map(|_| newcomer));
    }

    /// Pairs the open places.
    fn pair(&mut self, links: &mut Links, dice: &mut Dice) {
        let shuffled = dice.pick(&self.open, self.open.len());
        let pairs = shuffled.chunks_exact(2);
        self.open = pairs.remainder().to_vec();
        // Those that need the links of others come last, when there are the most of them.
        let later: Vec<_> =
            pairs.filter_map(|p| (!links.link(p[0], p[1])).then_some((p[0], p[1]))).collect();
        for (u, v) in later {
            if !insert(links, u, v, dice) {
                self.open.extend([u, v]);
            }
        }
    }
}

/// Puts u and v, which may be the same, between the ends of a random link.
fn insert(links: &mut Links, u: u32, v: u32, dice: &mut Dice) -> bool {
    for _ in 0..TRIES {
        let Some((a, b)) = links.any_link(dice) else { return false };
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

impl Process for Law {
    /// All at once: the law is that of `n` peers, not of those that have come so far.
    fn grow(&mut self, links: &mut Links, n: u32, dice: &mut Dice) {
        for place in 0..n {
            links.enter(place);
            self.draw(place, dice);
        }
        self.pair(links, dice);
    }

    fn arrive(&mut self, links: &mut Links, newcomer: u32, dice: &mut Dice) {
        self.draw(newcomer, dice);
        self.pair(links, dice);
    }

    fn departed(&mut self, _links: &mut Links, gone: u32, lost: &[u32], _dice: &mut Dice) {
        self.open.retain(|&p| p != gone);
        self.open.extend(lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::Rule;
    use rumormill_analysis::{Components, Cutoff, Fit, FitOptions};
    use rumormill_proto::overlay::target::{MIN_TARGET, exponent, max_target};

    #[test]
    fn everybody_gets_the_degree_it_drew() {
        let mut dice = Dice::new(1, "t");
        let (mut law, mut links) = (Law::new(600), Links::new(600));
        law.grow(&mut links, 600, &mut dice);
        // An odd place stays over at most.
        assert!(law.open.len() <= 1, "{:?}", law.open);
        let (least, most) = (u32::from(MIN_TARGET), u32::from(max_target(600)));
        let places = links.count() * 2 + law.open.len();
        let mut again = Dice::new(1, "t");
        let drawn = (0..600).map(|_| usize::from(target_degree(again.unit(), 600, None)));
        assert_eq!(places, drawn.sum::<usize>());
        assert!(links.peers().iter().all(|&p| (least - 1..=most).contains(&links.degree(p))));
    }

    #[test]
    fn the_law_outlives_the_peers() {
        for turnover in [0, 200] {
            let graph = Rule::Law.overlay(3000, turnover, 1).graph();
            let options = FitOptions { cutoff: Cutoff::At(3), ..FitOptions::default() };
            // A single peer may be one short.
            let fit = Fit::new(&graph.degrees(), &options).unwrap();
            let off = (fit.bounded_alpha - exponent(3000)).abs();
            assert!(off < 4.0 * fit.bounded_alpha_error, "{turnover} %: {fit}");
            assert_eq!(Components::new(&graph).sizes().len(), 1);
        }
    }
}
