//! A parent that is late, or sends nothing, is left.

use super::*;

#[test]
fn three_misses_in_a_row_change_the_parent() {
    let mut trees = trees_with_parent();
    let at = |n: u32| start() + MISS_INTERVAL * n;
    for n in 0..2 {
        assert_eq!(trees.on_first(P, Some(B), ArrivalKind::Pushed, at(n)), []);
    }
    // The parent sends one in between.
    assert_eq!(trees.on_first(P, Some(A), ArrivalKind::Pushed, at(2)), []);
    for (n, from) in [(3, B), (4, C)] {
        assert_eq!(trees.on_first(P, Some(from), ArrivalKind::Pushed, at(n)), []);
    }
    assert_eq!(trees.parent(&P), Some(A));
    assert_eq!(trees.on_first(P, Some(B), ArrivalKind::Pushed, at(5)), [graft(B), prune(A)]);
    assert_eq!(position(&trees), (Some(B), vec![D]));
    // The count starts again.
    assert_eq!(trees.on_first(P, Some(C), ArrivalKind::Pushed, at(6)), []);
}

#[test]
fn misses_in_short_intervals_count_as_one_also_for_pulled_batches() {
    let mut trees = trees_with_parent();
    for n in 0..100 {
        let now = start() + MISS_INTERVAL / 100 * n;
        assert_eq!(trees.on_first(P, Some(C), ArrivalKind::Pulled, now), []);
    }
    assert_eq!(trees.on_first(P, Some(C), ArrivalKind::Pulled, start() + MISS_INTERVAL), []);
    // The sender may have it from this peer's own subtree: the peer grafts on all neighbours.
    let actions = trees.on_first(P, Some(C), ArrivalKind::Pulled, start() + MISS_INTERVAL * 2);
    assert_eq!(actions, [A, B, C, D].map(graft));
    assert_eq!(trees.parent(&P), None);
}

#[test]
fn parent_with_three_pulled_batches_in_a_row_is_left() {
    let mut trees = trees_with_parent();
    let at = |n: u32| start() + MISS_INTERVAL * n;
    // A batch that the parent itself had to pull does not count.
    for n in 0..10 {
        assert_eq!(trees.on_first(P, Some(A), ArrivalKind::PulledUpstream, at(n)), []);
    }
    for n in 10..12 {
        assert_eq!(trees.on_first(P, Some(A), ArrivalKind::Pulled, at(n)), []);
    }
    assert_eq!(trees.on_first(P, Some(A), ArrivalKind::Pulled, at(12)), [A, B, C, D].map(graft));
}

#[test]
fn late_parent_is_left_for_the_neighbour_that_had_the_batches_before() {
    let mut trees = trees_with_parent();
    let at = |n: u32| start() + MISS_INTERVAL * n;
    assert_eq!(trees.on_first(P, Some(A), ArrivalKind::Pushed, at(0)), []);
    for n in 1..3 {
        assert_eq!(trees.on_first(P, Some(C), ArrivalKind::Pulled, at(n)), []);
    }
    assert_eq!(trees.on_first(P, Some(C), ArrivalKind::Pulled, at(3)), [graft(C), prune(A)]);
    // If that does not help, the peer grafts on all neighbours.
    for n in 4..6 {
        assert_eq!(trees.on_first(P, Some(B), ArrivalKind::Pulled, at(n)), []);
    }
    assert_eq!(trees.on_first(P, Some(B), ArrivalKind::Pulled, at(6)), [A, B, C, D].map(graft));
}

/// Each batch is pulled before the parent pushes it as well.
#[test]
fn parent_that_pushes_batches_after_they_were_pulled_is_left() {
    let mut trees = trees_with_parent();
    for n in 0..2 {
        let at = start() + LATE_BY * 3 * n;
        assert_eq!(trees.on_first(P, Some(C), ArrivalKind::Pulled, at), []);
        assert_eq!(trees.on_duplicate(P, A, ArrivalKind::Pushed, at + LATE_BY), None);
    }
    let at = start() + LATE_BY * 6;
    assert_eq!(trees.on_first(P, Some(C), ArrivalKind::Pulled, at), [graft(C), prune(A)]);
    // A parent that is only a little late stays.
    for n in 7..20 {
        let at = start() + LATE_BY * 3 * n;
        assert_eq!(trees.on_first(P, Some(D), ArrivalKind::Pulled, at), []);
        assert_eq!(trees.on_duplicate(P, C, ArrivalKind::Pushed, at + LATE_BY / 2), None);
    }
}

#[test]
fn batch_of_a_lost_parent_does_not_count_for_the_next_one() {
    let mut trees = trees_with_parent();
    let at = |n: u32| start() + MISS_INTERVAL * n;
    assert_eq!(trees.on_first(P, Some(A), ArrivalKind::Pushed, at(0)), []);
    assert_eq!(trees.link_down(A, at(1)), [B, C, D].map(graft));
    for n in 2..4 {
        assert_eq!(trees.on_first(P, Some(C), ArrivalKind::Pulled, at(n)), []);
    }
    assert_eq!(
        trees.on_first(P, Some(C), ArrivalKind::Pulled, at(4)),
        [B, C, D].map(graft),
        "again"
    );
}

/// In a cycle of parents, a census or an exploring batch comes from the parent as well, and so does
/// a batch that a peer of the cycle had to pull.
#[test]
fn only_batches_along_the_tree_count_as_pushed_by_the_parent_and_for_a_while() {
    let mut trees = trees_with_parent();
    let now = start() + LONG_AFTER;
    trees.on_first(P, Some(A), ArrivalKind::Exploring, now);
    trees.on_first(P, Some(A), ArrivalKind::PulledUpstream, now);
    for kind in [
        ArrivalKind::Exploring,
        ArrivalKind::Pulled,
        ArrivalKind::PulledUpstream,
        ArrivalKind::History,
    ] {
        assert_eq!(trees.on_duplicate(P, A, kind, now), None);
    }
    assert!(!trees.parent_pushes(&P, now));
    trees.on_first(P, Some(A), ArrivalKind::Pushed, now);
    assert!(trees.parent_pushes(&P, now + RECENT_BATCH / 2));
    assert!(!trees.parent_pushes(&P, now + RECENT_BATCH), "the cycle may have formed later");
}

#[test]
fn parent_that_sends_only_pulled_batches_is_grafted_on_again() {
    let mut trees = trees_with_parent();
    let at = |n: u32| start() + MISS_INTERVAL * n;
    assert_eq!(trees.on_first(P, Some(A), ArrivalKind::Pushed, at(0)), []);
    for n in 1..3 {
        assert_eq!(trees.on_first(P, Some(A), ArrivalKind::Pulled, at(n)), []);
    }
    assert_eq!(trees.on_first(P, Some(A), ArrivalKind::Pulled, at(3)), [graft(A)]);
    assert_eq!(trees.parent(&P), Some(A));
}

#[test]
fn parent_is_left_for_a_neighbour_that_announced_early_three_times_in_a_row() {
    let mut trees = trees_with_parent();
    let ahead =
        |trees: &mut Trees, neighbour, by| trees.on_announced_earlier(&P, neighbour, by, start());
    for _ in 0..2 {
        assert_eq!(ahead(&mut trees, B, LATE_BY), []);
    }
    assert_eq!(ahead(&mut trees, C, LATE_BY / 2), [], "the parent was in time");
    for _ in 0..2 {
        assert_eq!(ahead(&mut trees, B, LATE_BY), []);
    }
    assert_eq!(ahead(&mut trees, C, LATE_BY * 9), [graft(C), prune(A)]);
    assert_eq!(position(&trees), (Some(C), vec![D]));
}

#[test]
fn parent_that_was_first_in_between_is_not_late_three_times_in_a_row() {
    let mut trees = trees_with_parent();
    for _ in 0..9 {
        for _ in 0..2 {
            assert_eq!(trees.on_announced_earlier(&P, B, LATE_BY, start()), []);
        }
        trees.on_first_from(&P, A);
    }
    trees.on_first_from(&P, C);
    for _ in 0..2 {
        assert_eq!(trees.on_announced_earlier(&P, B, LATE_BY, start()), []);
    }
    assert_eq!(trees.on_announced_earlier(&P, B, LATE_BY, start()), [graft(B), prune(A)]);
}

#[test]
fn parent_is_not_left_for_a_child() {
    let mut trees = trees_with_parent();
    trees.on_graft(B, &tokens_of(&[P]), start());
    for neighbour in [A, B].repeat(9) {
        assert_eq!(
            trees.on_announced_earlier(&P, neighbour, LATE_BY, start()),
            [],
            "nor is it left for itself"
        );
    }
    let mut floods = Trees::new(ME, true);
    [A, B].iter().for_each(|n| drop(floods.link_up(*n, start())));
    floods.on_first(P, Some(A), ArrivalKind::Pushed, start());
    for _ in 0..9 {
        assert_eq!(floods.on_announced_earlier(&P, B, LATE_BY, start()), []);
    }
}

/// Each peer of a cycle has the next one as its parent. A batch that one of them pulls from outside
/// goes round.
#[test]
fn cycle_ends_although_pulled_batches_come_back_through_the_parent() {
    let mut trees = trees_with_parent();
    let at = |n: u32| start() + MISS_INTERVAL * n;
    for n in 0..2 {
        // This peer pulled it; then another peer of the cycle did.
        assert_eq!(trees.on_first(P, Some(C), ArrivalKind::Pulled, at(2 * n)), []);
        assert_eq!(trees.on_first(P, Some(A), ArrivalKind::PulledUpstream, at(2 * n + 1)), []);
    }
    assert_eq!(trees.on_first(P, Some(C), ArrivalKind::Pulled, at(4)), [A, B, C, D].map(graft));
}

#[test]
fn child_that_has_forgotten_its_graft_and_is_always_first_becomes_the_parent() {
    let mut trees = trees_with_parent();
    grafted(&mut trees, D, &tokens_of(&[P]), start());
    let at = |n: u32| start() + MISS_INTERVAL * n;
    for n in 0..2 {
        assert_eq!(trees.on_first(P, Some(D), ArrivalKind::Pushed, at(n)), []);
    }
    let actions = trees.on_first(P, Some(D), ArrivalKind::Pushed, at(2));
    assert_eq!(actions, [prune(D), graft(D), prune(A)]);
    assert_eq!(trees.parent(&P), Some(D));
}

#[test]
fn slightly_late_parent_stays_and_the_faster_neighbour_is_pruned() {
    let mut trees = trees_with_parent();
    let at = |n: u32| start() + MISS_INTERVAL * n;
    for n in 0..10 {
        assert_eq!(trees.on_first(P, Some(B), ArrivalKind::Pushed, at(n)), []);
        assert_eq!(duplicate(&mut trees, A, ArrivalKind::Pushed), Some(prune(B)), "{n}");
        assert_eq!(duplicate(&mut trees, A, ArrivalKind::Pushed), None, "pruned once");
    }
    // A neighbour that was pulled from has not pushed the batch.
    assert_eq!(trees.on_first(P, Some(C), ArrivalKind::Pulled, at(10)), []);
    assert_eq!(duplicate(&mut trees, A, ArrivalKind::Pushed), None);
    assert_eq!(position(&trees), (Some(A), vec![D]));
}
