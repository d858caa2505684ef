//! The state of a node, as it reports it when the run asks.

use std::collections::BTreeMap;

use rumormill::proto::snapshot::{PeerSnapshot, SeedSnapshot};
use rumormill::proto::{Counters, PeerId};

/// The part of a node's state that the run looks at.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeReport {
    /// Ids of its neighbours.
    pub(crate) neighbours: Vec<PeerId>,
    /// Seeds that hold its registration.
    pub(crate) registrations: usize,
    /// Registrations needed.
    pub(crate) seed_quorum: u32,
    /// Its counters.
    pub(crate) counters: BTreeMap<String, u64>,
}

impl NodeReport {
    pub(crate) fn of_peer(s: &PeerSnapshot) -> Self {
        NodeReport {
            neighbours: s.neighbours.iter().map(|n| n.id).collect(),
            registrations: s.seeds.iter().filter(|v| v.registered).count(),
            seed_quorum: s.seed_quorum,
            counters: counters(&s.counters),
        }
    }

    pub(crate) fn of_seed(s: &SeedSnapshot) -> Self {
        let counters = counters(&s.counters);
        NodeReport { seed_quorum: s.seed_quorum, counters, ..NodeReport::default() }
    }
}

fn counters(counters: &Counters) -> BTreeMap<String, u64> {
    counters.iter().map(|(name, n)| (name.to_owned(), n)).collect()
}
