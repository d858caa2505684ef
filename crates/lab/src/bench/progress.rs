//! The progress of a measurement: one line that is redrawn, on a terminal only.

use std::time::Duration;

use rumormill_terminal::progress::StatusLine;
use tokio::time::Instant;

use super::numbers::grouped;

/// The output of a measurement on standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    line: StatusLine,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Progress { line: StatusLine::new(Instant::now()) }
    }

    /// Shows what the measurement does now.
    pub(crate) fn show(&self, text: impl Into<String>) {
        self.line.draw(text.into());
    }

    /// Shows the rate of a phase.
    pub(crate) fn show_rate(&self, phase: &str, elapsed: Duration, deliveries: u64) {
        #[allow(clippy::cast_precision_loss)] // Far below 2^52.
        let rate = deliveries as f64 / elapsed.as_secs_f64();
        self.show(format!("{phase}: {} deliveries/s", grouped(rate)));
    }
}
