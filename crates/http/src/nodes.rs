//! The nodes that one server serves.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use rumormill::proto::{PeerId, Role};
use rumormill::{Node, SeedNode};

use crate::problem::Problem;
use crate::view::{NodeContext, NodeLine};

/// A running node of either role.
#[derive(Debug, Clone)]
pub enum Handle {
    /// A peer.
    Peer(Node),
    /// A seed.
    Seed(SeedNode),
}

impl From<Node> for Handle {
    fn from(node: Node) -> Self {
        Handle::Peer(node)
    }
}

impl From<SeedNode> for Handle {
    fn from(node: SeedNode) -> Self {
        Handle::Seed(node)
    }
}

impl Handle {
    /// Its role.
    #[must_use]
    pub const fn role(&self) -> Role {
        match self {
            Handle::Peer(_) => Role::Peer,
            Handle::Seed(_) => Role::Seed,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> PeerId {
        match self {
            Handle::Peer(node) => node.id(),
            Handle::Seed(node) => node.id(),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        match self {
            Handle::Peer(node) => node.local_addr(),
            Handle::Seed(node) => node.local_addr(),
        }
    }
}

/// A served node.
#[derive(Debug)]
pub(crate) struct ServedNode {
    /// Larger than the number of every node that was added before.
    pub(crate) number: u64,
    pub(crate) name: String,
    pub(crate) id: PeerId,
    pub(crate) handle: Handle,
    since: Instant,
}

impl ServedNode {
    pub(crate) fn line(&self) -> NodeLine {
        NodeLine {
            name: self.name.clone(),
            id: self.id.to_hex(),
            role: self.handle.role().to_string(),
            address: self.handle.local_addr().to_string(),
        }
    }

    pub(crate) fn context(&self) -> NodeContext {
        NodeContext {
            name: self.name.clone(),
            address: self.handle.local_addr().to_string(),
            uptime: self.uptime(),
        }
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.since.elapsed()
    }
}

/// All served nodes, in the order in which they were added.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    all: RwLock<Vec<Arc<ServedNode>>>,
    added: AtomicU64,
}

impl Nodes {
    pub(crate) fn add(&self, name: String, handle: Handle) -> Arc<ServedNode> {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let number = self.added.fetch_add(1, Ordering::Relaxed);
        let (id, since) = (handle.id(), Instant::now());
        let served = Arc::new(ServedNode { number, name, id, handle, since });
        all.push(Arc::clone(&served));
        served
    }

    pub(crate) fn remove(&self, id: PeerId) {
        self.all.write().unwrap_or_else(PoisonError::into_inner).retain(|n| n.id != id);
    }

    /// All nodes.
    pub(crate) fn all(&self) -> Vec<Arc<ServedNode>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Finds a node by its id, by the first 8 characters of it, or by its name.
    pub(crate) fn find(&self, which: &str) -> Result<Arc<ServedNode>, Problem> {
        let nodes = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let is_id = |n: &&Arc<ServedNode>| n.id.to_hex() == which || n.id.short() == which;
        if let Some(node) = nodes.iter().find(is_id) {
            return Ok(Arc::clone(node));
        }
        let mut named = nodes.iter().filter(|n| n.name == which);
        match (named.next(), named.next()) {
            (Some(node), None) => Ok(Arc::clone(node)),
            (Some(_), Some(_)) => Err(Problem::new(
                StatusCode::CONFLICT,
                format!("several nodes here are named {which:?}; use the id"),
            )),
            (None, _) => Err(Problem::not_found(format!(
                "no node here has the name or id {which:?}; GET /v1/nodes lists them"
            ))),
        }
    }
}
