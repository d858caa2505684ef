//! The publisher at a node of the ceiling, which publishes as much as the window allows, or at an
//! even rate.

use std::borrow::Cow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};

use super::out_queue::{LENGTH_PREFIX, OutQueue, enqueue};
use super::plan::{Pace, Plan};
use super::source::{Budget, Phase};

/// Bytes of frames that are published at once.
const MAX_BYTES_PER_TURN: usize = 64 * 1024;

/// One publisher of the ceiling. All publishers share lane 0 of the scoreboard, and with it one
/// window, because relays do not parse frames and do not know their publishers.
#[derive(Debug)]
pub(crate) struct RelayPublisher {
    publisher: usize,
    pace: Pace,
    publishers: u64,
    budget: Budget,
    /// One frame, without its stamp.
    frame: Vec<u8>,
    start: Instant,
    /// Messages published here.
    published: u64,
    timer: Pin<Box<Sleep>>,
    /// Dropped after the last message.
    open: Option<mpsc::Sender<()>>,
}

impl RelayPublisher {
    pub(crate) fn new(
        plan: &Plan,
        publisher: usize,
        start: Instant,
        open: mpsc::Sender<()>,
    ) -> Self {
        let mut frame = vec![0; LENGTH_PREFIX + plan.payload];
        let length = u32::try_from(plan.payload).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(prefix) = frame.first_chunk_mut() {
            *prefix = length;
        }
        RelayPublisher {
            publisher,
            pace: plan.pace,
            publishers: plan.publishers as u64,
            budget: Budget::new(plan.share(publisher), plan.time()),
            frame,
            start,
            published: 0,
            timer: Box::pin(sleep_until(start)),
            open: Some(open),
        }
    }

    /// Queues the next frames on all links of the node. Says whether there were any.
    pub(crate) fn publish<'a>(
        &mut self,
        node: usize,
        phase: &Phase,
        outs: impl Iterator<Item = &'a mut OutQueue>,
        cx: &mut Context<'_>,
    ) -> bool {
        if self.open.is_none() {
            return false;
        }
        let max_frames = (MAX_BYTES_PER_TURN / self.frame.len()).max(1) as u64;
        let free = match self.pace {
            Pace::Window(window) => {
                let all = window.saturating_mul(self.publishers);
                phase.scoreboard.poll_window(0, self.publisher, all, cx)
            }
            Pace::Rate(rate) => self.poll_due(rate, cx).map(Some),
        };
        let Poll::Ready(free) = free else { return false };
        let n = self.budget.take(free.unwrap_or(0).min(max_frames));
        if n == 0 {
            self.open = None;
            return false;
        }
        self.published += n;
        let first = phase.scoreboard.publish(0, n);
        let mut frames = Vec::with_capacity(self.frame.len() * usize::try_from(n).unwrap_or(0));
        for number in first..first + n {
            let at = frames.len() + LENGTH_PREFIX;
            frames.extend_from_slice(&self.frame);
            phase.stamp(0, number, frames.get_mut(at..).unwrap_or_default());
        }
        enqueue(Cow::Owned(frames), self.frame.len(), outs);
        phase.scoreboard.record_received(node, 0, n);
        if self.budget.is_spent() {
            self.open = None;
        }
        true
    }

    /// The number of messages that are due. The publishers take turns.
    fn poll_due(&mut self, rate: f64, cx: &mut Context<'_>) -> Poll<u64> {
        let mut due = 0;
        loop {
            let number = (self.published + due) * self.publishers + self.publisher as u64;
            #[allow(clippy::cast_precision_loss)] // Far below 2^52 messages.
            let at = self.start + Duration::from_secs_f64(number as f64 / rate);
            if Instant::now() >= at {
                due += 1;
                continue;
            }
            if due > 0 {
                return Poll::Ready(due);
            }
            self.timer.as_mut().reset(at);
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
