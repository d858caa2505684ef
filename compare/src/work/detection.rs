//! A node is killed, and another one paused: how long until all nodes that knew it have removed it.
//!
//! Every node is a process of its own. SIGKILL ends one: the kernel closes its TCP connections, so
//! that other nodes notice at once if they watch these. SIGSTOP pauses one: its sockets stay open
//! and do not answer, as those of a host that has lost power.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use ::rumormill::SeedNode;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::load::number;
use crate::member::Line;
use crate::metric::{Metric, Reading, Sample};
use crate::plan::Plan;
use crate::process::{self, this_program};
use crate::systems::{MemberChange, SystemKind, rumormill, serf};

/// How long a node may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long all nodes together may take to know each other.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
/// The network counts as settled when no node has learned of another one for this time.
const SETTLED_AFTER: Duration = Duration::from_secs(5);

/// The nodes, and what they know.
struct Members {
    processes: Vec<Child>,
    /// Their standard inputs, whose end ends them.
    _inputs: Vec<Option<ChildStdin>>,
    /// The ids of all nodes.
    ids: Vec<String>,
    /// For each node, the ids of the others that it knows.
    known: Vec<BTreeSet<String>>,
    changes: mpsc::UnboundedReceiver<(usize, MemberChange)>,
    /// The seed of a Rumormill network, which runs in this process.
    _seed: Option<SeedNode>,
}

/// Measures how long the removal of a killed and of a paused node takes.
pub(crate) async fn measure(system: SystemKind, plan: &Plan) -> Result<Sample> {
    let mut members = match system {
        SystemKind::Serf => Members::start_serf(plan.nodes).await?,
        system => Members::start(system, plan.nodes).await?,
    };
    // A member list holds all other nodes; a view of neighbours holds at least one.
    let knows_all = matches!(system, SystemKind::Rumormill | SystemKind::Serf);
    members.wait_until_settled(if knows_all { plan.nodes - 1 } else { 1 }).await?;
    let (killed, paused) = (plan.nodes / 2, plan.nodes - 1);
    let knew = members.count_knowing(killed, killed);
    let mut sample = Sample::new();
    sample.insert(Metric::KnewKilled, Reading::Value(number(knew as u64)));
    let removed = members.time_removal(killed, Signal::KILL, None, plan).await?;
    sample.insert(Metric::KilledRemovedS, removed);
    let removed = members.time_removal(paused, Signal::STOP, Some(killed), plan).await?;
    sample.insert(Metric::PausedRemovedS, removed);
    members.stop().await;
    Ok(sample)
}

impl Members {
    /// Starts nodes that this program runs.
    async fn start(system: SystemKind, nodes: usize) -> Result<Self> {
        let (seed, seed_address) = match system {
            SystemKind::Rumormill => {
                let (seed, address) = rumormill::start_seed().await?;
                (Some(seed), Some(address.host_port))
            }
            _ => (None, None),
        };
        let (report, changes) = mpsc::unbounded_channel();
        let (mut processes, mut inputs) = (Vec::new(), Vec::new());
        let (mut ids, mut addresses, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..nodes {
            let mut command = this_program()?;
            command.arg("member").arg("--parent").arg(std::process::id().to_string());
            command.arg("--system").arg(system.name()).arg("--index").arg(index.to_string());
            command.args(seed_address.iter().flat_map(|a| ["--seed", a]));
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = spawn(&mut command, index)?;
            let output = child.stdout.take().context("a node has no standard output")?;
            let mut lines = BufReader::new(output).lines();
            let line = timeout(START_TIMEOUT, lines.next_line()).await;
            let line = line.map_err(|_| anyhow!("node {index} did not start in time"))??;
            let line = line.with_context(|| format!("node {index} ended before it listened"))?;
            let Line::Ready { id, address } = serde_json::from_str(&line)? else {
                bail!("node {index} did not say where it listens");
            };
            inputs.push(child.stdin.take());
            processes.push(child);
            ids.push(id);
            addresses.push(address);
            outputs.push(lines);
        }
        let all = serde_json::to_string(&addresses)? + "\n";
        for (index, input) in inputs.iter_mut().enumerate() {
            let input = input.as_mut().context("a node has no standard input")?;
            let sent = input.write_all(all.as_bytes()).await;
            sent.with_context(|| format!("node {index} ended before it joined"))?;
        }
        for (index, mut lines) in outputs.into_iter().enumerate() {
            let report = report.clone();
            tokio::spawn(async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    if let Ok(Line::Change(change)) = serde_json::from_str(&line) {
                        // Without a reader the measurement has ended.
                        let _ = report.send((index, change));
                    }
                }
            });
        }
        let known = vec![BTreeSet::new(); nodes];
        Ok(Members { processes, _inputs: inputs, ids, known, changes, _seed: seed })
    }

    /// Starts agents of serf, which join through the first one.
    async fn start_serf(nodes: usize) -> Result<Self> {
        let (report, changes) = mpsc::unbounded_channel();
        let mut processes = Vec::new();
        let first = serf::free_port()?;
        for index in 0..nodes {
            let (port, join) =
                if index == 0 { (first, None) } else { (serf::free_port()?, Some(first)) };
            let mut child = spawn(&mut serf::agent(index, port, join)?, index)?;
            let output = child.stdout.take().context("a serf agent has no standard output")?;
            let report = report.clone();
            tokio::spawn(async move {
                let mut lines = BufReader::new(output).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let change = serf::parse_log_line(&line);
                    // An agent reports itself as well.
                    if let Some(change) = change.filter(|c| c.id != serf::name(index)) {
                        // Without a reader the measurement has ended.
                        let _ = report.send((index, change));
                    }
                }
            });
            processes.push(child);
        }
        let ids = (0..nodes).map(serf::name).collect();
        let known = vec![BTreeSet::new(); nodes];
        Ok(Members { processes, _inputs: Vec::new(), ids, known, changes, _seed: None })
    }

    /// Ends all nodes, and waits until they have ended.
    async fn stop(mut self) {
        for process in &mut self.processes {
            // A process that cannot be killed has ended already.
            let _ = process.start_kill();
        }
        for process in &mut self.processes {
            let _ = process.wait().await;
        }
    }

    fn apply(&mut self, (node, change): (usize, MemberChange)) {
        let Some(known) = self.known.get_mut(node) else { return };
        if change.alive {
            known.insert(change.id);
        } else {
            known.remove(&change.id);
        }
    }

    /// Waits until every node knows at least `wanted` others, and nothing changes any more.
    async fn wait_until_settled(&mut self, wanted: usize) -> Result<()> {
        let deadline = Instant::now() + JOIN_TIMEOUT;
        loop {
            match timeout(SETTLED_AFTER, self.changes.recv()).await {
                Ok(Some(change)) => self.apply(change),
                Ok(None) => bail!("all nodes have ended"),
                Err(_) if self.known.iter().all(|k| k.len() >= wanted) => return Ok(()),
                Err(_) => {}
            }
            let fewest = self.known.iter().map(BTreeSet::len).min().unwrap_or(0);
            ensure!(
                Instant::now() < deadline,
                "a node knows {fewest} other nodes, and not {wanted}, after {} s",
                JOIN_TIMEOUT.as_secs()
            );
        }
    }

    /// The number of nodes that know a node. Neither that node nor `ignored` counts.
    fn count_knowing(&self, node: usize, ignored: usize) -> usize {
        let Some(id) = self.ids.get(node) else { return 0 };
        let others = self.known.iter().enumerate().filter(|(n, _)| *n != node && *n != ignored);
        others.filter(|(_, known)| known.contains(id)).count()
    }

    /// Sends a signal to a node, and waits until all others have removed it. A node that was killed
    /// earlier is not waited for.
    async fn time_removal(
        &mut self,
        node: usize,
        signal: Signal,
        killed_earlier: Option<usize>,
        plan: &Plan,
    ) -> Result<Reading> {
        // Changes that were reported before the signal are applied before.
        while let Ok(change) = self.changes.try_recv() {
            self.apply(change);
        }
        let ignored = killed_earlier.unwrap_or(node);
        ensure!(self.count_knowing(node, ignored) > 0, "no node knows node {node}");
        let process = self.processes.get(node).context("there is no such node")?;
        process::signal(process, signal)?;
        let start = Instant::now();
        let deadline = start + plan.detect_within();
        while self.count_knowing(node, ignored) > 0 {
            match timeout_at(deadline, self.changes.recv()).await {
                Ok(Some(change)) => self.apply(change),
                Ok(None) => bail!("all nodes have ended"),
                Err(_) => return Ok(Reading::Never { never_within_s: plan.detect_within_s }),
            }
        }
        Ok(Reading::Value(start.elapsed().as_secs_f64()))
    }
}

fn spawn(command: &mut Command, index: usize) -> Result<Child> {
    command.spawn().with_context(|| format!("cannot start the process of node {index}"))
}
