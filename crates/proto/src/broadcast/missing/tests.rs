//! What is asked for, and when it is given up.

use super::patience::{ATTEMPTS, COMMON_PATIENCE, LAST_PATIENCE, PATIENCE};
use super::*;

const S: StreamId = StreamId { publisher: PeerId::from_bytes([1; 32]), epoch: 1 };
const A: PeerId = PeerId::from_bytes([2; 32]);
const B: PeerId = PeerId::from_bytes([3; 32]);

fn missing() -> Missing {
    Missing::new(Duration::from_secs(600), Stream::new(&[0; 32], "test"))
}

fn list(ranges: &[(u64, u64)]) -> MessageList {
    let mut l = MessageList::default();
    for &(from, to) in ranges {
        l.receive(S, from, to);
    }
    l
}

fn range(from: u64, to: u64) -> Range {
    Range { publisher: S.publisher, epoch: S.epoch, from, to }
}

fn entry(floor: u64, next: u64, gaps: &[(u64, u64)]) -> SummaryEntry {
    SummaryEntry { publisher: S.publisher, epoch: S.epoch, next, gaps: gaps.to_vec(), floor }
}

fn pulls(m: &mut Missing, l: &MessageList, now: Time) -> Vec<(PeerId, u64, u64)> {
    let due = m.due(l, 2, now);
    due.pulls.iter().flat_map(|(p, r)| r.iter().map(|r| (*p, r.from, r.to))).collect()
}

#[test]
fn what_is_announced_and_comes_is_not_pulled() {
    let (mut m, mut l) = (missing(), list(&[(0, 5)]));
    m.announced(&l, A, &range(3, 5), Time::ZERO);
    assert_eq!(m.deadline(), None, "known already");
    m.announced(&l, A, &range(5, 8), Time::ZERO);
    assert!(m.deadline().unwrap() > Time::ZERO + SHORTEST_WAIT);
    l.receive(S, 5, 8);
    m.received(&l, S, Time::from_micros(1000));
    assert_eq!(m.deadline(), None);
}

#[test]
fn who_was_ahead_is_told_when_it_has_come_and_once() {
    let (mut m, mut l) = (missing(), list(&[(0, 5)]));
    let at = |ms: u64| Time::from_micros(ms * 1000);
    m.announced(&l, A, &range(5, 7), at(0));
    m.announced(&l, B, &range(5, 9), at(10));
    assert_eq!(m.take_lead(&l, S, at(20)), Lead::Open, "nothing has come");
    l.receive(S, 5, 6);
    assert_eq!(m.take_lead(&l, S, at(30)), Lead::Open, "not all that the first one announced");
    l.receive(S, 6, 7);
    assert_eq!(m.take_lead(&l, S, at(40)), Lead::Of(A, Duration::from_millis(40)));
    assert_eq!(m.take_lead(&l, S, at(40)), Lead::None);
}

#[test]
fn what_does_not_exist_puts_nobody_ahead() {
    let (mut m, mut l) = (missing(), list(&[(0, 5)]));
    let at = |ms: u64| Time::from_micros(ms * 1000);
    m.announced(&l, A, &range(5, u64::MAX), at(0));
    m.announced(&l, B, &range(5, 7), at(10));
    l.receive(S, 5, 7);
    assert_eq!(m.take_lead(&l, S, at(40)), Lead::Of(B, Duration::from_millis(30)), "B has it");
    // It has not what it announced, or is gone.
    m.announced(&l, A, &range(7, 9), at(50));
    m.answered(&l, A, &[S], true, at(60));
    m.announced(&l, B, &range(7, 9), at(70));
    m.forget_source(B, at(80));
    l.receive(S, 7, 9);
    assert_eq!(m.take_lead(&l, S, at(90)), Lead::None);
}

#[test]
fn what_a_neighbour_is_sending_is_not_asked_of_others() {
    let (mut m, l) = (missing(), MessageList::default());
    let at = |ms: u64| Time::from_micros(ms * 1000);
    m.announced(&l, A, &range(0, 9), at(0));
    m.announced(&l, B, &range(0, 9), at(0));
    let due = m.deadline().unwrap();
    assert_eq!(pulls(&mut m, &l, due), [(A, 0, 9)]);
    m.asked(A, vec![S], due);
    let mut now = m.deadline().unwrap();
    for _ in 0..9 {
        m.answer_goes_on(&A, S, true, now);
        assert_eq!(pulls(&mut m, &l, now), []);
        now = m.deadline().unwrap();
    }
    assert_eq!(pulls(&mut m, &l, now), [(B, 0, 9)], "A has stopped");
}

/// What is told of the pull of a stream, every 200 ms, by a neighbour that holds the stream back.
fn held_back(mut tell: impl FnMut(&mut Missing, Time)) {
    let (mut m, l) = (missing(), MessageList::default());
    m.announced(&l, A, &range(0, 9), Time::ZERO);
    m.announced(&l, B, &range(0, 9), Time::ZERO);
    let start = m.deadline().unwrap();
    assert_eq!(pulls(&mut m, &l, start), [(A, 0, 9)]);
    m.asked(A, vec![S], start);
    let mut now = start;
    let asked = loop {
        now += Duration::from_millis(200);
        tell(&mut m, now);
        if m.deadline().is_some_and(|due| due <= now) {
            break pulls(&mut m, &l, now);
        }
        assert!(now.since(start) < LONGEST_ANSWER + LONGEST_RETRY, "nobody else is asked");
    };
    assert_eq!(asked, [(B, 0, 9)]);
}

#[test]
fn neighbour_that_holds_a_stream_back_does_not_keep_others_from_being_asked() {
    let other = StreamId { epoch: 7, ..S };
    held_back(|m, now| m.answer_goes_on(&A, other, true, now));
    held_back(|m, now| m.answer_goes_on(&A, S, false, now));
    held_back(|m, now| assert_eq!(m.take_asked(A, 0, false, now), None));
    // New messages of the stream, but not those that are missing.
    held_back(|m, now| m.answer_goes_on(&A, S, true, now));
}

#[test]
fn what_is_announced_is_pulled_within_two_seconds_however_late_trees_are() {
    let (mut m, mut l) = (missing(), MessageList::default());
    let mut now = Time::ZERO;
    for n in 0..20 {
        m.announced(&l, A, &range(n, n + 1), now);
        now += Duration::from_secs(20);
        l.receive(S, n, n + 1);
        m.received(&l, S, now);
    }
    m.announced(&l, A, &range(20, 21), now);
    let wait = m.deadline().unwrap().since(now);
    assert!((LONGEST_WAIT..=Duration::from_secs(2)).contains(&wait), "{wait:?}");
}

#[test]
fn what_does_not_come_is_pulled_from_one_after_the_other() {
    let (mut m, l) = (missing(), list(&[(0, 5), (7, 8)]));
    m.announced(&l, A, &range(5, 9), Time::ZERO);
    m.announced(&l, B, &range(5, 9), Time::ZERO);
    let at = m.deadline().unwrap();
    assert_eq!(pulls(&mut m, &l, at), [(A, 5, 7), (B, 8, 9)]);
    let at = m.deadline().unwrap();
    assert_eq!(pulls(&mut m, &l, at), [(A, 8, 9), (B, 5, 7)]);
}

#[test]
fn a_summary_says_who_has_it() {
    let (mut m, l) = (missing(), list(&[(0, 2)]));
    m.told(&l, A, &entry(4, 9, &[(5, 7)]), true, Time::ZERO);
    m.told(&l, B, &entry(0, 2, &[]), true, Time::ZERO);
    assert_eq!(pulls(&mut m, &l, Time::ZERO), [(A, 4, 9)]);
    m.answered(&l, A, &[S], true, Time::ZERO);
    let at = m.deadline().unwrap();
    assert_eq!(pulls(&mut m, &l, at), []);
}

#[test]
fn after_an_empty_answer_somebody_else_is_asked_at_once() {
    let (mut m, l) = (missing(), list(&[(0, 5), (7, 8)]));
    m.hole(S, A, 7, Time::ZERO);
    m.announced(&l, B, &range(5, 7), Time::ZERO);
    let mut at = m.deadline().unwrap();
    assert_eq!(pulls(&mut m, &l, at), [(A, 5, 7)]);
    at += Duration::from_millis(1);
    m.answered(&l, A, &[S], true, at);
    assert_eq!(m.deadline(), Some(at));
    assert_eq!(pulls(&mut m, &l, at), [(B, 5, 7)]);
    m.answered(&l, B, &[S], true, at);
    let due = m.due(&l, 4, at);
    assert!(due.pulls.is_empty());
    assert_eq!(due.ask_anybody, [range(5, 7)], "nobody is known to have it: anybody may");
    assert!(m.deadline().unwrap() >= at + RETRY, "not as fast as it goes");
    m.announced(&l, PeerId::from_bytes([4; 32]), &range(5, 7), at);
    assert_eq!(m.deadline(), Some(at + RETRY), "a new one is not kept waiting");
}

/// When what is missing is given up, how often it was asked for by then, and what that is. The
/// neighbours that are asked answer with nothing.
fn given_up(m: &mut Missing, l: &MessageList) -> (Time, u32, Vec<(StreamId, u64, u64)>) {
    let mut tries = 0;
    loop {
        let at = m.deadline().unwrap();
        let due = m.due(l, 2, at);
        if !due.lost.is_empty() {
            return (at, tries, due.lost);
        }
        tries += 1;
        for who in due.pulls.keys() {
            m.answered(l, *who, &[S], true, at);
        }
    }
}

#[test]
fn what_others_had_and_nobody_keeps_is_given_up() {
    let (mut m, l) = (missing(), list(&[(0, 1), (3, 4)]));
    m.told(&l, A, &entry(1, 4, &[]), true, Time::ZERO);
    m.told(&l, B, &entry(1, 4, &[]), true, Time::ZERO);
    let (at, tries, lost) = given_up(&mut m, &l);
    assert!(at >= Time::ZERO + PATIENCE && at < Time::ZERO + COMMON_PATIENCE, "{at:?}");
    assert!(tries >= ATTEMPTS, "{tries}");
    assert_eq!(lost, [(S, 1, 3)]);
    let mut l = l;
    l.give_up(S, 1, 3);
    let at = m.deadline().unwrap();
    assert!(m.due(&l, 2, at).lost.is_empty() && m.deadline().is_none());
}

/// Under load what is kept turns over in a fraction of a second: who was away for longer is told at
/// once, and gets what is left.
#[test]
fn what_made_room_for_others_everywhere_is_given_up_at_once() {
    let (mut m, l) = (missing(), list(&[(0, 10), (20, 30)]));
    m.review(&l, Time::ZERO);
    // All that B keeps has come; A has more.
    m.told(&l, B, &entry(20, 30, &[]), true, Time::ZERO);
    let at = m.deadline().unwrap();
    assert!(m.due(&l, 2, at).lost.is_empty(), "A may have it");
    m.told(&l, A, &entry(50, 90, &[]), true, at);
    let at = m.deadline().unwrap();
    let due = m.due(&l, 2, at);
    assert_eq!(due.lost, [(S, 10, 20)]);
    assert!(due.pulls.contains_key(&A));
    m.told(&l, B, &entry(60, 90, &[]), true, at);
    let due = m.due(&l, 2, m.deadline().unwrap());
    assert!(at < Time::ZERO + Duration::from_secs(2), "{at:?}");
    assert_eq!(due.lost, [(S, 10, 20)], "that there is more above 30 is only their word");
}

/// They may be cut off together from somebody who has it.
#[test]
fn what_others_look_for_as_well_is_waited_for_longer() {
    let (mut m, l) = (missing(), list(&[(0, 1), (3, 4)]));
    m.review(&l, Time::ZERO);
    m.told(&l, A, &entry(0, 4, &[(1, 3)]), true, Time::ZERO);
    m.told(&l, B, &entry(0, 4, &[(1, 3)]), true, Time::ZERO);
    let (at, _, lost) = given_up(&mut m, &l);
    assert!(at >= Time::ZERO + COMMON_PATIENCE && at < Time::ZERO + LAST_PATIENCE, "{at:?}");
    assert_eq!(lost, [(S, 1, 3)]);
}

/// Neighbours that have given it up say that nothing is missing there, and have nothing. If that counted
/// as if they had had it, each that gives up would make the next one do so sooner.
#[test]
fn who_gives_up_hastens_nobody() {
    let (mut m, l) = (missing(), list(&[(0, 1), (3, 4)]));
    m.told(&l, A, &entry(0, 4, &[]), true, Time::ZERO);
    m.told(&l, B, &entry(0, 4, &[]), true, Time::ZERO);
    assert!(given_up(&mut m, &l).0 >= Time::ZERO + COMMON_PATIENCE);
}

/// One of two has given it up, the other one looks for it.
#[test]
fn one_that_has_given_up_decides_for_nobody() {
    let (mut m, l) = (missing(), list(&[(0, 1), (3, 4)]));
    m.told(&l, A, &entry(0, 4, &[]), true, Time::ZERO);
    m.told(&l, B, &entry(0, 4, &[(1, 3)]), true, Time::ZERO);
    assert!(given_up(&mut m, &l).0 >= Time::ZERO + COMMON_PATIENCE);
}

/// Neighbours know more of a stream than this node, and keep none of it.
#[test]
fn tail_that_nobody_keeps_is_given_up_when_enough_neighbours_agree() {
    let (mut m, l) = (missing(), list(&[(0, 5)]));
    m.told(&l, A, &entry(9, 9, &[]), true, Time::ZERO);
    m.told(&l, B, &entry(9, 9, &[]), true, Time::ZERO);
    let (at, _, lost) = given_up(&mut m, &l);
    assert!(at >= Time::ZERO + PATIENCE && at < Time::ZERO + COMMON_PATIENCE, "{at:?}");
    assert_eq!(lost, [(S, 5, 9)]);
}

#[test]
fn tail_that_one_neighbour_claims_is_given_up_last() {
    let (mut m, l) = (missing(), list(&[(0, 5)]));
    m.told(&l, A, &entry(9, 9, &[]), true, Time::ZERO);
    m.told(&l, B, &entry(0, 5, &[]), true, Time::ZERO);
    let (at, _, lost) = given_up(&mut m, &l);
    assert!(at >= Time::ZERO + LAST_PATIENCE, "{at:?}");
    assert_eq!(lost, [(S, 5, 9)]);
}

#[test]
fn made_up_stream_of_an_unknown_publisher_is_never_given_up() {
    let (mut m, l) = (missing(), MessageList::default());
    m.told(&l, A, &entry(9, 9, &[]), true, Time::ZERO);
    assert_eq!(m.deadline(), None, "it may be of the time before this node took part");
    m.told(&l, A, &entry(3, 9, &[]), true, Time::ZERO);
    for _ in 0..200 {
        let Some(at) = m.deadline() else { break };
        assert_eq!(m.due(&l, 2, at).lost, []);
    }
}

#[test]
fn earlier_stream_that_the_publisher_names_is_asked_for_and_given_up() {
    let mut l = list(&[(0, 5)]);
    let later = StreamId { epoch: 3, ..S };
    l.receive(later, 0, 1);
    let named = StreamId { epoch: 2, ..S };
    l.expect(named, 4);
    let mut m = missing();
    m.expect(named, Time::ZERO);
    let due = m.due(&l, 2, m.deadline().unwrap());
    assert_eq!(due.ask_anybody.len(), 1);
    let (at, _, lost) = given_up(&mut m, &l);
    assert!(at < Time::ZERO + LAST_PATIENCE + COMMON_PATIENCE, "{at:?}");
    assert_eq!(lost, [(named, 0, 4)]);
}

/// On a slow link, answers to pulls of many streams would pile up faster than they leave.
#[test]
fn neighbour_is_not_pulled_from_before_it_has_answered() {
    let (mut m, l) = (missing(), MessageList::default());
    let other = StreamId { epoch: 2, ..S };
    let at = |ms: u64| Time::from_micros(ms * 1_000);
    m.told(&l, A, &entry(0, 3, &[]), true, at(0));
    assert_eq!(m.due(&l, 2, at(0)).pulls[&A].len(), 1);
    let nonce = m.asked(A, vec![S], at(0));
    m.told(&l, A, &SummaryEntry { epoch: 2, ..entry(0, 3, &[]) }, true, at(1));
    assert_eq!(pulls(&mut m, &l, at(1)), []);
    assert_eq!(m.take_asked(A, nonce, false, at(100)), Some(vec![S]));
    assert_eq!(m.due(&l, 2, at(100)).pulls[&A], [Range { epoch: 2, ..range(0, 3) }]);
    // One that does not answer at all is asked again in the end.
    m.asked(A, vec![other], at(100));
    assert!(pulls(&mut m, &l, at(4_000)).is_empty());
    assert!(!pulls(&mut m, &l, at(4_300)).is_empty());
}

/// Its answer may be on its way, and would be sent again with each pull.
#[test]
fn neighbour_that_does_not_answer_gets_twice_as_long_each_time() {
    let mut m = missing();
    let mut now = Time::ZERO;
    for seconds in [4, 8, 16, 16] {
        m.asked(A, vec![S], now);
        let wait = Duration::from_secs(seconds);
        assert!(!m.is_free(&A, now + wait - Duration::from_millis(1)), "{seconds} s");
        now += wait;
        assert!(m.is_free(&A, now), "{seconds} s");
    }
    let nonce = m.asked(A, vec![S], now);
    m.take_asked(A, nonce, false, now);
    m.asked(A, vec![S], now);
    assert!(m.is_free(&A, now + SHORTEST_ANSWER));
}

#[test]
fn batch_along_a_tree_leaves_from_where_its_sender_said_it_keeps_the_stream() {
    let (mut m, mut l) = (missing(), MessageList::default());
    m.told(&l, A, &entry(5_000, 6_000, &[]), true, Time::ZERO);
    l.receive(S, 6_000, 6_001);
    m.hole(S, A, 6_000, Time::ZERO);
    assert_eq!(m.floor(S), Some(5_000));
    m.hole(S, B, 6_000, Time::ZERO);
    assert_eq!(m.floor(S), Some(5_000), "the other has not said");
    m.announced(&l, A, &range(4_000, 4_001), Time::ZERO);
    assert_eq!(m.floor(S), Some(4_000), "it has got that since");
}

#[test]
fn next_neighbour_is_asked_when_an_answer_usually_would_have_come() {
    let (mut m, l) = (missing(), MessageList::default());
    let at = |ms: u64| Time::from_micros(ms * 1_000);
    let nonce = m.asked(A, vec![S], at(0));
    m.take_asked(A, nonce, false, at(1_000));
    m.told(&l, A, &entry(0, 3, &[]), true, at(1_000));
    m.told(&l, B, &entry(0, 3, &[]), true, at(1_000));
    let first = pulls(&mut m, &l, at(1_000));
    m.asked(first[0].0, vec![S], at(1_000));
    assert_eq!(m.deadline(), Some(at(4_000)), "the mean, and four deviations");
    assert_ne!(pulls(&mut m, &l, at(4_000))[0].0, first[0].0);
}

#[test]
fn neighbour_whose_answer_goes_on_is_not_asked_again() {
    let (mut m, l) = (missing(), MessageList::default());
    let at = |ms: u64| Time::from_micros(ms * 1_000);
    m.told(&l, A, &entry(0, 3, &[]), true, at(0));
    let nonce = m.asked(A, vec![S], at(0));
    m.answer_goes_on(&A, S, true, at(3_000));
    assert_eq!(pulls(&mut m, &l, at(5_000)), []);
    // It is given up, and pulled from again: then what comes of the first pull is no answer to the second.
    assert!(!pulls(&mut m, &l, at(8_000)).is_empty());
    let second = m.asked(A, vec![S], at(8_000));
    assert_eq!(m.take_asked(A, nonce, false, at(9_000)), None);
    assert!(!m.is_free(&A, at(9_000)));
    assert_eq!(m.take_asked(A, second, false, at(9_500)), Some(vec![S]));
}

/// Much is missing of one stream, little of another: each answer is full.
#[test]
fn stream_that_has_waited_longest_comes_first() {
    let (mut m, mut l) = (missing(), MessageList::default());
    let other = StreamId { epoch: 2, ..S };
    let at = |ms: u64| Time::from_micros(ms * 1_000);
    m.told(&l, A, &entry(0, 1000, &[]), true, at(0));
    m.told(&l, A, &SummaryEntry { epoch: 2, ..entry(0, 3, &[]) }, true, at(0));
    let first = |m: &mut Missing, l: &MessageList, now| m.due(l, 2, now).pulls[&A][0].epoch;
    assert_eq!(first(&mut m, &l, at(0)), S.epoch);
    let nonce = m.asked(A, vec![S, other], at(0));
    l.receive(S, 0, 100);
    let streams = m.take_asked(A, nonce, false, at(100)).unwrap();
    m.answered(&l, A, &streams, false, at(100));
    assert_eq!(first(&mut m, &l, at(100)), S.epoch, "that it moves is found out now");
    l.receive(S, 100, 200);
    m.answered(&l, A, &streams, false, at(200));
    assert_eq!(first(&mut m, &l, at(4_200)), other.epoch);
}

/// What only neighbours say there is is no gap, so it is asked for as long as one says that it has it.
#[test]
fn what_somebody_has_is_asked_for_also_when_patience_is_over() {
    let (mut m, l) = (missing(), MessageList::default());
    m.told(&l, A, &entry(0, 3, &[]), true, Time::ZERO);
    let mut late = 0;
    for _ in 0..200 {
        let now = m.deadline().unwrap();
        let asked = pulls(&mut m, &l, now);
        late += usize::from(now > Time::ZERO + LAST_PATIENCE && !asked.is_empty());
    }
    assert!(late > 10);
}
