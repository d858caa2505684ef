//! The simulator: many Rumormill nodes in one process, in virtual time.
//!
//! [`World`] runs the same [`Peer`](rumormill_proto::Peer) and [`Seed`](rumormill_proto::Seed)
//! that the library runs on sockets. A 64-bit random seed determines identities, random draws,
//! latencies and losses. Two runs with the same random seed and the same calls handle the same
//! inputs at the same times in the same order, on any machine; [`World::trace_hash`] is a hash
//! over these inputs.
//!
//! ```no_run
//! use core::time::Duration;
//! use rumormill_proto::Config;
//! use rumormill_sim::{World, WorldConfig, checkers};
//!
//! let config = Config::lan().build()?;
//! let mut world = World::new(WorldConfig::new(7, config));
//! world.add_seeds(3);
//! let peers = world.add_peers(20);
//! world.run_for(Duration::from_secs(10));
//! world.crash(peers[4]);
//! world.run_for(Duration::from_secs(10));
//! assert!(checkers::at_rest(&world.observe()).is_empty());
//! # Ok::<(), rumormill_proto::ConfigError>(())
//! ```
//!
//! The network consists of virtual TCP connections, ordered and reliable per direction. A lost
//! packet therefore shows as delay; a partition shows as silence and then as a lost link. The
//! module [`world`] lists how a connection behaves in each case.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod campaign;
pub mod checkers;
pub mod comparison;
pub mod figures;
pub mod graph;
pub mod ledger;
pub mod machine;
pub mod network;
pub mod observation;
pub mod play;
pub mod report;
pub mod scenario;
pub mod world;

mod adversary;
mod consumer;
mod disk;
mod idle;
mod link;
mod node;
mod queue;
mod random;
mod trace;

pub use disk::Disk;
pub use figures::{Figures, MessageSpread};
pub use graph::Graph;
pub use network::Latency;
pub use node::{NodeId, NodeStatus};
pub use observation::Observation;
pub use play::{MeasureOptions, play};
pub use report::Report;
pub use scenario::Scenario;
pub use world::{CommandError, DiskFate, PeerSpec, RecordLevel, Survey, World, WorldConfig};
