//! One phase of a run, from its first message until everybody has everything.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::board::Board;
use super::cost::cpu_seconds;
use super::delays::Ways;
use super::progress::Progress;
use super::source::Phase;
use super::stamp::Clock;
use rumormill_terminal::exit::{Exit, Failure, Outcome};

/// If nothing arrives for so long, nothing will.
const STALLED: Duration = Duration::from_secs(10);
/// How often a phase is looked at while it is publishing.
const LOOK: Duration = Duration::from_millis(20);
/// And when only the last deliveries are missing: its end is known to this.
const LOOK_CLOSELY: Duration = Duration::from_millis(1);

/// What a phase came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Driven {
    /// Messages published.
    pub(crate) published: u64,
    /// Messages got, all nodes together, those that published them included.
    pub(crate) got: u64,
    /// From the start to the last delivery.
    pub(crate) seconds: f64,
    /// Processor time meanwhile.
    pub(crate) cpu_seconds: f64,
}

/// A phase for so many nodes, in which each lane is shared by so many publishers.
pub(crate) fn phase(
    number: u32,
    nodes: usize,
    (lanes, publishers_each): (usize, usize),
    one_in: u64,
    clock: Clock,
) -> Phase {
    Phase {
        number,
        board: Arc::new(Board::new(nodes, lanes, publishers_each)),
        ways: Arc::new(Ways::new(lanes, nodes.saturating_sub(1), one_in)),
        clock,
    }
}

/// Watches a phase until all that was published is everywhere, or nothing moves any more.
/// `publishing` ends when all is published.
pub(crate) async fn drive(
    what: &str,
    board: &Board,
    publishing: impl Future<Output = Outcome<()>>,
    progress: &mut Progress,
) -> Outcome<Driven> {
    let (start, before) = (Instant::now(), cpu_seconds());
    let mut publishing = std::pin::pin!(publishing);
    let mut all_published = false;
    // What had arrived when something last did, and when that was.
    let mut last = (0, start);
    let mut moved = start;
    loop {
        let look = if all_published { LOOK_CLOSELY } else { LOOK };
        tokio::select! {
            ended = &mut publishing, if !all_published => {
                ended?;
                all_published = true;
            }
            () = sleep(look) => {}
        }
        let complete = board.is_complete();
        let (now, got) = (Instant::now(), board.got_in_all());
        if got != last.0 {
            last = (got, now);
            moved = now;
        }
        if all_published && complete {
            break;
        }
        if complete {
            // There is nothing to wait for but the next message.
            moved = now;
        } else if now - moved > STALLED {
            board.end();
            break;
        }
        progress.show_rate(what, now - start, got);
    }
    Ok(Driven {
        published: board.published(),
        got: board.got_in_all(),
        seconds: (last.1 - start).as_secs_f64(),
        cpu_seconds: cpu_seconds() - before,
    })
}

/// A failure in the middle of a measurement.
pub(crate) fn broken(what: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, format!("{what}: {why}"))
}
