//! How far everybody is: who has published and who has got how many, and who may publish more.
//!
//! A message is outstanding until every node has got it. Nothing is kept per message: each node
//! has a counter for each lane (the messages of one publisher, or of all together), and the lowest
//! of a lane says what all have got.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// Nobody waits.
const NOBODY: u64 = u64::MAX;

/// The counters of one node, apart from those of others: each is written by one node only, and
/// processors should not fight for them.
#[derive(Debug)]
#[repr(align(128))]
struct Row(Vec<AtomicU64>);

/// A publisher that waits until enough of its messages have arrived.
#[derive(Debug)]
struct Waiter {
    /// How many every node must have got.
    wanted: AtomicU64,
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
pub(crate) struct Board {
    lanes: Vec<Lane>,
    rows: Vec<Row>,
    ended: AtomicBool,
}

impl Board {
    /// A board for so many nodes, with so many lanes that so many publishers share.
    pub(crate) fn new(nodes: usize, lanes: usize, publishers_each: usize) -> Self {
        let waiter = |_| Waiter { wanted: AtomicU64::new(NOBODY), waker: AtomicWaker::new() };
        let lane = |_| Lane {
            published: AtomicU64::new(0),
            waiters: (0..publishers_each).map(waiter).collect(),
        };
        let row = |_| Row((0..lanes).map(|_| AtomicU64::new(0)).collect());
        Board {
            lanes: (0..lanes).map(lane).collect(),
            rows: (0..nodes).map(row).collect(),
            ended: AtomicBool::new(false),
        }
    }

    /// Takes the next `n` numbers of a lane, and says the first of them.
    pub(crate) fn publish(&self, lane: usize, n: u64) -> u64 {
        self.lanes.get(lane).map_or(0, |l| l.published.fetch_add(n, SeqCst))
    }

    /// A node has got `n` more of a lane. Only one task may call it for a node.
    pub(crate) fn got(&self, node: usize, lane: usize, n: u64) {
        let cell = self.rows.get(node).and_then(|row| row.0.get(lane));
        let (Some(cell), Some(lane)) = (cell, self.lanes.get(lane)) else { return };
        let before = cell.fetch_add(n, SeqCst);
        for waiter in &lane.waiters {
            // A publisher sets what it wants before it looks at the counters, and here the counter
            // comes before the look at what is wanted: one of the two sees the other.
            let wanted = waiter.wanted.load(SeqCst);
            if before < wanted && wanted <= before + n {
                waiter.waker.wake();
            }
        }
    }

    /// How many of a lane every node has got.
    fn got_by_all(&self, lane: usize) -> u64 {
        let cells = self.rows.iter().filter_map(|row| row.0.get(lane));
        cells.map(|cell| cell.load(SeqCst)).min().unwrap_or(0)
    }

    /// How many more of a lane may be published so that at most `window` are outstanding. Waits
    /// while there are none, and then until a quarter of the window is free, as one at a time
    /// would wake the publisher for each message. `None` when the phase was ended.
    pub(crate) fn poll_room(
        &self,
        lane: usize,
        publisher: usize,
        window: u64,
        cx: &Context<'_>,
    ) -> Poll<Option<u64>> {
        let Some(l) = self.lanes.get(lane) else { return Poll::Ready(None) };
        let Some(waiter) = l.waiters.get(publisher) else { return Poll::Ready(None) };
        let room = |published: u64| (self.got_by_all(lane) + window).saturating_sub(published);
        if self.ended.load(SeqCst) {
            return Poll::Ready(None);
        }
        let published = l.published.load(SeqCst);
        match room(published) {
            0 => {}
            n => return Poll::Ready(Some(n)),
        }
        waiter.waker.register(cx.waker());
        let wanted = (published + window.div_ceil(4)).saturating_sub(window);
        waiter.wanted.store(wanted, SeqCst);
        if self.ended.load(SeqCst) {
            return Poll::Ready(None);
        }
        if self.got_by_all(lane) < wanted {
            return Poll::Pending;
        }
        waiter.wanted.store(NOBODY, SeqCst);
        match room(l.published.load(SeqCst)) {
            // Somebody who shares the lane was faster; there is more when this one is asked again.
            0 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            n => Poll::Ready(Some(n)),
        }
    }

    /// Nobody may publish any more.
    pub(crate) fn end(&self) {
        self.ended.store(true, SeqCst);
        self.lanes.iter().flat_map(|l| &l.waiters).for_each(|w| w.waker.wake());
    }

    /// Messages published.
    pub(crate) fn published(&self) -> u64 {
        self.lanes.iter().map(|l| l.published.load(SeqCst)).sum()
    }

    /// Messages got, all nodes together.
    pub(crate) fn got_in_all(&self) -> u64 {
        self.rows.iter().flat_map(|row| &row.0).map(|cell| cell.load(SeqCst)).sum()
    }

    /// How many of a lane one node has got.
    pub(crate) fn got_by(&self, node: usize, lane: usize) -> u64 {
        self.rows.get(node).and_then(|row| row.0.get(lane)).map_or(0, |cell| cell.load(SeqCst))
    }

    /// Who has not got all of a lane, and how much is missing: node, lane, messages.
    pub(crate) fn behind(&self) -> Vec<(usize, usize, u64)> {
        let mut behind = Vec::new();
        for lane in 0..self.lanes.len() {
            let all = self.lanes.get(lane).map_or(0, |l| l.published.load(SeqCst));
            for node in 0..self.rows.len() {
                let missing = all.saturating_sub(self.got_by(node, lane));
                if missing > 0 {
                    behind.push((node, lane, missing));
                }
            }
        }
        behind
    }

    /// Everybody has got everything.
    pub(crate) fn is_complete(&self) -> bool {
        let lanes = self.lanes.iter().enumerate();
        let mut open = lanes.filter(|(lane, l)| self.got_by_all(*lane) < l.published.load(SeqCst));
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
    struct Wakes(AtomicUsize);
    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn a_window_opens_when_the_slowest_has_got_a_quarter() {
        let (board, wakes) = (Board::new(2, 1, 1), Arc::new(Wakes::default()));
        let waker = Waker::from(wakes.clone());
        let cx = Context::from_waker(&waker);
        assert_eq!(board.poll_room(0, 0, 8, &cx), Poll::Ready(Some(8)));
        assert_eq!(board.publish(0, 8), 0);
        board.got(0, 0, 8);
        assert_eq!(board.poll_room(0, 0, 8, &cx), Poll::Pending);
        board.got(1, 0, 1);
        assert_eq!(wakes.0.load(SeqCst), 0);
        board.got(1, 0, 1);
        assert_eq!(wakes.0.load(SeqCst), 1);
        assert_eq!(board.poll_room(0, 0, 8, &cx), Poll::Ready(Some(2)));
        assert_eq!((board.published(), board.got_in_all()), (8, 10));
        assert_eq!(board.publish(0, 2), 8);
        assert_eq!(board.poll_room(0, 0, 8, &cx), Poll::Pending);
        board.end();
        assert_eq!(wakes.0.load(SeqCst), 2);
        assert_eq!(board.poll_room(0, 0, 8, &cx), Poll::Ready(None));
    }

    #[test]
    fn a_window_of_one_waits_for_everybody() {
        let (board, waker) = (Board::new(3, 1, 1), Waker::noop());
        let cx = Context::from_waker(waker);
        board.publish(0, 1);
        board.got(0, 0, 1);
        board.got(2, 0, 1);
        assert_eq!(board.poll_room(0, 0, 1, &cx), Poll::Pending);
        board.got(1, 0, 1);
        assert_eq!(board.poll_room(0, 0, 1, &cx), Poll::Ready(Some(1)));
    }
}
