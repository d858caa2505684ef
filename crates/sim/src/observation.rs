//! The observation of a whole world, which is the input of the checkers. It is plain data, so that
//! a test can plant a violation in it.

use core::time::Duration;
use std::collections::BTreeSet;

use rumormill_proto::snapshot::{MemberView, PeerSnapshot, PublisherView, SeedSnapshot};
use rumormill_proto::{Config, PeerId, Role, Time};

use crate::graph::Graph;
use crate::ledger::Ledger;
use crate::node::{NodeId, NodeStatus};

/// The state of a node at the moment of the observation.
#[derive(Debug, Clone)]
pub struct NodeObservation {
    /// The node.
    pub node: NodeId,
    /// Its key.
    pub id: PeerId,
    /// Its role.
    pub role: Role,
    /// Its settings.
    pub config: Config,
    /// The state of its process.
    pub status: NodeStatus,
    /// When its process started.
    pub started_at: Time,
    /// Total time for which its processes have run.
    pub uptime: Duration,
    /// Its snapshot, if it is a peer whose process exists.
    pub peer: Option<PeerSnapshot>,
    /// Its message list, by stream.
    pub publishers: Vec<PublisherView>,
    /// Its snapshot, if it is a seed whose process exists.
    pub seed: Option<SeedSnapshot>,
    /// Its registry, if it is a seed.
    pub registry: Vec<MemberView>,
    /// The live peers to which it has a link that is up at both ends; once for each link,
    /// ascending.
    pub linked: Vec<NodeId>,
}

impl NodeObservation {
    /// Whether it is a peer whose process runs.
    #[must_use]
    pub fn is_live_peer(&self) -> bool {
        self.status == NodeStatus::Running && self.peer.is_some()
    }

    /// Whether it is a seed whose process runs.
    #[must_use]
    pub fn is_live_seed(&self) -> bool {
        self.status == NodeStatus::Running && self.seed.is_some()
    }
}

/// A whole world at one moment, with the ledger of everything before.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The moment.
    pub now: Time,
    /// Number of seeds, dead or alive.
    pub seeds: usize,
    /// The nodes, ascending.
    pub nodes: Vec<NodeObservation>,
    /// Ids of the adversaries: no promise applies to them or to their messages.
    pub adversaries: BTreeSet<PeerId>,
    /// The overlay of the live peers.
    pub graph: Graph,
    /// The recorded events up to this moment.
    pub ledger: Ledger,
    /// How long after the end of an impairment a removal may still follow from it: detection,
    /// agreement and network delay.
    pub grace: Duration,
    /// Since when the network has been undisturbed, deaths of peers aside.
    pub quiet_since: Time,
    /// How long a message may be under way before its absence is a violation.
    pub settle: Duration,
}

impl Observation {
    /// Size of a majority of the seeds.
    #[must_use]
    pub const fn seed_quorum(&self) -> usize {
        self.seeds / 2 + 1
    }

    /// The node with this key.
    #[must_use]
    pub fn node_of(&self, id: &PeerId) -> Option<&NodeObservation> {
        self.nodes.iter().find(|n| n.id == *id)
    }

    /// The live peers.
    pub fn live_peers(&self) -> impl Iterator<Item = &NodeObservation> {
        self.nodes.iter().filter(|n| n.is_live_peer())
    }

    /// The live seeds.
    pub fn live_seeds(&self) -> impl Iterator<Item = &NodeObservation> {
        self.nodes.iter().filter(|n| n.is_live_seed())
    }
}

/// How long after the end of an impairment a removal may follow from it under these settings: the
/// misses, two probe bursts (the neighbour's and the seeds'), the window for reports, and two
/// seconds of network delay.
#[must_use]
pub fn grace(config: &Config) -> Duration {
    config.ping_interval() * (config.misses() + 1)
        + config.ping_timeout()
        + config.probe_burst() * 2
        + config.report_window()
        + Duration::from_secs(2)
}

/// How long a dead process may stay alive in a registry in an otherwise undisturbed network,
/// whatever its degree: the silence after which a seed gives up its link, the probes of the seed
/// and of the witnesses that it appoints, twice, and two seconds of network delay.
#[must_use]
pub fn removal_limit(config: &Config) -> Duration {
    config.seed_ping_interval() * 4 + config.probe_burst() * 6 + Duration::from_secs(2)
}

/// How long a message may be under way under these settings: two comparisons of message lists, and
/// two seconds of network delay.
#[must_use]
pub fn settle(config: &Config) -> Duration {
    config.sync_interval() * 2 + Duration::from_secs(2)
}
