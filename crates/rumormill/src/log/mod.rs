//! The deliveries of a node, stored once for all its subscribers.
//!
//! The log holds references to the batches that the core retains, in the order of their delivery,
//! within the same bounds of bytes and age. A subscription is a cursor into the log: a slow one
//! costs no memory and slows no other task. When the log has evicted entries that a cursor has not
//! read, the subscription learns the missed sequence numbers of every publisher.

mod place;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumormill_proto::{Delivery, StreamId};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

pub(crate) use place::PlaceId;
use place::{History, Place, Places};

/// The number of the first entry of this process. Deliveries of an earlier process come before it.
const ORIGIN: u64 = 1 << 48;
/// The cost of an entry beside its batch, in bytes.
const OVERHEAD: usize = 128;

/// Sequence numbers of one stream: the first, and the one after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) stream: StreamId,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// An element of the log.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// Delivered messages.
    Batch(Delivery),
    /// Messages that the node could not get.
    Gap(Span),
}

impl Entry {
    pub(crate) fn span(&self) -> Span {
        match self {
            Entry::Batch(d) => Span { stream: d.batch.stream(), from: d.from, to: d.to },
            Entry::Gap(span) => *span,
        }
    }

    fn size(&self) -> usize {
        match self {
            Entry::Batch(d) => d.batch.size() + OVERHEAD,
            Entry::Gap(_) => OVERHEAD,
        }
    }
}

/// The result of reading the log for a subscription.
#[derive(Debug)]
pub(crate) enum Next {
    /// The next entry, its number in the log, and when it was delivered.
    Entry(u64, Entry, Instant),
    /// History ends here: all entries from here on are new.
    CaughtUp,
    /// The entries that were evicted before the subscription read them, by stream.
    Missed(Vec<Span>),
    /// No entry yet.
    Nothing,
    /// The log is closed, and all entries are read.
    End,
}

/// Where a subscription begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Begin {
    /// After the newest entry.
    End,
    /// At the oldest entry.
    Front,
    /// At the oldest entry that this process delivered.
    Life,
    /// At the newest entry that contains this message of a stream; at the oldest entry if none
    /// does.
    At(StreamId, u64),
}

#[derive(Debug)]
struct Inner {
    entries: VecDeque<(Entry, Instant)>,
    /// Number of the front entry.
    first: u64,
    bytes: usize,
    max_bytes: usize,
    max_age: Duration,
    places: Places,
    /// The node has caught up with its first neighbours.
    caught_up: bool,
    closed: bool,
}

/// The log of one node.
#[derive(Debug)]
pub(crate) struct Log {
    inner: Mutex<Inner>,
    news: Notify,
}

impl Log {
    pub(crate) fn new() -> Self {
        let inner = Inner {
            entries: VecDeque::new(),
            first: ORIGIN,
            bytes: 0,
            max_bytes: usize::MAX,
            max_age: Duration::MAX,
            places: Places::default(),
            caught_up: false,
            closed: false,
        };
        Log { inner: Mutex::new(inner), news: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics halfway through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the bounds.
    pub(crate) fn bound(&self, bytes: u64, age: Duration) {
        let mut inner = self.lock();
        inner.max_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        inner.max_age = age;
    }

    /// Adds the deliveries of an earlier process before all other entries.
    pub(crate) fn restore(&self, deliveries: Vec<Delivery>) {
        let mut inner = self.lock();
        let now = Instant::now();
        for delivery in deliveries.into_iter().rev() {
            let entry = Entry::Batch(delivery);
            inner.bytes += entry.size();
            inner.entries.push_front((entry, now));
            inner.first -= 1;
        }
    }

    /// Appends a delivery.
    pub(crate) fn append(&self, delivery: Delivery) {
        self.push(Entry::Batch(delivery));
    }

    /// Appends the notice that these messages are lost.
    pub(crate) fn append_gap(&self, stream: StreamId, from: u64, to: u64) {
        self.push(Entry::Gap(Span { stream, from, to }));
    }

    fn push(&self, entry: Entry) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.bytes += entry.size();
        inner.entries.push_back((entry, now));
        inner.evict(now);
        drop(inner);
        self.news.notify_waiters();
    }

    /// Evicts the entries that are too old.
    pub(crate) fn expire(&self, now: Instant) {
        self.lock().evict(now);
    }

    /// Closes the log: subscriptions read the remaining entries, then the end.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.news.notify_waiters();
    }

    /// Completes when an entry is added after this call, or the log is closed.
    pub(crate) fn news(&self) -> Notified<'_> {
        self.news.notified()
    }

    /// Opens a cursor; returns it with the current end of the log.
    pub(crate) fn open(&self, begin: Begin) -> (PlaceId, u64) {
        let mut inner = self.lock();
        let end = inner.end();
        let next = match begin {
            Begin::End => end,
            Begin::Front => inner.first,
            Begin::Life => inner.first.max(ORIGIN),
            Begin::At(stream, sequence) => {
                let holds = |(entry, _): &(Entry, Instant)| {
                    let span = entry.span();
                    span.stream == stream && (span.from..span.to).contains(&sequence)
                };
                let at = inner.entries.iter().rposition(holds).unwrap_or(0);
                inner.first + at as u64
            }
        };
        let history = match begin {
            Begin::End => History::Over,
            _ if inner.caught_up => History::Until(end),
            _ => History::Unknown,
        };
        (inner.places.open(next, history), end)
    }

    /// Records that the node has caught up: entries appended from now on are not history.
    pub(crate) fn caught_up(&self) {
        let mut inner = self.lock();
        inner.caught_up = true;
        let end = inner.end();
        inner.places.caught_up(end);
        drop(inner);
        self.news.notify_waiters();
    }

    /// Closes a cursor.
    pub(crate) fn leave(&self, place: PlaceId) {
        self.lock().places.leave(place);
    }

    /// Reads the next element for a cursor and advances it.
    pub(crate) fn next(&self, place: PlaceId) -> Next {
        let mut inner = self.lock();
        let (first, end, closed) = (inner.first, inner.end(), inner.closed);
        let Some(place) = inner.places.get_mut(place) else { return Next::End };
        let Place { next, missed, history } = place;
        if !missed.is_empty() {
            return Next::Missed(std::mem::take(missed).into_values().collect());
        }
        if let History::Until(until) = *history
            && *next >= until
        {
            *history = History::Over;
            return Next::CaughtUp;
        }
        if *next >= end {
            return if closed { Next::End } else { Next::Nothing };
        }
        let at = *next;
        *next += 1;
        // No cursor is before the front: eviction moves cursors along.
        let index = usize::try_from(at.saturating_sub(first)).unwrap_or(usize::MAX);
        match inner.entries.get(index) {
            Some((entry, delivered)) => Next::Entry(at, entry.clone(), *delivered),
            None => Next::Nothing,
        }
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.entries.len(), inner.bytes)
    }
}

impl Inner {
    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn evict(&mut self, now: Instant) {
        while let Some((_, at)) = self.entries.front() {
            let too_old = now.saturating_duration_since(*at) >= self.max_age;
            let too_much = self.bytes > self.max_bytes && self.entries.len() > 1;
            if !too_old && !too_much {
                break;
            }
            let Some((entry, _)) = self.entries.pop_front() else { break };
            self.bytes -= entry.size();
            self.places.passed(self.first, entry.span());
            self.first += 1;
        }
        if self.entries.is_empty() && self.entries.capacity() > 64 {
            self.entries = VecDeque::new();
        }
    }
}

/// Missed sequence numbers by stream.
pub(crate) type Missed = BTreeMap<StreamId, Span>;
