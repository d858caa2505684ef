//! `rumor doctor`: what is wrong with the nodes of this machine, and what to do about it.
//!
//! The checks are plain functions of what a node says of itself, so that each can be shown what it looks
//! for.

mod counters;
mod peer;
mod seed;
mod seeds;

use rumormill_http::view::{SeedLine, Status};
use rumormill_http::{Client, ClientError, ControlFile};
use serde::Serialize;

use rumormill_terminal::escape;

pub(crate) use seeds::look_at as look_at_seeds;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// It works, but not as well as it could.
    Note,
    /// It does not work.
    Wrong,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    /// What was looked at.
    pub(crate) check: &'static str,
    pub(crate) found: String,
    /// What to do; nothing where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Finding { level: Level::Ok, check, found: found.into(), advice: None }
    }

    fn note(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let (found, advice) = (found.into(), Some(advice.into()));
        Finding { level: Level::Note, check, found, advice }
    }

    fn wrong(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let (found, advice) = (found.into(), Some(advice.into()));
        Finding { level: Level::Wrong, check, found, advice }
    }
}

/// What was found at one node, or in one file.
#[derive(Debug, Serialize)]
pub(crate) struct Patient {
    /// Its name.
    pub(crate) of: String,
    pub(crate) findings: Vec<Finding>,
}

/// Looks at a running node.
pub(crate) async fn look_at_node(file: &ControlFile) -> Patient {
    ask(file).await.unwrap_or_else(|e| Patient {
        of: format!("{} ({})", file.name, file.role),
        findings: vec![Finding::wrong(
            "answers",
            e.to_string(),
            format!("its process is {}: see whether it is stopped or overloaded", file.pid),
        )],
    })
}

async fn ask(file: &ControlFile) -> Result<Patient, ClientError> {
    let client = Client::new(file)?;
    Ok(match client.status().await? {
        Status::Peer(status) => {
            let neighbours = client.neighbours().await?;
            let messages = client.messages(peer::MESSAGES).await?;
            let findings = peer::findings(&status, &neighbours, &messages);
            Patient { of: format!("{} (peer)", status.name), findings }
        }
        Status::Seed(status) => {
            let findings = seed::findings(&status);
            Patient { of: format!("{} (seed)", status.name), findings }
        }
    })
}

/// The seeds that were reached and cannot be used, if there are any.
fn seed_problems(seeds: &[SeedLine]) -> Option<Finding> {
    let problems: Vec<String> = seeds
        .iter()
        .filter_map(|s| {
            let problem = s.problem.as_ref()?;
            Some(format!("{}: {}", escape::text(&s.address), escape::text(problem)))
        })
        .collect();
    let advice = if problems.iter().any(|p| p.contains("same identity")) {
        "the data directory of a seed was copied, or two names lead to one seed: give each seed a data \
         directory of its own, and name it once"
    } else if problems.iter().any(|p| p.contains("loopback")) {
        "set --advertise IP:PORT to the address of this host as others see it, or --listen"
    } else {
        "correct the pin in the configuration, or give the seed its data directory back"
    };
    (!problems.is_empty()).then(|| Finding::wrong("seeds", problems.join("; "), advice))
}

/// Whether the node is of this program's version.
fn version(of: &str) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    if of == own {
        Finding::ok("version", own)
    } else {
        Finding::note(
            "version",
            format!("the node runs {of}, this program is {own}"),
            "restart the node with this version, or use the program that started it",
        )
    }
}

#[cfg(test)]
mod tests;
