//! `rumor doctor`: what is wrong with the nodes of this machine, and what to do about it.
//!
//! The checks are pure functions of the state that a node reports, so that a test can give each of
//! them the state that it looks for.

mod finding;
mod peer;
mod seed;
mod seeds;
mod shared;

use rumormill_http::view::Status;
use rumormill_http::{Client, ClientError, ControlFile};

pub(crate) use finding::{Finding, Level, Target};
pub(crate) use seeds::check_seeds;

/// Checks a running node.
pub(crate) async fn check_node(file: &ControlFile) -> Target {
    ask(file).await.unwrap_or_else(|e| Target {
        name: format!("{} ({})", file.name, file.role),
        findings: vec![Finding::wrong(
            "answers",
            e.to_string(),
            format!("its process is {}: check whether it is stopped or overloaded", file.pid),
        )],
    })
}

async fn ask(file: &ControlFile) -> Result<Target, ClientError> {
    let client = Client::new(file)?;
    Ok(match client.status().await? {
        Status::Peer(status) => {
            let neighbours = client.neighbours().await?;
            let messages = client.messages(peer::MESSAGES).await?;
            let findings = peer::findings(&status, &neighbours, &messages);
            Target { name: format!("{} (peer)", status.name), findings }
        }
        Status::Seed(status) => {
            let findings = seed::findings(&status);
            Target { name: format!("{} (seed)", status.name), findings }
        }
    })
}

#[cfg(test)]
mod tests;
