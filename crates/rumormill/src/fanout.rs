//! One sender, many receivers, and none of them can slow the sender.
//!
//! Each receiver has its own bounded queue. What does not fit pushes the oldest out, and the
//! receiver is told how many it missed before it gets the next one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

/// Things one receiver may have waiting.
const MAX_ITEMS: usize = 4096;
/// Bytes one receiver may have waiting.
const MAX_BYTES: usize = 16 * 1024 * 1024;

#[derive(Debug)]
struct Waiting<T> {
    items: VecDeque<(Arc<T>, usize)>,
    bytes: usize,
    missed: u64,
    closed: bool,
}

#[derive(Debug)]
struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    wake: Notify,
}

/// A lock that another task poisoned still holds a usable queue: nothing here panics halfway.
fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Queue<T> {
    /// Returns how many were pushed out.
    fn push(&self, item: Arc<T>, size: usize) -> u64 {
        let mut w = lock(&self.waiting);
        w.items.push_back((item, size));
        w.bytes += size;
        let mut missed = 0;
        while w.items.len() > 1 && (w.items.len() > MAX_ITEMS || w.bytes > MAX_BYTES) {
            if let Some((_, size)) = w.items.pop_front() {
                w.bytes -= size;
                missed += 1;
            }
        }
        w.missed += missed;
        drop(w);
        self.wake.notify_one();
        missed
    }

    fn close(&self) {
        lock(&self.waiting).closed = true;
        self.wake.notify_one();
    }
}

/// The sending end.
#[derive(Debug)]
pub(crate) struct Hub<T> {
    receivers: Mutex<(Vec<Weak<Queue<T>>>, bool)>,
}

impl<T> Hub<T> {
    pub(crate) fn new() -> Self {
        Hub { receivers: Mutex::new((Vec::new(), false)) }
    }

    /// A further receiver, of everything sent from now on.
    pub(crate) fn subscribe(&self) -> Receiver<T> {
        let mut receivers = lock(&self.receivers);
        let waiting = Waiting { items: VecDeque::new(), bytes: 0, missed: 0, closed: receivers.1 };
        let queue = Arc::new(Queue { waiting: Mutex::new(waiting), wake: Notify::new() });
        receivers.0.push(Arc::downgrade(&queue));
        Receiver(queue)
    }

    /// Sends to all; `size` is what it counts against a receiver's bound. Never waits. Returns how
    /// many things receivers miss because of it.
    pub(crate) fn send(&self, item: T, size: usize) -> u64 {
        let mut receivers = lock(&self.receivers);
        if receivers.0.is_empty() {
            return 0;
        }
        let item = Arc::new(item);
        let mut missed = 0;
        receivers.0.retain(|r| {
            let Some(queue) = r.upgrade() else { return false };
            missed += queue.push(item.clone(), size);
            true
        });
        missed
    }

    /// Nothing comes any more: receivers get what they have waiting, then the end.
    pub(crate) fn close(&self) {
        let mut receivers = lock(&self.receivers);
        receivers.1 = true;
        for r in receivers.0.drain(..) {
            if let Some(queue) = r.upgrade() {
                queue.close();
            }
        }
    }
}

/// What a receiver gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Got<T> {
    /// The next one.
    Item(T),
    /// So many are lost to this receiver, because it was slow.
    Missed(u64),
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Receiver<T>(Arc<Queue<T>>);

impl<T: Clone> Receiver<T> {
    /// The next one, without waiting.
    pub(crate) fn try_recv(&mut self) -> Option<Got<T>> {
        let mut w = lock(&self.0.waiting);
        if w.missed > 0 {
            return Some(Got::Missed(std::mem::take(&mut w.missed)));
        }
        let (item, size) = w.items.pop_front()?;
        w.bytes -= size;
        if w.items.is_empty() && w.items.capacity() > 64 {
            w.items = VecDeque::new();
        }
        drop(w);
        Some(Got::Item(Arc::unwrap_or_clone(item)))
    }

    /// The next one; `None` when the sender has ended. Cancelling it loses nothing.
    pub(crate) async fn recv(&mut self) -> Option<Got<T>> {
        loop {
            if let Some(got) = self.try_recv() {
                return Some(got);
            }
            if lock(&self.0.waiting).closed {
                // Something may have come between the two looks.
                return self.try_recv();
            }
            self.0.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn in_order_then_the_end() {
        let hub = Hub::new();
        let mut a = hub.subscribe();
        assert_eq!(hub.send(1, 1), 0);
        let mut b = hub.subscribe();
        hub.send(2, 1);
        hub.close();
        assert_eq!(a.recv().await, Some(Got::Item(1)));
        assert_eq!(a.recv().await, Some(Got::Item(2)));
        assert_eq!(a.recv().await, None);
        assert_eq!(b.recv().await, Some(Got::Item(2)));
        assert_eq!(b.recv().await, None);
        assert_eq!(hub.subscribe().recv().await, None);
    }

    #[tokio::test]
    async fn a_slow_one_is_told_what_it_missed_and_holds_nobody_up() {
        let hub = Hub::new();
        let mut slow = hub.subscribe();
        let total = MAX_ITEMS as u64 + 10;
        let missed: u64 = (0..total).map(|n| hub.send(n, 1)).sum();
        assert_eq!(missed, 10);
        assert_eq!(slow.recv().await, Some(Got::Missed(10)));
        assert_eq!(slow.recv().await, Some(Got::Item(10)));
    }

    #[tokio::test]
    async fn bytes_are_bounded_too_but_one_thing_always_fits() {
        let hub = Hub::new();
        let mut r = hub.subscribe();
        assert_eq!(hub.send("a", MAX_BYTES + 1), 0);
        assert_eq!(hub.send("b", 1), 1);
        assert_eq!(r.recv().await, Some(Got::Missed(1)));
        assert_eq!(r.recv().await, Some(Got::Item("b")));
    }

    #[tokio::test]
    async fn a_dropped_receiver_is_forgotten() {
        let hub = Hub::new();
        drop(hub.subscribe());
        hub.send(1, 1);
        assert!(lock(&hub.receivers).0.is_empty());
    }
}
