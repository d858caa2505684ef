//! Starting nodes from the command line, as the programs `rumor` and `rumor-lab` do: arguments,
//! addresses, identities, seeds, and the control API of a process.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod args;
pub mod control;
pub mod identity;
pub mod listen;
pub mod log_dir;
pub mod overlay;
pub mod seeds;

use std::time::Duration;

/// How long a node that is asked to end may take to leave the network.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(3);
