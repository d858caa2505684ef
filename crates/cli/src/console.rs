//! A running peer in its terminal: a line with `1` opens the view of connections, `2` that of messages,
//! anything else leaves.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use rumormill_http::Client;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;
use tokio::sync::mpsc;

use crate::top::{self, Tab};
use rumormill_terminal::exit::Outcome;
use rumormill_terminal::out;

/// What there is to type.
const HINT: &str = "1 + Enter: connections, 2 + Enter: messages, anything else or Ctrl-C: leave";

/// How often a process in the background looks whether it has the terminal again.
const LOOK: Duration = Duration::from_millis(500);

/// What is typed.
#[derive(Debug)]
pub(crate) struct Console {
    lines: mpsc::Receiver<String>,
    /// The terminal is read again when the last line has been acted on: a view reads it, too.
    next: std::sync::mpsc::Sender<()>,
}

impl Console {
    /// A console, if there is somebody at a terminal.
    pub(crate) fn open() -> Option<Self> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return None;
        }
        let (sender, lines) = mpsc::channel(1);
        let (next, acted) = std::sync::mpsc::channel();
        // A blocking read that nothing can cancel must not hold up the runtime's end.
        std::thread::spawn(move || {
            while let Some(line) = next_line() {
                if sender.blocking_send(line).is_err() || acted.recv().is_err() {
                    break;
                }
            }
        });
        if is_in_foreground() {
            out::say(HINT);
        }
        Some(Console { lines, next })
    }

    /// Does what is typed until it is time to leave. Without a terminal it waits for ever.
    pub(crate) async fn run(console: &mut Option<Self>, client: Client) -> Outcome<()> {
        let Some(console) = console else { return std::future::pending().await };
        while let Some(line) = console.lines.recv().await {
            let page = match line.trim() {
                "1" => Tab::Connections,
                "2" => Tab::Messages,
                _ => return Ok(()),
            };
            top::run(client.clone(), page).await?;
            out::say(HINT);
            if console.next.send(()).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Whether what is typed is for this process, and not for the shell that started it with `&`.
fn is_in_foreground() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
}

/// The next line that is typed for this process; `None` at the end. Whoever reads the terminal from the
/// background is stopped by the kernel (SIGTTIN), the whole process with its links open and nobody
/// answering: the others would take it for dead. So it reads only what is there, and its own.
fn next_line() -> Option<String> {
    let stdin = io::stdin();
    let limit = Timespec::try_from(LOOK).ok()?;
    loop {
        let terminal = is_in_foreground().then(|| PollFd::new(&stdin, PollFlags::IN));
        match poll(&mut Vec::from_iter(terminal), Some(&limit)) {
            Ok(0) | Err(Errno::INTR) => {}
            // A terminal gives one line at a time, so none waits in the buffer.
            Ok(_) if is_in_foreground() => break,
            Ok(_) => {}
            Err(_) => return None,
        }
    }
    let mut line = String::new();
    (stdin.read_line(&mut line).ok()? > 0).then_some(line)
}
