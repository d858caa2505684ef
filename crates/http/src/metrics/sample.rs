//! One node at the moment of a scrape.

use std::sync::Arc;

use rumormill::proto::Counters;
use rumormill::proto::snapshot::{PeerSnapshot, SeedSnapshot};
use rumormill::{DelayHistogram, Node};

use crate::nodes::{Handle, ServedNode};

/// One node as it is now.
#[derive(Debug)]
pub(super) struct NodeSample {
    pub(super) served: Arc<ServedNode>,
    pub(super) state: State,
}

#[derive(Debug)]
pub(super) enum State {
    Peer(Box<PeerSnapshot>, DelayHistogram),
    Seed(Box<SeedSnapshot>),
}

impl NodeSample {
    /// `None` if the node has stopped.
    pub(super) async fn at(served: Arc<ServedNode>) -> Option<Self> {
        let state = match &served.handle {
            Handle::Peer(node) => {
                State::Peer(Box::new(node.snapshot().await.ok()?), Node::delays(node))
            }
            Handle::Seed(node) => State::Seed(Box::new(node.snapshot().await.ok()?)),
        };
        Some(NodeSample { served, state })
    }

    pub(super) fn counters(&self) -> &Counters {
        match &self.state {
            State::Peer(peer, _) => &peer.counters,
            State::Seed(seed) => &seed.counters,
        }
    }

    pub(super) fn labels(&self) -> Vec<(&'static str, String)> {
        vec![
            ("node", self.served.name.clone()),
            ("id", self.served.id.short()),
            ("role", self.served.handle.role().to_string()),
        ]
    }

    pub(super) fn labels_and(
        &self,
        label: Option<(&'static str, &str)>,
    ) -> Vec<(&'static str, String)> {
        let mut labels = self.labels();
        labels.extend(label.map(|(name, value)| (name, value.to_owned())));
        labels
    }
}
