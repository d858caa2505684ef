//! Ctrl-C and its relatives.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Duration, Instant};

use crate::exit::{Exit, OrExit as _, Outcome};

/// Signals that come so soon after one another are one wish. `timeout` signals its child and then its process
/// group, and Ctrl-C goes to a shell's whole group, of which one may pass it on to the others.
const SAME_WISH: Duration = Duration::from_millis(250);

/// Waits for SIGINT (Ctrl-C) and SIGTERM.
#[derive(Debug)]
pub(crate) struct Stops {
    interrupt: Signal,
    terminate: Signal,
    /// When the last one came that was told.
    told: Option<Instant>,
}

impl Stops {
    /// From now on neither signal ends the process by itself.
    pub(crate) fn catch() -> Outcome<Self> {
        let interrupt = signal(SignalKind::interrupt()).or_exit(Exit::Failed)?;
        let terminate = signal(SignalKind::terminate()).or_exit(Exit::Failed)?;
        Ok(Stops { interrupt, terminate, told: None })
    }

    /// The next one that is a wish of its own. Cancel safe.
    pub(crate) async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            if self.told.is_none_or(|told| told.elapsed() >= SAME_WISH) {
                self.told = Some(Instant::now());
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
    async fn signals_at_the_same_moment_are_one_and_a_later_one_is_the_next() {
        let mut stops = Stops::catch().unwrap();
        let send = |kind| kill_process(getpid(), kind).unwrap();
        send(Kind::TERM);
        timeout(Duration::from_secs(10), stops.next()).await.unwrap();
        send(Kind::INT);
        assert!(timeout(SAME_WISH / 2, stops.next()).await.is_err(), "it came with the first");
        sleep(SAME_WISH).await;
        send(Kind::INT);
        timeout(Duration::from_secs(10), stops.next()).await.unwrap();
    }
}
