//! Running the programs in tests as their users do, comparing what they print with snapshots, and
//! skipping a test where the machine lacks a tool that it needs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A failure fails the test.

mod run;
mod snapshot;
mod tools;

pub use run::{DEADLINE, Place, Ran, Running, free_port, holds, until};
pub use snapshot::{filters, help_pages, narrow, shape, shown};
pub use tools::{Tool, has_tools};
