//! The log of deliveries and the subscriptions that read it.

use std::sync::Arc;
use std::time::Duration;

use rumormill_proto::{Delivery, MessageId, WallTime};
use tokio::time::Instant;

use super::batches::Publisher;
use super::harness::identity;
use crate::log::Log;
use crate::subscription::{GapReason, Start, SubscribeOptions, Subscription, SubscriptionItem};

fn log() -> Arc<Log> {
    Arc::new(Log::new())
}

fn from(start: Start) -> SubscribeOptions {
    SubscribeOptions::new().start(start)
}

/// All elements that are available: topics and numbers of messages, and gaps in parentheses (with
/// an exclamation mark if they were not retained).
fn drain_text(s: &mut Subscription) -> String {
    let words = std::iter::from_fn(|| s.try_recv()).map(|r| match r {
        SubscriptionItem::Message(m) => format!("{}{}", m.message.topic(), m.message.id().sequence),
        SubscriptionItem::Gap(g) if g.reason == GapReason::NotRetained => {
            format!("({}-{}!)", g.from, g.to)
        }
        SubscriptionItem::Gap(g) => format!("({}-{})", g.from, g.to),
        SubscriptionItem::CaughtUp => "|".to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn id(n: u8, sequence: u64) -> MessageId {
    MessageId { publisher: identity(n).id(), epoch: 1, sequence }
}

#[tokio::test]
async fn start_now_earliest_and_after_select_the_right_messages() {
    let (log, mut p) = (log(), Publisher::new(&identity(1)));
    let mut q = Publisher::new(&identity(2));
    log.append(p.topics(&["a", "a"]));
    log.append(q.topics(&["b"]));
    log.append(p.topics(&["a", "a"]));
    let mut now = Subscription::open(&log, from(Start::Now));
    let mut earliest = Subscription::open(&log, from(Start::Earliest));
    let mut after = Subscription::open(&log, from(Start::After(id(1, 0))));
    let mut after_last = Subscription::open(&log, from(Start::After(id(1, 3))));
    let mut after_future = Subscription::open(&log, from(Start::After(id(1, 5))));
    let mut after_unknown = Subscription::open(&log, from(Start::After(id(3, 7))));
    log.append(p.topics(&["a", "a", "a"]));
    assert_eq!(drain_text(&mut now), "a4 a5 a6");
    assert_eq!(drain_text(&mut earliest), "a0 a1 b0 a2 a3 a4 a5 a6");
    assert_eq!(drain_text(&mut after), "a1 b0 a2 a3 a4 a5 a6");
    assert_eq!(drain_text(&mut after_last), "a4 a5 a6");
    assert_eq!(drain_text(&mut after_future), "b0 a6", "no message is returned twice");
    assert_eq!(drain_text(&mut after_unknown), "a0 a1 b0 a2 a3 a4 a5 a6");
}

#[tokio::test]
async fn start_now_leaves_out_messages_that_existed_before_the_subscription() {
    let (log, mut p) = (log(), Publisher::new(&identity(1)));
    let mut now = Subscription::open(&log, from(Start::Now));
    let mut all_there_is = Subscription::open(&log, from(Start::Undelivered));
    let aged = |d: Delivery, age| Delivery { age, ..d };
    log.append(aged(p.topics(&["a"]), Duration::from_secs(600)));
    log.append(aged(p.topics(&["a"]), Duration::MAX));
    log.append(p.topics(&["a"]));
    assert_eq!(drain_text(&mut now), "a2");
    assert_eq!(drain_text(&mut all_there_is), "a0 a1 a2");
}

#[tokio::test]
async fn caught_up_is_returned_once_after_the_retained_messages() {
    let (log, mut p) = (log(), Publisher::new(&identity(1)));
    log.restore(vec![p.topics(&["a"])]);
    let mut before = Subscription::open(&log, from(Start::Earliest));
    let mut undelivered = Subscription::open(&log, from(Start::Undelivered));
    let mut now = Subscription::open(&log, from(Start::Now));
    log.append(p.topics(&["a"]));
    log.mark_caught_up();
    log.append(p.topics(&["a"]));
    assert_eq!(drain_text(&mut before), "a0 a1 | a2");
    assert_eq!(drain_text(&mut undelivered), "a1 | a2");
    assert_eq!(drain_text(&mut now), "a1 a2", "this subscription has no history");
    // The node has caught up already: its retained messages are history.
    let mut after = Subscription::open(&log, from(Start::Earliest).topic("b").unwrap());
    log.append(p.topics(&["b"]));
    assert_eq!(drain_text(&mut after), "| b3");
}

#[tokio::test]
async fn partly_delivered_batch_yields_only_the_remaining_messages() {
    let (log, mut p) = (log(), Publisher::new(&identity(1)));
    let mut s = Subscription::open(&log, from(Start::Now));
    let whole = p.topics(&["a", "a", "a", "a"]);
    log.append(Delivery { from: 2, ..whole });
    assert_eq!(drain_text(&mut s), "a2 a3");
}

#[tokio::test]
async fn start_at_a_time_leaves_out_older_messages_but_nothing_delivered_later() {
    let (log, mut p) = (log(), Publisher::new(&identity(1)));
    for at in [1000, 2000, 3000] {
        p.at(WallTime(at));
        log.append(p.topics(&["a", "a"]));
    }
    let mut s = Subscription::open(&log, from(Start::Time(WallTime(2000))));
    let mut none = Subscription::open(&log, from(Start::Time(WallTime(9000))));
    // A publisher whose clock is far behind.
    log.append(Publisher::new(&identity(2)).topics(&["b"]));
    assert_eq!(drain_text(&mut s), "a2 a3 a4 a5 b0");
    assert_eq!(drain_text(&mut none), "b0");
}

#[tokio::test]
async fn subscription_yields_only_messages_that_match_a_topic_or_pattern() {
    let (log, mut p) = (log(), Publisher::new(&identity(1)));
    log.append(p.topics(&["orders.new", "orders", "orders.old.x", "news", ""]));
    let filtered = |patterns: &[&str]| {
        let options = from(Start::Earliest).topics(patterns.iter().copied()).unwrap();
        drain_text(&mut Subscription::open(&log, options))
    };
    assert_eq!(filtered(&["orders.*"]), "orders.new0 orders.old.x2");
    assert_eq!(filtered(&["orders"]), "orders1");
    assert_eq!(filtered(&["news", "orders.*"]), "orders.new0 orders.old.x2 news3");
    assert_eq!(filtered(&[""]), "4");
    assert_eq!(filtered(&[]).split(' ').count(), 5);
    assert_eq!(filtered(&["news", "*"]).split(' ').count(), 5);
    assert!(SubscribeOptions::new().topic("a.*.b").is_err());
    assert!((0..65).try_fold(SubscribeOptions::new(), |o, _| o.topic("a")).is_err());
}

#[tokio::test]
async fn gap_is_returned_at_its_position_in_the_stream() {
    let (log, mut p) = (log(), Publisher::new(&identity(1)));
    let mut all_topics = Subscription::open(&log, from(Start::Now));
    let mut one = Subscription::open(&log, from(Start::Now).topic("b").unwrap());
    log.append(p.topics(&["a", "b"]));
    drop(p.topics(&["a", "a", "a"]));
    log.append_gap(id(1, 0).stream(), 2, 5);
    log.append(p.topics(&["b"]));
    assert_eq!(drain_text(&mut all_topics), "a0 b1 (2-5) b5");
    assert_eq!(drain_text(&mut one), "b1 (2-5) b5");
}

/// Bounds the log to about ten batches of one small message.
fn bound_to_ten(log: &Log, p: &mut Publisher) -> usize {
    let one = p.topics(&["x"]);
    let size = one.batch.size() + 128;
    log.set_bounds(10 * size as u64, Duration::from_secs(3600));
    log.append(one);
    size
}

#[tokio::test]
async fn slow_reader_gets_gaps_for_evicted_messages_and_costs_no_memory() {
    let (log, mut p) = (log(), Publisher::new(&identity(1)));
    let mut q = Publisher::new(&identity(2));
    let size = bound_to_ten(&log, &mut p);
    let mut slow = Subscription::open(&log, from(Start::Earliest));
    let mut stopped = Subscription::open(&log, from(Start::Now));
    assert!(matches!(slow.try_recv(), Some(SubscriptionItem::Message(_))));
    log.append(q.topics(&["q"]));
    for _ in 0..1000 {
        log.append(p.topics(&["a"]));
    }
    let (entries, bytes) = log.size();
    assert!(entries <= 10 && bytes <= 10 * size, "{entries} entries, {bytes} bytes");
    let seen = drain_text(&mut slow);
    // One exact range for each publisher, then all retained messages.
    let (gaps, messages) = seen.split_at(seen.find('a').unwrap());
    let mut gaps: Vec<&str> = gaps.split_whitespace().collect();
    gaps.sort_unstable();
    let first: u64 = messages[1..].split(' ').next().unwrap().parse().unwrap();
    assert_eq!(gaps, ["(0-1!)".to_owned(), format!("(1-{first}!)")]);
    assert!(first > 980 && messages.ends_with("a1000"), "{messages}");
    assert_eq!(drain_text(&mut slow), "", "gaps are returned once");
    // A subscription that never read gets the same gap, from its opening on.
    assert!(drain_text(&mut stopped).starts_with('('));
    // The slow reader continues without a gap.
    log.append(p.topics(&["a"]));
    assert_eq!(drain_text(&mut slow), "a1001");
}

#[tokio::test]
async fn evicted_gap_is_part_of_the_missed_range() {
    let (log, mut p) = (log(), Publisher::new(&identity(1)));
    bound_to_ten(&log, &mut p);
    let mut slow = Subscription::open(&log, from(Start::Now));
    drop(p.topics(&["a", "a"]));
    log.append_gap(id(1, 0).stream(), 1, 3);
    for _ in 0..100 {
        log.append(p.topics(&["a"]));
    }
    let seen = drain_text(&mut slow);
    assert!(seen.starts_with("(1-") && seen.matches('(').count() == 1, "{seen}");
}

#[tokio::test]
async fn start_after_an_evicted_message_begins_with_the_gap() {
    let (log, mut p) = (log(), Publisher::new(&identity(1)));
    bound_to_ten(&log, &mut p);
    for _ in 0..100 {
        log.append(p.topics(&["a"]));
    }
    let mut s = Subscription::open(&log, from(Start::After(id(1, 3))));
    let seen = drain_text(&mut s);
    assert!(seen.starts_with("(4-9") && seen.ends_with("a100"), "{seen}");
    // Also when no message of the publisher is retained.
    let mut q = Publisher::new(&identity(2));
    for _ in 0..20 {
        log.append(q.topics(&["q"]));
    }
    let mut s = Subscription::open(&log, from(Start::After(id(1, 3))));
    assert!(!drain_text(&mut s).contains('('));
    log.append(p.topics(&["a"]));
    assert_eq!(drain_text(&mut s), "(4-101!) a101");
}

#[tokio::test(start_paused = true)]
async fn expired_entry_is_evicted_even_if_no_entry_is_added() {
    let (log, mut p) = (log(), Publisher::new(&identity(1)));
    log.set_bounds(1 << 30, Duration::from_secs(60));
    let mut slow = Subscription::open(&log, from(Start::Now));
    log.append(p.topics(&["a"]));
    tokio::time::advance(Duration::from_secs(40)).await;
    log.append(p.topics(&["a"]));
    tokio::time::advance(Duration::from_secs(30)).await;
    log.evict_expired(Instant::now());
    assert_eq!(log.size().0, 1);
    assert_eq!(drain_text(&mut slow), "(0-1!) a1");
}

#[tokio::test]
async fn restored_deliveries_come_first_and_only_with_start_earliest() {
    let (log, mut p) = (log(), Publisher::new(&identity(1)));
    // Opened before the start, as with a builder.
    let mut now = Subscription::open(&log, from(Start::Now));
    log.restore(vec![p.topics(&["a"]), p.topics(&["a", "a"])]);
    log.append(p.topics(&["a"]));
    assert_eq!(drain_text(&mut now), "a3");
    assert_eq!(drain_text(&mut Subscription::open(&log, from(Start::Earliest))), "a0 a1 a2 a3");
}

#[tokio::test]
async fn waiting_readers_are_woken_and_the_end_comes_last() {
    let (log, mut p) = (log(), Publisher::new(&identity(1)));
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let mut s = Subscription::open(&log, from(Start::Now));
        waiting.push(tokio::spawn(async move {
            let mut messages = 0;
            while s.recv().await.is_some() {
                messages += 1;
            }
            messages
        }));
    }
    tokio::task::yield_now().await;
    log.append(p.topics(&["a", "a"]));
    tokio::task::yield_now().await;
    log.append(p.topics(&["a"]));
    log.close();
    for reader in waiting {
        assert_eq!(reader.await.unwrap(), 3);
    }
    let mut late = Subscription::open(&log, from(Start::Earliest));
    assert_eq!(drain_text(&mut late), "a0 a1 a2");
    assert!(late.recv().await.is_none());
}
