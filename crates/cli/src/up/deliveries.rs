//! Which messages have arrived at which peers.
//!
//! A message is expected at every peer that lives from its publishing to the end of the run, except
//! at its publisher.

use std::collections::BTreeMap;

use hdrhistogram::{CreationError, Histogram};
use rumormill::proto::MessageId;
use serde::Serialize;

/// Longest delay that the histogram distinguishes: ten minutes, in microseconds.
const MAX_DELAY_US: u64 = 600_000_000;

/// A set of peers, one bit each.
#[derive(Debug, Clone)]
struct PeerSet(Vec<u64>);

impl PeerSet {
    fn empty(peers: usize) -> Self {
        PeerSet(vec![0; peers.div_ceil(64)])
    }

    fn full(peers: usize) -> Self {
        let mut set = Self::empty(peers);
        (0..peers).for_each(|p| set.insert(p));
        set
    }

    fn contains(&self, peer: usize) -> bool {
        self.0.get(peer / 64).is_some_and(|word| word >> (peer % 64) & 1 == 1)
    }

    fn insert(&mut self, peer: usize) {
        if let Some(word) = self.0.get_mut(peer / 64) {
            *word |= 1 << (peer % 64);
        }
    }

    fn remove(&mut self, peer: usize) {
        if let Some(word) = self.0.get_mut(peer / 64) {
            *word &= !(1 << (peer % 64));
        }
    }

    fn without(&self, other: &PeerSet) -> PeerSet {
        PeerSet(self.0.iter().zip(&other.0).map(|(a, b)| a & !b).collect())
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.0.len() * 64).filter(|&p| self.contains(p))
    }
}

/// The deliveries of one message.
#[derive(Debug)]
struct MessageRecord {
    publisher: usize,
    published_us: u64,
    /// The peers that have it, its publisher included.
    received: PeerSet,
    last_us: u64,
    /// Whether every living peer has it.
    is_complete: bool,
}

/// All messages of a run, and their deliveries.
#[derive(Debug)]
pub(crate) struct DeliveryTracker {
    peers: usize,
    alive: PeerSet,
    messages: BTreeMap<MessageId, MessageRecord>,
    delays: Histogram<u64>,
    delivered_twice: u64,
    complete: u64,
}

/// The number of messages and deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Deliveries {
    pub(crate) published: u64,
    pub(crate) expected: u64,
    pub(crate) arrived: u64,
}

/// Quantiles of delays, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub(crate) struct Delays {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Delays {
    fn of(histogram: &Histogram<u64>) -> Self {
        #[allow(clippy::cast_precision_loss)] // Ten minutes are 6e8.
        let ms = |us: u64| us as f64 / 1e3;
        if histogram.is_empty() {
            return Self::default();
        }
        Delays {
            p50: ms(histogram.value_at_quantile(0.5)),
            p99: ms(histogram.value_at_quantile(0.99)),
            max: ms(histogram.max()),
        }
    }
}

impl DeliveryTracker {
    pub(crate) fn new(peers: usize) -> Result<Self, CreationError> {
        Ok(DeliveryTracker {
            peers,
            alive: PeerSet::full(peers),
            messages: BTreeMap::new(),
            // Three significant digits.
            delays: Histogram::new_with_bounds(1, MAX_DELAY_US, 3)?,
            delivered_twice: 0,
            complete: 0,
        })
    }

    fn record(&mut self, id: MessageId, publisher: usize, published_us: u64) -> &mut MessageRecord {
        let peers = self.peers;
        self.messages.entry(id).or_insert_with(|| {
            let mut received = PeerSet::empty(peers);
            received.insert(publisher);
            MessageRecord {
                publisher,
                published_us,
                received,
                last_us: published_us,
                is_complete: false,
            }
        })
    }

    /// Records that a peer has published a message.
    pub(crate) fn record_published(&mut self, id: MessageId, publisher: usize, published_us: u64) {
        self.record(id, publisher, published_us);
        self.update_completeness(id);
    }

    /// Records a delivery, which may be known here before the publishing of the message is.
    pub(crate) fn record_received(
        &mut self,
        id: MessageId,
        publisher: usize,
        peer: usize,
        published_us: u64,
        received_us: u64,
    ) {
        let record = self.record(id, publisher, published_us);
        if record.received.contains(peer) {
            self.delivered_twice += 1;
            return;
        }
        record.received.insert(peer);
        record.last_us = record.last_us.max(received_us);
        let delay = received_us.saturating_sub(published_us);
        self.delays.saturating_record(delay);
        self.update_completeness(id);
    }

    /// Expects no deliveries at this peer any more.
    pub(crate) fn exclude(&mut self, peer: usize) {
        self.alive.remove(peer);
        let open: Vec<MessageId> =
            self.messages.iter().filter(|(_, a)| !a.is_complete).map(|(id, _)| *id).collect();
        for id in open {
            self.update_completeness(id);
        }
    }

    fn update_completeness(&mut self, id: MessageId) {
        let Some(record) = self.messages.get_mut(&id) else { return };
        if !record.is_complete && self.alive.without(&record.received).count() == 0 {
            record.is_complete = true;
            self.complete += 1;
        }
    }

    /// Messages that are missing at a living peer.
    pub(crate) fn incomplete(&self) -> u64 {
        self.messages.len() as u64 - self.complete
    }

    /// Deliveries of a message that the peer had delivered before.
    pub(crate) const fn delivered_twice(&self) -> u64 {
        self.delivered_twice
    }

    pub(crate) fn deliveries(&self) -> Deliveries {
        let alive = self.alive.count();
        let mut sum = Deliveries { published: self.messages.len() as u64, ..Default::default() };
        for record in self.messages.values() {
            let expected = alive - u64::from(self.alive.contains(record.publisher));
            let missing =
                if record.is_complete { 0 } else { self.alive.without(&record.received).count() };
            sum.expected += expected;
            sum.arrived += expected - missing;
        }
        sum
    }

    /// The missing deliveries, as publisher, sequence number and peer.
    pub(crate) fn missing(&self) -> Vec<(usize, u64, usize)> {
        let mut all = Vec::new();
        for (id, record) in self.messages.iter().filter(|(_, a)| !a.is_complete) {
            let peers = self.alive.without(&record.received);
            all.extend(peers.iter().map(|peer| (record.publisher, id.sequence, peer)));
        }
        all
    }

    /// The delays of all deliveries.
    pub(crate) fn delays(&self) -> Delays {
        Delays::of(&self.delays)
    }

    /// The delays of the last deliveries of the messages that all living peers have.
    pub(crate) fn last_delays(&self) -> Delays {
        let mut last = Histogram::new_from(&self.delays);
        for record in self.messages.values().filter(|a| a.is_complete) {
            last.saturating_record(record.last_us.saturating_sub(record.published_us));
        }
        Delays::of(&last)
    }
}

#[cfg(test)]
mod tests {
    use rumormill::proto::PeerId;

    use super::*;

    fn id(publisher: u8, sequence: u64) -> MessageId {
        MessageId { publisher: PeerId::from_bytes([publisher; 32]), epoch: 1, sequence }
    }

    #[test]
    fn message_is_expected_at_every_peer_but_its_publisher() {
        let mut t = DeliveryTracker::new(3).unwrap();
        t.record_published(id(0, 0), 0, 1000);
        assert_eq!(t.deliveries(), Deliveries { published: 1, expected: 2, arrived: 0 });
        t.record_received(id(0, 0), 0, 1, 1000, 2000);
        assert_eq!(t.missing(), [(0, 0, 2)]);
        t.record_received(id(0, 0), 0, 2, 1000, 5000);
        assert_eq!(t.incomplete(), 0);
        assert_eq!(t.deliveries(), Deliveries { published: 1, expected: 2, arrived: 2 });
        assert!((t.last_delays().max - 4.0).abs() < 0.01);
        t.record_received(id(0, 0), 0, 2, 1000, 6000);
        assert_eq!(t.delivered_twice(), 1);
    }

    #[test]
    fn excluded_peer_owes_no_deliveries_but_its_messages_stay_expected() {
        let mut t = DeliveryTracker::new(3).unwrap();
        t.record_received(id(2, 0), 2, 0, 0, 10); // Arrives before its publishing is known.
        t.record_published(id(2, 0), 2, 0);
        t.record_published(id(0, 0), 0, 0);
        t.record_received(id(0, 0), 0, 1, 0, 10);
        assert_eq!(t.incomplete(), 2);
        t.exclude(2);
        assert_eq!(t.incomplete(), 1);
        assert_eq!(t.deliveries(), Deliveries { published: 2, expected: 3, arrived: 2 });
        assert_eq!(t.missing(), [(2, 0, 1)]);
    }

    #[test]
    fn tracker_counts_more_peers_than_one_word_has_bits() {
        let mut t = DeliveryTracker::new(200).unwrap();
        t.record_published(id(0, 0), 0, 0);
        for peer in 1..200 {
            t.record_received(id(0, 0), 0, peer, 0, 10);
        }
        assert_eq!(t.deliveries().arrived, 199);
        assert_eq!(t.incomplete(), 0);
    }
}
