//! Subscriptions to messages and events.

mod consumer;
mod events;
mod options;
mod topics;

use std::collections::VecDeque;
use std::sync::Arc;

use rumormill_proto::{Delivery, Message, Messages, PeerId, StreamId, WallTime};
use serde::Serialize;
use tokio::time::Instant;

pub use consumer::Consumer;
pub(crate) use consumer::ConsumerProgress;
pub use events::{EventItem, Events};
pub use options::{Start, SubscribeError, SubscribeOptions};
pub use topics::{TopicPattern, TopicPatternError};

use crate::log::{CursorId, Log, LogEntry, LogRead, SequenceRange, StartPosition};

/// An element of a subscription.
#[derive(Debug, Clone)]
pub enum SubscriptionItem {
    /// A message.
    Message(ReceivedMessage),
    /// Lost messages of a publisher, at the position where they would have been.
    Gap(Gap),
    /// The end of history: everything that the node retained when the subscription began has been
    /// returned, and, where the node had just started, everything that its first neighbours
    /// retained. All later messages are new to the node. Returned once; never with [`Start::Now`],
    /// which leaves history out.
    CaughtUp,
}

/// A message and how it arrived.
#[derive(Debug, Clone)]
pub struct ReceivedMessage {
    /// The message.
    pub message: Message,
    /// The neighbour that delivered it first; `None` for a message of this node, and for messages
    /// that an earlier process of the node retained.
    pub neighbour: Option<PeerId>,
    /// Links it crossed to get here; 0 for a message of this node.
    pub hops: u16,
    /// When it arrived, by this node's wall clock.
    pub received_at: WallTime,
}

/// Consecutive messages of one publisher that a subscriber does not receive. With a topic filter,
/// some or all of them might not have matched it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The publisher.
    pub publisher: PeerId,
    /// The epoch of the stream.
    pub epoch: u64,
    /// The first missing number.
    pub from: u64,
    /// The number after the last missing one.
    pub to: u64,
    /// Why they are missing.
    pub reason: GapReason,
}

/// Why a subscriber does not get messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The node did not receive them, and no neighbour has them any more.
    NotReceived,
    /// The node had evicted them before the subscriber read them: it was slow, or asked for
    /// messages older than the retention.
    NotRetained,
}

impl Gap {
    /// The stream that the messages belong to.
    #[must_use]
    pub const fn stream(&self) -> StreamId {
        StreamId { publisher: self.publisher, epoch: self.epoch }
    }

    const fn new(span: SequenceRange, reason: GapReason) -> Self {
        let SequenceRange { stream: StreamId { publisher, epoch }, from, to } = span;
        Gap { publisher, epoch, from, to, reason }
    }
}

/// The messages of a node: in each publisher's order, each once, with gaps at their position.
///
/// A subscription is a cursor into the log of deliveries, which is kept within the retention of the
/// node's configuration ([`Config::retention_bytes`](crate::Config::retention_bytes),
/// [`retention_age`](crate::Config::retention_age)). A slow reader costs no memory and slows no
/// other task; when the log has evicted entries that it has not read, it gets a [`Gap`] for each
/// publisher of those entries.
#[derive(Debug)]
pub struct Subscription {
    log: Arc<Log>,
    cursor: CursorId,
    /// An empty list matches every topic.
    topics: Box<[TopicPattern]>,
    current: Option<CurrentBatch>,
    gaps: VecDeque<Gap>,
    /// The end of history is reported next.
    has_caught_up: bool,
    /// Leaves out older messages, up to this entry of the log.
    since: Option<(WallTime, u64)>,
    resume: Option<ResumePoint>,
    /// Leaves out messages that existed before this moment.
    published_after: Option<Instant>,
}

/// The batch that is being read.
#[derive(Debug)]
struct CurrentBatch {
    messages: Messages,
    /// Leaves out messages published before this time.
    since: WallTime,
    neighbour: Option<PeerId>,
    hops: u16,
    received_at: WallTime,
}

/// The stream that continues at a sequence number, until it has.
#[derive(Debug)]
struct ResumePoint {
    stream: StreamId,
    next: u64,
}

impl Subscription {
    pub(crate) fn open(log: &Arc<Log>, options: SubscribeOptions) -> Self {
        let (mut since, mut resume, mut published_after) = (None, None, None);
        let begin = match options.start {
            Start::Now => {
                published_after = Some(Instant::now());
                StartPosition::End
            }
            Start::Earliest => StartPosition::Front,
            Start::Undelivered => StartPosition::CurrentProcess,
            Start::Time(at) => {
                since = Some(at);
                StartPosition::Front
            }
            Start::After(id) => {
                let stream = id.stream();
                resume = Some(ResumePoint { stream, next: id.sequence.saturating_add(1) });
                StartPosition::At(stream, id.sequence)
            }
        };
        let (cursor, end) = log.open(begin);
        Subscription {
            log: log.clone(),
            cursor,
            topics: options.into_filter(),
            current: None,
            gaps: VecDeque::new(),
            has_caught_up: false,
            since: since.map(|at| (at, end)),
            resume,
            published_after,
        }
    }

    /// The next message, or the next gap; `None` when the node has ended and everything is read.
    /// Cancel safe.
    pub async fn recv(&mut self) -> Option<SubscriptionItem> {
        loop {
            if let Some(received) = self.take_buffered() {
                return Some(received);
            }
            // A reader in a loop must let other tasks of its thread run, even if its filter skips
            // most messages.
            tokio::task::consume_budget().await;
            let log = self.log.clone();
            let appended = log.appended();
            match self.refill() {
                Refill::Some => {}
                Refill::Nothing => appended.await,
                Refill::End => return None,
            }
        }
    }

    /// The next message or gap, if one is there.
    pub fn try_recv(&mut self) -> Option<SubscriptionItem> {
        loop {
            if let Some(received) = self.take_buffered() {
                return Some(received);
            }
            if self.refill() != Refill::Some {
                return None;
            }
        }
    }

    /// The next element that is available without reading the log.
    fn take_buffered(&mut self) -> Option<SubscriptionItem> {
        if let Some(gap) = self.gaps.pop_front() {
            return Some(SubscriptionItem::Gap(gap));
        }
        if std::mem::take(&mut self.has_caught_up) {
            return Some(SubscriptionItem::CaughtUp);
        }
        let current = self.current.as_mut()?;
        for message in current.messages.by_ref() {
            if message.published_at() < current.since {
                continue;
            }
            let wanted = |p: &TopicPattern| p.matches(message.topic());
            if self.topics.is_empty() || self.topics.iter().any(wanted) {
                let CurrentBatch { neighbour, hops, received_at, .. } = *current;
                return Some(SubscriptionItem::Message(ReceivedMessage {
                    message,
                    neighbour,
                    hops,
                    received_at,
                }));
            }
        }
        self.current = None;
        None
    }

    fn refill(&mut self) -> Refill {
        match self.log.next(self.cursor) {
            LogRead::Entry(number, entry, delivered) => {
                self.start_entry(number, entry, delivered);
                Refill::Some
            }
            LogRead::CaughtUp => {
                self.has_caught_up = true;
                Refill::Some
            }
            LogRead::Missed(spans) => {
                for span in spans {
                    self.queue_gap(span, GapReason::NotRetained);
                }
                Refill::Some
            }
            LogRead::Nothing => Refill::Nothing,
            LogRead::End => Refill::End,
        }
    }

    fn queue_gap(&mut self, span: SequenceRange, reason: GapReason) {
        if let Some(from) = self.first_wanted(&span) {
            self.gaps.push_back(Gap::new(SequenceRange { from, ..span }, reason));
        }
    }

    fn start_entry(&mut self, number: u64, entry: LogEntry, delivered: Instant) {
        let span = entry.span();
        let delivery = match entry {
            LogEntry::Gap(_) => return self.queue_gap(span, GapReason::NotReceived),
            LogEntry::Batch(delivery) => delivery,
        };
        let existed = delivered.checked_sub(delivery.age);
        if self.published_after.is_some_and(|after| existed.is_none_or(|at| at < after)) {
            return;
        }
        let Some(from) = self.first_wanted(&span) else { return };
        let since = match self.since {
            Some((since, until)) if number < until => since,
            _ => {
                self.since = None;
                WallTime(0)
            }
        };
        let Delivery { batch, to, neighbour, hops, received_at, .. } = delivery;
        let messages = batch.messages_in(from, to);
        self.current = Some(CurrentBatch { messages, since, neighbour, hops, received_at });
    }

    /// The first number of the range that is for this subscription. If the subscription continues
    /// after a message and this range is the next one of its stream, a gap before the range is
    /// queued first.
    fn first_wanted(&mut self, span: &SequenceRange) -> Option<u64> {
        let Some(resume) = self.resume.as_ref().filter(|r| r.stream == span.stream) else {
            return Some(span.from);
        };
        let next = resume.next;
        if span.to <= next {
            return None;
        }
        self.resume = None;
        if span.from > next {
            let gap = SequenceRange { from: next, to: span.from, ..*span };
            self.gaps.push_back(Gap::new(gap, GapReason::NotRetained));
        }
        Some(span.from.max(next))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.log.close_cursor(self.cursor);
    }
}

/// The result of reading the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refill {
    Some,
    Nothing,
    End,
}
