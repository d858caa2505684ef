//! Publishing: packing and pacing.

use core::time::Duration;

use super::{Arrival, Broadcast};
use crate::context::Context;
use crate::identity::PeerId;
use crate::limits::{LARGE_BATCH, MAX_PAYLOAD, MAX_TOPIC};
use crate::message::MessageId;
use crate::time::Time;

/// How often a batch goes over all links, so that the tree follows the present delays, and after how many
/// others at least.
const EXPLORE_EVERY: Duration = Duration::from_secs(30);
const EXPLORE_AFTER: u32 = 400;

/// Why a message was not published. Nothing was sent, and no number was used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The payload is over the limit.
    #[error("the payload has {0} bytes, at most {max} are allowed", max = MAX_PAYLOAD)]
    PayloadTooLong(usize),
    /// The topic is over the limit.
    #[error("the topic has {0} bytes, at most {max} are allowed", max = MAX_TOPIC)]
    TopicTooLong(usize),
    /// So much is in flight that the network has to catch up first.
    #[error("the network has to catch up first: try again when there is room")]
    Busy,
    /// The peer is leaving or has left.
    #[error("this peer is leaving the network")]
    Leaving,
}

/// When this peer's next batch explores.
#[derive(Debug)]
pub(crate) struct Exploring {
    next: Time,
    batches: u32,
}

impl Exploring {
    /// The first one does: an earlier process may have published elsewhere in the network.
    pub(crate) const fn new() -> Self {
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

impl Broadcast {
    /// Packs a message; see [`Peer::publish`](crate::Peer::publish).
    pub(crate) fn publish(
        &mut self,
        cx: &mut Context<'_>,
        topic: &str,
        payload: &[u8],
    ) -> Result<MessageId, PublishError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(PublishError::PayloadTooLong(payload.len()));
        }
        if topic.len() > MAX_TOPIC {
            return Err(PublishError::TopicTooLong(topic.len()));
        }
        if cx.membership.own.is_departing() {
            return Err(PublishError::Leaving);
        }
        self.begin_after_pause(cx);
        if self.outbox.room() == 0 {
            return Err(PublishError::Busy);
        }
        cx.fx.count("messages_published");
        Ok(self.outbox.add(cx.now, cx.fx.wall(), topic, payload))
    }

    /// All may begin at one moment, and nobody sees the others yet.
    fn begin_after_pause(&mut self, cx: &mut Context<'_>) {
        let (me, now) = (cx.id(), cx.now);
        if self.outbox.is_empty() && !self.active.is_fresh(&me, now) {
            let members = cx.membership.members.alive_count() + 1;
            let retention = cx.config.retention_bytes();
            self.outbox.begin(self.active.first_share(retention, members));
        }
    }

    /// Counts a publisher at work; what is left to this one is bounded by how many there are.
    pub(crate) fn share_retention(&mut self, cx: &mut Context<'_>, publisher: PeerId, bytes: u64) {
        let (me, now) = (cx.id(), cx.now);
        if !self.active.note(publisher, bytes, now) {
            cx.fx.count("publishers_not_counted");
        }
        self.outbox.bound(self.active.share(&me, cx.config.retention_bytes(), now));
    }

    /// See [`Peer::room`](crate::Peer::room).
    pub(crate) fn room(&self) -> u64 {
        self.outbox.room()
    }

    /// See [`Peer::has_a_turnful`](crate::Peer::has_a_turnful).
    pub(crate) fn has_a_turnful(&self) -> bool {
        self.outbox.has_a_turnful()
    }

    /// See [`Peer::hold_back`](crate::Peer::hold_back).
    pub(crate) fn hold_back(&mut self, hold: bool) {
        self.outbox.hold_back(hold);
    }

    /// Signs and sends everything that was published.
    pub(crate) fn send_all_batches(&mut self, cx: &mut Context<'_>) {
        self.outbox.hold_back(false);
        while self.send_next_batch(cx) {}
    }

    /// Signs what was published and sends it.
    pub(crate) fn send_next_batch(&mut self, cx: &mut Context<'_>) -> bool {
        let now = cx.now;
        // A peer that leaves compares its stream first, too: until Leave there is time for it.
        let compares = self.comparison_deadline(cx).is_some() && !cx.membership.own.is_leaving();
        let waits = self.outbox.is_held_back(now) && !cx.membership.own.is_departing();
        if compares || waits {
            return false;
        }
        let Some(batch) = self.outbox.seal(cx.identity, now) else { return false };
        let receipt = self.outbox.receipt_wanted > batch.first();
        let mut explores = !cx.overlay.neighbours.is_empty() && self.exploring.is_due(now);
        if explores && batch.size() > LARGE_BATCH {
            // A census finds the ways as well, and takes no time on slow lines.
            self.explore_by_census(cx);
            explores = false;
        }
        cx.fx.count("batches_published");
        self.receive(cx, &batch, Arrival::own(explores, receipt));
        self.pace(cx, false);
        self.review_receipts(cx);
        true
    }
}
