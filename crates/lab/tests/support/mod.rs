//! Running the program `rumor-lab` in tests.

use rumormill_testing::Place;

/// A directory in which a test runs the program.
pub(crate) fn new_place() -> Place {
    Place::new(env!("CARGO_BIN_EXE_rumor-lab"))
}
