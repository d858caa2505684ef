//! Delivery receipts over real sockets: complete only when true, with the names of the missing
//! peers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Network, TEST_TIMEOUT, joined, settled, wait_until};
use rumormill::{Identity, Node, PeerId};
use tokio::time::timeout;

async fn network_of(n: usize) -> (Network, Vec<Node>) {
    let network = Network::of_seeds(3).await;
    let peers = network.peers(n).await;
    settled(&network, &peers).await;
    (network, peers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_publisher_completes_no_receipt_before_it_knows_the_members() {
    let (network, peers) = network_of(4).await;
    for round in 0..5 {
        let new = network.peer(&format!("new-{round}")).start().await.unwrap();
        let (_, mut receipts) = new.publish_with_receipt("t", "at once").await.unwrap();
        let mut last = None;
        while let Some(receipt) = timeout(TEST_TIMEOUT, receipts.next()).await.expect("a receipt") {
            assert_eq!(receipt.complete, receipt.live == 5 && receipt.held == 5, "{receipt:?}");
            last = Some(receipt);
        }
        assert!(last.unwrap().complete);
        new.leave().await.unwrap();
        let gone = || async {
            let members = peers[0].snapshot().await.unwrap().alive;
            (members == 4).then_some(())
        };
        wait_until("it has left", gone).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registered_peer_without_neighbours_delays_no_receipt() {
    let (network, peers) = network_of(6).await;
    let identity = Identity::from_secret(&[77; 32]);
    for p in &peers {
        p.partition_from([identity.id()]);
    }
    let idle = network.peer("idle").identity(identity).start().await.unwrap();
    idle.partition_from(peers.iter().map(Node::id));
    joined(&idle).await;
    let alive = || async { (peers[0].snapshot().await.unwrap().alive == 7).then_some(()) };
    wait_until("the idle peer is known", alive).await;
    for p in &peers {
        let (_, receipts) = p.publish_with_receipt("t", "x").await.unwrap();
        let receipt = timeout(TEST_TIMEOUT, receipts.wait()).await.expect("in time").unwrap();
        assert_eq!((receipt.held, receipt.live), (6, 6));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipt_names_frozen_peer_as_missing() {
    let (_network, peers) = network_of(6).await;
    let frozen = peers[3].id();
    peers[3].freeze(true);
    let (_, mut receipts) = peers[0].publish_with_receipt("t", "x").await.unwrap();
    let mut named = false;
    loop {
        let receipt = timeout(TEST_TIMEOUT, receipts.next()).await.expect("a receipt").unwrap();
        let missing: Option<Vec<PeerId>> = receipt.missing();
        named |= missing == Some(vec![frozen]);
        if receipt.complete {
            assert_eq!(
                receipt.departed.len(),
                1,
                "the receipt is complete when the frozen peer is declared dead"
            );
            break;
        }
        assert!(missing.is_none_or(|m| m.contains(&frozen)));
    }
    assert!(named);
    peers[3].freeze(false);
}
