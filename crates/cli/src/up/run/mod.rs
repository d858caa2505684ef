//! The run itself: one loop that does what is due and handles the events of the nodes.

mod closing;
mod events;
mod schedule;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;

use rumormill::proto::PeerId;
use rumormill_terminal::exit::Outcome;
use rumormill_terminal::signals::StopSignals;
use rumormill_units::count::counted;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::event::RunEvent;
use super::fleet::Fleet;
use super::options::RunLength;
use super::summary::Summary;
use crate::workload;
pub(super) use state::Run;

/// Most events that are handled before the loop looks at the clock again.
const EVENT_BATCH: usize = 1024;

impl Run {
    /// Runs to the end, and gives the summary.
    pub(super) async fn watch(
        mut self,
        fleet: Arc<dyn Fleet>,
        sender: mpsc::Sender<RunEvent>,
        mut events: mpsc::Receiver<RunEvent>,
        mut stops: StopSignals,
    ) -> Outcome<Summary> {
        let members = fleet.members().all().clone();
        let numbers: BTreeMap<PeerId, usize> =
            members.iter().enumerate().map(|(n, m)| (m.id, n)).collect();
        for (peer, member) in self.peers.iter_mut().zip(&members) {
            peer.name.clone_from(&member.name);
            peer.content = Some(workload::content(&member.name, self.plan.payload).into());
        }
        self.names = members.into_iter().map(|m| (m.id, m.name)).collect();
        self.progress.say(&format!(
            "{} and {} started{}",
            counted(self.seeds, "seed"),
            counted(self.plan.peers, "peer"),
            if self.processes { ", each in a process of its own" } else { "" }
        ));
        if let Some(page) = fleet.page() {
            self.progress.say(&format!("watch it at {page}"));
        }
        let mut batch = Vec::with_capacity(EVENT_BATCH);
        loop {
            let now = Instant::now();
            self.check_formation(now, &*fleet).await;
            self.inject_due_faults(now, &*fleet);
            self.publish_due_messages(now, &fleet, &sender);
            if now >= self.progress.due() {
                self.progress.status(now, self.status());
            }
            if self.is_finished(now) {
                break;
            }
            tokio::select! {
                _ = events.recv_many(&mut batch, EVENT_BATCH) => {
                    for event in batch.drain(..) {
                        self.handle(event, &fleet, &numbers, &sender);
                    }
                }
                () = sleep_until(self.next_wakeup(now)) => {}
                () = stops.next() => {
                    self.interrupted = !matches!(self.plan.length, Some(RunLength::Forever));
                    break;
                }
            }
        }
        self.progress.clear();
        Ok(self.sum_up(&*fleet).await)
    }
}
