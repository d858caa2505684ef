use super::progress::{LATEST, PATIENCE};
use super::*;
use crate::wire::{Holder, ack_token};

const ME: PeerId = PeerId::from_bytes([1; 32]);
const UP: PeerId = PeerId::from_bytes([2; 32]);
const A: PeerId = PeerId::from_bytes([3; 32]);
const B: PeerId = PeerId::from_bytes([4; 32]);
const S: StreamId = StreamId { publisher: PeerId::from_bytes([9; 32]), epoch: 1 };

struct World {
    high_water: u64,
    me: PeerId,
    parent: Option<PeerId>,
    children: &'static [PeerId],
}

impl AckContext for World {
    fn high_water(&self, _: StreamId) -> u64 {
        self.high_water
    }
    fn children(&self, _: &PeerId) -> Vec<PeerId> {
        self.children.to_vec()
    }
    fn parent(&self, _: &PeerId) -> Option<PeerId> {
        self.parent
    }
    fn me(&self) -> PeerId {
        self.me
    }
    fn is_alone(&self) -> bool {
        false
    }
}

/// A peer on the way, which has everything below a number.
fn relay(high_water: u64) -> World {
    World { high_water, me: ME, parent: Some(UP), children: &[A, B] }
}

/// The publisher itself.
fn root(high_water: u64) -> World {
    World { high_water, me: S.publisher, parent: None, children: &[UP, A, B] }
}

fn arrived(wanted: Option<u64>) -> Arrived {
    Arrived { stream: S, bytes: 10, wanted, names: false }
}

fn entry(paced: u64, held: u64, peers: u32) -> AckEntry {
    let (left, patient, sum) = (0, paced, u64::from(peers));
    Summed { paced, left, patient, held, peers, sum }.entry(S)
}

#[test]
fn a_receipt_goes_up_when_everybody_behind_has_it() {
    let mut acks = Acks::default();
    let t = Time::ZERO;
    acks.received(&arrived(Some(1)), t, &relay(1));
    let first = acks.due(t, &relay(1));
    assert_eq!(first[&UP].entries[0].held, 0, "A and B have not said anything");
    acks.told(A, &entry(1, 1, 3), t, &relay(0));
    acks.told(B, &entry(1, 1, 2), t, &relay(0));
    let all = acks.due(t, &relay(1));
    let e = &all[&UP].entries[0];
    assert_eq!((e.held, e.paced, e.peers), (1, 1, 6));
    assert_eq!(e.sum, ack_token(&ME).wrapping_add(5));
    assert!(acks.due(t + LATER * 2, &relay(1)).is_empty(), "nothing new");
}

#[test]
fn a_peer_that_stands_still_is_waited_for_only_so_long() {
    let mut acks = Acks::default();
    let mut now = Time::ZERO;
    acks.received(&arrived(None), now, &relay(10));
    acks.told(A, &entry(10, 10, 1), now, &relay(0));
    acks.told(B, &entry(5, 5, 1), now, &relay(0));
    assert_eq!(acks.summed(S, now, &relay(10)).unwrap().paced, 5);
    for n in 11..30 {
        now += MARK_EVERY;
        acks.received(&arrived(None), now, &relay(n));
        acks.told(A, &entry(n, n, 1), now, &relay(0));
    }
    let s = acks.summed(S, now, &relay(29)).unwrap();
    assert_eq!((s.paced, s.held), (29, 5), "it paces nobody, and does not hold it");
    now += PATIENCE * 2;
    acks.received(&arrived(None), now, &relay(99));
    let s = acks.summed(S, now, &relay(99)).unwrap();
    assert_eq!(s.paced, 29, "all are behind: the fastest counts");
}

/// A publisher's own view, with neighbours that told so much of so many peers.
fn publisher(told: &[(PeerId, u64, u32)], published: u64, after: Duration) -> Summed {
    let mut acks = Acks::default();
    let mut now = Time::ZERO;
    let end = now + after;
    acks.received(&arrived(None), now, &root(published));
    for &(who, paced, peers) in told {
        acks.told(who, &entry(paced, paced, peers), now, &root(0));
    }
    while now < end {
        now += MARK_EVERY;
        acks.tick(S, now, published);
    }
    acks.summed(S, now, &root(published)).unwrap()
}

#[test]
fn if_many_are_behind_the_way_to_them_is_slow_and_they_are_waited_for() {
    let fast_leaf_slow_hub = [(UP, 90, 1), (A, 90, 2), (B, 10, 12)];
    let s = publisher(&fast_leaf_slow_hub, 90, PATIENCE * 2);
    assert_eq!((s.paced, s.left, s.patient, s.pace()), (90, 12, 10, 10));
    let s = publisher(&fast_leaf_slow_hub, 90, LONG_PATIENCE * 2);
    assert_eq!(s.pace(), 90, "not for ever");
}

#[test]
fn a_publisher_that_nobody_gets_it_from_does_not_take_it_for_held() {
    let without_neighbours = |after| {
        let mut acks = Acks::default();
        let world = || World { children: &[], ..root(90) };
        acks.received(&arrived(None), Time::ZERO, &world());
        let mut now = Time::ZERO;
        while now < Time::ZERO + after {
            now += MARK_EVERY;
            acks.tick(S, now, 90);
        }
        acks.summed(S, now, &world()).unwrap().pace()
    };
    assert_eq!(without_neighbours(PATIENCE * 3), 0);
    assert_eq!(without_neighbours(LONG_PATIENCE * 20), 0, "nobody else has it");
}

#[test]
fn one_that_is_behind_is_few_however_small_the_network() {
    for others in [1, 2, 50] {
        let s = publisher(&[(UP, 90, 1), (A, 90, others), (B, 10, 1)], 90, PATIENCE * 2);
        assert_eq!((s.left, s.pace()), (1, 90));
    }
    let s = publisher(&[(UP, 90, 1), (A, 90, 9), (B, 10, 2)], 90, PATIENCE * 2);
    assert_eq!((s.left, s.pace()), (2, 90), "two of thirteen are few");
}

#[test]
fn who_is_left_out_further_back_is_counted_by_the_publisher() {
    let mut acks = Acks::default();
    acks.received(&arrived(None), Time::ZERO, &relay(9));
    let left_out = Summed { paced: 9, left: 3, patient: 4, held: 2, peers: 5, sum: 1 };
    acks.told(A, &left_out.entry(S), Time::ZERO, &relay(0));
    acks.told(B, &entry(9, 9, 1), Time::ZERO, &relay(0));
    let s = acks.summed(S, Time::ZERO, &relay(9)).unwrap();
    assert_eq!((s.paced, s.left, s.patient, s.held, s.peers), (9, 3, 4, 2, 7));
}

#[test]
fn who_stopped_stops_counting_also_when_nothing_new_comes() {
    let mut acks = Acks::default();
    let mut now = Time::ZERO;
    acks.received(&arrived(None), now, &relay(10));
    acks.told(A, &entry(10, 10, 1), now, &relay(0));
    acks.told(B, &entry(5, 5, 1), now, &relay(0));
    let mut told = 0;
    while let Some(at) = acks.deadline() {
        now = at;
        for (_, t) in acks.due(now, &relay(10)) {
            told = t.entries[0].paced;
        }
        assert!(now < Time::ZERO + LONG_PATIENCE * 2, "it ends");
    }
    assert_eq!(told, 10);
}

#[test]
fn children_that_have_said_nothing_do_not_stop_a_publisher_for_ever() {
    let mut acks = Acks::default();
    let mut now = Time::ZERO;
    acks.received(&arrived(None), now, &root(10));
    for _ in 0..48 {
        assert_eq!(acks.summed(S, now, &root(10)).unwrap().pace(), 0);
        now += MARK_EVERY;
        acks.tick(S, now, 10);
        if now.since(Time::ZERO) >= LONG_PATIENCE {
            break;
        }
    }
    assert_eq!(acks.summed(S, now, &root(10)).unwrap().pace(), 10);
}

#[test]
fn a_census_is_answered_at_once_also_by_who_has_told_everything() {
    let mut acks = Acks::default();
    let now = Time::ZERO;
    acks.received(&arrived(Some(1)), now, &relay(1));
    for who in [A, B] {
        acks.told(who, &entry(1, 1, 1), now, &relay(1));
    }
    assert_eq!(acks.due(now, &relay(1))[&UP].entries[0].held, 1);
    let later = now + LATER * 3;
    acks.census(&arrived(Some(1)), 1, later, &relay(1));
    assert_eq!(acks.due(later, &relay(1))[&UP].entries.len(), 1);
}

#[test]
fn the_same_census_and_one_too_soon_after_it_are_not_new() {
    let mut acks = Acks::default();
    let now = Time::ZERO;
    assert!(acks.is_new_census(S, 0, now), "of a stream that is not known");
    acks.census(&arrived(Some(1)), 3, now, &relay(1));
    let later = now + SHORTEST_CENSUS;
    assert_eq!([2, 3, 4].map(|round| acks.is_new_census(S, round, later)), [false, false, true]);
    assert!(!acks.is_new_census(S, 4, now + SHORTEST_CENSUS / 2));
}

#[test]
fn little_is_told_from_the_leaves_up_and_without_those_who_say_nothing_for_long() {
    let all = [(None, LATER, 1), (Some(A), LATEST, 2), (Some(B), SOON, 3)];
    for (last, after, peers) in all {
        let mut acks = Acks::default();
        let now = Time::ZERO;
        let world = || match last {
            // Nobody is behind it.
            None => World { children: &[], ..relay(1) },
            Some(_) => relay(1),
        };
        acks.received(&arrived(None), now, &world());
        let told = match last {
            None => &[][..],
            Some(A) => &[A],
            _ => &[A, B],
        };
        for who in told {
            acks.told(*who, &entry(1, 1, 1), now, &world());
        }
        let due = acks.streams.get_mut(&S).unwrap().due;
        assert_eq!(due, Some(now + after), "{peers}");
        assert_eq!(acks.due(now + after, &world())[&UP].entries[0].peers, peers);
    }
}

#[test]
fn a_neighbour_that_brings_it_from_now_on_hears_of_it_at_once() {
    let moved = || World { parent: Some(A), children: &[B], ..relay(1) };
    // With the next batch, or as soon as it is known.
    for batch in [true, false] {
        let mut acks = Acks::default();
        acks.received(&arrived(None), Time::ZERO, &relay(1));
        let told = acks.due(Time::ZERO + LATEST, &relay(1));
        assert_eq!((told.len(), told[&UP].entries[0].held), (1, 0));
        let now = Time::ZERO + LATEST * 2;
        if batch {
            acks.received(&arrived(None), now, &moved());
        } else {
            acks.moved(S.publisher, now);
        }
        let told = acks.due(now, &moved());
        assert_eq!((told.len(), told[&A].entries[0].held), (1, 0));
    }
}

#[test]
fn who_is_no_child_any_more_is_behind_nobody() {
    let mut acks = Acks::default();
    acks.received(&arrived(None), Time::ZERO, &relay(1));
    acks.told(A, &entry(1, 1, 1), Time::ZERO, &relay(0));
    acks.told(B, &entry(0, 0, 7), Time::ZERO, &relay(0));
    let s = acks.summed(S, Time::ZERO, &relay(1)).unwrap();
    assert_eq!((s.held, s.peers), (0, 9));
    let without = World { children: &[A], ..relay(1) };
    let s = acks.summed(S, Time::ZERO, &without).unwrap();
    assert_eq!((s.held, s.peers), (1, 2));
    assert_eq!(acks.parts(S, &without).len(), 1);
    // What the one that brings it tells is not of a part behind this peer.
    assert!(acks.told(UP, &entry(0, 0, 7), Time::ZERO, &without));
    let swapped = World { parent: Some(A), children: &[UP], ..relay(1) };
    assert!(acks.parts(S, &swapped).is_empty());
}

#[test]
fn census_for_names_is_answered_with_own_progress_and_what_is_named_behind() {
    let mut acks = Acks::default();
    let now = Time::ZERO;
    let named = |token, held| Holder { token, held };
    let census = Arrived { names: true, ..arrived(Some(9)) };
    acks.census(&census, 1, now, &relay(4));
    let told = acks.due(now, &relay(4));
    assert_eq!(told[&UP].entries[0].holders, Some(vec![named(ack_token(&ME), 4)]));
    // A neighbour behind this peer names two.
    let behind = vec![named(7, 9), named(8, 2)];
    let e = AckEntry { holders: Some(behind.clone()), ..entry(2, 2, 2) };
    assert!(acks.told(A, &e, now, &relay(4)));
    assert_eq!(acks.named(A, &e, now, &relay(4)), 0);
    let told = acks.due(now, &relay(4));
    assert_eq!(told[&UP].entries[0].holders, Some(behind));
    // Neither the neighbour that brings the stream names a holder, nor any neighbour for another stream.
    assert_eq!(acks.named(UP, &e, now, &relay(4)), 2);
    let other = StreamId { epoch: 2, ..S };
    let e = AckEntry { holders: e.holders, ..entry(2, 2, 2) };
    assert_eq!(acks.named(A, &AckEntry { epoch: other.epoch, ..e.clone() }, now, &relay(4)), 2);
    // The next census does not ask.
    let later = now + SHORTEST_CENSUS;
    acks.census(&arrived(Some(9)), 2, later, &relay(9));
    assert_eq!(acks.due(later, &relay(9))[&UP].entries[0].holders, None);
    assert_eq!(acks.named(A, &e, later, &relay(9)), 2);
}

#[test]
fn what_is_told_to_a_publisher_of_its_own_stream_is_not_forgotten_for_others() {
    let mut acks = Acks::default();
    let now = Time::ZERO;
    let own = StreamId { publisher: ME, epoch: 1 };
    acks.received(&Arrived { stream: own, ..arrived(None) }, now, &relay(1));
    for epoch in 0..2 * MAX_ACKS as u64 {
        let stream = StreamId { epoch, ..S };
        acks.received(&Arrived { stream, ..arrived(None) }, now, &relay(1));
    }
    assert_eq!(acks.streams.len(), MAX_ACKS);
    assert!(acks.summed(own, now, &relay(1)).is_some());
}
