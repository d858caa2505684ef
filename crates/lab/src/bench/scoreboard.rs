//! The progress of all nodes: how many messages were published and received, and how many more may
//! be published.
//!
//! A message is in flight until every node has received it. Nothing is kept per message: each node
//! has a counter for each lane (the messages of one publisher, or of all together), and the lowest
//! counter of a lane is the number of messages that all nodes have received.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// The threshold of a publisher that does not wait.
const NOT_WAITING: u64 = u64::MAX;

/// The counters of one node, on cache lines of their own: only that node writes them, so that
/// processors do not contend for a line.
#[derive(Debug)]
#[repr(align(128))]
struct NodeCounters(Vec<AtomicU64>);

/// A publisher that may wait until enough of its messages have arrived.
#[derive(Debug)]
struct Waiter {
    /// The number of messages that every node must have received.
    threshold: AtomicU64,
    waker: AtomicWaker,
}

#[derive(Debug)]
#[repr(align(128))]
struct Lane {
    published: AtomicU64,
    waiters: Vec<Waiter>,
}

/// The counters of one phase of a run.
#[derive(Debug)]
pub(crate) struct Scoreboard {
    lanes: Vec<Lane>,
    rows: Vec<NodeCounters>,
    has_ended: AtomicBool,
}

impl Scoreboard {
    /// A scoreboard for a number of nodes and lanes; `publishers_each` publishers share each lane.
    pub(crate) fn new(nodes: usize, lanes: usize, publishers_each: usize) -> Self {
        let waiter =
            |_| Waiter { threshold: AtomicU64::new(NOT_WAITING), waker: AtomicWaker::new() };
        let lane = |_| Lane {
            published: AtomicU64::new(0),
            waiters: (0..publishers_each).map(waiter).collect(),
        };
        let row = |_| NodeCounters((0..lanes).map(|_| AtomicU64::new(0)).collect());
        Scoreboard {
            lanes: (0..lanes).map(lane).collect(),
            rows: (0..nodes).map(row).collect(),
            has_ended: AtomicBool::new(false),
        }
    }

    /// Reserves the next `n` numbers of a lane, and gives the first of them.
    pub(crate) fn publish(&self, lane: usize, n: u64) -> u64 {
        self.lanes.get(lane).map_or(0, |l| l.published.fetch_add(n, SeqCst))
    }

    /// Records that a node has received `n` further messages of a lane. Only one task may call it
    /// for a node.
    pub(crate) fn record_received(&self, node: usize, lane: usize, n: u64) {
        let cell = self.rows.get(node).and_then(|row| row.0.get(lane));
        let (Some(cell), Some(lane)) = (cell, self.lanes.get(lane)) else { return };
        let before = cell.fetch_add(n, SeqCst);
        for waiter in &lane.waiters {
            // A publisher sets its threshold before it reads the counters, and here the counter is
            // set before the threshold is read: so at least one of the two sees the other's value.
            let threshold = waiter.threshold.load(SeqCst);
            if before < threshold && threshold <= before + n {
                waiter.waker.wake();
            }
        }
    }

    /// The number of messages of a lane that every node has received.
    fn received_by_all(&self, lane: usize) -> u64 {
        let cells = self.rows.iter().filter_map(|row| row.0.get(lane));
        cells.map(|cell| cell.load(SeqCst)).min().unwrap_or(0)
    }

    /// The number of messages of a lane that may be published so that at most `window` are in
    /// flight. If there are none, it waits until a quarter of the window is free, because a smaller
    /// number would wake the publisher for every message. `None` after the end of the phase.
    pub(crate) fn poll_window(
        &self,
        lane: usize,
        publisher: usize,
        window: u64,
        cx: &Context<'_>,
    ) -> Poll<Option<u64>> {
        let Some(l) = self.lanes.get(lane) else { return Poll::Ready(None) };
        let Some(waiter) = l.waiters.get(publisher) else { return Poll::Ready(None) };
        let free = |published: u64| (self.received_by_all(lane) + window).saturating_sub(published);
        if self.has_ended.load(SeqCst) {
            return Poll::Ready(None);
        }
        let published = l.published.load(SeqCst);
        match free(published) {
            0 => {}
            n => return Poll::Ready(Some(n)),
        }
        waiter.waker.register(cx.waker());
        let threshold = (published + window.div_ceil(4)).saturating_sub(window);
        waiter.threshold.store(threshold, SeqCst);
        if self.has_ended.load(SeqCst) {
            return Poll::Ready(None);
        }
        if self.received_by_all(lane) < threshold {
            return Poll::Pending;
        }
        waiter.threshold.store(NOT_WAITING, SeqCst);
        match free(l.published.load(SeqCst)) {
            // Another publisher of the lane was faster; the next poll may find a free part again.
            0 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            n => Poll::Ready(Some(n)),
        }
    }

    /// Ends the phase: no more messages may be published.
    pub(crate) fn end(&self) {
        self.has_ended.store(true, SeqCst);
        self.lanes.iter().flat_map(|l| &l.waiters).for_each(|w| w.waker.wake());
    }

    /// The number of messages published.
    pub(crate) fn published(&self) -> u64 {
        self.lanes.iter().map(|l| l.published.load(SeqCst)).sum()
    }

    /// The number of messages received, all nodes together.
    pub(crate) fn total_received(&self) -> u64 {
        self.rows.iter().flat_map(|row| &row.0).map(|cell| cell.load(SeqCst)).sum()
    }

    /// The number of messages of a lane that one node has received.
    pub(crate) fn received_by(&self, node: usize, lane: usize) -> u64 {
        self.rows.get(node).and_then(|row| row.0.get(lane)).map_or(0, |cell| cell.load(SeqCst))
    }

    /// The nodes that have not received all messages of a lane, as node, lane and number of missing
    /// messages.
    pub(crate) fn missing(&self) -> Vec<(usize, usize, u64)> {
        let mut incomplete = Vec::new();
        for lane in 0..self.lanes.len() {
            let all = self.lanes.get(lane).map_or(0, |l| l.published.load(SeqCst));
            for node in 0..self.rows.len() {
                let missing = all.saturating_sub(self.received_by(node, lane));
                if missing > 0 {
                    incomplete.push((node, lane, missing));
                }
            }
        }
        incomplete
    }

    /// Whether every node has received every message.
    pub(crate) fn is_complete(&self) -> bool {
        let lanes = self.lanes.iter().enumerate();
        let mut open =
            lanes.filter(|(lane, l)| self.received_by_all(*lane) < l.published.load(SeqCst));
        open.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct WakeCounter(AtomicUsize);
    impl Wake for WakeCounter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn window_opens_when_the_slowest_node_has_received_a_quarter() {
        let (scoreboard, wakes) = (Scoreboard::new(2, 1, 1), Arc::new(WakeCounter::default()));
        let waker = Waker::from(wakes.clone());
        let cx = Context::from_waker(&waker);
        assert_eq!(scoreboard.poll_window(0, 0, 8, &cx), Poll::Ready(Some(8)));
        assert_eq!(scoreboard.publish(0, 8), 0);
        scoreboard.record_received(0, 0, 8);
        assert_eq!(scoreboard.poll_window(0, 0, 8, &cx), Poll::Pending);
        scoreboard.record_received(1, 0, 1);
        assert_eq!(wakes.0.load(SeqCst), 0);
        scoreboard.record_received(1, 0, 1);
        assert_eq!(wakes.0.load(SeqCst), 1);
        assert_eq!(scoreboard.poll_window(0, 0, 8, &cx), Poll::Ready(Some(2)));
        assert_eq!((scoreboard.published(), scoreboard.total_received()), (8, 10));
        assert_eq!(scoreboard.publish(0, 2), 8);
        assert_eq!(scoreboard.poll_window(0, 0, 8, &cx), Poll::Pending);
        scoreboard.end();
        assert_eq!(wakes.0.load(SeqCst), 2);
        assert_eq!(scoreboard.poll_window(0, 0, 8, &cx), Poll::Ready(None));
    }

    #[test]
    fn window_of_one_message_waits_for_every_node() {
        let (scoreboard, waker) = (Scoreboard::new(3, 1, 1), Waker::noop());
        let cx = Context::from_waker(waker);
        scoreboard.publish(0, 1);
        scoreboard.record_received(0, 0, 1);
        scoreboard.record_received(2, 0, 1);
        assert_eq!(scoreboard.poll_window(0, 0, 1, &cx), Poll::Pending);
        scoreboard.record_received(1, 0, 1);
        assert_eq!(scoreboard.poll_window(0, 0, 1, &cx), Poll::Ready(Some(1)));
    }
}
