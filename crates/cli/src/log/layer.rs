//! The `tracing` layer that writes lines to the logs of nodes.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use rumormill_terminal::out::{self, Paint};
use rumormill_terminal::utc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::files::Files;

/// The lines that go to standard error as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Console {
    /// The lines of all nodes.
    Nodes,
    /// The lines of all nodes, each with the node's name.
    NamedNodes,
    /// Only the lines of the program itself.
    Program,
}

/// Writes each line to the log of its node.
pub(super) struct NodeLayer {
    files: Arc<Files>,
    console: Console,
    paint: Paint,
}

impl NodeLayer {
    pub(super) fn new(files: Arc<Files>, console: Console) -> Self {
        NodeLayer { files, console, paint: Paint::stderr() }
    }

    fn say(&self, level: Level, now: u64, node: Option<&str>, text: &str) {
        let mut line = self.paint.dim(&utc::clock(now));
        match level {
            Level::ERROR => line += &self.paint.red(" error:"),
            Level::WARN => line += &self.paint.yellow(" warning:"),
            _ => {}
        }
        if let Some(node) = node {
            line += &format!(" {}:", self.paint.bold(node));
        }
        out::say(format!("{line} {text}"));
    }
}

impl<S: Subscriber> Layer<S> for NodeLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        let now = utc::now_us();
        let Some(node) = self.files.node(&fields.id) else {
            // A line of this program or of a library. A program with a status line on the terminal
            // prints only warnings and errors.
            if self.console != Console::Program || level <= Level::WARN {
                self.say(level, now, None, &fields.line());
            }
            if !fields.id.is_empty() {
                let line = format!("{} {level:<5} {}", utc::stamp(now), fields.line());
                self.files.keep_pending(&fields.id, line);
            }
            return;
        };
        let line = fields.line();
        if let Some(file) = node.file {
            file.line(&format!("{} {level:<5} {line}", utc::stamp(now)));
        }
        match self.console {
            Console::Nodes => self.say(level, now, None, &line),
            Console::NamedNodes => self.say(level, now, Some(&node.name), &line),
            Console::Program => {}
        }
    }
}

/// The fields of one line.
#[derive(Default)]
struct Fields {
    id: String,
    message: String,
    others: String,
}

impl Fields {
    fn line(&self) -> String {
        if self.others.is_empty() {
            self.message.clone()
        } else {
            format!("{}{}", self.message, self.others)
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            "id" => value.clone_into(&mut self.id),
            "node" => {}
            name => {
                let _ = write!(self.others, " {name}={value:?}");
            }
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail. `%value` and the message arrive here as Debug.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "id" => write!(self.id, "{value:?}"),
            "node" => Ok(()),
            name => write!(self.others, " {name}={value:?}"),
        };
    }
}
