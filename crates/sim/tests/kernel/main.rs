//! What the world does to its nodes, seen by nodes that only write down what they get.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod connections;
mod determinism;
mod faults;
mod script;
