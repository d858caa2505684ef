//! Leaving over real sockets: accepted messages reach other nodes, or `leave` reports that they may
//! not.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{Network, TEST_TIMEOUT, connected};
use rumormill::{
    LeaveError, Node, PeerState, SeedAddress, StoppedError, Subscription, SubscriptionItem,
    UnconfirmedMessages,
};
use tokio::time::{Instant, timeout};

/// Runs of each test. Without the handover of messages, nearly every run loses some.
const RUNS: usize = 20;

async fn publish_all(node: &Node, n: usize) {
    for i in 0..n {
        node.publish("t", format!("message {i}")).await.unwrap();
    }
}

/// Reads until all messages of a publisher with sequence numbers below `n` are there.
async fn receives_all(mut inbox: Subscription, n: usize) {
    let mut got = BTreeSet::new();
    let read = async {
        while got.len() < n {
            match inbox.recv().await.unwrap() {
                SubscriptionItem::Message(m) => assert!(got.insert(m.message.id().sequence)),
                SubscriptionItem::Gap(gap) => panic!("{gap:?}"),
                SubscriptionItem::CaughtUp => {}
            }
        }
    };
    let in_time = timeout(Duration::from_secs(10), read).await.is_ok();
    assert!(in_time, "{} of {n} messages were received", got.len());
}

async fn leaver_loses_nothing(peers: usize, messages: usize) {
    let network = Network::of_seeds(1).await;
    for run in 0..RUNS {
        let peers = network.peers(peers).await;
        connected(&peers).await;
        let inboxes: Vec<Subscription> = peers[1..].iter().map(Node::subscribe).collect();
        publish_all(&peers[0], messages).await;
        assert_eq!(peers[0].leave().await, Ok(()), "run {run}");
        for inbox in inboxes {
            receives_all(inbox, messages).await;
        }
        for peer in &peers[1..] {
            peer.leave().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_that_leaves_after_publishing_to_one_other_loses_no_message() {
    leaver_loses_nothing(2, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_that_leaves_after_publishing_to_three_others_loses_no_message() {
    leaver_loses_nothing(4, 1000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flush_resolves_when_another_node_holds_everything() {
    let network = Network::of_seeds(1).await;
    let anna = network.peer("anna").start().await.unwrap();
    common::joined(&anna).await;
    assert_eq!(anna.flush().await, Ok(()), "nothing was published");
    publish_all(&anna, 5).await;
    let early = timeout(Duration::from_millis(300), anna.flush()).await;
    assert!(early.is_err(), "there is no other node");
    let bert = network.peer("bert").start().await.unwrap();
    timeout(TEST_TIMEOUT, anna.flush()).await.expect("there is another node").unwrap();
    let id = anna.publish("t", "last").await.unwrap();
    timeout(TEST_TIMEOUT, anna.flush()).await.expect("there is another node").unwrap();
    anna.kill();
    anna.stopped().await;
    assert!(bert.get(id).await.unwrap().is_some(), "the other node holds it");
    assert_eq!(anna.flush().await, Err(StoppedError));
}

/// The seed of this peer does not run, and its consumer reads nothing.
#[tokio::test(flavor = "multi_thread")]
async fn peer_that_never_joined_ends_within_its_time_to_leave() {
    let address = common::loopback().local_addr();
    let seed = SeedAddress { host_port: address.to_string(), pin: None };
    let within = Duration::from_secs(1);
    for has_consumer in [false, true] {
        let builder = Node::builder()
            .config(common::config())
            .listener(common::loopback())
            .seeds(vec![seed.clone()]);
        let consumer = builder.consumer().filter(|_| has_consumer);
        let peer = builder.start().await.unwrap();
        publish_all(&peer, 1).await;
        let begun = Instant::now();
        let left = peer.leave_within(within).await;
        assert!(matches!(left, Err(LeaveError::Unconfirmed(_))), "{left:?}");
        let took = begun.elapsed();
        assert!(
            took < within + Duration::from_millis(1500),
            "{took:?}, with a consumer: {has_consumer}"
        );
        drop(consumer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_reports_how_many_messages_it_could_not_hand_over() {
    let network = Network::of_seeds(1).await;
    let anna = network.peer("anna").start().await.unwrap();
    let bert = network.peer("bert").start().await.unwrap();
    connected(&[anna.clone(), bert.clone()]).await;
    anna.publish("t", "held by both").await.unwrap();
    anna.flush().await.unwrap();
    let others = [bert.id(), network.seeds[0].id()];
    anna.partition_from(others);
    publish_all(&anna, 3).await;
    let begun = Instant::now();
    let first = {
        let anna = anna.clone();
        tokio::spawn(async move { anna.leave().await })
    };
    common::wait_until("the node is leaving, and still answers", || async {
        (anna.snapshot().await.unwrap().state == PeerState::Leaving).then_some(())
    })
    .await;
    assert!(anna.publish("t", "too late").await.is_err());
    let second = anna.leave_within(Duration::from_secs(2)).await;
    assert!(begun.elapsed() < Duration::from_secs(8), "the shorter time holds");
    let Err(LeaveError::Unconfirmed(what)) = second else { panic!("{second:?}") };
    let UnconfirmedMessages { from, to, .. } = what;
    assert_eq!((from, to, what.messages()), (1, 4, 3));
    assert_eq!(first.await.unwrap(), second);
    assert!(second.unwrap_err().to_string().contains("3 messages"), "{second:?}");
}
