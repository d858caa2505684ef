//! The nodes of a run: in this process, or each in one of its own.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::inside::Inside;
use super::outside::Outside;
use super::plan::Fault;
use super::seen::{Facts, Members, Sight};
use crate::hello::TOPIC;
use rumormill_terminal::usage::Usage;
use rumormill_terminal::utc;

/// Sights that wait to be looked at. What observes a node waits when it is full; the library
/// counts what is missed meanwhile, and the run tells it.
pub(crate) const SIGHTS: usize = 65_536;

/// The nodes.
#[derive(Debug, Clone)]
pub(crate) enum Fleet {
    /// In this process.
    Inside(Arc<Inside>),
    /// Each in one of its own.
    Outside(Arc<Outside>),
}

impl Fleet {
    /// All nodes there are now.
    pub(crate) fn members(&self) -> &Members {
        match self {
            Fleet::Inside(f) => f.members(),
            Fleet::Outside(f) => f.members(),
        }
    }

    /// Has a peer publish; what comes of it is sent as a sight.
    pub(crate) fn publish(&self, peer: usize, content: Arc<str>, sights: mpsc::Sender<Sight>) {
        let fleet = self.clone();
        tokio::spawn(async move {
            let at_us = utc::now_us();
            let result = match &fleet {
                Fleet::Inside(f) => f.publish(peer, TOPIC, &content).await,
                Fleet::Outside(f) => f.publish(peer, TOPIC, &content).await,
            };
            let _ = sights.send(Sight::Published { peer, at_us, result }).await;
        });
    }

    /// Strikes a peer down.
    pub(crate) fn strike(&self, peer: usize, fault: Fault) -> Result<(), String> {
        match self {
            Fleet::Inside(f) => {
                f.strike(peer, fault);
                Ok(())
            }
            Fleet::Outside(f) => f.strike(peer, fault),
        }
    }

    /// Lets a stopped node go on.
    pub(crate) fn thaw(&self, node: usize) {
        if let Fleet::Inside(f) = self {
            f.thaw(node);
        }
    }

    /// Starts a further peer; what comes of it is sent as a sight.
    pub(crate) fn add(&self, sights: mpsc::Sender<Sight>) {
        let fleet = self.clone();
        tokio::spawn(async move {
            let result = match &fleet {
                Fleet::Inside(f) => f.add(&sights).await,
                // Nobody can wish for it: there is no page.
                Fleet::Outside(_) => return,
            };
            let _ = sights.send(Sight::Added(result)).await;
        });
    }

    /// Cuts the peers in two halves, or makes them one network again.
    pub(crate) fn cut(&self, cut: bool) {
        if let Fleet::Inside(f) = self {
            f.cut(cut);
        }
    }

    /// The address of the page that shows the run.
    pub(crate) fn page(&self) -> Option<String> {
        match self {
            Fleet::Inside(f) => f.page(),
            Fleet::Outside(_) => None,
        }
    }

    /// A node has ended.
    pub(crate) fn ended(&self, node: usize) {
        // A process takes its control file with it.
        if let Fleet::Inside(f) = self {
            f.ended(node);
        }
    }

    /// Asks a peer how it is.
    pub(crate) async fn peer_facts(&self, peer: usize) -> Result<Facts, String> {
        match self {
            Fleet::Inside(f) => f.peer_facts(peer).await,
            Fleet::Outside(f) => f.peer_facts(peer).await,
        }
    }

    /// Asks a seed for its counters.
    pub(crate) async fn seed_facts(&self, seed: usize) -> Result<Facts, String> {
        match self {
            Fleet::Inside(f) => f.seed_facts(seed).await,
            Fleet::Outside(f) => f.seed_facts(seed).await,
        }
    }

    /// What all processes of the run have used.
    pub(crate) fn usage(&self) -> Option<Usage> {
        match self {
            Fleet::Inside(_) => Usage::of_this_process(),
            Fleet::Outside(f) => f.usage(),
        }
    }

    /// Ends all nodes.
    pub(crate) async fn end(&self) {
        match self {
            Fleet::Inside(f) => f.end().await,
            Fleet::Outside(f) => f.end().await,
        }
    }
}
