//! Durations, sizes and numbers as people write and read them: on the command line, in scenario files, in
//! what the program prints. One reading of `1.5s` and `64MiB` everywhere.

#![forbid(unsafe_code)]

pub mod count;
pub mod duration;
pub mod size;
