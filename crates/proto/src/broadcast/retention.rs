//! The messages kept to hand to others, bounded by bytes and age.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::message::{Message, MessageId};
use crate::time::{Time, WallTime};

/// A message that is kept.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) message: Message,
    pub(crate) hops: u16,
    pub(crate) received_at: WallTime,
    arrived: Time,
    order: u64,
}

/// The store: oldest arrivals go first.
#[derive(Debug)]
pub(crate) struct Retention {
    messages: BTreeMap<MessageId, Kept>,
    arrivals: BTreeMap<u64, MessageId>,
    next: u64,
    bytes: u64,
    max_bytes: u64,
    max_age: Duration,
}

impl Retention {
    pub(crate) const fn new(max_bytes: u64, max_age: Duration) -> Self {
        let messages = BTreeMap::new();
        let arrivals = BTreeMap::new();
        Retention { messages, arrivals, next: 0, bytes: 0, max_bytes, max_age }
    }

    /// Keeps a message; says which others had to go.
    pub(crate) fn keep(
        &mut self,
        message: Message,
        hops: u16,
        now: Time,
        received_at: WallTime,
    ) -> Vec<MessageId> {
        let id = message.id;
        self.bytes += message.size() as u64;
        let kept = Kept { message, hops, received_at, arrived: now, order: self.next };
        self.arrivals.insert(self.next, id);
        self.next += 1;
        if let Some(old) = self.messages.insert(id, kept) {
            self.bytes -= old.message.size() as u64;
            self.arrivals.remove(&old.order);
        }
        let mut gone = Vec::new();
        while self.bytes > self.max_bytes
            && let Some(id) = self.drop_oldest()
        {
            gone.push(id);
        }
        gone
    }

    /// Lets go of what is too old.
    pub(crate) fn expire(&mut self, now: Time) -> Vec<MessageId> {
        let mut gone = Vec::new();
        while self.next_expiry().is_some_and(|at| at <= now)
            && let Some(id) = self.drop_oldest()
        {
            gone.push(id);
        }
        gone
    }

    /// When the oldest one is too old.
    pub(crate) fn next_expiry(&self) -> Option<Time> {
        let (_, id) = self.arrivals.first_key_value()?;
        self.messages.get(id).map(|k| k.arrived + self.max_age)
    }

    fn drop_oldest(&mut self) -> Option<MessageId> {
        let (_, id) = self.arrivals.pop_first()?;
        if let Some(kept) = self.messages.remove(&id) {
            self.bytes -= kept.message.size() as u64;
        }
        Some(id)
    }

    pub(crate) fn get(&self, id: &MessageId) -> Option<&Kept> {
        self.messages.get(id)
    }

    /// Kept messages of one publisher with numbers in `from..to`, ascending.
    pub(crate) fn range(&self, from: MessageId, to: u64) -> impl Iterator<Item = &Kept> {
        self.messages
            .range(from..)
            .take_while(move |(id, _)| {
                id.publisher == from.publisher
                    && id.incarnation == from.incarnation
                    && id.sequence < to
            })
            .map(|(_, k)| k)
    }

    /// The newest `limit`, oldest of them first.
    pub(crate) fn newest(&self, limit: usize) -> Vec<&Kept> {
        let ids = self.arrivals.values().rev().take(limit);
        let mut list: Vec<&Kept> = ids.filter_map(|id| self.messages.get(id)).collect();
        list.reverse();
        list
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    fn message(n: u64, bytes: usize) -> Message {
        let me = Identity::from_secret(&[1; 32]);
        Message::publish(&me, 1, n, WallTime(0), "", &vec![7; bytes])
    }

    #[test]
    fn bounded_by_bytes_and_age() {
        let mut r = Retention::new(10_000, Duration::from_secs(10));
        let mut gone = Vec::new();
        for n in 0..20 {
            let at = Time::from_micros(n * 1_000_000);
            gone.extend(r.keep(message(n, 500), 1, at, WallTime(0)));
            assert!(r.bytes() <= 10_000);
        }
        assert_eq!(gone.len() + r.len(), 20);
        assert!(gone.iter().map(|id| id.sequence).is_sorted(), "oldest first");
        let gone = r.expire(Time::from_micros(100_000_000));
        assert!(!gone.is_empty());
        assert_eq!((r.len(), r.bytes(), r.next_expiry()), (0, 0, None));
    }

    #[test]
    fn the_same_message_counts_once() {
        let mut r = Retention::new(1 << 20, Duration::from_secs(10));
        r.keep(message(1, 100), 1, Time::ZERO, WallTime(0));
        let before = r.bytes();
        r.keep(message(1, 100), 1, Time::ZERO, WallTime(0));
        assert_eq!((r.len(), r.bytes(), r.newest(9).len()), (1, before, 1));
    }
}
