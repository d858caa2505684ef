use super::*;

/// An item of a test: its number and its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TestItem {
    pub(super) number: usize,
    pub(super) size: usize,
}

impl QueueItem for TestItem {
    fn size(&self) -> usize {
        self.size
    }
}

pub(super) const CLASSES: [Class; 6] =
    [Class::Liveness, Class::Control, Class::Announce, Class::Payload, Class::History, Class::Last];

/// Bounds of 1000 bytes for every class.
const SMALL: QueueLimits =
    QueueLimits { liveness: 1000, control: 1000, announce: 1000, payload: 1000, history: 1000 };

/// Items of this size use 100 bytes: ten of them fill a queue of [`SMALL`].
const TENTH: usize = 100 - ITEM_OVERHEAD;

const fn item(number: usize, size: usize) -> TestItem {
    TestItem { number, size }
}

fn small_queue() -> LinkQueue<TestItem> {
    LinkQueue::new(SMALL)
}

/// Adds a tenth of the bound.
fn add(queue: &mut LinkQueue<TestItem>, class: Class, number: usize) -> EnqueueOutcome {
    queue.enqueue(class, item(number, TENTH))
}

/// The next item, urgent or not: its class and number.
fn next(queue: &mut LinkQueue<TestItem>) -> Option<(Class, usize)> {
    let urgent = queue.dequeue_urgent().map(|item| (Class::Liveness, item));
    urgent.or_else(|| queue.dequeue()).map(|(class, item)| (class, item.number))
}

fn drain(queue: &mut LinkQueue<TestItem>) -> Vec<(Class, usize)> {
    core::iter::from_fn(|| next(queue)).collect()
}

const fn dropped(items: u64, reason: DropReason) -> EnqueueOutcome {
    EnqueueOutcome::Dropped { items, reason }
}

#[test]
fn full_probe_or_announcement_queue_drops_as_many_oldest_items_as_the_new_one_needs() {
    for class in [Class::Liveness, Class::Announce] {
        let mut queue = small_queue();
        for number in 0..10 {
            assert_eq!(add(&mut queue, class, number), EnqueueOutcome::Queued);
        }
        let large = item(10, 300 - ITEM_OVERHEAD);
        let outcome = queue.enqueue(class, large);
        assert_eq!(outcome, dropped(3, DropReason::Oldest));
        assert!(outcome.is_queued());
        let expected: Vec<(Class, usize)> = (3..=10).map(|number| (class, number)).collect();
        assert_eq!(drain(&mut queue), expected);
    }
}

#[test]
fn item_larger_than_its_queue_evicts_nothing() {
    for class in [Class::Liveness, Class::Announce, Class::Payload, Class::History] {
        let mut queue = small_queue();
        let _ = add(&mut queue, class, 1);
        let outcome = queue.enqueue(class, item(2, 1001 - ITEM_OVERHEAD));
        assert_eq!(outcome, dropped(1, DropReason::TooLarge));
        assert!(!outcome.is_queued());
        assert_eq!(queue.enqueue(class, item(3, usize::MAX)), outcome, "the sum must not overflow");
        assert_eq!(drain(&mut queue), [(class, 1)]);
        assert!(queue.enqueue(class, item(4, 1000 - ITEM_OVERHEAD)).is_queued());
    }
}

#[test]
fn full_payload_or_history_queue_drops_the_new_item() {
    for class in [Class::Payload, Class::History] {
        let mut queue = small_queue();
        assert!((0..10).all(|number| add(&mut queue, class, number).is_queued()));
        assert_eq!(add(&mut queue, class, 10), dropped(1, DropReason::QueueFull));
        assert_eq!(next(&mut queue), Some((class, 0)));
        assert!(add(&mut queue, class, 11).is_queued());
    }
}

#[test]
fn full_control_or_last_queue_closes_the_link_whatever_the_other_classes_hold() {
    for class in [Class::Control, Class::Last] {
        let mut queue = small_queue();
        for number in 0..10 {
            for other in CLASSES {
                assert!(add(&mut queue, other, number).is_queued());
            }
        }
        assert_eq!(add(&mut queue, class, 10), EnqueueOutcome::Overflow);
        assert_eq!(queue.close(CloseReason::TooSlow), CloseOutcome::DropsQueued(60));
        assert!(queue.is_empty());
    }
}

#[test]
fn items_are_dequeued_in_order_of_their_class_and_last_after_everything() {
    let mut queue = small_queue();
    for (number, class) in CLASSES.into_iter().enumerate().rev() {
        let _ = add(&mut queue, class, number);
    }
    let expected: Vec<(Class, usize)> =
        CLASSES.into_iter().enumerate().map(|(number, class)| (class, number)).collect();
    assert_eq!(drain(&mut queue), expected);
}

#[test]
fn last_waits_for_history_that_is_added_after_it() {
    let mut queue = small_queue();
    let _ = add(&mut queue, Class::Last, 0);
    for number in 1..4 {
        let _ = add(&mut queue, Class::History, number);
        let _ = add(&mut queue, Class::Payload, number);
    }
    assert_eq!(drain(&mut queue).last(), Some(&(Class::Last, 0)));
}

#[test]
fn history_gets_its_share_beside_payloads_and_the_rest_when_payloads_are_gone() {
    let mut queue = small_queue();
    for number in 0..8 {
        let _ = add(&mut queue, Class::Payload, number);
        let _ = add(&mut queue, Class::History, number);
    }
    let order: String = drain(&mut queue)
        .into_iter()
        .map(|(class, _)| if class == Class::History { 'h' } else { 'p' })
        .collect();
    assert_eq!(order, "pppphpppphhhhhhh");
}

#[test]
fn large_history_is_sent_beside_an_endless_flow_of_payloads_and_they_beside_it() {
    let mut queue = small_queue();
    let mut sent = [0, 0];
    for number in 0..1000 {
        while add(&mut queue, Class::Payload, number).is_queued() {}
        while queue.enqueue(Class::History, item(number, 4 * TENTH)).is_queued() {}
        match next(&mut queue) {
            Some((Class::Payload, _)) => sent[0] += 1,
            Some((Class::History, _)) => sent[1] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sent, [800, 200]);
}

#[test]
fn control_added_behind_a_backlog_of_payloads_is_next() {
    let mut queue = small_queue();
    for number in 0..10 {
        let _ = add(&mut queue, Class::Payload, number);
    }
    let _ = next(&mut queue);
    let _ = add(&mut queue, Class::Control, 77);
    assert_eq!(next(&mut queue), Some((Class::Control, 77)));
    assert_eq!(next(&mut queue), Some((Class::Payload, 1)));
}

#[test]
fn small_items_of_control_and_announcements_go_between_pieces_and_no_others() {
    let mut queue = small_queue();
    for class in CLASSES {
        let _ = add(&mut queue, class, 0);
    }
    let _ = queue.enqueue(Class::Announce, item(1, TENTH + 1));
    let small = core::iter::from_fn(|| queue.dequeue_small(TENTH));
    let classes: Vec<Class> = small.map(|(class, _)| class).collect();
    assert_eq!(classes, [Class::Control, Class::Announce]);
    assert_eq!(queue.dequeue().map(|(class, _)| class), Some(Class::Announce));
}

#[test]
fn congestion_is_reported_once_until_less_than_a_quarter_is_in_use() {
    let mut queue = small_queue();
    let add_some = |queue: &mut LinkQueue<TestItem>, count: usize| -> Vec<usize> {
        (0..count)
            .filter(|number| add(queue, Class::Payload, *number) == EnqueueOutcome::Congested)
            .collect()
    };
    assert_eq!(add_some(&mut queue, 5), [0_usize; 0], "exactly a half is not more than a half");
    assert_eq!(add_some(&mut queue, 5), [0]);
    for _ in 0..7 {
        let _ = next(&mut queue);
    }
    assert_eq!(queue.bytes(Class::Payload), 300);
    assert_eq!(add_some(&mut queue, 7), [0_usize; 0], "never below a quarter");
    for _ in 0..8 {
        let _ = next(&mut queue);
    }
    assert_eq!(add_some(&mut queue, 8), [3]);
}

#[test]
fn exactly_a_quarter_in_use_does_not_end_the_congestion() {
    let mut queue = LinkQueue::new(QueueLimits { payload: 800, ..SMALL });
    let add_all = |queue: &mut LinkQueue<TestItem>| -> usize {
        let outcomes = core::iter::repeat_with(|| add(queue, Class::Payload, 0));
        let queued = outcomes.take_while(|outcome| outcome.is_queued());
        queued.filter(|outcome| *outcome == EnqueueOutcome::Congested).count()
    };
    assert_eq!(add_all(&mut queue), 1);
    for _ in 0..6 {
        let _ = next(&mut queue);
    }
    assert_eq!(queue.bytes(Class::Payload), 200);
    assert_eq!(add_all(&mut queue), 0);
}

/// Other classes must neither cause the report nor prevent its end: a backlog of items that are
/// never dropped would otherwise keep a link congested for ever.
#[test]
fn only_payloads_count_for_congestion() {
    let mut queue = small_queue();
    for class in [Class::Control, Class::Announce, Class::History, Class::Liveness, Class::Last] {
        for number in 0..10 {
            assert_eq!(add(&mut queue, class, number), EnqueueOutcome::Queued);
        }
    }
    let outcomes: Vec<EnqueueOutcome> =
        (0..6).map(|number| add(&mut queue, Class::Payload, number)).collect();
    assert_eq!(outcomes[4..], [EnqueueOutcome::Queued, EnqueueOutcome::Congested]);
}

/// A remote that is gone, and whose link has not ended yet, takes nothing.
#[test]
fn queue_without_a_reader_stays_within_its_bounds() {
    let mut queue = small_queue();
    for number in 0..10_000 {
        for class in CLASSES {
            let _ = add(&mut queue, class, number);
            assert!(queue.bytes(class) <= SMALL.of(class));
        }
    }
}

#[test]
fn tiny_items_count_with_their_overhead() {
    let mut queue = LinkQueue::default();
    let items = core::iter::repeat_with(|| queue.enqueue(Class::Announce, item(0, 0)));
    let queued = items.take_while(|outcome| *outcome == EnqueueOutcome::Queued).count();
    assert_eq!(queued, QUEUE_ANNOUNCE / ITEM_OVERHEAD);
}

/// Bytes that are added with an item and not removed with it would fill the queue for ever.
#[test]
fn emptied_queue_has_its_whole_bound_again() {
    let mut queue = small_queue();
    for round in 0..1000 {
        for class in CLASSES {
            let _ = queue.enqueue(class, item(round, round % 300));
            let _ = queue.enqueue(class, item(round, TENTH));
        }
        let _ = drain(&mut queue);
        assert!(queue.is_empty());
        assert!(CLASSES.iter().all(|class| queue.bytes(*class) == 0), "round {round}");
    }
    for class in CLASSES {
        assert!(queue.enqueue(class, item(0, 1000 - ITEM_OVERHEAD)).is_queued());
    }
}

#[test]
fn closing_link_accepts_nothing_and_sends_what_it_has() {
    let mut queue = small_queue();
    let _ = add(&mut queue, Class::Payload, 1);
    assert_eq!(queue.close(CloseReason::Leaving), CloseOutcome::SendsQueued);
    assert_eq!(queue.close(CloseReason::TooSlow), CloseOutcome::AlreadyClosed);
    assert_eq!(queue.closing(), Some(CloseReason::Leaving));
    for class in CLASSES {
        assert_eq!(add(&mut queue, class, 2), dropped(1, DropReason::LinkClosed));
    }
    assert_eq!(drain(&mut queue), [(Class::Payload, 1)]);
}

#[test]
fn ended_link_accepts_and_sends_nothing() {
    let mut queue = small_queue();
    let _ = add(&mut queue, Class::Control, 1);
    let _ = add(&mut queue, Class::Liveness, 2);
    assert_eq!(queue.end(), 2);
    assert_eq!(next(&mut queue), None);
    assert_eq!(add(&mut queue, Class::Control, 3), dropped(1, DropReason::LinkClosed));
    assert_eq!(queue.close(CloseReason::Idle), CloseOutcome::AlreadyClosed);
}

#[test]
fn link_closed_for_a_violation_drops_its_backlog() {
    for reason in [CloseReason::TooSlow, CloseReason::ProtocolViolation] {
        let mut queue = small_queue();
        let _ = add(&mut queue, Class::Payload, 1);
        assert_eq!(queue.close(reason), CloseOutcome::DropsQueued(1));
        assert_eq!(next(&mut queue), None);
    }
}

#[test]
fn standard_bounds_have_space_for_the_largest_frame_of_every_class() {
    let largest = crate::limits::MAX_FRAME + 4 + ITEM_OVERHEAD;
    for class in [Class::Control, Class::Payload, Class::History, Class::Last] {
        assert!(QueueLimits::STANDARD.of(class) / CONGESTED_ABOVE >= largest, "{class:?}");
    }
}
