//! Code that the tests of the wire format and of hostile remotes share.
#![allow(dead_code, unreachable_pub)]
// every test binary uses its own part of it
// Clippy asks for a method of `Script` in place of a closure, but a method has a single lifetime.
#![allow(clippy::redundant_closure_for_method_calls)]

pub mod bounds;
pub mod frames;
pub mod hostile;
pub mod rig;
pub mod script;
pub mod statements;
