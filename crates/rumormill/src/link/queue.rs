//! The frames that wait to be written on one link, by class. Adding a frame never waits.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumormill_proto::wire::{self, Encoded, Position, PositionAck};
use rumormill_proto::{Class, CloseReason};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::in_pieces::SplitFrame;
use super::pace::SendWindow;
use crate::tuning::Tuning;

/// Memory that a queued frame costs beside its bytes.
const FRAME_OVERHEAD: usize = 64;
/// While payloads and history both wait, one frame in this many is history.
const HISTORY_SHARE: u32 = 5;

/// A frame up to this size is not split, and goes between the pieces of a larger frame.
const MAX_UNSPLIT_FRAME: usize = 1024;
/// With fewer free bytes than this, the window counts as closed.
const MIN_WINDOW_SPACE: usize = 256;

#[derive(Debug, Default)]
struct ClassQueue {
    frames: VecDeque<Encoded>,
    bytes: usize,
}

impl ClassQueue {
    fn push(&mut self, frame: Encoded) {
        self.bytes += frame.len() + FRAME_OVERHEAD;
        self.frames.push_back(frame);
    }

    fn pop(&mut self) -> Option<Encoded> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len() + FRAME_OVERHEAD;
        if self.frames.is_empty() && self.frames.capacity() > 16 {
            // A burst must not leave its memory behind on a link that is idle again.
            self.frames = VecDeque::new();
        }
        Some(frame)
    }

    /// The next frame, if it has at most `most` bytes.
    fn pop_small(&mut self, most: usize) -> Option<Encoded> {
        if self.frames.front()?.len() > most {
            return None;
        }
        self.pop()
    }

    fn has_space(&self, frame: &Encoded, limit: usize) -> bool {
        self.bytes + frame.len() + FRAME_OVERHEAD <= limit
    }

    /// Adds a frame, and drops the oldest ones if they leave no space for it.
    fn push_over_oldest(&mut self, frame: Encoded, limit: usize) -> EnqueueOutcome {
        if frame.len() + FRAME_OVERHEAD > limit {
            return EnqueueOutcome::Skipped;
        }
        let mut dropped = 0;
        while !self.has_space(&frame, limit) && self.pop().is_some() {
            dropped += 1;
        }
        self.push(frame);
        if dropped == 0 { EnqueueOutcome::Queued } else { EnqueueOutcome::DroppedOldest(dropped) }
    }
}

#[derive(Debug)]
struct ClassQueues {
    /// The send window.
    window: SendWindow,
    /// A position of the remote that was read here and is not reported yet.
    read_to_report: Option<u64>,
    /// A large frame that is being written in pieces, as the window allows.
    in_pieces: Option<SplitFrame>,
    liveness: ClassQueue,
    control: ClassQueue,
    announce: ClassQueue,
    payload: ClassQueue,
    history: ClassQueue,
    last: ClassQueue,
    /// Payloads added and removed so far.
    payloads_in: u64,
    payloads_out: u64,
    /// The value of `payloads_in` at the last payload that this node published itself.
    own_until: u64,
    /// Payloads written since the last history.
    since_history: u32,
    /// The driver was told that the payload queue is half full.
    reported_half_full: bool,
    closing: Option<CloseReason>,
    ended: bool,
}

impl ClassQueues {
    fn new(now: Instant) -> Self {
        ClassQueues {
            window: SendWindow::new(now),
            read_to_report: None,
            in_pieces: None,
            liveness: ClassQueue::default(),
            control: ClassQueue::default(),
            announce: ClassQueue::default(),
            payload: ClassQueue::default(),
            history: ClassQueue::default(),
            last: ClassQueue::default(),
            payloads_in: 0,
            payloads_out: 0,
            own_until: 0,
            since_history: 0,
            reported_half_full: false,
            closing: None,
            ended: false,
        }
    }

    /// The next frame that does not wait for the window: the position that the remote's window
    /// waits for, then probes and their answers.
    fn pop_urgent(&mut self) -> Option<Encoded> {
        match self.read_to_report.take() {
            Some(bytes) => Some(wire::encode(&PositionAck { bytes }.into())),
            None => self.liveness.pop(),
        }
    }

    /// The next frame that waits for the window, or a piece of it with about `space` bytes. Small
    /// control frames and small announcements go between the pieces of a large frame.
    fn pop_within(&mut self, space: usize) -> Option<(Class, Encoded)> {
        let Some(large) = &mut self.in_pieces else {
            let (class, frame) = self.pop()?;
            if frame.len() <= space.max(MAX_UNSPLIT_FRAME) {
                return Some((class, frame));
            }
            let large = self.in_pieces.insert(SplitFrame::new(class, frame));
            return Some((class, large.next(space)));
        };
        if let Some(frame) = self.control.pop_small(MAX_UNSPLIT_FRAME) {
            return Some((Class::Control, frame));
        }
        if let Some(frame) = self.announce.pop_small(MAX_UNSPLIT_FRAME) {
            return Some((Class::Announce, frame));
        }
        let (class, piece) = (large.class, large.next(space));
        if large.is_done() {
            self.in_pieces = None;
        }
        Some((class, piece))
    }

    /// Whether a frame waits for the window.
    fn is_waiting(&self) -> bool {
        let queues = [&self.control, &self.announce, &self.payload, &self.history, &self.last];
        self.in_pieces.is_some() || queues.iter().any(|queue| !queue.frames.is_empty())
    }

    /// The next frame by class: control first, then announcements and payloads; history when no
    /// payload waits, and regularly in any case; Leave when nothing else waits.
    fn pop(&mut self) -> Option<(Class, Encoded)> {
        if let Some(frame) = self.control.pop() {
            return Some((Class::Control, frame));
        }
        if let Some(frame) = self.announce.pop() {
            return Some((Class::Announce, frame));
        }
        if (self.since_history + 1 < HISTORY_SHARE || self.history.frames.is_empty())
            && let Some(frame) = self.payload.pop()
        {
            self.since_history += u32::from(!self.history.frames.is_empty());
            self.payloads_out += 1;
            return Some((Class::Payload, frame));
        }
        self.since_history = 0;
        if let Some(frame) = self.history.pop() {
            return Some((Class::History, frame));
        }
        self.last.pop().map(|frame| (Class::Last, frame))
    }

    fn clear(&mut self) {
        self.in_pieces = None;
        self.liveness = ClassQueue::default();
        self.control = ClassQueue::default();
        self.announce = ClassQueue::default();
        self.payload = ClassQueue::default();
        self.history = ClassQueue::default();
        self.last = ClassQueue::default();
    }
}

/// The outcome of adding a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EnqueueOutcome {
    /// The frame will be written.
    Queued,
    /// The frame will be written; more than half of the payload queue is in use now. Reported again
    /// only after less than a quarter was in use.
    HalfFull,
    /// The frame will be written; this many older frames of its class will not.
    DroppedOldest(u64),
    /// The frame did not fit and is left out.
    Skipped,
    /// The frame did not fit, and the link cannot go on without it.
    Overflow,
    /// The link is closing or has ended.
    LinkClosed,
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

/// The queues of one link.
#[derive(Debug)]
pub(crate) struct LinkQueue {
    queues: Mutex<ClassQueues>,
    read_stall: Duration,
    limit_liveness: usize,
    limit_control: usize,
    limit_announce: usize,
    limit_payload: usize,
    limit_history: usize,
    /// Signalled when a frame was added.
    wake: Notify,
    /// Signalled when the link is to be closed.
    close: Notify,
}

impl LinkQueue {
    pub(crate) fn new(tuning: &Tuning) -> Self {
        LinkQueue {
            queues: Mutex::new(ClassQueues::new(Instant::now())),
            read_stall: tuning.read_stall,
            limit_liveness: tuning.queue_liveness,
            limit_control: tuning.queue_control,
            limit_announce: tuning.queue_announce,
            limit_payload: tuning.queue_payload,
            limit_history: tuning.queue_history,
            wake: Notify::new(),
            close: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ClassQueues> {
        // Nothing in here panics halfway through a change.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a frame by the rule of its class.
    pub(crate) fn push(&self, class: Class, frame: Encoded) -> EnqueueOutcome {
        let mut l = self.lock();
        if l.closing.is_some() || l.ended {
            return EnqueueOutcome::LinkClosed;
        }
        let pushed = match class {
            Class::Liveness => l.liveness.push_over_oldest(frame, self.limit_liveness),
            Class::Control if l.control.has_space(&frame, self.limit_control) => {
                l.control.push(frame);
                EnqueueOutcome::Queued
            }
            Class::Last if l.last.has_space(&frame, self.limit_control) => {
                l.last.push(frame);
                EnqueueOutcome::Queued
            }
            Class::Control | Class::Last => EnqueueOutcome::Overflow,
            Class::Payload if l.payload.has_space(&frame, self.limit_payload) => {
                l.payload.push(frame);
                l.payloads_in += 1;
                if !l.reported_half_full && l.payload.bytes > self.limit_payload / 2 {
                    l.reported_half_full = true;
                    EnqueueOutcome::HalfFull
                } else {
                    EnqueueOutcome::Queued
                }
            }
            Class::History if l.history.has_space(&frame, self.limit_history) => {
                l.history.push(frame);
                EnqueueOutcome::Queued
            }
            Class::Payload | Class::History => EnqueueOutcome::Skipped,
            Class::Announce => l.announce.push_over_oldest(frame, self.limit_announce),
        };
        drop(l);
        self.wake.notify_one();
        pushed
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
            && let Some(frame) = l.pop_urgent()
        {
            taken += frame.len();
            to(Class::Liveness, frame);
        }
        let mut space = l.window.available(now);
        while taken < bytes
            && space >= MIN_WINDOW_SPACE
            && let Some((class, frame)) = l.pop_within(space)
        {
            taken += frame.len();
            space = space.saturating_sub(frame.len());
            to(class, frame);
        }
        let waits = space < MIN_WINDOW_SPACE && l.is_waiting();
        if waits {
            l.window.record_wait();
        }
        if l.payload.bytes < self.limit_payload / 4 {
            l.reported_half_full = false;
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
        l.closing.map_or(DequeueOutcome::Empty, DequeueOutcome::Close)
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

    /// Closes the link after the queued frames are written. The first reason stands.
    pub(crate) fn close(&self, reason: CloseReason) {
        let mut l = self.lock();
        if l.closing.is_some() || l.ended {
            return;
        }
        l.closing = Some(reason);
        if matches!(reason, CloseReason::TooSlow | CloseReason::ProtocolViolation) {
            // The remote reads nothing more, or has violated the protocol.
            l.clear();
        }
        drop(l);
        self.wake.notify_one();
        self.close.notify_one();
    }

    /// Why the link is being closed by this node, if it is.
    pub(crate) fn closing(&self) -> Option<CloseReason> {
        self.lock().closing
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
        l.ended = true;
        l.clear();
    }
}

#[cfg(test)]
mod tests;
