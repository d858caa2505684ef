//! Finding the running node that a command is about.

use std::path::PathBuf;

use clap::Args;
use rumormill_http::{Client, ControlFile, RunDir};

use crate::exit::{Exit, Failure, OrExit as _, Outcome};

/// Where running nodes are found.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunDirArgs {
    /// Directory of the files by which running nodes are found [default: $XDG_RUNTIME_DIR/rumor,
    /// or rumor-UID in the directory for temporary files]
    #[arg(long, value_name = "DIR", env = rumormill_http::RUN_DIR_VARIABLE)]
    pub(crate) run_dir: Option<PathBuf>,
}

/// Which node a command is about.
#[derive(Debug, Clone, Args)]
pub(crate) struct NodeArgs {
    /// Name or id of the node; needed only if several are running
    #[arg(long, short, value_name = "NAME")]
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) run_dir: RunDirArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl NodeArgs {
    /// A client for the node meant.
    pub(crate) fn client(&self) -> Outcome<Client> {
        client(self.node.as_deref(), &running(&self.run_dir)?)
    }

    /// A client for a peer. Where no node is named and only one of those running is a peer, that
    /// one is meant.
    pub(crate) fn peer_client(&self) -> Outcome<Client> {
        peer_or(self.node.as_deref(), &self.run_dir)
    }
}

fn running(run_dir: &RunDirArgs) -> Outcome<(RunDir, Vec<ControlFile>)> {
    let dir = RunDir::locate(run_dir.run_dir.as_deref());
    let nodes = dir.nodes().or_exit(Exit::NoNode)?;
    Ok((dir, nodes))
}

fn client(node: Option<&str>, running: &(RunDir, Vec<ControlFile>)) -> Outcome<Client> {
    Ok(Client::new(file(node, running)?)?)
}

fn file<'a>(
    node: Option<&str>,
    (dir, nodes): &'a (RunDir, Vec<ControlFile>),
) -> Outcome<&'a ControlFile> {
    choose(nodes, node).map_err(|e| {
        // Which one is meant is the caller's to say.
        let exit = if nodes.is_empty() || node.is_some() { Exit::NoNode } else { Exit::Usage };
        Failure::new(exit, format!("{e} (looked in {})", dir.path().display()))
    })
}

/// A client for the node named. Without a name, and where only one of those running is a peer, for that
/// one.
pub(crate) fn peer_or(node: Option<&str>, run_dir: &RunDirArgs) -> Outcome<Client> {
    let running = running(run_dir)?;
    let mut peers = running.1.iter().filter(|n| n.role == "peer");
    match (node, peers.next(), peers.next()) {
        (None, Some(only), None) => Ok(Client::new(only)?),
        _ => client(node, &running),
    }
}

/// The node named, or without a name all that run.
pub(crate) fn one_or_all(node: Option<&str>, run_dir: &RunDirArgs) -> Outcome<Vec<ControlFile>> {
    let running = running(run_dir)?;
    if node.is_some() || running.1.is_empty() {
        return Ok(vec![file(node, &running)?.clone()]);
    }
    Ok(running.1)
}

/// Longest list of names in an error.
const LISTED: usize = 30;

/// The node of this name or id, or the only one.
pub(crate) fn choose<'a>(
    nodes: &'a [ControlFile],
    which: Option<&str>,
) -> Result<&'a ControlFile, String> {
    let list = || {
        let mut names: Vec<String> = nodes
            .iter()
            .take(LISTED)
            .map(|n| format!("{} ({} {})", n.name, n.role, n.short_id()))
            .collect();
        if nodes.len() > LISTED {
            names.push(format!("and {} more", nodes.len() - LISTED));
        }
        names.join(", ")
    };
    if nodes.is_empty() {
        return Err("no node is running here; start one with `rumor up` or `rumor peer`".to_owned());
    }
    let Some(which) = which else {
        return match nodes {
            [only] => Ok(only),
            _ => Err(format!("several nodes are running, choose one with --node: {}", list())),
        };
    };
    if let Some(node) = nodes.iter().find(|n| n.id == which || n.short_id() == which) {
        return Ok(node);
    }
    let mut named = nodes.iter().filter(|n| n.name == which);
    match (named.next(), named.next()) {
        (Some(node), None) => Ok(node),
        (Some(_), Some(_)) => {
            Err(format!("several nodes are named {which:?}, choose one by its id: {}", list()))
        }
        (None, _) => {
            Err(format!("no running node has the name or id {which:?}; there are: {}", list()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, id: &str) -> ControlFile {
        let json = serde_json::json!({
            "name": name, "id": id.repeat(64), "role": "peer", "pid": 1, "url": "http://x", "token": "t",
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn one_is_meant_without_a_name_and_several_are_listed() {
        let nodes = [node("a", "1"), node("b", "2"), node("b", "3")];
        assert!(choose(&[], None).unwrap_err().contains("rumor up"));
        assert_eq!(choose(&nodes[..1], None).unwrap().name, "a");
        let e = choose(&nodes, None).unwrap_err();
        assert!(e.contains("--node") && e.contains("a (peer 11111111)"), "{e}");
        assert_eq!(choose(&nodes, Some("a")).unwrap().name, "a");
        assert_eq!(choose(&nodes, Some("33333333")).unwrap().id, "3".repeat(64));
        assert!(choose(&nodes, Some("b")).unwrap_err().contains("by its id"));
        assert!(choose(&nodes, Some("c")).unwrap_err().contains("no running node"));
    }
}
