//! Freezing, killing and stopping a node.

use std::time::Duration;

use rumormill_proto::wire::Ping;
use rumormill_proto::{Class, CloseReason, LinkEnd};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::harness::{RecordedInput, pair, start, tuning};
use crate::error::StoppedError;
use crate::listener::Listener;
use crate::subscription::SubscribeOptions;

#[tokio::test]
async fn frozen_node_keeps_its_sockets_and_does_nothing() {
    let (a, at_a, b, at_b) = pair(&tuning()).await;
    b.handle.freeze(true);
    a.send(at_a, Ping { nonce: 1 }.into(), Class::Control).await;
    // The kernel still completes connections for it.
    TcpStream::connect(b.address()).await.unwrap();
    let call = b.handle.call(|_, _| ());
    assert!(timeout(Duration::from_millis(300), call).await.is_err(), "it answered a call");
    assert!(
        !a.recorded()
            .iter()
            .any(|s| matches!(s, RecordedInput::Frame(..) | RecordedInput::Down(..)))
    );
    assert!(!b.recorded().iter().any(|s| matches!(s, RecordedInput::Frame(..))));
    assert_eq!(b.counters().get("connections_accepted"), 1);

    b.handle.freeze(false);
    a.wait_for("the pong", |s| {
        matches!(s, RecordedInput::Frame(l, "Pong") if *l == at_a).then_some(())
    })
    .await;
    b.wait_for_counter("connections_accepted", 2).await;
    assert!(!b.recorded().iter().any(|s| matches!(s, RecordedInput::Down(l, _) if *l == at_b)));
}

#[tokio::test]
async fn killed_node_ends_without_close_reason() {
    let (a, at_a, b, _) = pair(&tuning()).await;
    let mut messages = b.handle.subscribe(SubscribeOptions::new());
    let address = b.address();
    b.handle.kill();
    b.handle.stopped().await;
    assert_eq!(a.wait_for_end(at_a).await, LinkEnd::Lost);
    assert_eq!(b.handle.call(|_, _| ()).await, Err(StoppedError));
    assert_eq!(b.handle.stop().await, Err(StoppedError));
    assert!(messages.recv().await.is_none());
    Listener::bind(address).expect("its port is free");
}

#[tokio::test]
async fn frozen_node_can_be_killed() {
    let (a, at_a, b, _) = pair(&tuning()).await;
    b.handle.freeze(true);
    sleep(Duration::from_millis(20)).await;
    b.handle.kill();
    b.handle.freeze(false);
    b.handle.stopped().await;
    assert_eq!(a.wait_for_end(at_a).await, LinkEnd::Lost);
}

#[tokio::test]
async fn stopped_node_closes_its_links_with_reason_leaving() {
    let (a, at_a, b, _) = pair(&tuning()).await;
    b.handle.stop().await.unwrap();
    assert_eq!(a.wait_for_end(at_a).await, LinkEnd::Closed(CloseReason::Leaving));
    Listener::bind(b.address()).expect("its port is free");
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_node() {
    let (a, at_a, b, _) = pair(&tuning()).await;
    drop(b);
    assert_eq!(a.wait_for_end(at_a).await, LinkEnd::Closed(CloseReason::Leaving));
}

#[tokio::test]
async fn panic_in_the_core_ends_the_node_and_its_links() {
    let (a, at_a, b, _) = pair(&tuning()).await;
    let _ = b.handle.call(|_, _| panic!("planted by this test")).await;
    b.handle.stopped().await;
    assert_eq!(a.wait_for_end(at_a).await, LinkEnd::Lost);
}

#[tokio::test]
async fn wall_clock_is_the_first_input() {
    let a = start(1, tuning());
    a.wait_for("the wall clock", |s| (*s == RecordedInput::WallClock).then_some(())).await;
    assert_eq!(a.recorded().first(), Some(&RecordedInput::WallClock));
}
