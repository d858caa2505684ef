//! A running peer in its terminal: a line with `1` opens the view of connections, `2` that of messages,
//! anything else leaves.

use std::io::{self, IsTerminal as _};

use rumormill_http::Client;
use tokio::sync::mpsc;

use crate::exit::Outcome;
use crate::out;
use crate::top::{self, Tab};

/// What there is to type.
const HINT: &str = "1 + Enter: connections, 2 + Enter: messages, anything else or Ctrl-C: leave";

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
            for line in io::stdin().lines() {
                let Ok(line) = line else { break };
                if sender.blocking_send(line).is_err() || acted.recv().is_err() {
                    break;
                }
            }
        });
        out::say(HINT);
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
