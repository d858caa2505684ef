use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::random::Stream;

const fn peer(n: u8) -> PeerId {
    PeerId::from_bytes([n; 32])
}

const ME: PeerId = peer(1);
const A: PeerId = peer(2);
const B: PeerId = peer(3);
const C: PeerId = peer(4);
const D: PeerId = peer(5);
/// A publisher.
const P: PeerId = peer(9);
/// Long after everything before it: no batch of then is recent.
const LATER: Duration = Duration::from_secs(60);

fn start() -> Time {
    Time::ZERO + LATER
}

/// Somebody among very many.
fn one_of_many(n: usize) -> PeerId {
    let mut bytes = [77; 32];
    bytes[..8].copy_from_slice(&(n as u64 + 1).to_le_bytes());
    PeerId::from_bytes(bytes)
}

fn these(of: &[PeerId]) -> Vec<u64> {
    of.iter().map(ack_token).collect()
}

fn graft(to: PeerId) -> Act {
    Act::Graft { to, publishers: these(&[P]), recent: vec![P] }
}

/// On who sends already.
fn hang_on(to: PeerId) -> Act {
    Act::Graft { to, publishers: these(&[P]), recent: vec![] }
}

fn prune(to: PeerId) -> Act {
    Act::Prune { to, publishers: these(&[P]) }
}

/// This peer with four neighbours.
fn with_neighbours() -> Trees {
    let mut trees = Trees::new(ME, false);
    for n in [A, B, C, D] {
        assert_eq!(trees.link_up(n, start()), []);
    }
    trees
}

/// It gets P's batches from A and sends them on to D; B and C get them from elsewhere.
fn on_a_tree() -> Trees {
    let mut trees = with_neighbours();
    assert_eq!(trees.received(P, Some(A), Way::Pushed, start()), [hang_on(A)]);
    for n in [B, C] {
        assert_eq!(again(&mut trees, n, Way::Pushed), None);
    }
    trees
}

fn again(trees: &mut Trees, from: PeerId, way: Way) -> Option<Act> {
    trees.repeated(P, from, way, start())
}

fn grafted(trees: &mut Trees, from: PeerId, publishers: &[u64], now: Time) -> Vec<Act> {
    trees.on_graft(from, publishers, now).1
}

fn place(trees: &Trees) -> (Option<PeerId>, Vec<PeerId>) {
    (trees.parent(&P), trees.children(&P))
}

#[test]
fn what_is_not_known_is_flooded_and_the_link_of_the_first_batch_leads_to_the_parent() {
    let mut trees = with_neighbours();
    assert_eq!(place(&trees), (None, vec![A, B, C, D]));
    assert_eq!(trees.received(P, Some(A), Way::Pushed, start()), [hang_on(A)]);
    assert_eq!(place(&trees), (Some(A), vec![B, C, D]));
    assert!(trees.is_child(&B, &P) && !trees.is_child(&A, &P) && !trees.is_child(&peer(7), &P));
    // Other trees are others.
    assert_eq!((trees.parent(&B), trees.children(&B)), (None, vec![A, C, D]));
    assert!(!trees.is_child(&B, &B), "it has its own");
}

#[test]
fn link_that_brings_a_batch_again_becomes_lazy_without_a_word_and_is_pruned_the_next_time() {
    let mut trees = with_neighbours();
    trees.received(P, Some(A), Way::Pushed, start());
    assert_eq!(again(&mut trees, B, Way::Pushed), None);
    assert_eq!(place(&trees), (Some(A), vec![C, D]));
    assert_eq!(again(&mut trees, B, Way::Pushed), Some(prune(B)));
    assert_eq!(again(&mut trees, C, Way::Explores), None);
    assert_eq!(
        place(&trees),
        (Some(A), vec![D]),
        "of what explores as well, each has got the other's copy"
    );
    assert_eq!(again(&mut trees, C, Way::Explores), None, "it goes over lazy links as well");
    // The publisher needs none of its batches from here, and does not know that it is not needed.
    trees.link_up(P, start());
    assert_eq!(again(&mut trees, P, Way::Pushed), Some(prune(P)));
    // Of whom nothing is known, and from whom is no neighbour.
    assert_eq!(trees.repeated(C, B, Way::Pushed, start()), None);
    assert_eq!(again(&mut trees, peer(7), Way::Pushed), None);
}

#[test]
fn who_has_grafted_and_brings_a_batch_again_is_pruned_and_goes_on_to_get_them() {
    let mut trees = on_a_tree();
    assert_eq!(grafted(&mut trees, B, &these(&[P]), start()), []);
    assert_eq!(again(&mut trees, B, Way::Pushed), Some(prune(B)));
    assert_eq!(place(&trees), (Some(A), vec![B, D]));
}

#[test]
fn who_prunes_is_told_by_announcements() {
    let mut trees = on_a_tree();
    trees.on_prune(D, &these(&[C, P]));
    assert_eq!(place(&trees), (Some(A), vec![]));
    grafted(&mut trees, B, &these(&[P]), start());
    assert_eq!(place(&trees), (Some(A), vec![B]));
    trees.on_prune(B, &these(&[P]));
    assert_eq!(place(&trees), (Some(A), vec![]));
}

#[test]
fn exploring_moves_the_parent() {
    let mut trees = on_a_tree();
    let now = start() + LATER;
    assert_eq!(trees.received(P, Some(B), Way::Explores, now), [graft(B), prune(A)]);
    assert_eq!(place(&trees), (Some(B), vec![D]));
    assert_eq!(trees.received(P, Some(B), Way::Explores, now + LATER), [], "it stays");
    assert_eq!(again(&mut trees, A, Way::Explores), None);
}

#[test]
fn exploring_is_not_followed_too_often() {
    let mut trees = with_neighbours();
    assert!(trees.may_explore(&P, start()));
    trees.received(P, Some(A), Way::Explores, start());
    assert!(!trees.may_explore(&P, start() + EXPLORE_EVERY / 2));
    assert!(trees.may_explore(&B, start()), "another publisher's");
    // Others do not put it off.
    trees.received(P, Some(A), Way::Pushed, start() + EXPLORE_EVERY / 2);
    assert!(trees.may_explore(&P, start() + EXPLORE_EVERY));
}

#[test]
fn three_misses_in_a_row_move_the_parent() {
    let mut trees = on_a_tree();
    let at = |n: u32| start() + MISS_EVERY * n;
    for n in 0..2 {
        assert_eq!(trees.received(P, Some(B), Way::Pushed, at(n)), []);
    }
    // The parent brings one in between.
    assert_eq!(trees.received(P, Some(A), Way::Pushed, at(2)), []);
    for (n, from) in [(3, B), (4, C)] {
        assert_eq!(trees.received(P, Some(from), Way::Pushed, at(n)), []);
    }
    assert_eq!(trees.parent(&P), Some(A));
    assert_eq!(trees.received(P, Some(B), Way::Pushed, at(5)), [graft(B), prune(A)]);
    assert_eq!(place(&trees), (Some(B), vec![D]));
    // The count begins anew.
    assert_eq!(trees.received(P, Some(C), Way::Pushed, at(6)), []);
}

#[test]
fn misses_in_short_intervals_count_as_one_also_what_was_pulled() {
    let mut trees = on_a_tree();
    for n in 0..100 {
        let now = start() + MISS_EVERY / 100 * n;
        assert_eq!(trees.received(P, Some(C), Way::Pulled, now), []);
    }
    assert_eq!(trees.received(P, Some(C), Way::Pulled, start() + MISS_EVERY), []);
    // Who had it may have it from somebody behind this peer: everybody is asked.
    let moves = trees.received(P, Some(C), Way::Pulled, start() + MISS_EVERY * 2);
    assert_eq!(moves, [A, B, C, D].map(graft));
    assert_eq!(trees.parent(&P), None);
}

#[test]
fn parent_that_has_to_be_asked_three_times_in_a_row_is_left() {
    let mut trees = on_a_tree();
    let at = |n: u32| start() + MISS_EVERY * n;
    // What it had to ask for itself says nothing of it.
    for n in 0..10 {
        assert_eq!(trees.received(P, Some(A), Way::PassedOn, at(n)), []);
    }
    for n in 10..12 {
        assert_eq!(trees.received(P, Some(A), Way::Pulled, at(n)), []);
    }
    assert_eq!(trees.received(P, Some(A), Way::Pulled, at(12)), [A, B, C, D].map(graft));
}

#[test]
fn parent_that_sends_too_late_is_left_for_the_one_that_had_it_before() {
    let mut trees = on_a_tree();
    let at = |n: u32| start() + MISS_EVERY * n;
    assert_eq!(trees.received(P, Some(A), Way::Pushed, at(0)), []);
    for n in 1..3 {
        assert_eq!(trees.received(P, Some(C), Way::Pulled, at(n)), []);
    }
    assert_eq!(trees.received(P, Some(C), Way::Pulled, at(3)), [graft(C), prune(A)]);
    // If that does not help, everybody is asked.
    for n in 4..6 {
        assert_eq!(trees.received(P, Some(B), Way::Pulled, at(n)), []);
    }
    assert_eq!(trees.received(P, Some(B), Way::Pulled, at(6)), [A, B, C, D].map(graft));
}

/// Each batch is pulled before the parent sends it as well.
#[test]
fn parent_whose_batches_come_after_they_were_pulled_is_left() {
    let mut trees = on_a_tree();
    for n in 0..2 {
        let at = start() + LATE * 3 * n;
        assert_eq!(trees.received(P, Some(C), Way::Pulled, at), []);
        assert_eq!(trees.repeated(P, A, Way::Pushed, at + LATE), None);
    }
    let at = start() + LATE * 6;
    assert_eq!(trees.received(P, Some(C), Way::Pulled, at), [graft(C), prune(A)]);
    // One that was only a little late stays.
    for n in 7..20 {
        let at = start() + LATE * 3 * n;
        assert_eq!(trees.received(P, Some(D), Way::Pulled, at), []);
        assert_eq!(trees.repeated(P, C, Way::Pushed, at + LATE / 2), None);
    }
}

#[test]
fn what_a_parent_sent_before_it_was_lost_says_nothing_of_the_next_way() {
    let mut trees = on_a_tree();
    let at = |n: u32| start() + MISS_EVERY * n;
    assert_eq!(trees.received(P, Some(A), Way::Pushed, at(0)), []);
    assert_eq!(trees.link_down(A, at(1)), [B, C, D].map(graft));
    for n in 2..4 {
        assert_eq!(trees.received(P, Some(C), Way::Pulled, at(n)), []);
    }
    assert_eq!(trees.received(P, Some(C), Way::Pulled, at(4)), [B, C, D].map(graft), "again");
}

/// In a cycle of parents, a census or a batch over all links comes from the parent as well, and so does what somebody
/// of the cycle had to ask for.
#[test]
fn parent_brings_what_comes_along_the_tree_and_for_a_while() {
    let mut trees = on_a_tree();
    let now = start() + LATER;
    trees.received(P, Some(A), Way::Explores, now);
    trees.received(P, Some(A), Way::PassedOn, now);
    for way in [Way::Explores, Way::Pulled, Way::PassedOn, Way::History] {
        assert_eq!(trees.repeated(P, A, way, now), None);
    }
    assert!(!trees.parent_brings(&P, now));
    trees.received(P, Some(A), Way::Pushed, now);
    assert!(trees.parent_brings(&P, now + RECENT / 2));
    assert!(!trees.parent_brings(&P, now + RECENT), "the cycle may be of later");
}

#[test]
fn parent_that_sends_only_what_it_is_asked_for_is_grafted_on_again() {
    let mut trees = on_a_tree();
    let at = |n: u32| start() + MISS_EVERY * n;
    assert_eq!(trees.received(P, Some(A), Way::Pushed, at(0)), []);
    for n in 1..3 {
        assert_eq!(trees.received(P, Some(A), Way::Pulled, at(n)), []);
    }
    assert_eq!(trees.received(P, Some(A), Way::Pulled, at(3)), [graft(A)]);
    assert_eq!(trees.parent(&P), Some(A));
}

#[test]
fn parent_is_left_for_one_that_was_clearly_ahead_three_times_in_a_row() {
    let mut trees = on_a_tree();
    let ahead = |trees: &mut Trees, who, by| trees.announced_earlier(&P, who, by, start());
    for _ in 0..2 {
        assert_eq!(ahead(&mut trees, B, LATE), []);
    }
    assert_eq!(ahead(&mut trees, C, LATE / 2), [], "that is as good");
    for _ in 0..2 {
        assert_eq!(ahead(&mut trees, B, LATE), []);
    }
    assert_eq!(ahead(&mut trees, C, LATE * 9), [graft(C), prune(A)]);
    assert_eq!(place(&trees), (Some(C), vec![D]));
}

#[test]
fn parent_that_was_first_meanwhile_was_not_late_three_times_in_a_row() {
    let mut trees = on_a_tree();
    for _ in 0..9 {
        for _ in 0..2 {
            assert_eq!(trees.announced_earlier(&P, B, LATE, start()), []);
        }
        trees.was_first(&P, A);
    }
    trees.was_first(&P, C);
    for _ in 0..2 {
        assert_eq!(trees.announced_earlier(&P, B, LATE, start()), []);
    }
    assert_eq!(trees.announced_earlier(&P, B, LATE, start()), [graft(B), prune(A)]);
}

#[test]
fn parent_is_not_left_for_one_that_waits_for_this_peer() {
    let mut trees = on_a_tree();
    trees.on_graft(B, &these(&[P]), start());
    for who in [A, B].repeat(9) {
        assert_eq!(
            trees.announced_earlier(&P, who, LATE, start()),
            [],
            "nor is it left for itself"
        );
    }
    let mut floods = Trees::new(ME, true);
    [A, B].iter().for_each(|n| drop(floods.link_up(*n, start())));
    floods.received(P, Some(A), Way::Pushed, start());
    for _ in 0..9 {
        assert_eq!(floods.announced_earlier(&P, B, LATE, start()), []);
    }
}

/// Each of them takes the next one for its parent. What one of them pulls from elsewhere goes round to all.
#[test]
fn cycle_ends_though_what_is_pulled_comes_back_through_the_parent() {
    let mut trees = on_a_tree();
    let at = |n: u32| start() + MISS_EVERY * n;
    for n in 0..2 {
        // This peer pulled it; then another one of the cycle did.
        assert_eq!(trees.received(P, Some(C), Way::Pulled, at(2 * n)), []);
        assert_eq!(trees.received(P, Some(A), Way::PassedOn, at(2 * n + 1)), []);
    }
    assert_eq!(trees.received(P, Some(C), Way::Pulled, at(4)), [A, B, C, D].map(graft));
}

#[test]
fn who_has_forgotten_that_it_waits_and_is_always_first_becomes_the_parent() {
    let mut trees = on_a_tree();
    grafted(&mut trees, D, &these(&[P]), start());
    let at = |n: u32| start() + MISS_EVERY * n;
    for n in 0..2 {
        assert_eq!(trees.received(P, Some(D), Way::Pushed, at(n)), []);
    }
    let acts = trees.received(P, Some(D), Way::Pushed, at(2));
    assert_eq!(acts, [prune(D), graft(D), prune(A)]);
    assert_eq!(trees.parent(&P), Some(D));
}

#[test]
fn parent_that_was_only_late_stays_and_the_other_need_not_send_it() {
    let mut trees = on_a_tree();
    let at = |n: u32| start() + MISS_EVERY * n;
    for n in 0..10 {
        assert_eq!(trees.received(P, Some(B), Way::Pushed, at(n)), []);
        assert_eq!(again(&mut trees, A, Way::Pushed), Some(prune(B)), "{n}");
        assert_eq!(again(&mut trees, A, Way::Pushed), None, "told once");
    }
    // Who was asked for it has not sent it of itself.
    assert_eq!(trees.received(P, Some(C), Way::Pulled, at(10)), []);
    assert_eq!(again(&mut trees, A, Way::Pushed), None);
    assert_eq!(place(&trees), (Some(A), vec![D]));
}

#[test]
fn who_loses_the_link_to_the_parent_grafts_on_everybody() {
    let mut trees = on_a_tree();
    assert_eq!(trees.link_down(D, start()), [], "it brings nothing");
    assert_eq!(trees.link_down(A, start()), [graft(B), graft(C)]);
    assert_eq!(place(&trees), (None, vec![]));
    assert_eq!(trees.link_down(A, start()), [], "it is gone already");
    // Nothing is missing of whom nothing came lately.
    let mut trees = on_a_tree();
    let quiet = |to| Act::Graft { to, publishers: these(&[P]), recent: vec![] };
    assert_eq!(trees.link_down(A, start() + RECENT), [B, C, D].map(quiet));
}

#[test]
fn many_trees_are_named_in_several_frames() {
    let named = |acts: &[Act], who| -> Vec<(usize, usize)> {
        let of = |act: &Act| match act {
            Act::Graft { to, publishers, recent } if *to == who => {
                Some((publishers.len(), recent.len()))
            }
            Act::Prune { to, publishers } if *to == who => Some((publishers.len(), 0)),
            _ => None,
        };
        acts.iter().filter_map(of).collect()
    };
    let mut trees = with_neighbours();
    for n in 0..MAX_GRAFTED + 1 {
        trees.received(one_of_many(n), Some(A), Way::Pushed, start());
    }
    assert_eq!(named(&trees.link_up(peer(6), start()), peer(6)), [(MAX_GRAFTED, 0), (1, 0)]);
    let acts = trees.link_down(A, start());
    for who in [B, C, D, peer(6)] {
        assert_eq!(named(&acts, who), [(MAX_GRAFTED, MAX_GRAFTED), (1, 1)]);
    }
    assert_eq!(acts.len(), 8);
}

#[test]
fn graft_of_the_parent_is_a_loss_and_that_of_a_child_is_none() {
    let mut trees = on_a_tree();
    assert_eq!(grafted(&mut trees, D, &these(&[P]), start()), []);
    assert_eq!(grafted(&mut trees, A, &these(&[C]), start()), [], "another's tree");
    let acts = grafted(&mut trees, A, &these(&[C, P]), start());
    assert_eq!(acts, [A, B, C, D].map(graft), "the one that has lost its way among them");
    assert_eq!(place(&trees), (None, vec![A, D]));
    assert_eq!(grafted(&mut trees, A, &these(&[P]), start()), [], "once");
}

#[test]
fn first_batch_after_a_loss_leaves_one_link() {
    let mut trees = on_a_tree();
    trees.link_down(A, start());
    let acts = trees.received(P, Some(C), Way::Pushed, start());
    assert_eq!(acts, [hang_on(C), prune(B), prune(D)]);
    assert_eq!(place(&trees), (Some(C), vec![D]));
    // What was asked for shows no way.
    let mut trees = on_a_tree();
    trees.link_down(A, start());
    assert_eq!(trees.received(P, Some(C), Way::Pulled, start()), []);
    assert_eq!(trees.parent(&P), None);
}

#[test]
fn new_neighbour_need_not_send_what_is_followed_and_is_to_send_what_is_lost() {
    let mut trees = on_a_tree();
    let now = start();
    // Of its own trees a publisher follows nobody.
    trees.received(ME, None, Way::Pushed, now);
    trees.received(B, Some(B), Way::Pushed, now);
    trees.link_down(B, now);
    let new = peer(6);
    let lost = Act::Graft { to: new, publishers: these(&[B]), recent: vec![B] };
    let followed = Act::Prune { to: new, publishers: these(&[ME, P]) };
    assert_eq!(trees.link_up(new, now), [followed, lost]);
    // Until it says otherwise it gets everything.
    assert!(trees.is_child(&new, &P) && trees.is_child(&new, &ME) && trees.is_child(&new, &B));
}

#[test]
fn neighbour_in_the_place_of_another_inherits_nothing() {
    let mut trees = on_a_tree();
    grafted(&mut trees, B, &these(&[P]), start());
    trees.received(P, Some(C), Way::Pushed, start());
    for gone in [B, C] {
        trees.link_down(gone, start());
    }
    for new in [peer(6), peer(7)] {
        trees.link_up(new, start());
        assert!(trees.is_child(&new, &P));
        assert_eq!(again(&mut trees, new, Way::Pushed), None, "it has not grafted");
    }
    assert_eq!(again(&mut trees, A, Way::Pushed), None, "it was not the one that was faster");
}

#[test]
fn parent_without_a_sign_of_life_is_left_until_it_brings_something() {
    let mut trees = on_a_tree();
    assert_eq!(trees.suspect(D, start()), [], "it brings nothing");
    assert_eq!(trees.suspect(A, start()), [A, B, C, D].map(graft));
    assert_eq!(place(&trees), (None, vec![D]));
    assert_eq!(trees.suspect(A, start()), [], "it is left already");
    let acts = trees.received(P, Some(B), Way::Pushed, start());
    assert_eq!(acts, [hang_on(B), prune(A), prune(C), prune(D)]);
    assert_eq!(place(&trees), (Some(B), vec![D]));
    let mut trees = on_a_tree();
    trees.suspect(A, start());
    let acts = trees.received(P, Some(A), Way::Pushed, start());
    assert_eq!(acts, [hang_on(A), prune(B), prune(C), prune(D)]);
    assert_eq!(place(&trees), (Some(A), vec![D]));
}

#[test]
fn who_waits_for_batches_from_here_does_not_become_the_parent() {
    let mut trees = on_a_tree();
    trees.link_down(A, start());
    grafted(&mut trees, B, &these(&[P]), start());
    // It was sent before the graft, which overtook it.
    for way in [Way::Pushed, Way::Explores] {
        assert_eq!(trees.received(P, Some(B), way, start()), []);
        assert_eq!(trees.parent(&P), None);
    }
    // It has found a way.
    trees.on_prune(B, &these(&[P]));
    let acts = trees.received(P, Some(B), Way::Pushed, start());
    assert_eq!(acts, [hang_on(B), prune(C), prune(D)]);
    assert_eq!(trees.parent(&P), Some(B));
}

#[test]
fn who_seems_to_have_forgotten_that_it_waits_is_asked_anew() {
    let mut trees = on_a_tree();
    trees.link_down(A, start());
    grafted(&mut trees, B, &these(&[P]), start());
    let at = |n: u32| start() + MISS_EVERY * n;
    for n in 0..2 {
        assert_eq!(trees.received(P, Some(B), Way::Pushed, at(n)), []);
    }
    let acts = trees.received(P, Some(B), Way::Pushed, at(2));
    assert_eq!(acts, [prune(B), hang_on(B), prune(C), prune(D)]);
    // Of two that wait for each other, the one that is asked says so.
    let mut other = on_a_tree();
    other.link_down(A, start());
    assert_eq!(grafted(&mut other, B, &these(&[P]), start()), [graft(B)]);
    assert_eq!(grafted(&mut other, B, &these(&[P]), start()), []);
    other.on_prune(B, &these(&[P]));
    assert_eq!(grafted(&mut other, B, &these(&[P]), start()), [graft(B)]);
}

/// What had to be pulled before says nothing of that.
#[test]
fn parent_that_has_lost_its_way_is_not_taken_again_for_what_was_missed_before() {
    let mut trees = on_a_tree();
    let at = |n: u32| start() + MISS_EVERY * n;
    for n in 0..2 {
        trees.received(P, Some(C), Way::Pulled, at(n));
    }
    grafted(&mut trees, A, &these(&[P]), at(2));
    // It was sent before the graft, which overtook it.
    assert_eq!(trees.received(P, Some(A), Way::Pushed, at(3)), []);
    assert_eq!(trees.parent(&P), None);
}

#[test]
fn who_sends_what_is_not_needed_is_told_now_and_then_and_again_after_a_graft() {
    let mut trees = on_a_tree();
    let now = start() + LATER;
    let told = |trees: &mut Trees, from, after| {
        trees.repeated(P, from, Way::Pushed, now + after).is_some()
    };
    let at = |n| TELL_EVERY / 4 * n;
    assert_eq!(
        [0, 1, 2, 3, 4, 5].map(|n| told(&mut trees, B, at(n))),
        [true, false, false, false, true, false]
    );
    assert!(told(&mut trees, C, at(6)), "another one");
    // What was to close a hole is none of that.
    assert_eq!(trees.repeated(P, B, Way::History, now + LATER), None);
    trees.suspect(A, now + at(6));
    trees.received(P, Some(A), Way::Pushed, now + at(6));
    let acts = trees.received(P, Some(B), Way::Explores, now + LATER);
    assert_eq!(acts, [graft(B), prune(A)]);
    let acts = trees.received(P, Some(A), Way::Explores, now + LATER);
    assert_eq!(acts, [graft(A), prune(B)], "though it was told to go on just now");
}

#[test]
fn batch_from_history_changes_nothing() {
    let mut trees = with_neighbours();
    for (pulled, explores) in [(false, false), (false, true), (true, false), (true, true)] {
        assert_eq!(Way::of(RECENT, pulled, true, explores), Way::History);
    }
    assert_eq!(Way::of(RECENT / 2, true, true, false), Way::Pulled);
    assert_eq!(Way::of(RECENT / 2, true, false, true), Way::PassedOn);
    assert_eq!(Way::of(RECENT / 2, false, false, true), Way::Explores);
    assert_eq!(Way::of(RECENT / 2, false, false, false), Way::Pushed);
    assert_eq!(trees.received(P, Some(B), Way::History, start()), []);
    assert!(trees.views().is_empty());
    let mut trees = on_a_tree();
    for n in 0..10 {
        assert_eq!(trees.received(P, Some(B), Way::History, start() + MISS_EVERY * n), []);
    }
    assert_eq!(place(&trees), (Some(A), vec![D]));
    trees.link_down(A, start());
    assert_eq!(trees.received(P, Some(B), Way::History, start()), []);
    assert_eq!(trees.parent(&P), None);
}

#[test]
fn who_had_to_ask_for_the_first_batch_gets_the_next_one_from_everybody() {
    let mut trees = with_neighbours();
    let acts = trees.received(P, Some(B), Way::Pulled, start());
    assert_eq!(acts, [A, B, C, D].map(graft), "some may know a place that it has forgotten");
    assert_eq!(place(&trees), (None, vec![A, B, C, D]));
    let acts = trees.received(P, Some(C), Way::Pushed, start());
    assert_eq!(acts, [hang_on(C), prune(A), prune(B), prune(D)]);
    assert_eq!(place(&trees), (Some(C), vec![A, B, D]));
}

#[test]
fn publisher_is_the_root_of_its_own_tree() {
    let mut trees = with_neighbours();
    assert_eq!(trees.received(ME, None, Way::Explores, start()), []);
    assert_eq!((trees.parent(&ME), trees.children(&ME)), (None, vec![A, B, C, D]));
    // A batch of its earlier process, from somebody else.
    assert_eq!(trees.received(ME, Some(A), Way::Pulled, start()), []);
    trees.on_prune(A, &these(&[ME]));
    assert_eq!(trees.repeated(ME, B, Way::Pushed, start()), None);
    assert_eq!((trees.parent(&ME), trees.children(&ME)), (None, vec![B, C, D]));
    // Without a parent it is not lost.
    assert_eq!(trees.link_down(B, start()), []);
    assert_eq!(grafted(&mut trees, A, &these(&[ME]), start()), []);
    assert_eq!(trees.suspect(C, start()), []);
}

#[test]
fn who_brings_a_batch_again_is_not_asked_to_stop_where_everything_is_flooded() {
    let mut trees = Trees::new(ME, true);
    for n in [A, B] {
        trees.link_up(n, start());
    }
    trees.received(P, Some(A), Way::Pushed, start());
    for _ in 0..3 {
        assert_eq!(again(&mut trees, B, Way::Pushed), None);
        assert_eq!(trees.received(P, Some(B), Way::Pushed, start()), []);
        assert_eq!(again(&mut trees, A, Way::Pushed), None);
    }
    assert_eq!(place(&trees), (Some(A), vec![]), "acknowledgements go by the trees");
}

#[test]
fn trees_used_least_recently_are_forgotten_but_not_the_own_one() {
    let mut trees = with_neighbours();
    trees.received(ME, None, Way::Pushed, start());
    let at = |n: usize| start() + Duration::from_millis(n as u64 + 1);
    for n in 1..MAX_TREES {
        trees.received(one_of_many(n), Some(A), Way::Pushed, at(n));
    }
    assert_eq!(trees.views().len(), MAX_TREES);
    // The oldest one is used again.
    trees.received(one_of_many(1), Some(A), Way::Pushed, at(MAX_TREES));
    trees.received(P, Some(A), Way::Pushed, at(MAX_TREES));
    assert_eq!(trees.views().len(), MAX_TREES - MAX_TREES / 16 + 1);
    assert!(trees.views().iter().any(|t| t.publisher == ME));
    let known = |n| trees.parent(&one_of_many(n)).is_some();
    let last = MAX_TREES / 16 + 1;
    assert_eq!([1, 2, last, last + 1].map(known), [true, false, false, true]);
    assert_eq!(trees.parent(&P), Some(A));
    // It is flooded again.
    assert_eq!(trees.children(&one_of_many(2)), [A, B, C, D]);
}

#[test]
fn tree_of_who_is_gone_is_forgotten() {
    let mut trees = on_a_tree();
    trees.gone(&P);
    assert!(trees.views().is_empty());
    assert_eq!(trees.link_down(A, start()), []);
}

// ---- many peers --------------------------------------------------------------------------------

#[derive(Debug, Clone)]
enum Sent {
    Batch { number: u64, explores: bool },
    Graft(Vec<u64>),
    Prune(Vec<u64>),
}

/// Peers, each with its trees, and links that take each its time. Grafts and prunes overtake batches.
struct Network {
    all: BTreeMap<PeerId, Trees>,
    links: BTreeSet<(PeerId, PeerId)>,
    /// From whom, to whom, and whether they are batches.
    on_the_way: BTreeMap<(PeerId, PeerId, bool), VecDeque<Sent>>,
    have: BTreeSet<(PeerId, u64)>,
    /// Batches that came anywhere, repeats included.
    came: usize,
    rng: Stream,
    now: Time,
    next: u64,
}

impl Network {
    /// A ring with as many chords as peers.
    fn new(peers: u8, seed: u8) -> Self {
        let ids: Vec<PeerId> = (1..=peers).map(peer).collect();
        let mut net = Network {
            all: ids.iter().map(|id| (*id, Trees::new(*id, false))).collect(),
            links: BTreeSet::new(),
            on_the_way: BTreeMap::new(),
            have: BTreeSet::new(),
            came: 0,
            rng: Stream::new(&[seed; 32], "trees"),
            now: start(),
            next: 0,
        };
        for n in 0..ids.len() {
            net.link(ids[n], ids[(n + 1) % ids.len()]);
            let other = net.rng.below(ids.len());
            net.link(ids[n], ids[other]);
        }
        net
    }

    fn link(&mut self, a: PeerId, b: PeerId) {
        if a != b && self.links.insert((a.min(b), a.max(b))) {
            for (of, other) in [(a, b), (b, a)] {
                let now = self.now;
                let acts = self.all.get_mut(&of).unwrap().link_up(other, now);
                self.act(of, acts);
            }
        }
    }

    fn cut(&mut self, a: PeerId, b: PeerId) {
        self.links.remove(&(a.min(b), a.max(b)));
        for (of, other) in [(a, b), (b, a)] {
            for batches in [false, true] {
                self.on_the_way.remove(&(of, other, batches));
            }
            let now = self.now;
            let acts = self.all.get_mut(&of).unwrap().link_down(other, now);
            self.act(of, acts);
        }
    }

    fn send(&mut self, from: PeerId, to: PeerId, what: Sent) {
        if self.links.contains(&(from.min(to), from.max(to))) {
            let batches = matches!(what, Sent::Batch { .. });
            self.on_the_way.entry((from, to, batches)).or_default().push_back(what);
        }
    }

    fn act(&mut self, of: PeerId, acts: impl IntoIterator<Item = Act>) {
        for act in acts {
            match act {
                Act::Graft { to, publishers, .. } => self.send(of, to, Sent::Graft(publishers)),
                Act::Prune { to, publishers } => self.send(of, to, Sent::Prune(publishers)),
            }
        }
    }

    fn take_in(&mut self, at: PeerId, from: Option<PeerId>, number: u64, explores: bool) {
        let now = self.now;
        let trees = self.all.get_mut(&at).unwrap();
        let explores = explores && trees.may_explore(&ME, now);
        let way = if explores { Way::Explores } else { Way::Pushed };
        if !self.have.insert((at, number)) {
            let act = from.and_then(|from| trees.repeated(ME, from, way, now));
            return self.act(at, act);
        }
        let acts = trees.received(ME, from, way, now);
        let neighbours: Vec<PeerId> = if explores {
            trees.neighbours.all().filter_map(|n| trees.neighbours.id(n)).collect()
        } else {
            trees.children(&ME)
        };
        self.act(at, acts);
        for to in neighbours {
            if Some(to) != from && to != ME {
                self.send(at, to, Sent::Batch { number, explores });
            }
        }
    }

    /// One frame arrives, on any link.
    fn step(&mut self) -> bool {
        let busy: Vec<_> = self.on_the_way.iter().filter(|(_, q)| !q.is_empty()).collect();
        if busy.is_empty() {
            return false;
        }
        let (from, to, _) = *busy[self.rng.below(busy.len())].0;
        let now = self.now;
        // What does not overtake comes no later.
        let first = [false, true].map(|batches| (from, to, batches));
        let first = first.iter().find(|q| self.on_the_way.get(q).is_some_and(|q| !q.is_empty()));
        match self.on_the_way.get_mut(first.unwrap()).unwrap().pop_front().unwrap() {
            Sent::Batch { number, explores } => {
                self.came += 1;
                self.take_in(to, Some(from), number, explores);
            }
            Sent::Graft(publishers) => {
                let acts = grafted(self.all.get_mut(&to).unwrap(), from, &publishers, now);
                self.act(to, acts);
            }
            Sent::Prune(publishers) => {
                self.all.get_mut(&to).unwrap().on_prune(from, &publishers);
            }
        }
        true
    }

    fn settle(&mut self) {
        for n in 0.. {
            assert!(n < 100_000, "it never ends");
            if !self.step() {
                return;
            }
        }
    }

    /// The first peer publishes. Says how many batches came in all until everything was quiet.
    fn publish(&mut self, explores: bool) -> usize {
        self.now += Duration::from_secs(1);
        let (number, before) = (self.next, self.came);
        self.next += 1;
        self.take_in(ME, None, number, explores);
        self.settle();
        for id in self.all.keys() {
            assert!(self.have.contains(&(*id, number)), "{id:?} lacks {number}");
        }
        self.came - before
    }
}

#[test]
fn everybody_gets_every_batch_and_after_the_first_one_once() {
    for seed in 0..50 {
        let mut net = Network::new(30, seed);
        let links = net.links.len();
        // Twice over all links but those of the tree, and not to the publisher.
        assert!((links..=2 * links - 29).contains(&net.publish(seed % 2 == 0)));
        for _ in 0..3 {
            assert_eq!(net.publish(false), 29, "seed {seed}");
        }
        // Along other ways, and then once again.
        net.now += EXPLORE_EVERY;
        assert!((links..=2 * links - 29).contains(&net.publish(true)));
        for _ in 0..3 {
            assert_eq!(net.publish(false), 29, "seed {seed}");
        }
    }
}

#[test]
fn cut_links_and_new_ones_cost_nobody_a_batch_and_repeats_end() {
    for seed in 0..50 {
        let mut net = Network::new(30, seed);
        net.publish(true);
        for _ in 0..5 {
            // The ring stays, so that everybody can be reached.
            let ring: Vec<u8> = (1..=30).collect();
            let is_ring = |(a, b): &(PeerId, PeerId)| {
                let next = |n: &u8| (peer(*n), peer(*n % 30 + 1));
                ring.iter().map(next).any(|(x, y)| (x, y) == (*a, *b) || (y, x) == (*a, *b))
            };
            let chords: Vec<_> = net.links.iter().filter(|l| !is_ring(l)).copied().collect();
            for (a, b) in net.rng.sample(chords, 4) {
                net.cut(a, b);
            }
            net.settle();
            net.publish(false);
            for _ in 0..4 {
                let [a, b] = [0, 1].map(|_| peer(net.rng.below(30) as u8 + 1));
                net.link(a, b);
            }
            net.settle();
            for _ in 0..3 {
                net.publish(false);
            }
            assert_eq!(net.publish(false), 29, "seed {seed}");
        }
    }
}

#[test]
fn place_in_a_tree_takes_little_memory() {
    // For each publisher that a peer knows: docs/PERFORMANCE.md.
    assert!(size_of::<Tree>() <= 136, "{} bytes", size_of::<Tree>());
}

#[test]
fn publisher_is_told_also_of_what_explores_and_once_where_batches_flood() {
    let mut trees = on_a_tree();
    trees.link_up(P, start());
    assert_eq!(again(&mut trees, P, Way::Explores), Some(prune(P)));
    assert_eq!(again(&mut trees, P, Way::Explores), None, "it was told just now");
    let mut trees = Trees::new(ME, true);
    for n in [A, B, P] {
        trees.link_up(n, start());
    }
    trees.received(P, Some(A), Way::Explores, start());
    assert_eq!(again(&mut trees, B, Way::Explores), None);
    assert_eq!(again(&mut trees, P, Way::Explores), Some(prune(P)));
    for n in 1..100 {
        let now = start() + TELL_EVERY * n;
        assert_eq!(trees.repeated(P, P, Way::Pushed, now), None);
        assert_eq!(trees.repeated(P, B, Way::Pushed, now), None);
    }
}
