//! What waits to be written on one link, by class. Nobody ever waits to put something in.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rumormill_proto::{Class, CloseReason};
use tokio::sync::Notify;

use crate::tuning::Tuning;

/// What a queued frame costs beside its bytes.
const OVERHEAD: usize = 64;

#[derive(Debug, Default)]
struct Lane {
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl Lane {
    fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len() + OVERHEAD;
        self.frames.push_back(frame);
    }

    fn pop(&mut self) -> Option<Bytes> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len() + OVERHEAD;
        if self.frames.is_empty() && self.frames.capacity() > 16 {
            // A burst must not leave its memory behind on a link that is idle again.
            self.frames = VecDeque::new();
        }
        Some(frame)
    }

    fn has_room(&self, frame: &Bytes, limit: usize) -> bool {
        self.bytes + frame.len() + OVERHEAD <= limit
    }
}

#[derive(Debug, Default)]
struct Lanes {
    control: Lane,
    announce: Lane,
    payload: Lane,
    closing: Option<CloseReason>,
    ended: bool,
}

/// What became of a frame that was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It will be written.
    Queued,
    /// It will be written; so many older announcements will not.
    DroppedOldest(u64),
    /// It did not fit and is left out.
    Skipped,
    /// It did not fit, and the link cannot do without it.
    Overflow,
    /// The link is closing or has ended.
    Gone,
}

/// What the writer does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Write this.
    Frame(Class, Bytes),
    /// Nothing is left: say goodbye.
    Close(CloseReason),
    /// Nothing to do.
    Wait,
}

/// The queues of one link.
#[derive(Debug)]
pub(crate) struct LinkQueue {
    lanes: Mutex<Lanes>,
    limit_control: usize,
    limit_announce: usize,
    limit_payload: usize,
    /// Something to write.
    wake: Notify,
    /// The link is to be closed.
    close: Notify,
}

impl LinkQueue {
    pub(crate) fn new(tuning: &Tuning) -> Self {
        LinkQueue {
            lanes: Mutex::default(),
            limit_control: tuning.queue_control,
            limit_announce: tuning.queue_announce,
            limit_payload: tuning.queue_payload,
            wake: Notify::new(),
            close: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        // Nothing in here panics halfway through a change.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a frame in by the rule of its class.
    pub(crate) fn push(&self, class: Class, frame: Bytes) -> Pushed {
        let mut l = self.lock();
        if l.closing.is_some() || l.ended {
            return Pushed::Gone;
        }
        let pushed = match class {
            Class::Control if l.control.has_room(&frame, self.limit_control) => {
                l.control.push(frame);
                Pushed::Queued
            }
            Class::Control => Pushed::Overflow,
            Class::Payload if l.payload.has_room(&frame, self.limit_payload) => {
                l.payload.push(frame);
                Pushed::Queued
            }
            Class::Payload => Pushed::Skipped,
            Class::Announce if frame.len() + OVERHEAD > self.limit_announce => Pushed::Skipped,
            Class::Announce => {
                let mut dropped = 0;
                while !l.announce.has_room(&frame, self.limit_announce) {
                    if l.announce.pop().is_none() {
                        break;
                    }
                    dropped += 1;
                }
                l.announce.push(frame);
                if dropped == 0 { Pushed::Queued } else { Pushed::DroppedOldest(dropped) }
            }
        };
        drop(l);
        self.wake.notify_one();
        pushed
    }

    /// The next thing for the writer: control first, then announcements, then payloads.
    pub(crate) fn next(&self) -> Next {
        let mut l = self.lock();
        if let Some(frame) = l.control.pop() {
            return Next::Frame(Class::Control, frame);
        }
        if let Some(frame) = l.announce.pop() {
            return Next::Frame(Class::Announce, frame);
        }
        if let Some(frame) = l.payload.pop() {
            return Next::Frame(Class::Payload, frame);
        }
        l.closing.map_or(Next::Wait, Next::Close)
    }

    /// Waits until something was put in or the link is to be closed.
    pub(crate) async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Closes the link once what is queued is written. The first reason stands.
    pub(crate) fn close(&self, reason: CloseReason) {
        let mut l = self.lock();
        if l.closing.is_some() || l.ended {
            return;
        }
        l.closing = Some(reason);
        if matches!(reason, CloseReason::TooSlow | CloseReason::ProtocolViolation) {
            // The remote does not read, or is not worth it.
            l.control = Lane::default();
            l.announce = Lane::default();
            l.payload = Lane::default();
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
    pub(crate) async fn closed_for(&self, grace: Duration) -> CloseReason {
        loop {
            if let Some(reason) = self.closing() {
                tokio::time::sleep(grace).await;
                return reason;
            }
            self.close.notified().await;
        }
    }

    /// The link has ended: nothing is taken any more, and what is left is let go.
    pub(crate) fn end(&self) {
        let mut l = self.lock();
        l.ended = true;
        l.control = Lane::default();
        l.announce = Lane::default();
        l.payload = Lane::default();
    }
}

#[cfg(test)]
mod tests {
    use rumormill_proto::Role;

    use super::*;

    fn queue() -> LinkQueue {
        LinkQueue::new(&Tuning {
            queue_control: 1000,
            queue_announce: 1000,
            queue_payload: 1000,
            ..Tuning::of(Role::Peer)
        })
    }

    fn frame(n: u8) -> Bytes {
        // Ten of these fill a queue of 1000.
        Bytes::from(vec![n; 100 - OVERHEAD])
    }

    #[test]
    fn announcements_drop_the_oldest() {
        let q = queue();
        for n in 0..10 {
            assert_eq!(q.push(Class::Announce, frame(n)), Pushed::Queued);
        }
        assert_eq!(q.push(Class::Announce, frame(10)), Pushed::DroppedOldest(1));
        assert_eq!(q.next(), Next::Frame(Class::Announce, frame(1)));
        assert_eq!(q.push(Class::Announce, vec![0; 2000].into()), Pushed::Skipped);
    }

    #[test]
    fn payloads_that_do_not_fit_are_skipped_and_the_queued_ones_stay() {
        let q = queue();
        for n in 0..10 {
            assert_eq!(q.push(Class::Payload, frame(n)), Pushed::Queued);
        }
        assert_eq!(q.push(Class::Payload, frame(10)), Pushed::Skipped);
        assert_eq!(q.next(), Next::Frame(Class::Payload, frame(0)));
        assert_eq!(q.push(Class::Payload, frame(11)), Pushed::Queued);
    }

    #[test]
    fn control_that_does_not_fit_is_an_overflow_and_has_its_own_room() {
        let q = queue();
        for n in 0..10 {
            q.push(Class::Payload, frame(n));
            assert_eq!(q.push(Class::Control, frame(n)), Pushed::Queued);
        }
        assert_eq!(q.push(Class::Control, frame(10)), Pushed::Overflow);
    }

    #[test]
    fn control_goes_first_then_announcements_then_payloads_then_goodbye() {
        let q = queue();
        q.push(Class::Payload, frame(3));
        q.push(Class::Announce, frame(2));
        q.push(Class::Control, frame(1));
        q.close(CloseReason::Leaving);
        q.close(CloseReason::Idle);
        assert_eq!(q.push(Class::Control, frame(4)), Pushed::Gone);
        assert_eq!(q.next(), Next::Frame(Class::Control, frame(1)));
        assert_eq!(q.next(), Next::Frame(Class::Announce, frame(2)));
        assert_eq!(q.next(), Next::Frame(Class::Payload, frame(3)));
        assert_eq!(q.next(), Next::Close(CloseReason::Leaving));
    }

    #[test]
    fn a_link_closed_as_too_slow_does_not_write_its_backlog() {
        let q = queue();
        q.push(Class::Payload, frame(3));
        q.close(CloseReason::TooSlow);
        assert_eq!(q.next(), Next::Close(CloseReason::TooSlow));
    }
}
