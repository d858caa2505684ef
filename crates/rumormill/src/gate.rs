//! Running, frozen, killed: one switch for all tasks of a node.

use std::future::Future;
use std::pin::pin;

use tokio::sync::watch;

/// The run state of all tasks of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunState {
    Running,
    Frozen,
    Killed,
}

/// The switch. All clones control the same node.
#[derive(Debug, Clone)]
pub(crate) struct Gate(watch::Sender<RunState>);

impl Gate {
    pub(crate) fn new() -> Self {
        Gate(watch::Sender::new(RunState::Running))
    }

    /// Ends every task of the node at its current await point. A killed node cannot run again.
    pub(crate) fn kill(&self) {
        self.0.send_replace(RunState::Killed);
    }

    /// Pauses every task of the node at its current await point, or resumes them.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.0.send_if_modified(|run| {
            let next = if frozen { RunState::Frozen } else { RunState::Running };
            let changed = *run != RunState::Killed && *run != next;
            if changed {
                *run = next;
            }
            changed
        });
    }

    /// Whether the node is frozen.
    pub(crate) fn is_frozen(&self) -> bool {
        *self.0.borrow() == RunState::Frozen
    }

    /// Waits while the node is frozen.
    pub(crate) async fn wait_while_frozen(&self) {
        if self.is_frozen() {
            // `self` holds the sender, so the channel is open.
            let _ = self.0.subscribe().wait_for(|run| *run != RunState::Frozen).await;
        }
    }

    /// Runs `work` under the switch: a frozen node does not poll it, as a stopped process is not
    /// scheduled, and a killed node drops it at its current await point.
    pub(crate) async fn run<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut run = self.0.subscribe();
        let mut work = pin!(work);
        loop {
            let now = *run.borrow_and_update();
            match now {
                RunState::Killed => return None,
                RunState::Frozen => {
                    if run.changed().await.is_err() {
                        return None;
                    }
                }
                RunState::Running => tokio::select! {
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
    async fn frozen_work_makes_no_progress_and_killed_work_ends() {
        let gate = Gate::new();
        let ticks = Arc::new(AtomicU64::new(0));
        let (g, t) = (gate.clone(), ticks.clone());
        let task = tokio::spawn(async move {
            g.run(async move {
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
