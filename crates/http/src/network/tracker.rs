//! The messages that were published while a page was connected, and their arrivals.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use rumormill::ReceivedMessage;
use rumormill::proto::{MessageId, PeerId};

use super::view::{ArrivalDot, MessageDot};

/// Most messages that are tracked: the newest ones.
const MAX_TRACKED: usize = 300;
/// Most new messages of one round. Further ones are left out with all their arrivals.
const MAX_NEW_PER_ROUND: usize = 50;
/// Most arrivals that are sent in one round.
const MAX_ARRIVALS_PER_ROUND: usize = 5_000;
/// Most delays that are kept for the percentiles of one round.
const MAX_DELAYS: usize = 20_000;
/// Characters of the content that are shown.
const PREVIEW_CHARS: usize = 120;

/// The messages and arrivals of one round.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) messages: Vec<MessageDot>,
    pub(super) arrivals: Vec<ArrivalDot>,
    /// Messages that are not tracked, and arrivals that are not sent.
    pub(super) left_out: u64,
}

#[derive(Debug)]
struct TrackedMessage {
    dot: MessageDot,
    arrivals: Vec<ArrivalDot>,
}

#[derive(Debug, Default)]
struct Inner {
    tracked: HashMap<MessageId, TrackedMessage>,
    order: VecDeque<MessageId>,
    round: Round,
    delays_us: Vec<u64>,
}

/// All tracked messages.
#[derive(Debug, Default)]
pub(super) struct SpreadTracker(Mutex<Inner>);

impl SpreadTracker {
    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records that a message was delivered at a peer.
    pub(super) fn record_arrival(&self, peer: PeerId, incoming: &ReceivedMessage) {
        let id = incoming.message.id();
        let published_us = incoming.message.published_at().0;
        let after_us = incoming.received_at.0.saturating_sub(published_us);
        self.with(|inner| {
            if incoming.neighbour.is_some() && inner.delays_us.len() < MAX_DELAYS {
                inner.delays_us.push(after_us);
            }
            if !inner.tracked.contains_key(&id) {
                if inner.round.messages.len() >= MAX_NEW_PER_ROUND {
                    inner.round.left_out += 1;
                    return;
                }
                inner.track(id, dot(incoming));
            }
            let arrival = ArrivalDot {
                message: id.to_string(),
                peer: peer.to_hex(),
                from: incoming.neighbour.map(PeerId::to_hex),
                after_us,
                hops: incoming.hops,
            };
            if inner.round.arrivals.len() < MAX_ARRIVALS_PER_ROUND {
                inner.round.arrivals.push(arrival.clone());
            } else {
                inner.round.left_out += 1;
            }
            if let Some(f) = inner.tracked.get_mut(&id) {
                f.arrivals.push(arrival);
            }
        });
    }

    /// Hands over the messages and arrivals since the last round.
    pub(super) fn send_round(&self, send: impl FnOnce(&Round)) {
        self.with(|inner| send(&core::mem::take(&mut inner.round)));
    }

    /// The delays since the last time, in microseconds.
    pub(super) fn take_delays(&self) -> Vec<u64> {
        self.with(|inner| core::mem::take(&mut inner.delays_us))
    }

    /// The tracked messages, oldest first, with the number of peers that they had reached at the
    /// last round. `then` runs under the same lock.
    pub(super) fn messages_with<T>(&self, then: impl FnOnce() -> T) -> (Vec<MessageDot>, T) {
        self.with(|inner| {
            let known = inner.order.iter().filter_map(|id| inner.tracked.get(id));
            let mut all: Vec<MessageDot> = known
                .map(|f| {
                    let last_us = f.arrivals.iter().map(|a| a.after_us).max().unwrap_or(0);
                    let reached = u32::try_from(f.arrivals.len()).unwrap_or(u32::MAX);
                    MessageDot { reached, last_us, ..f.dot.clone() }
                })
                .collect();
            // The arrivals of this round are sent at its end.
            let mut unsent: HashMap<&str, u32> = HashMap::new();
            for a in &inner.round.arrivals {
                *unsent.entry(&a.message).or_default() += 1;
            }
            for m in &mut all {
                m.reached = m.reached.saturating_sub(unsent.get(&*m.id).copied().unwrap_or(0));
            }
            (all, then())
        })
    }

    /// One tracked message with its arrivals.
    pub(super) fn get(&self, id: &MessageId) -> Option<(MessageDot, Vec<ArrivalDot>)> {
        self.with(|inner| inner.tracked.get(id).map(|f| (f.dot.clone(), f.arrivals.clone())))
    }

    /// Forgets all messages.
    pub(super) fn clear(&self) {
        self.with(|inner| *inner = Inner::default());
    }
}

impl Inner {
    fn track(&mut self, id: MessageId, dot: MessageDot) {
        if self.order.len() >= MAX_TRACKED
            && let Some(oldest) = self.order.pop_front()
        {
            self.tracked.remove(&oldest);
        }
        self.order.push_back(id);
        self.round.messages.push(dot.clone());
        self.tracked.insert(id, TrackedMessage { dot, arrivals: Vec::new() });
    }
}

fn dot(incoming: &ReceivedMessage) -> MessageDot {
    let id = incoming.message.id();
    let text = core::str::from_utf8(incoming.message.payload()).ok();
    MessageDot {
        id: id.to_string(),
        publisher: id.publisher.to_hex(),
        topic: incoming.message.topic().to_owned(),
        bytes: incoming.message.payload().len(),
        text: text.map(|t| t.chars().take(PREVIEW_CHARS).collect()),
        published_us: incoming.message.published_at().0,
        reached: 0,
        last_us: 0,
    }
}
