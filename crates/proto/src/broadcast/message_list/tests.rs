//! The message list as a whole.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::limits::MAX_GAPS;

const S: StreamId = StreamId { publisher: PeerId::from_bytes([1; 32]), epoch: 1 };

fn of_epoch(epoch: u64) -> StreamId {
    StreamId { epoch, ..S }
}

#[test]
fn delivered_streams_become_a_mark_and_the_newest_are_remembered() {
    let mut ml = MessageList::default();
    let epochs = REMEMBERED_EPOCHS as u64 + 10;
    for epoch in 1..=epochs {
        ml.receive(of_epoch(epoch), 0, 2);
        ml.set_delivered(of_epoch(epoch), 2);
    }
    ml.compact(S.publisher, |_| true);
    assert_eq!(ml.epochs(S.publisher).count() as u64, epochs, "all are kept");
    ml.compact(S.publisher, |s| s.epoch == 6);
    assert_eq!(ml.epochs(S.publisher).next().unwrap().0, 6);
    assert_eq!(ml.receive(of_epoch(5), 0, 2), Receipt::Repeat, "it is over");
    assert_eq!(ml.take_over_moved(), [(S.publisher, Some(5))]);
    ml.compact(S.publisher, |_| false);
    assert_eq!(ml.epochs(S.publisher).count(), REMEMBERED_EPOCHS);
    assert_eq!(ml.take_forgotten(), [], "nothing was lost");
}

#[test]
fn compaction_stops_at_a_stream_with_something_missing() {
    let mut ml = MessageList::default();
    for epoch in 1..=REMEMBERED_EPOCHS as u64 + 3 {
        ml.receive(of_epoch(epoch), 0, 2);
        ml.set_delivered(of_epoch(epoch), 2);
    }
    ml.expect(of_epoch(2), 4);
    ml.compact(S.publisher, |_| false);
    assert_eq!(ml.epochs(S.publisher).next().unwrap().0, 2);
    assert!(ml.is_over(of_epoch(1)) && !ml.is_over(of_epoch(2)));
}

#[test]
fn publisher_with_the_most_streams_gives_up_its_oldest_ones_with_a_gap() {
    let mut ml = MessageList::default();
    let other = StreamId { publisher: PeerId::from_bytes([2; 32]), epoch: 1 };
    ml.receive(other, 0, 1);
    for epoch in 1..=MAX_PUBLISHERS as u64 {
        ml.receive(of_epoch(epoch), 0, 1);
    }
    assert!(ml.get(other).is_some() && ml.streams.len() <= MAX_PUBLISHERS);
    let forgotten = ml.take_forgotten();
    assert_eq!(forgotten.first(), Some(&(of_epoch(1), 0, 1)));
    assert!(ml.is_over(of_epoch(1)) && ml.get(of_epoch(MAX_PUBLISHERS as u64)).is_some());
}

#[test]
fn end_on_the_word_of_neighbours_is_not_told_to_others_and_refuted_by_what_comes() {
    let mut ml = MessageList::default();
    ml.receive(S, 0, 5);
    ml.set_delivered(S, 5);
    ml.give_up(S, 5, 1 << 40);
    ml.set_delivered(S, 1 << 40);
    let seen = ml.get(S).unwrap();
    assert_eq!((seen.high_water(), seen.proven_next()), (1 << 40, 5));
    assert_eq!(ml.receive(S, 6, 7), Receipt::New(1));
    let seen = ml.get(S).unwrap();
    assert_eq!((seen.delivered(), seen.next(), seen.proven_next()), (6, 7, 7));
    ml.give_up(S, 7, 9);
    assert_eq!(ml.receive(S, 9, 10), Receipt::New(1));
    assert_eq!(ml.get(S).unwrap().proven_next(), 10, "there was more");
    assert_eq!(ml.receive(S, 8, 9), Receipt::Repeat, "it was told as a gap");
}

#[test]
fn tail_given_up_on_the_word_of_neighbours_stands_once_a_later_stream_was_delivered() {
    let mut ml = MessageList::default();
    ml.receive(S, 0, 5);
    ml.set_delivered(S, 5);
    ml.give_up(S, 5, 9);
    ml.set_delivered(S, 9);
    ml.receive(of_epoch(2), 0, 1);
    ml.set_delivered(of_epoch(2), 1);
    assert_eq!(ml.receive(S, 5, 6), Receipt::Repeat, "it was told as a gap, before epoch 2");
    let seen = ml.get(S).unwrap();
    assert_eq!((seen.delivered(), seen.next(), seen.proven_next()), (9, 9, 5));
    assert_eq!(ml.receive(S, 7, 11), Receipt::New(2), "that there is more was not known");
    assert_eq!(ml.get(S).unwrap().proven_next(), 11);
}

#[test]
fn stream_is_over_when_the_consumer_has_dealt_with_it() {
    let mut ml = MessageList::default();
    ml.follow_consumer();
    for epoch in 1..=REMEMBERED_EPOCHS as u64 + 3 {
        ml.receive(of_epoch(epoch), 0, 2);
        ml.set_delivered(of_epoch(epoch), 2);
    }
    ml.compact(S.publisher, |_| false);
    assert_eq!(ml.epochs(S.publisher).next().unwrap().0, 1, "the consumer lacks it");
    assert_eq!((ml.take_moved(), ml.take_over_moved()), (vec![], vec![]));
    ml.set_consumed(of_epoch(1), 2);
    ml.set_consumed(of_epoch(2), 1);
    assert_eq!(ml.take_moved(), [(of_epoch(1), Some(2)), (of_epoch(2), Some(1))]);
    ml.compact(S.publisher, |_| false);
    assert_eq!(ml.epochs(S.publisher).next().unwrap().0, 2);
    assert_eq!(ml.take_moved(), [(of_epoch(1), None)]);
    assert_eq!(ml.take_over_moved(), [(S.publisher, Some(1))]);
}

#[test]
fn marks_of_streams_that_are_over_are_bounded_on_the_disk_as_well() {
    let mut ml = MessageList::default();
    let publisher = |n: usize| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
        PeerId::from_bytes(bytes)
    };
    for n in 0..MAX_PUBLISHERS {
        ml.resume_over(StreamId { publisher: publisher(n), epoch: 7 });
    }
    assert_eq!(ml.take_over_moved(), []);
    ml.resume_over(StreamId { publisher: publisher(MAX_PUBLISHERS), epoch: 7 });
    let forgotten = ml.take_over_moved();
    assert_eq!(forgotten.len(), MAX_PUBLISHERS / SCANNED_FOR);
    assert!(forgotten.iter().all(|(_, mark)| mark.is_none()));
}

fn id(sequence: u64) -> MessageId {
    MessageId { publisher: S.publisher, epoch: S.epoch, sequence }
}

#[test]
fn in_order_takes_one_range() {
    let mut ml = MessageList::default();
    for s in 0..100_000 {
        assert_eq!(ml.receive(S, s, s + 1), Receipt::New(1));
    }
    let seen = ml.get(S).unwrap();
    assert_eq!((seen.ranges.len(), seen.high_water(), seen.next()), (1, 100_000, 100_000));
    assert_eq!(ml.receive(S, 5, 6), Receipt::Repeat);
    assert_eq!(ml.receive(S, 99_990, 100_010), Receipt::New(10));
}

#[test]
fn gaps_are_bounded() {
    let mut ml = MessageList::default();
    for s in 0..2 * MAX_GAPS as u64 {
        ml.receive(S, 2 * s + 1, 2 * s + 2);
    }
    assert!(ml.get(S).unwrap().gaps().len() <= MAX_GAPS);
}

#[test]
fn the_last_number_there_is() {
    let mut ml = MessageList::default();
    let last = u64::MAX - 1;
    assert_eq!(ml.receive(S, last, u64::MAX), Receipt::New(1));
    assert_eq!(ml.receive(S, last, u64::MAX), Receipt::Repeat);
    assert!(ml.contains(&id(last)));
    // u64::MAX itself cannot be held as a range; it is refused before it gets here.
}

#[test]
fn a_late_joiner_begins_where_history_does() {
    let mut ml = MessageList::default();
    ml.receive(S, 100, 110);
    assert_eq!(ml.get(S).unwrap().high_water(), 0, "not known yet where it begins");
    ml.begin(S, 40);
    let seen = ml.get(S).unwrap();
    assert_eq!((seen.delivered(), seen.high_water(), seen.floor()), (40, 40, 40));
    assert_eq!(seen.gaps(), [(40, 100)]);
    ml.begin(S, 20);
    assert_eq!(ml.get(S).unwrap().gaps(), [(20, 100)], "somebody has more of it");
    ml.begin(S, 60);
    assert_eq!(ml.get(S).unwrap().gaps(), [(20, 100)], "not less");
    ml.set_delivered(S, 30);
    ml.begin(S, 0);
    assert_eq!(ml.get(S).unwrap().gaps(), [(20, 100)], "it has begun");
}

#[test]
fn a_false_beginning_hides_nothing() {
    let mut ml = MessageList::default();
    ml.begin(S, 1 << 40);
    assert_eq!(ml.receive(S, 7, 9), Receipt::New(2));
    assert_eq!((ml.get(S).unwrap().delivered(), ml.get(S).unwrap().high_water()), (7, 9));
}

proptest! {
    #[test]
    fn it_is_a_set(order in proptest::collection::vec((0u64..120, 1u64..6), 0..300)) {
        let mut ml = MessageList::default();
        let mut model = BTreeSet::new();
        for (from, n) in order {
            let before = model.len();
            model.extend(from..from + n);
            let new = (model.len() - before) as u64;
            let expected = if new == 0 { Receipt::Repeat } else { Receipt::New(new) };
            prop_assert_eq!(ml.receive(S, from, from + n), expected);
            let seen = ml.get(S).unwrap();
            let missing: u64 = seen.gaps().iter().map(|(a, b)| b - a).sum();
            prop_assert_eq!(seen.next() - missing, model.len() as u64);
            prop_assert!((0..seen.high_water()).all(|k| model.contains(&k)));
            prop_assert!(!model.contains(&seen.high_water()));
            prop_assert_eq!(seen.received(), model.len() as u64);
            prop_assert_eq!(ml.undelivered.contains(&S), !seen.is_delivered());
            let delivered = seen.high_water();
            ml.set_delivered(S, delivered);
            let is_delivered = ml.get(S).unwrap().is_delivered();
            prop_assert_eq!(ml.undelivered.contains(&S), !is_delivered);
        }
    }
}
