//! `kill -9` of a peer under load, again and again: every message of the others is in its message
//! log.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rumormill::{Node, seeds_file};
use tokio::time::sleep;

use support::{Place, Running, until};

const KILLS: u64 = 25;
/// Time between two messages.
const EVERY: Duration = Duration::from_millis(10);

fn start_peer(place: &Place, config: &str) -> Running {
    let dir = place.path().join("data");
    let mut peer = place.start(&[
        "peer",
        "--config",
        config,
        "--listen",
        "127.0.0.1:0",
        "--supervised",
        "--name",
        "logger",
        "--data-dir",
        dir.to_str().unwrap(),
    ]);
    peer.go_on();
    peer
}

async fn start_node(config: &str, name: &str) -> Node {
    let seeds = seeds_file::read(config).unwrap();
    let builder = Node::builder().name(name.parse().unwrap()).seeds(seeds);
    builder.listen("127.0.0.1:0".parse().unwrap()).start().await.unwrap()
}

/// The numbers of the messages in the log.
fn logged(log: &Path) -> BTreeSet<u64> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let number = |part: &str| part.split(']').next().and_then(|n| n.parse().ok());
    text.split("[number-").skip(1).filter_map(number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_killed_under_load_logs_every_message_at_least_once() {
    let place = support::new_place();
    let (_seed, config) = place.seed();
    let publisher = start_node(&config, "publisher").await;
    let other = start_node(&config, "other").await;
    publisher.joined().await.unwrap();
    other.joined().await.unwrap();
    let published = Arc::new(AtomicU64::new(0));
    let load = tokio::spawn({
        let (publisher, published) = (publisher.clone(), Arc::clone(&published));
        async move {
            loop {
                let number = published.load(Ordering::Relaxed);
                publisher.publish("load", format!("number-{number}")).await.unwrap();
                published.store(number + 1, Ordering::Relaxed);
                sleep(EVERY).await;
            }
        }
    });
    let log = place.path().join("logs/peers/logger.messages.log");
    for kill in 0..KILLS {
        let seen = logged(&log).len();
        let mut peer = start_peer(&place, &config);
        // The peer is killed at another moment each time, while it logs.
        until("it logs messages", || logged(&log).len() > seen);
        sleep(Duration::from_millis(kill * 37 % 300)).await;
        peer.signal("-KILL");
        peer.wait();
    }
    let mut peer = start_peer(&place, &config);
    load.abort();
    let _ = load.await;
    let all: BTreeSet<u64> = (0..published.load(Ordering::Relaxed)).collect();
    let last = *all.last().unwrap();
    until("the last message is logged", || logged(&log).contains(&last));
    let missing: Vec<u64> = all.difference(&logged(&log)).copied().collect();
    assert!(missing.is_empty(), "{} of {} are missing: {missing:?}", missing.len(), all.len());

    // After an orderly end no message is logged again, because the last acknowledgement is durable.
    peer.close_stdin();
    peer.wait();
    let size = std::fs::metadata(&log).unwrap().len();
    let mut peer = start_peer(&place, &config);
    let id = other.publish("load", format!("number-{}", last + 1)).await.unwrap();
    until("the peer logs further messages", || logged(&log).contains(&(last + 1)));
    let grown = std::fs::metadata(&log).unwrap().len() - size;
    assert!(grown < 200, "{grown} bytes were added for one message ({id})");
    peer.close_stdin();
    peer.wait();
}
