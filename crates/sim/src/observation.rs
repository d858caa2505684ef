//! One look at a whole world: what the checkers judge. It is plain data, so that a test can plant a
//! fault in it.

use core::time::Duration;
use std::collections::BTreeSet;

use rumormill_proto::snapshot::{MemberView, PeerSnapshot, PublisherView, SeedSnapshot};
use rumormill_proto::{Config, PeerId, Role, Time};

use crate::graph::Graph;
use crate::ledger::Ledger;
use crate::node::{NodeId, NodeStatus};

/// A node as it is now.
#[derive(Debug, Clone)]
pub struct NodeObservation {
    /// The node.
    pub node: NodeId,
    /// Its key.
    pub id: PeerId,
    /// What it is.
    pub role: Role,
    /// Its settings.
    pub config: Config,
    /// Its state.
    pub status: NodeStatus,
    /// When its process started.
    pub life_since: Time,
    /// How long its processes have run, all together.
    pub lived: Duration,
    /// Its view, if it is a peer whose process exists.
    pub peer: Option<PeerSnapshot>,
    /// Its message list in figures.
    pub publishers: Vec<PublisherView>,
    /// Its view, if it is a seed whose process exists.
    pub seed: Option<SeedSnapshot>,
    /// Its registry, if it is a seed.
    pub registry: Vec<MemberView>,
    /// The live peers that it has a link to, open at both ends; once for each link, ascending.
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

/// A whole world at one moment, with its past.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The moment.
    pub now: Time,
    /// Seeds in the network, dead or alive.
    pub seeds: usize,
    /// The nodes, ascending.
    pub nodes: Vec<NodeObservation>,
    /// Nodes that play by no rules: nothing is promised to them, or of what they say.
    pub strangers: BTreeSet<PeerId>,
    /// The overlay of the live peers.
    pub graph: Graph,
    /// What happened so far.
    pub ledger: Ledger,
    /// How long after the end of a trouble a removal may still come of it: detection, agreement
    /// and the way there.
    pub grace: Duration,
    /// Since when nothing has disturbed the network, deaths of peers aside.
    pub quiet_since: Time,
    /// How long a message may take until its absence is a fault.
    pub settle: Duration,
}

impl Observation {
    /// A majority of the seeds.
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

/// How long after a trouble a removal may come of it under these settings: the misses, two probe
/// bursts (the observer's and the seeds'), the window for reports, and two seconds of way.
#[must_use]
pub fn grace(config: &Config) -> Duration {
    config.ping_interval() * (config.misses() + 1)
        + config.ping_timeout()
        + config.probe_burst() * 2
        + config.report_window()
        + Duration::from_secs(2)
}

/// How long after its death a process may be in a registry as alive where nothing else is wrong,
/// whatever its degree: the silence after which a seed gives its link up, the probes of the seed and of
/// the witnesses that it draws, twice, and two seconds of way.
#[must_use]
pub fn prompt(config: &Config) -> Duration {
    config.seed_ping_interval() * 4 + config.probe_burst() * 6 + Duration::from_secs(2)
}

/// How long a message may take under these settings: two comparisons of message lists, and two
/// seconds of way.
#[must_use]
pub fn settle(config: &Config) -> Duration {
    config.sync_interval() * 2 + Duration::from_secs(2)
}
