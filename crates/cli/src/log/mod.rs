//! Logs: one file per node, a message log per peer, a degree log per seed.
//!
//! The library traces a line per event, with the id of its node. [`layer::NodeLayer`] writes each
//! line to the file of that node; a line without a node goes to standard error.

mod degrees;
mod files;
mod layer;
mod messages;
mod rotate;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rumormill::SeedNode;
use rumormill::proto::PeerId;
use rumormill_launch::log_dir::{self, PEERS, SEEDS, stem};
use rumormill_terminal::exit::{Exit, OrExit as _, Outcome};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Registry};

use files::Files;
pub(crate) use layer::Console;
pub(crate) use messages::MessageLog;
pub(crate) use rotate::Limits;

/// Which lines are logged, and where.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logging")]
pub(crate) struct LogArgs {
    /// Directory of the logs: seeds/NAME.log, peers/NAME.log, and beside them
    /// peers/NAME.messages.log and seeds/NAME.degrees.log
    #[arg(long, value_name = "DIR", default_value = log_dir::DEFAULT)]
    pub(crate) log_dir: PathBuf,
    /// Write no log files
    #[arg(long)]
    pub(crate) no_log: bool,
    /// Which lines to log: error, warn, info, debug, trace, or a filter such as
    /// `info,rumormill=debug`
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = "info", value_parser = filter)]
    pub(crate) log_level: String,
}

/// Checks whether a text is a filter of log lines.
fn filter(text: &str) -> Result<String, String> {
    EnvFilter::builder().parse(text).map(|_| text.to_owned()).map_err(|e| {
        format!("{e}; use error, warn, info, debug, trace, or TARGET=LEVEL with commas between")
    })
}

/// The logs of this process.
#[derive(Debug, Clone)]
pub(crate) struct Logs {
    files: Arc<Files>,
}

impl Logs {
    /// Starts logging. A directory that cannot be written to is reported once, and the program goes
    /// on without log files.
    pub(crate) fn start(args: &LogArgs, console: Console, limits: Limits) -> Outcome<Self> {
        let filter = EnvFilter::builder().parse(&args.log_level).or_exit(Exit::Usage)?;
        let dir = (!args.no_log).then(|| args.log_dir.clone());
        let files = Arc::new(Files::new(dir, limits));
        files.start_flusher();
        let subscriber = Registry::default()
            .with(filter)
            .with(layer::NodeLayer::new(Arc::clone(&files), console));
        tracing::subscriber::set_global_default(subscriber).or_exit(Exit::Failed)?;
        Ok(Logs { files })
    }

    /// The log of a peer; its lines go there from now on.
    pub(crate) fn peer(&self, name: &str, id: PeerId) {
        self.files.open_node(PEERS, name, id);
    }

    /// The log of a seed; its lines go there from now on.
    pub(crate) fn seed(&self, name: &str, id: PeerId) {
        self.files.open_node(SEEDS, name, id);
    }

    /// The message log of a peer.
    pub(crate) fn messages(&self, name: &str) -> MessageLog {
        MessageLog::new(self.files.open(Path::new(PEERS), &format!("{}.messages.log", stem(name))))
    }

    /// Keeps the degree log of a seed until the seed ends.
    pub(crate) fn follow_degrees(&self, name: &str, seed: &SeedNode) {
        let file = self.files.open(Path::new(SEEDS), &format!("{}.degrees.log", stem(name)));
        if let Some(file) = file {
            tokio::spawn(degrees::follow(seed.events(), file));
        }
    }

    /// Writes the buffered lines.
    pub(crate) fn flush(&self) {
        self.files.flush();
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.flush();
    }
}
