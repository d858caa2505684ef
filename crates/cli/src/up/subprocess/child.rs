//! The start of a child process: it says where it listens, waits for its configuration, and says
//! how to control it.

use std::time::Duration;

use rumormill::proto::PeerId;
use rumormill_http::{Client, ControlFile};
use rumormill_terminal::exit::{Exit, Failure, Outcome};
use rustix::process::Pid;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::supervise::Listening;

/// How long a child may take to bind its listener, and then to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The last bytes of a child's standard error that are kept.
const MAX_STDERR: usize = 4096;

/// A child that was started and has written nothing yet.
pub(super) struct SpawnedChild {
    name: String,
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    stderr_tail: JoinHandle<String>,
}

/// A child that has bound its listener and waits for its configuration.
pub(super) struct WaitingChild {
    spawned: SpawnedChild,
    pub(super) listening: Listening,
}

/// A child that runs a node.
pub(super) struct StartedChild {
    pub(super) name: String,
    pub(super) id: PeerId,
    pub(super) pid: Pid,
    pub(super) client: Client,
    pub(super) stdin: Option<ChildStdin>,
    pub(super) exit: ChildExit,
}

/// The end of a child. Dropping it kills the child.
pub(super) struct ChildExit {
    pub(super) child: Child,
    /// To be set to true when the child has ended.
    pub(super) has_ended: watch::Sender<bool>,
    /// The end of its standard error.
    pub(super) stderr_tail: JoinHandle<String>,
}

/// Starts a child.
pub(super) fn spawn(mut command: Command, name: &str) -> Outcome<SpawnedChild> {
    let failed = |why: String| Failure::new(Exit::Failed, format!("cannot start {name}: {why}"));
    let mut child = command.spawn().map_err(|e| failed(e.to_string()))?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(failed("it has no pipes".to_owned()));
    };
    Ok(SpawnedChild {
        name: name.to_owned(),
        child,
        stdin,
        lines: BufReader::new(stdout).lines(),
        stderr_tail: tokio::spawn(read_stderr(stderr)),
    })
}

/// Reads what a child writes to standard error, and keeps the end of it.
async fn read_stderr(mut stderr: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut chunk = [0u8; 1024];
    while let Ok(n) = stderr.read(&mut chunk).await {
        if n == 0 {
            break;
        }
        kept.extend_from_slice(&chunk[..n]);
        let excess = kept.len().saturating_sub(MAX_STDERR);
        kept.drain(..excess);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

impl SpawnedChild {
    /// Waits until the child says where it listens.
    pub(super) async fn wait_for_address(mut self) -> Outcome<WaitingChild> {
        match read_line(&mut self.lines).await {
            Ok(listening) => Ok(WaitingChild { spawned: self, listening }),
            Err(why) => Err(self.start_failure(&why).await),
        }
    }

    /// The failure of a child that did not start: its standard error and its exit code, if it has
    /// any.
    async fn start_failure(mut self, why: &str) -> Failure {
        let _ = self.child.start_kill();
        let status = self.child.wait().await;
        let stderr_tail = self.stderr_tail.await.unwrap_or_default();
        let exit = match status.ok().and_then(|s| s.code()) {
            Some(3) => Exit::Config,
            Some(4) => Exit::Bind,
            Some(5) => Exit::Storage,
            _ => Exit::Failed,
        };
        let said = stderr_tail.trim().trim_start_matches("rumor: ");
        let why = if said.is_empty() { why } else { said };
        Failure::new(exit, format!("{} did not start: {why}", self.name))
    }
}

/// Reads one line of JSON.
async fn read_line<T: DeserializeOwned>(
    lines: &mut Lines<BufReader<ChildStdout>>,
) -> Result<T, String> {
    match timeout(START_TIMEOUT, lines.next_line()).await {
        Err(_) => Err(format!("it wrote nothing within {} s", START_TIMEOUT.as_secs())),
        Ok(Err(e)) => Err(e.to_string()),
        Ok(Ok(None)) => Err("it ended".to_owned()),
        Ok(Ok(Some(line))) => serde_json::from_str(&line).map_err(|e| format!("{line:?}: {e}")),
    }
}

impl WaitingChild {
    /// Tells the child that its configuration is there. A child that cannot be told has ended,
    /// which [`WaitingChild::wait_until_started`] reports.
    pub(super) async fn go_on(&mut self) {
        let _ = self.spawned.stdin.write_all(b"\n").await;
    }

    /// Waits until the child runs its node.
    pub(super) async fn wait_until_started(mut self) -> Outcome<StartedChild> {
        let ready: Result<ControlFile, String> = read_line(&mut self.spawned.lines).await;
        let file = match ready {
            Ok(file) => file,
            Err(why) => return Err(self.spawned.start_failure(&why).await),
        };
        let SpawnedChild { name, child, stdin, stderr_tail, .. } = self.spawned;
        let wrong = |what: &str| Failure::new(Exit::Failed, format!("{name} has a wrong {what}"));
        let id = file.id.parse().map_err(|_| wrong("id"))?;
        let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pid = pid.ok_or_else(|| wrong("process number"))?;
        let client = Client::new(&file)?;
        let exit = ChildExit { child, has_ended: watch::Sender::new(false), stderr_tail };
        Ok(StartedChild { name, id, pid, client, stdin: Some(stdin), exit })
    }
}
