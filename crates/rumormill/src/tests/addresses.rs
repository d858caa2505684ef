//! Remotes with several addresses.

use std::net::SocketAddr;
use std::time::Duration;

use rumormill_proto::{Address, DialId, DialTarget, Output};
use tokio::time::Instant;

use super::harness::{EchoNode, start, tuning};
use crate::listener::Listener;

/// A socket for which the kernel completes connections, but no process reads from them.
fn silent_listener() -> Listener {
    Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap()
}

async fn dial(from: &EchoNode, dial: u64, to: &EchoNode, addresses: &[SocketAddr]) {
    let addresses = addresses.iter().copied().map(Address).collect();
    let to = DialTarget::Peer { id: to.handle.id(), addresses };
    from.emit(vec![Output::Dial { dial: DialId(dial), to }]).await;
}

#[tokio::test]
async fn live_address_behind_dead_ones_is_reached_and_tried_first_next_time() {
    let (a, b, other) = (start(1, tuning()), start(2, tuning()), start(3, tuning()));
    let silent = [silent_listener(), silent_listener()];
    let addresses = [silent[0].local_addr(), silent[1].local_addr(), other.address(), b.address()];
    dial(&a, 1, &b, &addresses).await;
    let (link, info) = a.link_with(b.handle.id()).await;
    assert_eq!((info.dial, info.remote_address), (Some(DialId(1)), b.address()));
    // The second dial starts with the live address, so it waits for no other.
    a.emit(vec![Output::Close { link, reason: rumormill_proto::CloseReason::Done }]).await;
    a.wait_for_end(link).await;
    let started = Instant::now();
    dial(&a, 2, &b, &addresses).await;
    a.wait_for("second link", |s| match s {
        super::harness::RecordedInput::Up(_, info) if info.dial == Some(DialId(2)) => Some(()),
        _ => None,
    })
    .await;
    assert!(started.elapsed() < Duration::from_millis(240), "{:?}", started.elapsed());
}
