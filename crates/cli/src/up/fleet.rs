//! The interface between a run and its nodes, in this process or in others.

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use rumormill::proto::MessageId;
use rumormill_terminal::usage::Usage;

use super::members::Members;
use super::node_report::NodeReport;
use super::options::Fault;

/// Most events that wait for the run. The observer of a node waits while the queue is full; the
/// library counts the events that are lost meanwhile, and the run reports that number.
pub(crate) const EVENT_QUEUE: usize = 65_536;

/// The nodes of a run: in this process, or each in a process of its own. Nodes are given by their
/// number in [`Members`]. An error is a message for the summary of the run.
pub(crate) trait Fleet: Debug + Send + Sync {
    /// All nodes that there are now.
    fn members(&self) -> &Members;

    /// The address of the page that shows the run; `None` if there is no page.
    fn page(&self) -> Option<String>;

    /// Publishes a message at a peer.
    fn publish(
        &self,
        peer: usize,
        topic: &'static str,
        content: Arc<str>,
    ) -> BoxFuture<'_, Result<MessageId, String>>;

    /// Kills or stops a node.
    fn inject_fault(&self, node: usize, fault: Fault) -> Result<(), String>;

    /// Lets a stopped node run again.
    fn resume(&self, node: usize) -> Result<(), String>;

    /// Starts a further peer, and gives its number.
    fn add_peer(&self) -> BoxFuture<'_, Result<usize, String>>;

    /// Partitions the peers into two halves, or (`false`) ends the partition.
    fn set_partition(&self, on: bool) -> Result<(), String>;

    /// Releases what this process holds for a node that has ended.
    fn release_ended(&self, node: usize);

    /// Asks a peer for its state.
    fn peer_report(&self, peer: usize) -> BoxFuture<'_, Result<NodeReport, String>>;

    /// Asks a seed, given by its number among the seeds, for its state.
    fn seed_report(&self, seed: usize) -> BoxFuture<'_, Result<NodeReport, String>>;

    /// The resources that all processes of the run have used; `None` if the system does not report
    /// them.
    fn usage(&self) -> Option<Usage>;

    /// Ends all nodes.
    fn end(&self) -> BoxFuture<'_, ()>;
}
