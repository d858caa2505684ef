//! Durations, sizes and counts in readable form: on the command line, in scenario files, and in the
//! output of the program. `1.5s` and `64MiB` mean the same everywhere.

#![forbid(unsafe_code)]

pub mod count;
pub mod duration;
pub mod size;
