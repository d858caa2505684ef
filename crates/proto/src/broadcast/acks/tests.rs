use super::progress::{ACK_RELAY_DELAY, PACING_LAG_LIMIT};
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

/// The context of a relay that has everything below a sequence number.
fn relay(high_water: u64) -> World {
    World { high_water, me: ME, parent: Some(UP), children: &[A, B] }
}

/// The context of the publisher.
fn root(high_water: u64) -> World {
    World { high_water, me: S.publisher, parent: None, children: &[UP, A, B] }
}

fn arrived(receipt_until: Option<u64>) -> ReceivedBatch {
    ReceivedBatch { stream: S, bytes: 10, receipt_until, wants_names: false }
}

fn entry(paced: u64, held: u64, peers: u32) -> AckEntry {
    let (lagging_peers, long_paced, sum) = (0, paced, u64::from(peers));
    Aggregate { paced, lagging_peers, long_paced, held, peers, sum }.entry(S)
}

#[test]
fn relay_acknowledges_receipt_when_its_whole_subtree_has_it() {
    let mut acks = Acks::default();
    let t = Time::ZERO;
    acks.on_batch(&arrived(Some(1)), t, &relay(1));
    let first = acks.take_due(t, &relay(1));
    assert_eq!(first[&UP].entries[0].held, 0, "A and B have not reported anything");
    acks.on_update(A, &entry(1, 1, 3), t, &relay(0));
    acks.on_update(B, &entry(1, 1, 2), t, &relay(0));
    let all = acks.take_due(t, &relay(1));
    let e = &all[&UP].entries[0];
    assert_eq!((e.held, e.paced, e.peers), (1, 1, 6));
    assert_eq!(e.sum, ack_token(&ME).wrapping_add(5));
    assert!(acks.take_due(t + ACK_LEAF_DELAY * 2, &relay(1)).is_empty(), "nothing new");
}

#[test]
fn lagging_child_paces_the_publisher_only_for_a_while() {
    let mut acks = Acks::default();
    let mut now = Time::ZERO;
    acks.on_batch(&arrived(None), now, &relay(10));
    acks.on_update(A, &entry(10, 10, 1), now, &relay(0));
    acks.on_update(B, &entry(5, 5, 1), now, &relay(0));
    assert_eq!(acks.aggregate(S, now, &relay(10)).unwrap().paced, 5);
    for n in 11..30 {
        now += MARK_INTERVAL;
        acks.on_batch(&arrived(None), now, &relay(n));
        acks.on_update(A, &entry(n, n, 1), now, &relay(0));
    }
    let s = acks.aggregate(S, now, &relay(29)).unwrap();
    assert_eq!((s.paced, s.held), (29, 5), "it does not pace, and does not hold the messages");
    now += PACING_LAG_LIMIT * 2;
    acks.on_batch(&arrived(None), now, &relay(99));
    let s = acks.aggregate(S, now, &relay(99)).unwrap();
    assert_eq!(s.paced, 29, "all lag: the fastest counts");
}

/// The aggregate of a publisher whose children reported `(child, progress, peers)`.
fn publisher(told: &[(PeerId, u64, u32)], published: u64, after: Duration) -> Aggregate {
    let mut acks = Acks::default();
    let mut now = Time::ZERO;
    let end = now + after;
    acks.on_batch(&arrived(None), now, &root(published));
    for &(child, paced, peers) in told {
        acks.on_update(child, &entry(paced, paced, peers), now, &root(0));
    }
    while now < end {
        now += MARK_INTERVAL;
        acks.record_own_mark(S, now, published);
    }
    acks.aggregate(S, now, &root(published)).unwrap()
}

#[test]
fn publisher_waits_longer_for_lagging_peers_if_they_are_many() {
    let fast_leaf_slow_hub = [(UP, 90, 1), (A, 90, 2), (B, 10, 12)];
    let s = publisher(&fast_leaf_slow_hub, 90, PACING_LAG_LIMIT * 2);
    assert_eq!((s.paced, s.lagging_peers, s.long_paced, s.pace()), (90, 12, 10, 10));
    let s = publisher(&fast_leaf_slow_hub, 90, LONG_PACING_LAG_LIMIT * 2);
    assert_eq!(s.pace(), 90, "not for ever");
}

#[test]
fn publisher_without_children_takes_nothing_for_held() {
    let without_neighbours = |after| {
        let mut acks = Acks::default();
        let world = || World { children: &[], ..root(90) };
        acks.on_batch(&arrived(None), Time::ZERO, &world());
        let mut now = Time::ZERO;
        while now < Time::ZERO + after {
            now += MARK_INTERVAL;
            acks.record_own_mark(S, now, 90);
        }
        acks.aggregate(S, now, &world()).unwrap().pace()
    };
    assert_eq!(without_neighbours(PACING_LAG_LIMIT * 3), 0);
    assert_eq!(without_neighbours(LONG_PACING_LAG_LIMIT * 20), 0, "no other node has it");
}

#[test]
fn small_minority_of_lagging_peers_is_left_out_of_pacing() {
    for others in [1, 2, 50] {
        let s = publisher(&[(UP, 90, 1), (A, 90, others), (B, 10, 1)], 90, PACING_LAG_LIMIT * 2);
        assert_eq!((s.lagging_peers, s.pace()), (1, 90));
    }
    let s = publisher(&[(UP, 90, 1), (A, 90, 9), (B, 10, 2)], 90, PACING_LAG_LIMIT * 2);
    assert_eq!((s.lagging_peers, s.pace()), (2, 90), "two of thirteen are few");
}

#[test]
fn relay_adds_up_peers_that_its_children_have_left_out() {
    let mut acks = Acks::default();
    acks.on_batch(&arrived(None), Time::ZERO, &relay(9));
    let left_out =
        Aggregate { paced: 9, lagging_peers: 3, long_paced: 4, held: 2, peers: 5, sum: 1 };
    acks.on_update(A, &left_out.entry(S), Time::ZERO, &relay(0));
    acks.on_update(B, &entry(9, 9, 1), Time::ZERO, &relay(0));
    let s = acks.aggregate(S, Time::ZERO, &relay(9)).unwrap();
    assert_eq!((s.paced, s.lagging_peers, s.long_paced, s.held, s.peers), (9, 3, 4, 2, 7));
}

#[test]
fn stopped_child_stops_counting_while_nothing_new_arrives() {
    let mut acks = Acks::default();
    let mut now = Time::ZERO;
    acks.on_batch(&arrived(None), now, &relay(10));
    acks.on_update(A, &entry(10, 10, 1), now, &relay(0));
    acks.on_update(B, &entry(5, 5, 1), now, &relay(0));
    let mut told = 0;
    while let Some(at) = acks.deadline() {
        now = at;
        for (_, t) in acks.take_due(now, &relay(10)) {
            told = t.entries[0].paced;
        }
        assert!(now < Time::ZERO + LONG_PACING_LAG_LIMIT * 2, "the acknowledgements end");
    }
    assert_eq!(told, 10);
}

#[test]
fn children_that_report_nothing_stop_a_publisher_only_for_a_while() {
    let mut acks = Acks::default();
    let mut now = Time::ZERO;
    acks.on_batch(&arrived(None), now, &root(10));
    for _ in 0..48 {
        assert_eq!(acks.aggregate(S, now, &root(10)).unwrap().pace(), 0);
        now += MARK_INTERVAL;
        acks.record_own_mark(S, now, 10);
        if now.since(Time::ZERO) >= LONG_PACING_LAG_LIMIT {
            break;
        }
    }
    assert_eq!(acks.aggregate(S, now, &root(10)).unwrap().pace(), 10);
}

#[test]
fn census_is_answered_at_once_by_a_peer_that_has_reported_everything() {
    let mut acks = Acks::default();
    let now = Time::ZERO;
    acks.on_batch(&arrived(Some(1)), now, &relay(1));
    for child in [A, B] {
        acks.on_update(child, &entry(1, 1, 1), now, &relay(1));
    }
    assert_eq!(acks.take_due(now, &relay(1))[&UP].entries[0].held, 1);
    let later = now + ACK_LEAF_DELAY * 3;
    acks.on_census(&arrived(Some(1)), 1, later, &relay(1));
    assert_eq!(acks.take_due(later, &relay(1))[&UP].entries.len(), 1);
}

#[test]
fn repeated_census_and_census_too_soon_are_not_new() {
    let mut acks = Acks::default();
    let now = Time::ZERO;
    assert!(acks.is_new_census(S, 0, now), "of an unknown stream");
    acks.on_census(&arrived(Some(1)), 3, now, &relay(1));
    let later = now + MIN_CENSUS_INTERVAL;
    assert_eq!([2, 3, 4].map(|round| acks.is_new_census(S, round, later)), [false, false, true]);
    assert!(!acks.is_new_census(S, 4, now + MIN_CENSUS_INTERVAL / 2));
}

#[test]
fn small_progress_is_acknowledged_from_the_leaves_up_and_without_silent_children() {
    let all =
        [(None, ACK_LEAF_DELAY, 1), (Some(A), ACK_RELAY_DELAY, 2), (Some(B), ACK_GATHER_DELAY, 3)];
    for (last, after, peers) in all {
        let mut acks = Acks::default();
        let now = Time::ZERO;
        let world = || match last {
            // A leaf.
            None => World { children: &[], ..relay(1) },
            Some(_) => relay(1),
        };
        acks.on_batch(&arrived(None), now, &world());
        let reporting = match last {
            None => &[][..],
            Some(A) => &[A],
            _ => &[A, B],
        };
        for child in reporting {
            acks.on_update(*child, &entry(1, 1, 1), now, &world());
        }
        let due = acks.streams.get_mut(&S).unwrap().due;
        assert_eq!(due, Some(now + after), "{peers}");
        assert_eq!(acks.take_due(now + after, &world())[&UP].entries[0].peers, peers);
    }
}

#[test]
fn new_parent_is_sent_an_acknowledgement_at_once() {
    let moved = || World { parent: Some(A), children: &[B], ..relay(1) };
    // With the next batch, or as soon as the parent changes.
    for batch in [true, false] {
        let mut acks = Acks::default();
        acks.on_batch(&arrived(None), Time::ZERO, &relay(1));
        let told = acks.take_due(Time::ZERO + ACK_RELAY_DELAY, &relay(1));
        assert_eq!((told.len(), told[&UP].entries[0].held), (1, 0));
        let now = Time::ZERO + ACK_RELAY_DELAY * 2;
        if batch {
            acks.on_batch(&arrived(None), now, &moved());
        } else {
            acks.on_parent_change(S.publisher, now);
        }
        let told = acks.take_due(now, &moved());
        assert_eq!((told.len(), told[&A].entries[0].held), (1, 0));
    }
}

#[test]
fn former_child_is_not_part_of_the_subtree() {
    let mut acks = Acks::default();
    acks.on_batch(&arrived(None), Time::ZERO, &relay(1));
    acks.on_update(A, &entry(1, 1, 1), Time::ZERO, &relay(0));
    acks.on_update(B, &entry(0, 0, 7), Time::ZERO, &relay(0));
    let s = acks.aggregate(S, Time::ZERO, &relay(1)).unwrap();
    assert_eq!((s.held, s.peers), (0, 9));
    let without = World { children: &[A], ..relay(1) };
    let s = acks.aggregate(S, Time::ZERO, &without).unwrap();
    assert_eq!((s.held, s.peers), (1, 2));
    assert_eq!(acks.child_aggregates(S, &without).len(), 1);
    // A report of the parent is not about the subtree of this peer.
    assert!(acks.on_update(UP, &entry(0, 0, 7), Time::ZERO, &without));
    let swapped = World { parent: Some(A), children: &[UP], ..relay(1) };
    assert!(acks.child_aggregates(S, &swapped).is_empty());
}

#[test]
fn census_for_names_is_answered_with_own_progress_and_names_of_the_subtree() {
    let mut acks = Acks::default();
    let now = Time::ZERO;
    let holder = |token, held| Holder { token, held };
    let census = ReceivedBatch { wants_names: true, ..arrived(Some(9)) };
    acks.on_census(&census, 1, now, &relay(4));
    let told = acks.take_due(now, &relay(4));
    assert_eq!(told[&UP].entries[0].holders, Some(vec![holder(ack_token(&ME), 4)]));
    // A child names two holders.
    let child_reports = vec![holder(7, 9), holder(8, 2)];
    let e = AckEntry { holders: Some(child_reports.clone()), ..entry(2, 2, 2) };
    assert!(acks.on_update(A, &e, now, &relay(4)));
    assert_eq!(acks.on_holder_names(A, &e, now, &relay(4)), 0);
    let told = acks.take_due(now, &relay(4));
    assert_eq!(told[&UP].entries[0].holders, Some(child_reports));
    // Names are refused from the parent, and for a stream without a census.
    assert_eq!(acks.on_holder_names(UP, &e, now, &relay(4)), 2);
    let other = StreamId { epoch: 2, ..S };
    let e = AckEntry { holders: e.holders, ..entry(2, 2, 2) };
    assert_eq!(
        acks.on_holder_names(A, &AckEntry { epoch: other.epoch, ..e.clone() }, now, &relay(4)),
        2
    );
    // The next census does not ask for names.
    let later = now + MIN_CENSUS_INTERVAL;
    acks.on_census(&arrived(Some(9)), 2, later, &relay(9));
    assert_eq!(acks.take_due(later, &relay(9))[&UP].entries[0].holders, None);
    assert_eq!(acks.on_holder_names(A, &e, later, &relay(9)), 2);
}

#[test]
fn acknowledgements_of_the_own_stream_are_not_evicted_for_other_streams() {
    let mut acks = Acks::default();
    let now = Time::ZERO;
    let own = StreamId { publisher: ME, epoch: 1 };
    acks.on_batch(&ReceivedBatch { stream: own, ..arrived(None) }, now, &relay(1));
    for epoch in 0..2 * MAX_ACK_STREAMS as u64 {
        let stream = StreamId { epoch, ..S };
        acks.on_batch(&ReceivedBatch { stream, ..arrived(None) }, now, &relay(1));
    }
    assert_eq!(acks.streams.len(), MAX_ACK_STREAMS);
    assert!(acks.aggregate(own, now, &relay(1)).is_some());
}
