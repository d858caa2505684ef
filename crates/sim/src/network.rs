//! The network between the nodes: delays, losses, partitions and cut paths.

use core::time::Duration;
use std::collections::BTreeSet;

use crate::node::NodeId;
use crate::random::{RngStream, derive, micros, scale};

/// The delay of a packet from one node to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latency {
    /// The same delay for every packet.
    Constant(Duration),
    /// Drawn for each packet; frames of one link keep their order.
    Uniform {
        /// Shortest delay.
        min: Duration,
        /// Longest delay.
        max: Duration,
    },
    /// Drawn once for each pair of nodes.
    PerPair {
        /// Shortest delay.
        min: Duration,
        /// Longest delay.
        max: Duration,
    },
    /// Each node has a random position on a torus; the delay is the shortest delay plus a part in
    /// proportion to the distance.
    Map {
        /// Delay at distance 0.
        min: Duration,
        /// Delay at the largest distance.
        max: Duration,
    },
}

/// First retransmission timeout of a lost packet; it doubles with every further loss.
pub const RETRANSMIT: Duration = Duration::from_millis(200);
/// Retransmission timeout of the first packet of a connection, for which no round-trip time has
/// been measured yet (RFC 6298, section 2.1).
pub const RETRANSMIT_SYN: Duration = Duration::from_secs(1);
/// Most consecutive losses of one packet.
const MAX_LOSSES: u32 = 6;

/// A partition between two sets of nodes.
#[derive(Debug)]
struct Partition {
    from: BTreeSet<NodeId>,
    to: BTreeSet<NodeId>,
    /// Whether the direction `to` -> `from` is blocked as well.
    both: bool,
}

impl Partition {
    fn blocks(&self, from: NodeId, to: NodeId) -> bool {
        let forward = self.from.contains(&from) && self.to.contains(&to);
        let back = self.from.contains(&to) && self.to.contains(&from);
        forward || (self.both && back)
    }
}

/// The network between the nodes.
#[derive(Debug)]
pub(crate) struct Network {
    seed: u64,
    latency: Latency,
    loss: f64,
    /// Probability that a frame that may be dropped finds its queue full.
    queue_drop: f64,
    latency_rng: RngStream,
    loss_rng: RngStream,
    queue_drop_rng: RngStream,
    partitions: Vec<Partition>,
    cut_paths: BTreeSet<(NodeId, NodeId)>,
}

impl Network {
    pub(crate) fn new(seed: u64, latency: Latency, loss: f64) -> Self {
        Network {
            seed,
            latency,
            loss,
            queue_drop: 0.0,
            latency_rng: RngStream::new(seed, "latency"),
            loss_rng: RngStream::new(seed, "loss"),
            queue_drop_rng: RngStream::new(seed, "skips"),
            partitions: Vec::new(),
            cut_paths: BTreeSet::new(),
        }
    }

    /// Delay of the next packet, retransmissions included.
    pub(crate) fn delay(&mut self, from: NodeId, to: NodeId) -> Duration {
        self.delay_after(from, to, RETRANSMIT)
    }

    /// Delay of a SYN or a SYN-ACK.
    pub(crate) fn delay_syn(&mut self, from: NodeId, to: NodeId) -> Duration {
        self.delay_after(from, to, RETRANSMIT_SYN)
    }

    fn delay_after(&mut self, from: NodeId, to: NodeId, retransmit: Duration) -> Duration {
        let mut delay = match self.latency {
            Latency::Constant(d) => d,
            Latency::Uniform { min, max } => self.latency_rng.between(min, max),
            Latency::PerPair { min, max } => {
                let (low, high) = (from.min(to), from.max(to));
                let pair = (u64::from(low.0) << 32) | u64::from(high.0);
                let bytes = derive(self.seed, "pair", pair);
                let bits = bytes.first_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b));
                Duration::from_micros(scale(bits, micros(min), micros(max)))
            }
            Latency::Map { min, max } => {
                let part = distance(self.position(from), self.position(to));
                Duration::from_micros(scale(part, micros(min), micros(max)))
            }
        };
        if self.loss > 0.0 {
            let mut losses = 0;
            while losses < MAX_LOSSES && self.loss_rng.chance(self.loss) {
                delay += retransmit * 2u32.pow(losses);
                losses += 1;
            }
        }
        delay
    }

    /// The position of a node on the map.
    fn position(&self, node: NodeId) -> [u32; 2] {
        let bytes = derive(self.seed, "place", u64::from(node.0));
        let half = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
        [half(0), half(4)].map(|b| b.map_or(0, u32::from_le_bytes))
    }

    /// Whether every packet arrives without loss: no partition, no cut path, no drops.
    pub(crate) fn is_undisturbed(&self) -> bool {
        self.is_whole() && self.loss == 0.0 && self.queue_drop == 0.0
    }

    /// Whether there is no partition and no cut path.
    pub(crate) fn is_whole(&self) -> bool {
        self.cut_paths.is_empty() && self.partitions.is_empty()
    }

    /// Whether packets in this direction are blocked.
    pub(crate) fn is_blocked(&self, from: NodeId, to: NodeId) -> bool {
        self.cut_paths.contains(&(from.min(to), from.max(to)))
            || self.partitions.iter().any(|p| p.blocks(from, to))
    }

    /// Whether two nodes cannot communicate: a connection needs both directions.
    pub(crate) fn is_apart(&self, a: NodeId, b: NodeId) -> bool {
        self.is_blocked(a, b) || self.is_blocked(b, a)
    }

    /// Whether packets are lost or frames are dropped from queues.
    pub(crate) fn loses(&self) -> bool {
        self.loss > 0.0 || self.queue_drop > 0.0
    }

    pub(crate) fn set_loss(&mut self, loss: f64) {
        self.loss = loss;
    }

    pub(crate) fn set_queue_drops(&mut self, probability: f64) {
        self.queue_drop = probability;
    }

    /// Draws whether the next frame that may be dropped finds its queue full.
    pub(crate) fn drops_next_frame(&mut self) -> bool {
        self.queue_drop > 0.0 && self.queue_drop_rng.chance(self.queue_drop)
    }

    pub(crate) fn set_latency(&mut self, latency: Latency) {
        self.latency = latency;
    }

    pub(crate) fn partition(&mut self, from: &[NodeId], to: &[NodeId], both: bool) {
        let set = |nodes: &[NodeId]| nodes.iter().copied().collect();
        self.partitions.push(Partition { from: set(from), to: set(to), both });
    }

    /// Ends all partitions; cut paths stay.
    pub(crate) fn heal(&mut self) {
        self.partitions.clear();
    }

    /// Blocks the path between two nodes in both directions.
    pub(crate) fn cut_path(&mut self, a: NodeId, b: NodeId) {
        self.cut_paths.insert((a.min(b), a.max(b)));
    }

    pub(crate) fn restore_path(&mut self, a: NodeId, b: NodeId) {
        self.cut_paths.remove(&(a.min(b), a.max(b)));
    }
}

/// The distance of two positions on the map as a part of the largest distance, scaled to 64 bits.
/// The map is a torus, so no position is at a border.
fn distance(a: [u32; 2], b: [u32; 2]) -> u64 {
    let along = |i: usize| {
        let d = u64::from(a[i].abs_diff(b[i]));
        d.min((1 << 32) - d)
    };
    let squares: u128 = [along(0), along(1)].map(|d| u128::from(d * d)).iter().sum();
    // At the largest distance both coordinates differ by half the map: its square is
    // 2 * (2^31)^2 = 2^63.
    let root = (squares << 63).isqrt();
    u64::try_from(root << 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(0);
    const B: NodeId = NodeId(1);
    const C: NodeId = NodeId(2);

    fn network(latency: Latency, loss: f64) -> Network {
        Network::new(1, latency, loss)
    }

    #[test]
    fn one_way_partition_blocks_one_direction() {
        let mut n = network(Latency::Constant(Duration::ZERO), 0.0);
        n.partition(&[A], &[B], false);
        assert!(n.is_blocked(A, B) && !n.is_blocked(B, A) && !n.is_blocked(A, C));
        assert!(n.is_apart(B, A));
        n.heal();
        assert!(!n.is_apart(A, B));
    }

    #[test]
    fn cut_path_stays_after_partitions_heal() {
        let mut n = network(Latency::Constant(Duration::ZERO), 0.0);
        n.cut_path(B, A);
        n.heal();
        assert!(n.is_blocked(A, B) && n.is_blocked(B, A));
        n.restore_path(A, B);
        assert!(!n.is_blocked(A, B));
    }

    #[test]
    fn pair_has_one_delay_in_both_directions() {
        let ms = Duration::from_millis;
        let mut n = network(Latency::PerPair { min: ms(1), max: ms(100) }, 0.0);
        let ab = n.delay(A, B);
        assert!((ms(1)..=ms(100)).contains(&ab));
        assert_eq!(n.delay(B, A), ab);
        assert_ne!(n.delay(A, C), ab);
    }

    #[test]
    fn map_delay_grows_with_distance() {
        const M: u32 = 1 << 31;
        assert_eq!(distance([5, 5], [5, 5]), 0);
        assert_eq!(distance([0, 0], [M, M]), u64::MAX, "the largest distance");
        let near = distance([0, 0], [M / 4, 0]);
        assert_eq!(distance([0, 0], [M / 2, 0]) / near, 2);
        assert_eq!(distance([u32::MAX, 0], [M / 4 - 1, 0]), near, "across the border of the torus");
        let ms = Duration::from_millis;
        let mut n = network(Latency::Map { min: ms(1), max: ms(100) }, 0.0);
        let delays: Vec<Duration> = (1..200).map(|i| n.delay(A, NodeId(i))).collect();
        assert!(delays.iter().all(|d| (ms(1)..=ms(100)).contains(d)));
        assert!(delays.iter().any(|d| *d < ms(30)) && delays.iter().any(|d| *d > ms(70)));
        assert_eq!(n.delay(B, A), n.delay(A, B));
    }

    #[test]
    fn lost_packet_is_delayed_by_its_retransmissions() {
        let mut n = network(Latency::Constant(Duration::from_millis(1)), 1.0);
        // Every packet is lost six times: 200 ms doubling six times.
        assert_eq!(n.delay(A, B), Duration::from_millis(1 + 200 * 63));
    }
}
