//! Other rules by which peers could choose their neighbours, for comparison with Rumormill's rule.
//!
//! Each rule is a pure graph process: peers arrive one by one and link, and under turnover a random
//! peer departs and a newcomer replaces it. No protocol runs and no frame is sent; nodes of
//! Rumormill never use these rules. The analysis is that of the simulator, so the figures are
//! comparable. docs/OVERLAYS.md has the results.
//!
//! | rule | file |
//! |---|---|
//! | a newcomer links to the half of all peers that has the highest degrees | [`top_half`] |
//! | later peers have a smaller capacity | [`capacity`] |
//! | a newcomer links to peers in proportion to their degree | [`preferential`] |
//! | every peer draws its degree from a power law, and the slots are paired | [`law`] |

pub mod capacity;
pub mod law;
pub mod links;
pub mod preferential;
pub mod relay_load;
pub mod report;
pub mod top_half;

use core::fmt;
use core::str::FromStr;

use self::links::Links;
use crate::random::RngStream;

pub use self::report::OverlayReport;

/// Most peers: the links are a bit matrix, and the densest rule makes n²/4 links.
pub const MAX_PEERS: usize = 10_000;
/// Largest turnover, in percent of the peers.
pub const MAX_TURNOVER: u32 = 1000;

/// A rule by which peers choose their neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A newcomer links to every peer of the half with the highest degrees.
    TopHalf,
    /// A newcomer links to three peers drawn from that half.
    TopHalfThree,
    /// A peer has 40·1.5^(-i/10) slots and fills as many as possible when it arrives.
    Capacity,
    /// The same slots, but a newcomer makes one link only.
    CapacityOne,
    /// A newcomer makes three links, to peers in proportion to their degree.
    Preferential,
    /// The same, and a peer with fewer than three links makes new ones in the same way.
    PreferentialRepair,
    /// Degrees drawn from the law of Rumormill's target degrees, slots paired at random.
    Law,
}

/// What a rule does as peers arrive and depart.
trait GraphProcess {
    /// Adds peers until there are `n`, at the indices 0 to n - 1.
    fn grow(&mut self, links: &mut Links, n: u32, rng: &mut RngStream) {
        for index in 0..n {
            links.enter(index);
            self.arrive(links, index, rng);
        }
    }

    /// A newcomer makes its links.
    fn arrive(&mut self, links: &mut Links, newcomer: u32, rng: &mut RngStream);

    /// A peer has departed, and its former neighbours in `lost` may react. The prototypes' rules do
    /// nothing.
    fn departed(&mut self, links: &mut Links, gone: u32, lost: &[u32], rng: &mut RngStream) {
        let _ = (links, gone, lost, rng);
    }
}

impl Rule {
    /// All rules, in the order in which they are best read.
    pub const ALL: [Rule; 7] = [
        Rule::TopHalf,
        Rule::TopHalfThree,
        Rule::Capacity,
        Rule::CapacityOne,
        Rule::Preferential,
        Rule::PreferentialRepair,
        Rule::Law,
    ];

    /// The name of the rule.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Rule::TopHalf => "top-half",
            Rule::TopHalfThree => "top-half-3",
            Rule::Capacity => "capacity",
            Rule::CapacityOne => "capacity-1",
            Rule::Preferential => "preferential",
            Rule::PreferentialRepair => "preferential-repair",
            Rule::Law => "law",
        }
    }

    /// A description of the rule in one line.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Rule::TopHalf => "links to all of the half with the highest degrees",
            Rule::TopHalfThree => "links to 3 drawn from the half with the highest degrees",
            Rule::Capacity => "40*1.5^(-i/10) slots for peer i, filled on arrival",
            Rule::CapacityOne => "40*1.5^(-i/10) slots for peer i, one link on arrival",
            Rule::Preferential => "3 links on arrival, in proportion to degree",
            Rule::PreferentialRepair => "the same, and again when fewer than 3 are left",
            Rule::Law => "Rumormill's law of targets, slots paired at random",
        }
    }

    fn process(self, n: u32) -> Box<dyn GraphProcess> {
        match self {
            Rule::TopHalf => Box::new(top_half::TopHalf::new(None)),
            Rule::TopHalfThree => Box::new(top_half::TopHalf::new(Some(preferential::LINKS))),
            Rule::Capacity => Box::new(capacity::Capacity::new(n, None)),
            Rule::CapacityOne => Box::new(capacity::Capacity::new(n, Some(1))),
            Rule::Preferential => Box::new(preferential::Preferential::new(false)),
            Rule::PreferentialRepair => Box::new(preferential::Preferential::new(true)),
            Rule::Law => Box::new(law::Law::new(n)),
        }
    }

    /// The overlay of `n` peers (at most [`MAX_PEERS`]) that this rule makes, after `turnover`
    /// percent of them have been replaced one by one.
    #[must_use]
    pub fn overlay(self, n: usize, turnover: u32, seed: u64) -> Links {
        let n = u32::try_from(n.min(MAX_PEERS)).unwrap_or(0);
        // All rules use one random stream, so rules that differ only under turnover start from the
        // same overlay.
        let mut rng = RngStream::new(seed, "comparison");
        let mut process = self.process(n);
        let mut links = Links::new(n as usize);
        process.grow(&mut links, n, &mut rng);
        let replaced = u64::from(n) * u64::from(turnover.min(MAX_TURNOVER)) / 100;
        for _ in 0..replaced {
            // Any live peer departs, newcomers included: how long a peer stays is unknown.
            let Some(gone) = links.random_peer(&mut rng) else { break };
            let lost = links.leave(gone);
            process.departed(&mut links, gone, &lost, &mut rng);
            links.enter(gone);
            process.arrive(&mut links, gone, &mut rng);
        }
        links
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no rule of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such rule; choose one of {}", Rule::ALL.map(Rule::name).join(", "))]
pub struct NoSuchRule;

impl FromStr for Rule {
    type Err = NoSuchRule;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Rule::ALL.into_iter().find(|r| r.name() == name).ok_or(NoSuchRule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turnover_keeps_the_number_of_peers_and_random_seed_repeats_the_overlay() {
        for rule in Rule::ALL {
            for turnover in [0, 150] {
                let links = rule.overlay(200, turnover, 4);
                assert_eq!(links.peers().len(), 200, "{rule}");
                let graph = links.graph();
                assert_eq!((graph.len(), graph.edge_count()), (200, links.count()), "{rule}");
                assert_eq!(graph, rule.overlay(200, turnover, 4).graph(), "{rule}");
            }
            // The rule `top-half` draws no random number until a peer departs.
            assert_ne!(
                rule.overlay(200, 50, 4).graph(),
                rule.overlay(200, 50, 5).graph(),
                "{rule}"
            );
            assert_ne!(rule.overlay(200, 0, 4).graph(), rule.overlay(200, 50, 4).graph(), "{rule}");
        }
    }

    #[test]
    fn rules_work_with_fewer_than_six_peers() {
        for rule in Rule::ALL {
            for n in 0..6 {
                let links = rule.overlay(n, 300, 1);
                assert_eq!(links.peers().len(), n, "{rule}");
                assert!(links.count() <= n * n.saturating_sub(1) / 2, "{rule}");
            }
        }
    }

    #[test]
    fn rules_are_found_by_name() {
        for rule in Rule::ALL {
            assert_eq!(rule.to_string().parse(), Ok(rule));
        }
        let error = "top".parse::<Rule>().unwrap_err().to_string();
        assert!(error.contains("top-half, top-half-3"), "{error}");
    }
}
