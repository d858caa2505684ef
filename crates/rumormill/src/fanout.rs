//! One sender, many receivers; no receiver can slow the sender down.
//!
//! Each receiver has its own bounded queue. An item that does not fit displaces the oldest ones,
//! and the receiver learns how many it missed before it gets the next item.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

/// The most items that may wait for one receiver.
const MAX_WAITING_ITEMS: usize = 4096;
/// The most bytes that may wait for one receiver.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

#[derive(Debug)]
struct ReceiverState<T> {
    items: VecDeque<(Arc<T>, usize)>,
    bytes: usize,
    missed: u64,
    closed: bool,
}

#[derive(Debug)]
struct ReceiverQueue<T> {
    waiting: Mutex<ReceiverState<T>>,
    wake: Notify,
}

/// A poisoned lock still holds a usable queue: nothing here panics halfway through a change.
fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> ReceiverQueue<T> {
    /// Adds an item. Returns how many older items it displaced.
    fn push(&self, item: Arc<T>, size: usize) -> u64 {
        let mut w = lock(&self.waiting);
        w.items.push_back((item, size));
        w.bytes += size;
        let mut missed = 0;
        while w.items.len() > 1
            && (w.items.len() > MAX_WAITING_ITEMS || w.bytes > MAX_WAITING_BYTES)
        {
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
pub(crate) struct FanoutSender<T> {
    receivers: Mutex<(Vec<Weak<ReceiverQueue<T>>>, bool)>,
}

impl<T> FanoutSender<T> {
    pub(crate) fn new() -> Self {
        FanoutSender { receivers: Mutex::new((Vec::new(), false)) }
    }

    /// Adds a receiver of all items sent from now on.
    pub(crate) fn subscribe(&self) -> FanoutReceiver<T> {
        let mut receivers = lock(&self.receivers);
        let waiting =
            ReceiverState { items: VecDeque::new(), bytes: 0, missed: 0, closed: receivers.1 };
        let queue = Arc::new(ReceiverQueue { waiting: Mutex::new(waiting), wake: Notify::new() });
        receivers.0.push(Arc::downgrade(&queue));
        FanoutReceiver(queue)
    }

    /// Sends an item to all receivers without waiting; `size` counts against the byte bound of each
    /// receiver. Returns how many items were displaced at all receivers together.
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

    /// Ends the stream: receivers get the items that wait for them, then the end.
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

/// An element that a receiver gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FanoutItem<T> {
    /// The next item.
    Item(T),
    /// The number of items that this receiver lost because it was slow.
    Missed(u64),
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct FanoutReceiver<T>(Arc<ReceiverQueue<T>>);

impl<T: Clone> FanoutReceiver<T> {
    /// The next element, without waiting.
    pub(crate) fn try_recv(&mut self) -> Option<FanoutItem<T>> {
        let mut w = lock(&self.0.waiting);
        if w.missed > 0 {
            return Some(FanoutItem::Missed(std::mem::take(&mut w.missed)));
        }
        let (item, size) = w.items.pop_front()?;
        w.bytes -= size;
        if w.items.is_empty() && w.items.capacity() > 64 {
            w.items = VecDeque::new();
        }
        drop(w);
        Some(FanoutItem::Item(Arc::unwrap_or_clone(item)))
    }

    /// The next element; `None` after the sender has closed. Cancel safe.
    pub(crate) async fn recv(&mut self) -> Option<FanoutItem<T>> {
        loop {
            if let Some(got) = self.try_recv() {
                return Some(got);
            }
            if lock(&self.0.waiting).closed {
                // An item may have arrived between the two checks.
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
    async fn receivers_get_items_in_order_then_the_end() {
        let sender = FanoutSender::new();
        let mut a = sender.subscribe();
        assert_eq!(sender.send(1, 1), 0);
        let mut b = sender.subscribe();
        sender.send(2, 1);
        sender.close();
        assert_eq!(a.recv().await, Some(FanoutItem::Item(1)));
        assert_eq!(a.recv().await, Some(FanoutItem::Item(2)));
        assert_eq!(a.recv().await, None);
        assert_eq!(b.recv().await, Some(FanoutItem::Item(2)));
        assert_eq!(b.recv().await, None);
        assert_eq!(sender.subscribe().recv().await, None);
    }

    #[tokio::test]
    async fn slow_receiver_learns_how_many_it_missed_and_does_not_block_sender() {
        let sender = FanoutSender::new();
        let mut slow = sender.subscribe();
        let total = MAX_WAITING_ITEMS as u64 + 10;
        let missed: u64 = (0..total).map(|n| sender.send(n, 1)).sum();
        assert_eq!(missed, 10);
        assert_eq!(slow.recv().await, Some(FanoutItem::Missed(10)));
        assert_eq!(slow.recv().await, Some(FanoutItem::Item(10)));
    }

    #[tokio::test]
    async fn waiting_bytes_are_bounded_but_one_item_always_fits() {
        let sender = FanoutSender::new();
        let mut r = sender.subscribe();
        assert_eq!(sender.send("a", MAX_WAITING_BYTES + 1), 0);
        assert_eq!(sender.send("b", 1), 1);
        assert_eq!(r.recv().await, Some(FanoutItem::Missed(1)));
        assert_eq!(r.recv().await, Some(FanoutItem::Item("b")));
    }

    #[tokio::test]
    async fn dropped_receiver_is_removed_at_next_send() {
        let sender = FanoutSender::new();
        drop(sender.subscribe());
        sender.send(1, 1);
        assert!(lock(&sender.receivers).0.is_empty());
    }
}
