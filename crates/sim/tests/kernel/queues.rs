//! Frames that wait in the queue of a link.

use rumormill_proto::limits::{QUEUE_CONTROL, QUEUE_PAYLOAD};
use rumormill_proto::link_queue::ITEM_OVERHEAD;
use rumormill_proto::wire::Ping;
use rumormill_proto::{Class, LinkId, Output};

use crate::script::{AT_START, Log, MS, dial, lines, listener, scripted_node, world};

fn ping_of(class: Class, nonce: u64) -> Output {
    Output::Send { link: LinkId(0), frame: Ping { nonce }.into(), class }
}

fn nonces(log: &Log) -> Vec<u64> {
    let lines = lines(log);
    let pings = lines.iter().filter_map(|line| line.split_once(" ping "));
    pings.filter_map(|(_, rest)| rest.split(' ').next()?.parse().ok()).collect()
}

#[test]
fn frames_held_during_a_partition_arrive_in_the_order_of_their_class() {
    let mut w = world();
    let (b, b_log) = listener(&mut w);
    let classes = [
        Class::Last,
        Class::Payload,
        Class::Payload,
        Class::Announce,
        Class::Control,
        Class::Liveness,
    ];
    let mut script = vec![(AT_START, dial(0, &w, b))];
    let pings = (0..).zip(classes).map(|(nonce, class)| (200 * MS, ping_of(class, nonce)));
    script.extend(pings);
    let (a, _) = scripted_node(&mut w, script);
    w.run_for(100 * MS);
    w.partition(&[a], &[b]);
    w.run_for(1000 * MS);
    w.heal();
    w.run_for(5000 * MS);
    assert_eq!(nonces(&b_log), [5, 4, 3, 1, 2, 0]);
}

#[test]
fn congestion_of_a_held_link_is_reported_once_until_it_is_relieved() {
    let mut w = world();
    let (b, b_log) = listener(&mut w);
    // More than half of the bound, but not all of it.
    let pings = (QUEUE_PAYLOAD / 2 / ITEM_OVERHEAD) as u64;
    let mut script = vec![(AT_START, dial(0, &w, b))];
    for (at, class) in [(200, Class::Payload), (300, Class::Payload), (8000, Class::Payload)] {
        let count = if at == 300 { 10 } else { pings };
        script.extend((0..count).map(|nonce| (at * MS, ping_of(class, nonce))));
    }
    let (a, a_log) = scripted_node(&mut w, script);
    w.run_for(100 * MS);
    w.partition(&[a], &[b]);
    w.run_for(900 * MS);
    assert_eq!(lines(&a_log)[1..], ["200 congested 0"]);
    w.heal();
    w.run_for(6000 * MS);
    assert_eq!(nonces(&b_log).len() as u64, pings + 10, "every frame was held");
    w.partition(&[a], &[b]);
    w.run_for(1500 * MS);
    assert_eq!(lines(&a_log)[2..], ["8000 congested 0"]);
}

#[test]
fn control_frames_that_a_held_link_cannot_queue_close_it() {
    let mut w = world();
    let (b, _) = listener(&mut w);
    let mut script = vec![(AT_START, dial(0, &w, b))];
    let pings = (QUEUE_CONTROL / ITEM_OVERHEAD) as u64;
    script.extend((0..pings).map(|nonce| (200 * MS, ping_of(Class::Control, nonce))));
    // The frames after the one that closes the link are sent on a link that is not up any more.
    let (a, a_log) = scripted_node(&mut w, script);
    w.run_for(100 * MS);
    w.partition(&[a], &[b]);
    w.run_for(900 * MS);
    assert_eq!(lines(&a_log)[1..], ["200 down 0 Local(TooSlow)"]);
    assert_eq!(w.ledger().queue_drops, 1, "the frame that did not fit is counted");
}

#[test]
fn frames_that_wait_for_a_line_are_sent_after_a_partition() {
    let mut w = world();
    let (b, b_log) = listener(&mut w);
    let mut script = vec![(AT_START, dial(0, &w, b))];
    script.extend((0..100).map(|nonce| (200 * MS, ping_of(Class::Control, nonce))));
    let (a, _) = scripted_node(&mut w, script);
    w.run_for(100 * MS);
    w.set_bandwidth(a, Some(16_000));
    w.run_for(110 * MS);
    w.partition(&[a], &[b]);
    w.run_for(500 * MS);
    assert!(nonces(&b_log).len() < 100, "some frames wait for the line");
    w.heal();
    w.run_for(5000 * MS);
    assert_eq!(nonces(&b_log), (0..100).collect::<Vec<u64>>());
}
