//! Slow remotes, full queues, and how links end.

use std::time::Duration;

use rumormill_proto::link_queue::QueueLimits;
use rumormill_proto::record::Address;
use rumormill_proto::wire::{self, Frame, Neighbourhood, Ping};
use rumormill_proto::{Class, CloseReason, Event, LinkEnd, LinkId, Output};

use super::harness::{
    EchoNode, RecordedInput, identity, pair, raw_link, start, tuning, wait_until,
};
use crate::tuning::Tuning;

/// A frame of about 11 KiB.
fn bulky() -> Frame {
    let address = Address("192.0.2.1:7000".parse().unwrap());
    let neighbours = vec![(identity(1).id(), address); 256];
    Neighbourhood { neighbours: neighbours.into(), degree: 256, target: 256 }.into()
}

/// Frames of more bytes in all than the kernel buffers for a remote that does not read.
const FRAMES_BEYOND_KERNEL_BUFFERS: usize = 2000;

fn send_outputs(link: LinkId, class: Class) -> Vec<Output> {
    (0..FRAMES_BEYOND_KERNEL_BUFFERS)
        .map(|_| Output::Send { link, frame: bulky(), class })
        .collect()
}

async fn ends_too_slow(b: &mut EchoNode, link: LinkId) {
    assert_eq!(b.wait_for_end(link).await, LinkEnd::Local(CloseReason::TooSlow));
    b.wait_for_event(|e| {
        matches!(e, Event::LinkClosed { reason: CloseReason::TooSlow, .. }).then_some(())
    })
    .await;
    b.wait_for_counter("links_too_slow", 1).await;
    let downs = b
        .recorded()
        .iter()
        .filter(|s| matches!(s, RecordedInput::Down(l, _) if *l == link))
        .count();
    assert_eq!(downs, 1);
}

#[tokio::test]
async fn control_queue_overflow_closes_only_its_own_link() {
    let queue = QueueLimits { control: 1 << 20, ..QueueLimits::STANDARD };
    let mut b = start(2, Tuning { queue, ..tuning() });
    let _never_reads = raw_link(b.address(), &identity(5)).await;
    let _other = raw_link(b.address(), &identity(6)).await;
    let (link, _) = b.link_with(identity(5).id()).await;
    let (other, _) = b.link_with(identity(6).id()).await;
    b.emit(send_outputs(link, Class::Control)).await;
    ends_too_slow(&mut b, link).await;
    assert!(b.counters().get("dropped_control") >= 1);
    assert!(!b.recorded().iter().any(|s| matches!(s, RecordedInput::Down(l, _) if *l == other)));
}

#[tokio::test]
async fn remote_that_reads_nothing_until_the_stall_timeout_loses_its_link() {
    let queue = QueueLimits { control: 1 << 30, ..QueueLimits::STANDARD };
    let tuning = Tuning { queue, read_stall: Duration::from_millis(300), ..tuning() };
    let mut b = start(2, tuning);
    let _never_reads = raw_link(b.address(), &identity(5)).await;
    let (link, _) = b.link_with(identity(5).id()).await;
    b.emit(send_outputs(link, Class::Control)).await;
    ends_too_slow(&mut b, link).await;
}

#[tokio::test]
async fn dropped_payloads_and_announcements_are_counted_and_link_stays() {
    let b = start(2, tuning());
    let _never_reads = raw_link(b.address(), &identity(5)).await;
    let (link, _) = b.link_with(identity(5).id()).await;
    let mut outputs = send_outputs(link, Class::Payload);
    outputs.extend(send_outputs(link, Class::Announce));
    b.emit(outputs).await;
    wait_until("drops are counted", || {
        let c = b.counters();
        (c.get("dropped_payload") > 0 && c.get("dropped_announce") > 0).then_some(())
    })
    .await;
    assert!(!b.recorded().iter().any(|s| matches!(s, RecordedInput::Down(..))));
}

#[tokio::test]
async fn slow_link_does_not_delay_other_links() {
    let (a, at_a, b, at_b) = pair(&tuning()).await;
    let _never_reads = raw_link(b.address(), &identity(5)).await;
    let (slow, _) = b.link_with(identity(5).id()).await;
    b.emit(send_outputs(slow, Class::Payload)).await;
    b.emit(vec![Output::Send {
        link: at_b,
        frame: Ping { nonce: 1 }.into(),
        class: Class::Control,
    }])
    .await;
    a.wait_for("the ping", |s| {
        matches!(s, RecordedInput::Frame(l, "Ping") if *l == at_a).then_some(())
    })
    .await;
}

#[tokio::test]
async fn queued_frames_are_written_before_the_close_reason() {
    let (a, at_a, b, at_b) = pair(&tuning()).await;
    let mut outputs: Vec<Output> = (0..100)
        .map(|_| Output::Send { link: at_a, frame: bulky(), class: Class::Control })
        .collect();
    outputs.push(Output::Close { link: at_a, reason: CloseReason::EdgeTransferred });
    a.emit(outputs).await;
    assert_eq!(b.wait_for_end(at_b).await, LinkEnd::Closed(CloseReason::EdgeTransferred));
    assert_eq!(a.wait_for_end(at_a).await, LinkEnd::Local(CloseReason::EdgeTransferred));
    let frames = b
        .recorded()
        .iter()
        .filter(|s| matches!(s, RecordedInput::Frame(l, _) if *l == at_b))
        .count();
    assert_eq!(frames, 100);
    assert_eq!(a.counters().get("links_closed_local"), 1);
    assert_eq!(b.counters().get("links_closed_remote"), 1);
    // A later frame for the closed link is dropped.
    a.send(at_a, bulky(), Class::Control).await;
    a.wait_for_counter("dropped_link_gone", 1).await;
}

#[tokio::test]
async fn closed_link_ends_although_remote_does_not_react() {
    let b = start(2, Tuning { close_flush: Duration::from_millis(200), ..tuning() });
    let mut silent = raw_link(b.address(), &identity(5)).await;
    let (link, _) = b.link_with(identity(5).id()).await;
    // The remote keeps sending; its frames are ignored.
    b.emit(vec![Output::Close { link, reason: CloseReason::Idle }]).await;
    let ping = wire::encode(&Ping { nonce: 1 }.into()).to_bytes();
    let _ = tokio::io::AsyncWriteExt::write_all(&mut silent, &ping).await;
    assert_eq!(b.wait_for_end(link).await, LinkEnd::Local(CloseReason::Idle));
    assert!(!b.recorded().iter().any(|s| matches!(s, RecordedInput::Frame(..))));
}

#[tokio::test]
async fn link_closed_by_both_ends_at_once_ends_once_at_each() {
    let (a, at_a, b, at_b) = pair(&tuning()).await;
    tokio::join!(
        a.emit(vec![Output::Close { link: at_a, reason: CloseReason::Idle }]),
        b.emit(vec![Output::Close { link: at_b, reason: CloseReason::Done }])
    );
    for (node, link) in [(&a, at_a), (&b, at_b)] {
        node.wait_for_end(link).await;
        let downs = node.recorded().iter().filter(|s| matches!(s, RecordedInput::Down(..))).count();
        assert_eq!(downs, 1);
    }
}
