//! The deliveries of a node, stored once for all its subscribers.
//!
//! The log holds references to the batches that the core retains, in the order of their delivery,
//! within the same bounds of bytes and age. A subscription is a cursor into the log: a slow one
//! costs no memory and slows no other task. When the log has evicted entries that a cursor has not
//! read, the subscription learns the missed sequence numbers of every publisher.

mod cursor;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumormill_proto::{Delivery, StreamId};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

pub(crate) use cursor::CursorId;
use cursor::{Cursor, Cursors, HistoryEnd};

/// The number of the first entry of this process. Deliveries of an earlier process come before it.
const FIRST_ENTRY: u64 = 1 << 48;
/// The cost of an entry beside its batch, in bytes.
const ENTRY_OVERHEAD: usize = 128;

/// Sequence numbers of one stream: the first, and the one after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SequenceRange {
    pub(crate) stream: StreamId,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// An element of the log.
#[derive(Debug, Clone)]
pub(crate) enum LogEntry {
    /// Delivered messages.
    Batch(Delivery),
    /// Messages that the node could not get.
    Gap(SequenceRange),
}

impl LogEntry {
    pub(crate) fn span(&self) -> SequenceRange {
        match self {
            LogEntry::Batch(d) => {
                SequenceRange { stream: d.batch.stream(), from: d.from, to: d.to }
            }
            LogEntry::Gap(span) => *span,
        }
    }

    fn size(&self) -> usize {
        match self {
            LogEntry::Batch(d) => d.batch.size() + ENTRY_OVERHEAD,
            LogEntry::Gap(_) => ENTRY_OVERHEAD,
        }
    }
}

/// The result of reading the log for a subscription.
#[derive(Debug)]
pub(crate) enum LogRead {
    /// The next entry, its number in the log, and when it was delivered.
    Entry(u64, LogEntry, Instant),
    /// History ends here: all entries from here on are new.
    CaughtUp,
    /// The entries that were evicted before the subscription read them, by stream.
    Missed(Vec<SequenceRange>),
    /// No entry yet.
    Nothing,
    /// The log is closed, and all entries are read.
    End,
}

/// Where a subscription begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StartPosition {
    /// After the newest entry.
    End,
    /// At the oldest entry.
    Front,
    /// At the oldest entry that this process delivered.
    CurrentProcess,
    /// At the newest entry that contains this message of a stream; at the oldest entry if none
    /// does.
    At(StreamId, u64),
}

#[derive(Debug)]
struct LogState {
    entries: VecDeque<(LogEntry, Instant)>,
    /// Number of the front entry.
    first: u64,
    bytes: usize,
    max_bytes: usize,
    max_age: Duration,
    cursors: Cursors,
    /// The node has caught up with its first neighbours.
    caught_up: bool,
    closed: bool,
}

/// The log of one node.
#[derive(Debug)]
pub(crate) struct Log {
    state: Mutex<LogState>,
    appended: Notify,
}

impl Log {
    pub(crate) fn new() -> Self {
        let state = LogState {
            entries: VecDeque::new(),
            first: FIRST_ENTRY,
            bytes: 0,
            max_bytes: usize::MAX,
            max_age: Duration::MAX,
            cursors: Cursors::default(),
            caught_up: false,
            closed: false,
        };
        Log { state: Mutex::new(state), appended: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, LogState> {
        // Nothing in here panics halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the limits of bytes and age.
    pub(crate) fn set_bounds(&self, bytes: u64, age: Duration) {
        let mut state = self.lock();
        state.max_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        state.max_age = age;
    }

    /// Adds the deliveries of an earlier process before all other entries.
    pub(crate) fn restore(&self, deliveries: Vec<Delivery>) {
        let mut state = self.lock();
        let now = Instant::now();
        for delivery in deliveries.into_iter().rev() {
            let entry = LogEntry::Batch(delivery);
            state.bytes += entry.size();
            state.entries.push_front((entry, now));
            state.first -= 1;
        }
    }

    /// Appends a delivery.
    pub(crate) fn append(&self, delivery: Delivery) {
        self.push(LogEntry::Batch(delivery));
    }

    /// Appends the notice that these messages are lost.
    pub(crate) fn append_gap(&self, stream: StreamId, from: u64, to: u64) {
        self.push(LogEntry::Gap(SequenceRange { stream, from, to }));
    }

    fn push(&self, entry: LogEntry) {
        let now = Instant::now();
        let mut state = self.lock();
        state.bytes += entry.size();
        state.entries.push_back((entry, now));
        state.evict(now);
        drop(state);
        self.appended.notify_waiters();
    }

    /// Evicts the entries that are too old.
    pub(crate) fn evict_expired(&self, now: Instant) {
        self.lock().evict(now);
    }

    /// Closes the log: subscriptions read the remaining entries, then the end.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.appended.notify_waiters();
    }

    /// Completes when an entry is added after this call, or the log is closed.
    pub(crate) fn appended(&self) -> Notified<'_> {
        self.appended.notified()
    }

    /// Opens a cursor; returns it with the current end of the log.
    pub(crate) fn open(&self, begin: StartPosition) -> (CursorId, u64) {
        let mut state = self.lock();
        let end = state.end();
        let next = match begin {
            StartPosition::End => end,
            StartPosition::Front => state.first,
            StartPosition::CurrentProcess => state.first.max(FIRST_ENTRY),
            StartPosition::At(stream, sequence) => {
                let holds = |(entry, _): &(LogEntry, Instant)| {
                    let span = entry.span();
                    span.stream == stream && (span.from..span.to).contains(&sequence)
                };
                let at = state.entries.iter().rposition(holds).unwrap_or(0);
                state.first + at as u64
            }
        };
        let history = match begin {
            StartPosition::End => HistoryEnd::Passed,
            _ if state.caught_up => HistoryEnd::At(end),
            _ => HistoryEnd::Unknown,
        };
        (state.cursors.open(next, history), end)
    }

    /// Records that the node has caught up: entries appended from now on are not history.
    pub(crate) fn mark_caught_up(&self) {
        let mut state = self.lock();
        state.caught_up = true;
        let end = state.end();
        state.cursors.mark_caught_up(end);
        drop(state);
        self.appended.notify_waiters();
    }

    /// Closes a cursor.
    pub(crate) fn close_cursor(&self, cursor: CursorId) {
        self.lock().cursors.close(cursor);
    }

    /// Reads the next element for a cursor and advances it.
    pub(crate) fn next(&self, cursor: CursorId) -> LogRead {
        let mut state = self.lock();
        let (first, end, closed) = (state.first, state.end(), state.closed);
        let Some(cursor) = state.cursors.get_mut(cursor) else { return LogRead::End };
        let Cursor { next, missed, history } = cursor;
        if !missed.is_empty() {
            return LogRead::Missed(std::mem::take(missed).into_values().collect());
        }
        if let HistoryEnd::At(until) = *history
            && *next >= until
        {
            *history = HistoryEnd::Passed;
            return LogRead::CaughtUp;
        }
        if *next >= end {
            return if closed { LogRead::End } else { LogRead::Nothing };
        }
        let at = *next;
        *next += 1;
        // No cursor is before the front: eviction moves cursors along.
        let index = usize::try_from(at.saturating_sub(first)).unwrap_or(usize::MAX);
        match state.entries.get(index) {
            Some((entry, delivered)) => LogRead::Entry(at, entry.clone(), *delivered),
            None => LogRead::Nothing,
        }
    }

    #[cfg(test)]
    pub(crate) fn size(&self) -> (usize, usize) {
        let state = self.lock();
        (state.entries.len(), state.bytes)
    }
}

impl LogState {
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
            self.cursors.evicted(self.first, entry.span());
            self.first += 1;
        }
        if self.entries.is_empty() && self.entries.capacity() > 64 {
            self.entries = VecDeque::new();
        }
    }
}

/// Missed sequence numbers by stream.
pub(crate) type MissedRanges = BTreeMap<StreamId, SequenceRange>;
