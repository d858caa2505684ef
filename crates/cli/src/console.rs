//! The terminal of a running peer: a line with `1` opens the view of connections, `2` that of
//! messages, any other line makes the peer leave.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use rumormill_http::Client;
use rumormill_terminal::exit::Outcome;
use rumormill_terminal::out;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;
use tokio::sync::mpsc;

use crate::top::{self, Tab};

/// The inputs that the console understands.
const HINT: &str = "1 + Enter: connections, 2 + Enter: messages, anything else or Ctrl-C: leave";

/// How often a process in the background checks whether it has the terminal again.
const FOREGROUND_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// The lines that the user types.
#[derive(Debug)]
pub(crate) struct Console {
    lines: mpsc::Receiver<String>,
    /// Lets the reader continue after a line was handled, because a view reads the terminal as
    /// well.
    next: std::sync::mpsc::Sender<()>,
}

impl Console {
    /// A console, if standard input and output are a terminal.
    pub(crate) fn open() -> Option<Self> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return None;
        }
        let (sender, lines) = mpsc::channel(1);
        let (next, handled) = std::sync::mpsc::channel();
        // A blocking read cannot be cancelled, and must not delay the end of the runtime.
        std::thread::spawn(move || {
            while let Some(line) = next_line() {
                if sender.blocking_send(line).is_err() || handled.recv().is_err() {
                    break;
                }
            }
        });
        if is_in_foreground() {
            out::say(HINT);
        }
        Some(Console { lines, next })
    }

    /// Handles the lines until the user asks the peer to leave. Without a console it waits for
    /// ever.
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

/// Whether this process gets the lines of the terminal, and not the shell that started it with `&`.
fn is_in_foreground() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
}

/// The next line for this process; `None` at the end of the input. The kernel stops a process that
/// reads the terminal from the background (SIGTTIN). Its links would stay open without an answer,
/// and its neighbours would suspect it. So it reads only in the foreground, and only when there is
/// input.
fn next_line() -> Option<String> {
    let stdin = io::stdin();
    let limit = Timespec::try_from(FOREGROUND_CHECK_INTERVAL).ok()?;
    loop {
        let terminal = is_in_foreground().then(|| PollFd::new(&stdin, PollFlags::IN));
        match poll(&mut Vec::from_iter(terminal), Some(&limit)) {
            Ok(0) | Err(Errno::INTR) => {}
            // A terminal gives one line at a time, so no line waits in the buffer of `stdin`.
            Ok(_) if is_in_foreground() => break,
            Ok(_) => {}
            Err(_) => return None,
        }
    }
    let mut line = String::new();
    (stdin.read_line(&mut line).ok()? > 0).then_some(line)
}
