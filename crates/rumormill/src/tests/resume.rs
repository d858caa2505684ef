//! A node that is restarted with its data directory resumes where the earlier process ended.

use std::path::Path;
use std::time::Duration;

use rumormill_proto::{Batch, DeliveredMark, Identity, SeedAddress, StoreOp};
use tokio::time::timeout;

use super::batches::Publisher;
use super::harness::identity;
use crate::listener::Listener;
use crate::node::{Node, NodeBuilder};
use crate::seed_node::SeedNode;
use crate::store::Database;
use crate::subscription::{Start, SubscribeOptions, Subscription, SubscriptionItem};

/// Long, because tests share two cores with others.
const RESUME_TIMEOUT: Duration = Duration::from_secs(60);

/// Creates a data directory as a killed node leaves it.
fn write_state_of_killed_node(
    directory: &Path,
    kept: &[&Batch],
    publisher: &Identity,
    delivered: u64,
) {
    let mut ops: Vec<StoreOp> = kept.iter().map(|&b| StoreOp::PutBatch(b.clone())).collect();
    let (publisher, epoch) = (publisher.id(), 1);
    ops.push(StoreOp::PutDelivered(DeliveredMark { publisher, epoch, to: delivered }));
    Database::open(directory, "peer.redb").unwrap().commit(&ops).unwrap();
}

fn builder(directory: &Path, seed: &SeedNode) -> NodeBuilder {
    let seed = SeedAddress { host_port: seed.local_addr().to_string(), pin: Some(seed.id()) };
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    Node::builder().listener(listener).seeds(vec![seed]).data_dir(directory)
}

async fn seed() -> SeedNode {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    SeedNode::builder().listener(listener).start().await.unwrap()
}

fn is_caught_up(received: &SubscriptionItem) -> bool {
    matches!(received, SubscriptionItem::CaughtUp)
}

/// The next `n` sequence numbers.
async fn next_numbers(subscription: &mut Subscription, n: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < n {
        match timeout(RESUME_TIMEOUT, subscription.recv()).await.expect("a message in time") {
            Some(SubscriptionItem::Message(m)) => numbers.push(m.message.id().sequence),
            Some(SubscriptionItem::CaughtUp) => {}
            other => panic!("{other:?} after {numbers:?}"),
        }
    }
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_node_delivers_undelivered_messages_once_and_in_order() {
    let (publisher, seed) = (identity(1), seed().await);
    let mut source = Publisher::new(&publisher);
    let batches: Vec<Batch> = (0..4).map(|_| source.batch("t", &[b"a", b"b"])).collect();
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Numbers 4 to 7 were received, 2 and 3 were not.
    let kept = [&batches[0], &batches[2], &batches[3]];
    write_state_of_killed_node(here.path(), &kept, &publisher, 2);
    write_state_of_killed_node(there.path(), &batches.iter().collect::<Vec<_>>(), &publisher, 8);

    let restarted = builder(here.path(), &seed);
    let mut subscription = restarted.subscribe();
    let restarted = restarted.start().await.unwrap();
    let mut before = restarted.subscribe_with(SubscribeOptions::new().start(Start::Earliest));
    assert_eq!(next_numbers(&mut before, 2).await, [0, 1], "delivered messages can be read again");
    let other = builder(there.path(), &seed);
    let mut others = other.subscribe();
    let other = other.start().await.unwrap();
    assert_eq!(next_numbers(&mut subscription, 6).await, [2, 3, 4, 5, 6, 7]);
    let next = std::iter::from_fn(|| others.try_recv()).find(|r| !is_caught_up(r));
    assert!(next.is_none(), "its earlier process had delivered everything: {next:?}");
    restarted.leave().await.unwrap();

    // The next process delivers nothing new; the history is there for a subscription that starts at
    // the earliest message.
    let again = builder(here.path(), &seed);
    let mut subscription = again.subscribe();
    let again = again.start().await.unwrap();
    let mut all = again.subscribe_with(SubscribeOptions::new().start(Start::Earliest));
    assert_eq!(next_numbers(&mut all, 8).await, (0..8).collect::<Vec<_>>());
    let id = other.publish("t", "after all").await.unwrap();
    let next = async {
        loop {
            match subscription.recv().await {
                Some(SubscriptionItem::CaughtUp) => {}
                next => return next,
            }
        }
    };
    let next = timeout(RESUME_TIMEOUT, next).await.unwrap();
    assert!(
        matches!(&next, Some(SubscriptionItem::Message(m)) if m.message.id() == id),
        "{next:?}"
    );
}
