//! The report of an overlay, with the same figures for every rule and for simulated networks.

use rumormill_analysis::{
    Attack, Clustering, Components, Cutoff, Distances, Fit, FitOptions, Graph, GraphError,
    Robustness,
};
use serde::{Deserialize, Serialize};

use super::Rule;
use super::relay_load::RelayLoad;
use crate::report::{GraphReport, Report};
use crate::scenario::MAX_PEERS;

/// Most links of an overlay that a report lists completely.
const LARGEST_GRAPH: usize = 100_000;
/// Number of sources from which paths are measured in large overlays.
const SOURCES: usize = 64;
/// Repetitions of the random removal.
const REMOVALS: u32 = 10;
/// Points of a curve: one for every percent.
const POINTS: usize = 101;
/// The percentage of peers removed for [`OverlayReport::left_after_failures`].
const REMOVED: usize = 10;

/// Figures of an overlay. Fields that [`Report`] also has have the same names, so both can be
/// plotted in the same way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OverlayReport {
    /// The rule or the simulated scenario, with the turnover.
    pub scenario: String,
    /// Name of the rule or of the simulated scenario.
    pub rule: String,
    /// Description of the rule in one line.
    pub about: String,
    /// The random seed.
    pub seed: u64,
    /// Number of peers.
    pub peers: usize,
    /// Departures in percent of the peers.
    pub turnover: u64,
    /// Number of links.
    pub edges: usize,
    /// Mean degree.
    pub mean_degree: f64,
    /// Largest degree.
    pub largest_degree: u64,
    /// Number of components.
    pub components: usize,
    /// Share of the peers in the largest component.
    pub largest_component: f64,
    /// Degree distribution: pairs of degree and number of peers.
    pub degrees: Vec<(u64, u64)>,
    /// The power laws fitted to it.
    pub degrees_fit: Option<Fit>,
    /// Why no power law was fitted.
    pub degrees_fit_error: Option<String>,
    /// Shortest paths of the largest component.
    pub distances: Option<Distances>,
    /// Clustering.
    pub clustering: Option<Clustering>,
    /// Relay load of the busiest peer.
    pub load: Option<RelayLoad>,
    /// Share of the remaining peers in the largest component after removal of 10 % at random.
    pub left_after_failures: Option<f64>,
    /// The same after removal of the 10 % with the highest degrees.
    pub left_after_attack: Option<f64>,
    /// Connectivity when peers are removed.
    pub robustness: Vec<Robustness>,
    /// The overlay itself, if it is not too large.
    pub graph: Option<GraphReport>,
}

/// The names of an overlay in a report.
struct Name {
    rule: String,
    about: String,
    turnover: u64,
}

/// Why the overlay of a report cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum NoOverlay {
    /// The report does not list the links.
    #[error(
        "the report does not list its links; reports of one run do, up to {LARGEST_GRAPH} of them"
    )]
    Missing,
    /// The report has more peers than a simulation can have.
    #[error("the report has {0} peers; a simulation has {MAX_PEERS} at most")]
    TooLarge(usize),
    /// The links are not a valid graph.
    #[error("the links of the report are not a valid graph: {0}")]
    Graph(#[from] GraphError),
}

impl OverlayReport {
    /// Builds the overlay of a rule and measures it. `replicates` is the number of bootstrap
    /// replicates for the p-values of the fits.
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
    /// The report does not list the overlay completely.
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
            load: RelayLoad::new(graph, seed),
            left_after_failures: random.as_ref().and_then(share_after_removal),
            left_after_attack: hubs.as_ref().and_then(share_after_removal),
            robustness: random.into_iter().chain(hubs).collect(),
            graph: (graph.edge_count() <= LARGEST_GRAPH)
                .then(|| GraphReport { nodes: graph.len(), edges: graph.edges().collect() }),
        }
    }
}

/// The value of the curve where a tenth of the peers is removed. Overlays of fewer than [`POINTS`]
/// peers have fewer points, so the point is found by its share.
fn share_after_removal(curve: &Robustness) -> Option<f64> {
    let off = |share: f64| (share - REMOVED as f64 / 100.0).abs();
    let nearest = curve.points.iter().min_by(|a, b| off(a.removed).total_cmp(&off(b.removed)));
    nearest.map(|p| p.largest_of_left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_has_the_figures_of_its_graph() {
        let r = OverlayReport::of_rule(Rule::Law, 300, 100, 1, 0);
        assert_eq!((r.peers, r.turnover, r.components), (300, 100, 1));
        assert_eq!(r.scenario, "law, after 100 % turnover");
        assert_eq!(r.degrees.iter().map(|b| b.1).sum::<u64>(), 300);
        assert!((r.mean_degree - 2.0 * r.edges as f64 / 300.0).abs() < 1e-9);
        assert!(r.degrees_fit.is_some() && r.left_after_failures > Some(0.9));
        let load = r.load.unwrap();
        // All peers together send 299 copies of each message, so one peer sends at least one.
        assert!(load.busiest > 0.9 && load.busiest < load.degree as f64, "{load:?}");
        assert_eq!(r, OverlayReport::of_rule(Rule::Law, 300, 100, 1, 0));
    }

    #[test]
    fn removal_of_a_tenth_is_reported_for_small_overlays() {
        let r = OverlayReport::of_rule(Rule::Capacity, 10, 0, 1, 0);
        // The first ten peers are all linked with each other.
        assert_eq!((r.left_after_failures, r.left_after_attack), (Some(1.0), Some(1.0)));
        assert!(r.degrees_fit_error.is_some());
    }
}
