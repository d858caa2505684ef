//! Order per publisher: which messages may be delivered now.
//!
//! Messages of one stream are delivered in sequence without exception. A missing range blocks later
//! messages until it arrives or is given up, and is then delivered as a gap in its place. A later
//! epoch of a publisher waits for the known messages of earlier ones.

use super::message_list::MessageList;
use super::retention::{RetainedBatch, Retention};
use crate::message::StreamId;

/// The next step of delivery.
#[derive(Debug)]
pub(crate) enum DeliveryStep {
    /// The messages of a retained batch from a number on.
    Deliver { retained: RetainedBatch, from: u64 },
    /// Messages that were given up.
    Gap { stream: StreamId, from: u64, to: u64 },
}

/// Takes the steps that became possible after messages of a stream arrived or were given up; they
/// count as delivered from now on. A stream waits for all earlier ones of its publisher, and later
/// streams that waited for it follow at once.
pub(crate) fn advance(
    list: &mut MessageList,
    retention: &Retention,
    changed: StreamId,
) -> Vec<DeliveryStep> {
    let mut steps = Vec::new();
    let mut next = Some(changed).filter(|s| list.undelivered_before(*s).is_none());
    while let Some(stream) = next.take() {
        if advance_one(list, retention, stream, &mut steps) {
            next = list.undelivered_after(stream);
        }
    }
    steps
}

/// [`advance`] for one stream alone. Returns whether all of its known messages are delivered now.
fn advance_one(
    list: &mut MessageList,
    retention: &Retention,
    stream: StreamId,
    steps: &mut Vec<DeliveryStep>,
) -> bool {
    let Some(seen) = list.get(stream) else { return true };
    let (mut at, end, known) = (seen.delivered(), seen.high_water(), seen.end());
    while at < end {
        let from = at;
        if let Some(k) = retention.batch_with(&stream.message(at)) {
            at = k.batch.end();
            steps.push(DeliveryStep::Deliver { retained: k.clone(), from });
        } else {
            at = retention.first_retained_from(stream, at).map_or(end, |n| n.min(end));
            steps.push(DeliveryStep::Gap { stream, from, to: at });
        }
    }
    list.set_delivered(stream, at);
    at >= known
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::batch::{Batch, BatchBuilder};
    use crate::broadcast::RetentionNeed;
    use crate::identity::Identity;
    use crate::message::MessageId;
    use crate::time::{Time, WallTime};

    struct Rig {
        list: MessageList,
        retention: Retention,
        me: Identity,
    }

    impl Rig {
        fn new() -> Self {
            let me = Identity::from_secret(&[1; 32]);
            let retention = Retention::new(1 << 20, Duration::from_secs(10));
            Rig { list: MessageList::default(), retention, me }
        }

        fn stream(&self, epoch: u64) -> StreamId {
            StreamId { publisher: self.me.id(), epoch }
        }

        fn batch(&self, epoch: u64, first: u64, count: u64) -> Batch {
            let id = MessageId { publisher: self.me.id(), epoch, sequence: first };
            let mut b = BatchBuilder::new(id, WallTime(0));
            for _ in 0..count {
                b.push(WallTime(0), "", b"x");
            }
            b.seal(&self.me)
        }

        /// The steps after a batch arrived: `epoch:from-to`, or the same in brackets for gaps.
        fn receive(&mut self, epoch: u64, first: u64, count: u64) -> String {
            let b = self.batch(epoch, first, count);
            self.list.receive(b.stream(), b.first(), b.end());
            self.retention
                .retain(b, 1, None, Time::ZERO, WallTime(0), |_, _| RetentionNeed::NotNeeded);
            self.advance(epoch)
        }

        fn advance(&mut self, epoch: u64) -> String {
            let changed = self.stream(epoch);
            let steps = advance(&mut self.list, &self.retention, changed);
            let words = steps.iter().map(|s| match s {
                DeliveryStep::Deliver { retained, from } => {
                    format!("{}:{from}-{}", retained.batch.epoch(), retained.batch.end())
                }
                DeliveryStep::Gap { stream, from, to } => format!("({}:{from}-{to})", stream.epoch),
            });
            words.collect::<Vec<_>>().join(" ")
        }
    }

    #[test]
    fn early_messages_wait_for_earlier_ones() {
        let mut rig = Rig::new();
        assert_eq!(rig.receive(1, 0, 2), "1:0-2");
        assert_eq!(rig.receive(1, 5, 1), "");
        assert_eq!(rig.receive(1, 3, 2), "");
        assert_eq!(rig.receive(1, 2, 1), "1:2-3 1:3-5 1:5-6");
        assert_eq!(rig.receive(1, 4, 4), "1:6-8", "only the new messages");
    }

    #[test]
    fn gap_is_delivered_in_its_place() {
        let mut rig = Rig::new();
        rig.receive(1, 0, 1);
        rig.receive(1, 3, 1);
        rig.list.give_up(rig.stream(1), 1, 3);
        assert_eq!(rig.advance(1), "(1:1-3) 1:3-4");
    }

    #[test]
    fn later_epoch_waits_for_the_earlier_one() {
        let mut rig = Rig::new();
        assert_eq!(rig.receive(1, 0, 1), "1:0-1");
        assert_eq!(rig.receive(1, 2, 1), "");
        assert_eq!(rig.receive(2, 0, 1), "");
        assert_eq!(rig.receive(1, 1, 1), "1:1-2 1:2-3 2:0-1");
    }

    #[test]
    fn epoch_waits_for_the_end_that_the_publisher_names_of_the_one_before() {
        let mut rig = Rig::new();
        rig.list.expect_up_to(rig.stream(3), 2);
        assert_eq!(rig.receive(5, 0, 1), "");
        assert_eq!(rig.receive(4, 0, 1), "");
        assert_eq!(rig.receive(3, 0, 1), "3:0-1");
        assert_eq!(rig.receive(3, 1, 1), "3:1-2 4:0-1 5:0-1");
        rig.list.expect_up_to(rig.stream(6), 3);
        assert_eq!(rig.receive(7, 0, 1), "");
        rig.list.give_up(rig.stream(6), 0, 3);
        assert_eq!(rig.advance(6), "(6:0-3) 7:0-1");
    }

    /// More of stream 1 becomes known after 2 was delivered: 3 waits for it.
    #[test]
    fn stream_waits_for_all_earlier_ones() {
        let mut rig = Rig::new();
        assert_eq!(rig.receive(1, 0, 1), "1:0-1");
        assert_eq!(rig.receive(2, 0, 1), "2:0-1");
        rig.list.expect_up_to(rig.stream(1), 3);
        assert_eq!(rig.receive(3, 0, 1), "");
        assert_eq!(rig.receive(2, 1, 1), "");
        assert_eq!(rig.receive(1, 2, 1), "");
        assert_eq!(rig.receive(1, 1, 1), "1:1-2 1:2-3 2:1-2 3:0-1");
        rig.list.expect_up_to(rig.stream(1), 4);
        assert_eq!(rig.receive(3, 1, 1), "");
        rig.list.give_up(rig.stream(1), 3, 4);
        assert_eq!(rig.advance(1), "(1:3-4) 3:1-2", "no message of 2 waits between them");
    }

    #[test]
    fn no_message_is_delivered_before_the_start_of_its_stream_is_known() {
        let mut rig = Rig::new();
        assert_eq!(rig.receive(1, 9, 1), "");
        rig.list.set_start(rig.stream(1), 8);
        assert_eq!(rig.receive(1, 8, 1), "1:8-9 1:9-10");
    }
}
