//! What a measurement shows while it goes on: one line, where there is a terminal to redraw it on.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use tokio::time::Instant;

use rumormill_terminal::out::Paint;

/// How often the line is redrawn.
const REDRAW: Duration = Duration::from_millis(250);

/// Standard error, and what is on it.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    paint: Paint,
    started: Instant,
    /// When the line was drawn, if it stands there.
    drawn: Option<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let terminal = io::stderr().is_terminal();
        Progress { terminal, paint: Paint::stderr(), started: Instant::now(), drawn: None }
    }

    /// Says what is going on now.
    pub(crate) fn now(&mut self, what: &str) {
        if !self.terminal {
            return;
        }
        let clock = format!("{:6.1} s", self.started.elapsed().as_secs_f64());
        self.write(&format!("\r\x1b[2K{} {what}", self.paint.dim(&clock)));
        self.drawn = Some(Instant::now());
    }

    /// Says how fast it goes, if it was not said just before.
    pub(crate) fn rate(&mut self, what: &str, elapsed: Duration, deliveries: u64) {
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        #[allow(clippy::cast_precision_loss)] // Far below 2^52.
        let rate = deliveries as f64 / elapsed.as_secs_f64();
        self.now(&format!("{what}: {} deliveries/s", super::report::grouped(rate)));
    }

    /// If nobody reads standard error, the run goes on all the same.
    fn write(&self, text: &str) {
        let mut err = io::stderr().lock();
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            self.write("\r\x1b[2K");
        }
    }
}
