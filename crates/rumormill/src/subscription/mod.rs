//! What applications listen to.

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
pub(crate) use consumer::Progress;
pub use events::{Events, Observed};
pub use options::{Start, SubscribeError, SubscribeOptions};
pub use topics::{TopicPattern, TopicPatternError};

use crate::log::{Begin, Entry, Log, Next, PlaceId, Span};

/// Something for a subscriber to messages.
#[derive(Debug, Clone)]
pub enum Received {
    /// A message.
    Message(Incoming),
    /// Messages of a publisher that do not come, in the place where they would have.
    Gap(Gap),
    /// History is over: everything that the node kept when the subscription began has been given, and, where
    /// the node had just started, everything that its first neighbours kept. What follows is new to
    /// the node. Given once; not with [`Start::Now`], which leaves history out.
    CaughtUp,
}

/// A message and how it came.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The message.
    pub message: Message,
    /// The neighbour it came from first; `None` for one's own, and for what an earlier life of the
    /// node kept.
    pub neighbour: Option<PeerId>,
    /// Links it crossed to get here; 0 for one's own.
    pub hops: u16,
    /// When it arrived, by this node's wall clock.
    pub received_at: WallTime,
}

/// Consecutive messages of one publisher that a subscriber does not get. With a topic filter, some
/// or all of them might not have been for it.
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
    /// Why.
    pub reason: GapReason,
}

/// Why a subscriber does not get messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The node did not get them, and nobody has them any more.
    NotReceived,
    /// The node had let them go before the subscriber came to them: it was slow, or asked for what
    /// is older than the retention.
    NotKept,
}

impl Gap {
    /// The stream that the messages belong to.
    #[must_use]
    pub const fn stream(&self) -> StreamId {
        StreamId { publisher: self.publisher, epoch: self.epoch }
    }

    const fn new(span: Span, reason: GapReason) -> Self {
        let Span { stream: StreamId { publisher, epoch }, from, to } = span;
        Gap { publisher, epoch, from, to, reason }
    }
}

/// The messages of a node: in each publisher's order, each once, and what is missing is told in its
/// place.
///
/// It is a place in the log of what the node delivered, which is kept within the retention of the
/// node's configuration ([`Config::retention_bytes`](crate::Config::retention_bytes),
/// [`retention_age`](crate::Config::retention_age)). A reader that is slow costs no memory and
/// slows nobody; when the log has moved past it, it gets a [`Gap`] for each publisher of which it
/// has missed something.
#[derive(Debug)]
pub struct Subscription {
    log: Arc<Log>,
    place: PlaceId,
    /// None means every topic.
    topics: Box<[TopicPattern]>,
    current: Option<Current>,
    gaps: VecDeque<Gap>,
    /// That history is over is to be told next.
    has_caught_up: bool,
    /// Leaves out what is older, up to this entry of the log.
    since: Option<(WallTime, u64)>,
    resume: Option<Resume>,
    /// Leaves out what existed before.
    published_after: Option<Instant>,
}

/// The batch that is being read.
#[derive(Debug)]
struct Current {
    messages: Messages,
    /// Leaves out what was published before.
    since: WallTime,
    neighbour: Option<PeerId>,
    hops: u16,
    received_at: WallTime,
}

/// The stream that is to go on at a number, until it has.
#[derive(Debug)]
struct Resume {
    stream: StreamId,
    next: u64,
}

impl Subscription {
    pub(crate) fn open(log: &Arc<Log>, options: SubscribeOptions) -> Self {
        let (mut since, mut resume, mut published_after) = (None, None, None);
        let begin = match options.start {
            Start::Now => {
                published_after = Some(Instant::now());
                Begin::End
            }
            Start::Earliest => Begin::Front,
            Start::Undelivered => Begin::Life,
            Start::Time(at) => {
                since = Some(at);
                Begin::Front
            }
            Start::After(id) => {
                let stream = id.stream();
                resume = Some(Resume { stream, next: id.sequence.saturating_add(1) });
                Begin::At(stream, id.sequence)
            }
        };
        let (place, end) = log.open(begin);
        Subscription {
            log: log.clone(),
            place,
            topics: options.into_filter(),
            current: None,
            gaps: VecDeque::new(),
            has_caught_up: false,
            since: since.map(|at| (at, end)),
            resume,
            published_after,
        }
    }

    /// The next message, or the next gap; `None` when the node has ended and all is read.
    /// Cancelling it loses nothing.
    pub async fn recv(&mut self) -> Option<Received> {
        loop {
            if let Some(received) = self.at_hand() {
                return Some(received);
            }
            // A reader in a loop must not keep its thread from others, also if it filters much out.
            tokio::task::consume_budget().await;
            let log = self.log.clone();
            let news = log.news();
            match self.refill() {
                Refill::Some => {}
                Refill::Nothing => news.await,
                Refill::End => return None,
            }
        }
    }

    /// The next message or gap if one is there.
    pub fn try_recv(&mut self) -> Option<Received> {
        loop {
            if let Some(received) = self.at_hand() {
                return Some(received);
            }
            if self.refill() != Refill::Some {
                return None;
            }
        }
    }

    /// What can be had without looking into the log.
    fn at_hand(&mut self) -> Option<Received> {
        if let Some(gap) = self.gaps.pop_front() {
            return Some(Received::Gap(gap));
        }
        if std::mem::take(&mut self.has_caught_up) {
            return Some(Received::CaughtUp);
        }
        let current = self.current.as_mut()?;
        for message in current.messages.by_ref() {
            if message.published_at() < current.since {
                continue;
            }
            let wanted = |p: &TopicPattern| p.matches(message.topic());
            if self.topics.is_empty() || self.topics.iter().any(wanted) {
                let Current { neighbour, hops, received_at, .. } = *current;
                return Some(Received::Message(Incoming { message, neighbour, hops, received_at }));
            }
        }
        self.current = None;
        None
    }

    fn refill(&mut self) -> Refill {
        match self.log.next(self.place) {
            Next::Entry(number, entry, delivered) => {
                self.take(number, entry, delivered);
                Refill::Some
            }
            Next::CaughtUp => {
                self.has_caught_up = true;
                Refill::Some
            }
            Next::Missed(spans) => {
                for span in spans {
                    self.missed(span, GapReason::NotKept);
                }
                Refill::Some
            }
            Next::Nothing => Refill::Nothing,
            Next::End => Refill::End,
        }
    }

    fn missed(&mut self, span: Span, reason: GapReason) {
        if let Some(from) = self.go_on_at(&span) {
            self.gaps.push_back(Gap::new(Span { from, ..span }, reason));
        }
    }

    fn take(&mut self, number: u64, entry: Entry, delivered: Instant) {
        let span = entry.span();
        let delivery = match entry {
            Entry::Gap(_) => return self.missed(span, GapReason::NotReceived),
            Entry::Batch(delivery) => delivery,
        };
        let existed = delivered.checked_sub(delivery.age);
        if self.published_after.is_some_and(|after| existed.is_none_or(|at| at < after)) {
            return;
        }
        let Some(from) = self.go_on_at(&span) else { return };
        let since = match self.since {
            Some((since, until)) if number < until => since,
            _ => {
                self.since = None;
                WallTime(0)
            }
        };
        let Delivery { batch, to, neighbour, hops, received_at, .. } = delivery;
        let messages = batch.messages_in(from, to);
        self.current = Some(Current { messages, since, neighbour, hops, received_at });
    }

    /// From which number on the span is for this subscription. If it goes on behind a message and
    /// this is what comes next of its publisher, there may be a gap to tell first.
    fn go_on_at(&mut self, span: &Span) -> Option<u64> {
        let Some(resume) = self.resume.as_ref().filter(|r| r.stream == span.stream) else {
            return Some(span.from);
        };
        let next = resume.next;
        if span.to <= next {
            return None;
        }
        self.resume = None;
        if span.from > next {
            let gap = Span { from: next, to: span.from, ..*span };
            self.gaps.push_back(Gap::new(gap, GapReason::NotKept));
        }
        Some(span.from.max(next))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.log.leave(self.place);
    }
}

/// What looking into the log gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refill {
    Some,
    Nothing,
    End,
}
