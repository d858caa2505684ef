//! One phase of a run, from its first message until every node has received every message.

use std::sync::Arc;
use std::time::Duration;

use rumormill_terminal::exit::{Exit, Failure, Outcome};
use tokio::time::{Instant, sleep};

use super::cost::cpu_seconds;
use super::delays::DelayTracker;
use super::progress::Progress;
use super::scoreboard::Scoreboard;
use super::source::Phase;
use super::stamp::Clock;

/// A phase in which nothing arrives for this time is given up.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a phase is checked while messages are published.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// How often it is checked after that: the end of the phase is exact to this time.
const FINAL_CHECK_INTERVAL: Duration = Duration::from_millis(1);

/// The totals of a phase.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PhaseTotals {
    /// Messages published.
    pub(crate) published: u64,
    /// Messages received, all nodes together, including the publishers' own.
    pub(crate) received: u64,
    /// From the start to the last delivery, in seconds.
    pub(crate) seconds: f64,
    /// Processor time of the process in that time, in seconds.
    pub(crate) cpu_seconds: f64,
}

/// A phase for a number of nodes, with a number of lanes that `publishers_each` publishers share.
pub(crate) fn new_phase(
    number: u32,
    nodes: usize,
    (lanes, publishers_each): (usize, usize),
    one_in: u64,
    clock: Clock,
) -> Phase {
    Phase {
        number,
        scoreboard: Arc::new(Scoreboard::new(nodes, lanes, publishers_each)),
        tracker: Arc::new(DelayTracker::new(lanes, nodes.saturating_sub(1), one_in)),
        clock,
    }
}

/// Waits until every published message has arrived at every node, or nothing arrives any more.
/// `publishing` ends when all messages are published.
pub(crate) async fn run_phase(
    what: &str,
    scoreboard: &Scoreboard,
    publishing: impl Future<Output = Outcome<()>>,
    progress: &mut Progress,
) -> Outcome<PhaseTotals> {
    let (start, before) = (Instant::now(), cpu_seconds());
    let mut publishing = std::pin::pin!(publishing);
    let mut all_published = false;
    // The number of messages received at the last arrival, and its time.
    let mut last = (0, start);
    let mut last_progress = start;
    loop {
        let interval = if all_published { FINAL_CHECK_INTERVAL } else { CHECK_INTERVAL };
        tokio::select! {
            ended = &mut publishing, if !all_published => {
                ended?;
                all_published = true;
            }
            () = sleep(interval) => {}
        }
        let complete = scoreboard.is_complete();
        let (now, received) = (Instant::now(), scoreboard.total_received());
        if received != last.0 {
            last = (received, now);
            last_progress = now;
        }
        if all_published && complete {
            break;
        }
        if complete {
            // No delivery is missing, so a pause is no stall.
            last_progress = now;
        } else if now - last_progress > STALL_TIMEOUT {
            scoreboard.end();
            break;
        }
        progress.show_rate(what, now - start, received);
    }
    Ok(PhaseTotals {
        published: scoreboard.published(),
        received: scoreboard.total_received(),
        seconds: (last.1 - start).as_secs_f64(),
        cpu_seconds: cpu_seconds() - before,
    })
}

/// A failure of a measurement, with the part that failed.
pub(crate) fn failure(what: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, format!("{what}: {why}"))
}
