//! Running the program `rumor` in tests.

#![allow(dead_code)] // Each test file uses a part of it.

#[cfg(target_os = "linux")]
pub(crate) mod hosts;

#[allow(unused_imports)] // Each test file uses a part of them.
pub(crate) use rumormill_testing::{
    DEADLINE, Place, Ran, Running, Tool, free_port, has_tools, holds, until,
};

/// The program under test; `RUMOR_TEST_PROGRAM` can name another one, to see a test fail on it.
pub(crate) fn program() -> String {
    std::env::var("RUMOR_TEST_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_rumor").to_owned())
}

/// A directory in which a test runs the program.
pub(crate) fn new_place() -> Place {
    Place::new(&program())
}
