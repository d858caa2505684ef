//! What was received and what of it is kept.

use core::time::Duration;
use std::collections::BTreeSet;

use super::order;
use super::{Awaited, Kept, MessageList, Receipt, Retention, Step};
use crate::batch::Batch;
use crate::config::Config;
use crate::identity::PeerId;
use crate::message::{MessageId, StreamId};
use crate::snapshot::PublisherView;
use crate::time::{Time, WallTime};

/// The message list and the batches kept.
#[derive(Debug)]
pub(crate) struct MessageStore {
    pub(crate) list: MessageList,
    pub(crate) kept: Retention,
}

/// What taking in a batch led to.
#[derive(Debug)]
pub(crate) enum Taken {
    /// All of it was received before.
    Repeat,
    /// So many messages of it are new: forward it. These others are no longer kept.
    New { messages: u64, dropped: Vec<Batch> },
}

impl MessageStore {
    pub(crate) fn new(config: &Config) -> Self {
        let kept = Retention::new(config.retention_bytes(), config.retention_age());
        MessageStore { list: MessageList::default(), kept }
    }

    /// Takes in a batch, one's own or another's. `awaited` tells who waits for what is below a number
    /// of a stream.
    pub(crate) fn receive(
        &mut self,
        batch: &Batch,
        hops: u16,
        from: Option<PeerId>,
        now: Time,
        wall: WallTime,
        awaited: impl Fn(&MessageList, StreamId, u64) -> Awaited,
    ) -> Taken {
        match self.list.receive(batch.stream(), batch.first(), batch.end()) {
            Receipt::Repeat => Taken::Repeat,
            Receipt::New(messages) => {
                let list = &self.list;
                // What came early is needed here, also in the step in which the hole before it closes.
                let early =
                    |s: StreamId, number| list.get(s).is_some_and(|seen| seen.delivered() < number);
                let awaited = |s, number| match awaited(list, s, number) {
                    Awaited::Nobody if early(s, number) => Awaited::Somebody,
                    who => who,
                };
                let dropped = self.kept.keep(batch.clone(), hops, from, now, wall, awaited);
                self.dropped(&dropped);
                Taken::New { messages, dropped }
            }
        }
    }

    /// Takes in a batch that an earlier life of this node kept, delivered or not. Says which are not
    /// kept any more.
    pub(crate) fn restore(&mut self, batch: &Batch, now: Time) -> Vec<Batch> {
        self.list.receive(batch.stream(), batch.first(), batch.end());
        if self.list.get(batch.stream()).is_none() {
            return vec![batch.clone()];
        }
        let dropped = self
            .kept
            .keep(batch.clone(), 0, None, now, batch.published_at(), |_, _| Awaited::Nobody);
        self.kept.set_age(batch, Duration::MAX);
        self.dropped(&dropped);
        dropped
    }

    /// Lets go of what is too old.
    pub(crate) fn expire(
        &mut self,
        now: Time,
        awaited: impl Fn(&MessageList, StreamId, u64) -> Awaited,
    ) -> Vec<Batch> {
        let list = &self.list;
        let gone = self.kept.expire(now, |stream, number| awaited(list, stream, number));
        self.dropped(&gone);
        let publishers: BTreeSet<PeerId> = gone.iter().map(Batch::publisher).collect();
        publishers.into_iter().for_each(|publisher| self.compact(publisher));
        gone
    }

    fn dropped(&mut self, gone: &[Batch]) {
        for batch in gone {
            // What came later may be of earlier: it is still to be had here.
            let kept = self.kept.first_from(batch.stream(), 0);
            self.list.raise_floor(batch.stream(), kept.unwrap_or(batch.end()));
        }
    }

    /// Gives up a range that no neighbour can give any more.
    pub(crate) fn give_up(&mut self, stream: StreamId, from: u64, to: u64) {
        self.list.give_up(stream, from, to);
        if self.kept.first_from(stream, from).is_none() {
            // Not to be offered as something that was received.
            self.list.raise_floor(stream, to);
        }
    }

    /// Forgets streams of a publisher that are over.
    pub(crate) fn compact(&mut self, publisher: PeerId) {
        let kept = &self.kept;
        self.list.compact(publisher, |stream| kept.first_from(stream, 0).is_some());
    }

    /// What may be delivered since something of a stream has changed.
    pub(crate) fn advance(&mut self, changed: StreamId) -> Vec<Step> {
        order::advance(&mut self.list, &self.kept, changed)
    }

    /// The batch that holds a message, if it is kept.
    pub(crate) fn holding(&self, id: &MessageId) -> Option<&Kept> {
        self.kept.holding(id)
    }

    pub(crate) fn publishers(&self) -> Vec<PublisherView> {
        self.list
            .iter()
            .map(|(&StreamId { publisher, epoch }, s)| PublisherView {
                publisher,
                epoch,
                high_water: s.high_water(),
                gaps: s.gaps(),
                received: s.received(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchBuilder;
    use crate::identity::Identity;
    use crate::message::MessageId;

    /// After an outage the latest comes first, and what was missed is pulled behind it: it goes first as
    /// well, and what is pulled is still to be had here.
    #[test]
    fn the_floor_is_below_all_that_is_kept() {
        let config = Config::lan().retention_bytes(1 << 20).build().unwrap();
        let (mut b, t) = (MessageStore::new(&config), Time::ZERO);
        let one = Identity::from_secret(&[1; 32]);
        let stream = StreamId { publisher: one.id(), epoch: 1 };
        let take = |b: &mut MessageStore, sequence| {
            let id = MessageId { publisher: one.id(), epoch: 1, sequence };
            let mut batch = BatchBuilder::new(id, WallTime(0));
            batch.push(WallTime(0), "", &[7; 100_000]);
            b.receive(&batch.seal(&one), 1, None, t, WallTime(0), |_, _, _| Awaited::Nobody);
            b.advance(stream);
        };
        for sequence in [9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 10] {
            take(&mut b, sequence);
        }
        assert!(b.kept.first_from(stream, 9) != Some(9), "the first to come has gone");
        let first = b.kept.first_from(stream, 0);
        assert!(first.is_some_and(|kept| b.list.get(stream).unwrap().floor() <= kept), "{first:?}");
    }

    #[test]
    fn what_came_early_is_still_there_when_the_hole_before_it_closes() {
        let config = Config::lan().retention_bytes(1 << 20).build().unwrap();
        let (mut b, t) = (MessageStore::new(&config), Time::ZERO);
        let (one, other) = (Identity::from_secret(&[1; 32]), Identity::from_secret(&[2; 32]));
        let batch = |who: &Identity, sequence| {
            let id = MessageId { publisher: who.id(), epoch: 1, sequence };
            let mut batch = BatchBuilder::new(id, WallTime(0));
            batch.push(WallTime(0), "", &[7; 30_000]);
            batch.seal(who)
        };
        let mut take = |batch: &Batch| {
            // As the acknowledgements of a leaf of the tree would have it.
            let behind = |list: &MessageList, s, n| match list.get(s) {
                Some(s) if s.high_water() < n => Awaited::Somebody,
                _ => Awaited::Nobody,
            };
            b.receive(batch, 1, None, t, WallTime(0), behind);
            b.advance(batch.stream())
        };
        take(&batch(&one, 0));
        assert!(take(&batch(&one, 2)).is_empty());
        (0..100).for_each(|n| drop(take(&batch(&other, n))));
        let steps = take(&batch(&one, 1));
        let delivered = steps.iter().all(|s| matches!(s, Step::Deliver { .. }));
        assert!(steps.len() == 2 && delivered, "{steps:?}");
    }
}
