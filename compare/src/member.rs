//! A node in a process of its own, for the detection of failures. It speaks with the process that
//! started it in lines of JSON over standard input and output.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::systems::gossipsub::GossipsubMember;
use crate::systems::iroh::IrohMember;
use crate::systems::rumormill::RumormillMember;
use crate::systems::{Member, MemberChange, MemberSetup, SystemKind};

/// A line of a node's standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// The node listens. It waits for the addresses of all nodes, as a list of texts.
    Ready {
        /// Its id.
        id: String,
        /// Its address.
        address: String,
    },
    /// It learns of another node, or removes it.
    Change(MemberChange),
}

/// Runs a node until standard input ends.
///
/// # Errors
/// The node cannot be started, or the system cannot run in this way.
pub(crate) async fn run(system: SystemKind, setup: MemberSetup) -> Result<()> {
    match system {
        SystemKind::Rumormill => run_member::<RumormillMember>(setup).await,
        SystemKind::Gossipsub => run_member::<GossipsubMember>(setup).await,
        SystemKind::IrohGossip => run_member::<IrohMember>(setup).await,
        SystemKind::Nats | SystemKind::Serf => {
            anyhow::bail!("{} nodes are not run by this program", system.name())
        }
    }
}

async fn run_member<M: Member>(setup: MemberSetup) -> Result<()> {
    let mut member = M::start(setup).await?;
    print_line(&Line::Ready { id: member.id(), address: member.address() })?;
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let Some(addresses) = input.next_line().await? else { return Ok(()) };
    let addresses: Vec<String> =
        serde_json::from_str(&addresses).context("cannot read the addresses of the nodes")?;
    member.join(&addresses).await?;
    loop {
        tokio::select! {
            change = member.next_change() => print_line(&Line::Change(change?))?,
            // Nothing more is sent: the process that started this one has ended.
            _ = input.next_line() => return Ok(()),
        }
    }
}

#[allow(clippy::print_stdout)] // The other process reads it.
fn print_line(line: &Line) -> Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(line)?)?;
    Ok(out.flush()?)
}
