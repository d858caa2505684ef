//! The hostile world of the property tests, as it is there.
#![allow(dead_code, unreachable_pub)] // the property tests use the rest

#[path = "../../../crates/proto/tests/support/hostile.rs"]
pub mod hostile;
#[path = "../../../crates/proto/tests/support/rig.rs"]
pub mod rig;
#[path = "../../../crates/proto/tests/support/script.rs"]
pub mod script;
#[path = "../../../crates/proto/tests/support/statements.rs"]
pub mod statements;
