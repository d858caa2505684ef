//! What the tests of the wire and of its hostile uses share.
#![allow(dead_code, unreachable_pub)]
// every test binary uses its own part of it
// A method of `Script` is one for a single lifetime, which is not enough where clippy wants it.
#![allow(clippy::redundant_closure_for_method_calls)]

pub mod bounds;
pub mod frames;
pub mod hostile;
pub mod rig;
pub mod script;
pub mod statements;
