//! What came of a run, in figures: plain data that is written as JSON and read back.

use std::collections::BTreeMap;

use rumormill_analysis::{Clustering, Distances, Fit, Propagation, Robustness};
use serde::{Deserialize, Serialize};

/// Everything about one run. Same scenario and seed, same report, apart from [`Cost`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The scenario.
    pub scenario: String,
    /// The number that decided everything left to chance.
    pub seed: u64,
    /// Settings that were changed from outside, by path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Peers at the beginning.
    pub peers: usize,
    /// Seeds.
    pub seeds: usize,
    /// Timings of the nodes.
    pub preset: String,
    /// How messages spread.
    pub broadcast: String,
    /// Whether everything held that had to.
    pub passed: bool,
    /// What did not hold, in words.
    pub problems: Vec<String>,
    /// What became of each promise.
    pub promises: BTreeMap<String, PromiseReport>,
    /// Times that the promises were looked at.
    pub looks: u64,
    /// The first broken promise.
    pub failure: Option<FailureReport>,
    /// Virtual seconds in all.
    pub simulated_seconds: f64,
    /// Virtual seconds from the last start to rest; none if it did not come to rest.
    pub join_seconds: Option<f64>,
    /// Virtual seconds from the end of the action to rest; none if it did not come to rest.
    pub calm_seconds: Option<f64>,
    /// Inputs handled by all nodes.
    pub events: u64,
    /// Frames handled.
    pub frames: u64,
    /// Bytes of the frames handled; 0 with fast keys, where nothing is encoded.
    pub bytes: u64,
    /// What the run cost; none if nobody measured it.
    #[serde(flatten)]
    pub cost: Cost,
    /// Peers that live at the end.
    pub live_peers: usize,
    /// Peers that came after the beginning.
    pub came: usize,
    /// Peers that went by churn.
    pub went: u64,
    /// Components of the overlay of live peers.
    pub components: usize,
    /// Links of the overlay.
    pub edges: usize,
    /// How many peers have how many neighbours.
    pub degrees: Vec<(u64, u64)>,
    /// The laws fitted to it.
    pub degrees_fit: Option<Fit>,
    /// Why no law was fitted.
    pub degrees_fit_error: Option<String>,
    /// Paths of the overlay.
    pub distances: Option<Distances>,
    /// Triangles of the overlay.
    pub clustering: Option<Clustering>,
    /// What is left of the overlay when peers are taken out.
    pub robustness: Vec<Robustness>,
    /// The overlay itself, if it was asked for and is not too large.
    pub graph: Option<GraphReport>,
    /// Messages.
    pub messages: MessageReport,
    /// How messages spread among the peers that they were owed to.
    pub propagation: Option<Propagation>,
    /// Deaths.
    pub deaths: DeathReport,
    /// A hash over every input of every node, in order.
    pub trace_hash: String,
}

/// What a run cost the machine.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds it took.
    pub wall_seconds: Option<f64>,
    /// Inputs a second.
    pub events_per_second: Option<f64>,
    /// Bytes by which the process grew, for each node.
    pub bytes_per_peer: Option<u64>,
}

/// What became of a promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromiseReport {
    /// Whether it held.
    pub held: bool,
    /// Times it was found broken.
    pub broken: u64,
    /// The first of them.
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
    /// Virtual seconds at which it was found, looking every tenth of a second.
    pub at_seconds: f64,
    /// Which.
    pub promise: String,
    /// How.
    pub what: String,
    /// The nodes concerned.
    pub nodes: Vec<String>,
    /// What they were told, and told, in the two seconds before; the last lines.
    pub trace: Vec<String>,
}

/// An overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphReport {
    /// Nodes, numbered from 0.
    pub nodes: usize,
    /// Links between them.
    pub edges: Vec<(u32, u32)>,
}

/// Messages of a run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct MessageReport {
    /// Published.
    pub published: u64,
    /// Refused by their own peer, because the network had to catch up first.
    pub busy: u64,
    /// Handed to applications.
    pub deliveries: u64,
    /// Deliveries that were owed: to peers connected at the time and undisturbed since.
    pub owed: u64,
    /// Part of them that took place.
    pub delivered_fraction: f64,
    /// Times that an application was told of messages it will not get.
    pub gaps: u64,
    /// Copies of a batch that each of the peers that got it received, on average.
    pub copies_per_peer: f64,
    /// Frames left out because a queue was full.
    pub queue_drops: u64,
    /// Frames of adversaries that were refused.
    pub refused: u64,
}

/// Deaths of a run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct DeathReport {
    /// Peers whose process or host was gone until they were found dead.
    pub died: u64,
    /// Seconds from that to the certificate at the first seed: median,
    pub detection_median: Option<f64>,
    /// 99 % of them,
    pub detection_p99: Option<f64>,
    /// and the longest.
    pub detection_max: Option<f64>,
    /// Peers that were declared dead while they were live and reachable.
    pub false_deaths: u64,
    /// Hours that the processes of all peers ran, together.
    pub peer_hours: f64,
}
