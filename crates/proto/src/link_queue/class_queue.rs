//! The items of one class, first in, first out, with the bytes that they use.

use std::collections::VecDeque;

use super::QueueItem;

/// Memory that a queued item costs beside its bytes. Without it, a flood of tiny items would use
/// many times the bound of its class.
pub const ITEM_OVERHEAD: usize = 64;
/// An empty queue keeps its memory for this many items: a burst must not leave its memory behind on
/// a link that is idle again, and a link at work must not allocate for every item.
const KEPT_CAPACITY: usize = 16;

#[derive(Debug)]
pub(super) struct ClassQueue<T> {
    items: VecDeque<T>,
    bytes: usize,
}

impl<T> ClassQueue<T> {
    pub(super) const fn new() -> Self {
        ClassQueue { items: VecDeque::new(), bytes: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes in use, overhead included.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops all items and returns their number.
    pub(super) fn clear(&mut self) -> u64 {
        let items = self.items.len() as u64;
        *self = ClassQueue::new();
        items
    }
}

impl<T: QueueItem> ClassQueue<T> {
    /// The bytes that an item uses.
    fn cost(item: &T) -> usize {
        item.size().saturating_add(ITEM_OVERHEAD)
    }

    /// Whether the item fits into an empty queue.
    pub(super) fn fits_alone(item: &T, limit: usize) -> bool {
        Self::cost(item) <= limit
    }

    pub(super) fn has_space(&self, item: &T, limit: usize) -> bool {
        Self::cost(item) <= limit.saturating_sub(self.bytes)
    }

    /// Adds an item for which there is space.
    pub(super) fn push(&mut self, item: T) {
        self.bytes += Self::cost(&item);
        self.items.push_back(item);
    }

    /// Adds an item that fits alone, after dropping as many of the oldest ones as it needs. Returns
    /// their number.
    pub(super) fn push_over_oldest(&mut self, item: T, limit: usize) -> u64 {
        let mut dropped = 0;
        while !self.has_space(&item, limit) && self.pop().is_some() {
            dropped += 1;
        }
        self.push(item);
        dropped
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let item = self.items.pop_front()?;
        self.bytes = self.bytes.saturating_sub(Self::cost(&item));
        if self.items.is_empty() && self.items.capacity() > KEPT_CAPACITY {
            self.items = VecDeque::new();
        }
        Some(item)
    }

    /// The next item, if it has at most `most` bytes.
    pub(super) fn pop_small(&mut self, most: usize) -> Option<T> {
        if self.items.front()?.size() > most {
            return None;
        }
        self.pop()
    }
}
