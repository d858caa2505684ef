//! What waits to be written on one link, by class. Nobody ever waits to put something in.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumormill_proto::wire::Encoded;
use rumormill_proto::{Class, CloseReason};
use tokio::sync::Notify;

use crate::tuning::Tuning;

/// What a queued frame costs beside its bytes.
const OVERHEAD: usize = 64;
/// While payloads and history both wait, one frame in so many is history.
const HISTORY_SHARE: u32 = 5;

#[derive(Debug, Default)]
struct Lane {
    frames: VecDeque<Encoded>,
    bytes: usize,
}

impl Lane {
    fn push(&mut self, frame: Encoded) {
        self.bytes += frame.len() + OVERHEAD;
        self.frames.push_back(frame);
    }

    fn pop(&mut self) -> Option<Encoded> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len() + OVERHEAD;
        if self.frames.is_empty() && self.frames.capacity() > 16 {
            // A burst must not leave its memory behind on a link that is idle again.
            self.frames = VecDeque::new();
        }
        Some(frame)
    }

    fn has_room(&self, frame: &Encoded, limit: usize) -> bool {
        self.bytes + frame.len() + OVERHEAD <= limit
    }

    /// Puts a frame in, in the place of the oldest ones if there is no room.
    fn push_over_oldest(&mut self, frame: Encoded, limit: usize) -> Pushed {
        if frame.len() + OVERHEAD > limit {
            return Pushed::Skipped;
        }
        let mut dropped = 0;
        while !self.has_room(&frame, limit) && self.pop().is_some() {
            dropped += 1;
        }
        self.push(frame);
        if dropped == 0 { Pushed::Queued } else { Pushed::DroppedOldest(dropped) }
    }
}

#[derive(Debug, Default)]
struct Lanes {
    liveness: Lane,
    control: Lane,
    announce: Lane,
    payload: Lane,
    history: Lane,
    /// Payloads put in and taken out so far.
    payloads_in: u64,
    payloads_out: u64,
    /// What `payloads_in` was at the last one of this node's own.
    own_until: u64,
    /// Payloads written since the last history.
    since_history: u32,
    /// It was told that the payload queue is half full.
    told_half_full: bool,
    closing: Option<CloseReason>,
    ended: bool,
}

impl Lanes {
    /// The next frame: probes and their answers first, then control, announcements and payloads; history
    /// when there are no payloads, and now and then in any case.
    fn pop(&mut self) -> Option<(Class, Encoded)> {
        if let Some(frame) = self.liveness.pop() {
            return Some((Class::Liveness, frame));
        }
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
        self.history.pop().map(|frame| (Class::History, frame))
    }

    fn clear(&mut self) {
        self.liveness = Lane::default();
        self.control = Lane::default();
        self.announce = Lane::default();
        self.payload = Lane::default();
        self.history = Lane::default();
    }
}

/// What became of a frame that was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It will be written.
    Queued,
    /// It will be written; more than half of the payload queue is in use now. Told again only
    /// after it was less than a quarter.
    HalfFull,
    /// It will be written; so many older ones of its class will not.
    DroppedOldest(u64),
    /// It did not fit and is left out.
    Skipped,
    /// It did not fit, and the link cannot do without it.
    Overflow,
    /// The link is closing or has ended.
    Gone,
}

/// What the writer was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Frames.
    Some,
    /// Nothing is left: say goodbye.
    Close(CloseReason),
    /// Nothing to do.
    Nothing,
}

/// The queues of one link.
#[derive(Debug)]
pub(crate) struct LinkQueue {
    lanes: Mutex<Lanes>,
    limit_liveness: usize,
    limit_control: usize,
    limit_announce: usize,
    limit_payload: usize,
    limit_history: usize,
    /// Something to write.
    wake: Notify,
    /// The link is to be closed.
    close: Notify,
}

impl LinkQueue {
    pub(crate) fn new(tuning: &Tuning) -> Self {
        LinkQueue {
            lanes: Mutex::default(),
            limit_liveness: tuning.queue_liveness,
            limit_control: tuning.queue_control,
            limit_announce: tuning.queue_announce,
            limit_payload: tuning.queue_payload,
            limit_history: tuning.queue_history,
            wake: Notify::new(),
            close: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        // Nothing in here panics halfway through a change.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a frame in by the rule of its class.
    pub(crate) fn push(&self, class: Class, frame: Encoded) -> Pushed {
        let mut l = self.lock();
        if l.closing.is_some() || l.ended {
            return Pushed::Gone;
        }
        let pushed = match class {
            Class::Liveness => l.liveness.push_over_oldest(frame, self.limit_liveness),
            Class::Control if l.control.has_room(&frame, self.limit_control) => {
                l.control.push(frame);
                Pushed::Queued
            }
            Class::Control => Pushed::Overflow,
            Class::Payload if l.payload.has_room(&frame, self.limit_payload) => {
                l.payload.push(frame);
                l.payloads_in += 1;
                if !l.told_half_full && l.payload.bytes > self.limit_payload / 2 {
                    l.told_half_full = true;
                    Pushed::HalfFull
                } else {
                    Pushed::Queued
                }
            }
            Class::History if l.history.has_room(&frame, self.limit_history) => {
                l.history.push(frame);
                Pushed::Queued
            }
            Class::Payload | Class::History => Pushed::Skipped,
            Class::Announce => l.announce.push_over_oldest(frame, self.limit_announce),
        };
        drop(l);
        self.wake.notify_one();
        pushed
    }

    /// Remembers that the payload that was put in last is this node's own.
    pub(crate) fn mark_own(&self) {
        let mut l = self.lock();
        l.own_until = l.payloads_in;
    }

    /// Whether the writer has taken all of this node's own payloads.
    pub(crate) fn has_taken_own(&self) -> bool {
        let l = self.lock();
        l.payloads_out >= l.own_until
    }

    /// Gives the writer the next frames, one or more, until they are `bytes` in all.
    pub(crate) fn take(&self, bytes: usize, mut to: impl FnMut(Class, Encoded)) -> Taken {
        let mut l = self.lock();
        let mut taken = 0;
        while taken < bytes
            && let Some((class, frame)) = l.pop()
        {
            taken += frame.len();
            to(class, frame);
        }
        if l.payload.bytes < self.limit_payload / 4 {
            l.told_half_full = false;
        }
        if taken > 0 {
            return Taken::Some;
        }
        l.closing.map_or(Taken::Nothing, Taken::Close)
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
        l.clear();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rumormill_proto::Role;

    use super::*;

    fn queue() -> LinkQueue {
        LinkQueue::new(&Tuning {
            queue_liveness: 1000,
            queue_control: 1000,
            queue_announce: 1000,
            queue_payload: 1000,
            queue_history: 1000,
            ..Tuning::of(Role::Peer)
        })
    }

    fn of_size(n: u8, size: usize) -> Encoded {
        Encoded { head: vec![n; 4].into(), tail: vec![n; size - 4].into() }
    }

    fn frame(n: u8) -> Encoded {
        // Ten of these fill a queue of 1000.
        of_size(n, 100 - OVERHEAD)
    }

    /// The next frame by itself: its class and number.
    fn next(q: &LinkQueue) -> Result<(Class, u8), Taken> {
        let mut got = None;
        match q.take(1, |class, frame| got = Some((class, frame.head[0]))) {
            Taken::Some => Ok(got.unwrap()),
            other => Err(other),
        }
    }

    #[test]
    fn announcements_and_probes_drop_the_oldest() {
        for class in [Class::Announce, Class::Liveness] {
            let q = queue();
            for n in 0..10 {
                assert_eq!(q.push(class, frame(n)), Pushed::Queued);
            }
            assert_eq!(q.push(class, frame(10)), Pushed::DroppedOldest(1));
            assert_eq!(next(&q), Ok((class, 1)));
            assert_eq!(q.push(class, of_size(0, 2000)), Pushed::Skipped);
        }
    }

    #[test]
    fn payloads_and_history_that_do_not_fit_are_skipped_and_the_queued_ones_stay() {
        for class in [Class::Payload, Class::History] {
            let q = queue();
            for n in 0..10 {
                assert_ne!(q.push(class, frame(n)), Pushed::Skipped);
            }
            assert_eq!(q.push(class, frame(10)), Pushed::Skipped);
            assert_eq!(next(&q), Ok((class, 0)));
            assert_eq!(q.push(class, frame(11)), Pushed::Queued);
        }
    }

    #[test]
    fn half_full_is_told_once_until_it_was_a_quarter() {
        let q = queue();
        let push = |n| q.push(Class::Payload, frame(n));
        let told: Vec<Pushed> = (0..7).map(push).collect();
        assert_eq!(told[5], Pushed::HalfFull);
        assert_eq!(told.iter().filter(|p| **p == Pushed::HalfFull).count(), 1);
        let drain = |n| (0..n).for_each(|_| assert!(next(&q).is_ok()));
        drain(3);
        assert!((0..3).all(|n| push(n) == Pushed::Queued), "it was never below a quarter");
        drain(5);
        let told: Vec<Pushed> = (0..4).map(push).collect();
        assert_eq!(told[3], Pushed::HalfFull);
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
    fn probes_go_first_then_control_announcements_payloads_history_and_goodbye() {
        let q = queue();
        q.push(Class::History, frame(4));
        q.push(Class::Payload, frame(3));
        q.push(Class::Announce, frame(2));
        q.push(Class::Control, frame(1));
        q.push(Class::Liveness, frame(0));
        q.close(CloseReason::Leaving);
        q.close(CloseReason::Idle);
        assert_eq!(q.push(Class::Control, frame(5)), Pushed::Gone);
        assert_eq!(next(&q), Ok((Class::Liveness, 0)));
        assert_eq!(next(&q), Ok((Class::Control, 1)));
        assert_eq!(next(&q), Ok((Class::Announce, 2)));
        assert_eq!(next(&q), Ok((Class::Payload, 3)));
        assert_eq!(next(&q), Ok((Class::History, 4)));
        assert_eq!(next(&q), Err(Taken::Close(CloseReason::Leaving)));
    }

    #[test]
    fn history_has_its_share_beside_payloads_and_all_that_they_leave() {
        let q = queue();
        for n in 0..8 {
            q.push(Class::Payload, frame(n));
            q.push(Class::History, frame(n));
        }
        let order: String = std::iter::from_fn(|| next(&q).ok())
            .map(|(class, _)| if class == Class::History { 'h' } else { 'p' })
            .collect();
        assert_eq!(order, "pppphpppphhhhhhh");
    }

    #[test]
    fn ones_own_are_taken_when_the_last_of_them_is() {
        let q = queue();
        assert!(q.has_taken_own(), "there are none");
        q.push(Class::Payload, frame(1));
        q.push(Class::Payload, frame(2));
        q.mark_own();
        q.push(Class::Payload, frame(3));
        q.push(Class::Control, frame(4));
        let taken: Vec<bool> =
            (0..4).map(|_| next(&q).map(|_| q.has_taken_own()).unwrap()).collect();
        assert_eq!(taken, [false, false, true, true]);
    }

    #[test]
    fn many_small_frames_are_taken_at_once_and_a_large_one_alone() {
        let q = queue();
        for n in 0..9 {
            q.push(Class::Payload, frame(n));
        }
        let mut taken = 0;
        assert_eq!(q.take(4 * (100 - OVERHEAD), |_, _| taken += 1), Taken::Some);
        assert_eq!(taken, 4);
        q.push(Class::Control, of_size(0, 500));
        let mut classes = Vec::new();
        q.take(100, |class, _| classes.push(class));
        assert_eq!(classes, [Class::Control]);
    }

    #[test]
    fn a_link_closed_as_too_slow_does_not_write_its_backlog() {
        let q = queue();
        q.push(Class::Payload, frame(3));
        q.close(CloseReason::TooSlow);
        assert_eq!(next(&q), Err(Taken::Close(CloseReason::TooSlow)));
    }

    #[test]
    fn a_frame_without_a_tail_is_a_frame() {
        let q = queue();
        q.push(Class::Control, Encoded { head: vec![7].into(), tail: Bytes::new() });
        assert_eq!(next(&q), Ok((Class::Control, 7)));
    }
}
