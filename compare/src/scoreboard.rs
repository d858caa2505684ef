//! The record of what was published and what each node has received.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::stamp::Stamp;

/// The threshold of a publisher that does not wait.
const NOT_WAITING: u64 = u64::MAX;

/// Sequence numbers that were seen.
#[derive(Debug, Default)]
struct SeenNumbers(Vec<u64>);

impl SeenNumbers {
    /// Adds a number; `false` if it was there already.
    fn insert(&mut self, number: usize) -> bool {
        let (word, bit) = (number / 64, 1u64 << (number % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let Some(word) = self.0.get_mut(word) else { return false };
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

/// What one node has received. Only that node writes it.
#[derive(Debug)]
#[repr(align(128))]
struct NodeRecord {
    /// By publisher: the numbers received.
    seen: Mutex<Vec<SeenNumbers>>,
    /// By publisher: how many different messages were received.
    counts: Vec<AtomicU64>,
    duplicates: AtomicU64,
}

/// A message that is timed to its last delivery.
#[derive(Debug)]
struct TimedMessage {
    missing: AtomicU32,
    last_delay: AtomicU64,
}

/// The messages of one publisher.
#[derive(Debug)]
#[repr(align(128))]
struct Lane {
    /// The node at which it publishes.
    home: usize,
    published: AtomicU64,
    /// The number of messages that every other node must have received before the publisher
    /// continues.
    threshold: AtomicU64,
    wake: Notify,
    timed: Vec<TimedMessage>,
}

/// The messages of the warm-up, or of the measurement.
#[derive(Debug)]
pub(crate) struct Phase {
    number: u32,
    clock: Instant,
    lanes: Vec<Lane>,
    nodes: Vec<NodeRecord>,
    /// Deliveries that match no published message.
    foreign: AtomicU64,
}

/// The phases of a run.
#[derive(Debug, Clone)]
pub(crate) struct Scoreboard {
    payload: usize,
    phases: [Arc<Phase>; 2],
}

/// The place where one node delivers.
#[derive(Debug, Clone)]
pub(crate) struct Sink {
    node: usize,
    scoreboard: Scoreboard,
}

impl Scoreboard {
    /// A scoreboard for a number of nodes. `homes` holds the node of each publisher; of each
    /// publisher the first `timed` messages of the measurement are timed to their last delivery.
    pub(crate) fn new(nodes: usize, homes: &[usize], payload: usize, timed: usize) -> Self {
        let clock = Instant::now();
        let phase = |number, timed| Arc::new(Phase::new(number, nodes, homes, timed, clock));
        Scoreboard { payload, phases: [phase(0, 0), phase(1, timed)] }
    }

    /// The sinks of all nodes.
    pub(crate) fn sinks(&self) -> Vec<Sink> {
        let nodes = 0..self.measurement().nodes.len();
        nodes.map(|node| Sink { node, scoreboard: self.clone() }).collect()
    }

    /// The phase before the measurement.
    pub(crate) fn warm_up(&self) -> &Arc<Phase> {
        &self.phases[0]
    }

    /// The phase that is measured.
    pub(crate) fn measurement(&self) -> &Arc<Phase> {
        &self.phases[1]
    }
}

impl Sink {
    /// Records that the application of this node has received a payload.
    pub(crate) fn deliver(&self, payload: &[u8]) {
        let Scoreboard { payload: expected, phases } = &self.scoreboard;
        let stamp = Stamp::read(payload).filter(|_| payload.len() == *expected);
        let phase = stamp.and_then(|s| phases.iter().find(|p| p.number == s.phase));
        match (stamp, phase) {
            (Some(stamp), Some(phase)) => phase.record(self.node, &stamp),
            _ => {
                phases[1].foreign.fetch_add(1, SeqCst);
            }
        }
    }
}

impl Phase {
    fn new(number: u32, nodes: usize, homes: &[usize], timed: usize, clock: Instant) -> Self {
        let receivers = u32::try_from(nodes.saturating_sub(1)).unwrap_or(u32::MAX);
        let timed_message =
            |_| TimedMessage { missing: AtomicU32::new(receivers), last_delay: AtomicU64::new(0) };
        let lane = |home: &usize| Lane {
            home: *home,
            published: AtomicU64::new(0),
            threshold: AtomicU64::new(NOT_WAITING),
            wake: Notify::new(),
            timed: (0..timed).map(timed_message).collect(),
        };
        let node = |_| NodeRecord {
            seen: Mutex::new(homes.iter().map(|_| SeenNumbers::default()).collect()),
            counts: homes.iter().map(|_| AtomicU64::new(0)).collect(),
            duplicates: AtomicU64::new(0),
        };
        Phase {
            number,
            clock,
            lanes: homes.iter().map(lane).collect(),
            nodes: (0..nodes).map(node).collect(),
            foreign: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The next payload of a publisher, stamped with this moment.
    pub(crate) fn next_payload(&self, publisher: usize, bytes: usize) -> Vec<u8> {
        let number = self.lanes.get(publisher).map_or(0, |l| l.published.fetch_add(1, SeqCst));
        let publisher = u32::try_from(publisher).unwrap_or(u32::MAX);
        Stamp { phase: self.number, publisher, number, sent: self.now() }.payload(bytes)
    }

    fn record(&self, node: usize, stamp: &Stamp) {
        let publisher = usize::try_from(stamp.publisher).unwrap_or(usize::MAX);
        let number = usize::try_from(stamp.number).unwrap_or(usize::MAX);
        let (Some(lane), Some(record)) = (self.lanes.get(publisher), self.nodes.get(node)) else {
            self.foreign.fetch_add(1, SeqCst);
            return;
        };
        if stamp.number >= lane.published.load(SeqCst) {
            self.foreign.fetch_add(1, SeqCst);
            return;
        }
        if lane.home == node {
            return; // A publisher's own message is no delivery.
        }
        let is_new = lock(&record.seen).get_mut(publisher).is_some_and(|s| s.insert(number));
        if !is_new {
            record.duplicates.fetch_add(1, SeqCst);
            return;
        }
        if let Some(timed) = lane.timed.get(number) {
            timed.last_delay.fetch_max(self.now().saturating_sub(stamp.sent), SeqCst);
            timed.missing.fetch_sub(1, SeqCst);
        }
        let Some(count) = record.counts.get(publisher) else { return };
        let count = count.fetch_add(1, SeqCst) + 1;
        // The publisher sets its threshold before it reads the counts, and here the count is
        // written before the threshold is read, so at least one of the two sees the other's value.
        if count == lane.threshold.load(SeqCst) {
            lane.wake.notify_one();
        }
    }

    /// The lowest number of messages of a publisher that another node has received.
    fn received_by_all(&self, publisher: usize) -> u64 {
        let home = self.lanes.get(publisher).map(|l| l.home);
        let others = self.nodes.iter().enumerate().filter(|(node, _)| Some(*node) != home);
        let counts = others.filter_map(|(_, n)| n.counts.get(publisher));
        counts.map(|c| c.load(SeqCst)).min().unwrap_or(u64::MAX)
    }

    /// The number of messages that a publisher may publish so that at most `window` are in flight.
    /// Waits until a quarter of the window is free, because a smaller number would wake the
    /// publisher for every message.
    pub(crate) async fn free_window(&self, publisher: usize, window: u64) -> u64 {
        let Some(lane) = self.lanes.get(publisher) else { return 0 };
        loop {
            let published = lane.published.load(SeqCst);
            let free = self.received_by_all(publisher).saturating_add(window) - published;
            if free > 0 {
                lane.threshold.store(NOT_WAITING, SeqCst);
                return free;
            }
            let threshold = (published + window.div_ceil(4)).saturating_sub(window);
            lane.threshold.store(threshold, SeqCst);
            if self.received_by_all(publisher) < threshold {
                lane.wake.notified().await;
            }
        }
    }

    /// Messages published.
    pub(crate) fn published(&self) -> u64 {
        self.lanes.iter().map(|l| l.published.load(SeqCst)).sum()
    }

    /// Deliveries if nothing is lost.
    pub(crate) fn expected(&self) -> u64 {
        self.published() * (self.nodes.len() as u64).saturating_sub(1)
    }

    /// Deliveries so far, without duplicates.
    pub(crate) fn received(&self) -> u64 {
        self.nodes.iter().flat_map(|n| &n.counts).map(|c| c.load(SeqCst)).sum()
    }

    /// Deliveries of messages that the node had received already.
    pub(crate) fn duplicates(&self) -> u64 {
        self.nodes.iter().map(|n| n.duplicates.load(SeqCst)).sum()
    }

    /// Deliveries that match no published message.
    pub(crate) fn foreign(&self) -> u64 {
        self.foreign.load(SeqCst)
    }

    /// The delays of the last deliveries of the timed messages that every node has received, in
    /// nanoseconds.
    pub(crate) fn last_delays(&self) -> impl Iterator<Item = u64> + '_ {
        let published = |l: &Lane| usize::try_from(l.published.load(SeqCst)).unwrap_or(usize::MAX);
        let timed = self.lanes.iter().flat_map(move |l| l.timed.iter().take(published(l)));
        timed.filter(|m| m.missing.load(SeqCst) == 0).map(|m| m.last_delay.load(SeqCst))
    }
}

/// Locks a mutex. A panic of another thread does not make its data wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const PAYLOAD: usize = 32;

    /// Two publishers, at nodes 0 and 1 of three.
    fn scoreboard() -> Scoreboard {
        Scoreboard::new(3, &[0, 1], PAYLOAD, 8)
    }

    #[test]
    fn scoreboard_counts_deliveries_duplicates_and_losses_separately() {
        let scoreboard = scoreboard();
        let (sinks, phase) = (scoreboard.sinks(), scoreboard.measurement());
        let first = phase.next_payload(0, PAYLOAD);
        let second = phase.next_payload(0, PAYLOAD);
        sinks[0].deliver(&first);
        assert_eq!(phase.received(), 0, "a publisher's own message is no delivery");
        sinks[1].deliver(&second);
        sinks[1].deliver(&second);
        sinks[2].deliver(&first);
        assert_eq!((phase.published(), phase.expected(), phase.received()), (2, 4, 2));
        assert_eq!((phase.duplicates(), phase.foreign()), (1, 0));
    }

    #[test]
    fn scoreboard_reports_payloads_that_were_not_published() {
        let scoreboard = scoreboard();
        let (sinks, phase) = (scoreboard.sinks(), scoreboard.measurement());
        let stamp = Stamp { phase: 1, publisher: 0, number: 0, sent: 0 };
        sinks[1].deliver(&stamp.payload(PAYLOAD));
        sinks[1].deliver(&stamp.payload(PAYLOAD + 1));
        sinks[1].deliver(b"short");
        assert_eq!((phase.foreign(), phase.received()), (3, 0));
    }

    #[test]
    fn messages_of_the_warm_up_do_not_count_in_the_measurement() {
        let scoreboard = scoreboard();
        let payload = scoreboard.warm_up().next_payload(1, PAYLOAD);
        scoreboard.sinks()[0].deliver(&payload);
        assert_eq!(scoreboard.warm_up().received(), 1);
        assert_eq!(
            (scoreboard.measurement().received(), scoreboard.measurement().foreign()),
            (0, 0)
        );
    }

    #[test]
    fn last_delay_is_known_only_after_every_node_has_the_message() {
        let scoreboard = scoreboard();
        let (sinks, phase) = (scoreboard.sinks(), scoreboard.measurement());
        let payload = phase.next_payload(0, PAYLOAD);
        sinks[1].deliver(&payload);
        assert_eq!(phase.last_delays().count(), 0);
        sinks[2].deliver(&payload);
        assert_eq!(phase.last_delays().count(), 1);
    }

    #[tokio::test]
    async fn window_opens_when_the_slowest_node_has_received_a_quarter() {
        let scoreboard = scoreboard();
        let (sinks, phase) = (scoreboard.sinks(), scoreboard.measurement());
        assert_eq!(phase.free_window(0, 8).await, 8);
        let payloads: Vec<_> = (0..8).map(|_| phase.next_payload(0, PAYLOAD)).collect();
        payloads.iter().for_each(|p| sinks[1].deliver(p));
        let mut free = std::pin::pin!(phase.free_window(0, 8));
        assert_eq!(free.as_mut().now_or_never(), None, "node 2 has received nothing");
        sinks[2].deliver(&payloads[3]);
        assert_eq!(free.as_mut().now_or_never(), None, "one of eight is less than a quarter");
        sinks[2].deliver(&payloads[0]);
        assert_eq!(free.await, 2);
    }
}
