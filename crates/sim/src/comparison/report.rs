//! The figures of an overlay, the same for every rule and for the overlay of a simulated network.

use rumormill_analysis::{
    Attack, Clustering, Components, Cutoff, Distances, Fit, FitOptions, Graph, GraphError,
    Robustness,
};
use serde::{Deserialize, Serialize};

use super::Rule;
use super::load::Load;
use crate::report::{GraphReport, Report};
use crate::scenario::MAX_PEERS;

/// Links of the largest overlay that a report has whole.
const LARGEST_GRAPH: usize = 100_000;
/// Sources from which paths are measured in large overlays.
const SOURCES: usize = 64;
/// Repetitions of the removal at random.
const REMOVALS: u32 = 10;
/// Points of a curve: one for every percent.
const POINTS: usize = 101;
/// The share whose removal [`OverlayReport::left_after_failures`] is about, in percent.
const REMOVED: usize = 10;

/// An overlay in figures. Fields that [`Report`] has too are called the same, so that it can be
/// drawn like one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OverlayReport {
    /// The rule, or the scenario that was simulated, with the turnover.
    pub scenario: String,
    /// Name of the rule, or of the scenario that was simulated.
    pub rule: String,
    /// What the rule says, in a line.
    pub about: String,
    /// The number that decided everything left to chance.
    pub seed: u64,
    /// Peers.
    pub peers: usize,
    /// Departures in percent of the peers.
    pub turnover: u64,
    /// Links.
    pub edges: usize,
    /// Links of a peer, on average.
    pub mean_degree: f64,
    /// Links of the peer that has the most.
    pub largest_degree: u64,
    /// Components.
    pub components: usize,
    /// Share of the peers that are in the largest one.
    pub largest_component: f64,
    /// How many peers have how many neighbours.
    pub degrees: Vec<(u64, u64)>,
    /// The laws fitted to it.
    pub degrees_fit: Option<Fit>,
    /// Why no law was fitted.
    pub degrees_fit_error: Option<String>,
    /// Paths of the largest component.
    pub distances: Option<Distances>,
    /// Triangles.
    pub clustering: Option<Clustering>,
    /// What the busiest peer sends.
    pub load: Option<Load>,
    /// Share of those left that the largest component holds when 10 % are gone, at random.
    pub left_after_failures: Option<f64>,
    /// The same when the 10 % with the most links are gone.
    pub left_after_attack: Option<f64>,
    /// What is left when peers are taken out.
    pub robustness: Vec<Robustness>,
    /// The overlay itself, if it is not too large.
    pub graph: Option<GraphReport>,
}

/// What an overlay is called in a report.
struct Name {
    rule: String,
    about: String,
    turnover: u64,
}

/// Why the overlay of a report cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum NoOverlay {
    /// It is not listed.
    #[error(
        "the report does not list its links; reports of one run do, up to {LARGEST_GRAPH} of them"
    )]
    Missing,
    /// Nothing that was simulated is so large.
    #[error("the report has {0} peers; a simulation has {MAX_PEERS} at most")]
    TooLarge(usize),
    /// It is no graph.
    #[error("the links of the report make no graph: {0}")]
    Graph(#[from] GraphError),
}

impl OverlayReport {
    /// Lets a rule make its overlay, and measures it. `replicates` are those of the bootstrap for
    /// the p of the fits.
    #[must_use]
    pub fn of_rule(rule: Rule, peers: usize, turnover: u32, seed: u64, replicates: u32) -> Self {
        let graph = rule.overlay(peers, turnover, seed).graph();
        let name = Name {
            rule: rule.name().to_owned(),
            about: rule.about().to_owned(),
            turnover: u64::from(turnover),
        };
        Self::measure(&graph, name, seed, replicates)
    }

    /// Measures the overlay that a simulated network had at the end of its run.
    ///
    /// # Errors
    /// The report does not have it whole.
    pub fn of_run(report: &Report, replicates: u32) -> Result<Self, NoOverlay> {
        let listed = report.graph.as_ref().ok_or(NoOverlay::Missing)?;
        if listed.nodes > MAX_PEERS {
            return Err(NoOverlay::TooLarge(listed.nodes));
        }
        let graph = Graph::new(listed.nodes, &listed.edges)?;
        let name = Name {
            rule: format!("simulated {}", report.scenario),
            about: "the overlay that the protocol made".to_owned(),
            turnover: report.went.saturating_mul(100) / (report.peers.max(1) as u64),
        };
        Ok(Self::measure(&graph, name, report.seed, replicates))
    }

    fn measure(graph: &Graph, name: Name, seed: u64, replicates: u32) -> Self {
        let degrees = graph.degrees();
        let options = FitOptions {
            cutoff: Cutoff::Scan { min_tail: 50 },
            replicates,
            seed,
            ..FitOptions::default()
        };
        let fit = Fit::new(&degrees, &options);
        let components = Components::new(graph);
        let curve = |attack| Robustness::new(graph, attack, REMOVALS, POINTS, seed);
        let (random, hubs) = (curve(Attack::Random), curve(Attack::InitialDegree));
        let state = match name.turnover {
            0 => "grown".to_owned(),
            percent => format!("after {percent} % turnover"),
        };
        OverlayReport {
            scenario: format!("{}, {state}", name.rule),
            rule: name.rule,
            about: name.about,
            seed,
            peers: graph.len(),
            turnover: name.turnover,
            edges: graph.edge_count(),
            mean_degree: degrees.mean().unwrap_or(0.0),
            largest_degree: degrees.max().unwrap_or(0),
            components: components.sizes().len(),
            largest_component: components.largest() as f64 / graph.len().max(1) as f64,
            degrees: degrees.bins().to_vec(),
            degrees_fit: fit.as_ref().ok().cloned(),
            degrees_fit_error: fit.as_ref().err().map(ToString::to_string),
            distances: Distances::new(graph, SOURCES, seed),
            clustering: (!graph.is_empty()).then(|| Clustering::new(graph)),
            load: Load::new(graph, seed),
            left_after_failures: random.as_ref().and_then(left),
            left_after_attack: hubs.as_ref().and_then(left),
            robustness: random.into_iter().chain(hubs).collect(),
            graph: (graph.edge_count() <= LARGEST_GRAPH)
                .then(|| GraphReport { nodes: graph.len(), edges: graph.edges().collect() }),
        }
    }
}

/// The point of the curve where a tenth is gone. Overlays of fewer than [`POINTS`] peers have fewer
/// points, so it is looked up by its share.
fn left(curve: &Robustness) -> Option<f64> {
    let off = |share: f64| (share - REMOVED as f64 / 100.0).abs();
    let nearest = curve.points.iter().min_by(|a, b| off(a.removed).total_cmp(&off(b.removed)));
    nearest.map(|p| p.largest_of_left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_figures_of_its_graph() {
        let r = OverlayReport::of_rule(Rule::Law, 300, 100, 1, 0);
        assert_eq!((r.peers, r.turnover, r.components), (300, 100, 1));
        assert_eq!(r.scenario, "law, after 100 % turnover");
        assert_eq!(r.degrees.iter().map(|b| b.1).sum::<u64>(), 300);
        assert!((r.mean_degree - 2.0 * r.edges as f64 / 300.0).abs() < 1e-9);
        assert!(r.degrees_fit.is_some() && r.left_after_failures > Some(0.9));
        let load = r.load.unwrap();
        // Together they send 299 copies of each message, so somebody sends one at least.
        assert!(load.busiest > 0.9 && load.busiest < load.degree as f64, "{load:?}");
        assert_eq!(r, OverlayReport::of_rule(Rule::Law, 300, 100, 1, 0));
    }

    #[test]
    fn a_tenth_is_found_in_small_overlays_too() {
        let r = OverlayReport::of_rule(Rule::Capacity, 10, 0, 1, 0);
        // The first ten peers are all linked with each other.
        assert_eq!((r.left_after_failures, r.left_after_attack), (Some(1.0), Some(1.0)));
        assert!(r.degrees_fit_error.is_some());
    }
}
