//! Ctrl-C and its relatives.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Exit, OrExit as _, Outcome};

/// Waits for SIGINT (Ctrl-C) and SIGTERM.
#[derive(Debug)]
pub(crate) struct Stops {
    interrupt: Signal,
    terminate: Signal,
}

impl Stops {
    /// From now on neither signal ends the process by itself.
    pub(crate) fn catch() -> Outcome<Self> {
        let interrupt = signal(SignalKind::interrupt()).or_exit(Exit::Failed)?;
        let terminate = signal(SignalKind::terminate()).or_exit(Exit::Failed)?;
        Ok(Stops { interrupt, terminate })
    }

    /// The next one. Cancel safe.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
