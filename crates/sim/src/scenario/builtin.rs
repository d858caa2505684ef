//! The built-in scenarios.

use super::{Scenario, ScenarioError};

/// A built-in scenario.
#[derive(Debug, Clone, Copy)]
pub struct Builtin {
    /// Its name.
    pub name: &'static str,
    /// The text of its file.
    pub text: &'static str,
}

macro_rules! builtin {
    ($($name:literal),* $(,)?) => {
        /// All built-in scenarios, in the order in which they are best read.
        pub const BUILTIN: &[Builtin] = &[$(Builtin {
            name: $name,
            text: include_str!(concat!("../../scenarios/", $name, ".toml")),
        }),*];
    };
}

builtin![
    "join",
    "law",
    "spread",
    "flood",
    "loss",
    "map",
    "death",
    "alone",
    "frozen",
    "detection",
    "hubs",
    "seeds",
    "partition",
    "one-way",
    "flap",
    "restart",
    "rolling",
    "churn",
    "late",
    "leave-under-load",
    "slow",
    "uplink",
    "narrow",
    "overload",
    "clocks",
    "liar",
    "flooder",
    "greedy",
    "replayer",
    "equivocator",
    "silent-relay",
    "forger",
    "idle",
    "chaos",
];

impl Builtin {
    /// The built-in scenario with this name.
    ///
    /// # Errors
    /// There is no such scenario.
    pub fn named(name: &str) -> Result<&'static Builtin, ScenarioError> {
        let found = BUILTIN.iter().find(|b| b.name == name);
        found.ok_or_else(|| ScenarioError::Unknown(name.to_owned()))
    }

    /// Parses the scenario.
    ///
    /// # Errors
    /// Never for a build that passes its tests.
    pub fn scenario(&self) -> Result<Scenario, ScenarioError> {
        Scenario::parse(self.text)
    }
}
