//! Peer-to-peer membership, failure detection and broadcast, with no broker in the middle.
//!
//! A [`Node`] is a peer: it registers at the seeds of its network, links with some of the other
//! peers, and from then on every message that any peer publishes reaches it. A [`SeedNode`] keeps
//! the list of peers and introduces them to each other; it carries no messages.
//!
//! ```
//! use rumormill::{Listener, Node, SubscriptionItem, SeedAddress, SeedNode};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A seed, on a port that the system chooses.
//! let listener = Listener::bind("127.0.0.1:0".parse()?)?;
//! let seeds = vec![SeedAddress { host_port: listener.local_addr().to_string(), pin: None }];
//! let seed = SeedNode::builder()
//!     .listener(listener).seeds(seeds.clone()).own_index(Some(0)).start().await?;
//!
//! // Two peers that know only the seed.
//! let peer = || Node::builder().listen("127.0.0.1:0".parse().unwrap()).seeds(seeds.clone());
//! let (anna, bert) = (peer().start().await?, peer().start().await?);
//! let mut inbox = bert.subscribe();
//! anna.publish("greetings", "hello").await?;
//! let Some(SubscriptionItem::Message(m)) = inbox.recv().await else { panic!("no message") };
//! assert_eq!(m.message.payload(), b"hello");
//!
//! anna.leave().await?;
//! bert.leave().await?;
//! seed.stop().await?;
//! # Ok(()) }
//! ```
//!
//! # Tasks
//!
//! The protocol is in [`proto`]: state machines without a clock, socket or thread. This crate gives
//! them sockets (TCP, TLS 1.3 with raw public keys on both sides), a clock, a disk and a task to
//! run in. One task owns the state machine; one task per link reads, verifies and writes; no task
//! ever waits for a slow link.
//!
//! # Observing a node
//!
//! [`Node::events`] gives every event as a value, [`Node::snapshot`] the whole state of one moment
//! with all counters. Each event is also one `tracing` line under the target `rumormill::event`
//! with the fields `node` and `id`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod context;
mod counters;
mod delays;
mod describe;
mod driver;
mod error;
mod fanout;
mod gate;
mod handle;
mod inbox;
mod launch;
mod link;
mod listener;
mod log;
mod network_key;
mod node;
mod partition;
mod publish;
mod seed_node;
pub mod seeds_file;
mod store;
mod subscription;
mod trace;
mod transport;
mod tuning;

#[cfg(test)]
mod tests;

pub use rumormill_proto as proto;
pub use rumormill_proto::snapshot::{
    DepartedMember, MemberState, MemberView, NeighbourView, OtherSeedView, PeerSnapshot, PeerState,
    PublisherView, Receipt, RetainedMessage, SeedSnapshot, SeedView, TreeView,
};
pub use rumormill_proto::{
    Address, Batch, BroadcastMode, CloseReason, Config, ConfigBuilder, ConfigError, Counters,
    Event, Identity, LinkEnd, Message, MessageId, Name, NameError, PeerId, Preset, RefuseReason,
    Role, SeedAddress, StreamId, WallTime,
};

pub use crate::delays::DelayHistogram;
pub use crate::describe::describe;
pub use crate::driver::{DuplicateIdentity, TimestampedEvent};
pub use crate::error::{BindError, PublishError, StartError, StoppedError};
pub use crate::listener::Listener;
pub use crate::network_key::{NetworkKey, ParseNetworkKeyError};
pub use crate::node::{Node, NodeBuilder};
pub use crate::publish::{LeaveError, ReceiptError, ReceiptLost, Receipts, UnconfirmedMessages};
pub use crate::seed_node::{SeedBuilder, SeedNode};
pub use crate::store::silence_caught_panics;
pub use crate::subscription::{
    Consumer, EventItem, Events, Gap, GapReason, ReceivedMessage, Start, SubscribeError,
    SubscribeOptions, Subscription, SubscriptionItem, TopicPattern, TopicPatternError,
};
#[doc(hidden)]
pub use crate::transport::link_tls;
pub use crate::transport::{IdentifiedNode, IdentifyError, identify};

/// Bytes from the operating system's random source.
fn random_bytes<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| StartError::Randomness(e.to_string()))?;
    Ok(bytes)
}

/// The README's example, compiled with the other documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
