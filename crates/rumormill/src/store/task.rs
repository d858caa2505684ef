//! The task that commits changes, one group after the other, on the blocking pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rumormill_proto::{StoreOp, StoreTicket};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};

use super::database::{Database, in_words, settle};
use crate::net::{Arrival, Net};

/// The most requests committed together: under load, one sync serves many of them.
const GROUP: usize = 4096;
/// The longest pause between two attempts, as a multiple of the first pause.
const LONGEST_RETRY: u32 = 32;
/// How often an error is logged while the disk keeps failing.
const COMPLAIN_EVERY: Duration = Duration::from_secs(30);
/// How long a node that ends waits for its last commit.
const FINISH: Duration = Duration::from_secs(5);

struct Request {
    ticket: StoreTicket,
    ops: Vec<StoreOp>,
    bytes: usize,
}

/// The driver's handle to the store. The bytes of pending requests are bounded.
#[derive(Debug)]
pub(crate) struct StoreHandle {
    requests: mpsc::UnboundedSender<Request>,
    pending: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl StoreHandle {
    /// Hands in changes; [`Arrival::Stored`] follows when they are durable. Returns `false`, and
    /// drops the changes, if too many bytes wait for a failing disk.
    pub(crate) fn store(&self, net: &Net, ticket: StoreTicket, ops: Vec<StoreOp>) -> bool {
        let bytes = ops.iter().map(size).sum();
        let waiting = self.pending.load(Ordering::Relaxed);
        if waiting + bytes > net.tuning.store_pending_bytes {
            net.tally.store_dropped.add(ops.len() as u64);
            return false;
        }
        self.pending.fetch_add(bytes, Ordering::Relaxed);
        // This fails only when the task has ended with the node.
        let _ = self.requests.send(Request { ticket, ops, bytes });
        true
    }

    /// Waits until all pending changes are durable, up to [`FINISH`].
    pub(crate) async fn finish(self) {
        drop(self.requests);
        let _ = timeout(FINISH, self.task).await;
    }
}

fn size(op: &StoreOp) -> usize {
    const RECORD: usize = 512;
    match op {
        StoreOp::PutBatch(b) => b.size(),
        StoreOp::PutEntry(e) => {
            RECORD + e.certificate.as_ref().map_or(0, |c| c.votes().len() * 2 * RECORD)
        }
        StoreOp::Anchors(records) => records.len() * RECORD,
        StoreOp::Incarnation(_)
        | StoreOp::RemoveBatch(_)
        | StoreOp::Delivered(_)
        | StoreOp::Forget(_)
        | StoreOp::Compacted(_)
        | StoreOp::RemoveCompacted(_)
        | StoreOp::RemoveEntry(_)
        | StoreOp::Nonce(_) => 128,
    }
}

/// Starts the store task of a node.
pub(crate) fn spawn(net: &Arc<Net>, database: Database) -> StoreHandle {
    let (requests, waiting) = mpsc::unbounded_channel();
    let pending = Arc::new(AtomicUsize::new(0));
    let task = {
        let (net, pending) = (net.clone(), pending.clone());
        tokio::spawn(async move {
            let _ = net.gate.govern(run(net.clone(), database, waiting, pending)).await;
        })
    };
    StoreHandle { requests, pending, task }
}

async fn run(
    net: Arc<Net>,
    mut database: Database,
    mut requests: mpsc::UnboundedReceiver<Request>,
    pending: Arc<AtomicUsize>,
) {
    let mut group = Vec::new();
    while requests.recv_many(&mut group, GROUP).await > 0 {
        let Some((back, done)) =
            commit(&net, database, std::mem::take(&mut group), &mut requests).await
        else {
            return;
        };
        database = back;
        for request in done {
            pending.fetch_sub(request.bytes, Ordering::Relaxed);
            net.tell(Arrival::Stored(request.ticket)).await;
        }
    }
}

/// Commits one group, together with the requests that arrive between failed attempts; `None` when
/// the node ends and the disk still fails.
async fn commit(
    net: &Arc<Net>,
    mut database: Database,
    mut group: Vec<Request>,
    requests: &mut mpsc::UnboundedReceiver<Request>,
) -> Option<(Database, Vec<Request>)> {
    let mut wait = net.tuning.store_retry;
    let mut complained: Option<Instant> = None;
    let mut ended = false;
    loop {
        // The blocking task holds the shared state of the node and drops it last: a node that is
        // killed during a commit counts as ended only after its file is closed.
        let holder = net.clone();
        let (back, sent, result, _) = spawn_blocking(move || {
            let result = database.commit(settle(group.iter().flat_map(|r| &r.ops)));
            (database, group, result, holder)
        })
        .await
        .ok()?;
        (database, group) = (back, sent);
        let Err(e) = result else {
            net.tally.store_commits.one();
            net.tally.store_operations.add(group.iter().map(|r| r.ops.len() as u64).sum());
            if complained.is_some() {
                net.tally.store_problem.set(None);
                net.tally.store_recoveries.one();
                tracing::info!(
                    target: "rumormill::store",
                    node = %net.label.name,
                    id = %net.label.id,
                    "{} takes changes again",
                    database.path().display()
                );
            }
            return Some((database, group));
        };
        net.tally.store_failures.one();
        let why = in_words(&e);
        net.tally.store_problem.set(Some(why.clone()));
        if complained.is_none() {
            net.tally.store_outages.one();
        }
        if complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            complained = Some(Instant::now());
            tracing::error!(
                target: "rumormill::store",
                node = %net.label.name,
                id = %net.label.id,
                "cannot write to {}: {why}; until this is fixed, a seed confirms no registration, and a peer loses its \
                 messages when its process ends: check the disk for space and errors",
                database.path().display()
            );
        }
        if ended {
            return None;
        }
        ended = !gather(requests, &mut group, wait).await;
        wait = (wait * 2).min(net.tuning.store_retry * LONGEST_RETRY);
    }
}

/// Waits for `time` and collects the requests that arrive. `false`, at once, if the node ends: no
/// request follows then, and one attempt is left.
async fn gather(
    requests: &mut mpsc::UnboundedReceiver<Request>,
    group: &mut Vec<Request>,
    time: Duration,
) -> bool {
    let all = async { while requests.recv_many(group, GROUP).await > 0 {} };
    timeout(time, all).await.is_err()
}
