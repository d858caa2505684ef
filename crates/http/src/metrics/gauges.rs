//! The gauges: values of the present state of a node.

use prometheus_client::registry::Unit;
use rumormill::proto::snapshot::PeerState;

use super::sample::{NodeSample, State};

/// The histogram of delays: its name and what it says.
pub(super) const DELAY: (&str, &str) = (
    "delivery_delay",
    "How long messages of others took from their publisher to the delivery here, by the clocks of both",
);

/// The gauge of a node's links with the seeds: its name, its label, and what it says.
pub(super) const SEED: (&str, &str, &str) = (
    "seed_connected",
    "seed",
    "Whether a link to the seed is up; for a peer, whether the registration there holds as well",
);

/// The version: its name, its label, and what it says.
pub(super) const BUILD: (&str, &str, &str) = ("build", "version", "The version that runs");

/// One value of a node.
#[derive(Debug)]
pub(super) struct Gauge {
    /// Without prefix and unit.
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) unit: Option<Unit>,
    /// `None` if a node of this role has no such value.
    pub(super) value: fn(&NodeSample) -> Option<f64>,
}

macro_rules! of_peer {
    ($peer:ident => $value:expr) => {
        |sample| match &sample.state {
            State::Peer($peer, _) => Some($value),
            State::Seed(_) => None,
        }
    };
}

macro_rules! of_seed {
    ($seed:ident => $value:expr) => {
        |sample| match &sample.state {
            State::Seed($seed) => Some($value),
            State::Peer(..) => None,
        }
    };
}

macro_rules! of_both {
    ($node:ident => $value:expr) => {
        |sample| match &sample.state {
            State::Peer($node, _) => Some($value),
            State::Seed($node) => Some($value),
        }
    };
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    value: fn(&NodeSample) -> Option<f64>,
) -> Gauge {
    Gauge { name, help, unit, value }
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

#[allow(clippy::cast_precision_loss)] // Exact up to 2^53, far beyond what a node holds.
fn large(n: u64) -> f64 {
    n as f64
}

#[allow(clippy::cast_precision_loss)]
fn count(n: usize) -> f64 {
    n as f64
}

/// All gauges.
pub(super) const GAUGES: &[Gauge] = &[
    gauge("uptime", "Since the node started in this process", Some(Unit::Seconds), |l| {
        Some(l.served.uptime().as_secs_f64())
    }),
    gauge(
        "alive_peers",
        "Peers alive: in the view of a peer, in the registry of a seed",
        None,
        of_both!(n => f64::from(n.alive)),
    ),
    gauge("links", "Links that are up, of all kinds", None, of_both!(n => f64::from(n.links))),
    gauge(
        "seed_quorum",
        "Seeds that make a majority",
        None,
        of_both!(n => f64::from(n.seed_quorum)),
    ),
    gauge(
        "joined",
        "1 if a majority of the seeds holds the registration",
        None,
        of_peer!(p => flag(p.state == PeerState::Joined)),
    ),
    gauge(
        "registrations",
        "Seeds that hold the registration",
        None,
        of_peer!(p => count(p.seeds.iter().filter(|s| s.registered).count())),
    ),
    gauge(
        "network_peers",
        "Peers in the network, as the seeds say",
        None,
        of_peer!(p => f64::from(p.network_size)),
    ),
    gauge("degree", "Neighbours", None, of_peer!(p => count(p.neighbours.len()))),
    gauge("target_degree", "Target number of neighbours", None, of_peer!(p => f64::from(p.target))),
    gauge(
        "suspects",
        "Neighbours that are suspected",
        None,
        of_peer!(p => count(p.neighbours.iter().filter(|n| n.suspect).count())),
    ),
    gauge(
        "incarnation",
        "Incarnation of the peer, from the clock in milliseconds at its start",
        None,
        of_peer!(p => large(p.incarnation)),
    ),
    gauge(
        "retained_messages",
        "Messages retained for other peers",
        None,
        of_peer!(p => large(p.retained_messages)),
    ),
    gauge(
        "retained",
        "Bytes of the retained messages",
        Some(Unit::Bytes),
        of_peer!(p => large(p.retained_bytes)),
    ),
    gauge("synced", "1 if the seed answers for the network", None, of_seed!(s => flag(s.synced))),
    gauge(
        "connected_peers",
        "Peers registered over a link that is up",
        None,
        of_seed!(s => f64::from(s.connected_peers)),
    ),
    gauge(
        "registry_entries",
        "Entries of the registry, alive or not",
        None,
        of_seed!(s => f64::from(s.entries)),
    ),
    gauge("cases", "Open cases of accused peers", None, of_seed!(s => f64::from(s.cases))),
];
