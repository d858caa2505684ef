//! The report of a run: figures as plain data that is written as JSON and read back.

use std::collections::BTreeMap;

use rumormill_analysis::{Clustering, Distances, Fit, Propagation, Robustness};
use serde::{Deserialize, Serialize};

/// The report of one run. The same scenario and random seed give the same report, apart from
/// [`Cost`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The scenario.
    pub scenario: String,
    /// The random seed.
    pub seed: u64,
    /// Changed settings of the scenario, by path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Initial number of peers.
    pub peers: usize,
    /// Number of seeds.
    pub seeds: usize,
    /// Preset of the nodes' settings.
    pub preset: String,
    /// Broadcast mode.
    pub broadcast: String,
    /// Whether every promise and every expectation held.
    pub passed: bool,
    /// Descriptions of broken promises and unmet expectations.
    pub problems: Vec<String>,
    /// The result of each promise.
    pub promises: BTreeMap<String, PromiseReport>,
    /// How often the promises were checked.
    pub checks: u64,
    /// The first broken promise.
    pub failure: Option<FailureReport>,
    /// Length of the run in virtual seconds.
    pub simulated_seconds: f64,
    /// Virtual seconds from the last start of a peer until the network was at rest; none if it did
    /// not come to rest.
    pub join_seconds: Option<f64>,
    /// Virtual seconds from the end of the active phase until the network was at rest; none if it
    /// did not come to rest.
    pub calm_seconds: Option<f64>,
    /// Inputs handled by all nodes.
    pub events: u64,
    /// Frames handled.
    pub frames: u64,
    /// Bytes of the frames handled; 0 with fast keys, where nothing is encoded.
    pub bytes: u64,
    /// Cost of the run, where the caller measured it.
    #[serde(flatten)]
    pub cost: Cost,
    /// Live peers at the end.
    pub live_peers: usize,
    /// Peers that were added after the join phase.
    pub came: usize,
    /// Peers that departed by churn.
    pub went: u64,
    /// Components of the overlay of live peers.
    pub components: usize,
    /// Edges of the overlay.
    pub edges: usize,
    /// Degree distribution: pairs of degree and number of peers.
    pub degrees: Vec<(u64, u64)>,
    /// The power laws fitted to it.
    pub degrees_fit: Option<Fit>,
    /// Why no power law was fitted.
    pub degrees_fit_error: Option<String>,
    /// Shortest paths of the overlay.
    pub distances: Option<Distances>,
    /// Clustering of the overlay.
    pub clustering: Option<Clustering>,
    /// Connectivity of the overlay when peers are removed.
    pub robustness: Vec<Robustness>,
    /// The overlay itself, if it was requested and is not too large.
    pub graph: Option<GraphReport>,
    /// Messages.
    pub messages: MessageReport,
    /// Propagation of messages among the peers to which they were owed.
    pub propagation: Option<Propagation>,
    /// Deaths.
    pub deaths: DeathReport,
    /// A hash over every input of every node, in order.
    pub trace_hash: String,
}

/// Cost of a run on the machine that executed it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Wall-clock seconds.
    pub wall_seconds: Option<f64>,
    /// Inputs per wall-clock second.
    pub events_per_second: Option<f64>,
    /// Growth of the process in bytes, divided by the number of peers.
    pub bytes_per_peer: Option<u64>,
}

/// The result of a promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromiseReport {
    /// Whether it held.
    pub held: bool,
    /// Number of violations found.
    pub broken: u64,
    /// Description of the first violation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
}

impl PromiseReport {
    pub(crate) const fn kept() -> Self {
        PromiseReport { held: true, broken: 0, first: None }
    }
}

/// The first broken promise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailureReport {
    /// Virtual seconds at which the violation was found, with a check every tenth of a second.
    pub at_seconds: f64,
    /// The promise.
    pub promise: String,
    /// Description of the violation.
    pub what: String,
    /// The nodes concerned.
    pub nodes: Vec<String>,
    /// Inputs and events of these nodes in the two seconds before; the last lines.
    pub trace: Vec<String>,
}

/// An overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphReport {
    /// Nodes, numbered from 0.
    pub nodes: usize,
    /// Edges between them.
    pub edges: Vec<(u32, u32)>,
}

/// Messages of a run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct MessageReport {
    /// Published messages.
    pub published: u64,
    /// Publish calls refused as busy by flow control.
    pub busy: u64,
    /// Deliveries to applications.
    pub deliveries: u64,
    /// Deliveries owed: to peers that were connected at publication and undisturbed since.
    pub owed: u64,
    /// Fraction of the owed deliveries that were made.
    pub delivered_fraction: f64,
    /// Gaps reported to applications.
    pub gaps: u64,
    /// Mean number of copies of a batch at each peer that received it.
    pub copies_per_peer: f64,
    /// Frames dropped because a queue was full.
    pub queue_drops: u64,
    /// Frames of adversaries that were refused.
    pub refused: u64,
}

/// Deaths of a run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct DeathReport {
    /// Peers that died and were removed before they came back.
    pub died: u64,
    /// Seconds from the death to the certificate at the first seed: median.
    pub detection_median: Option<f64>,
    /// 99th percentile of the same time.
    pub detection_p99: Option<f64>,
    /// Longest of the same times.
    pub detection_max: Option<f64>,
    /// Incarnations that were declared dead while they were live and reachable.
    pub false_deaths: u64,
    /// Total hours for which the processes of all peers ran.
    pub peer_hours: f64,
}
