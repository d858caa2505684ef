//! Tests of the simulated network with scripted nodes, which record every input.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod connections;
mod determinism;
mod faults;
mod queues;
mod script;
