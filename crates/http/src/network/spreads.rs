//! The messages that went by while somebody looked, and where each got.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use rumormill::ReceivedMessage;
use rumormill::proto::{MessageId, PeerId};

use super::view::{ArrivalDot, MessageDot};

/// Messages that are followed, the newest.
const FOLLOWED: usize = 300;
/// New ones in one round: with more, some are left out, but whole messages and not some arrivals.
const NEW_A_ROUND: usize = 50;
/// Arrivals told in one round.
const ARRIVALS_A_ROUND: usize = 5_000;
/// Delays kept for the percentiles of one round.
const DELAYS: usize = 20_000;
/// Characters of the content that are shown.
const PREVIEW: usize = 120;

/// What came in a round.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) messages: Vec<MessageDot>,
    pub(super) arrivals: Vec<ArrivalDot>,
    /// Messages that are not followed, and arrivals that are not told one by one.
    pub(super) left_out: u64,
}

#[derive(Debug)]
struct Followed {
    dot: MessageDot,
    arrivals: Vec<ArrivalDot>,
}

#[derive(Debug, Default)]
struct Inner {
    followed: HashMap<MessageId, Followed>,
    order: VecDeque<MessageId>,
    round: Round,
    delays_us: Vec<u64>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Spreads(Mutex<Inner>);

impl Spreads {
    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A message was delivered to a peer.
    pub(super) fn arrived(&self, peer: PeerId, incoming: &ReceivedMessage) {
        let id = incoming.message.id();
        let published_us = incoming.message.published_at().0;
        let after_us = incoming.received_at.0.saturating_sub(published_us);
        self.with(|inner| {
            if incoming.neighbour.is_some() && inner.delays_us.len() < DELAYS {
                inner.delays_us.push(after_us);
            }
            if !inner.followed.contains_key(&id) {
                if inner.round.messages.len() >= NEW_A_ROUND {
                    inner.round.left_out += 1;
                    return;
                }
                inner.follow(id, dot(incoming));
            }
            let arrival = ArrivalDot {
                message: id.to_string(),
                peer: peer.to_hex(),
                from: incoming.neighbour.map(PeerId::to_hex),
                after_us,
                hops: incoming.hops,
            };
            if inner.round.arrivals.len() < ARRIVALS_A_ROUND {
                inner.round.arrivals.push(arrival.clone());
            } else {
                inner.round.left_out += 1;
            }
            if let Some(f) = inner.followed.get_mut(&id) {
                f.arrivals.push(arrival);
            }
        });
    }

    /// Tells what came since the last round.
    pub(super) fn tell_round(&self, tell: impl FnOnce(&Round)) {
        self.with(|inner| tell(&core::mem::take(&mut inner.round)));
    }

    /// The delays since the last time, in microseconds.
    pub(super) fn take_delays(&self) -> Vec<u64> {
        self.with(|inner| core::mem::take(&mut inner.delays_us))
    }

    /// The messages followed, oldest first, with how far they had got at the last round; and
    /// something done at that very moment.
    pub(super) fn messages_and<T>(&self, then: impl FnOnce() -> T) -> (Vec<MessageDot>, T) {
        self.with(|inner| {
            let known = inner.order.iter().filter_map(|id| inner.followed.get(id));
            let mut all: Vec<MessageDot> = known
                .map(|f| {
                    let last_us = f.arrivals.iter().map(|a| a.after_us).max().unwrap_or(0);
                    let reached = u32::try_from(f.arrivals.len()).unwrap_or(u32::MAX);
                    MessageDot { reached, last_us, ..f.dot.clone() }
                })
                .collect();
            // These are told in a moment.
            let mut untold: HashMap<&str, u32> = HashMap::new();
            for a in &inner.round.arrivals {
                *untold.entry(&a.message).or_default() += 1;
            }
            for m in &mut all {
                m.reached = m.reached.saturating_sub(untold.get(&*m.id).copied().unwrap_or(0));
            }
            (all, then())
        })
    }

    /// One of them with its arrivals.
    pub(super) fn get(&self, id: &MessageId) -> Option<(MessageDot, Vec<ArrivalDot>)> {
        self.with(|inner| inner.followed.get(id).map(|f| (f.dot.clone(), f.arrivals.clone())))
    }

    /// Nobody looks any more.
    pub(super) fn clear(&self) {
        self.with(|inner| *inner = Inner::default());
    }
}

impl Inner {
    fn follow(&mut self, id: MessageId, dot: MessageDot) {
        if self.order.len() >= FOLLOWED
            && let Some(oldest) = self.order.pop_front()
        {
            self.followed.remove(&oldest);
        }
        self.order.push_back(id);
        self.round.messages.push(dot.clone());
        self.followed.insert(id, Followed { dot, arrivals: Vec::new() });
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
        text: text.map(|t| t.chars().take(PREVIEW).collect()),
        published_us: incoming.message.published_at().0,
        reached: 0,
        last_us: 0,
    }
}
