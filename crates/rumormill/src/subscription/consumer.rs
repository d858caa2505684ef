//! The one subscriber whose progress a node makes durable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rumormill_proto::{DeliveredMark, StreamId};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::{Subscription, SubscriptionItem};

/// The messages of a node, for a program that must not miss any of them across a crash.
///
/// It receives everything that the node delivers, from the first message on.
/// [`acknowledge`](Consumer::acknowledge) decides which messages the node makes durable as
/// *delivered*: after a crash, a node with a data directory delivers every message again that was
/// not acknowledged, as far as some node still retains it. Each message is therefore seen at least
/// once if the program acknowledges only messages that it has processed (written to its own file,
/// for example). Without a consumer, a message counts as delivered when it is ready for subscribers
/// of this process.
///
/// A node has at most one consumer; see [`NodeBuilder::consumer`](crate::NodeBuilder::consumer).
#[derive(Debug)]
pub struct Consumer {
    subscription: Subscription,
    /// Returned but not acknowledged: the number after the last message, by stream.
    handed_out: BTreeMap<StreamId, u64>,
    /// All messages are read, and none follows.
    at_end: bool,
    progress: Arc<ConsumerProgress>,
}

impl Consumer {
    pub(crate) fn new(subscription: Subscription, progress: Arc<ConsumerProgress>) -> Self {
        Consumer { subscription, handed_out: BTreeMap::new(), at_end: false, progress }
    }

    /// The next message, or the next gap; `None` when the node delivers no more and everything is
    /// read. After `None` the program makes its last [`acknowledge`](Consumer::acknowledge), for
    /// which the node waits up to two seconds, but not beyond its time to leave. Cancel safe.
    pub async fn recv(&mut self) -> Option<SubscriptionItem> {
        let received = self.subscription.recv().await;
        self.track(received.as_ref());
        self.at_end = received.is_none();
        received
    }

    /// The next message or gap, if one is there.
    pub fn try_recv(&mut self) -> Option<SubscriptionItem> {
        let received = self.subscription.try_recv();
        self.track(received.as_ref());
        received
    }

    /// Acknowledges all messages and gaps returned so far. The node makes this durable soon after;
    /// a crash before that repeats some messages.
    pub fn acknowledge(&mut self) {
        self.progress.acknowledge(std::mem::take(&mut self.handed_out), self.at_end);
    }

    fn track(&mut self, received: Option<&SubscriptionItem>) {
        let (stream, next) = match received {
            Some(SubscriptionItem::Message(m)) => {
                let id = m.message.id();
                (id.stream(), id.sequence.saturating_add(1))
            }
            Some(SubscriptionItem::Gap(gap)) => {
                (StreamId { publisher: gap.publisher, epoch: gap.epoch }, gap.to)
            }
            Some(SubscriptionItem::CaughtUp) | None => return,
        };
        self.handed_out.insert(stream, next);
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.progress.acknowledge(BTreeMap::new(), true);
    }
}

/// The progress of a node's consumer. Bounded by the streams that the node knows.
#[derive(Debug, Default)]
pub(crate) struct ConsumerProgress {
    state: Mutex<ConsumerState>,
    /// Signalled when the progress has changed.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct ConsumerState {
    /// Whether a consumer exists or has existed.
    is_attached: bool,
    /// Whether the consumer has ended, and acknowledges nothing more.
    has_ended: bool,
    marks: BTreeMap<StreamId, u64>,
}

impl ConsumerProgress {
    fn lock(&self) -> MutexGuard<'_, ConsumerState> {
        // Nothing in here panics halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers the one consumer. Returns whether there was none before.
    pub(crate) fn attach(&self) -> bool {
        !std::mem::replace(&mut self.lock().is_attached, true)
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.lock().is_attached
    }

    fn acknowledge(&self, marks: BTreeMap<StreamId, u64>, has_ended: bool) {
        let mut state = self.lock();
        state.marks.extend(marks);
        state.has_ended |= has_ended;
        drop(state);
        self.changed.notify_one();
    }

    /// The marks acknowledged since the last call.
    pub(crate) fn take(&self) -> Vec<DeliveredMark> {
        let marks = std::mem::take(&mut self.lock().marks);
        let mark = |(stream, to): (StreamId, u64)| {
            let StreamId { publisher, epoch } = stream;
            DeliveredMark { publisher, epoch, to }
        };
        marks.into_iter().map(mark).collect()
    }

    /// Waits until the consumer has acknowledged everything, or until `by`.
    pub(crate) async fn wait_until_ended(&self, by: Instant) {
        let ended = async {
            while !self.has_ended() {
                self.changed.notified().await;
            }
        };
        // After a timeout, the next process delivers the rest again.
        let _ = timeout_at(by, ended).await;
    }

    fn has_ended(&self) -> bool {
        let state = self.lock();
        state.has_ended || !state.is_attached
    }
}
