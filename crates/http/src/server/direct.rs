//! What may be done to the nodes of a network that is run as a whole.

use rumormill::proto::PeerId;

/// Something to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A peer or a seed is killed, as by SIGKILL.
    Kill(PeerId),
    /// A peer or a seed is stopped, as by SIGSTOP, or (`false`) goes on.
    Freeze(PeerId, bool),
    /// A further peer is started.
    Add,
    /// The network is cut in two, as by a firewall between its halves, or (`false`) is whole again.
    Cut(bool),
}

/// Who does it.
pub trait Director: Send + Sync {
    /// Begins it. What comes of it shows in the network.
    ///
    /// # Errors
    /// It cannot be done; the text says why.
    fn act(&self, act: Act) -> Result<(), String>;

    /// Whether the network is cut in two.
    fn is_cut(&self) -> bool;
}
