//! Running the programs in tests as their users do, and comparing what they print with snapshots.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A failure fails the test.

mod run;
mod snapshot;

pub use run::{DEADLINE, Place, Ran, Running, free_port, holds, until};
pub use snapshot::{filters, help_pages, narrow, shape, shown};
