//! Broadcast by flooding: store, forward to every neighbour but the sender, ignore repeats.
//!
//! Decisions only; the peer turns them into frames. What spreads a message is behind
//! [`Broadcast::receive`] and [`Broadcast::forward_to`].

mod message_list;
mod retention;

use crate::config::Config;
use crate::identity::PeerId;
use crate::message::{Message, MessageId};
use crate::snapshot::PublisherView;
use crate::time::{Time, WallTime};

pub(crate) use message_list::{Forgotten, MessageList, Receipt, Seen};
pub(crate) use retention::{Kept, Retention};

/// The message list, the messages kept, and the publisher's own count.
#[derive(Debug)]
pub(crate) struct Broadcast {
    pub(crate) list: MessageList,
    pub(crate) kept: Retention,
    next_sequence: u64,
}

/// What taking in a message led to.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It was received before.
    Repeat,
    /// It is new: forward and deliver it. These others are no longer kept, this gap is given up.
    First { dropped: Vec<MessageId>, forgotten: Option<Forgotten> },
}

impl Broadcast {
    pub(crate) fn new(config: &Config) -> Self {
        Broadcast {
            list: MessageList::default(),
            kept: Retention::new(config.retention_bytes(), config.retention_age()),
            next_sequence: 0,
        }
    }

    /// The number for the next message of this peer.
    pub(crate) const fn take_sequence(&mut self) -> u64 {
        let n = self.next_sequence;
        self.next_sequence += 1;
        n
    }

    /// A new incarnation counts from 0 again.
    pub(crate) const fn restart_sequence(&mut self) {
        self.next_sequence = 0;
    }

    pub(crate) const fn published(&self) -> u64 {
        self.next_sequence
    }

    /// Takes in a message, one's own or another's.
    pub(crate) fn receive(
        &mut self,
        message: &Message,
        hops: u16,
        now: Time,
        wall: WallTime,
    ) -> Taken {
        match self.list.receive(&message.id) {
            Receipt::Repeat => Taken::Repeat,
            Receipt::First(forgotten) => {
                let dropped = self.kept.keep(message.clone(), hops, now, wall);
                Taken::First { dropped, forgotten }
            }
        }
    }

    /// Who of the neighbours gets a message that came from `from`.
    pub(crate) fn forward_to<'a>(
        neighbours: impl Iterator<Item = &'a PeerId>,
        from: Option<PeerId>,
        publisher: PeerId,
    ) -> impl Iterator<Item = &'a PeerId> {
        neighbours.filter(move |&n| Some(*n) != from && *n != publisher)
    }

    pub(crate) fn publishers(&self) -> Vec<PublisherView> {
        self.list
            .iter()
            .map(|(&(publisher, incarnation), s)| PublisherView {
                publisher,
                incarnation,
                high_water: s.high_water(),
                gaps: s.gaps(),
                received: s.received(),
            })
            .collect()
    }
}
