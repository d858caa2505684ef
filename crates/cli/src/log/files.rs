//! The open log files of this process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use rumormill::proto::PeerId;
use rumormill_launch::log_dir::stem;
use rumormill_terminal::out;

use super::rotate::{Limits, RotatingFile, WriteOutcome};

/// How long a line may wait in memory.
const FLUSH_INTERVAL: Duration = Duration::from_millis(250);

/// A log file. All clones write to the same file.
#[derive(Debug, Clone)]
pub(crate) struct LogFile(Arc<Mutex<RotatingFile>>);

impl LogFile {
    fn lock(&self) -> MutexGuard<'_, RotatingFile> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line.
    pub(crate) fn line(&self, line: &str) {
        let mut file = self.lock();
        if let WriteOutcome::Broken(e) = file.line(line) {
            report_broken_log(file.path(), &e);
        }
    }

    /// Writes the buffered lines and waits until the disk has them; says whether it has. Blocks.
    pub(super) fn sync(&self) -> bool {
        let mut file = self.lock();
        let (written, synced) = file.sync();
        if let WriteOutcome::Broken(e) = written {
            report_broken_log(file.path(), &e);
        }
        synced
    }

    fn flush(&self) {
        let mut file = self.lock();
        if let WriteOutcome::Broken(e) = file.flush() {
            report_broken_log(file.path(), &e);
        }
    }
}

/// All log files of this process.
#[derive(Debug)]
pub(super) struct Files {
    /// `None` if no logs are written.
    dir: Option<PathBuf>,
    limits: Limits,
    open: RwLock<Open>,
    /// Lines of nodes whose logs are not open yet, with the id of the node. At most
    /// [`MAX_PENDING`].
    pending: Mutex<Vec<(String, String)>>,
}

#[derive(Debug, Default)]
struct Open {
    all: Vec<LogFile>,
    /// By the short id that the library puts into its lines.
    nodes: BTreeMap<String, Node>,
}

/// Most lines that wait for the log of their node.
const MAX_PENDING: usize = 256;

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) file: Option<LogFile>,
}

impl Files {
    pub(super) const fn new(dir: Option<PathBuf>, limits: Limits) -> Self {
        let open = Open { all: Vec::new(), nodes: BTreeMap::new() };
        Files { dir, limits, open: RwLock::new(open), pending: Mutex::new(Vec::new()) }
    }

    /// Opens a log; `None` if no logs are written.
    pub(super) fn open(&self, kind: &Path, name: &str) -> Option<LogFile> {
        let path = self.dir.as_ref()?.join(kind).join(name);
        let file = LogFile(Arc::new(Mutex::new(RotatingFile::new(path, self.limits))));
        self.open.write().unwrap_or_else(PoisonError::into_inner).all.push(file.clone());
        Some(file)
    }

    pub(super) fn open_node(&self, kind: &str, name: &str, id: PeerId) {
        let file = self.open(Path::new(kind), &format!("{}.log", stem(name)));
        let id = id.short();
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, line) in pending.extract_if(.., |(of, _)| *of == id) {
            if let Some(file) = &file {
                file.line(&line);
            }
        }
        let node = Node { name: name.to_owned(), file };
        self.open.write().unwrap_or_else(PoisonError::into_inner).nodes.insert(id, node);
    }

    /// Keeps a line until the log of its node is opened.
    pub(super) fn keep_pending(&self, id: &str, line: String) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.len() < MAX_PENDING && self.dir.is_some() {
            pending.push((id.to_owned(), line));
        }
    }

    /// The node of this process with this short id.
    pub(super) fn node(&self, id: &str) -> Option<Node> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).nodes.get(id).cloned()
    }

    pub(super) fn flush(&self) {
        let all = self.open.read().unwrap_or_else(PoisonError::into_inner).all.clone();
        for file in all {
            file.flush();
        }
    }

    /// Starts the thread that flushes all logs, because writing to a disk must not block the tasks
    /// of the runtime.
    pub(super) fn start_flusher(self: &Arc<Self>) {
        if self.dir.is_none() {
            return;
        }
        let files: Weak<Self> = Arc::downgrade(self);
        let flush = move || {
            while let Some(files) = files.upgrade() {
                files.flush();
                drop(files);
                std::thread::park_timeout(FLUSH_INTERVAL);
            }
        };
        // Without the thread, lines wait until a buffer is full, and nothing else changes.
        let _ = std::thread::Builder::new().name("logs".to_owned()).spawn(flush);
    }
}

/// Prints that a log cannot be written. It does not use `tracing`, whose lines would come back
/// here.
fn report_broken_log(path: &Path, error: &std::io::Error) {
    out::say(format!(
        "rumor: cannot write the log {}: {error}; the node goes on without it \
         (--log-dir chooses another directory, --no-log writes none)",
        path.display()
    ));
}
