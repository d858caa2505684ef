//! The nodes of a run, by number.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use rumormill::proto::PeerId;

/// A node of the run.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) id: PeerId,
}

/// All nodes of a run by number: the peers of the start, then the seeds, then the peers that were
/// added later.
#[derive(Debug, Default)]
pub(crate) struct Members(RwLock<Vec<Member>>);

impl Members {
    /// Adds a node, and gives its number.
    pub(crate) fn add(&self, member: Member) -> usize {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.push(member);
        all.len() - 1
    }

    /// The node with this number.
    pub(crate) fn get(&self, number: usize) -> Option<Member> {
        self.all().get(number).cloned()
    }

    /// The number of the node with this id.
    pub(crate) fn number(&self, id: PeerId) -> Option<usize> {
        self.all().iter().position(|m| m.id == id)
    }

    /// All nodes that there are now.
    pub(crate) fn all(&self) -> RwLockReadGuard<'_, Vec<Member>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}
