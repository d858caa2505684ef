//! The running node that a command is about.

use std::path::PathBuf;

use clap::Args;
use rumormill_http::ControlFile;

/// Where running nodes are found.
#[derive(Debug, Clone, Args)]
pub struct RunDirArgs {
    /// Directory of the files by which running nodes are found [default: $XDG_RUNTIME_DIR/rumor,
    /// or rumor-UID in the directory for temporary files]
    #[arg(long, value_name = "DIR", env = rumormill_http::RUN_DIR_VARIABLE)]
    pub run_dir: Option<PathBuf>,
}

/// Most names that an error lists.
const MAX_LISTED: usize = 30;

/// The node with this name or id; without one, the only node that runs.
///
/// # Errors
/// A message for the user: no node matches, or several do.
pub fn choose<'a>(
    nodes: &'a [ControlFile],
    name_or_id: Option<&str>,
) -> Result<&'a ControlFile, String> {
    let list = || {
        let mut names: Vec<String> = nodes
            .iter()
            .take(MAX_LISTED)
            .map(|n| format!("{} ({} {})", n.name, n.role, n.short_id()))
            .collect();
        if nodes.len() > MAX_LISTED {
            names.push(format!("and {} more", nodes.len() - MAX_LISTED));
        }
        names.join(", ")
    };
    if nodes.is_empty() {
        return Err("no node is running here; start one with `rumor up` or `rumor peer`".to_owned());
    }
    let Some(name_or_id) = name_or_id else {
        return match nodes {
            [only] => Ok(only),
            _ => Err(format!("several nodes are running, choose one with --node: {}", list())),
        };
    };
    if let Some(node) = nodes.iter().find(|n| n.id == name_or_id || n.short_id() == name_or_id) {
        return Ok(node);
    }
    let mut named = nodes.iter().filter(|n| n.name == name_or_id);
    match (named.next(), named.next()) {
        (Some(node), None) => Ok(node),
        (Some(_), Some(_)) => {
            Err(format!("several nodes are named {name_or_id:?}, choose one by its id: {}", list()))
        }
        (None, _) => {
            Err(format!("no running node has the name or id {name_or_id:?}; there are: {}", list()))
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
    fn choose_takes_the_only_node_and_lists_several() {
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
