//! The queue of one link: which item is sent next, and which one is dropped when there is no space.
//!
//! Each [`Class`] has its own queue with its own bound, so that a class that is full takes no space
//! from another one. Nothing waits for space: [`LinkQueue::enqueue`] decides at once, and its
//! outcome reports every item that is dropped.
//!
//! | class | when its queue is full | order |
//! |---|---|---|
//! | liveness | the oldest items are dropped | first, by [`LinkQueue::dequeue_urgent`] |
//! | control | the link is to be closed | before all others |
//! | announce | the oldest items are dropped | after control |
//! | payload | the new item is dropped | after announcements |
//! | history | the new item is dropped | after payloads, but one of [`HISTORY_SHARE`] items in any case |
//! | last | the link is to be closed | after everything else |
//!
//! The items are encoded frames in a driver with sockets, and may be frames in a simulator: the
//! queue needs only their size. It has no clock and no lock.

mod class_queue;

use crate::event::CloseReason;
use crate::io::Class;
use crate::limits::{QUEUE_ANNOUNCE, QUEUE_CONTROL, QUEUE_HISTORY, QUEUE_LIVENESS, QUEUE_PAYLOAD};
use crate::wire::Encoded;

use class_queue::ClassQueue;

pub use class_queue::ITEM_OVERHEAD;

/// While payloads and history both wait, one item in this many is history: a late joiner must make
/// progress on a link that is never idle, and four fifths of the link are enough for new messages.
pub const HISTORY_SHARE: u32 = 5;
/// A link becomes congested when more than its payload queue's bound, divided by this, is in use:
/// the publisher is told while there is still space for what is on its way.
const CONGESTED_ABOVE: usize = 2;
/// A congested link is reported again only after less than the bound, divided by this, was in use:
/// half of what congests it, so that a queue near one mark is not reported for every item.
const RELIEVED_BELOW: usize = 4;

/// An item that a link sends.
pub trait QueueItem {
    /// Its bytes on the link. Does not change while the item is queued.
    fn size(&self) -> usize;
}

impl QueueItem for Encoded {
    fn size(&self) -> usize {
        self.len()
    }
}

/// The bounds of a link's queues, in bytes. An item counts with its size and [`ITEM_OVERHEAD`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Probes and their answers.
    pub liveness: usize,
    /// Control items; the items of [`Class::Last`] may use as many bytes again.
    pub control: usize,
    /// Announcements.
    pub announce: usize,
    /// Payloads.
    pub payload: usize,
    /// History.
    pub history: usize,
}

impl QueueLimits {
    /// The bounds of [`limits`](crate::limits).
    pub const STANDARD: QueueLimits = QueueLimits {
        liveness: QUEUE_LIVENESS,
        control: QUEUE_CONTROL,
        announce: QUEUE_ANNOUNCE,
        payload: QUEUE_PAYLOAD,
        history: QUEUE_HISTORY,
    };

    /// The bound of a class.
    #[must_use]
    pub const fn of(&self, class: Class) -> usize {
        match class {
            Class::Liveness => self.liveness,
            Class::Control | Class::Last => self.control,
            Class::Announce => self.announce,
            Class::Payload => self.payload,
            Class::History => self.history,
        }
    }
}

impl Default for QueueLimits {
    fn default() -> Self {
        QueueLimits::STANDARD
    }
}

/// Why items were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// They were the oldest of their class, and the new item needed their space. It is queued.
    Oldest,
    /// The queue of the class has no space for the new item.
    QueueFull,
    /// The new item is larger than the whole queue of its class.
    TooLarge,
    /// The link is closing or has ended.
    LinkClosed,
}

/// The outcome of adding an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum EnqueueOutcome {
    /// The item is queued.
    Queued,
    /// The item is queued, and the link has become congested: see
    /// [`Input::Congested`](crate::Input::Congested).
    Congested,
    /// Items of the new item's class were dropped.
    Dropped {
        /// How many.
        items: u64,
        /// Why. [`DropReason::Oldest`] concerns earlier items, all others the new one.
        reason: DropReason,
    },
    /// The item did not fit and is dropped, and the link cannot go on without it: the caller closes
    /// it as [`CloseReason::TooSlow`].
    Overflow,
}

impl EnqueueOutcome {
    /// Whether the new item is queued.
    #[must_use]
    pub const fn is_queued(self) -> bool {
        matches!(
            self,
            EnqueueOutcome::Queued
                | EnqueueOutcome::Congested
                | EnqueueOutcome::Dropped { reason: DropReason::Oldest, .. }
        )
    }
}

/// The outcome of closing a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseOutcome {
    /// The link was closing or has ended already; the earlier reason stands.
    AlreadyClosed,
    /// The queued items are still to be sent, then the reason.
    SendsQueued,
    /// The queued items, this many, are dropped; only the reason is to be sent.
    DropsQueued(u64),
}

/// The queue of one link.
#[derive(Debug)]
pub struct LinkQueue<T> {
    limits: QueueLimits,
    liveness: ClassQueue<T>,
    control: ClassQueue<T>,
    announce: ClassQueue<T>,
    payload: ClassQueue<T>,
    history: ClassQueue<T>,
    last: ClassQueue<T>,
    /// Payloads dequeued since the last history, while history waited.
    payloads_since_history: u32,
    /// The link has been reported as congested, and was not relieved since.
    is_congested: bool,
    closing: Option<CloseReason>,
    has_ended: bool,
}

impl<T: QueueItem> Default for LinkQueue<T> {
    fn default() -> Self {
        LinkQueue::new(QueueLimits::STANDARD)
    }
}

impl<T: QueueItem> LinkQueue<T> {
    /// An empty queue. It allocates nothing until an item is added.
    #[must_use]
    pub const fn new(limits: QueueLimits) -> Self {
        LinkQueue {
            limits,
            liveness: ClassQueue::new(),
            control: ClassQueue::new(),
            announce: ClassQueue::new(),
            payload: ClassQueue::new(),
            history: ClassQueue::new(),
            last: ClassQueue::new(),
            payloads_since_history: 0,
            is_congested: false,
            closing: None,
            has_ended: false,
        }
    }

    /// Adds an item by the rule of its class. Every item is dequeued later, or counted as dropped
    /// in the outcome of this call, of a later one, or of [`LinkQueue::close`] or
    /// [`LinkQueue::end`].
    pub fn enqueue(&mut self, class: Class, item: T) -> EnqueueOutcome {
        if self.closing.is_some() || self.has_ended {
            return EnqueueOutcome::Dropped { items: 1, reason: DropReason::LinkClosed };
        }
        let limit = self.limits.of(class);
        let queue = self.queue_mut(class);
        if queue.has_space(&item, limit) {
            queue.push(item);
            return self.note_congestion(class);
        }
        match class {
            // A peer that misses one of them would be in a wrong state from then on.
            Class::Control | Class::Last => EnqueueOutcome::Overflow,
            _ if !ClassQueue::<T>::fits_alone(&item, limit) => {
                EnqueueOutcome::Dropped { items: 1, reason: DropReason::TooLarge }
            }
            // The remote pulls it later. What is queued is older, and needed before it.
            Class::Payload | Class::History => {
                EnqueueOutcome::Dropped { items: 1, reason: DropReason::QueueFull }
            }
            // A newer probe or announcement says more than an older one.
            Class::Liveness | Class::Announce => {
                let items = queue.push_over_oldest(item, limit);
                EnqueueOutcome::Dropped { items, reason: DropReason::Oldest }
            }
        }
    }

    /// The outcome for an item that was queued.
    const fn note_congestion(&mut self, class: Class) -> EnqueueOutcome {
        let is_above = self.payload.bytes() > self.limits.payload / CONGESTED_ABOVE;
        if !matches!(class, Class::Payload) || self.is_congested || !is_above {
            return EnqueueOutcome::Queued;
        }
        self.is_congested = true;
        EnqueueOutcome::Congested
    }

    /// The next probe or probe answer: it waits neither for other items nor for a send window.
    pub fn dequeue_urgent(&mut self) -> Option<T> {
        self.liveness.pop()
    }

    /// The next item that is not urgent, with its class.
    pub fn dequeue(&mut self) -> Option<(Class, T)> {
        if let Some(item) = self.control.pop() {
            return Some((Class::Control, item));
        }
        if let Some(item) = self.announce.pop() {
            return Some((Class::Announce, item));
        }
        let is_turn_of_history = self.payloads_since_history + 1 >= HISTORY_SHARE;
        if (!is_turn_of_history || self.history.is_empty())
            && let Some(item) = self.dequeue_payload()
        {
            return Some((Class::Payload, item));
        }
        self.payloads_since_history = 0;
        if let Some(item) = self.history.pop() {
            return Some((Class::History, item));
        }
        self.last.pop().map(|item| (Class::Last, item))
    }

    fn dequeue_payload(&mut self) -> Option<T> {
        let item = self.payload.pop()?;
        if !self.history.is_empty() {
            self.payloads_since_history += 1;
        }
        if self.payload.bytes() < self.limits.payload / RELIEVED_BELOW {
            self.is_congested = false;
        }
        Some(item)
    }

    /// The next control item or announcement, if it has at most `most` bytes: such an item goes
    /// between the pieces of a large one.
    pub fn dequeue_small(&mut self, most: usize) -> Option<(Class, T)> {
        if let Some(item) = self.control.pop_small(most) {
            return Some((Class::Control, item));
        }
        self.announce.pop_small(most).map(|item| (Class::Announce, item))
    }

    /// Whether an item waits that [`LinkQueue::dequeue`] would return.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        let queues = [&self.control, &self.announce, &self.payload, &self.history, &self.last];
        queues.iter().any(|queue| !queue.is_empty())
    }

    /// Whether no item is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.liveness.is_empty() && !self.is_waiting()
    }

    /// Bytes in use by a class: at most its bound in [`QueueLimits`].
    #[must_use]
    pub const fn bytes(&self, class: Class) -> usize {
        self.queue(class).bytes()
    }

    /// Closes the link: no item is accepted any more. The queued ones are still to be sent, unless
    /// the remote reads nothing or has violated the protocol.
    pub fn close(&mut self, reason: CloseReason) -> CloseOutcome {
        if self.closing.is_some() || self.has_ended {
            return CloseOutcome::AlreadyClosed;
        }
        self.closing = Some(reason);
        if matches!(reason, CloseReason::TooSlow | CloseReason::ProtocolViolation) {
            return CloseOutcome::DropsQueued(self.clear());
        }
        CloseOutcome::SendsQueued
    }

    /// Why the link is being closed, if it is.
    #[must_use]
    pub const fn closing(&self) -> Option<CloseReason> {
        self.closing
    }

    /// Records that the link has ended: no item is accepted any more, and the queued ones are
    /// dropped. Returns their number.
    pub fn end(&mut self) -> u64 {
        self.has_ended = true;
        self.clear()
    }

    /// Drops all items and returns their number.
    fn clear(&mut self) -> u64 {
        let queues = [
            &mut self.liveness,
            &mut self.control,
            &mut self.announce,
            &mut self.payload,
            &mut self.history,
            &mut self.last,
        ];
        queues.into_iter().map(ClassQueue::clear).sum()
    }

    const fn queue(&self, class: Class) -> &ClassQueue<T> {
        match class {
            Class::Liveness => &self.liveness,
            Class::Control => &self.control,
            Class::Announce => &self.announce,
            Class::Payload => &self.payload,
            Class::History => &self.history,
            Class::Last => &self.last,
        }
    }

    const fn queue_mut(&mut self, class: Class) -> &mut ClassQueue<T> {
        match class {
            Class::Liveness => &mut self.liveness,
            Class::Control => &mut self.control,
            Class::Announce => &mut self.announce,
            Class::Payload => &mut self.payload,
            Class::History => &mut self.history,
            Class::Last => &mut self.last,
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
