//! A peer: membership, overlay, liveness, broadcast and sync, composed.

use crate::config::Config;
use crate::identity::{Identity, PeerId};
use crate::io::{Input, Output, SeedAddress};
use crate::message::{Message, MessageId};
use crate::name::Name;
use crate::record::{Address, SignedRecord};
use crate::snapshot::{HeldMessage, MemberView, PeerSnapshot, PublisherView};
use crate::time::Time;

/// What a peer starts with.
#[derive(Debug, Clone)]
pub struct PeerSetup {
    /// Its settings.
    pub config: Config,
    /// Its key pair.
    pub identity: Identity,
    /// Its name.
    pub name: Name,
    /// Where others can reach it. If all of them are unspecified (`0.0.0.0`), the address at which
    /// the seeds see it is announced, with the first one's port.
    pub addresses: Vec<Address>,
    /// The seeds of the network. May be empty: a network of one.
    pub seeds: Vec<SeedAddress>,
    /// Its incarnation: one more than the last one, and durable before it is used here.
    pub incarnation: u64,
    /// Neighbours of an earlier life, to try while no seed answers.
    pub anchors: Vec<SignedRecord>,
    /// Messages kept from an earlier life, in order of arrival.
    pub kept: Vec<Message>,
    /// Seed of all its randomness. Fresh OS randomness in production.
    pub rng_seed: [u8; 32],
}

/// Why a message was not published. Nothing was sent, and no number was used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The payload is over the limit.
    #[error("the payload has {0} bytes, at most {max} are allowed", max = crate::limits::MAX_PAYLOAD)]
    PayloadTooLong(usize),
    /// The topic is over the limit.
    #[error("the topic has {0} bytes, at most {max} are allowed", max = crate::limits::MAX_TOPIC)]
    TopicTooLong(usize),
    /// The peer is leaving or has left.
    #[error("this peer is leaving the network")]
    Leaving,
}

/// A peer as a state machine.
#[derive(Debug)]
pub struct Peer {}

#[allow(missing_docs, unused_variables, clippy::todo)]
impl Peer {
    /// A peer that has done nothing yet. Call [`Peer::poll_output`] next: it wants to dial.
    #[must_use]
    pub fn new(setup: PeerSetup, now: Time) -> Self {
        todo!()
    }
    /// Its id.
    pub fn id(&self) -> PeerId {
        todo!()
    }
    /// Takes in what happened.
    pub fn handle(&mut self, now: Time, input: Input) {
        todo!()
    }
    /// The next thing to do, if any.
    pub fn poll_output(&mut self) -> Option<Output> {
        todo!()
    }
    /// When to call `handle` with `Input::Timeout` at the latest; `None` if nothing is due.
    /// Valid until the next call of any other method.
    pub fn poll_timeout(&self) -> Option<Time> {
        todo!()
    }
    /// Publishes a message.
    pub fn publish(
        &mut self,
        now: Time,
        topic: &str,
        payload: &[u8],
    ) -> Result<MessageId, PublishError> {
        todo!()
    }
    /// Asks for a message (P8): `Output::Fetched` follows, at once if it is held here.
    pub fn fetch(&mut self, now: Time, id: MessageId) {
        todo!()
    }
    /// Says goodbye: `Event::Left` follows, when the seeds have acknowledged or after a second.
    pub fn leave(&mut self, now: Time) {
        todo!()
    }
    /// Everything about this peer.
    pub fn snapshot(&self, now: Time) -> PeerSnapshot {
        todo!()
    }
    /// Members in this peer's view, itself included, by id.
    pub fn members(&self, now: Time) -> Vec<MemberView> {
        todo!()
    }
    /// Messages held, oldest arrival first, the newest `limit` of them.
    pub fn held_messages(&self, limit: usize) -> Vec<HeldMessage> {
        todo!()
    }
    /// The message list in figures, by publisher.
    pub fn publishers(&self) -> Vec<PublisherView> {
        todo!()
    }
    /// Whether a message was received (held or not).
    pub fn has_seen(&self, id: &MessageId) -> bool {
        todo!()
    }
}
