//! The view of a running peer in its terminal: a line with `1` shows connections, `2` shows
//! messages, anything else leaves.

use std::io::{self, IsTerminal as _};

use rumormill::Node;
use rumormill_http::view::{MessageLine, NeighbourLine};
use tokio::sync::mpsc;

use crate::commands::{messages, neighbours};
use crate::exit::Outcome;
use crate::out::{self, Paint};

/// Messages shown.
const SHOWN: usize = 20;

/// What is typed.
#[derive(Debug)]
pub(crate) struct Console {
    lines: mpsc::Receiver<String>,
}

impl Console {
    /// A console, if there is somebody at a terminal.
    pub(crate) fn open() -> Option<Self> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return None;
        }
        let (sender, lines) = mpsc::channel(1);
        // A blocking read that nothing can cancel must not hold up the runtime's end.
        std::thread::spawn(move || {
            for line in io::stdin().lines() {
                let Ok(line) = line else { break };
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
        });
        out::say("1 + Enter: connections, 2 + Enter: messages, anything else or Ctrl-C: leave");
        Some(Console { lines })
    }

    /// Answers what is typed until it is time to leave. Without a terminal it waits for ever.
    pub(crate) async fn run(console: &mut Option<Self>, node: &Node) -> Outcome<()> {
        let Some(console) = console else { return std::future::pending().await };
        while let Some(line) = console.lines.recv().await {
            match line.trim() {
                "1" => {
                    let views = node.neighbours().await;
                    let lines: Vec<NeighbourLine> = views.iter().map(Into::into).collect();
                    out::print(&neighbours::text(&lines, Paint::stdout()))?;
                }
                "2" => {
                    let held = node.messages(SHOWN).await;
                    let lines: Vec<MessageLine> = held.iter().map(Into::into).collect();
                    out::print(&messages::text(&lines, Paint::stdout()))?;
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }
}
