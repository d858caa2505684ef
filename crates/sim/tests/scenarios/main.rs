//! Tests of the real peers and seeds in virtual time, by promise and fault.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod adversary;
mod broadcast;
mod chaos;
mod common;
mod deaths;
mod determinism;
mod gossip;
mod identity;
mod join;
mod leaves;
mod lossy;
mod lost;
mod partitions;
mod receipts;
mod returns;
mod seeds;
mod slow_lines;
mod streams;
mod trees;
