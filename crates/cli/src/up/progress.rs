//! What a run shows while it goes on: a status line where there is a terminal to redraw it on,
//! otherwise a line now and then; and one line for whatever is worth keeping.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use tokio::time::Instant;

use rumormill_terminal::out::Paint;

/// How often the line is redrawn on a terminal.
const REDRAW: Duration = Duration::from_millis(200);
/// How often it is repeated elsewhere, if it has changed.
const REPEAT: Duration = Duration::from_secs(5);

/// The figures of the status line.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Status {
    pub(crate) peers: usize,
    pub(crate) joined: usize,
    pub(crate) connected: usize,
    pub(crate) degrees: (u16, f64, u16),
    pub(crate) published: u64,
    pub(crate) expected: u64,
    pub(crate) arrived: u64,
    pub(crate) struck: usize,
    pub(crate) removed: usize,
}

impl Status {
    fn line(&self, paint: Paint) -> String {
        let n = self.peers;
        let whole = |text: String, good: bool| {
            if good { paint.green(&text) } else { paint.yellow(&text) }
        };
        let mut parts = vec![
            whole(format!("joined {}/{n}", self.joined), self.joined == n),
            whole(format!("connected {}/{n}", self.connected), self.connected == n),
        ];
        let (low, mean, high) = self.degrees;
        if high > 0 {
            parts.push(format!("degree {low} to {high}, mean {mean:.1}"));
        }
        if self.published > 0 {
            let spread = format!("{}/{} delivered", self.arrived, self.expected);
            parts.push(format!("messages {}, {spread}", self.published));
        }
        if self.struck > 0 {
            parts.push(format!("dead {}, removed {}", self.struck, self.removed));
        }
        parts.join(" · ")
    }
}

/// Standard error, and what is on it.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    paint: Paint,
    started: Instant,
    last: Option<(Instant, Status)>,
    /// A status line stands on the last row.
    shown: bool,
}

impl Progress {
    pub(crate) fn new(started: Instant) -> Self {
        let terminal = io::stderr().is_terminal();
        Progress { terminal, paint: Paint::stderr(), started, last: None, shown: false }
    }

    /// When to show the next status.
    pub(crate) fn due(&self) -> Instant {
        let every = if self.terminal { REDRAW } else { REPEAT };
        self.last.as_ref().map_or(self.started, |(at, _)| *at + every)
    }

    /// Shows a status, if it is time and there is something new in it.
    pub(crate) fn status(&mut self, now: Instant, status: Status) {
        if now < self.due() {
            return;
        }
        let news = self.last.as_ref().is_none_or(|(_, old)| *old != status);
        if self.terminal {
            let line = format!("{} {}", self.clock(now), status.line(self.paint));
            self.write(&format!("\r\x1b[2K{line}"));
            self.shown = true;
        } else if news && status.joined + status.connected > 0 {
            self.write(&format!("{} {}\n", self.clock(now), status.line(self.paint)));
        }
        self.last = Some((now, status));
    }

    /// Says something worth keeping.
    pub(crate) fn say(&mut self, text: &str) {
        let clock = self.clock(Instant::now());
        self.clear();
        self.write(&format!("{clock} {text}\n"));
    }

    /// Takes the status line away.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            self.write("\r\x1b[2K");
        }
    }

    fn clock(&self, now: Instant) -> String {
        let text = format!("{:6.1} s", now.duration_since(self.started).as_secs_f64());
        self.paint.dim(&text)
    }

    /// If nobody reads standard error, the run goes on all the same.
    fn write(&self, text: &str) {
        let mut err = io::stderr().lock();
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
