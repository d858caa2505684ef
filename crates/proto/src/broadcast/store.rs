//! The message list together with the retained batches.

use core::time::Duration;
use std::collections::BTreeSet;

use super::order;
use super::{DeliveryStep, InsertOutcome, MessageList, Retention, RetentionNeed};
use crate::batch::Batch;
use crate::config::Config;
use crate::identity::PeerId;
use crate::message::StreamId;
use crate::time::{Time, WallTime};

/// The message list and the retained batches.
#[derive(Debug)]
pub(crate) struct MessageStore {
    pub(crate) list: MessageList,
    pub(crate) retention: Retention,
}

/// The outcome of receiving a batch.
#[derive(Debug)]
pub(crate) enum ReceiveOutcome {
    /// All messages were received before.
    Duplicate,
    /// This many messages are new, so the batch is to be forwarded; the other batches were evicted.
    New { messages: u64, evicted: Vec<Batch> },
}

impl MessageStore {
    pub(crate) fn new(config: &Config) -> Self {
        let retention = Retention::new(config.retention_bytes(), config.retention_age());
        MessageStore { list: MessageList::default(), retention }
    }

    /// Records and retains a batch. `need_below` says whether peers need the messages of a stream
    /// below a sequence number.
    pub(crate) fn receive(
        &mut self,
        batch: &Batch,
        hops: u16,
        from: Option<PeerId>,
        now: Time,
        wall: WallTime,
        need_below: impl Fn(&MessageList, StreamId, u64) -> RetentionNeed,
    ) -> ReceiveOutcome {
        match self.list.receive(batch.stream(), batch.first(), batch.end()) {
            InsertOutcome::Duplicate => ReceiveOutcome::Duplicate,
            InsertOutcome::New(messages) => {
                let list = &self.list;
                // Undelivered messages are needed here, also in the step that fills the gap before
                // them.
                let is_undelivered =
                    |s: StreamId, end| list.get(s).is_some_and(|seen| seen.delivered() < end);
                let need_below = |s, end| match need_below(list, s, end) {
                    RetentionNeed::NotNeeded if is_undelivered(s, end) => RetentionNeed::Needed,
                    need => need,
                };
                let evicted =
                    self.retention.retain(batch.clone(), hops, from, now, wall, need_below);
                self.on_evicted(&evicted);
                ReceiveOutcome::New { messages, evicted }
            }
        }
    }

    /// Restores a batch that an earlier process of this node retained, delivered or not. Returns
    /// the batches that were evicted for it.
    pub(crate) fn restore(&mut self, batch: &Batch, now: Time) -> Vec<Batch> {
        self.list.receive(batch.stream(), batch.first(), batch.end());
        if self.list.get(batch.stream()).is_none() {
            return vec![batch.clone()];
        }
        let evicted =
            self.retention.retain(batch.clone(), 0, None, now, batch.published_at(), |_, _| {
                RetentionNeed::NotNeeded
            });
        self.retention.set_age(batch, Duration::MAX);
        self.on_evicted(&evicted);
        evicted
    }

    /// Evicts expired batches.
    pub(crate) fn expire(
        &mut self,
        now: Time,
        need_below: impl Fn(&MessageList, StreamId, u64) -> RetentionNeed,
    ) -> Vec<Batch> {
        let list = &self.list;
        let expired = self.retention.expire(now, |stream, end| need_below(list, stream, end));
        self.on_evicted(&expired);
        let publishers: BTreeSet<PeerId> = expired.iter().map(Batch::publisher).collect();
        publishers.into_iter().for_each(|publisher| self.compact(publisher));
        expired
    }

    /// Raises the oldest retained numbers after an eviction.
    fn on_evicted(&mut self, evicted: &[Batch]) {
        for batch in evicted {
            // A batch that arrived later may have earlier messages: these are still available here.
            let retained = self.retention.first_retained_from(batch.stream(), 0);
            self.list.raise_oldest_retained(batch.stream(), retained.unwrap_or(batch.end()));
        }
    }

    /// Gives up a range that no neighbour can send any more.
    pub(crate) fn give_up(&mut self, stream: StreamId, from: u64, to: u64) {
        self.list.give_up(stream, from, to);
        if self.retention.first_retained_from(stream, from).is_none() {
            // A given-up range must not be offered to others as a received one.
            self.list.raise_oldest_retained(stream, to);
        }
    }

    /// Forgets closed streams of a publisher.
    pub(crate) fn compact(&mut self, publisher: PeerId) {
        let retention = &self.retention;
        self.list.compact(publisher, |stream| retention.first_retained_from(stream, 0).is_some());
    }

    /// The steps of delivery that are possible after a stream has changed.
    pub(crate) fn advance(&mut self, changed: StreamId) -> Vec<DeliveryStep> {
        order::advance(&mut self.list, &self.retention, changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchBuilder;
    use crate::identity::Identity;
    use crate::message::MessageId;

    /// After an outage the newest messages arrive first, and the missed ones are pulled after them:
    /// the newest are evicted first as well, and the pulled ones are still available here.
    #[test]
    fn oldest_retained_number_is_below_all_retained_messages() {
        let config = Config::lan().retention_bytes(1 << 20).build().unwrap();
        let (mut b, t) = (MessageStore::new(&config), Time::ZERO);
        let one = Identity::from_secret(&[1; 32]);
        let stream = StreamId { publisher: one.id(), epoch: 1 };
        let receive = |b: &mut MessageStore, sequence| {
            let id = MessageId { publisher: one.id(), epoch: 1, sequence };
            let mut batch = BatchBuilder::new(id, WallTime(0));
            batch.push(WallTime(0), "", &[7; 100_000]);
            b.receive(&batch.seal(&one), 1, None, t, WallTime(0), |_, _, _| {
                RetentionNeed::NotNeeded
            });
            b.advance(stream);
        };
        for sequence in [9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 10] {
            receive(&mut b, sequence);
        }
        assert!(
            b.retention.first_retained_from(stream, 9) != Some(9),
            "the first arrival was evicted"
        );
        let first = b.retention.first_retained_from(stream, 0);
        assert!(
            first
                .is_some_and(|retained| b.list.get(stream).unwrap().oldest_available() <= retained),
            "{first:?}"
        );
    }

    #[test]
    fn early_batch_is_still_retained_when_the_gap_before_it_closes() {
        let config = Config::lan().retention_bytes(1 << 20).build().unwrap();
        let (mut b, t) = (MessageStore::new(&config), Time::ZERO);
        let (one, other) = (Identity::from_secret(&[1; 32]), Identity::from_secret(&[2; 32]));
        let batch = |need: &Identity, sequence| {
            let id = MessageId { publisher: need.id(), epoch: 1, sequence };
            let mut batch = BatchBuilder::new(id, WallTime(0));
            batch.push(WallTime(0), "", &[7; 30_000]);
            batch.seal(need)
        };
        let mut receive = |batch: &Batch| {
            // The acknowledgements of a leaf of the tree give the same answer.
            let behind = |list: &MessageList, s, n| match list.get(s) {
                Some(s) if s.high_water() < n => RetentionNeed::Needed,
                _ => RetentionNeed::NotNeeded,
            };
            b.receive(batch, 1, None, t, WallTime(0), behind);
            b.advance(batch.stream())
        };
        receive(&batch(&one, 0));
        assert!(receive(&batch(&one, 2)).is_empty());
        (0..100).for_each(|n| drop(receive(&batch(&other, n))));
        let steps = receive(&batch(&one, 1));
        let delivered = steps.iter().all(|s| matches!(s, DeliveryStep::Deliver { .. }));
        assert!(steps.len() == 2 && delivered, "{steps:?}");
    }
}
