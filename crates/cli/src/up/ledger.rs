//! Which message is due where, and has it arrived.
//!
//! A message is expected at every peer that lives from then to the end, its publisher excepted.

use std::collections::BTreeMap;

use hdrhistogram::{CreationError, Histogram};
use rumormill::proto::MessageId;
use serde::Serialize;

/// Longest delay that is told apart from longer ones: ten minutes, in microseconds.
const LONGEST: u64 = 600_000_000;

/// A set of peers, one bit each.
#[derive(Debug, Clone)]
struct PeerSet(Vec<u64>);

impl PeerSet {
    fn none(peers: usize) -> Self {
        PeerSet(vec![0; peers.div_ceil(64)])
    }

    fn all(peers: usize) -> Self {
        let mut set = Self::none(peers);
        (0..peers).for_each(|p| set.insert(p));
        set
    }

    fn has(&self, peer: usize) -> bool {
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
        (0..self.0.len() * 64).filter(|&p| self.has(p))
    }
}

/// One message.
#[derive(Debug)]
struct Account {
    publisher: usize,
    published_us: u64,
    /// Who has it, its publisher included.
    received: PeerSet,
    last_us: u64,
    /// Everybody who is still there has it.
    complete: bool,
}

/// What was published and what has arrived.
#[derive(Debug)]
pub(crate) struct Ledger {
    peers: usize,
    alive: PeerSet,
    messages: BTreeMap<MessageId, Account>,
    delays: Histogram<u64>,
    twice: u64,
    complete: u64,
}

/// Deliveries in figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Deliveries {
    pub(crate) published: u64,
    pub(crate) expected: u64,
    pub(crate) arrived: u64,
}

/// Delays in milliseconds.
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

impl Ledger {
    pub(crate) fn new(peers: usize) -> Result<Self, CreationError> {
        Ok(Ledger {
            peers,
            alive: PeerSet::all(peers),
            messages: BTreeMap::new(),
            // Three significant digits.
            delays: Histogram::new_with_bounds(1, LONGEST, 3)?,
            twice: 0,
            complete: 0,
        })
    }

    fn account(&mut self, id: MessageId, publisher: usize, published_us: u64) -> &mut Account {
        let peers = self.peers;
        self.messages.entry(id).or_insert_with(|| {
            let mut received = PeerSet::none(peers);
            received.insert(publisher);
            Account { publisher, published_us, received, last_us: published_us, complete: false }
        })
    }

    /// A peer has published a message.
    pub(crate) fn published(&mut self, id: MessageId, publisher: usize, published_us: u64) {
        self.account(id, publisher, published_us);
        self.check(id);
    }

    /// A message has arrived. It may be known here before its publishing is.
    pub(crate) fn received(
        &mut self,
        id: MessageId,
        publisher: usize,
        peer: usize,
        published_us: u64,
        received_us: u64,
    ) {
        let account = self.account(id, publisher, published_us);
        if account.received.has(peer) {
            self.twice += 1;
            return;
        }
        account.received.insert(peer);
        account.last_us = account.last_us.max(received_us);
        let delay = received_us.saturating_sub(published_us);
        self.delays.saturating_record(delay);
        self.check(id);
    }

    /// A peer is no longer expected to receive anything.
    pub(crate) fn gone(&mut self, peer: usize) {
        self.alive.remove(peer);
        let open: Vec<MessageId> =
            self.messages.iter().filter(|(_, a)| !a.complete).map(|(id, _)| *id).collect();
        for id in open {
            self.check(id);
        }
    }

    fn check(&mut self, id: MessageId) {
        let Some(account) = self.messages.get_mut(&id) else { return };
        if !account.complete && self.alive.without(&account.received).count() == 0 {
            account.complete = true;
            self.complete += 1;
        }
    }

    /// Messages that somebody still lacks.
    pub(crate) fn open(&self) -> u64 {
        self.messages.len() as u64 - self.complete
    }

    /// Messages that were handed to one application twice.
    pub(crate) const fn twice(&self) -> u64 {
        self.twice
    }

    pub(crate) fn deliveries(&self) -> Deliveries {
        let alive = self.alive.count();
        let mut sum = Deliveries { published: self.messages.len() as u64, ..Default::default() };
        for account in self.messages.values() {
            let expected = alive - u64::from(self.alive.has(account.publisher));
            let missing =
                if account.complete { 0 } else { self.alive.without(&account.received).count() };
            sum.expected += expected;
            sum.arrived += expected - missing;
        }
        sum
    }

    /// Who lacks what, for telling: (publisher, number, peer).
    pub(crate) fn missing(&self) -> Vec<(usize, u64, usize)> {
        let mut all = Vec::new();
        for (id, account) in self.messages.iter().filter(|(_, a)| !a.complete) {
            let lacking = self.alive.without(&account.received);
            all.extend(lacking.iter().map(|peer| (account.publisher, id.sequence, peer)));
        }
        all
    }

    /// Delays of all deliveries.
    pub(crate) fn delays(&self) -> Delays {
        Delays::of(&self.delays)
    }

    /// Delays until the last peer had it, of the messages that everybody has.
    pub(crate) fn last_delays(&self) -> Delays {
        let mut last = Histogram::new_from(&self.delays);
        for account in self.messages.values().filter(|a| a.complete) {
            last.saturating_record(account.last_us.saturating_sub(account.published_us));
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
    fn everybody_but_the_publisher_is_expected_to_have_it() {
        let mut l = Ledger::new(3).unwrap();
        l.published(id(0, 0), 0, 1000);
        assert_eq!(l.deliveries(), Deliveries { published: 1, expected: 2, arrived: 0 });
        l.received(id(0, 0), 0, 1, 1000, 2000);
        assert_eq!(l.missing(), [(0, 0, 2)]);
        l.received(id(0, 0), 0, 2, 1000, 5000);
        assert_eq!(l.open(), 0);
        assert_eq!(l.deliveries(), Deliveries { published: 1, expected: 2, arrived: 2 });
        assert!((l.last_delays().max - 4.0).abs() < 0.01);
        l.received(id(0, 0), 0, 2, 1000, 6000);
        assert_eq!(l.twice(), 1);
    }

    #[test]
    fn the_dead_are_not_expected_to_have_anything_but_their_messages_are() {
        let mut l = Ledger::new(3).unwrap();
        l.received(id(2, 0), 2, 0, 0, 10); // Arrives before its publishing is known.
        l.published(id(2, 0), 2, 0);
        l.published(id(0, 0), 0, 0);
        l.received(id(0, 0), 0, 1, 0, 10);
        assert_eq!(l.open(), 2);
        l.gone(2);
        assert_eq!(l.open(), 1);
        assert_eq!(l.deliveries(), Deliveries { published: 2, expected: 3, arrived: 2 });
        assert_eq!(l.missing(), [(2, 0, 1)]);
    }

    #[test]
    fn many_peers_need_many_bits() {
        let mut l = Ledger::new(200).unwrap();
        l.published(id(0, 0), 0, 0);
        for peer in 1..200 {
            l.received(id(0, 0), 0, peer, 0, 10);
        }
        assert_eq!(l.deliveries().arrived, 199);
        assert_eq!(l.open(), 0);
    }
}
