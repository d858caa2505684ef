//! A node that another program starts (`--supervised`).
//!
//! A program that starts many nodes (`rumor up --processes`, a test) needs their addresses before
//! it can write their configuration, and must not leave them behind. So a supervised node
//!
//! 1. binds its listener and writes the line `{"listening":"ADDRESS","id":"ID"}` to standard output
//!    (`id` only of a seed whose identity is known before it starts),
//! 2. waits for a line on standard input; `--config` is read only then,
//! 3. starts, and writes the content of its control file as a line,
//! 4. leaves when standard input is closed; on Linux it is killed when its parent dies, which
//!    also ends one that is stopped.

use std::io::BufRead as _;
use std::net::SocketAddr;

use rumormill::proto::PeerId;
use rumormill_http::ControlFile;
use rumormill_terminal::exit::{Exit, Failure, Outcome};
use rumormill_terminal::out;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// The first line that a supervised node writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Listening {
    pub(crate) listening: SocketAddr,
    /// Absent if the id is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
}

/// The connection with the program that started this one.
#[derive(Debug)]
pub(crate) struct Supervisor {
    lines: mpsc::Receiver<()>,
}

impl Supervisor {
    pub(crate) fn new() -> Self {
        die_with_parent();
        let (sender, lines) = mpsc::channel(1);
        // A blocking read cannot be cancelled, and must not delay the end of the runtime.
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                if line.is_err() || sender.blocking_send(()).is_err() {
                    break;
                }
            }
        });
        Supervisor { lines }
    }

    /// Says where the node listens, and waits until its configuration is ready.
    pub(crate) async fn rendezvous(
        &mut self,
        listening: SocketAddr,
        id: Option<PeerId>,
    ) -> Outcome<()> {
        out::json(&Listening { listening, id: id.map(PeerId::to_hex) })?;
        self.lines.recv().await.ok_or_else(|| {
            Failure::new(Exit::Interrupted, "the supervisor closed standard input before the start")
        })
    }

    /// Says how to control the node.
    pub(crate) fn ready(&self, file: &ControlFile) -> Outcome<()> {
        out::json(file)
    }

    /// Resolves when the supervisor closes standard input, or ends.
    pub(crate) async fn gone(&mut self) {
        while self.lines.recv().await.is_some() {}
    }
}

#[cfg(target_os = "linux")]
fn die_with_parent() {
    use rustix::process::{Signal, set_parent_process_death_signal};
    // If it fails, the closed standard input still ends a node that runs.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent() {}
