//! What the programs `rumor` and `rumor-lab` share: exit codes, standard streams, progress, tables,
//! safe text, points in time, signals, and the generation of completions and manual pages.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod escape;
pub mod exit;
pub mod manual;
pub mod open_files;
pub mod out;
pub mod program;
pub mod progress;
pub mod running;
pub mod signals;
pub mod table;
pub mod usage;
pub mod utc;
