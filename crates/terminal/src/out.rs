//! Writing to the standard streams.

use std::io::{self, ErrorKind, Write as _};
use std::sync::{Mutex, PoisonError};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::exit::{Exit, Failure, Outcome};

/// Writes text to standard output as it is.
///
/// # Errors
/// Standard output cannot be written to, or its reader has closed it.
pub fn print(text: &str) -> Outcome<()> {
    bytes(text.as_bytes())
}

/// Writes bytes to standard output as they are.
///
/// # Errors
/// Standard output cannot be written to, or its reader has closed it.
pub fn bytes(bytes: &[u8]) -> Outcome<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|e| {
        if e.kind() == ErrorKind::BrokenPipe {
            Failure::closed_pipe()
        } else {
            Failure::new(Exit::Failed, format!("cannot write to standard output: {e}"))
        }
    })
}

/// Writes one line of JSON.
///
/// # Errors
/// As [`print()`].
pub fn json(value: &impl Serialize) -> Outcome<()> {
    let text = serde_json::to_string(value)
        .map_err(|e| Failure::new(Exit::Failed, format!("cannot write JSON: {e}")))?;
    print(&(text + "\n"))
}

/// Writes indented JSON.
///
/// # Errors
/// As [`print()`].
pub fn json_pretty(value: &impl Serialize) -> Outcome<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Failure::new(Exit::Failed, format!("cannot write JSON: {e}")))?;
    print(&(text + "\n"))
}

/// Most lines that are kept while a full-screen view is open; further ones are only counted.
const MAX_HELD_LINES: usize = 1_000;

/// The lines that are printed when the full-screen view closes.
struct HeldLines {
    lines: Vec<String>,
    omitted: usize,
}

static HELD: Mutex<Option<HeldLines>> = Mutex::new(None);

/// Prints a line on standard error; while the lines are held, [`release`] prints it. An error is
/// ignored, because a closed standard error leaves no place to report it.
pub fn say(line: impl AsRef<str>) {
    let line = line.as_ref();
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *held {
        Some(held) if held.lines.len() < MAX_HELD_LINES => held.lines.push(line.to_owned()),
        Some(held) => held.omitted += 1,
        None => {
            let _ = writeln!(io::stderr().lock(), "{line}");
        }
    }
}

/// Holds the lines of [`say`] back, because a full-screen view uses the terminal.
pub fn hold() {
    let held = HeldLines { lines: Vec::new(), omitted: 0 };
    HELD.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(held);
}

/// Prints the lines that were held back, and holds no more of them.
pub fn release() {
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(HeldLines { lines, omitted }) = held else { return };
    lines.iter().for_each(say);
    if omitted > 0 {
        say(format!("({omitted} further lines are not shown)"));
    }
}

/// Whether colours may be used on standard output.
pub fn colours() -> bool {
    AutoStream::choice(&io::stdout()) != ColorChoice::Never
}

/// The colours of one stream; without colours, text stays as it is. A stream has colours if it is a
/// terminal that knows them; `NO_COLOR`, `CLICOLOR` and `CLICOLOR_FORCE` override that, as they do
/// for the help.
#[derive(Debug, Clone, Copy)]
pub struct Paint(ColorChoice);

impl Paint {
    /// The colours of standard output.
    pub fn stdout() -> Self {
        Paint(AutoStream::choice(&io::stdout()))
    }

    /// The colours of standard error.
    pub fn stderr() -> Self {
        Paint(AutoStream::choice(&io::stderr()))
    }

    fn paint(self, style: Style, text: &str) -> String {
        if self.0 == ColorChoice::Never {
            return text.to_owned();
        }
        format!("{style}{text}{style:#}")
    }

    /// Bold text.
    pub fn bold(self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }

    /// Dim text.
    pub fn dim(self, text: &str) -> String {
        self.paint(Style::new().dimmed(), text)
    }

    /// Red text, for what is wrong.
    pub fn red(self, text: &str) -> String {
        self.paint(AnsiColor::Red.on_default(), text)
    }

    /// Green text, for what is right.
    pub fn green(self, text: &str) -> String {
        self.paint(AnsiColor::Green.on_default(), text)
    }

    /// Yellow text, for what needs attention.
    pub fn yellow(self, text: &str) -> String {
        self.paint(AnsiColor::Yellow.on_default(), text)
    }
}
