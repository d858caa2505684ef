//! What the page is told of the network, as JSON. Times are Unix microseconds (`_us`), delays are
//! milliseconds (`_ms`).

use std::collections::BTreeMap;

use rumormill_analysis::Fit;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whose view it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All nodes of a network run in the process that serves this: what each says of itself.
    Network,
    /// One peer's own view.
    #[default]
    Peer,
    /// One seed's registry: who there is, and how many neighbours each has, but not which.
    Seed,
}

/// The network at one moment: `GET /v1/network`, and the item `network` of its stream.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct NetworkView {
    /// When, by the clock of the process that serves it.
    pub at_us: u64,
    /// Whose view it is.
    pub scope: Scope,
    /// The peers, by id.
    pub peers: Vec<PeerDot>,
    /// Edges as places in `peers`, the smaller first, and of how many publishers messages travel along it.
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
    /// `alive`, `suspect`, `dead`, `left`, `expired`, or for one served here `joining`, `degraded`, `frozen`.
    pub state: String,
    /// Whether it is served here, so that it can be asked and told.
    pub here: bool,
    /// Neighbours.
    pub degree: u32,
    /// Neighbours wanted.
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
    /// For the dead: who reported it, by name.
    pub witnesses: Vec<String>,
    /// For the dead: the seeds that agreed, by address.
    pub seeds: Vec<String>,
    /// For the dead: when this was first seen here, if somebody looked.
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

/// How many peers have how many neighbours: the item `degrees`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Degrees {
    /// Degree and number of peers, ascending.
    pub counts: Vec<(u64, u64)>,
    /// The fitted law, if there are enough different degrees for one.
    pub fit: Option<Fit>,
    /// Why there is none.
    pub unfit: Option<String>,
}

/// What happened in the last while, all served nodes together: the item `rates`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Rates {
    /// When, by the clock of the process that serves it.
    pub at_us: u64,
    /// How long the while was, in seconds.
    pub over_s: f64,
    /// Messages delivered.
    pub delivered: u64,
    /// Messages received that were known already.
    pub duplicates: u64,
    /// Bytes written by class of frame.
    pub bytes_out: BTreeMap<String, u64>,
    /// What was dropped or refused, by counter; only what was.
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
    /// Peers served here that had got it, when this was said.
    pub reached: u32,
    /// Microseconds after it was published that the last of them got it.
    pub last_us: u64,
}

/// Arrivals of messages: the item `arrivals`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArrivalDot {
    /// The id of the message.
    pub message: String,
    /// Who got it.
    pub peer: String,
    /// From whom; nobody for its publisher.
    pub from: Option<String>,
    /// Microseconds after it was published.
    pub after_us: u64,
    /// Links it crossed.
    pub hops: u16,
}

/// One message and where it got: `GET /v1/network/messages/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Spread {
    /// The message.
    #[serde(flatten)]
    pub message: MessageDot,
    /// Its arrivals, in the order they were seen.
    pub arrivals: Vec<ArrivalDot>,
    /// Names of the peers served here that have not got it.
    pub missing: Vec<String>,
    /// How many times it came again, over all peers served here that hold it still.
    pub duplicates: u64,
}
