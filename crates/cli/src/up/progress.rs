//! The output of a run on standard error: a status line that is redrawn on a terminal, or repeated
//! now and then elsewhere, and lines that stay.

use std::time::Duration;

use rumormill_terminal::out::Paint;
use rumormill_terminal::progress::StatusLine;
use tokio::time::Instant;

/// How often the status is redrawn on a terminal.
const REDRAW_INTERVAL: Duration = Duration::from_millis(200);
/// How often the status is printed elsewhere, if it has changed.
const REPEAT_INTERVAL: Duration = Duration::from_secs(5);

/// The figures of the status line.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Status {
    pub(crate) peers: usize,
    pub(crate) joined: usize,
    pub(crate) connected: usize,
    /// Lowest, mean and highest degree.
    pub(crate) degrees: (u16, f64, u16),
    pub(crate) published: u64,
    pub(crate) expected: u64,
    pub(crate) arrived: u64,
    /// Peers that the network must remove.
    pub(crate) dead: usize,
    /// Those of them that it has removed.
    pub(crate) removed: usize,
}

impl Status {
    fn line(&self, paint: Paint) -> String {
        let n = self.peers;
        let coloured = |text: String, is_complete: bool| {
            if is_complete { paint.green(&text) } else { paint.yellow(&text) }
        };
        let mut parts = vec![
            coloured(format!("joined {}/{n}", self.joined), self.joined == n),
            coloured(format!("connected {}/{n}", self.connected), self.connected == n),
        ];
        let (low, mean, high) = self.degrees;
        if high > 0 {
            parts.push(format!("degree {low} to {high}, mean {mean:.1}"));
        }
        if self.published > 0 {
            let delivered = format!("{}/{} delivered", self.arrived, self.expected);
            parts.push(format!("messages {}, {delivered}", self.published));
        }
        if self.dead > 0 {
            parts.push(format!("dead {}, removed {}", self.dead, self.removed));
        }
        parts.join(" · ")
    }
}

/// The output of a run on standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    line: StatusLine,
    last: Option<(Instant, Status)>,
}

impl Progress {
    pub(crate) fn new(started: Instant) -> Self {
        Progress { line: StatusLine::new(started), last: None }
    }

    /// When to show the next status.
    pub(crate) fn due(&self) -> Instant {
        let interval = if self.line.is_terminal() { REDRAW_INTERVAL } else { REPEAT_INTERVAL };
        self.last.as_ref().map_or(self.line.started(), |(at, _)| *at + interval)
    }

    /// Shows a status, if it is due and differs from the last one.
    pub(crate) fn status(&mut self, now: Instant, status: Status) {
        if now < self.due() {
            return;
        }
        let is_new = self.last.as_ref().is_none_or(|(_, old)| *old != status);
        if self.line.is_terminal() {
            self.line.draw(status.line(self.line.paint()));
        } else if is_new && status.joined + status.connected > 0 {
            self.line.print(&status.line(self.line.paint()));
        }
        self.last = Some((now, status));
    }

    /// Prints a line that stays.
    pub(crate) fn say(&self, text: &str) {
        self.line.print(text);
    }

    /// Removes the status line.
    pub(crate) fn clear(&self) {
        self.line.erase();
    }
}
