//! Publishing: packing and pacing.

use core::time::Duration;

use super::messages::Way;
use super::{Peer, PublishError};
use crate::config::BroadcastMode;
use crate::identity::PeerId;
use crate::limits::{MAX_PAYLOAD, MAX_TOPIC};
use crate::message::MessageId;
use crate::time::Time;

/// Bytes a second from which on a publisher roots a tree of its own.
const HEAVY: u64 = 256 * 1024;
/// How often the rate is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks with little to publish after which the own tree is given up.
const LIGHT_LOOKS: u32 = 10;

/// A publisher's own tree.
#[derive(Debug)]
pub(super) struct OwnTree {
    look_at: Time,
    light: Option<u32>,
}

impl OwnTree {
    pub(super) const fn new() -> Self {
        OwnTree { look_at: Time::MAX, light: None }
    }
}

impl Peer {
    /// Publishes a message: it is stored, delivered to this node's own subscribers, and sent to
    /// everybody. All that is published before the outputs are drained goes out as one batch.
    ///
    /// # Errors
    /// Nothing was published; the error says why. [`PublishError::Busy`] passes when the network
    /// has caught up; see [`Peer::room`].
    pub fn publish(
        &mut self,
        now: Time,
        topic: &str,
        payload: &[u8],
    ) -> Result<MessageId, PublishError> {
        self.begin(now);
        if payload.len() > MAX_PAYLOAD {
            return Err(PublishError::PayloadTooLong(payload.len()));
        }
        if topic.len() > MAX_TOPIC {
            return Err(PublishError::TopicTooLong(topic.len()));
        }
        if self.is_departing() {
            return Err(PublishError::Leaving);
        }
        self.begin_after_pause();
        if self.outbox.room() == 0 {
            return Err(PublishError::Busy);
        }
        self.fx.count("messages_published");
        Ok(self.outbox.add(now, self.fx.wall(), topic, payload))
    }

    /// All may begin at one moment, and nobody sees the others yet.
    fn begin_after_pause(&mut self) {
        let (me, now) = (self.id(), self.fx.now());
        if self.outbox.is_empty() && !self.active.is_fresh(&me, now) {
            let members = self.members.alive_count() + 1;
            let retention = self.config.retention_bytes();
            self.outbox.begin(self.active.first_share(retention, members));
        }
    }

    /// Counts a publisher at work; what is left to this one is bounded by how many there are.
    pub(super) fn share_retention(&mut self, publisher: PeerId, bytes: u64) {
        let (me, now) = (self.id(), self.fx.now());
        if !self.active.note(publisher, bytes, now) {
            self.fx.count("publishers_not_counted");
        }
        self.outbox.bound(self.active.share(&me, self.config.retention_bytes(), now));
    }

    /// Bytes that may be published now; 0 if the network has to catch up first. A message that is
    /// larger than what is left is taken all the same.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.outbox.room()
    }

    /// Whether some whole batches wait for the outputs to be drained: who publishes in a loop should
    /// let that happen then, but not much earlier, as batches that wait together are signed together.
    #[must_use]
    pub fn has_a_turnful(&self) -> bool {
        self.outbox.has_a_turnful()
    }

    /// Signs and sends everything that was published.
    pub(super) fn send_all_batches(&mut self) {
        self.outbox.hold_back(false);
        while self.send_next_batch() {}
    }

    /// Signs what was published and sends it.
    pub(super) fn send_next_batch(&mut self) -> bool {
        let now = self.fx.now();
        // A peer that leaves compares its stream first, too: until Leave there is time for it.
        let compares = self.comparison_deadline().is_some() && !self.is_leaving();
        let waits = self.outbox.is_held_back(now) && !self.is_departing();
        if compares || waits {
            return false;
        }
        let Some(batch) = self.outbox.seal(&self.identity, now) else { return false };
        if self.own_tree.look_at == Time::MAX && self.config.broadcast() == BroadcastMode::Trees {
            self.own_tree.look_at = now + LOOK_EVERY;
        }
        let receipt = self.outbox.receipt_wanted > batch.first();
        let own_tree = self.rides_own_tree();
        self.fx.count("batches_published");
        self.take_in(
            &batch,
            Way { hops: 0, from: None, own_tree, receipt, pulled: false, age_ms: 0 },
        );
        self.pace(false);
        self.review_receipts();
        true
    }

    /// A publisher of much roots its own tree, until it has published little for a while.
    pub(super) fn review_own_tree(&mut self) {
        let now = self.fx.now();
        if now < self.own_tree.look_at {
            return;
        }
        let heavy = self.outbox.rate(now) >= HEAVY;
        self.own_tree.look_at = now + LOOK_EVERY;
        self.own_tree.light = match self.own_tree.light {
            None if heavy => {
                self.trees.root_own(&self.identity, now);
                Some(0)
            }
            Some(_) if heavy => Some(0),
            Some(n) if n + 1 < LIGHT_LOOKS => Some(n + 1),
            Some(_) => {
                let me = self.id();
                self.trees.end_own(me);
                None
            }
            None => {
                self.own_tree.look_at = Time::MAX;
                None
            }
        };
    }

    pub(super) fn own_tree_deadline(&self) -> Time {
        self.own_tree.look_at
    }

    pub(super) fn rides_own_tree(&self) -> bool {
        self.own_tree.light.is_some() && self.trees.own_is_settled(self.id(), self.fx.now())
    }
}
