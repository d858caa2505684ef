//! A line on standard error that is redrawn while a command runs.

use std::io::{self, IsTerminal as _, Write as _};

use tokio::time::Instant;

use crate::out::Paint;

/// Moves to the start of the row and erases it.
const ERASE_ROW: &str = "\r\x1b[2K";

/// The status line of a command, and the lines above it. Each begins with the time since the start.
/// Dropping it erases the status line.
#[derive(Debug)]
pub struct StatusLine {
    is_terminal: bool,
    paint: Paint,
    started: Instant,
    /// Whether the status line is on the last row.
    is_drawn: bool,
}

impl StatusLine {
    /// A status line of a command that began at `started`; nothing is drawn yet.
    pub fn new(started: Instant) -> Self {
        let is_terminal = io::stderr().is_terminal();
        StatusLine { is_terminal, paint: Paint::stderr(), started, is_drawn: false }
    }

    /// Whether standard error is a terminal, on which a line can be redrawn.
    pub const fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// The colours of standard error.
    pub const fn paint(&self) -> Paint {
        self.paint
    }

    /// When the command began.
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// Redraws the status line.
    pub fn draw(&mut self, now: Instant, text: &str) {
        self.write(&format!("{ERASE_ROW}{} {text}", self.clock(now)));
        self.is_drawn = true;
    }

    /// Prints a line that stays, below earlier ones.
    pub fn print(&mut self, now: Instant, text: &str) {
        self.erase();
        self.write(&format!("{} {text}\n", self.clock(now)));
    }

    /// Erases the status line, if it is drawn.
    pub fn erase(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            self.write(ERASE_ROW);
        }
    }

    fn clock(&self, now: Instant) -> String {
        let text = format!("{:6.1} s", now.duration_since(self.started).as_secs_f64());
        self.paint.dim(&text)
    }

    /// An error is ignored: the command goes on without a reader of standard error.
    fn write(&self, text: &str) {
        let mut err = io::stderr().lock();
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.erase();
    }
}
