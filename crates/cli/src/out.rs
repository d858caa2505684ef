//! Writing to the standard streams.

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::exit::{Exit, Failure, Outcome};

/// Writes text to standard output as it is.
pub(crate) fn print(text: &str) -> Outcome<()> {
    bytes(text.as_bytes())
}

/// Writes bytes to standard output as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Outcome<()> {
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
pub(crate) fn json(value: &impl Serialize) -> Outcome<()> {
    let text = serde_json::to_string(value)
        .map_err(|e| Failure::new(Exit::Failed, format!("cannot write JSON: {e}")))?;
    print(&(text + "\n"))
}

/// Writes indented JSON.
pub(crate) fn json_pretty(value: &impl Serialize) -> Outcome<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Failure::new(Exit::Failed, format!("cannot write JSON: {e}")))?;
    print(&(text + "\n"))
}

/// Lines that are kept while the screen shows something else; further ones are counted.
const HELD: usize = 1_000;

/// What is to be said when the screen is free again.
struct Held {
    lines: Vec<String>,
    more: usize,
}

static HOLD: Mutex<Option<Held>> = Mutex::new(None);

/// Says a line on standard error, now or when the screen is free again. If nobody listens there,
/// nothing is lost.
pub(crate) fn say(line: impl AsRef<str>) {
    let line = line.as_ref();
    let mut hold = HOLD.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *hold {
        Some(held) if held.lines.len() < HELD => held.lines.push(line.to_owned()),
        Some(held) => held.more += 1,
        None => {
            let _ = writeln!(io::stderr().lock(), "{line}");
        }
    }
}

/// The screen is in use: what is said meanwhile waits.
pub(crate) fn hold() {
    let held = Held { lines: Vec::new(), more: 0 };
    HOLD.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(held);
}

/// The screen is free again.
pub(crate) fn release() {
    let held = HOLD.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(Held { lines, more }) = held else { return };
    lines.iter().for_each(say);
    if more > 0 {
        say(format!("rumor: and {more} lines more"));
    }
}

/// Whether colours may be used on a stream: a terminal, and nobody said `NO_COLOR`.
fn colours_on(terminal: bool) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// Whether colours may be used on standard output.
pub(crate) fn colours() -> bool {
    colours_on(io::stdout().is_terminal())
}

/// Colours for one stream, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(bool);

impl Paint {
    pub(crate) fn stdout() -> Self {
        Paint(colours_on(io::stdout().is_terminal()))
    }

    pub(crate) fn stderr() -> Self {
        Paint(colours_on(io::stderr().is_terminal()))
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.wrap("31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.wrap("33", text)
    }
}
