//! The queue of one link, shared by the driver that fills it and the writer that empties it.
//!
//! `rumormill_proto::link_queue` has the rule: classes, bounds, what is dropped and what goes
//! first. Here are the lock, the send window, the pieces of large frames, and the waiting. Adding a
//! frame never waits.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumormill_proto::link_queue::{CloseOutcome, EnqueueOutcome, LinkQueue};
use rumormill_proto::wire::{self, Encoded, Position, PositionAck};
use rumormill_proto::{Class, CloseReason};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::in_pieces::SplitFrame;
use super::pace::SendWindow;
use crate::tuning::Tuning;

/// A frame up to this size is not split, and goes between the pieces of a larger frame.
const MAX_UNSPLIT_FRAME: usize = 1024;
/// With fewer free bytes than this, the window counts as closed.
const MIN_WINDOW_SPACE: usize = 256;

#[derive(Debug)]
struct WriterState {
    queue: LinkQueue<Encoded>,
    /// The send window.
    window: SendWindow,
    /// A position of the remote that was read here and is not reported yet.
    read_to_report: Option<u64>,
    /// A large frame that is being written in pieces, as the window allows.
    in_pieces: Option<SplitFrame>,
    /// Payloads added and removed so far.
    payloads_in: u64,
    payloads_out: u64,
    /// The value of `payloads_in` at the last payload that this node published itself.
    own_until: u64,
}

impl WriterState {
    fn new(tuning: &Tuning, now: Instant) -> Self {
        WriterState {
            queue: LinkQueue::new(tuning.queue),
            window: SendWindow::new(now),
            read_to_report: None,
            in_pieces: None,
            payloads_in: 0,
            payloads_out: 0,
            own_until: 0,
        }
    }

    /// The next frame that does not wait for the window: the position that the remote's window
    /// waits for, then probes and their answers.
    fn next_urgent(&mut self) -> Option<Encoded> {
        match self.read_to_report.take() {
            Some(bytes) => Some(wire::encode(&PositionAck { bytes }.into())),
            None => self.queue.dequeue_urgent(),
        }
    }

    /// The next frame that waits for the window, or a piece of it with about `space` bytes. Small
    /// control frames and small announcements go between the pieces of a large frame.
    fn next_within(&mut self, space: usize) -> Option<(Class, Encoded)> {
        let Some(large) = &mut self.in_pieces else {
            let (class, frame) = self.queue.dequeue()?;
            self.payloads_out += u64::from(class == Class::Payload);
            if frame.len() <= space.max(MAX_UNSPLIT_FRAME) {
                return Some((class, frame));
            }
            let large = self.in_pieces.insert(SplitFrame::new(class, frame));
            return Some((class, large.next(space)));
        };
        if let Some(small) = self.queue.dequeue_small(MAX_UNSPLIT_FRAME) {
            return Some(small);
        }
        let (class, piece) = (large.class, large.next(space));
        if large.is_done() {
            self.in_pieces = None;
        }
        Some((class, piece))
    }

    /// Whether a frame waits for the window.
    fn is_waiting(&self) -> bool {
        self.in_pieces.is_some() || self.queue.is_waiting()
    }
}

/// The outcome of a request of the writer for frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DequeueOutcome {
    /// The writer got frames.
    Frames,
    /// The waiting frames need a larger window. If the remote has read nothing more by this time,
    /// it has stalled.
    WindowClosed(Instant),
    /// No frame is left: close the link with this reason.
    Close(CloseReason),
    /// No frame waits.
    Empty,
}

/// The queue of one link, behind a lock.
#[derive(Debug)]
pub(crate) struct SharedLinkQueue {
    state: Mutex<WriterState>,
    read_stall: Duration,
    /// Signalled when a frame was added.
    wake: Notify,
    /// Signalled when the link is to be closed.
    close: Notify,
}

impl SharedLinkQueue {
    pub(crate) fn new(tuning: &Tuning) -> Self {
        SharedLinkQueue {
            state: Mutex::new(WriterState::new(tuning, Instant::now())),
            read_stall: tuning.read_stall,
            wake: Notify::new(),
            close: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, WriterState> {
        // Nothing in here panics halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a frame by the rule of its class.
    pub(crate) fn enqueue(&self, class: Class, frame: Encoded) -> EnqueueOutcome {
        let mut l = self.lock();
        let outcome = l.queue.enqueue(class, frame);
        l.payloads_in += u64::from(class == Class::Payload && outcome.is_queued());
        drop(l);
        self.wake.notify_one();
        outcome
    }

    /// Marks the payload added last as published by this node.
    pub(crate) fn mark_own_payload(&self) {
        let mut l = self.lock();
        l.own_until = l.payloads_in;
    }

    /// Whether the writer has taken all payloads that this node published.
    pub(crate) fn has_taken_own_payloads(&self) -> bool {
        let l = self.lock();
        l.payloads_out >= l.own_until
    }

    /// Gives the writer the next frames, until they have `bytes` in all: every urgent frame, and as
    /// many of the others as the window allows.
    pub(crate) fn take(
        &self,
        bytes: usize,
        now: Instant,
        mut to: impl FnMut(Class, Encoded),
    ) -> DequeueOutcome {
        let mut guard = self.lock();
        let l = &mut *guard;
        let mut taken = 0;
        while taken < bytes
            && let Some(frame) = l.next_urgent()
        {
            taken += frame.len();
            to(Class::Liveness, frame);
        }
        let mut space = l.window.available(now);
        while taken < bytes
            && space >= MIN_WINDOW_SPACE
            && let Some((class, frame)) = l.next_within(space)
        {
            taken += frame.len();
            space = space.saturating_sub(frame.len());
            to(class, frame);
        }
        let waits = space < MIN_WINDOW_SPACE && l.is_waiting();
        if waits {
            l.window.record_wait();
        }
        if taken > 0 {
            l.window.record_written(taken, now);
        }
        let position = l.window.position_due(now, waits);
        if let Some(bytes) = position {
            to(Class::Liveness, wire::encode(&Position { bytes }.into()));
        }
        if taken > 0 || position.is_some() {
            return DequeueOutcome::Frames;
        }
        if waits {
            return DequeueOutcome::WindowClosed(l.window.last_read() + self.read_stall);
        }
        l.queue.closing().map_or(DequeueOutcome::Empty, DequeueOutcome::Close)
    }

    /// Queues the report that this position in the remote's stream was read.
    pub(crate) fn report_read(&self, position: u64) {
        self.lock().read_to_report = Some(position);
        self.wake.notify_one();
    }

    /// Records that the remote has read up to this position; `lateness` is that of this node's
    /// timers.
    pub(crate) fn record_read(&self, position: u64, now: Instant, lateness: Duration) {
        self.lock().window.record_read(position, now, lateness);
        self.wake.notify_one();
    }

    /// Waits until a frame was added or the link is to be closed.
    pub(crate) async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Closes the link after the queued frames are written, unless they are dropped for this
    /// reason. The first reason stands.
    pub(crate) fn close(&self, reason: CloseReason) {
        let mut l = self.lock();
        match l.queue.close(reason) {
            CloseOutcome::AlreadyClosed => return,
            CloseOutcome::SendsQueued => {}
            CloseOutcome::DropsQueued(_) => l.in_pieces = None,
        }
        drop(l);
        self.wake.notify_one();
        self.close.notify_one();
    }

    /// Why the link is being closed by this node, if it is.
    pub(crate) fn closing(&self) -> Option<CloseReason> {
        self.lock().queue.closing()
    }

    /// Waits until the link is to be closed, and then for `grace`.
    pub(crate) async fn closed_since(&self, grace: Duration) -> CloseReason {
        loop {
            if let Some(reason) = self.closing() {
                tokio::time::sleep(grace).await;
                return reason;
            }
            self.close.notified().await;
        }
    }

    /// Records that the link has ended: no frame is taken any more, and the queued frames are
    /// dropped.
    pub(crate) fn end(&self) {
        let mut l = self.lock();
        l.queue.end();
        l.in_pieces = None;
    }
}

#[cfg(test)]
mod tests;
