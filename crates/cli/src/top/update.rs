//! The data of the node that the view shows, and the requests of its user.

use rumormill_http::view::{
    EventLine, FullMessage, MemberLine, MessageLine, NeighbourLine, Status,
};
use tokio::time::Instant;

/// A change of what is known of the node.
#[derive(Debug)]
pub(super) enum Update {
    Snapshot(Box<Snapshot>),
    Event(EventLine),
    /// So many events came faster than they could be read.
    Missed(u64),
    Content(Box<FullMessage>),
    /// The node does not answer, or not as expected.
    Failed(String),
}

/// The node at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) at: Instant,
    pub(super) status: Status,
    /// Empty for a seed.
    pub(super) neighbours: Vec<NeighbourLine>,
    /// Empty for a seed.
    pub(super) messages: Vec<MessageLine>,
    pub(super) members: Vec<MemberLine>,
}

/// A request of the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// The content of a message, by its id.
    Content(String),
    /// The end of the view.
    Quit,
}
