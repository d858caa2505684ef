//! The result of a check.

use serde::Serialize;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// It is as it should be.
    Ok,
    /// It works, but not as well as it could.
    Note,
    /// It does not work.
    Wrong,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    /// The name of the check.
    pub(crate) check: &'static str,
    pub(crate) found: String,
    /// What to do; absent if all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Finding { level: Level::Ok, check, found: found.into(), advice: None }
    }

    pub(super) fn note(
        check: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let (found, advice) = (found.into(), Some(advice.into()));
        Finding { level: Level::Note, check, found, advice }
    }

    pub(super) fn wrong(
        check: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let (found, advice) = (found.into(), Some(advice.into()));
        Finding { level: Level::Wrong, check, found, advice }
    }
}

/// A node or a configuration file, and what the checks found there.
#[derive(Debug, Serialize)]
pub(crate) struct Target {
    /// The name of the node and its role, or the path of the file.
    #[serde(rename = "of")]
    pub(crate) name: String,
    pub(crate) findings: Vec<Finding>,
}
