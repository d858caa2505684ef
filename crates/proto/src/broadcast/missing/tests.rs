//! Which ranges are pulled, and when they are given up.

use super::give_up::{GIVE_UP_AFTER, GIVE_UP_ALWAYS_AFTER, GIVE_UP_EVICTED_AFTER, MIN_PULLS};
use super::*;

const S: StreamId = StreamId { publisher: PeerId::from_bytes([1; 32]), epoch: 1 };
const A: PeerId = PeerId::from_bytes([2; 32]);
const B: PeerId = PeerId::from_bytes([3; 32]);

fn new_missing() -> MissingRanges {
    MissingRanges::new(Duration::from_secs(600), RngStream::new(&[0; 32], "test"))
}

fn list_of(ranges: &[(u64, u64)]) -> MessageList {
    let mut list = MessageList::default();
    for &(from, to) in ranges {
        list.receive(S, from, to);
    }
    list
}

fn range(from: u64, to: u64) -> Range {
    Range { publisher: S.publisher, epoch: S.epoch, from, to }
}

fn entry(oldest_retained: u64, next: u64, gaps: &[(u64, u64)]) -> SummaryEntry {
    SummaryEntry {
        publisher: S.publisher,
        epoch: S.epoch,
        next,
        gaps: gaps.to_vec(),
        oldest_retained,
    }
}

fn pulls(missing: &mut MissingRanges, list: &MessageList, now: Time) -> Vec<(PeerId, u64, u64)> {
    let due = missing.take_due(list, 2, now);
    due.pulls.iter().flat_map(|(p, r)| r.iter().map(|r| (*p, r.from, r.to))).collect()
}

#[test]
fn announced_range_that_arrives_in_time_is_not_pulled() {
    let (mut missing, mut list) = (new_missing(), list_of(&[(0, 5)]));
    missing.on_announced(&list, A, &range(3, 5), Time::ZERO);
    assert_eq!(missing.deadline(), None, "known already");
    missing.on_announced(&list, A, &range(5, 8), Time::ZERO);
    assert!(missing.deadline().unwrap() > Time::ZERO + MIN_TREE_WAIT);
    list.receive(S, 5, 8);
    missing.on_received(&list, S, Time::from_micros(1000));
    assert_eq!(missing.deadline(), None);
}

#[test]
fn earlier_announcement_is_returned_once_when_its_range_has_arrived() {
    let (mut missing, mut list) = (new_missing(), list_of(&[(0, 5)]));
    let at = |ms: u64| Time::from_micros(ms * 1000);
    missing.on_announced(&list, A, &range(5, 7), at(0));
    missing.on_announced(&list, B, &range(5, 9), at(10));
    assert_eq!(missing.take_earlier_announcement(&list, S, at(20)), EarlierAnnouncement::Pending);
    list.receive(S, 5, 6);
    assert_eq!(
        missing.take_earlier_announcement(&list, S, at(30)),
        EarlierAnnouncement::Pending,
        "not the whole first announcement"
    );
    list.receive(S, 6, 7);
    assert_eq!(
        missing.take_earlier_announcement(&list, S, at(40)),
        EarlierAnnouncement::By(A, Duration::from_millis(40))
    );
    assert_eq!(missing.take_earlier_announcement(&list, S, at(40)), EarlierAnnouncement::None);
}

#[test]
fn announcement_of_messages_that_do_not_exist_is_not_earlier() {
    let (mut missing, mut list) = (new_missing(), list_of(&[(0, 5)]));
    let at = |ms: u64| Time::from_micros(ms * 1000);
    missing.on_announced(&list, A, &range(5, u64::MAX), at(0));
    missing.on_announced(&list, B, &range(5, 7), at(10));
    list.receive(S, 5, 7);
    assert_eq!(
        missing.take_earlier_announcement(&list, S, at(40)),
        EarlierAnnouncement::By(B, Duration::from_millis(30)),
        "B has it"
    );
    // A does not have the announced range, B is gone.
    missing.on_announced(&list, A, &range(7, 9), at(50));
    missing.on_pull_answered(&list, A, &[S], true, at(60));
    missing.on_announced(&list, B, &range(7, 9), at(70));
    missing.forget_source(B, at(80));
    list.receive(S, 7, 9);
    assert_eq!(missing.take_earlier_announcement(&list, S, at(90)), EarlierAnnouncement::None);
}

#[test]
fn range_is_not_pulled_from_others_while_a_source_is_sending_it() {
    let (mut missing, list) = (new_missing(), MessageList::default());
    let at = |ms: u64| Time::from_micros(ms * 1000);
    missing.on_announced(&list, A, &range(0, 9), at(0));
    missing.on_announced(&list, B, &range(0, 9), at(0));
    let due = missing.deadline().unwrap();
    assert_eq!(pulls(&mut missing, &list, due), [(A, 0, 9)]);
    missing.record_pull(A, vec![S], due);
    let mut now = missing.deadline().unwrap();
    for _ in 0..9 {
        missing.on_answer_progress(&A, S, true, now);
        assert_eq!(pulls(&mut missing, &list, now), []);
        now = missing.deadline().unwrap();
    }
    assert_eq!(pulls(&mut missing, &list, now), [(B, 0, 9)], "A has stopped");
}

/// A source holds a stream back; `step` runs every 200 ms until another source is asked.
fn held_back(mut step: impl FnMut(&mut MissingRanges, Time)) {
    let (mut missing, list) = (new_missing(), MessageList::default());
    missing.on_announced(&list, A, &range(0, 9), Time::ZERO);
    missing.on_announced(&list, B, &range(0, 9), Time::ZERO);
    let start = missing.deadline().unwrap();
    assert_eq!(pulls(&mut missing, &list, start), [(A, 0, 9)]);
    missing.record_pull(A, vec![S], start);
    let mut now = start;
    let asked = loop {
        now += Duration::from_millis(200);
        step(&mut missing, now);
        if missing.deadline().is_some_and(|due| due <= now) {
            break pulls(&mut missing, &list, now);
        }
        assert!(now.since(start) < MAX_SILENCE + MAX_RETRY_DELAY, "no other source is asked");
    };
    assert_eq!(asked, [(B, 0, 9)]);
}

#[test]
fn source_that_holds_a_stream_back_does_not_keep_others_from_being_asked() {
    let other = StreamId { epoch: 7, ..S };
    held_back(|missing, now| missing.on_answer_progress(&A, other, true, now));
    held_back(|missing, now| missing.on_answer_progress(&A, S, false, now));
    held_back(|missing, now| assert_eq!(missing.take_pull(A, 0, false, now), None));
    // New messages of the stream, but not the missing ones.
    held_back(|missing, now| missing.on_answer_progress(&A, S, true, now));
}

#[test]
fn announced_range_is_pulled_within_two_seconds_however_slow_trees_are() {
    let (mut missing, mut list) = (new_missing(), MessageList::default());
    let mut now = Time::ZERO;
    for n in 0..20 {
        missing.on_announced(&list, A, &range(n, n + 1), now);
        now += Duration::from_secs(20);
        list.receive(S, n, n + 1);
        missing.on_received(&list, S, now);
    }
    missing.on_announced(&list, A, &range(20, 21), now);
    let wait = missing.deadline().unwrap().since(now);
    assert!((MAX_TREE_WAIT..=Duration::from_secs(2)).contains(&wait), "{wait:?}");
}

#[test]
fn missing_range_is_pulled_from_one_source_after_the_other() {
    let (mut missing, list) = (new_missing(), list_of(&[(0, 5), (7, 8)]));
    missing.on_announced(&list, A, &range(5, 9), Time::ZERO);
    missing.on_announced(&list, B, &range(5, 9), Time::ZERO);
    let at = missing.deadline().unwrap();
    assert_eq!(pulls(&mut missing, &list, at), [(A, 5, 7), (B, 8, 9)]);
    let at = missing.deadline().unwrap();
    assert_eq!(pulls(&mut missing, &list, at), [(A, 8, 9), (B, 5, 7)]);
}

#[test]
fn summary_names_a_source() {
    let (mut missing, list) = (new_missing(), list_of(&[(0, 2)]));
    missing.on_summary_entry(&list, A, &entry(4, 9, &[(5, 7)]), true, Time::ZERO);
    missing.on_summary_entry(&list, B, &entry(0, 2, &[]), true, Time::ZERO);
    assert_eq!(pulls(&mut missing, &list, Time::ZERO), [(A, 4, 9)]);
    missing.on_pull_answered(&list, A, &[S], true, Time::ZERO);
    let at = missing.deadline().unwrap();
    assert_eq!(pulls(&mut missing, &list, at), []);
}

#[test]
fn next_source_is_asked_at_once_after_an_empty_answer() {
    let (mut missing, list) = (new_missing(), list_of(&[(0, 5), (7, 8)]));
    missing.on_skipped(S, A, 7, Time::ZERO);
    missing.on_announced(&list, B, &range(5, 7), Time::ZERO);
    let mut at = missing.deadline().unwrap();
    assert_eq!(pulls(&mut missing, &list, at), [(A, 5, 7)]);
    at += Duration::from_millis(1);
    missing.on_pull_answered(&list, A, &[S], true, at);
    assert_eq!(missing.deadline(), Some(at));
    assert_eq!(pulls(&mut missing, &list, at), [(B, 5, 7)]);
    missing.on_pull_answered(&list, B, &[S], true, at);
    let due = missing.take_due(&list, 4, at);
    assert!(due.pulls.is_empty());
    assert_eq!(due.from_any_neighbour, [range(5, 7)], "without a known source, any may have it");
    assert!(missing.deadline().unwrap() >= at + RETRY_DELAY, "pulls are paced");
    missing.on_announced(&list, PeerId::from_bytes([4; 32]), &range(5, 7), at);
    assert_eq!(missing.deadline(), Some(at + RETRY_DELAY), "a new source is not kept waiting");
}

/// Runs until missing ranges are given up. Returns the time, the number of pulls until then, and
/// the ranges. All answers to pulls are empty.
fn run_until_given_up(
    missing: &mut MissingRanges,
    list: &MessageList,
) -> (Time, u32, Vec<(StreamId, u64, u64)>) {
    let mut pulls_sent = 0;
    loop {
        let at = missing.deadline().unwrap();
        let due = missing.take_due(list, 2, at);
        if !due.given_up.is_empty() {
            return (at, pulls_sent, due.given_up);
        }
        pulls_sent += 1;
        for neighbour in due.pulls.keys() {
            missing.on_pull_answered(list, *neighbour, &[S], true, at);
        }
    }
}

#[test]
fn range_that_others_had_and_do_not_retain_is_given_up() {
    let (mut missing, list) = (new_missing(), list_of(&[(0, 1), (3, 4)]));
    missing.on_summary_entry(&list, A, &entry(1, 4, &[]), true, Time::ZERO);
    missing.on_summary_entry(&list, B, &entry(1, 4, &[]), true, Time::ZERO);
    let (at, pulls_sent, given_up) = run_until_given_up(&mut missing, &list);
    assert!(at >= Time::ZERO + GIVE_UP_EVICTED_AFTER && at < Time::ZERO + GIVE_UP_AFTER, "{at:?}");
    assert!(pulls_sent >= MIN_PULLS, "{pulls_sent}");
    assert_eq!(given_up, [(S, 1, 3)]);
    let mut list = list;
    list.give_up(S, 1, 3);
    let at = missing.deadline().unwrap();
    assert!(missing.take_due(&list, 2, at).given_up.is_empty() && missing.deadline().is_none());
}

/// Under load retained messages turn over in a fraction of a second: a peer that was away for
/// longer is reported at once, and gets the rest.
#[test]
fn range_that_all_neighbours_have_evicted_is_given_up_at_once() {
    let (mut missing, list) = (new_missing(), list_of(&[(0, 10), (20, 30)]));
    missing.review(&list, Time::ZERO);
    // All that B retains has arrived; A has more.
    missing.on_summary_entry(&list, B, &entry(20, 30, &[]), true, Time::ZERO);
    let at = missing.deadline().unwrap();
    assert!(missing.take_due(&list, 2, at).given_up.is_empty(), "A may have it");
    missing.on_summary_entry(&list, A, &entry(50, 90, &[]), true, at);
    let at = missing.deadline().unwrap();
    let due = missing.take_due(&list, 2, at);
    assert_eq!(due.given_up, [(S, 10, 20)]);
    assert!(due.pulls.contains_key(&A));
    missing.on_summary_entry(&list, B, &entry(60, 90, &[]), true, at);
    let due = missing.take_due(&list, 2, missing.deadline().unwrap());
    assert!(at < Time::ZERO + Duration::from_secs(2), "{at:?}");
    assert_eq!(due.given_up, [(S, 10, 20)], "the messages above 30 are only claimed");
}

/// All of them may be cut off from a peer that has the range.
#[test]
fn range_that_others_miss_as_well_is_waited_for_longer() {
    let (mut missing, list) = (new_missing(), list_of(&[(0, 1), (3, 4)]));
    missing.review(&list, Time::ZERO);
    missing.on_summary_entry(&list, A, &entry(0, 4, &[(1, 3)]), true, Time::ZERO);
    missing.on_summary_entry(&list, B, &entry(0, 4, &[(1, 3)]), true, Time::ZERO);
    let (at, _, given_up) = run_until_given_up(&mut missing, &list);
    assert!(at >= Time::ZERO + GIVE_UP_AFTER && at < Time::ZERO + GIVE_UP_ALWAYS_AFTER, "{at:?}");
    assert_eq!(given_up, [(S, 1, 3)]);
}

/// Neighbours that have given up a range report no gap there, and send nothing. If that counted as
/// evicted, each peer that gives up would make the next one do so sooner.
#[test]
fn neighbour_that_gave_up_does_not_hasten_giving_up() {
    let (mut missing, list) = (new_missing(), list_of(&[(0, 1), (3, 4)]));
    missing.on_summary_entry(&list, A, &entry(0, 4, &[]), true, Time::ZERO);
    missing.on_summary_entry(&list, B, &entry(0, 4, &[]), true, Time::ZERO);
    assert!(run_until_given_up(&mut missing, &list).0 >= Time::ZERO + GIVE_UP_AFTER);
}

/// One of two neighbours has given the range up, the other one still misses it.
#[test]
fn range_is_not_given_up_early_while_a_neighbour_still_misses_it() {
    let (mut missing, list) = (new_missing(), list_of(&[(0, 1), (3, 4)]));
    missing.on_summary_entry(&list, A, &entry(0, 4, &[]), true, Time::ZERO);
    missing.on_summary_entry(&list, B, &entry(0, 4, &[(1, 3)]), true, Time::ZERO);
    assert!(run_until_given_up(&mut missing, &list).0 >= Time::ZERO + GIVE_UP_AFTER);
}

/// The neighbours know a later end of a stream than this node, and retain none of its messages.
#[test]
fn evicted_end_of_a_stream_is_given_up_when_enough_neighbours_agree() {
    let (mut missing, list) = (new_missing(), list_of(&[(0, 5)]));
    missing.on_summary_entry(&list, A, &entry(9, 9, &[]), true, Time::ZERO);
    missing.on_summary_entry(&list, B, &entry(9, 9, &[]), true, Time::ZERO);
    let (at, _, given_up) = run_until_given_up(&mut missing, &list);
    assert!(at >= Time::ZERO + GIVE_UP_EVICTED_AFTER && at < Time::ZERO + GIVE_UP_AFTER, "{at:?}");
    assert_eq!(given_up, [(S, 5, 9)]);
}

#[test]
fn end_that_one_neighbour_claims_is_given_up_last() {
    let (mut missing, list) = (new_missing(), list_of(&[(0, 5)]));
    missing.on_summary_entry(&list, A, &entry(9, 9, &[]), true, Time::ZERO);
    missing.on_summary_entry(&list, B, &entry(0, 5, &[]), true, Time::ZERO);
    let (at, _, given_up) = run_until_given_up(&mut missing, &list);
    assert!(at >= Time::ZERO + GIVE_UP_ALWAYS_AFTER, "{at:?}");
    assert_eq!(given_up, [(S, 5, 9)]);
}

#[test]
fn invented_stream_of_an_unknown_publisher_is_never_given_up() {
    let (mut missing, list) = (new_missing(), MessageList::default());
    missing.on_summary_entry(&list, A, &entry(9, 9, &[]), true, Time::ZERO);
    assert_eq!(missing.deadline(), None, "it may be from before this node took part");
    missing.on_summary_entry(&list, A, &entry(3, 9, &[]), true, Time::ZERO);
    for _ in 0..200 {
        let Some(at) = missing.deadline() else { break };
        assert_eq!(missing.take_due(&list, 2, at).given_up, []);
    }
}

#[test]
fn earlier_stream_that_the_publisher_names_is_pulled_and_given_up() {
    let mut list = list_of(&[(0, 5)]);
    let later = StreamId { epoch: 3, ..S };
    list.receive(later, 0, 1);
    let named = StreamId { epoch: 2, ..S };
    list.expect_up_to(named, 4);
    let mut missing = new_missing();
    missing.expect_more(named, Time::ZERO);
    let due = missing.take_due(&list, 2, missing.deadline().unwrap());
    assert_eq!(due.from_any_neighbour.len(), 1);
    let (at, _, given_up) = run_until_given_up(&mut missing, &list);
    assert!(at < Time::ZERO + GIVE_UP_ALWAYS_AFTER + GIVE_UP_AFTER, "{at:?}");
    assert_eq!(given_up, [(named, 0, 4)]);
}

/// On a slow link, answers to pulls of many streams would queue up faster than they are sent.
#[test]
fn source_is_not_pulled_from_before_it_has_answered() {
    let (mut missing, list) = (new_missing(), MessageList::default());
    let other = StreamId { epoch: 2, ..S };
    let at = |ms: u64| Time::from_micros(ms * 1_000);
    missing.on_summary_entry(&list, A, &entry(0, 3, &[]), true, at(0));
    assert_eq!(missing.take_due(&list, 2, at(0)).pulls[&A].len(), 1);
    let nonce = missing.record_pull(A, vec![S], at(0));
    missing.on_summary_entry(&list, A, &SummaryEntry { epoch: 2, ..entry(0, 3, &[]) }, true, at(1));
    assert_eq!(pulls(&mut missing, &list, at(1)), []);
    assert_eq!(missing.take_pull(A, nonce, false, at(100)), Some(vec![S]));
    assert_eq!(missing.take_due(&list, 2, at(100)).pulls[&A], [Range { epoch: 2, ..range(0, 3) }]);
    // A source that does not answer at all is pulled from again in the end.
    missing.record_pull(A, vec![other], at(100));
    assert!(pulls(&mut missing, &list, at(4_000)).is_empty());
    assert!(!pulls(&mut missing, &list, at(4_300)).is_empty());
}

/// Its answer may be in flight, and would be sent again with each pull.
#[test]
fn silent_source_gets_twice_as_long_each_time() {
    let mut missing = new_missing();
    let mut now = Time::ZERO;
    for seconds in [4, 8, 16, 16] {
        missing.record_pull(A, vec![S], now);
        let wait = Duration::from_secs(seconds);
        assert!(!missing.is_free(&A, now + wait - Duration::from_millis(1)), "{seconds} s");
        now += wait;
        assert!(missing.is_free(&A, now), "{seconds} s");
    }
    let nonce = missing.record_pull(A, vec![S], now);
    missing.take_pull(A, nonce, false, now);
    missing.record_pull(A, vec![S], now);
    assert!(missing.is_free(&A, now + MIN_SILENCE));
}

#[test]
fn batch_along_a_tree_keeps_the_reported_start_of_the_sender() {
    let (mut missing, mut list) = (new_missing(), MessageList::default());
    missing.on_summary_entry(&list, A, &entry(5_000, 6_000, &[]), true, Time::ZERO);
    list.receive(S, 6_000, 6_001);
    missing.on_skipped(S, A, 6_000, Time::ZERO);
    assert_eq!(missing.oldest_retained(S), Some(5_000));
    missing.on_skipped(S, B, 6_000, Time::ZERO);
    assert_eq!(missing.oldest_retained(S), Some(5_000), "the other has not reported");
    missing.on_announced(&list, A, &range(4_000, 4_001), Time::ZERO);
    assert_eq!(missing.oldest_retained(S), Some(4_000), "it has received that since");
}

#[test]
fn next_source_is_asked_after_the_usual_answer_time() {
    let (mut missing, list) = (new_missing(), MessageList::default());
    let at = |ms: u64| Time::from_micros(ms * 1_000);
    let nonce = missing.record_pull(A, vec![S], at(0));
    missing.take_pull(A, nonce, false, at(1_000));
    missing.on_summary_entry(&list, A, &entry(0, 3, &[]), true, at(1_000));
    missing.on_summary_entry(&list, B, &entry(0, 3, &[]), true, at(1_000));
    let first = pulls(&mut missing, &list, at(1_000));
    missing.record_pull(first[0].0, vec![S], at(1_000));
    assert_eq!(missing.deadline(), Some(at(4_000)), "the mean and four deviations");
    assert_ne!(pulls(&mut missing, &list, at(4_000))[0].0, first[0].0);
}

#[test]
fn source_whose_answer_continues_is_not_pulled_from_again() {
    let (mut missing, list) = (new_missing(), MessageList::default());
    let at = |ms: u64| Time::from_micros(ms * 1_000);
    missing.on_summary_entry(&list, A, &entry(0, 3, &[]), true, at(0));
    let nonce = missing.record_pull(A, vec![S], at(0));
    missing.on_answer_progress(&A, S, true, at(3_000));
    assert_eq!(pulls(&mut missing, &list, at(5_000)), []);
    // The pull is given up and repeated: then the first answer is none to the second pull.
    assert!(!pulls(&mut missing, &list, at(8_000)).is_empty());
    let second = missing.record_pull(A, vec![S], at(8_000));
    assert_eq!(missing.take_pull(A, nonce, false, at(9_000)), None);
    assert!(!missing.is_free(&A, at(9_000)));
    assert_eq!(missing.take_pull(A, second, false, at(9_500)), Some(vec![S]));
}

/// Much of one stream is missing, little of another: each answer is full.
#[test]
fn stream_that_has_waited_longest_is_pulled_first() {
    let (mut missing, mut list) = (new_missing(), MessageList::default());
    let other = StreamId { epoch: 2, ..S };
    let at = |ms: u64| Time::from_micros(ms * 1_000);
    missing.on_summary_entry(&list, A, &entry(0, 1000, &[]), true, at(0));
    missing.on_summary_entry(&list, A, &SummaryEntry { epoch: 2, ..entry(0, 3, &[]) }, true, at(0));
    let first = |missing: &mut MissingRanges, list: &MessageList, now| {
        missing.take_due(list, 2, now).pulls[&A][0].epoch
    };
    assert_eq!(first(&mut missing, &list, at(0)), S.epoch);
    let nonce = missing.record_pull(A, vec![S, other], at(0));
    list.receive(S, 0, 100);
    let streams = missing.take_pull(A, nonce, false, at(100)).unwrap();
    missing.on_pull_answered(&list, A, &streams, false, at(100));
    assert_eq!(first(&mut missing, &list, at(100)), S.epoch, "its progress is noticed now");
    list.receive(S, 100, 200);
    missing.on_pull_answered(&list, A, &streams, false, at(200));
    assert_eq!(first(&mut missing, &list, at(4_200)), other.epoch);
}

/// An end that only neighbours claim is no gap, so it is pulled as long as one claims to have it.
#[test]
fn claimed_range_is_pulled_also_after_the_last_limit() {
    let (mut missing, list) = (new_missing(), MessageList::default());
    missing.on_summary_entry(&list, A, &entry(0, 3, &[]), true, Time::ZERO);
    let mut late = 0;
    for _ in 0..200 {
        let now = missing.deadline().unwrap();
        let asked = pulls(&mut missing, &list, now);
        late += usize::from(now > Time::ZERO + GIVE_UP_ALWAYS_AFTER && !asked.is_empty());
    }
    assert!(late > 10);
}
