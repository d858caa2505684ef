//! A run in many processes: every node is a `rumor seed` or `rumor peer` of its own, watched and
//! spoken to through its control API.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rumormill::proto::{MessageId, SeedAddress};
use rumormill::seeds_file;
use rumormill_http::view::{Content, Publish, Status};
use rumormill_http::{Client, ControlFile, Item, RunDir, Tail};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::names::Names;
use super::plan::Fault;
use super::seen::{Facts, Member, Members, Seen, Sight};
use crate::log::LogArgs;
use crate::supervise::Listening;
use rumormill_launch::STOP_TIMEOUT;
use rumormill_launch::args::NetworkArgs;
use rumormill_launch::listen::ANY_LOOPBACK_PORT;
use rumormill_terminal::exit::{Exit, Failure, OrExit as _, Outcome};
use rumormill_terminal::usage::Usage;
use rumormill_terminal::{escape, out, utc};
use rumormill_units::count::counted;

/// How long a child may take to bind, and to start.
const START: Duration = Duration::from_secs(30);
/// How much of a child's complaints is kept.
const COMPLAINTS: usize = 4096;

/// The nodes of a run in many processes.
#[derive(Debug)]
pub(crate) struct Outside {
    members: Members,
    nodes: Vec<Process>,
    peers: usize,
    grumbles: Arc<Grumbles>,
    run_dir: RunDir,
    /// Holds the configuration as long as the run lasts.
    _dir: TempDir,
}

/// A node that runs.
#[derive(Debug)]
struct Process {
    pid: Pid,
    client: Client,
    /// Closing it asks the node to leave.
    stdin: Mutex<Option<ChildStdin>>,
    /// Turns true when the process is gone.
    gone: watch::Receiver<bool>,
    struck: Mutex<Option<(Fault, Option<Usage>)>>,
}

/// A node that has bound its listener and waits for its configuration.
struct Waiting {
    spawned: Spawned,
    listening: Listening,
}

/// What all children are started with.
struct Common<'a> {
    program: PathBuf,
    config: PathBuf,
    network: &'a NetworkArgs,
    run_dir: Option<&'a Path>,
    log: &'a LogArgs,
}

impl Common<'_> {
    /// The command of one child. It gets a process group of its own, so that a Ctrl-C on the
    /// terminal reaches this process only, which then ends the children in order.
    fn command(&self, role: &str, name: &str) -> Command {
        let mut c = Command::new(&self.program);
        // What the environment says is in these arguments already, or meant for one node alone.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|n| n.starts_with("RUMOR_")) {
                c.env_remove(&name);
            }
        }
        c.arg(role).arg("--supervised").arg("--name").arg(name);
        c.arg("--config").arg(&self.config);
        c.arg("--preset").arg(self.network.common.preset.to_string());
        if role == "peer" {
            c.arg("--broadcast").arg(self.network.broadcast.to_string());
            if let Some(bytes) = self.network.retention {
                c.arg("--retention").arg(bytes.to_string());
            }
            if let Some(age) = self.network.retention_age {
                c.arg("--retention-age").arg(format!("{}ms", age.as_millis()));
            }
            if let Some(n) = self.network.max_degree {
                c.arg("--max-degree").arg(n.to_string());
            }
            // What is published is told to it; `classic` would have it greet by itself as well.
            c.arg("--messages").arg("0");
            // The whole network ends: there is no node to hand over to for long.
            c.arg("--leave-within").arg("3s");
            c.arg("--listen").arg(ANY_LOOPBACK_PORT.to_string());
        }
        if let Some(file) = &self.network.common.network_key_file {
            c.arg("--network-key-file").arg(file);
        }
        if let Some(dir) = self.run_dir {
            c.arg("--run-dir").arg(dir);
        }
        c.arg("--log-dir").arg(&self.log.log_dir).arg("--log-level").arg(&self.log.log_level);
        if self.log.no_log {
            c.arg("--no-log");
        }
        c.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        c.kill_on_drop(true).process_group(0);
        c
    }
}

impl Outside {
    /// Starts the seeds, which bind their listeners and wait; writes the configuration with their
    /// addresses and ids; lets them go on; then starts the peers.
    pub(crate) async fn start(
        names: &Names,
        configured: Option<&[SeedAddress]>,
        network: &NetworkArgs,
        run_dir: Option<&Path>,
        log: &LogArgs,
        sights: &mpsc::Sender<Sight>,
    ) -> Outcome<Self> {
        let dir = tempfile::Builder::new().prefix("rumor-up-").tempdir().or_exit(Exit::Failed)?;
        let program = std::env::current_exe().or_exit(Exit::Failed)?;
        let config = dir.path().join("config.txt");
        let common = Common { program, config, network, run_dir, log };
        let seeds = bind_seeds(&common, names, configured).await?;
        let mut lines = Vec::new();
        for (index, seed) in seeds.iter().enumerate() {
            let host_port = configured
                .and_then(|c| c.get(index))
                .map_or_else(|| seed.listening.listening.to_string(), |s| s.host_port.clone());
            let pin = seed.listening.id.as_deref().and_then(|id| id.parse().ok());
            lines.push(SeedAddress { host_port, pin });
        }
        std::fs::write(&common.config, seeds_file::format(&lines)).or_exit(Exit::Failed)?;
        let running = start_all(seeds).await?;
        let mut waiting = Vec::new();
        for name in &names.peers {
            waiting.push(spawn(common.command("peer", name), name)?);
        }
        let mut peers = Vec::new();
        for peer in waiting {
            peers.push(peer.listening().await?);
        }
        let mut all = start_all(peers).await?;
        all.extend(running);
        let mut fleet = Outside {
            members: Members::default(),
            nodes: Vec::new(),
            peers: names.peers.len(),
            grumbles: Arc::default(),
            run_dir: RunDir::locate(run_dir),
            _dir: dir,
        };
        for (number, (member, process, end)) in all.into_iter().enumerate() {
            let grumbles = fleet.grumbles.clone();
            end.watch(number, number < names.peers.len(), sights.clone(), grumbles);
            watch_events(number, process.client.clone(), sights.clone()).await?;
            if number < names.peers.len() {
                watch_messages(number, process.client.clone(), sights.clone()).await?;
            }
            fleet.members.add(member);
            fleet.nodes.push(process);
        }
        Ok(fleet)
    }

    pub(crate) const fn members(&self) -> &Members {
        &self.members
    }

    fn node(&self, number: usize) -> Result<&Process, String> {
        self.nodes.get(number).ok_or_else(|| format!("there is no node {number}"))
    }

    pub(crate) async fn publish(
        &self,
        peer: usize,
        topic: &str,
        content: &str,
    ) -> Result<MessageId, String> {
        let content = Content::of(content.as_bytes());
        let request = Publish { topic: topic.to_owned(), content, wait_ms: None };
        let published =
            self.node(peer)?.client.publish(&request).await.map_err(|e| e.to_string())?;
        published.id.parse().map_err(|e: rumormill::proto::message::ParseMessageIdError| {
            format!("{:?}: {e}", published.id)
        })
    }

    pub(crate) fn strike(&self, peer: usize, fault: Fault) -> Result<(), String> {
        let process = self.node(peer)?;
        let usage = Usage::of(process.pid.as_raw_nonzero().get().unsigned_abs());
        *process.struck.lock().unwrap_or_else(PoisonError::into_inner) = Some((fault, usage));
        let signal = match fault {
            Fault::Kill => Signal::KILL,
            Fault::Stop => Signal::STOP,
        };
        kill_process(process.pid, signal).map_err(|e| format!("cannot send {signal:?}: {e}"))
    }

    pub(crate) async fn peer_facts(&self, peer: usize) -> Result<Facts, String> {
        let client = &self.node(peer)?.client;
        let status = client.status().await.map_err(|e| e.to_string())?;
        let Status::Peer(status) = status else { return Err("it is not a peer".to_owned()) };
        let neighbours = client.neighbours().await.map_err(|e| e.to_string())?;
        Ok(Facts {
            neighbours: neighbours.into_iter().map(|n| n.id).collect(),
            registrations: status.registrations,
            seed_quorum: status.seed_quorum,
            counters: status.counters,
        })
    }

    pub(crate) async fn seed_facts(&self, seed: usize) -> Result<Facts, String> {
        let status =
            self.node(self.peers + seed)?.client.status().await.map_err(|e| e.to_string())?;
        let Status::Seed(status) = status else { return Err("it is not a seed".to_owned()) };
        Ok(Facts { seed_quorum: status.seed_quorum, counters: status.counters, ..Facts::default() })
    }

    /// Of this process and all children. What the killed had used until then counts as time, and
    /// not as memory.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let mut sum = Usage::of_this_process()?;
        for process in &self.nodes {
            let struck = *process.struck.lock().unwrap_or_else(PoisonError::into_inner);
            let usage = match struck {
                Some((Fault::Kill, usage)) => usage.map(|u| Usage { rss_kib: 0, ..u }),
                _ => Usage::of(process.pid.as_raw_nonzero().get().unsigned_abs()),
            };
            sum = sum.plus(usage.unwrap_or_default());
        }
        Some(sum)
    }

    /// Asks all nodes to leave, and kills those that do not, or cannot because they are stopped.
    pub(crate) async fn end(&self) {
        for process in &self.nodes {
            let struck = process.struck.lock().unwrap_or_else(PoisonError::into_inner);
            if matches!(*struck, Some((Fault::Stop, _))) {
                let _ = kill_process(process.pid, Signal::KILL);
            }
        }
        // The seeds last: they have to acknowledge the goodbyes.
        let (peers, seeds) = self.nodes.split_at(self.peers.min(self.nodes.len()));
        for group in [peers, seeds] {
            for process in group {
                drop(process.stdin.lock().unwrap_or_else(PoisonError::into_inner).take());
            }
            let all = async {
                for process in group {
                    let _ = process.gone.clone().wait_for(|gone| *gone).await;
                }
            };
            if timeout(STOP_TIMEOUT * 2, all).await.is_err() {
                for process in group.iter().filter(|p| !*p.gone.borrow()) {
                    let _ = kill_process(process.pid, Signal::KILL);
                }
            }
        }
        self.grumbles.tell();
        // Looking at the directory removes the files of those that were killed.
        let _ = self.run_dir.nodes();
    }
}

/// Lets all of them go on at once, and waits until all run.
async fn start_all(mut nodes: Vec<Waiting>) -> Outcome<Vec<(Member, Process, End)>> {
    for node in &mut nodes {
        node.go_on().await;
    }
    let mut running = Vec::new();
    for node in nodes {
        running.push(node.ready().await?);
    }
    Ok(running)
}

/// Waits for the end of a child. Dropped, it kills the child.
struct End {
    child: Child,
    gone: watch::Sender<bool>,
    complaints: JoinHandle<String>,
}

/// What children complained of that ended as they should: a log that cannot be written, say. The last word
/// of the first of them stands for all.
#[derive(Debug, Default)]
struct Grumbles(Mutex<(Option<String>, usize)>);

impl Grumbles {
    fn add(&self, complaints: &str) {
        let Some(last) = complaints.lines().rfind(|l| !l.trim().is_empty()) else { return };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0.get_or_insert_with(|| last.trim().to_owned());
        kept.1 += 1;
    }

    fn tell(&self) {
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

impl End {
    /// Tells that the child (a `peer`, or a seed) ended, and how. Whether it was meant to, the run
    /// knows.
    fn watch(
        mut self,
        node: usize,
        peer: bool,
        sights: mpsc::Sender<Sight>,
        grumbles: Arc<Grumbles>,
    ) {
        tokio::spawn(async move {
            let status = self.child.wait().await;
            let complaints = self.complaints.await.unwrap_or_default();
            if status.as_ref().is_ok_and(ExitStatus::success) {
                grumbles.add(&complaints);
            }
            self.gone.send_replace(true);
            if peer && status.as_ref().is_ok_and(ExitStatus::success) {
                // A peer ends so only when it has said goodbye. Its own word of it may still be on
                // its way, or lost with the connection that it came over.
                let at_us = utc::now_us();
                let _ = sights.send(Sight::Event { node, at_us, seen: Seen::Left }).await;
            }
            let status = status.map_or_else(|e| e.to_string(), |s| s.to_string());
            let how = format!("{status} {}", complaints.trim()).trim().to_owned();
            let _ = sights.send(Sight::Ended { node, how }).await;
        });
    }
}

async fn bind_seeds(
    common: &Common<'_>,
    names: &Names,
    configured: Option<&[SeedAddress]>,
) -> Outcome<Vec<Waiting>> {
    let mut spawned = Vec::new();
    for (index, name) in names.seeds.iter().enumerate() {
        let mut command = common.command("seed", name);
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
        spawned.push(spawn(command, name)?);
    }
    let mut seeds = Vec::new();
    for seed in spawned {
        seeds.push(seed.listening().await?);
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

/// A child that was started and has said nothing yet.
struct Spawned {
    name: String,
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    complaints: JoinHandle<String>,
}

fn spawn(mut command: Command, name: &str) -> Outcome<Spawned> {
    let failed = |what: String| Failure::new(Exit::Failed, format!("cannot start {name}: {what}"));
    let mut child = command.spawn().map_err(|e| failed(e.to_string()))?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(failed("it has no pipes".to_owned()));
    };
    Ok(Spawned {
        name: name.to_owned(),
        child,
        stdin,
        lines: BufReader::new(stdout).lines(),
        complaints: tokio::spawn(collect_complaints(stderr)),
    })
}

/// Reads what a child says to standard error, and keeps the end of it.
async fn collect_complaints(mut stderr: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut chunk = [0u8; 1024];
    while let Ok(n) = stderr.read(&mut chunk).await {
        if n == 0 {
            break;
        }
        kept.extend_from_slice(&chunk[..n]);
        let over = kept.len().saturating_sub(COMPLAINTS);
        kept.drain(..over);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

impl Spawned {
    async fn listening(mut self) -> Outcome<Waiting> {
        let read = read_line(&mut self.lines).await;
        match read {
            Ok(listening) => Ok(Waiting { spawned: self, listening }),
            Err(why) => Err(self.failure(&why).await),
        }
    }

    /// What to say of a child that did not start: its own words, and its exit code, if it has any.
    async fn failure(mut self, why: &str) -> Failure {
        let _ = self.child.start_kill();
        let status = self.child.wait().await;
        let complaints = self.complaints.await.unwrap_or_default();
        let exit = match status.ok().and_then(|s| s.code()) {
            Some(3) => Exit::Config,
            Some(4) => Exit::Bind,
            Some(5) => Exit::Storage,
            _ => Exit::Failed,
        };
        let said = complaints.trim().trim_start_matches("rumor: ");
        let why = if said.is_empty() { why } else { said };
        Failure::new(exit, format!("{} did not start: {why}", self.name))
    }
}

/// Reads one line of JSON.
async fn read_line<T: DeserializeOwned>(
    lines: &mut Lines<BufReader<ChildStdout>>,
) -> Result<T, String> {
    match timeout(START, lines.next_line()).await {
        Err(_) => Err(format!("it said nothing within {} s", START.as_secs())),
        Ok(Err(e)) => Err(e.to_string()),
        Ok(Ok(None)) => Err("it ended".to_owned()),
        Ok(Ok(Some(line))) => serde_json::from_str(&line).map_err(|e| format!("{line:?}: {e}")),
    }
}

impl Waiting {
    /// Tells the child that its configuration is there. If it cannot be told it has ended, which
    /// shows in [`Waiting::ready`].
    async fn go_on(&mut self) {
        let _ = self.spawned.stdin.write_all(b"\n").await;
    }

    /// Waits until the child runs.
    async fn ready(mut self) -> Outcome<(Member, Process, End)> {
        let ready: Result<ControlFile, String> = read_line(&mut self.spawned.lines).await;
        let file = match ready {
            Ok(file) => file,
            Err(why) => return Err(self.spawned.failure(&why).await),
        };
        let Spawned { name, child, stdin, complaints, .. } = self.spawned;
        let wrong = |what: &str| Failure::new(Exit::Failed, format!("{name} has a wrong {what}"));
        let id = file.id.parse().map_err(|_| wrong("id"))?;
        let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pid = pid.ok_or_else(|| wrong("process number"))?;
        let gone = watch::Sender::new(false);
        let process = Process {
            pid,
            client: Client::new(&file)?,
            stdin: Mutex::new(Some(stdin)),
            gone: gone.subscribe(),
            struck: Mutex::new(None),
        };
        Ok((Member { name, id }, process, End { child, gone, complaints }))
    }
}

/// Follows the events of a node. Returns once none can be missed any more; what happened before
/// is asked for.
async fn watch_events(node: usize, client: Client, sights: mpsc::Sender<Sight>) -> Outcome<()> {
    let mut stream = client.events().await?;
    let status = client.status().await?;
    if let Status::Peer(peer) = status {
        let at_us = utc::now_us();
        if peer.state == "joined" {
            let _ = sights.send(Sight::Event { node, at_us, seen: Seen::Joined }).await;
        }
        let seen = Seen::NeighbourUp { degree: u16::try_from(peer.degree).unwrap_or(u16::MAX) };
        let _ = sights.send(Sight::Event { node, at_us, seen }).await;
    }
    tokio::spawn(async move {
        // A stream that breaks is a process that ended, or was stopped: the run learns of the
        // one by itself, and did the other.
        while let Ok(Some(item)) = stream.next().await {
            let sight = match item {
                Item::Of(line) => match Seen::of(&line.event) {
                    Seen::Other => continue,
                    seen => Sight::Event { node, at_us: line.at_us, seen },
                },
                // Events have no gaps; their readers lag.
                Item::Gap(_) | Item::CaughtUp => continue,
                Item::Lagged(missing) => Sight::Lagged { node, missing },
            };
            if sights.send(sight).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Follows the messages that a peer receives.
async fn watch_messages(peer: usize, client: Client, sights: mpsc::Sender<Sight>) -> Outcome<()> {
    let mut stream = client.tail(&Tail::default()).await?;
    tokio::spawn(async move {
        while let Ok(Some(item)) = stream.next().await {
            let sight = match item {
                Item::Of(message) => {
                    let received = message.received_us.filter(|_| message.from.is_some());
                    let (Ok(id), Some(received_us)) = (message.id.parse(), received) else {
                        continue;
                    };
                    Sight::Received { peer, id, published_us: message.published_us, received_us }
                }
                Item::Gap(gap) => Sight::Gap { node: peer, missing: gap.to - gap.from },
                Item::CaughtUp => continue,
                Item::Lagged(missing) => Sight::Lagged { node: peer, missing },
            };
            if sights.send(sight).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use rumormill::proto::{BroadcastMode, Preset};

    use super::*;
    use rumormill_launch::args::CommonArgs;

    /// `rumor peer --preset classic` publishes by itself. Under `up` it must not: each message
    /// would come twice.
    #[test]
    fn a_child_publishes_what_it_is_told_to_and_nothing_else() {
        let log = LogArgs { log_dir: "logs".into(), no_log: true, log_level: "info".to_owned() };
        let network = NetworkArgs {
            common: CommonArgs { preset: Preset::Classic, network_key_file: None },
            broadcast: BroadcastMode::Trees,
            retention: Some(1 << 24),
            retention_age: Some(Duration::from_millis(90_500)),
            max_degree: Some(7),
        };
        let (program, config) = ("rumor".into(), "config.txt".into());
        let common = Common { program, config, network: &network, run_dir: None, log: &log };
        let args = |role| {
            let command = common.command(role, "n");
            let args = command.as_std().get_args().map(|a| a.to_string_lossy().into_owned());
            args.collect::<Vec<_>>().join(" ")
        };
        assert!(args("peer").contains("--messages 0"), "{}", args("peer"));
        assert!(!args("seed").contains("--messages"), "a seed has no such flag");
        let of_peers = "--retention 16777216 --retention-age 90500ms --max-degree 7";
        assert!(args("peer").contains(of_peers), "{}", args("peer"));
        assert!(!args("seed").contains("--retention"), "a seed keeps no messages");
    }
}
