//! The queue compared with a plain model, over random steps.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::tests::{CLASSES, TestItem};
use super::*;

/// Small and unequal bounds, so that all of them are reached, and none is mistaken for another.
const LIMITS: QueueLimits =
    QueueLimits { liveness: 500, control: 1500, announce: 700, payload: 1100, history: 900 };

#[derive(Debug, Clone)]
enum QueueStep {
    Enqueue(Class, usize),
    DequeueUrgent,
    Dequeue,
    DequeueSmall(usize),
}

fn any_step() -> impl Strategy<Value = QueueStep> {
    let class = || proptest::sample::select(&CLASSES[..]);
    // Most items are small; a few are larger than any bound.
    let size = prop_oneof![9 => 0usize..200, 1 => 200usize..2000];
    prop_oneof![
        8 => (class(), size).prop_map(|(class, size)| QueueStep::Enqueue(class, size)),
        1 => Just(QueueStep::DequeueUrgent),
        6 => Just(QueueStep::Dequeue),
        1 => (0usize..200).prop_map(QueueStep::DequeueSmall),
    ]
}

/// The items of all classes, each in a plain list, and what is known of every item.
#[derive(Default)]
struct Model {
    queued: [VecDeque<TestItem>; CLASSES.len()],
    /// Numbers of all items added so far.
    added: usize,
    dequeued: u64,
    dropped: u64,
    /// Payloads in a row that were dequeued while history waited.
    payloads_in_a_row: u32,
    was_congested: bool,
}

impl Model {
    fn list(&mut self, class: Class) -> &mut VecDeque<TestItem> {
        &mut self.queued[class as usize]
    }

    fn bytes(&self, class: Class) -> usize {
        self.queued[class as usize].iter().map(|item| item.size + ITEM_OVERHEAD).sum()
    }

    fn has(&self, class: Class) -> bool {
        !self.queued[class as usize].is_empty()
    }

    fn check_enqueue(&mut self, class: Class, item: TestItem, outcome: EnqueueOutcome) {
        let (limit, cost) = (LIMITS.of(class), item.size + ITEM_OVERHEAD);
        let fits = self.bytes(class) + cost <= limit;
        match outcome {
            EnqueueOutcome::Queued | EnqueueOutcome::Congested => {
                assert!(fits);
                self.list(class).push_back(item);
                let congested =
                    class == Class::Payload && self.bytes(class) > LIMITS.payload / CONGESTED_ABOVE;
                let is_new = congested && !self.was_congested;
                assert_eq!(outcome == EnqueueOutcome::Congested, is_new);
                self.was_congested |= congested;
            }
            EnqueueOutcome::Dropped { items, reason: DropReason::Oldest } => {
                assert!(matches!(class, Class::Liveness | Class::Announce) && !fits && items > 0);
                for _ in 0..items {
                    assert!(self.bytes(class) + cost > limit, "more dropped than needed");
                    assert!(self.list(class).pop_front().is_some());
                }
                self.dropped += items;
                self.list(class).push_back(item);
            }
            EnqueueOutcome::Dropped { items, reason } => {
                assert_eq!(items, 1);
                assert!(!fits && !matches!(class, Class::Control | Class::Last));
                assert_eq!(reason == DropReason::TooLarge, cost > limit);
                assert_ne!(reason, DropReason::LinkClosed);
                self.dropped += 1;
            }
            EnqueueOutcome::Overflow => {
                assert!(!fits && matches!(class, Class::Control | Class::Last));
                self.dropped += 1;
            }
        }
    }

    /// Checks that an item was the next one of its class.
    fn check_is_first(&mut self, class: Class, item: TestItem) {
        assert_eq!(self.list(class).pop_front(), Some(item), "{class:?}");
        self.dequeued += 1;
        if class == Class::Payload && self.bytes(class) < LIMITS.payload / RELIEVED_BELOW {
            self.was_congested = false;
        }
    }

    fn check_dequeue(&mut self, next: Option<(Class, TestItem)>) {
        let waits: Vec<Class> = CLASSES[1..].iter().copied().filter(|c| self.has(*c)).collect();
        let Some((class, item)) = next else {
            assert_eq!(waits, []);
            return;
        };
        let both_wait = self.has(Class::Payload) && self.has(Class::History);
        if class == Class::History && both_wait {
            assert!(!self.has(Class::Control) && !self.has(Class::Announce));
            assert_eq!(self.payloads_in_a_row, HISTORY_SHARE - 1, "not yet the turn of history");
        } else {
            assert_eq!(Some(&class), waits.first(), "the most urgent class is first");
        }
        match class {
            Class::History => self.payloads_in_a_row = 0,
            // The last payload before history alone is left counts nothing for its share.
            Class::Last => self.payloads_in_a_row = 0,
            Class::Payload if both_wait => {
                self.payloads_in_a_row += 1;
                assert!(self.payloads_in_a_row < HISTORY_SHARE, "history waits too long");
            }
            _ => {}
        }
        self.check_is_first(class, item);
    }

    /// Every item is queued, was dequeued, or was reported as dropped; and the bounds hold.
    fn check_totals(&self, queue: &LinkQueue<TestItem>) {
        let queued: usize = self.queued.iter().map(VecDeque::len).sum();
        assert_eq!(self.added as u64, queued as u64 + self.dequeued + self.dropped);
        for class in CLASSES {
            assert_eq!(queue.bytes(class), self.bytes(class), "{class:?}");
            assert!(queue.bytes(class) <= LIMITS.of(class), "{class:?}");
        }
        assert_eq!(queue.is_empty(), queued == 0);
        assert_eq!(queue.is_waiting(), CLASSES[1..].iter().any(|class| self.has(*class)));
    }

    fn step(&mut self, queue: &mut LinkQueue<TestItem>, step: &QueueStep) {
        match *step {
            QueueStep::Enqueue(class, size) => {
                let item = TestItem { number: self.added, size };
                self.added += 1;
                let outcome = queue.enqueue(class, item);
                self.check_enqueue(class, item, outcome);
            }
            QueueStep::DequeueUrgent => match queue.dequeue_urgent() {
                Some(item) => self.check_is_first(Class::Liveness, item),
                None => assert!(!self.has(Class::Liveness)),
            },
            QueueStep::Dequeue => self.check_dequeue(queue.dequeue()),
            QueueStep::DequeueSmall(most) => {
                let is_small = |item: &&TestItem| item.size <= most;
                let small = [Class::Control, Class::Announce].into_iter().find_map(|class| {
                    self.queued[class as usize].front().filter(is_small).map(|i| (class, *i))
                });
                assert_eq!(queue.dequeue_small(most), small);
                if let Some((class, item)) = small {
                    self.check_is_first(class, item);
                }
            }
        }
        self.check_totals(queue);
    }
}

proptest! {
    #[test]
    fn queue_behaves_as_its_model_and_loses_no_item_without_an_outcome(
        steps in proptest::collection::vec(any_step(), 1..400),
        end in any::<bool>(),
    ) {
        let mut queue = LinkQueue::new(LIMITS);
        let mut model = Model::default();
        for step in &steps {
            model.step(&mut queue, step);
        }
        let queued: usize = model.queued.iter().map(VecDeque::len).sum();
        if end {
            prop_assert_eq!(queue.end(), queued as u64);
        } else {
            let dequeued = core::iter::from_fn(|| {
                queue.dequeue_urgent().or_else(|| queue.dequeue().map(|(_, item)| item))
            });
            prop_assert_eq!(dequeued.count(), queued);
        }
        prop_assert!(queue.is_empty());
    }
}
