//! Publishing: packing and pacing.

use core::time::Duration;

use super::messages::Way;
use super::{Peer, PublishError};
use crate::identity::PeerId;
use crate::limits::{LARGE_BATCH, MAX_PAYLOAD, MAX_TOPIC};
use crate::message::MessageId;
use crate::time::Time;

/// How often a batch goes over all links, so that the tree follows the present delays, and after how many
/// others at least.
const EXPLORE_EVERY: Duration = Duration::from_secs(30);
const EXPLORE_AFTER: u32 = 400;

/// When this peer's next batch explores.
#[derive(Debug)]
pub(super) struct Exploring {
    next: Time,
    batches: u32,
}

impl Exploring {
    /// The first one does: an earlier process may have published elsewhere in the network.
    pub(super) const fn new() -> Self {
        Exploring { next: Time::ZERO, batches: EXPLORE_AFTER }
    }

    fn is_due(&mut self, now: Time) -> bool {
        let due = now >= self.next && self.batches >= EXPLORE_AFTER;
        if due {
            (self.next, self.batches) = (now + EXPLORE_EVERY, 0);
        }
        self.batches = self.batches.saturating_add(1);
        due
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
        let receipt = self.outbox.receipt_wanted > batch.first();
        let mut explores = !self.overlay.neighbours.is_empty() && self.exploring.is_due(now);
        if explores && batch.size() > LARGE_BATCH {
            // A census finds the ways as well, and takes no time on slow lines.
            self.explore_by_census();
            explores = false;
        }
        self.fx.count("batches_published");
        self.take_in(
            &batch,
            Way { hops: 0, from: None, explores, receipt, pulled: false, age_ms: 0 },
        );
        self.pace(false);
        self.review_receipts();
        true
    }
}
