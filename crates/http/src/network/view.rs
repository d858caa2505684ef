//! The network as JSON for the page. Times are Unix microseconds (`_us`), delays are milliseconds
//! (`_ms`).

use std::collections::BTreeMap;

use rumormill_analysis::Fit;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The source of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All nodes of a network, which run in the process that serves the view.
    Network,
    /// One peer's own view.
    #[default]
    Peer,
    /// One seed's registry: the members and their degrees, without their links.
    Seed,
}

/// The network at one moment: `GET /v1/network`, and the item `network` of its stream.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct NetworkView {
    /// When, by the clock of the process that serves it.
    pub at_us: u64,
    /// The source of the view.
    pub scope: Scope,
    /// The peers, by id.
    pub peers: Vec<PeerDot>,
    /// Links as two indices of `peers`, the smaller one first, and the number of publishers whose
    /// trees use the link.
    #[schema(value_type = Vec<[u32; 3]>)]
    pub links: Vec<(u32, u32, u32)>,
    /// Connected components among the peers whose neighbours are known.
    pub components: u32,
    /// The seeds.
    pub seeds: Vec<SeedDot>,
}

/// A peer in the picture and in the table.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct PeerDot {
    /// Its id.
    pub id: String,
    /// Its name, or the beginning of its id.
    pub name: String,
    /// `alive`, `suspect`, `dead`, `left`, `expired`, or for one served here `joining`, `degraded`,
    /// `frozen`.
    pub state: String,
    /// Whether it is served here, so that requests can name it.
    pub here: bool,
    /// Neighbours.
    pub degree: u32,
    /// Target number of neighbours.
    pub target: u16,
    /// Its incarnation.
    pub incarnation: u64,
    /// Where it listens.
    pub address: String,
    /// Mean of the smoothed delays to its neighbours.
    pub rtt_ms: Option<f64>,
    /// Position in the unit square; absent where its neighbours are not known.
    #[schema(value_type = Option<[f64; 2]>)]
    pub at: Option<(f64, f64)>,
    /// For a dead peer: the names of the neighbours that reported it.
    pub witnesses: Vec<String>,
    /// For a dead peer: the addresses of the seeds that agreed.
    pub seeds: Vec<String>,
    /// For a dead peer: when the death was first seen here, if a page was connected.
    pub found_us: Option<u64>,
}

/// A seed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct SeedDot {
    /// Its id, once known.
    pub id: Option<String>,
    /// Its name here, or its `HOST:PORT`.
    pub name: String,
    /// Its `HOST:PORT`.
    pub address: String,
    /// Whether it is served here.
    pub here: bool,
    /// Whether it answers (here: runs; else: a link to it is up).
    pub connected: bool,
    /// Whether it answers for the network; at a peer, whether the registration there holds.
    pub synced: bool,
    /// Peers alive in its registry, if it is served here.
    pub alive: Option<u32>,
}

/// The distribution of degrees: the item `degrees`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Degrees {
    /// Degree and number of peers, ascending.
    pub counts: Vec<(u64, u64)>,
    /// The fitted law, if there are enough different degrees for one.
    pub fit: Option<Fit>,
    /// Why there is no fitted law.
    pub unfit: Option<String>,
}

/// The activity of the last interval, all served nodes together: the item `rates`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Rates {
    /// When, by the clock of the process that serves it.
    pub at_us: u64,
    /// Length of the interval, in seconds.
    pub over_s: f64,
    /// Messages delivered.
    pub delivered: u64,
    /// Messages received that were known already.
    pub duplicates: u64,
    /// Bytes written by class of frame.
    pub bytes_out: BTreeMap<String, u64>,
    /// Drops and refusals by counter; counters without any are left out.
    pub drops: BTreeMap<String, u64>,
    /// From publishing to arrival, of those that arrived: 50th, 90th and 99th percentile.
    #[schema(value_type = Option<[f64; 3]>)]
    pub latency_ms: Option<(f64, f64, f64)>,
    /// The smallest part of a publisher's window that is free, 0 to 1.
    pub headroom: Option<f64>,
}

/// A message as it spreads: the item `message`, and `GET /v1/network/messages`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageDot {
    /// Its id: `PUBLISHER/EPOCH/SEQUENCE`.
    pub id: String,
    /// Its publisher.
    pub publisher: String,
    /// Its topic.
    pub topic: String,
    /// Its length in bytes.
    pub bytes: usize,
    /// The beginning of its content, if that is text.
    pub text: Option<String>,
    /// When it was published, by its publisher's clock.
    pub published_us: u64,
    /// Number of peers served here that had received it when this item was sent.
    pub reached: u32,
    /// Microseconds from its publishing until the last of them received it.
    pub last_us: u64,
}

/// Arrivals of messages: the item `arrivals`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArrivalDot {
    /// The id of the message.
    pub message: String,
    /// The peer that received it.
    pub peer: String,
    /// The neighbour that sent it; absent for its publisher.
    pub from: Option<String>,
    /// Microseconds after it was published.
    pub after_us: u64,
    /// Links it crossed.
    pub hops: u16,
}

/// One message and its arrivals: `GET /v1/network/messages/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Spread {
    /// The message.
    #[serde(flatten)]
    pub message: MessageDot,
    /// Its arrivals, in the order they were seen.
    pub arrivals: Vec<ArrivalDot>,
    /// Names of the peers served here that have not received it.
    pub missing: Vec<String>,
    /// Number of duplicates, over all peers served here that still hold it.
    pub duplicates: u64,
}
