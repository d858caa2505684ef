//! Progress on standard error, in one form everywhere: the time since the start, for a known amount
//! of work a bar, and a message. It is one line, cut at the width of the terminal; where standard
//! error is no terminal, there is none.

use std::io::{self, Write as _};
use std::time::Duration;

use indicatif::{ProgressState, ProgressStyle};
use tokio::time::Instant;

pub use indicatif::ProgressBar;

use crate::out::Paint;

/// How often the time is redrawn while nothing else changes.
const TICK_INTERVAL: Duration = Duration::from_millis(250);

/// A bar for work of this many steps.
pub fn bar(steps: u64) -> ProgressBar {
    styled(ProgressBar::new(steps), "{clock} {bar:20} {percent:>3} % {wide_msg}")
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    if let Ok(style) = ProgressStyle::with_template(template) {
        let paint = Paint::stderr();
        let clock = move |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            // Writing to a buffer cannot fail.
            let _ = text.write_str(&clock(state.elapsed(), paint));
        };
        bar.set_style(style.with_key("clock", clock));
    }
    if !bar.is_hidden() {
        bar.enable_steady_tick(TICK_INTERVAL);
    }
    bar
}

fn clock(elapsed: Duration, paint: Paint) -> String {
    paint.dim(&format!("{:6.1} s", elapsed.as_secs_f64()))
}

/// The status line of a command, and the lines above it. Each begins with the time since the start.
/// Dropping it erases the status line.
#[derive(Debug)]
pub struct StatusLine {
    bar: ProgressBar,
    paint: Paint,
    started: Instant,
}

impl StatusLine {
    /// A status line of a command that began at `started`.
    pub fn new(started: Instant) -> Self {
        let bar = ProgressBar::new_spinner().with_elapsed(started.elapsed());
        StatusLine { bar: styled(bar, "{clock} {wide_msg}"), paint: Paint::stderr(), started }
    }

    /// Whether standard error is a terminal, on which a line can be redrawn.
    pub fn is_terminal(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// The colours of standard error.
    pub const fn paint(&self) -> Paint {
        self.paint
    }

    /// When the command began.
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// Redraws the status line, at most 20 times a second.
    pub fn draw(&self, text: String) {
        self.bar.set_message(text);
    }

    /// Prints a line that stays, below earlier ones.
    pub fn print(&self, text: &str) {
        let line = format!("{} {text}", clock(self.started.elapsed(), self.paint));
        if self.is_terminal() {
            self.bar.println(line);
        } else {
            // The command goes on without a reader of standard error.
            let _ = writeln!(io::stderr().lock(), "{line}");
        }
    }

    /// Erases the status line for good; lines can still be printed.
    pub fn erase(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.erase();
    }
}
