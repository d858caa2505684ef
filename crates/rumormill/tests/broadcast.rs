//! Order, flow control and receipts over real loopback sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::*;
use rumormill::{
    Config, MemberState, MessageId, Node, PublishError, ReceiptError, Start, StoppedError,
    SubscribeOptions, Subscription, SubscriptionItem,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Publishes `messages` messages as fast as the send window allows.
fn publish_all(node: &Node, messages: u64, bytes: usize) -> JoinHandle<()> {
    let node = node.clone();
    tokio::spawn(async move {
        let payload = vec![7; bytes];
        for _ in 0..messages {
            node.publish("load", &payload).await.unwrap();
        }
    })
}

/// Reads until `messages` messages were received or reported missing, and checks their order.
async fn read_all(mut inbox: Subscription, messages: u64) -> OrderChecker {
    let mut seen = OrderChecker::default();
    let deadline = Instant::now() + 2 * TEST_TIMEOUT;
    while seen.messages + seen.missing < messages {
        let left = deadline.saturating_duration_since(Instant::now());
        let received = timeout(left, inbox.recv()).await;
        let Ok(Some(received)) = received else { panic!("{seen:?}, then {received:?}") };
        seen.take(&received);
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_arrives_once_and_in_order_with_several_publishers() {
    const EACH: u64 = 20_000;
    let network = Network::of_seeds(1).await;
    let peers = network.peers(6).await;
    connected(&peers).await;
    let readers: Vec<_> =
        peers.iter().map(|p| tokio::spawn(read_all(p.subscribe(), 3 * EACH))).collect();
    let publishers: Vec<_> = peers.iter().take(3).map(|p| publish_all(p, EACH, 200)).collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    for reader in readers {
        let seen = reader.await.unwrap();
        assert_eq!((seen.messages, seen.missing), (3 * EACH, 0));
        assert_eq!(seen.ends(), [EACH; 3]);
    }
    // A loop of publications is packed into batches.
    let counters = peers[0].snapshot().await.unwrap().counters;
    assert_eq!(counters.get("messages_published"), EACH);
    assert!(counters.get("batches_published") < EACH / 2, "{counters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_readers_slow_no_publisher_and_get_gaps_in_order() {
    const EACH: u64 = 20_000;
    const BYTES: u64 = 1000;
    let network = Network::of_seeds(1).await;
    let retention = Config::lan().retention_bytes(4 << 20).build().unwrap();
    let mut peers = Vec::new();
    for n in 0..5 {
        let builder = network.peer(&format!("peer-{n}")).config(retention.clone());
        peers.push(builder.start().await.unwrap());
    }
    connected(&peers).await;
    // No subscription is read before the end.
    let mut stopped: Vec<Subscription> = peers.iter().map(Node::subscribe).collect();
    // All peers have received a message of all others: a peer that has just started takes unknown
    // earlier messages for history, which is not reported as a gap (GUARANTEES.md, G3).
    let heard: Vec<Subscription> = peers.iter().map(Node::subscribe).collect();
    for p in &peers {
        publish_all(p, 1, 10).await.unwrap();
    }
    for inbox in heard {
        assert_eq!(read_all(inbox, peers.len() as u64).await.missing, 0);
    }
    let publishers: Vec<_> =
        peers.iter().map(|p| publish_all(p, EACH - 1, usize::try_from(BYTES).unwrap())).collect();
    for publisher in publishers {
        timeout(3 * TEST_TIMEOUT, publisher).await.expect("a publisher is blocked").unwrap();
    }
    let everything = EACH * peers.len() as u64;
    for (peer, inbox) in peers.iter().zip(stopped.drain(..)) {
        // Memory is bounded by the retention, although the subscription was never read.
        let held = peer.snapshot().await.unwrap().retained_bytes;
        assert!(held <= 5 << 20, "{held} bytes");
        let seen = read_all(inbox, everything).await;
        assert!(seen.missing > 0, "the reader was far too late for all messages");
        assert_eq!(seen.ends(), vec![EACH; peers.len()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publisher_waits_or_gets_busy_while_the_window_is_full() {
    let network = Network::of_seeds(1).await;
    let peers = network.peers(2).await;
    connected(&peers).await;
    // The other peer reads nothing from its sockets: the window fills.
    peers[1].freeze(true);
    let payload = vec![1; 10_000];
    let busy = wait_until("the window is full", || async {
        (0..100).find_map(|_| peers[0].try_publish("t", &payload).err())
    })
    .await;
    assert!(busy.is_busy(), "{busy}");
    assert!(busy.to_string().contains("try again"), "{busy}");
    // Waiting publishers block no other call.
    let waiting: Vec<_> = (0..50).map(|_| publish_all(&peers[0], 4, 10_000)).collect();
    assert!(peers[0].snapshot().await.unwrap().published > 0);
    assert!(peers[0].try_publish("t", "x").is_err_and(|e| e.is_busy()));
    peers[1].freeze(false);
    for publisher in waiting {
        timeout(TEST_TIMEOUT, publisher).await.expect("a publisher is blocked").unwrap();
    }
    peers[0].try_publish("t", vec![0; (1 << 20) + 1]).expect_err("the payload is too long");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_publishers_get_an_error_when_the_node_ends() {
    let network = Network::of_seeds(1).await;
    let peers = network.peers(2).await;
    connected(&peers).await;
    peers[1].freeze(true);
    let endless: Vec<_> = (0..20)
        .map(|_| {
            let node = peers[0].clone();
            tokio::spawn(async move {
                loop {
                    if let Err(e) = node.publish("t", vec![1; 10_000]).await {
                        return e;
                    }
                }
            })
        })
        .collect();
    wait_until("the window is full", || async {
        peers[0].try_publish("t", "x").is_err_and(|e| e.is_busy()).then_some(())
    })
    .await;
    peers[0].kill();
    for publisher in endless {
        let e = timeout(TEST_TIMEOUT, publisher).await.expect("the publisher is blocked").unwrap();
        assert_eq!(e, PublishError::Stopped(StoppedError));
    }
    assert!(matches!(peers[0].try_publish("t", "x"), Err(PublishError::Stopped(_))));
    assert!(matches!(
        peers[0].receipt(MessageId { publisher: peers[0].id(), epoch: 1, sequence: 0 }),
        Err(ReceiptError::Stopped(_))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn publisher_of_frozen_node_waits() {
    let network = Network::of_seeds(1).await;
    let peers = network.peers(1).await;
    peers[0].freeze(true);
    let publishing = publish_all(&peers[0], 1, 10);
    assert!(peers[0].try_publish("t", "x").is_err_and(|e| e.is_busy()));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!publishing.is_finished());
    peers[0].freeze(false);
    timeout(TEST_TIMEOUT, publishing).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn receipt_is_complete_when_all_live_peers_hold_the_message() {
    let network = Network::of_seeds(1).await;
    let peers = network.peers(6).await;
    connected(&peers).await;
    wait_until("all members are known", || async {
        (peers[0].members().await.unwrap().len() == 6).then_some(())
    })
    .await;
    let (id, mut receipts) = peers[0].publish_with_receipt("t", "held").await.unwrap();
    assert_eq!(receipts.id(), id);
    let mut last = None;
    while let Some(receipt) = timeout(TEST_TIMEOUT, receipts.next()).await.expect("no receipt") {
        assert!(
            !last.is_some_and(|l: rumormill::Receipt| l.complete),
            "an update after the complete one"
        );
        assert_eq!(receipt.id, id);
        last = Some(receipt);
    }
    let last = last.unwrap();
    assert!(last.complete && last.departed.is_empty());
    assert_eq!((last.held, last.live), (6, 6));
    // A receipt that is requested afterwards gives the same answer.
    let again = peers[0].receipt(id).unwrap();
    let other = peers[0].receipt(id).unwrap();
    drop(other);
    let receipt = timeout(TEST_TIMEOUT, again.wait()).await.expect("no receipt").unwrap();
    assert_eq!((receipt.held, receipt.live), (6, 6));
    // Receipts exist only for messages of the node itself.
    let foreign = MessageId { publisher: peers[1].id(), ..id };
    assert!(matches!(peers[0].receipt(foreign), Err(ReceiptError::NotOwn(_))));
    let future = MessageId { sequence: 99, ..id };
    assert!(matches!(peers[0].receipt(future), Err(ReceiptError::NotOwn(_))));
    // Many receipts at once all become complete.
    let mut many = Vec::new();
    for _ in 0..200 {
        many.push(peers[2].publish_with_receipt("t", "x").await.unwrap().1);
    }
    for receipts in many {
        assert!(
            timeout(TEST_TIMEOUT, receipts.wait()).await.expect("no receipt").unwrap().complete
        );
    }
    // The end of the node ends its receipts.
    peers[1].freeze(true);
    let (_, receipts) = peers[0].publish_with_receipt("t", "not held").await.unwrap();
    peers[0].kill();
    timeout(TEST_TIMEOUT, receipts.wait()).await.expect("the receipt is blocked").unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_peer_is_removed_from_receipt_by_its_certificate() {
    let network = Network::of_seeds(3).await;
    let mut peers = network.peers(8).await;
    settled(&network, &peers).await;
    for peer in &peers {
        wait_until("all members are known", || async {
            (peer.members().await.unwrap().len() == 8).then_some(())
        })
        .await;
    }
    let (publisher, frozen) = take_two_non_neighbours(&mut peers).await;
    frozen.freeze(true);
    let (_, receipts) = publisher.publish_with_receipt("t", "x").await.unwrap();
    let receipt = timeout(2 * TEST_TIMEOUT, receipts.wait()).await.expect("no receipt").unwrap();
    assert_eq!((receipt.held, receipt.live), (7, 7));
    let [departed] = receipt.departed.as_slice() else { panic!("{receipt:?}") };
    assert_eq!(departed.id, frozen.id());
    assert_eq!(departed.state, MemberState::Dead);
    assert!(departed.witnesses.len() >= 2 && departed.seeds.len() >= 2, "{departed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn late_joiner_receives_retained_history_and_then_new_messages() {
    const BEFORE: u64 = 2_000;
    let network = Network::of_seeds(1).await;
    let peers = network.peers(3).await;
    connected(&peers).await;
    publish_all(&peers[0], BEFORE, 100).await.unwrap();
    let late = network.peer("late").start().await.unwrap();
    let history = late.subscribe_with(SubscribeOptions::new().start(Start::Earliest));
    publish_all(&peers[0], BEFORE, 100).await.unwrap();
    let seen = read_all(history, 2 * BEFORE).await;
    assert_eq!((seen.messages, seen.missing), (2 * BEFORE, 0));
    // A later subscription at the same node still reads everything.
    let again = late.subscribe_with(SubscribeOptions::new().start(Start::Earliest));
    assert_eq!(read_all(again, 2 * BEFORE).await.messages, 2 * BEFORE);
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_node_serves_its_retained_messages_and_resumes() {
    const EACH: u64 = 500;
    let dir = tempfile::tempdir().unwrap();
    let network = Network::of_seeds(1).await;
    let builder = || network.peer("anna").data_dir(dir.path());
    let anna = builder().start().await.unwrap();
    let bert = network.peer("bert").start().await.unwrap();
    connected(&[anna.clone(), bert.clone()]).await;
    let inbox = anna.subscribe();
    publish_all(&anna, EACH, 50).await.unwrap();
    publish_all(&bert, EACH, 50).await.unwrap();
    let first = read_all(inbox, 2 * EACH).await;
    assert_eq!(first.missing, 0);
    anna.leave().await.unwrap();
    // The other peer continues to publish.
    publish_all(&bert, EACH, 50).await.unwrap();

    let again = builder();
    // Before the start: messages that it missed may have arrived when `start` returns.
    let mut only_new = again.subscribe();
    let anna = again.start().await.unwrap();
    let mut all = anna.subscribe_with(SubscribeOptions::new().start(Start::Earliest));
    let kept: Vec<SubscriptionItem> = std::iter::from_fn(|| all.try_recv()).collect();
    assert!(kept.len() >= usize::try_from(2 * EACH).unwrap(), "{} were kept", kept.len());
    let mut seen = OrderChecker::default();
    kept.iter().for_each(|r| seen.take(r));
    while seen.messages < 3 * EACH {
        let next =
            timeout(TEST_TIMEOUT, all.recv()).await.expect("the node does not resume").unwrap();
        seen.take(&next);
    }
    assert_eq!((seen.messages, seen.missing), (3 * EACH, 0));
    // A subscription to undelivered messages gets each message that the earlier process did not
    // deliver once.
    let mut new = BTreeSet::new();
    while new.len() < usize::try_from(EACH).unwrap() {
        match timeout(TEST_TIMEOUT, only_new.recv())
            .await
            .expect("the node does not resume")
            .unwrap()
        {
            SubscriptionItem::Message(m) => assert!(new.insert(m.message.id().sequence), "twice"),
            SubscriptionItem::CaughtUp => {}
            SubscriptionItem::Gap(gap) => panic!("{gap:?}"),
        }
    }
    assert_eq!((new.first(), new.last()), (Some(&EACH), Some(&(2 * EACH - 1))));
}
