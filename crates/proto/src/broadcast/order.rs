//! Order per publisher: what may be delivered now.
//!
//! Messages of one stream are delivered by number without exception; what is missing holds up what
//! is behind it until it comes or is given up, and then shows as a gap in its place. A later epoch
//! of a publisher waits for what is known of the earlier ones.

use super::message_list::MessageList;
use super::retention::{Kept, Retention};
use crate::message::{MessageId, StreamId};

/// The next thing for the application.
#[derive(Debug)]
pub(crate) enum Step {
    /// The messages of a kept batch from a number on.
    Deliver { kept: Kept, from: u64 },
    /// Numbers that will not come any more.
    Gap { stream: StreamId, from: u64, to: u64 },
}

/// What has become deliverable since something of a stream came or was given up; it counts as delivered
/// from now on. A stream waits for all earlier ones of its publisher, and what waited for it follows at once.
pub(crate) fn advance(list: &mut MessageList, kept: &Retention, changed: StreamId) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut next = Some(changed).filter(|s| list.undelivered_before(*s).is_none());
    while let Some(stream) = next.take() {
        if advance_one(list, kept, stream, &mut steps) {
            next = list.undelivered_after(stream);
        }
    }
    steps
}

/// The same of one stream alone. Says whether all that is known of it is delivered now.
fn advance_one(
    list: &mut MessageList,
    kept: &Retention,
    stream: StreamId,
    steps: &mut Vec<Step>,
) -> bool {
    let StreamId { publisher, epoch } = stream;
    let Some(seen) = list.get(stream) else { return true };
    let (mut at, end, known) = (seen.delivered(), seen.high_water(), seen.end());
    while at < end {
        let id = MessageId { publisher, epoch, sequence: at };
        let from = at;
        if let Some(k) = kept.holding(&id) {
            at = k.batch.end();
            steps.push(Step::Deliver { kept: k.clone(), from });
        } else {
            at = kept.first_from(stream, at).map_or(end, |n| n.min(end));
            steps.push(Step::Gap { stream, from, to: at });
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
    use crate::broadcast::Awaited;
    use crate::identity::Identity;
    use crate::time::{Time, WallTime};

    struct Rig {
        list: MessageList,
        kept: Retention,
        me: Identity,
    }

    impl Rig {
        fn new() -> Self {
            let me = Identity::from_secret(&[1; 32]);
            let kept = Retention::new(1 << 20, Duration::from_secs(10));
            Rig { list: MessageList::default(), kept, me }
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

        /// What comes out when a batch comes in: `epoch:from-to`, or the same in brackets for gaps.
        fn take(&mut self, epoch: u64, first: u64, count: u64) -> String {
            let b = self.batch(epoch, first, count);
            self.list.receive(b.stream(), b.first(), b.end());
            self.kept.keep(b, 1, None, Time::ZERO, WallTime(0), |_, _| Awaited::Nobody);
            self.advance(epoch)
        }

        fn advance(&mut self, epoch: u64) -> String {
            let changed = self.stream(epoch);
            let steps = advance(&mut self.list, &self.kept, changed);
            let words = steps.iter().map(|s| match s {
                Step::Deliver { kept, from } => {
                    format!("{}:{from}-{}", kept.batch.epoch(), kept.batch.end())
                }
                Step::Gap { stream, from, to } => format!("({}:{from}-{to})", stream.epoch),
            });
            words.collect::<Vec<_>>().join(" ")
        }
    }

    #[test]
    fn what_came_early_waits() {
        let mut r = Rig::new();
        assert_eq!(r.take(1, 0, 2), "1:0-2");
        assert_eq!(r.take(1, 5, 1), "");
        assert_eq!(r.take(1, 3, 2), "");
        assert_eq!(r.take(1, 2, 1), "1:2-3 1:3-5 1:5-6");
        assert_eq!(r.take(1, 4, 4), "1:6-8", "only what is new of it");
    }

    #[test]
    fn a_gap_shows_in_its_place() {
        let mut r = Rig::new();
        r.take(1, 0, 1);
        r.take(1, 3, 1);
        r.list.give_up(r.stream(1), 1, 3);
        assert_eq!(r.advance(1), "(1:1-3) 1:3-4");
    }

    #[test]
    fn later_epoch_waits_for_the_earlier_one() {
        let mut r = Rig::new();
        assert_eq!(r.take(1, 0, 1), "1:0-1");
        assert_eq!(r.take(1, 2, 1), "");
        assert_eq!(r.take(2, 0, 1), "");
        assert_eq!(r.take(1, 1, 1), "1:1-2 1:2-3 2:0-1");
    }

    #[test]
    fn epoch_waits_for_what_the_publisher_says_of_the_one_before() {
        let mut r = Rig::new();
        r.list.expect(r.stream(3), 2);
        assert_eq!(r.take(5, 0, 1), "");
        assert_eq!(r.take(4, 0, 1), "");
        assert_eq!(r.take(3, 0, 1), "3:0-1");
        assert_eq!(r.take(3, 1, 1), "3:1-2 4:0-1 5:0-1");
        r.list.expect(r.stream(6), 3);
        assert_eq!(r.take(7, 0, 1), "");
        r.list.give_up(r.stream(6), 0, 3);
        assert_eq!(r.advance(6), "(6:0-3) 7:0-1");
    }

    /// More of stream 1 becomes known when 2 is delivered: 3 waits for it.
    #[test]
    fn stream_waits_for_all_earlier_ones() {
        let mut r = Rig::new();
        assert_eq!(r.take(1, 0, 1), "1:0-1");
        assert_eq!(r.take(2, 0, 1), "2:0-1");
        r.list.expect(r.stream(1), 3);
        assert_eq!(r.take(3, 0, 1), "");
        assert_eq!(r.take(2, 1, 1), "");
        assert_eq!(r.take(1, 2, 1), "");
        assert_eq!(r.take(1, 1, 1), "1:1-2 1:2-3 2:1-2 3:0-1");
        r.list.expect(r.stream(1), 4);
        assert_eq!(r.take(3, 1, 1), "");
        r.list.give_up(r.stream(1), 3, 4);
        assert_eq!(r.advance(1), "(1:3-4) 3:1-2", "nothing of 2 waits between them");
    }

    #[test]
    fn nothing_is_delivered_before_the_beginning_is_known() {
        let mut r = Rig::new();
        assert_eq!(r.take(1, 9, 1), "");
        r.list.begin(r.stream(1), 8);
        assert_eq!(r.take(1, 8, 1), "1:8-9 1:9-10");
    }
}
