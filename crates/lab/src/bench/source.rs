//! The messages of one publisher at full speed: each as soon as its window has room for it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_util::Stream;

use super::board::Board;
use super::delays::Ways;
use super::stamp::{Clock, Stamp};

/// What all messages of a phase have in common.
#[derive(Debug, Clone)]
pub(crate) struct Phase {
    /// Its number.
    pub(crate) number: u32,
    pub(crate) board: Arc<Board>,
    pub(crate) ways: Arc<Ways>,
    pub(crate) clock: Clock,
}

impl Phase {
    /// Puts the stamp of a message on its payload, and begins to follow it.
    pub(crate) fn stamp(&self, publisher: usize, number: u64, payload: &mut [u8]) {
        let publisher = u32::try_from(publisher).unwrap_or(u32::MAX);
        self.ways.begin(publisher, number);
        let stamp = Stamp { phase: self.number, publisher, number, sent: self.clock.now() };
        stamp.write(payload);
    }
}

/// How much a publisher may still publish.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Messages; `None` if only time counts.
    messages: Option<u64>,
    until: Option<Instant>,
}

impl Budget {
    /// Either so many messages, or so much time from now.
    pub(crate) fn new(messages: Option<u64>, time: Duration) -> Self {
        let until = if messages.is_some() { None } else { Instant::now().checked_add(time) };
        Budget { messages, until }
    }

    /// Nothing may be published any more, at no time.
    pub(crate) fn is_spent(&self) -> bool {
        self.messages == Some(0)
    }

    /// How many of `n` may be published now; 0 means that it is over.
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

/// The payloads of one publisher, each stamped at the moment it is asked for.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) phase: Phase,
    pub(crate) publisher: usize,
    pub(crate) window: u64,
    pub(crate) budget: Budget,
    pub(crate) payload: Vec<u8>,
    /// Messages that may be published before the board is asked again.
    pub(crate) room: u64,
}

impl Stream for Source {
    type Item = Vec<u8>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        let this = &mut *self;
        if this.room == 0 {
            let board = &this.phase.board;
            match ready!(board.poll_room(this.publisher, 0, this.window, cx)) {
                Some(room) => this.room = room,
                None => return Poll::Ready(None),
            }
        }
        if this.budget.take(1) == 0 {
            return Poll::Ready(None);
        }
        this.room -= 1;
        let number = this.phase.board.publish(this.publisher, 1);
        let mut payload = this.payload.clone();
        this.phase.stamp(this.publisher, number, &mut payload);
        Poll::Ready(Some(payload))
    }
}
