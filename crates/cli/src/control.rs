//! Finding the running node that a command is about.

use clap::Args;
use rumormill_http::{Client, ControlFile, RunDir};
use rumormill_terminal::exit::{Exit, Failure, OrExit as _, Outcome};
use rumormill_terminal::running::{RunDirArgs, choose};

/// The node that a command is about.
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
    /// A client for the chosen node.
    pub(crate) fn client(&self) -> Outcome<Client> {
        client(self.node.as_deref(), &running(&self.run_dir)?)
    }

    /// A client for a peer. If the user names no node and only one of the running nodes is a peer,
    /// it is that one.
    pub(crate) fn peer_client(&self) -> Outcome<Client> {
        peer_or_named_client(self.node.as_deref(), &self.run_dir)
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
        // With several nodes and no name, the command line is incomplete.
        let exit = if nodes.is_empty() || node.is_some() { Exit::NoNode } else { Exit::Usage };
        Failure::new(exit, format!("{e} (looked in {})", dir.path().display()))
    })
}

/// A client for the named node; without a name, for the only running peer if there is just one.
pub(crate) fn peer_or_named_client(node: Option<&str>, run_dir: &RunDirArgs) -> Outcome<Client> {
    let running = running(run_dir)?;
    let mut peers = running.1.iter().filter(|n| n.role == "peer");
    match (node, peers.next(), peers.next()) {
        (None, Some(only), None) => Ok(Client::new(only)?),
        _ => client(node, &running),
    }
}

/// The named node; without a name, all that run.
pub(crate) fn named_or_all(node: Option<&str>, run_dir: &RunDirArgs) -> Outcome<Vec<ControlFile>> {
    let running = running(run_dir)?;
    if node.is_some() || running.1.is_empty() {
        return Ok(vec![file(node, &running)?.clone()]);
    }
    Ok(running.1)
}
