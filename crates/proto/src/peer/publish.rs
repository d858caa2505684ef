//! Publishing: packing, pacing, and who holds it.

use core::time::Duration;
use std::collections::BTreeSet;

use super::messages::{Way, around};
use super::{Peer, PublishError};
use crate::broadcast::acks::Arrived;
use crate::broadcast::trees::Route;
use crate::config::BroadcastMode;
use crate::identity::PeerId;
use crate::io::Output;
use crate::limits::{MAX_PAYLOAD, MAX_RECEIPTS, MAX_TOPIC};
use crate::message::{MessageId, StreamId};
use crate::signed::Signed;
use crate::snapshot::{Departed, MemberState, Receipt};
use crate::time::Time;
use crate::wire::{Census, CensusBody, ack_token};

/// Bytes a second from which on a publisher roots a tree of its own.
const HEAVY: u64 = 256 * 1024;
/// How often the rate is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks with little to publish after which the own tree is given up.
const LIGHT_LOOKS: u32 = 10;
/// How often receipts are looked at without any news.
const REVIEW_EVERY: Duration = Duration::from_millis(250);

/// How long a receipt may take before everybody is asked to be counted. The wait doubles.
const FIRST_CENSUS: Duration = Duration::from_millis(500);
const LONGEST_CENSUS: Duration = Duration::from_secs(4);

/// A receipt that somebody waits for.
#[derive(Debug)]
pub(super) struct Awaited {
    /// Who was live when it was published.
    live: BTreeSet<PeerId>,
    told: Option<Receipt>,
}

/// When everybody is asked to be counted.
#[derive(Debug)]
pub(super) struct CensusPlan {
    at: Time,
    wait: Duration,
    round: u64,
}

impl CensusPlan {
    pub(super) const fn new() -> Self {
        CensusPlan { at: Time::MAX, wait: FIRST_CENSUS, round: 0 }
    }
}

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
        if self.is_leaving() {
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

    /// Signs what was published and sends it.
    pub(super) fn send_next_batch(&mut self) -> bool {
        let now = self.fx.now();
        let waits = self.comparison_deadline().is_some() || self.outbox.is_held_back(now);
        if waits && !self.is_leaving() {
            return false;
        }
        let Some(batch) = self.outbox.seal(&self.identity, now) else { return false };
        if self.own_tree.look_at == Time::MAX && self.config.broadcast() == BroadcastMode::Trees {
            self.own_tree.look_at = now + LOOK_EVERY;
        }
        let receipt = self.outbox.receipt_wanted > batch.first();
        let own_tree = self.rides_own_tree();
        self.fx.count("batches_published");
        self.take_in(&batch, Way { hops: 0, from: None, own_tree, receipt, pulled: false });
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

    // ---- receipts --------------------------------------------------------------------------

    /// Asks for receipts of a message of the present stream: [`Output::Receipt`] follows whenever
    /// more hold it, until all live peers do. Asked for before the outputs are drained, nobody
    /// gathers its acknowledgements. `false` if too many are waited for, or it is not one's own.
    pub fn want_receipt(&mut self, now: Time, id: MessageId) -> bool {
        self.begin(now);
        let own = id.stream() == self.own_stream();
        if !own || id.sequence >= self.outbox.published() || self.receipts.len() >= MAX_RECEIPTS {
            return false;
        }
        self.outbox.receipt_wanted = self.outbox.receipt_wanted.max(id.sequence + 1);
        let live = self.members.alive().map(|(id, _)| *id).collect();
        self.receipts.insert(id.sequence, Awaited { live, told: None });
        self.review_at = self.review_at.min(now + REVIEW_EVERY);
        if self.census.at == Time::MAX {
            self.census.at = now + FIRST_CENSUS;
        }
        true
    }

    /// Nobody waits for this receipt any more.
    pub fn forget_receipt(&mut self, id: &MessageId) {
        self.receipts.remove(&id.sequence);
        self.deadline.set(None);
    }

    /// Tells of receipts that have changed.
    pub(super) fn review_receipts(&mut self) {
        if self.receipts.is_empty() {
            self.review_at = Time::MAX;
            (self.census.at, self.census.wait) = (Time::MAX, FIRST_CENSUS);
            return;
        }
        let now = self.fx.now();
        self.review_at = now + REVIEW_EVERY;
        let own = self.own_stream();
        let Some(summed) = self.acks.summed(own, now, &around!(self)) else { return };
        let alive = || self.members.alive().map(|(id, _)| id);
        let known = u32::try_from(self.members.alive_count() + 1).unwrap_or(u32::MAX);
        // In a large network not everybody is known by name; then the seeds' count has to do.
        let live = known.max(self.registrations.network_size());
        let tokens =
            alive().fold(ack_token(&own.publisher), |sum, id| sum.wrapping_add(ack_token(id)));
        let everybody = summed.peers == live && (live > known || summed.sum == tokens);
        let mut news = Vec::new();
        for (&sequence, awaited) in self.receipts.iter() {
            let complete = everybody && summed.held > sequence;
            let told = self.acks.holders(own, sequence + 1, &around!(self));
            let held = if complete { live } else { told.min(live.saturating_sub(1)) };
            // While a tree changes, less is told; but who held it holds it.
            let before = awaited.told.as_ref().map_or(0, |r| r.held);
            let held = held.max(before.min(live.saturating_sub(1)));
            // In a large network it may only be forgotten.
            let gone = awaited.live.iter().filter(|id| {
                self.members.get(id).is_none()
                    && (!self.is_large() || self.members.record(id).is_some())
            });
            let departed = gone.map(|id| self.departed(id)).collect();
            let id = MessageId { publisher: own.publisher, epoch: own.epoch, sequence };
            let receipt = Receipt { id, held, live, complete, departed };
            if awaited.told.as_ref() != Some(&receipt) {
                news.push((sequence, receipt));
            }
        }
        for (sequence, receipt) in news {
            if receipt.complete {
                self.receipts.remove(&sequence);
                self.fx.count("receipts_complete");
            } else if let Some(awaited) = self.receipts.get_mut(&sequence) {
                awaited.told = Some(receipt.clone());
            }
            self.fx.output(Output::Receipt(receipt));
        }
    }

    /// Asks everybody on the tree to be counted, if receipts do not come by themselves.
    pub(super) fn run_census(&mut self) {
        let now = self.fx.now();
        if now < self.census.at || self.receipts.is_empty() {
            return;
        }
        self.census.wait = (self.census.wait * 2).min(LONGEST_CENSUS);
        self.census.at = now + self.census.wait;
        self.take_census(self.outbox.receipt_wanted);
    }

    /// Asks everybody on the tree to say who is behind them and how far they are, up to a number.
    pub(super) fn take_census(&mut self, until: u64) {
        let now = self.fx.now();
        self.census.round += 1;
        let stream = self.own_stream();
        let StreamId { publisher, epoch } = stream;
        let round = self.census.round;
        let own_tree = self.rides_own_tree();
        let body = CensusBody { publisher, epoch, round, until, own_tree };
        let census = Census { body: Signed::sign(body, &self.identity) };
        let route = Route { own_tree, publisher };
        let arrived = Arrived { stream, route, upstream: None, bytes: 0, wanted: None };
        self.acks.census(&arrived, round, now, &around!(self));
        self.fx.count("censuses");
        self.send_census(&census, route, None);
    }

    fn rides_own_tree(&self) -> bool {
        self.own_tree.light.is_some() && self.trees.own_is_settled(self.id(), self.fx.now())
    }

    fn departed(&self, id: &PeerId) -> Departed {
        let certificate = self.members.dead().map(|(c, _)| c).find(|c| c.subject() == *id);
        Departed {
            id: *id,
            name: self.members.record(id).map(|r| r.name.clone()),
            state: certificate.map_or(MemberState::Left, |_| MemberState::Dead),
            witnesses: certificate.map(crate::death::Certificate::witnesses).unwrap_or_default(),
            seeds: certificate.map(crate::death::Certificate::seeds).unwrap_or_default(),
        }
    }
}
