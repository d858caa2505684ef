//! Partitions between nodes, for fault injection: the effect of a firewall that drops all packets.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use rumormill_proto::PeerId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The nodes that cannot be reached. All clones control the same partition.
#[derive(Debug, Clone)]
pub(crate) struct Partition(watch::Sender<BTreeSet<PeerId>>);

impl Partition {
    pub(crate) fn new() -> Self {
        Partition(watch::Sender::new(BTreeSet::new()))
    }

    /// Replaces the set of unreachable nodes.
    pub(crate) fn set_unreachable(&self, peers: BTreeSet<PeerId>) {
        self.0.send_if_modified(|unreachable| {
            let changed = *unreachable != peers;
            *unreachable = peers;
            changed
        });
    }

    /// Waits while a node is unreachable, at most for `limit`; returns whether it is reachable.
    pub(crate) async fn wait_until_reachable(&self, to: PeerId, limit: Duration) -> bool {
        if !self.0.borrow().contains(&to) {
            return true;
        }
        let deadline = Instant::now() + limit;
        let mut unreachable = self.0.subscribe();
        tokio::select! {
            open = unreachable.wait_for(|unreachable| !unreachable.contains(&to)) => open.is_ok(),
            () = sleep_until(deadline) => false,
        }
    }

    /// Runs `work` with a remote, and pauses it while the remote is unreachable; `otherwise` may
    /// end it during that time.
    pub(crate) async fn run<T>(
        &self,
        remote: PeerId,
        work: impl Future<Output = T>,
        otherwise: impl Future<Output = T>,
    ) -> T {
        let mut unreachable = self.0.subscribe();
        let (mut work, mut otherwise) = (pin!(work), pin!(otherwise));
        loop {
            let is_unreachable = unreachable.borrow_and_update().contains(&remote);
            // `self` holds the sender, so `changed` never fails.
            tokio::select! {
                biased;
                _ = unreachable.changed() => {}
                end = &mut work, if !is_unreachable => return end,
                end = &mut otherwise, if is_unreachable => return end,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    #[tokio::test(start_paused = true)]
    async fn work_with_unreachable_node_pauses_and_continues_after_the_partition() {
        let partition = Partition::new();
        let never = std::future::pending::<u8>;
        assert_eq!(partition.run(id(1), async { 1 }, never()).await, 1);
        partition.set_unreachable([id(1)].into());
        assert_eq!(
            partition.run(id(2), async { 2 }, never()).await,
            2,
            "other nodes are reachable"
        );
        assert_eq!(
            partition.run(id(1), async { 1 }, async { 9 }).await,
            9,
            "the other future ends it"
        );
        let work = partition.run(id(1), async { 1 }, never());
        let mut work = pin!(work);
        let minute = Duration::from_secs(60);
        assert!(tokio::time::timeout(minute, &mut work).await.is_err());
        assert!(!partition.wait_until_reachable(id(1), minute).await);
        assert!(partition.wait_until_reachable(id(2), Duration::ZERO).await);
        partition.set_unreachable(BTreeSet::new());
        assert_eq!(work.await, 1);
        assert!(partition.wait_until_reachable(id(1), Duration::ZERO).await);
    }
}
