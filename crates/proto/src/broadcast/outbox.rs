//! The messages that this peer publishes: numbering, packing into batches, and bytes in flight.

use core::time::Duration;
use std::collections::VecDeque;

use super::window::Window;
use crate::batch::{Batch, BatchBuilder, PreviousStream, seal_group};
use crate::identity::Identity;
use crate::limits::{MAX_BATCH_DELAY, MAX_GROUP};
use crate::message::{MessageId, StreamId};
use crate::time::{Time, WallTime};

/// Batches that a publisher may fill before others have their turn: signed together, they cost one
/// signature, and filling them takes some hundred microseconds.
const TURN_BATCHES: usize = 8;

/// The queues of a publisher.
#[derive(Debug, Default)]
struct Queues {
    /// Unsigned messages: signed and sent when the caller next drains the state machine.
    open: Option<BatchBuilder>,
    full: VecDeque<BatchBuilder>,
    /// Signed and not sent yet.
    sealed: VecDeque<Batch>,
    /// Ends and sizes of batches that are not acknowledged yet.
    in_flight: VecDeque<(u64, u64)>,
}

impl Queues {
    fn is_empty(&self) -> bool {
        self.has_nothing_to_send() && self.in_flight.is_empty()
    }

    fn has_nothing_to_send(&self) -> bool {
        self.open.is_none() && self.full.is_empty() && self.sealed.is_empty()
    }
}

/// The outbox of one peer.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// The id of the next message.
    next: MessageId,
    /// The stream before this one.
    previous: Option<PreviousStream>,
    /// Absent while nothing is queued: most peers publish nothing.
    queues: Option<Box<Queues>>,
    waiting_bytes: u64,
    /// Whether the caller still writes earlier batches; and since when messages wait for that.
    is_writer_busy: bool,
    waiting_since: Option<Time>,
    in_flight_bytes: u64,
    /// When the last acknowledgement arrived, or the first of the batches in flight was sent.
    progressed_at: Time,
    window: Window,
    /// Receipts are wanted up to this sequence number.
    pub(crate) receipt_requested: u64,
}

impl Outbox {
    pub(crate) fn new(identity: &Identity, epoch: u64) -> Self {
        Outbox {
            next: MessageId { publisher: identity.id(), epoch, sequence: 0 },
            previous: None,
            queues: None,
            waiting_bytes: 0,
            is_writer_busy: false,
            waiting_since: None,
            in_flight_bytes: 0,
            progressed_at: Time::ZERO,
            window: Window::new(),
            receipt_requested: 0,
        }
    }

    /// Sets the stream that this one follows; its first batch names it.
    pub(crate) fn set_previous(&mut self, previous: Option<PreviousStream>) {
        self.previous = previous;
    }

    /// Gives the stream another epoch, with the same sequence numbers. The caller signs the already
    /// signed batches again.
    pub(crate) fn set_epoch(&mut self, epoch: u64) {
        self.next.epoch = epoch;
        if let Some(q) = &mut self.queues {
            q.full.iter_mut().chain(q.open.as_mut()).for_each(|b| b.set_epoch(epoch));
        }
    }

    /// Takes the batches that are signed and not sent yet.
    pub(crate) fn take_sealed(&mut self) -> Vec<Batch> {
        self.queues.as_mut().map(|q| q.sealed.drain(..).collect()).unwrap_or_default()
    }

    /// Puts batches that were signed again in front.
    pub(crate) fn requeue_sealed(&mut self, sealed: Vec<Batch>) {
        if !sealed.is_empty() {
            self.queues.get_or_insert_default().sealed.extend(sealed);
        }
    }

    /// The stream of the messages that are published from now on.
    pub(crate) const fn stream(&self) -> StreamId {
        self.next.stream()
    }

    /// Number of messages published since the start.
    pub(crate) const fn published(&self) -> u64 {
        self.next.sequence
    }

    /// Bytes that may be added now; 0 if the network has to catch up first.
    pub(crate) fn available_window(&self) -> u64 {
        self.window.size().saturating_sub(self.in_flight_bytes + self.waiting_bytes)
    }

    pub(crate) const fn window(&self) -> u64 {
        self.window.size()
    }

    pub(crate) const fn in_flight_bytes(&self) -> u64 {
        self.in_flight_bytes
    }

    /// Whether enough batches wait to be signed.
    pub(crate) fn has_full_batches(&self) -> bool {
        self.queues.as_ref().is_some_and(|q| q.full.len() >= TURN_BATCHES)
    }

    /// Sets whether earlier batches wait to be written.
    pub(crate) fn set_writer_busy(&mut self, busy: bool) {
        self.is_writer_busy = busy;
    }

    /// Whether unsigned messages wait for more of them. Signed batches do not wait.
    pub(crate) fn is_deferred(&self, now: Time) -> bool {
        let until = self.waiting_since.map_or(Time::MAX, |since| since + MAX_BATCH_DELAY);
        self.is_writer_busy
            && self.queues.as_ref().is_none_or(|q| q.sealed.is_empty())
            && now < until
    }

    /// When unsigned messages have waited for long enough.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.waiting_since.filter(|_| self.is_writer_busy).map(|since| since + MAX_BATCH_DELAY)
    }

    /// Whether nothing is queued or in flight.
    pub(crate) const fn is_empty(&self) -> bool {
        self.waiting_bytes == 0 && self.in_flight_bytes == 0
    }

    /// Bounds the window by this publisher's share of the bytes that may be in flight in all.
    pub(crate) fn set_window_bound(&mut self, share: u64) {
        self.window.set_bound(share);
    }

    /// Restarts the window after a pause.
    pub(crate) fn restart_window(&mut self, share: u64) {
        self.window.restart(share);
    }

    /// Packs a message into the open batch.
    pub(crate) fn add(
        &mut self,
        now: Time,
        wall: WallTime,
        topic: &str,
        payload: &[u8],
    ) -> MessageId {
        self.waiting_since.get_or_insert(now);
        let q = self.queues.get_or_insert_default();
        if let Some(open) = q.open.take_if(|open| !open.fits(topic, payload)) {
            q.full.push_back(open);
        }
        let first = self.next;
        let previous = self.previous.filter(|_| first.sequence == 0);
        let open = q.open.get_or_insert_with(|| {
            let mut builder = BatchBuilder::new(first, wall);
            builder.follow(previous);
            builder
        });
        let id = open.push(wall, topic, payload);
        self.next.sequence += 1;
        self.waiting_bytes += (topic.len() + payload.len()) as u64;
        id
    }

    /// Takes the next batch, signed. All queued batches are signed together.
    pub(crate) fn seal(&mut self, identity: &Identity, now: Time) -> Option<Batch> {
        let q = self.queues.as_mut()?;
        if q.sealed.is_empty() {
            let full = q.full.len().min(MAX_GROUP);
            let mut group: Vec<BatchBuilder> = q.full.drain(..full).collect();
            if group.len() < MAX_GROUP {
                group.extend(q.open.take());
            }
            if group.is_empty() {
                return None;
            }
            q.sealed.extend(seal_group(group, identity));
            if q.full.is_empty() {
                self.waiting_since = None;
            }
        }
        let batch = q.sealed.pop_front()?;
        if q.has_nothing_to_send() {
            self.waiting_bytes = 0;
        }
        let bytes = batch.wire().len() as u64;
        if q.in_flight.is_empty() {
            self.progressed_at = now;
        }
        q.in_flight.push_back((batch.end(), bytes));
        self.in_flight_bytes += bytes;
        Some(batch)
    }

    /// All peers that the publisher waits for hold everything below `paced`. Returns whether there
    /// is space in the window again after there was none.
    pub(crate) fn on_acknowledged(&mut self, paced: u64, now: Time, congested: bool) -> bool {
        let had_window = self.available_window() > 0;
        let mut bytes = 0;
        if let Some(q) = &mut self.queues {
            while let Some(&(end, size)) = q.in_flight.front()
                && end <= paced
            {
                bytes += size;
                q.in_flight.pop_front();
            }
        }
        self.queues.take_if(|q| q.is_empty());
        self.in_flight_bytes -= bytes;
        if bytes > 0 {
            self.progressed_at = now;
        }
        if congested {
            self.window.on_congestion(now);
        } else {
            self.window.on_acknowledged(bytes);
        }
        !had_window && self.available_window() > 0
    }

    /// Whether no acknowledgement has arrived for `limit` although batches are in flight. Returns
    /// true once in that time.
    pub(crate) fn is_stalled(&mut self, limit: Duration, now: Time) -> bool {
        let is_waiting = self.queues.as_ref().is_some_and(|q| !q.in_flight.is_empty());
        let is_stalled = is_waiting && now.since(self.progressed_at) >= limit;
        if is_stalled {
            self.progressed_at = now;
        }
        is_stalled
    }

    /// Reduces the window, because a queue of this peer is congested.
    pub(crate) fn on_congestion(&mut self, now: Time) {
        self.window.on_congestion(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queued_messages_are_packed_within_the_window() {
        let me = Identity::from_secret(&[1; 32]);
        let mut outbox = Outbox::new(&me, 1);
        let mut added = 0;
        while outbox.available_window() > 0 {
            outbox.add(Time::ZERO, WallTime(0), "t", &[0; 1000]);
            added += 1;
        }
        let mut batches = Vec::new();
        while let Some(b) = outbox.seal(&me, Time::ZERO) {
            batches.push(b);
        }
        assert_eq!(batches.iter().map(Batch::len).sum::<usize>(), added);
        assert!(batches.windows(2).all(|w| w[0].end() == w[1].first()));
        assert!(batches.len() < added / 50, "{} batches of {added}", batches.len());
        assert_eq!(outbox.available_window(), 0);
        let half = batches[batches.len() / 2].end();
        assert!(outbox.on_acknowledged(half, Time::ZERO, false), "there is room again");
        assert!(outbox.available_window() > 0);
    }

    #[test]
    fn deferred_messages_are_signed_together_within_the_delay_limit() {
        let me = Identity::from_secret(&[1; 32]);
        let at = |ms: u64| Time::from_micros(ms * 1000);
        let mut outbox = Outbox::new(&me, 1);
        outbox.add(at(0), WallTime(0), "", b"a");
        assert!(
            !outbox.is_deferred(at(0)) && outbox.deadline().is_none(),
            "no batch is written first"
        );
        outbox.seal(&me, at(0)).unwrap();
        outbox.set_writer_busy(true);
        for ms in 1..=3 {
            for _ in 0..2 {
                outbox.add(at(ms), WallTime(0), "", &[0; 40_000]);
            }
        }
        assert!(outbox.is_deferred(at(20)));
        assert_eq!(outbox.deadline(), Some(at(21)), "20 ms after the first");
        assert!(!outbox.is_deferred(at(21)));
        outbox.set_writer_busy(false);
        assert!(!outbox.is_deferred(at(4)));
        let group: Vec<Batch> = core::iter::from_fn(|| outbox.seal(&me, at(4))).collect();
        assert_eq!(group.len(), 6);
        assert!(group.iter().all(|b| b.signature() == group[0].signature()));
        assert!(outbox.deadline().is_none() && !outbox.is_empty());
    }

    #[test]
    fn stall_is_reported_once_per_limit() {
        let me = Identity::from_secret(&[1; 32]);
        let at = |ms: u64| Time::from_micros(ms * 1000);
        let second = Duration::from_secs(1);
        let mut outbox = Outbox::new(&me, 1);
        outbox.add(at(0), WallTime(0), "t", b"a");
        assert!(!outbox.is_stalled(second, at(5000)), "nothing is in flight");
        let end = outbox.seal(&me, at(5000)).unwrap().end();
        assert!(!outbox.is_stalled(second, at(5999)));
        assert!(outbox.is_stalled(second, at(6000)) && !outbox.is_stalled(second, at(6999)));
        assert!(outbox.is_stalled(second, at(7000)));
        outbox.on_acknowledged(end, at(7001), false);
        assert!(!outbox.is_stalled(second, at(20_000)));
    }

    #[test]
    fn another_epoch_keeps_the_sequence_numbers_and_the_previous_stream() {
        let me = Identity::from_secret(&[1; 32]);
        let mut outbox = Outbox::new(&me, 1);
        outbox.set_previous(Some(PreviousStream { epoch: 0, next: 9 }));
        let ids = [0, 1].map(|_| outbox.add(Time::ZERO, WallTime(0), "", b"x").sequence);
        outbox.set_epoch(7);
        let id = outbox.add(Time::ZERO, WallTime(0), "", b"x");
        assert_eq!((ids, id.epoch, id.sequence), ([0, 1], 7, 2));
        let batch = outbox.seal(&me, Time::ZERO).unwrap();
        assert_eq!((batch.epoch(), batch.first(), batch.len()), (7, 0, 3));
        assert_eq!(batch.previous(), Some(PreviousStream { epoch: 0, next: 9 }));
        assert!(batch.signature_is_valid());
        let next = BatchBuilder::with_epoch(&batch, 8).seal(&me);
        assert!(
            next.epoch() == 8 && next.signature_is_valid() && next.content() == batch.content()
        );
    }
}
