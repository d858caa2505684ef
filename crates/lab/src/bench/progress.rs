//! The progress of a measurement: one line that is redrawn, on a terminal only.

use std::time::Duration;

use rumormill_terminal::status_line::StatusLine;
use tokio::time::Instant;

use super::numbers::grouped;

/// How often the line is redrawn.
const REDRAW_INTERVAL: Duration = Duration::from_millis(250);

/// The output of a measurement on standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    line: StatusLine,
    /// When the line was drawn last.
    drawn: Option<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Progress { line: StatusLine::new(Instant::now()), drawn: None }
    }

    /// Shows what the measurement does now.
    pub(crate) fn show(&mut self, text: &str) {
        if !self.line.is_terminal() {
            return;
        }
        let now = Instant::now();
        self.line.draw(now, text);
        self.drawn = Some(now);
    }

    /// Shows the rate of a phase, unless the line was drawn a moment ago.
    pub(crate) fn show_rate(&mut self, phase: &str, elapsed: Duration, deliveries: u64) {
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW_INTERVAL) {
            return;
        }
        #[allow(clippy::cast_precision_loss)] // Far below 2^52.
        let rate = deliveries as f64 / elapsed.as_secs_f64();
        self.show(&format!("{phase}: {} deliveries/s", grouped(rate)));
    }
}
