//! The messages of one publisher at full speed: each as soon as the window allows it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_util::Stream;

use super::delays::DelayTracker;
use super::scoreboard::Scoreboard;
use super::stamp::{Clock, Stamp};

/// The shared state of a phase.
#[derive(Debug, Clone)]
pub(crate) struct Phase {
    /// Its number.
    pub(crate) number: u32,
    pub(crate) scoreboard: Arc<Scoreboard>,
    pub(crate) tracker: Arc<DelayTracker>,
    pub(crate) clock: Clock,
}

impl Phase {
    /// Writes the stamp of a message to its payload, and begins to track it.
    pub(crate) fn stamp(&self, publisher: usize, number: u64, payload: &mut [u8]) {
        let publisher = u32::try_from(publisher).unwrap_or(u32::MAX);
        self.tracker.begin(publisher, number);
        let stamp = Stamp { phase: self.number, publisher, number, sent: self.clock.now() };
        stamp.write(payload);
    }
}

/// The messages or the time that a publisher has left.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Messages left; `None` if time limits the phase.
    messages: Option<u64>,
    until: Option<Instant>,
}

impl Budget {
    /// A budget of messages, or without them of time from now.
    pub(crate) fn new(messages: Option<u64>, time: Duration) -> Self {
        let until = if messages.is_some() { None } else { Instant::now().checked_add(time) };
        Budget { messages, until }
    }

    /// Whether no message is left.
    pub(crate) fn is_spent(&self) -> bool {
        self.messages == Some(0)
    }

    /// Takes up to `n` messages from the budget, and gives their number; 0 means that the budget is
    /// spent.
    pub(crate) fn take(&mut self, n: u64) -> u64 {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return 0;
        }
        match &mut self.messages {
            None => n,
            Some(left) => {
                let taken = n.min(*left);
                *left -= taken;
                taken
            }
        }
    }
}

/// The payloads of one publisher, each stamped when it is polled.
#[derive(Debug)]
pub(crate) struct PayloadSource {
    pub(crate) phase: Phase,
    pub(crate) publisher: usize,
    pub(crate) window: u64,
    pub(crate) budget: Budget,
    pub(crate) payload: Vec<u8>,
    /// Messages that may be published before the scoreboard is polled again.
    pub(crate) free: u64,
}

impl Stream for PayloadSource {
    type Item = Vec<u8>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        let this = &mut *self;
        if this.free == 0 {
            let scoreboard = &this.phase.scoreboard;
            match ready!(scoreboard.poll_window(this.publisher, 0, this.window, cx)) {
                Some(free) => this.free = free,
                None => return Poll::Ready(None),
            }
        }
        if this.budget.take(1) == 0 {
            return Poll::Ready(None);
        }
        this.free -= 1;
        let number = this.phase.scoreboard.publish(this.publisher, 1);
        let mut payload = this.payload.clone();
        this.phase.stamp(this.publisher, number, &mut payload);
        Poll::Ready(Some(payload))
    }
}
