//! The network between the nodes: delays, losses, partitions and cuts.

use core::time::Duration;
use std::collections::BTreeSet;

use crate::node::NodeId;
use crate::random::{Dice, derive, micros, scale};

/// How long a packet takes from one node to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latency {
    /// Always the same.
    Constant(Duration),
    /// Drawn for each packet; order on a link is kept all the same.
    Uniform {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
    /// Drawn once for each pair of nodes, as on a map.
    PerPair {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
    /// Nodes stand at random on a square with open edges; what is twice as far apart takes twice as
    /// long, on top of the shortest delay.
    Map {
        /// Shortest, for neighbours.
        min: Duration,
        /// Longest, for those farthest apart.
        max: Duration,
    },
}

/// First wait before a lost packet is sent again; it doubles with every further loss.
pub const RETRANSMIT: Duration = Duration::from_millis(200);
/// The same for the first packet of a connection, of whose path nothing is known yet (RFC 6298,
/// section 2.1).
pub const RETRANSMIT_SYN: Duration = Duration::from_secs(1);
/// Most losses in a row that a packet meets.
const MAX_LOSSES: u32 = 6;

/// Two sets of nodes, and which way is closed.
#[derive(Debug)]
struct Partition {
    from: BTreeSet<NodeId>,
    to: BTreeSet<NodeId>,
    both: bool,
}

impl Partition {
    fn blocks(&self, from: NodeId, to: NodeId) -> bool {
        let forward = self.from.contains(&from) && self.to.contains(&to);
        let back = self.from.contains(&to) && self.to.contains(&from);
        forward || (self.both && back)
    }
}

/// What lies between the nodes.
#[derive(Debug)]
pub(crate) struct Network {
    seed: u64,
    latency: Latency,
    loss: f64,
    skip: f64,
    latency_dice: Dice,
    loss_dice: Dice,
    skip_dice: Dice,
    partitions: Vec<Partition>,
    cuts: BTreeSet<(NodeId, NodeId)>,
}

impl Network {
    pub(crate) fn new(seed: u64, latency: Latency, loss: f64) -> Self {
        Network {
            seed,
            latency,
            loss,
            skip: 0.0,
            latency_dice: Dice::new(seed, "latency"),
            loss_dice: Dice::new(seed, "loss"),
            skip_dice: Dice::new(seed, "skips"),
            partitions: Vec::new(),
            cuts: BTreeSet::new(),
        }
    }

    /// How long the next packet takes, losses included.
    pub(crate) fn delay(&mut self, from: NodeId, to: NodeId) -> Duration {
        self.delay_after(from, to, RETRANSMIT)
    }

    /// The same for a packet that begins a connection, or answers one that does.
    pub(crate) fn delay_syn(&mut self, from: NodeId, to: NodeId) -> Duration {
        self.delay_after(from, to, RETRANSMIT_SYN)
    }

    fn delay_after(&mut self, from: NodeId, to: NodeId, retransmit: Duration) -> Duration {
        let mut delay = match self.latency {
            Latency::Constant(d) => d,
            Latency::Uniform { min, max } => self.latency_dice.between(min, max),
            Latency::PerPair { min, max } => {
                let (low, high) = (from.min(to), from.max(to));
                let pair = (u64::from(low.0) << 32) | u64::from(high.0);
                let bytes = derive(self.seed, "pair", pair);
                let bits = bytes.first_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b));
                Duration::from_micros(scale(bits, micros(min), micros(max)))
            }
            Latency::Map { min, max } => {
                let part = distance(self.place(from), self.place(to));
                Duration::from_micros(scale(part, micros(min), micros(max)))
            }
        };
        if self.loss > 0.0 {
            let mut losses = 0;
            while losses < MAX_LOSSES && self.loss_dice.chance(self.loss) {
                delay += retransmit * 2u32.pow(losses);
                losses += 1;
            }
        }
        delay
    }

    /// Where on the map a node stands.
    fn place(&self, node: NodeId) -> [u32; 2] {
        let bytes = derive(self.seed, "place", u64::from(node.0));
        let half = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
        [half(0), half(4)].map(|b| b.map_or(0, u32::from_le_bytes))
    }

    /// Whether every packet gets through at once.
    pub(crate) fn is_undisturbed(&self) -> bool {
        self.is_whole() && self.loss == 0.0 && self.skip == 0.0
    }

    /// Whether nothing is closed anywhere.
    pub(crate) fn is_whole(&self) -> bool {
        self.cuts.is_empty() && self.partitions.is_empty()
    }

    /// Whether packets cannot pass this way.
    pub(crate) fn is_blocked(&self, from: NodeId, to: NodeId) -> bool {
        self.cuts.contains(&(from.min(to), from.max(to)))
            || self.partitions.iter().any(|p| p.blocks(from, to))
    }

    /// Whether two nodes cannot talk: a connection needs both ways.
    pub(crate) fn is_apart(&self, a: NodeId, b: NodeId) -> bool {
        self.is_blocked(a, b) || self.is_blocked(b, a)
    }

    /// Whether something is lost or left out on the way.
    pub(crate) fn loses(&self) -> bool {
        self.loss > 0.0 || self.skip > 0.0
    }

    pub(crate) fn set_loss(&mut self, loss: f64) {
        self.loss = loss;
    }

    pub(crate) fn set_skips(&mut self, skip: f64) {
        self.skip = skip;
    }

    /// Whether the next frame that may be skipped finds no room in its queue.
    pub(crate) fn skips(&mut self) -> bool {
        self.skip > 0.0 && self.skip_dice.chance(self.skip)
    }

    pub(crate) fn set_latency(&mut self, latency: Latency) {
        self.latency = latency;
    }

    pub(crate) fn partition(&mut self, from: &[NodeId], to: &[NodeId], both: bool) {
        let set = |nodes: &[NodeId]| nodes.iter().copied().collect();
        self.partitions.push(Partition { from: set(from), to: set(to), both });
    }

    pub(crate) fn heal(&mut self) {
        self.partitions.clear();
    }

    pub(crate) fn cut(&mut self, a: NodeId, b: NodeId) {
        self.cuts.insert((a.min(b), a.max(b)));
    }

    pub(crate) fn mend(&mut self, a: NodeId, b: NodeId) {
        self.cuts.remove(&(a.min(b), a.max(b)));
    }
}

/// How far apart two places of the map are, as part of the longest way there is (in 64 bits). The
/// map is a torus: nobody lives at an edge.
fn distance(a: [u32; 2], b: [u32; 2]) -> u64 {
    let along = |i: usize| {
        let d = u64::from(a[i].abs_diff(b[i]));
        d.min((1 << 32) - d)
    };
    let squares: u128 = [along(0), along(1)].map(|d| u128::from(d * d)).iter().sum();
    // The farthest two are half the map apart both ways: at a square of 2 * (2^31)^2 = 2^63.
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
    fn a_one_way_partition_closes_one_way() {
        let mut n = network(Latency::Constant(Duration::ZERO), 0.0);
        n.partition(&[A], &[B], false);
        assert!(n.is_blocked(A, B) && !n.is_blocked(B, A) && !n.is_blocked(A, C));
        assert!(n.is_apart(B, A));
        n.heal();
        assert!(!n.is_apart(A, B));
    }

    #[test]
    fn a_cut_outlives_a_heal() {
        let mut n = network(Latency::Constant(Duration::ZERO), 0.0);
        n.cut(B, A);
        n.heal();
        assert!(n.is_blocked(A, B) && n.is_blocked(B, A));
        n.mend(A, B);
        assert!(!n.is_blocked(A, B));
    }

    #[test]
    fn a_pair_keeps_its_delay_both_ways() {
        let ms = Duration::from_millis;
        let mut n = network(Latency::PerPair { min: ms(1), max: ms(100) }, 0.0);
        let ab = n.delay(A, B);
        assert!((ms(1)..=ms(100)).contains(&ab));
        assert_eq!(n.delay(B, A), ab);
        assert_ne!(n.delay(A, C), ab);
    }

    #[test]
    fn on_a_map_the_way_grows_with_the_distance() {
        const M: u32 = 1 << 31;
        assert_eq!(distance([5, 5], [5, 5]), 0);
        assert_eq!(distance([0, 0], [M, M]), u64::MAX, "the farthest there is");
        let near = distance([0, 0], [M / 4, 0]);
        assert_eq!(distance([0, 0], [M / 2, 0]) / near, 2);
        assert_eq!(distance([u32::MAX, 0], [M / 4 - 1, 0]), near, "across the edge");
        let ms = Duration::from_millis;
        let mut n = network(Latency::Map { min: ms(1), max: ms(100) }, 0.0);
        let delays: Vec<Duration> = (1..200).map(|i| n.delay(A, NodeId(i))).collect();
        assert!(delays.iter().all(|d| (ms(1)..=ms(100)).contains(d)));
        assert!(delays.iter().any(|d| *d < ms(30)) && delays.iter().any(|d| *d > ms(70)));
        assert_eq!(n.delay(B, A), n.delay(A, B));
    }

    #[test]
    fn loss_is_delay() {
        let mut n = network(Latency::Constant(Duration::from_millis(1)), 1.0);
        // Every packet is lost six times: 200 ms doubling six times.
        assert_eq!(n.delay(A, B), Duration::from_millis(1 + 200 * 63));
    }
}
