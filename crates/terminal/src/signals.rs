//! Ctrl-C and SIGTERM.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Duration, Instant};

use crate::exit::{Exit, OrExit as _, Outcome};

/// Signals that follow each other within this time count as one request. `timeout` signals its
/// child and then its process group, and Ctrl-C goes to a shell's whole group, of which one process
/// may pass it on to the others.
const SAME_REQUEST: Duration = Duration::from_millis(250);

/// Waits for SIGINT (Ctrl-C) and SIGTERM.
#[derive(Debug)]
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    /// When the last request to stop was reported.
    last_request: Option<Instant>,
}

impl StopSignals {
    /// Catches both signals: from now on neither of them ends the process by itself.
    ///
    /// # Errors
    /// The system refuses to install the handlers.
    pub fn catch() -> Outcome<Self> {
        let interrupt = signal(SignalKind::interrupt()).or_exit(Exit::Failed)?;
        let terminate = signal(SignalKind::terminate()).or_exit(Exit::Failed)?;
        Ok(StopSignals { interrupt, terminate, last_request: None })
    }

    /// Waits for the next request to stop. Cancel safe.
    pub async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            if self.last_request.is_none_or(|last| last.elapsed() >= SAME_REQUEST) {
                self.last_request = Some(Instant::now());
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal as Kind, getpid, kill_process};
    use tokio::time::{sleep, timeout};

    use super::*;

    /// `timeout` sends SIGTERM to its child, and then to the group that the child is in.
    #[tokio::test]
    async fn signals_in_quick_succession_count_once_and_a_later_one_counts_again() {
        let mut stops = StopSignals::catch().unwrap();
        let send = |kind| kill_process(getpid(), kind).unwrap();
        send(Kind::TERM);
        timeout(Duration::from_secs(10), stops.next()).await.unwrap();
        send(Kind::INT);
        let second = timeout(SAME_REQUEST / 2, stops.next()).await;
        assert!(second.is_err(), "it belongs to the first request");
        sleep(SAME_REQUEST).await;
        send(Kind::INT);
        timeout(Duration::from_secs(10), stops.next()).await.unwrap();
    }
}
