//! The Rumormill protocol as pure state machines.
//!
//! [`Peer`] and [`Seed`] take inputs and return outputs:
//!
//! ```text
//! peer.handle(now, Input::…);
//! while let Some(output) = peer.poll_output() { … }
//! let deadline = peer.poll_timeout();
//! ```
//!
//! There is no clock, socket, thread, disk or OS randomness in this crate. The library
//! `rumormill` runs it on sockets, `rumormill-sim` in virtual time; there is no second
//! implementation of any rule.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod config;
pub mod event;
pub mod failure;
pub mod identity;
pub mod io;
pub mod limits;
pub mod link_queue;
pub mod message;
pub mod name;
pub mod record;
pub mod registry;
pub mod signed;
pub mod snapshot;
pub mod time;
pub mod wire;

mod broadcast;
mod context;
mod counters;
mod effects;
mod fixed_base;
mod links;
mod membership;
pub mod overlay;
mod peer;
mod quota;
mod random;
mod reason;
mod seed;
mod small;
mod state_machine;
mod timers;

pub use broadcast::batch;
pub use broadcast::batch::{Batch, Messages, PreviousStream};
pub use config::{BroadcastMode, Config, ConfigBuilder, ConfigError, Preset};
pub use event::{CloseReason, Event, LinkEnd, RefuseReason};
pub use identity::{Identity, PeerId, Signature};
pub use io::{
    Class, DeliveredMark, DialError, DialId, DialTarget, Input, LinkId, LinkInfo, Output, Role,
    SeedAddress, StoreOp, StoreTicket,
};
pub use message::{Delivery, Message, MessageId, StreamId};
pub use name::{Name, NameError};
pub use peer::{Peer, PeerSetup, PublishError, start_number};
pub use record::{Address, Presence, Record, SignedRecord};
pub use seed::{Seed, SeedSetup};
pub use snapshot::Counters;
pub use state_machine::StateMachine;
pub use time::{Time, WallTime};
