//! The task that commits changes, one group after the other, on the blocking pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rumormill_proto::{StoreOp, StoreTicket};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};

use super::database::{Database, describe_error, last_op_per_key};
use crate::context::{DriverInput, NodeContext};

/// The most requests committed together: under load, one sync serves many of them.
const MAX_GROUP_REQUESTS: usize = 4096;
/// The longest pause between two attempts, as a multiple of the first pause.
const MAX_RETRY_FACTOR: u32 = 32;
/// How often an error is logged while the disk keeps failing.
const ERROR_LOG_INTERVAL: Duration = Duration::from_secs(30);
/// How long a node that ends waits for its last commit.
const FINAL_COMMIT_WAIT: Duration = Duration::from_secs(5);

struct PendingWrite {
    ticket: StoreTicket,
    ops: Vec<StoreOp>,
    bytes: usize,
}

/// The driver's handle to the store. The bytes of pending requests are bounded.
#[derive(Debug)]
pub(crate) struct StoreHandle {
    requests: mpsc::UnboundedSender<PendingWrite>,
    pending_bytes: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl StoreHandle {
    /// Hands in changes; [`DriverInput::Stored`] follows when they are durable. Returns `false`,
    /// and drops the changes, if too many bytes wait for a failing disk.
    pub(crate) fn store(
        &self,
        context: &NodeContext,
        ticket: StoreTicket,
        ops: Vec<StoreOp>,
    ) -> bool {
        let bytes = ops.iter().map(size).sum();
        let waiting = self.pending_bytes.load(Ordering::Relaxed);
        if waiting + bytes > context.tuning.store_pending_bytes {
            context.counters.store_dropped.add(ops.len() as u64);
            return false;
        }
        self.pending_bytes.fetch_add(bytes, Ordering::Relaxed);
        // This fails only when the task has ended with the node.
        let _ = self.requests.send(PendingWrite { ticket, ops, bytes });
        true
    }

    /// Waits until all pending changes are durable, up to [`FINAL_COMMIT_WAIT`].
    pub(crate) async fn finish(self) {
        drop(self.requests);
        let _ = timeout(FINAL_COMMIT_WAIT, self.task).await;
    }
}

fn size(op: &StoreOp) -> usize {
    const RECORD_BYTES: usize = 512;
    match op {
        StoreOp::PutBatch(b) => b.size(),
        StoreOp::PutEntry(e) => {
            RECORD_BYTES + e.certificate.as_ref().map_or(0, |c| c.votes().len() * 2 * RECORD_BYTES)
        }
        StoreOp::PutAnchors(records) => records.len() * RECORD_BYTES,
        StoreOp::PutIncarnation(_)
        | StoreOp::RemoveBatch(_)
        | StoreOp::PutDelivered(_)
        | StoreOp::RemoveDelivered(_)
        | StoreOp::PutClosedUpTo(_)
        | StoreOp::RemoveClosedUpTo(_)
        | StoreOp::RemoveEntry(_)
        | StoreOp::PutNonce(_) => 128,
    }
}

/// Starts the store task of a node.
pub(crate) fn spawn(context: &Arc<NodeContext>, database: Database) -> StoreHandle {
    let (requests, waiting) = mpsc::unbounded_channel();
    let pending_bytes = Arc::new(AtomicUsize::new(0));
    let task = {
        let (context, pending_bytes) = (context.clone(), pending_bytes.clone());
        tokio::spawn(async move {
            let _ = context.gate.run(run(context.clone(), database, waiting, pending_bytes)).await;
        })
    };
    StoreHandle { requests, pending_bytes, task }
}

async fn run(
    context: Arc<NodeContext>,
    mut database: Database,
    mut requests: mpsc::UnboundedReceiver<PendingWrite>,
    pending_bytes: Arc<AtomicUsize>,
) {
    let mut group = Vec::new();
    while requests.recv_many(&mut group, MAX_GROUP_REQUESTS).await > 0 {
        let Some((back, done)) =
            commit(&context, database, std::mem::take(&mut group), &mut requests).await
        else {
            return;
        };
        database = back;
        for request in done {
            pending_bytes.fetch_sub(request.bytes, Ordering::Relaxed);
            context.send_input(DriverInput::Stored(request.ticket)).await;
        }
    }
}

/// Commits one group, together with the requests that arrive between failed attempts; `None` when
/// the node ends and the disk still fails.
async fn commit(
    context: &Arc<NodeContext>,
    mut database: Database,
    mut group: Vec<PendingWrite>,
    requests: &mut mpsc::UnboundedReceiver<PendingWrite>,
) -> Option<(Database, Vec<PendingWrite>)> {
    let mut wait = context.tuning.store_retry;
    let mut last_logged: Option<Instant> = None;
    let mut ended = false;
    loop {
        // The blocking task holds the shared state of the node and drops it last: a node that is
        // killed during a commit counts as ended only after its file is closed.
        let holder = context.clone();
        let (back, sent, result, _) = spawn_blocking(move || {
            let result = database.commit(last_op_per_key(group.iter().flat_map(|r| &r.ops)));
            (database, group, result, holder)
        })
        .await
        .ok()?;
        (database, group) = (back, sent);
        let Err(e) = result else {
            context.counters.store_commits.increment();
            context.counters.store_operations.add(group.iter().map(|r| r.ops.len() as u64).sum());
            if last_logged.is_some() {
                context.counters.store_problem.set(None);
                context.counters.store_recoveries.increment();
                tracing::info!(
                    target: "rumormill::store",
                    node = %context.label.name,
                    id = %context.label.id,
                    "{} takes changes again",
                    database.path().display()
                );
            }
            return Some((database, group));
        };
        context.counters.store_failures.increment();
        let why = describe_error(&e);
        context.counters.store_problem.set(Some(why.clone()));
        if last_logged.is_none() {
            context.counters.store_outages.increment();
        }
        if last_logged.is_none_or(|at| at.elapsed() >= ERROR_LOG_INTERVAL) {
            last_logged = Some(Instant::now());
            tracing::error!(
                target: "rumormill::store",
                node = %context.label.name,
                id = %context.label.id,
                "cannot write to {}: {why}; until this is fixed, a seed confirms no registration, \
                 and a peer loses its messages when its process ends: check the disk for space \
                 and errors",
                database.path().display()
            );
        }
        if ended {
            return None;
        }
        ended = !collect_during(requests, &mut group, wait).await;
        wait = (wait * 2).min(context.tuning.store_retry * MAX_RETRY_FACTOR);
    }
}

/// Waits for `time` and collects the requests that arrive. `false`, at once, if the node ends: no
/// request follows then, and one attempt is left.
async fn collect_during(
    requests: &mut mpsc::UnboundedReceiver<PendingWrite>,
    group: &mut Vec<PendingWrite>,
    time: Duration,
) -> bool {
    let all = async { while requests.recv_many(group, MAX_GROUP_REQUESTS).await > 0 {} };
    timeout(time, all).await.is_err()
}
