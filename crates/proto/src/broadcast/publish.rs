//! Publishing: packing and pacing.

use core::time::Duration;

use super::{Arrival, Broadcast};
use crate::context::Context;
use crate::identity::PeerId;
use crate::limits::{LARGE_BATCH, MAX_PAYLOAD, MAX_TOPIC};
use crate::message::MessageId;
use crate::time::Time;

/// How often a batch goes over all links, so that the tree follows the present delays, and the
/// number of batches in between at least.
const EXPLORE_INTERVAL: Duration = Duration::from_secs(30);
const EXPLORE_MIN_BATCHES: u32 = 400;

/// Why a message was not published. Nothing was sent, and no number was used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The payload is over the limit.
    #[error("the payload has {0} bytes, at most {max} are allowed", max = MAX_PAYLOAD)]
    PayloadTooLong(usize),
    /// The topic is over the limit.
    #[error("the topic has {0} bytes, at most {max} are allowed", max = MAX_TOPIC)]
    TopicTooLong(usize),
    /// So many bytes are in flight that the network has to catch up first.
    #[error("the network has to catch up first: try again when the send window allows")]
    Busy,
    /// The peer is leaving or has left.
    #[error("this peer is leaving the network")]
    Leaving,
}

/// When the next batch of this peer explores.
#[derive(Debug)]
pub(crate) struct ExploringSchedule {
    next_at: Time,
    batches_since: u32,
}

impl ExploringSchedule {
    /// The first batch explores: an earlier process may have published elsewhere in the network.
    pub(crate) const fn new() -> Self {
        ExploringSchedule { next_at: Time::ZERO, batches_since: EXPLORE_MIN_BATCHES }
    }

    fn is_due(&mut self, now: Time) -> bool {
        let due = now >= self.next_at && self.batches_since >= EXPLORE_MIN_BATCHES;
        if due {
            (self.next_at, self.batches_since) = (now + EXPLORE_INTERVAL, 0);
        }
        self.batches_since = self.batches_since.saturating_add(1);
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
        self.restart_window_after_pause(cx);
        if self.outbox.available_window() == 0 {
            return Err(PublishError::Busy);
        }
        cx.fx.counters.messages_published += 1;
        Ok(self.outbox.add(cx.now, cx.fx.wall_clock(), topic, payload))
    }

    /// Restarts the window. All publishers may begin at the same time, before they see each other.
    fn restart_window_after_pause(&mut self, cx: &mut Context<'_>) {
        let (me, now) = (cx.id(), cx.now);
        if self.outbox.is_empty() && !self.active_publishers.has_published_lately(&me, now) {
            let members = cx.membership.members.alive_count() + 1;
            let retention = cx.config.retention_bytes();
            self.outbox.restart_window(self.active_publishers.initial_share(retention, members));
        }
    }

    /// Counts an active publisher; the number of them bounds the window of this one.
    pub(crate) fn record_publisher_activity(
        &mut self,
        cx: &mut Context<'_>,
        publisher: PeerId,
        bytes: u64,
    ) {
        let (me, now) = (cx.id(), cx.now);
        if !self.active_publishers.record_batch(publisher, bytes, now) {
            cx.fx.counters.publishers_not_counted += 1;
        }
        self.outbox.set_window_bound(self.active_publishers.retention_share(
            &me,
            cx.config.retention_bytes(),
            now,
        ));
    }

    /// See [`Peer::available_window`](crate::Peer::available_window).
    pub(crate) fn available_window(&self) -> u64 {
        self.outbox.available_window()
    }

    /// See [`Peer::has_full_batches`](crate::Peer::has_full_batches).
    pub(crate) fn has_full_batches(&self) -> bool {
        self.outbox.has_full_batches()
    }

    /// See [`Peer::set_writer_busy`](crate::Peer::set_writer_busy).
    pub(crate) fn set_writer_busy(&mut self, busy: bool) {
        self.outbox.set_writer_busy(busy);
    }

    /// Signs and sends everything that was published.
    pub(crate) fn send_all_batches(&mut self, cx: &mut Context<'_>) {
        self.outbox.set_writer_busy(false);
        while self.send_next_batch(cx) {}
    }

    /// Signs what was published and sends it.
    pub(crate) fn send_next_batch(&mut self, cx: &mut Context<'_>) -> bool {
        let now = cx.now;
        // A leaving peer compares its stream first, too: until Leave there is time for it.
        let compares = self.comparison_deadline(cx).is_some() && !cx.membership.own.is_leaving();
        let waits = self.outbox.is_deferred(now) && !cx.membership.own.is_departing();
        if compares || waits {
            return false;
        }
        let Some(batch) = self.outbox.seal(cx.identity, now) else { return false };
        let receipt = self.outbox.receipt_requested > batch.first();
        let mut explores = !cx.overlay.neighbours.is_empty() && self.exploring.is_due(now);
        if explores && batch.size() > LARGE_BATCH {
            // A census finds the shortest paths as well, and takes no time on slow lines.
            self.start_exploring_census(cx);
            explores = false;
        }
        cx.fx.counters.batches_published += 1;
        self.receive(cx, &batch, Arrival::own(explores, receipt));
        self.pace(cx, false);
        self.review_receipts(cx);
        true
    }
}
