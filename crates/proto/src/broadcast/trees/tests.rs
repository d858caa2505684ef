mod network;
mod parent;

use super::*;

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
/// Long after everything before it: no earlier batch is recent.
const LONG_AFTER: Duration = Duration::from_secs(60);

fn start() -> Time {
    Time::ZERO + LONG_AFTER
}

/// A publisher among very many.
fn numbered_publisher(n: usize) -> PeerId {
    let mut bytes = [77; 32];
    bytes[..8].copy_from_slice(&(n as u64 + 1).to_le_bytes());
    PeerId::from_bytes(bytes)
}

fn tokens_of(of: &[PeerId]) -> Vec<u64> {
    of.iter().map(ack_token).collect()
}

fn graft(to: PeerId) -> TreeAction {
    TreeAction::Graft { to, publishers: tokens_of(&[P]), recent: vec![P] }
}

/// A graft on a neighbour that sends batches already.
fn graft_on_sender(to: PeerId) -> TreeAction {
    TreeAction::Graft { to, publishers: tokens_of(&[P]), recent: vec![] }
}

fn prune(to: PeerId) -> TreeAction {
    TreeAction::Prune { to, publishers: tokens_of(&[P]) }
}

/// This peer with four neighbours.
fn with_neighbours() -> Trees {
    let mut trees = Trees::new(ME, false);
    for n in [A, B, C, D] {
        assert_eq!(trees.link_up(n, start()), []);
    }
    trees
}

/// The trees of a peer that gets P's batches from A and sends them on to D; B and C have another
/// parent.
fn trees_with_parent() -> Trees {
    let mut trees = with_neighbours();
    assert_eq!(trees.on_first(P, Some(A), ArrivalKind::Pushed, start()), [graft_on_sender(A)]);
    for n in [B, C] {
        assert_eq!(duplicate(&mut trees, n, ArrivalKind::Pushed), None);
    }
    trees
}

fn duplicate(trees: &mut Trees, from: PeerId, kind: ArrivalKind) -> Option<TreeAction> {
    trees.on_duplicate(P, from, kind, start())
}

fn grafted(trees: &mut Trees, from: PeerId, publishers: &[u64], now: Time) -> Vec<TreeAction> {
    trees.on_graft(from, publishers, now).1
}

fn position(trees: &Trees) -> (Option<PeerId>, Vec<PeerId>) {
    (trees.parent(&P), trees.children(&P))
}

#[test]
fn unknown_publisher_is_flooded_and_the_sender_of_its_first_batch_becomes_the_parent() {
    let mut trees = with_neighbours();
    assert_eq!(position(&trees), (None, vec![A, B, C, D]));
    assert_eq!(trees.on_first(P, Some(A), ArrivalKind::Pushed, start()), [graft_on_sender(A)]);
    assert_eq!(position(&trees), (Some(A), vec![B, C, D]));
    assert!(trees.is_child(&B, &P) && !trees.is_child(&A, &P) && !trees.is_child(&peer(7), &P));
    // Trees of other publishers are not affected.
    assert_eq!((trees.parent(&B), trees.children(&B)), (None, vec![A, C, D]));
    assert!(!trees.is_child(&B, &B), "a publisher has its own batches");
}

#[test]
fn link_with_a_duplicate_becomes_lazy_and_its_neighbour_is_pruned_the_next_time() {
    let mut trees = with_neighbours();
    trees.on_first(P, Some(A), ArrivalKind::Pushed, start());
    assert_eq!(duplicate(&mut trees, B, ArrivalKind::Pushed), None);
    assert_eq!(position(&trees), (Some(A), vec![C, D]));
    assert_eq!(duplicate(&mut trees, B, ArrivalKind::Pushed), Some(prune(B)));
    assert_eq!(duplicate(&mut trees, C, ArrivalKind::Exploring), None);
    assert_eq!(
        position(&trees),
        (Some(A), vec![D]),
        "for an exploring batch as well, each end has got the copy of the other"
    );
    assert_eq!(duplicate(&mut trees, C, ArrivalKind::Exploring), None, "it goes over lazy links");
    // The publisher does not need its batches from here, and does not know that its own are not
    // needed.
    trees.link_up(P, start());
    assert_eq!(duplicate(&mut trees, P, ArrivalKind::Pushed), Some(prune(P)));
    // An unknown publisher, and a sender that is no neighbour.
    assert_eq!(trees.on_duplicate(C, B, ArrivalKind::Pushed, start()), None);
    assert_eq!(duplicate(&mut trees, peer(7), ArrivalKind::Pushed), None);
}

#[test]
fn child_that_sends_a_duplicate_is_pruned_and_stays_a_child() {
    let mut trees = trees_with_parent();
    assert_eq!(grafted(&mut trees, B, &tokens_of(&[P]), start()), []);
    assert_eq!(duplicate(&mut trees, B, ArrivalKind::Pushed), Some(prune(B)));
    assert_eq!(position(&trees), (Some(A), vec![B, D]));
}

#[test]
fn neighbour_that_prunes_gets_announcements_only() {
    let mut trees = trees_with_parent();
    trees.on_prune(D, &tokens_of(&[C, P]));
    assert_eq!(position(&trees), (Some(A), vec![]));
    grafted(&mut trees, B, &tokens_of(&[P]), start());
    assert_eq!(position(&trees), (Some(A), vec![B]));
    trees.on_prune(B, &tokens_of(&[P]));
    assert_eq!(position(&trees), (Some(A), vec![]));
}

#[test]
fn exploring_batch_changes_the_parent() {
    let mut trees = trees_with_parent();
    let now = start() + LONG_AFTER;
    assert_eq!(trees.on_first(P, Some(B), ArrivalKind::Exploring, now), [graft(B), prune(A)]);
    assert_eq!(position(&trees), (Some(B), vec![D]));
    assert_eq!(
        trees.on_first(P, Some(B), ArrivalKind::Exploring, now + LONG_AFTER),
        [],
        "it stays"
    );
    assert_eq!(duplicate(&mut trees, A, ArrivalKind::Exploring), None);
}

#[test]
fn exploring_batches_are_not_followed_too_often() {
    let mut trees = with_neighbours();
    assert!(trees.may_explore(&P, start()));
    trees.on_first(P, Some(A), ArrivalKind::Exploring, start());
    assert!(!trees.may_explore(&P, start() + MIN_EXPLORE_INTERVAL / 2));
    assert!(trees.may_explore(&B, start()), "a batch of another publisher");
    // Batches that do not explore do not delay the next exploring one.
    trees.on_first(P, Some(A), ArrivalKind::Pushed, start() + MIN_EXPLORE_INTERVAL / 2);
    assert!(trees.may_explore(&P, start() + MIN_EXPLORE_INTERVAL));
}

#[test]
fn peer_that_loses_its_parent_grafts_on_all_neighbours() {
    let mut trees = trees_with_parent();
    assert_eq!(trees.link_down(D, start()), [], "D is not the parent");
    assert_eq!(trees.link_down(A, start()), [graft(B), graft(C)]);
    assert_eq!(position(&trees), (None, vec![]));
    assert_eq!(trees.link_down(A, start()), [], "A is gone already");
    // No batch can be missing of a publisher that sent none lately.
    let mut trees = trees_with_parent();
    let quiet = |to| TreeAction::Graft { to, publishers: tokens_of(&[P]), recent: vec![] };
    assert_eq!(trees.link_down(A, start() + RECENT_BATCH), [B, C, D].map(quiet));
}

#[test]
fn grafts_and_prunes_for_many_trees_are_split_into_several_frames() {
    let named = |actions: &[TreeAction], neighbour| -> Vec<(usize, usize)> {
        let of = |action: &TreeAction| match action {
            TreeAction::Graft { to, publishers, recent } if *to == neighbour => {
                Some((publishers.len(), recent.len()))
            }
            TreeAction::Prune { to, publishers } if *to == neighbour => Some((publishers.len(), 0)),
            _ => None,
        };
        actions.iter().filter_map(of).collect()
    };
    let mut trees = with_neighbours();
    for n in 0..MAX_GRAFT_PUBLISHERS + 1 {
        trees.on_first(numbered_publisher(n), Some(A), ArrivalKind::Pushed, start());
    }
    assert_eq!(
        named(&trees.link_up(peer(6), start()), peer(6)),
        [(MAX_GRAFT_PUBLISHERS, 0), (1, 0)]
    );
    let actions = trees.link_down(A, start());
    for neighbour in [B, C, D, peer(6)] {
        assert_eq!(
            named(&actions, neighbour),
            [(MAX_GRAFT_PUBLISHERS, MAX_GRAFT_PUBLISHERS), (1, 1)]
        );
    }
    assert_eq!(actions.len(), 8);
}

#[test]
fn graft_of_the_parent_orphans_and_graft_of_a_child_does_not() {
    let mut trees = trees_with_parent();
    assert_eq!(grafted(&mut trees, D, &tokens_of(&[P]), start()), []);
    assert_eq!(grafted(&mut trees, A, &tokens_of(&[C]), start()), [], "another tree");
    let actions = grafted(&mut trees, A, &tokens_of(&[C, P]), start());
    assert_eq!(actions, [A, B, C, D].map(graft), "on the orphaned parent as well");
    assert_eq!(position(&trees), (None, vec![A, D]));
    assert_eq!(grafted(&mut trees, A, &tokens_of(&[P]), start()), [], "once");
}

#[test]
fn first_batch_after_a_loss_selects_one_link() {
    let mut trees = trees_with_parent();
    trees.link_down(A, start());
    let actions = trees.on_first(P, Some(C), ArrivalKind::Pushed, start());
    assert_eq!(actions, [graft_on_sender(C), prune(B), prune(D)]);
    assert_eq!(position(&trees), (Some(C), vec![D]));
    // A pulled batch selects none.
    let mut trees = trees_with_parent();
    trees.link_down(A, start());
    assert_eq!(trees.on_first(P, Some(C), ArrivalKind::Pulled, start()), []);
    assert_eq!(trees.parent(&P), None);
}

#[test]
fn new_neighbour_is_pruned_for_followed_publishers_and_grafted_on_for_orphaned_ones() {
    let mut trees = trees_with_parent();
    let now = start();
    // A publisher has no parent on its own tree.
    trees.on_first(ME, None, ArrivalKind::Pushed, now);
    trees.on_first(B, Some(B), ArrivalKind::Pushed, now);
    trees.link_down(B, now);
    let new = peer(6);
    let orphaned = TreeAction::Graft { to: new, publishers: tokens_of(&[B]), recent: vec![B] };
    let followed = TreeAction::Prune { to: new, publishers: tokens_of(&[ME, P]) };
    assert_eq!(trees.link_up(new, now), [followed, orphaned]);
    // Until it prunes, the new neighbour gets all batches.
    assert!(trees.is_child(&new, &P) && trees.is_child(&new, &ME) && trees.is_child(&new, &B));
}

#[test]
fn neighbour_in_a_reused_slot_inherits_nothing() {
    let mut trees = trees_with_parent();
    grafted(&mut trees, B, &tokens_of(&[P]), start());
    trees.on_first(P, Some(C), ArrivalKind::Pushed, start());
    for gone in [B, C] {
        trees.link_down(gone, start());
    }
    for new in [peer(6), peer(7)] {
        trees.link_up(new, start());
        assert!(trees.is_child(&new, &P));
        assert_eq!(duplicate(&mut trees, new, ArrivalKind::Pushed), None, "it has not grafted");
    }
    assert_eq!(duplicate(&mut trees, A, ArrivalKind::Pushed), None, "it was not the faster one");
}

#[test]
fn suspected_parent_is_left_until_it_brings_a_batch() {
    let mut trees = trees_with_parent();
    assert_eq!(trees.on_suspect(D, start()), [], "D is not the parent");
    assert_eq!(trees.on_suspect(A, start()), [A, B, C, D].map(graft));
    assert_eq!(position(&trees), (None, vec![D]));
    assert_eq!(trees.on_suspect(A, start()), [], "A is left already");
    let actions = trees.on_first(P, Some(B), ArrivalKind::Pushed, start());
    assert_eq!(actions, [graft_on_sender(B), prune(A), prune(C), prune(D)]);
    assert_eq!(position(&trees), (Some(B), vec![D]));
    let mut trees = trees_with_parent();
    trees.on_suspect(A, start());
    let actions = trees.on_first(P, Some(A), ArrivalKind::Pushed, start());
    assert_eq!(actions, [graft_on_sender(A), prune(B), prune(C), prune(D)]);
    assert_eq!(position(&trees), (Some(A), vec![D]));
}

#[test]
fn child_does_not_become_the_parent() {
    let mut trees = trees_with_parent();
    trees.link_down(A, start());
    grafted(&mut trees, B, &tokens_of(&[P]), start());
    // The batch was sent before the graft, which overtook it.
    for kind in [ArrivalKind::Pushed, ArrivalKind::Exploring] {
        assert_eq!(trees.on_first(P, Some(B), kind, start()), []);
        assert_eq!(trees.parent(&P), None);
    }
    // B has found another parent.
    trees.on_prune(B, &tokens_of(&[P]));
    let actions = trees.on_first(P, Some(B), ArrivalKind::Pushed, start());
    assert_eq!(actions, [graft_on_sender(B), prune(C), prune(D)]);
    assert_eq!(trees.parent(&P), Some(B));
}

#[test]
fn child_that_seems_to_have_forgotten_its_graft_is_asked_again() {
    let mut trees = trees_with_parent();
    trees.link_down(A, start());
    grafted(&mut trees, B, &tokens_of(&[P]), start());
    let at = |n: u32| start() + MISS_INTERVAL * n;
    for n in 0..2 {
        assert_eq!(trees.on_first(P, Some(B), ArrivalKind::Pushed, at(n)), []);
    }
    let actions = trees.on_first(P, Some(B), ArrivalKind::Pushed, at(2));
    assert_eq!(actions, [prune(B), graft_on_sender(B), prune(C), prune(D)]);
    // Of two peers that are each other's children, the one that is grafted on answers.
    let mut other = trees_with_parent();
    other.link_down(A, start());
    assert_eq!(grafted(&mut other, B, &tokens_of(&[P]), start()), [graft(B)]);
    assert_eq!(grafted(&mut other, B, &tokens_of(&[P]), start()), []);
    other.on_prune(B, &tokens_of(&[P]));
    assert_eq!(grafted(&mut other, B, &tokens_of(&[P]), start()), [graft(B)]);
}

/// Batches that were pulled before do not count.
#[test]
fn orphaned_parent_does_not_become_the_parent_again_for_earlier_misses() {
    let mut trees = trees_with_parent();
    let at = |n: u32| start() + MISS_INTERVAL * n;
    for n in 0..2 {
        trees.on_first(P, Some(C), ArrivalKind::Pulled, at(n));
    }
    grafted(&mut trees, A, &tokens_of(&[P]), at(2));
    // The batch was sent before the graft, which overtook it.
    assert_eq!(trees.on_first(P, Some(A), ArrivalKind::Pushed, at(3)), []);
    assert_eq!(trees.parent(&P), None);
}

#[test]
fn neighbour_that_sends_duplicates_is_pruned_at_intervals_and_again_after_a_graft() {
    let mut trees = trees_with_parent();
    let now = start() + LONG_AFTER;
    let is_pruned = |trees: &mut Trees, from, after| {
        trees.on_duplicate(P, from, ArrivalKind::Pushed, now + after).is_some()
    };
    let at = |n| PRUNE_INTERVAL / 4 * n;
    assert_eq!(
        [0, 1, 2, 3, 4, 5].map(|n| is_pruned(&mut trees, B, at(n))),
        [true, false, false, false, true, false]
    );
    assert!(is_pruned(&mut trees, C, at(6)), "another neighbour");
    // A batch that fills a gap is no duplicate to prune for.
    assert_eq!(trees.on_duplicate(P, B, ArrivalKind::History, now + LONG_AFTER), None);
    trees.on_suspect(A, now + at(6));
    trees.on_first(P, Some(A), ArrivalKind::Pushed, now + at(6));
    let actions = trees.on_first(P, Some(B), ArrivalKind::Exploring, now + LONG_AFTER);
    assert_eq!(actions, [graft(B), prune(A)]);
    let actions = trees.on_first(P, Some(A), ArrivalKind::Exploring, now + LONG_AFTER);
    assert_eq!(actions, [graft(A), prune(B)], "although B was grafted on just now");
}

#[test]
fn old_batch_changes_nothing() {
    let mut trees = with_neighbours();
    for (pulled, explores) in [(false, false), (false, true), (true, false), (true, true)] {
        assert_eq!(ArrivalKind::of(RECENT_BATCH, pulled, true, explores), ArrivalKind::History);
    }
    assert_eq!(ArrivalKind::of(RECENT_BATCH / 2, true, true, false), ArrivalKind::Pulled);
    assert_eq!(ArrivalKind::of(RECENT_BATCH / 2, true, false, true), ArrivalKind::PulledUpstream);
    assert_eq!(ArrivalKind::of(RECENT_BATCH / 2, false, false, true), ArrivalKind::Exploring);
    assert_eq!(ArrivalKind::of(RECENT_BATCH / 2, false, false, false), ArrivalKind::Pushed);
    assert_eq!(trees.on_first(P, Some(B), ArrivalKind::History, start()), []);
    assert!(trees.views().is_empty());
    let mut trees = trees_with_parent();
    for n in 0..10 {
        assert_eq!(
            trees.on_first(P, Some(B), ArrivalKind::History, start() + MISS_INTERVAL * n),
            []
        );
    }
    assert_eq!(position(&trees), (Some(A), vec![D]));
    trees.link_down(A, start());
    assert_eq!(trees.on_first(P, Some(B), ArrivalKind::History, start()), []);
    assert_eq!(trees.parent(&P), None);
}

#[test]
fn peer_that_pulled_the_first_batch_grafts_on_all_neighbours() {
    let mut trees = with_neighbours();
    let actions = trees.on_first(P, Some(B), ArrivalKind::Pulled, start());
    assert_eq!(actions, [A, B, C, D].map(graft), "some may remember a forgotten position");
    assert_eq!(position(&trees), (None, vec![A, B, C, D]));
    let actions = trees.on_first(P, Some(C), ArrivalKind::Pushed, start());
    assert_eq!(actions, [graft_on_sender(C), prune(A), prune(B), prune(D)]);
    assert_eq!(position(&trees), (Some(C), vec![A, B, D]));
}

#[test]
fn publisher_is_the_root_of_its_own_tree() {
    let mut trees = with_neighbours();
    assert_eq!(trees.on_first(ME, None, ArrivalKind::Exploring, start()), []);
    assert_eq!((trees.parent(&ME), trees.children(&ME)), (None, vec![A, B, C, D]));
    // A batch of its earlier process, from a neighbour.
    assert_eq!(trees.on_first(ME, Some(A), ArrivalKind::Pulled, start()), []);
    trees.on_prune(A, &tokens_of(&[ME]));
    assert_eq!(trees.on_duplicate(ME, B, ArrivalKind::Pushed, start()), None);
    assert_eq!((trees.parent(&ME), trees.children(&ME)), (None, vec![B, C, D]));
    // A publisher without a parent is not orphaned.
    assert_eq!(trees.link_down(B, start()), []);
    assert_eq!(grafted(&mut trees, A, &tokens_of(&[ME]), start()), []);
    assert_eq!(trees.on_suspect(C, start()), []);
}

#[test]
fn neighbour_is_not_pruned_for_duplicates_where_batches_are_flooded() {
    let mut trees = Trees::new(ME, true);
    for n in [A, B] {
        trees.link_up(n, start());
    }
    trees.on_first(P, Some(A), ArrivalKind::Pushed, start());
    for _ in 0..3 {
        assert_eq!(duplicate(&mut trees, B, ArrivalKind::Pushed), None);
        assert_eq!(trees.on_first(P, Some(B), ArrivalKind::Pushed, start()), []);
        assert_eq!(duplicate(&mut trees, A, ArrivalKind::Pushed), None);
    }
    assert_eq!(position(&trees), (Some(A), vec![]), "acknowledgements use the trees");
}

#[test]
fn least_recently_used_trees_are_evicted_but_not_the_own_one() {
    let mut trees = with_neighbours();
    trees.on_first(ME, None, ArrivalKind::Pushed, start());
    let at = |n: usize| start() + Duration::from_millis(n as u64 + 1);
    for n in 1..MAX_TREES {
        trees.on_first(numbered_publisher(n), Some(A), ArrivalKind::Pushed, at(n));
    }
    assert_eq!(trees.views().len(), MAX_TREES);
    // The oldest one is used again.
    trees.on_first(numbered_publisher(1), Some(A), ArrivalKind::Pushed, at(MAX_TREES));
    trees.on_first(P, Some(A), ArrivalKind::Pushed, at(MAX_TREES));
    assert_eq!(trees.views().len(), MAX_TREES - MAX_TREES / 16 + 1);
    assert!(trees.views().iter().any(|t| t.publisher == ME));
    let known = |n| trees.parent(&numbered_publisher(n)).is_some();
    let last = MAX_TREES / 16 + 1;
    assert_eq!([1, 2, last, last + 1].map(known), [true, false, false, true]);
    assert_eq!(trees.parent(&P), Some(A));
    // Its batches are flooded again.
    assert_eq!(trees.children(&numbered_publisher(2)), [A, B, C, D]);
}

#[test]
fn tree_of_a_departed_publisher_is_forgotten() {
    let mut trees = trees_with_parent();
    trees.remove_publisher(&P);
    assert!(trees.views().is_empty());
    assert_eq!(trees.link_down(A, start()), []);
}

#[test]
fn place_in_a_tree_takes_little_memory() {
    // For each publisher that a peer knows: docs/PERFORMANCE.md.
    assert!(size_of::<Tree>() <= 136, "{} bytes", size_of::<Tree>());
}

#[test]
fn publisher_is_pruned_also_for_exploring_batches_and_once_where_batches_are_flooded() {
    let mut trees = trees_with_parent();
    trees.link_up(P, start());
    assert_eq!(duplicate(&mut trees, P, ArrivalKind::Exploring), Some(prune(P)));
    assert_eq!(duplicate(&mut trees, P, ArrivalKind::Exploring), None, "it was pruned just now");
    let mut trees = Trees::new(ME, true);
    for n in [A, B, P] {
        trees.link_up(n, start());
    }
    trees.on_first(P, Some(A), ArrivalKind::Exploring, start());
    assert_eq!(duplicate(&mut trees, B, ArrivalKind::Exploring), None);
    assert_eq!(duplicate(&mut trees, P, ArrivalKind::Exploring), Some(prune(P)));
    for n in 1..100 {
        let now = start() + PRUNE_INTERVAL * n;
        assert_eq!(trees.on_duplicate(P, P, ArrivalKind::Pushed, now), None);
        assert_eq!(trees.on_duplicate(P, B, ArrivalKind::Pushed, now), None);
    }
}
