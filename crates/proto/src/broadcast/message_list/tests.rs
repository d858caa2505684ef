//! The message list as a whole.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::limits::MAX_GAPS;

const S: StreamId = StreamId { publisher: PeerId::from_bytes([1; 32]), epoch: 1 };

fn stream(epoch: u64) -> StreamId {
    StreamId { epoch, ..S }
}

#[test]
fn delivered_streams_are_closed_and_the_newest_are_remembered() {
    let mut list = MessageList::default();
    let epochs = REMEMBERED_EPOCHS as u64 + 10;
    for epoch in 1..=epochs {
        list.receive(stream(epoch), 0, 2);
        list.set_delivered(stream(epoch), 2);
    }
    list.compact(S.publisher, |_| true);
    assert_eq!(list.epochs(S.publisher).count() as u64, epochs, "all are retained");
    list.compact(S.publisher, |s| s.epoch == 6);
    assert_eq!(list.epochs(S.publisher).next().unwrap().0, 6);
    assert_eq!(list.receive(stream(5), 0, 2), InsertOutcome::Duplicate, "it is closed");
    assert_eq!(list.take_closed_changes(), [(S.publisher, Some(5))]);
    list.compact(S.publisher, |_| false);
    assert_eq!(list.epochs(S.publisher).count(), REMEMBERED_EPOCHS);
    assert_eq!(list.take_forgotten(), [], "nothing was lost");
}

#[test]
fn compaction_stops_at_a_stream_with_a_missing_message() {
    let mut list = MessageList::default();
    for epoch in 1..=REMEMBERED_EPOCHS as u64 + 3 {
        list.receive(stream(epoch), 0, 2);
        list.set_delivered(stream(epoch), 2);
    }
    list.expect_up_to(stream(2), 4);
    list.compact(S.publisher, |_| false);
    assert_eq!(list.epochs(S.publisher).next().unwrap().0, 2);
    assert!(list.is_closed(stream(1)) && !list.is_closed(stream(2)));
}

#[test]
fn publisher_with_the_most_streams_loses_its_oldest_ones_with_a_gap() {
    let mut list = MessageList::default();
    let other = StreamId { publisher: PeerId::from_bytes([2; 32]), epoch: 1 };
    list.receive(other, 0, 1);
    for epoch in 1..=MAX_STREAMS as u64 {
        list.receive(stream(epoch), 0, 1);
    }
    assert!(list.get(other).is_some() && list.streams.len() <= MAX_STREAMS);
    let forgotten = list.take_forgotten();
    assert_eq!(forgotten.first(), Some(&(stream(1), 0, 1)));
    assert!(list.is_closed(stream(1)) && list.get(stream(MAX_STREAMS as u64)).is_some());
}

#[test]
fn end_claimed_by_neighbours_is_not_reported_to_others_and_refuted_by_messages() {
    let mut list = MessageList::default();
    list.receive(S, 0, 5);
    list.set_delivered(S, 5);
    list.give_up(S, 5, 1 << 40);
    list.set_delivered(S, 1 << 40);
    let seen = list.get(S).unwrap();
    assert_eq!((seen.high_water(), seen.proven_next()), (1 << 40, 5));
    assert_eq!(list.receive(S, 6, 7), InsertOutcome::New(1));
    let seen = list.get(S).unwrap();
    assert_eq!((seen.delivered(), seen.next(), seen.proven_next()), (6, 7, 7));
    list.give_up(S, 7, 9);
    assert_eq!(list.receive(S, 9, 10), InsertOutcome::New(1));
    assert_eq!(list.get(S).unwrap().proven_next(), 10, "there was more");
    assert_eq!(list.receive(S, 8, 9), InsertOutcome::Duplicate, "it was reported as a gap");
}

#[test]
fn end_given_up_on_neighbours_claims_is_final_after_a_later_stream_was_delivered() {
    let mut list = MessageList::default();
    list.receive(S, 0, 5);
    list.set_delivered(S, 5);
    list.give_up(S, 5, 9);
    list.set_delivered(S, 9);
    list.receive(stream(2), 0, 1);
    list.set_delivered(stream(2), 1);
    assert_eq!(
        list.receive(S, 5, 6),
        InsertOutcome::Duplicate,
        "it was reported as a gap, before epoch 2"
    );
    let seen = list.get(S).unwrap();
    assert_eq!((seen.delivered(), seen.next(), seen.proven_next()), (9, 9, 5));
    assert_eq!(list.receive(S, 7, 11), InsertOutcome::New(2), "its end was not known");
    assert_eq!(list.get(S).unwrap().proven_next(), 11);
}

#[test]
fn stream_is_closed_after_the_consumer_has_processed_it() {
    let mut list = MessageList::default();
    list.follow_consumer();
    for epoch in 1..=REMEMBERED_EPOCHS as u64 + 3 {
        list.receive(stream(epoch), 0, 2);
        list.set_delivered(stream(epoch), 2);
    }
    list.compact(S.publisher, |_| false);
    assert_eq!(list.epochs(S.publisher).next().unwrap().0, 1, "the consumer lacks it");
    assert_eq!((list.take_changed_marks(), list.take_closed_changes()), (vec![], vec![]));
    list.set_consumed(stream(1), 2);
    list.set_consumed(stream(2), 1);
    assert_eq!(list.take_changed_marks(), [(stream(1), Some(2)), (stream(2), Some(1))]);
    list.compact(S.publisher, |_| false);
    assert_eq!(list.epochs(S.publisher).next().unwrap().0, 2);
    assert_eq!(list.take_changed_marks(), [(stream(1), None)]);
    assert_eq!(list.take_closed_changes(), [(S.publisher, Some(1))]);
}

#[test]
fn stored_marks_of_closed_streams_are_bounded() {
    let mut list = MessageList::default();
    let publisher = |n: usize| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
        PeerId::from_bytes(bytes)
    };
    for n in 0..MAX_STREAMS {
        list.restore_closed(StreamId { publisher: publisher(n), epoch: 7 });
    }
    assert_eq!(list.take_closed_changes(), []);
    list.restore_closed(StreamId { publisher: publisher(MAX_STREAMS), epoch: 7 });
    let forgotten = list.take_closed_changes();
    assert_eq!(forgotten.len(), MAX_STREAMS / EVICTION_DIVISOR);
    assert!(forgotten.iter().all(|(_, mark)| mark.is_none()));
}

fn id(sequence: u64) -> MessageId {
    MessageId { publisher: S.publisher, epoch: S.epoch, sequence }
}

#[test]
fn messages_in_order_take_one_range() {
    let mut list = MessageList::default();
    for s in 0..100_000 {
        assert_eq!(list.receive(S, s, s + 1), InsertOutcome::New(1));
    }
    let seen = list.get(S).unwrap();
    assert_eq!((seen.ranges.len(), seen.high_water(), seen.next()), (1, 100_000, 100_000));
    assert_eq!(list.receive(S, 5, 6), InsertOutcome::Duplicate);
    assert_eq!(list.receive(S, 99_990, 100_010), InsertOutcome::New(10));
}

#[test]
fn gaps_are_bounded() {
    let mut list = MessageList::default();
    for s in 0..2 * MAX_GAPS as u64 {
        list.receive(S, 2 * s + 1, 2 * s + 2);
    }
    assert!(list.get(S).unwrap().gaps().len() <= MAX_GAPS);
}

#[test]
fn last_possible_number_is_recorded() {
    let mut list = MessageList::default();
    let last = u64::MAX - 1;
    assert_eq!(list.receive(S, last, u64::MAX), InsertOutcome::New(1));
    assert_eq!(list.receive(S, last, u64::MAX), InsertOutcome::Duplicate);
    assert!(list.contains(&id(last)));
    // u64::MAX itself cannot be represented as a range; it is refused before it gets here.
}

#[test]
fn stream_of_a_late_joiner_starts_at_the_earliest_reported_number() {
    let mut list = MessageList::default();
    list.receive(S, 100, 110);
    assert_eq!(list.get(S).unwrap().high_water(), 0, "its start is not known yet");
    list.set_start(S, 40);
    let seen = list.get(S).unwrap();
    assert_eq!((seen.delivered(), seen.high_water(), seen.oldest_available()), (40, 40, 40));
    assert_eq!(seen.gaps(), [(40, 100)]);
    list.set_start(S, 20);
    assert_eq!(list.get(S).unwrap().gaps(), [(20, 100)], "another neighbour has more of it");
    list.set_start(S, 60);
    assert_eq!(list.get(S).unwrap().gaps(), [(20, 100)], "not less");
    list.set_delivered(S, 30);
    list.set_start(S, 0);
    assert_eq!(list.get(S).unwrap().gaps(), [(20, 100)], "a message was delivered");
}

#[test]
fn wrong_start_hides_no_messages() {
    let mut list = MessageList::default();
    list.set_start(S, 1 << 40);
    assert_eq!(list.receive(S, 7, 9), InsertOutcome::New(2));
    assert_eq!((list.get(S).unwrap().delivered(), list.get(S).unwrap().high_water()), (7, 9));
}

proptest! {
    #[test]
    fn message_list_behaves_as_a_set(
        order in proptest::collection::vec((0u64..120, 1u64..6), 0..300)
    ) {
        let mut list = MessageList::default();
        let mut model = BTreeSet::new();
        for (from, n) in order {
            let before = model.len();
            model.extend(from..from + n);
            let new = (model.len() - before) as u64;
            let is_new = new > 0;
            let expected = if is_new { InsertOutcome::New(new) } else { InsertOutcome::Duplicate };
            prop_assert_eq!(list.receive(S, from, from + n), expected);
            let seen = list.get(S).unwrap();
            let missing: u64 = seen.gaps().iter().map(|(a, b)| b - a).sum();
            prop_assert_eq!(seen.next() - missing, model.len() as u64);
            prop_assert!((0..seen.high_water()).all(|k| model.contains(&k)));
            prop_assert!(!model.contains(&seen.high_water()));
            prop_assert_eq!(seen.received(), model.len() as u64);
            prop_assert_eq!(list.undelivered.contains(&S), !seen.is_delivered());
            let delivered = seen.high_water();
            list.set_delivered(S, delivered);
            let is_delivered = list.get(S).unwrap().is_delivered();
            prop_assert_eq!(list.undelivered.contains(&S), !is_delivered);
        }
    }
}
