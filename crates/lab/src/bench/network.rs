//! The network that is measured: nodes of the library in this process, with real sockets.

use std::time::Duration;

use rumormill::proto::SeedAddress;
use rumormill::{Counters, Listener, Node, PeerSnapshot, PeerState, SeedNode, Subscription};
use rumormill_launch::args::NetworkArgs;
use rumormill_launch::identity;
use rumormill_launch::listen::ANY_LOOPBACK_PORT;
use rumormill_launch::overlay::Overlay;
use rumormill_launch::seeds::start_seeds;
use rumormill_terminal::exit::{Exit, Failure, Outcome};
use tokio::time::{Instant, sleep};

/// How long all nodes together may take to join.
const JOIN_TIMEOUT: Duration = Duration::from_secs(90);
/// How often the nodes are asked whether they have joined.
const JOIN_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// The nodes of a measurement.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) peers: Vec<Node>,
    seeds: Vec<SeedNode>,
}

/// The counters of all nodes together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Traffic(Counters);

impl Traffic {
    fn add(&mut self, counters: &Counters) {
        self.0.merge(counters);
    }

    /// The growth of the counters since an earlier moment.
    pub(crate) fn since(&self, before: &Traffic) -> Traffic {
        let mut since = Counters::default();
        for (name, n) in self.0.iter() {
            since.add(name, n.saturating_sub(before.0.get(name)));
        }
        Traffic(since)
    }

    /// Bytes of frames written, seeds included.
    pub(crate) fn frame_bytes(&self) -> u64 {
        self.0.iter().filter(|(name, _)| name.starts_with("bytes_out_")).map(|(_, n)| n).sum()
    }

    /// Copies of messages that peers had already.
    pub(crate) fn duplicates(&self) -> u64 {
        self.0.get("messages_duplicate")
    }

    /// Bytes written to sockets, with those of TLS; `None` if the nodes do not count them.
    pub(crate) fn socket_bytes(&self) -> Option<u64> {
        Some(self.0.get("socket_bytes_out")).filter(|bytes| *bytes > 0)
    }

    /// All counters that are not zero.
    pub(crate) fn counters(&self) -> Counters {
        let mut some = Counters::default();
        self.0.iter().filter(|(_, n)| *n > 0).for_each(|(name, n)| some.add(name, n));
        some
    }
}

impl Network {
    /// Starts all nodes. Each peer's subscription begins before the peer does.
    pub(crate) async fn start(
        peers: usize,
        seeds: usize,
        network: &NetworkArgs,
    ) -> Outcome<(Self, Vec<Subscription>)> {
        let seeds = start_seeds(seeds, None, &network.common, None).await?;
        let addresses: Vec<SeedAddress> = seeds.iter().map(|(a, _)| a.clone()).collect();
        let seeds = seeds.into_iter().map(|(_, node)| node).collect();
        let mut this = Network { peers: Vec::new(), seeds };
        let mut subscriptions = Vec::new();
        for number in 0..peers {
            let mut builder = Node::builder()
                .name(identity::name(&format!("node-{number}"))?)
                // The settings include the kind of broadcast.
                .config(network.config()?)
                .listener(Listener::bind(ANY_LOOPBACK_PORT)?)
                .seeds(addresses.clone());
            if let Some(key) = network.common.network_key()? {
                builder = builder.network_key(key);
            }
            subscriptions.push(builder.subscribe());
            this.peers.push(builder.start().await?);
        }
        Ok((this, subscriptions))
    }

    /// Waits until all nodes have joined and the overlay is one component, and gives the number of
    /// its links.
    pub(crate) async fn wait_until_joined(&self) -> Outcome<usize> {
        let deadline = Instant::now() + JOIN_TIMEOUT;
        loop {
            let snapshots = self.snapshots().await?;
            let joined = snapshots.iter().filter(|s| s.state == PeerState::Joined).count();
            let overlay = overlay(&snapshots);
            if joined == self.peers.len() && overlay.components == 1 {
                return Ok(overlay.edges);
            }
            if Instant::now() >= deadline {
                let message = format!(
                    "after {} s {joined} of {} nodes have joined, and the overlay has {} components",
                    JOIN_TIMEOUT.as_secs(),
                    self.peers.len(),
                    overlay.components
                );
                return Err(Failure::new(Exit::NotJoined, message));
            }
            sleep(JOIN_CHECK_INTERVAL).await;
        }
    }

    async fn snapshots(&self) -> Outcome<Vec<PeerSnapshot>> {
        let mut all = Vec::new();
        for peer in &self.peers {
            let snapshot = peer.snapshot().await;
            all.push(snapshot.map_err(|e| Failure::new(Exit::Failed, e))?);
        }
        Ok(all)
    }

    /// The counters of all nodes.
    pub(crate) async fn traffic(&self) -> Outcome<Traffic> {
        let mut traffic = Traffic::default();
        for snapshot in self.snapshots().await? {
            traffic.add(&snapshot.counters);
        }
        for seed in &self.seeds {
            let snapshot = seed.snapshot().await.map_err(|e| Failure::new(Exit::Failed, e))?;
            traffic.add(&snapshot.counters);
        }
        Ok(traffic)
    }

    /// The fewest peers that a peer counts as alive, itself included.
    pub(crate) async fn alive_min(&self) -> Outcome<u32> {
        Ok(self.snapshots().await?.iter().map(|s| s.alive).min().unwrap_or(0))
    }

    /// Kills all nodes, and waits until all their tasks have ended.
    pub(crate) async fn end(self) {
        self.peers.iter().for_each(Node::kill);
        self.seeds.iter().for_each(SeedNode::kill);
        for peer in &self.peers {
            peer.stopped().await;
        }
        for seed in &self.seeds {
            seed.stopped().await;
        }
    }
}

fn overlay(snapshots: &[PeerSnapshot]) -> Overlay {
    Overlay::of(snapshots.iter().map(|s| (s.id, s.neighbours.iter().map(|n| n.id).collect())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_counts_written_bytes_and_their_growth() {
        let mut counters = Counters::default();
        counters.add("bytes_out_payload", 10);
        counters.add("bytes_out_control", 1);
        counters.add("bytes_in_payload", 100);
        counters.add("messages_duplicate", 3);
        let mut traffic = Traffic::default();
        traffic.add(&counters);
        assert_eq!((traffic.frame_bytes(), traffic.socket_bytes()), (11, None));
        counters.add("socket_bytes_out", 15);
        let mut later = traffic.clone();
        later.add(&counters);
        let since = later.since(&traffic);
        assert_eq!((since.frame_bytes(), since.duplicates()), (11, 3));
        assert_eq!(since.socket_bytes(), Some(15));
        let before = Counters::default();
        assert!(
            Traffic(before.clone()).counters() == before,
            "counters that are zero are left out"
        );
    }
}
