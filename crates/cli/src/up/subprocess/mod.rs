//! A run in many processes: every node is a `rumor seed` or `rumor peer` of its own, observed and
//! controlled through its control API.

mod child;
mod command;
mod event_json;
mod observe;

use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use rumormill::proto::{MessageId, SeedAddress};
use rumormill::seeds_file;
use rumormill_http::view::{Content, Publish, Status};
use rumormill_http::{Client, RunDir};
use rumormill_launch::STOP_TIMEOUT;
use rumormill_launch::args::NetworkArgs;
use rumormill_terminal::exit::{Exit, Failure, OrExit as _, Outcome};
use rumormill_terminal::usage::Usage;
use rumormill_terminal::{escape, out, utc};
use rumormill_units::count::counted;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::ChildStdin;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::event::{ObserverEvent, RunEvent};
use super::fleet::Fleet;
use super::members::{Member, Members};
use super::names::NodeNames;
use super::node_report::NodeReport;
use super::options::Fault;
use crate::log::LogArgs;
use child::{ChildExit, StartedChild, WaitingChild};
use command::ChildCommands;
use observe::{observe_events, observe_messages};

/// The error of what only nodes in one process can do: the page asks for it, and a run with
/// `--processes` has no page.
const ONE_PROCESS_ONLY: &str =
    "nodes in processes of their own cannot do this; run without --processes";

/// The nodes of a run in many processes.
#[derive(Debug)]
pub(crate) struct Subprocesses {
    members: Members,
    /// The peers, then the seeds.
    nodes: Vec<Subprocess>,
    /// How many of the nodes are peers.
    peers: usize,
    stderr: Arc<StderrSummary>,
    run_dir: RunDir,
    /// Holds the configuration until the run ends.
    _dir: TempDir,
}

/// A node that runs.
#[derive(Debug)]
struct Subprocess {
    pid: Pid,
    client: Client,
    /// Closing it asks the node to leave.
    stdin: Mutex<Option<ChildStdin>>,
    /// Turns true when the process has ended.
    has_ended: watch::Receiver<bool>,
    /// The fault that was injected last, and the usage of the process before it.
    fault: Mutex<Option<(Fault, Option<Usage>)>>,
}

impl Subprocess {
    fn new(child: &mut StartedChild) -> Self {
        Subprocess {
            pid: child.pid,
            client: child.client.clone(),
            stdin: Mutex::new(child.stdin.take()),
            has_ended: child.exit.has_ended.subscribe(),
            fault: Mutex::new(None),
        }
    }

    fn fault(&self) -> Option<(Fault, Option<Usage>)> {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usage(&self) -> Option<Usage> {
        Usage::of(self.pid.as_raw_nonzero().get().unsigned_abs())
    }
}

impl Subprocesses {
    /// Starts the seeds, which bind their listeners and wait; writes the configuration with their
    /// addresses and ids; lets them go on; then starts the peers in the same way.
    pub(crate) async fn start(
        names: &NodeNames,
        configured: Option<&[SeedAddress]>,
        network: &NetworkArgs,
        run_dir: Option<&Path>,
        log: &LogArgs,
        events: &mpsc::Sender<RunEvent>,
    ) -> Outcome<Self> {
        let dir = tempfile::Builder::new().prefix("rumor-up-").tempdir().or_exit(Exit::Failed)?;
        let program = std::env::current_exe().or_exit(Exit::Failed)?;
        let config = dir.path().join("config.txt");
        let commands = ChildCommands { program, config, network, run_dir, log };
        let seeds = spawn_seeds(&commands, names, configured).await?;
        let mut addresses = Vec::new();
        for (index, seed) in seeds.iter().enumerate() {
            let host_port = configured
                .and_then(|c| c.get(index))
                .map_or_else(|| seed.listening.listening.to_string(), |s| s.host_port.clone());
            let pin = seed.listening.id.as_deref().and_then(|id| id.parse().ok());
            addresses.push(SeedAddress { host_port, pin });
        }
        std::fs::write(&commands.config, seeds_file::format(&addresses)).or_exit(Exit::Failed)?;
        let seeds = start_all(seeds).await?;
        let mut spawned = Vec::new();
        for name in &names.peers {
            spawned.push(child::spawn(commands.peer(name), name)?);
        }
        let mut peers = Vec::new();
        for peer in spawned {
            peers.push(peer.wait_for_address().await?);
        }
        let mut all = start_all(peers).await?;
        all.extend(seeds);
        let mut fleet = Subprocesses {
            members: Members::default(),
            nodes: Vec::new(),
            peers: names.peers.len(),
            stderr: Arc::default(),
            run_dir: RunDir::locate(run_dir),
            _dir: dir,
        };
        for (number, mut child) in all.into_iter().enumerate() {
            let is_peer = number < fleet.peers;
            let process = Subprocess::new(&mut child);
            let StartedChild { name, id, exit, .. } = child;
            watch_exit(exit, number, is_peer, events.clone(), Arc::clone(&fleet.stderr));
            observe_events(number, process.client.clone(), events.clone()).await?;
            if is_peer {
                observe_messages(number, process.client.clone(), events.clone()).await?;
            }
            fleet.members.add(Member { name, id });
            fleet.nodes.push(process);
        }
        Ok(fleet)
    }

    fn node(&self, number: usize) -> Result<&Subprocess, String> {
        self.nodes.get(number).ok_or_else(|| format!("there is no node {number}"))
    }
}

impl Fleet for Subprocesses {
    fn members(&self) -> &Members {
        &self.members
    }

    fn page(&self) -> Option<String> {
        None
    }

    fn publish(
        &self,
        peer: usize,
        topic: &'static str,
        content: Arc<str>,
    ) -> BoxFuture<'_, Result<MessageId, String>> {
        Box::pin(async move {
            let content = Content::of(content.as_bytes());
            let request = Publish { topic: topic.to_owned(), content, wait_ms: None };
            let published =
                self.node(peer)?.client.publish(&request).await.map_err(|e| e.to_string())?;
            published.id.parse().map_err(|e: rumormill::proto::message::ParseMessageIdError| {
                format!("{:?}: {e}", published.id)
            })
        })
    }

    fn inject_fault(&self, node: usize, fault: Fault) -> Result<(), String> {
        let process = self.node(node)?;
        let usage = process.usage();
        *process.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some((fault, usage));
        let signal = match fault {
            Fault::Kill => Signal::KILL,
            Fault::Stop => Signal::STOP,
        };
        kill_process(process.pid, signal).map_err(|e| format!("cannot send {signal:?}: {e}"))
    }

    fn resume(&self, _: usize) -> Result<(), String> {
        Err(ONE_PROCESS_ONLY.to_owned())
    }

    fn add_peer(&self) -> BoxFuture<'_, Result<usize, String>> {
        Box::pin(std::future::ready(Err(ONE_PROCESS_ONLY.to_owned())))
    }

    fn set_partition(&self, _: bool) -> Result<(), String> {
        Err(ONE_PROCESS_ONLY.to_owned())
    }

    /// Has nothing to release: a process removes its control file when it ends, and `end` removes
    /// those of killed processes.
    fn release_ended(&self, _: usize) {}

    fn peer_report(&self, peer: usize) -> BoxFuture<'_, Result<NodeReport, String>> {
        Box::pin(async move {
            let client = &self.node(peer)?.client;
            let status = client.status().await.map_err(|e| e.to_string())?;
            let Status::Peer(status) = status else { return Err("it is not a peer".to_owned()) };
            let neighbours = client.neighbours().await.map_err(|e| e.to_string())?;
            Ok(NodeReport {
                neighbours: neighbours.iter().filter_map(|n| n.id.parse().ok()).collect(),
                registrations: status.registrations,
                seed_quorum: status.seed_quorum,
                counters: status.counters,
            })
        })
    }

    fn seed_report(&self, seed: usize) -> BoxFuture<'_, Result<NodeReport, String>> {
        Box::pin(async move {
            let client = &self.node(self.peers + seed)?.client;
            let status = client.status().await.map_err(|e| e.to_string())?;
            let Status::Seed(status) = status else { return Err("it is not a seed".to_owned()) };
            let (seed_quorum, counters) = (status.seed_quorum, status.counters);
            Ok(NodeReport { seed_quorum, counters, ..NodeReport::default() })
        })
    }

    /// The sum over this process and all children. A killed process counts with the time that it
    /// had used before, and without memory.
    fn usage(&self) -> Option<Usage> {
        let mut sum = Usage::of_this_process()?;
        for process in &self.nodes {
            let usage = match process.fault() {
                Some((Fault::Kill, usage)) => usage.map(|u| Usage { rss_kib: 0, ..u }),
                _ => process.usage(),
            };
            sum = sum.plus(usage.unwrap_or_default());
        }
        Some(sum)
    }

    /// Asks all nodes to leave, and kills those that do not, or cannot because they are stopped.
    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            for process in &self.nodes {
                if matches!(process.fault(), Some((Fault::Stop, _))) {
                    let _ = kill_process(process.pid, Signal::KILL);
                }
            }
            // The seeds end last, because they acknowledge the departure of the peers.
            let (peers, seeds) = self.nodes.split_at(self.peers.min(self.nodes.len()));
            for group in [peers, seeds] {
                for process in group {
                    drop(process.stdin.lock().unwrap_or_else(PoisonError::into_inner).take());
                }
                let all_ended = async {
                    for process in group {
                        let _ = process.has_ended.clone().wait_for(|ended| *ended).await;
                    }
                };
                if timeout(STOP_TIMEOUT * 2, all_ended).await.is_err() {
                    for process in group.iter().filter(|p| !*p.has_ended.borrow()) {
                        let _ = kill_process(process.pid, Signal::KILL);
                    }
                }
            }
            self.stderr.print();
            // Listing the directory removes the control files of processes that were killed.
            let _ = self.run_dir.nodes();
        })
    }
}

/// Lets all children go on at once, and waits until all of them run.
async fn start_all(mut children: Vec<WaitingChild>) -> Outcome<Vec<StartedChild>> {
    for child in &mut children {
        child.go_on().await;
    }
    let mut started = Vec::new();
    for child in children {
        started.push(child.wait_until_started().await?);
    }
    Ok(started)
}

async fn spawn_seeds(
    commands: &ChildCommands<'_>,
    names: &NodeNames,
    configured: Option<&[SeedAddress]>,
) -> Outcome<Vec<WaitingChild>> {
    let mut spawned = Vec::new();
    for (index, name) in names.seeds.iter().enumerate() {
        let mut command = commands.seed(name);
        match configured.and_then(|c| c.get(index)) {
            None => {
                command.arg("--listen").arg("127.0.0.1:0");
            }
            Some(seed) => {
                let address = resolve(&seed.host_port).await?;
                let (host, port) = seed.host_port.rsplit_once(':').unwrap_or_default();
                command.arg("--listen").arg(address.to_string());
                command.arg("--host").arg(host).arg("--port").arg(port);
            }
        }
        spawned.push(child::spawn(command, name)?);
    }
    let mut seeds = Vec::new();
    for seed in spawned {
        seeds.push(seed.wait_for_address().await?);
    }
    Ok(seeds)
}

async fn resolve(host_port: &str) -> Outcome<std::net::SocketAddr> {
    let found = tokio::net::lookup_host(host_port).await;
    let why = match found.map(|mut addresses| addresses.next()) {
        Ok(Some(address)) => return Ok(address),
        Ok(None) => "it has none".to_owned(),
        Err(e) => e.to_string(),
    };
    let message = format!("cannot find the address of {host_port}: {why}; correct --config");
    Err(Failure::new(Exit::Config, message))
}

/// Reports the end of a child to the run, which knows whether the child was meant to end.
fn watch_exit(
    mut exit: ChildExit,
    node: usize,
    is_peer: bool,
    events: mpsc::Sender<RunEvent>,
    stderr: Arc<StderrSummary>,
) {
    tokio::spawn(async move {
        let status = exit.child.wait().await;
        let stderr_tail = exit.stderr_tail.await.unwrap_or_default();
        let is_success = status.as_ref().is_ok_and(ExitStatus::success);
        if is_success {
            stderr.add(&stderr_tail);
        }
        exit.has_ended.send_replace(true);
        if is_peer && is_success {
            // A peer ends with this code only after it has left. Its own event may not have arrived
            // yet, or be lost with its connection.
            let at_us = utc::now_us();
            let event = ObserverEvent::Left;
            let _ = events.send(RunEvent::Observed { node, at_us, event }).await;
        }
        let status = status.map_or_else(|e| e.to_string(), |s| s.to_string());
        let how = format!("{status} {}", stderr_tail.trim()).trim().to_owned();
        let _ = events.send(RunEvent::Ended { node, how }).await;
    });
}

/// The standard error of children that ended with code 0, such as that a log cannot be written. The
/// last line of the first child stands for all of them.
#[derive(Debug, Default)]
struct StderrSummary(Mutex<(Option<String>, usize)>);

impl StderrSummary {
    fn add(&self, stderr_tail: &str) {
        let Some(last) = stderr_tail.lines().rfind(|l| !l.trim().is_empty()) else { return };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0.get_or_insert_with(|| last.trim().to_owned());
        kept.1 += 1;
    }

    fn print(&self) {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(first), n) = &*kept {
            let others = match n - 1 {
                0 => String::new(),
                others => format!(" (and {} with it)", counted(others, "other")),
            };
            out::say(format!("rumor: a node said{others}: {}", escape::text(first)));
        }
    }
}
