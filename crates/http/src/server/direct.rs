//! Actions of a user on the nodes of a network that runs in one process.

use rumormill::proto::PeerId;

/// Something that a user does to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperatorAction {
    /// Kill a peer or a seed, as SIGKILL does.
    Kill(PeerId),
    /// Stop a peer or a seed, as SIGSTOP does, or (`false`) let it run again.
    Freeze(PeerId, bool),
    /// Start a further peer.
    AddPeer,
    /// Partition the network into two halves, as a firewall between them does, or (`false`) end the
    /// partition.
    Partition(bool),
}

/// Carries out the actions of users.
pub trait Director: Send + Sync {
    /// Begins an action. Its effect shows in the network.
    ///
    /// # Errors
    /// The action cannot be carried out; the text says why.
    fn act(&self, action: OperatorAction) -> Result<(), String>;

    /// Whether the network is partitioned.
    fn is_partitioned(&self) -> bool;
}
