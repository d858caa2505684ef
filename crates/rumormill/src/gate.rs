//! Running, frozen, killed: one switch for all tasks of a node.

use std::future::Future;
use std::pin::pin;

use tokio::sync::watch;

/// What the tasks of a node may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    Running,
    Frozen,
    Killed,
}

/// The switch. All clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Gate(watch::Sender<Run>);

impl Gate {
    pub(crate) fn new() -> Self {
        Gate(watch::Sender::new(Run::Running))
    }

    /// Ends every task of the node where it stands. There is no way back.
    pub(crate) fn kill(&self) {
        self.0.send_replace(Run::Killed);
    }

    /// Stops every task of the node where it stands, or lets them go on.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.0.send_if_modified(|run| {
            let next = if frozen { Run::Frozen } else { Run::Running };
            let changed = *run != Run::Killed && *run != next;
            if changed {
                *run = next;
            }
            changed
        });
    }

    /// Whether the node stands still.
    pub(crate) fn is_frozen(&self) -> bool {
        *self.0.borrow() == Run::Frozen
    }

    /// Waits while the node stands still.
    pub(crate) async fn running(&self) {
        if self.is_frozen() {
            // The switch itself is held here, so it is not gone.
            let _ = self.0.subscribe().wait_for(|run| *run != Run::Frozen).await;
        }
    }

    /// Runs `work` under the switch: it is not polled while frozen, as a stopped process is not
    /// scheduled, and it is dropped in the middle of whatever it does when killed.
    pub(crate) async fn govern<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut run = self.0.subscribe();
        let mut work = pin!(work);
        loop {
            let now = *run.borrow_and_update();
            match now {
                Run::Killed => return None,
                Run::Frozen => {
                    if run.changed().await.is_err() {
                        return None;
                    }
                }
                Run::Running => tokio::select! {
                    biased;
                    changed = run.changed() => if changed.is_err() {
                        return None;
                    },
                    output = &mut work => return Some(output),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn frozen_work_stands_still_and_killed_work_ends() {
        let gate = Gate::new();
        let ticks = Arc::new(AtomicU64::new(0));
        let (g, t) = (gate.clone(), ticks.clone());
        let task = tokio::spawn(async move {
            g.govern(async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    t.fetch_add(1, Ordering::SeqCst);
                }
            })
            .await
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(ticks.load(Ordering::SeqCst) > 10);
        gate.freeze(true);
        tokio::time::sleep(Duration::from_millis(10)).await;
        let frozen_at = ticks.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(ticks.load(Ordering::SeqCst), frozen_at);
        gate.freeze(false);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(ticks.load(Ordering::SeqCst) > frozen_at);
        gate.kill();
        gate.freeze(false);
        assert!(task.await.unwrap().is_none());
    }
}
