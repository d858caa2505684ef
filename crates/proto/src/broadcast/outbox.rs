//! What this peer publishes: numbers, packing into batches, and what is on its way.

use core::time::Duration;
use std::collections::VecDeque;

use super::window::Window;
use crate::batch::{Batch, BatchBuilder, PreviousStream, seal_group};
use crate::identity::Identity;
use crate::limits::{HOLD_AT_MOST, MAX_GROUP};
use crate::message::{MessageId, StreamId};
use crate::time::{Time, WallTime};

/// Batches that a publisher may fill before it lets others have their turn: signed together, they cost
/// one signature, and filling them takes some hundred microseconds.
const TURN: usize = 8;

/// What waits, and what is on its way.
#[derive(Debug, Default)]
struct Queues {
    /// What waits to be signed: it goes out when the caller next drains the state machine.
    open: Option<BatchBuilder>,
    full: VecDeque<BatchBuilder>,
    /// Signed and not sent yet.
    sealed: VecDeque<Batch>,
    /// Ends and sizes of batches that are not acknowledged.
    on_the_way: VecDeque<(u64, u64)>,
}

impl Queues {
    fn is_empty(&self) -> bool {
        self.has_nothing_to_send() && self.on_the_way.is_empty()
    }

    fn has_nothing_to_send(&self) -> bool {
        self.open.is_none() && self.full.is_empty() && self.sealed.is_empty()
    }
}

/// The outbox of one peer.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// Names the next message.
    next: MessageId,
    /// The stream before this one.
    previous: Option<PreviousStream>,
    /// Most peers publish nothing, and have none.
    queues: Option<Box<Queues>>,
    waiting_bytes: u64,
    /// The caller has batches of before to write first; and since when something waits for it.
    held: bool,
    waits_since: Option<Time>,
    on_the_way_bytes: u64,
    /// When the last of them was acknowledged, or the first of them sent.
    moved: Time,
    window: Window,
    /// Somebody waits to hear who holds what up to this number.
    pub(crate) receipt_wanted: u64,
}

impl Outbox {
    pub(crate) fn new(identity: &Identity, epoch: u64) -> Self {
        Outbox {
            next: MessageId { publisher: identity.id(), epoch, sequence: 0 },
            previous: None,
            queues: None,
            waiting_bytes: 0,
            held: false,
            waits_since: None,
            on_the_way_bytes: 0,
            moved: Time::ZERO,
            window: Window::new(),
            receipt_wanted: 0,
        }
    }

    /// The stream that this one follows; its first batch names it.
    pub(crate) fn follow(&mut self, previous: Option<PreviousStream>) {
        self.previous = previous;
    }

    /// Gives the stream another epoch, with the same numbers. What was signed before is the caller's.
    pub(crate) fn set_epoch(&mut self, epoch: u64) {
        self.next.epoch = epoch;
        if let Some(q) = &mut self.queues {
            q.full.iter_mut().chain(q.open.as_mut()).for_each(|b| b.set_epoch(epoch));
        }
    }

    /// Takes what is signed and not sent yet.
    pub(crate) fn take_sealed(&mut self) -> Vec<Batch> {
        self.queues.as_mut().map(|q| q.sealed.drain(..).collect()).unwrap_or_default()
    }

    /// Puts in front what was signed anew.
    pub(crate) fn put_sealed(&mut self, sealed: Vec<Batch>) {
        if !sealed.is_empty() {
            self.queues.get_or_insert_default().sealed.extend(sealed);
        }
    }

    /// The stream of what is pushed from now on.
    pub(crate) const fn stream(&self) -> StreamId {
        self.next.stream()
    }

    /// Messages published since the start.
    pub(crate) const fn published(&self) -> u64 {
        self.next.sequence
    }

    /// Bytes that may be added now; 0 if the network has to catch up first.
    pub(crate) fn room(&self) -> u64 {
        self.window.size().saturating_sub(self.on_the_way_bytes + self.waiting_bytes)
    }

    pub(crate) const fn window(&self) -> u64 {
        self.window.size()
    }

    pub(crate) const fn on_the_way_bytes(&self) -> u64 {
        self.on_the_way_bytes
    }

    /// Whether enough waits to be signed.
    pub(crate) fn has_a_turnful(&self) -> bool {
        self.queues.as_ref().is_some_and(|q| q.full.len() >= TURN)
    }

    /// Whether batches of before wait to be written.
    pub(crate) fn hold_back(&mut self, hold: bool) {
        self.held = hold;
    }

    /// Whether what waits is to wait for more. What is signed does not.
    pub(crate) fn is_held_back(&self, now: Time) -> bool {
        let until = self.waits_since.map_or(Time::MAX, |since| since + HOLD_AT_MOST);
        self.held && self.queues.as_ref().is_none_or(|q| q.sealed.is_empty()) && now < until
    }

    /// When it has waited for long enough.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.waits_since.filter(|_| self.held).map(|since| since + HOLD_AT_MOST)
    }

    /// Whether nothing waits and nothing is on its way.
    pub(crate) const fn is_empty(&self) -> bool {
        self.waiting_bytes == 0 && self.on_the_way_bytes == 0
    }

    /// Bounds the window by this publisher's share of what may be on its way in all.
    pub(crate) fn bound(&mut self, share: u64) {
        self.window.bound(share);
    }

    /// Begins again after a pause.
    pub(crate) fn begin(&mut self, share: u64) {
        self.window.begin(share);
    }

    /// Packs a message.
    pub(crate) fn add(
        &mut self,
        now: Time,
        wall: WallTime,
        topic: &str,
        payload: &[u8],
    ) -> MessageId {
        self.waits_since.get_or_insert(now);
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

    /// The next batch that waits, signed. All that wait are signed together.
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
                self.waits_since = None;
            }
        }
        let batch = q.sealed.pop_front()?;
        if q.has_nothing_to_send() {
            self.waiting_bytes = 0;
        }
        let bytes = batch.wire().len() as u64;
        if q.on_the_way.is_empty() {
            self.moved = now;
        }
        q.on_the_way.push_back((batch.end(), bytes));
        self.on_the_way_bytes += bytes;
        Some(batch)
    }

    /// Everybody who is waited for holds everything below `paced`; whether there is room again where
    /// there was none.
    pub(crate) fn acknowledged(&mut self, paced: u64, now: Time, congested: bool) -> bool {
        let had_room = self.room() > 0;
        let mut bytes = 0;
        if let Some(q) = &mut self.queues {
            while let Some(&(end, size)) = q.on_the_way.front()
                && end <= paced
            {
                bytes += size;
                q.on_the_way.pop_front();
            }
        }
        self.queues.take_if(|q| q.is_empty());
        self.on_the_way_bytes -= bytes;
        if bytes > 0 {
            self.moved = now;
        }
        if congested {
            self.window.congested(now);
        } else {
            self.window.acknowledged(bytes);
        }
        !had_room && self.room() > 0
    }

    /// Whether nothing was acknowledged for so long though something is on its way. Tells it once in
    /// that time.
    pub(crate) fn is_stalled(&mut self, patience: Duration, now: Time) -> bool {
        let waits = self.queues.as_ref().is_some_and(|q| !q.on_the_way.is_empty());
        let stalled = waits && now.since(self.moved) >= patience;
        if stalled {
            self.moved = now;
        }
        stalled
    }

    /// One of this peer's own queues fills.
    pub(crate) fn congested(&mut self, now: Time) {
        self.window.congested(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_is_packed_and_the_window_holds() {
        let me = Identity::from_secret(&[1; 32]);
        let mut o = Outbox::new(&me, 1);
        let mut added = 0;
        while o.room() > 0 {
            o.add(Time::ZERO, WallTime(0), "t", &[0; 1000]);
            added += 1;
        }
        let mut batches = Vec::new();
        while let Some(b) = o.seal(&me, Time::ZERO) {
            batches.push(b);
        }
        assert_eq!(batches.iter().map(Batch::len).sum::<usize>(), added);
        assert!(batches.windows(2).all(|w| w[0].end() == w[1].first()));
        assert!(batches.len() < added / 50, "{} batches of {added}", batches.len());
        assert_eq!(o.room(), 0);
        let half = batches[batches.len() / 2].end();
        assert!(o.acknowledged(half, Time::ZERO, false), "there is room again");
        assert!(o.room() > 0);
    }

    #[test]
    fn what_is_held_back_goes_out_together_and_not_too_late() {
        let me = Identity::from_secret(&[1; 32]);
        let at = |ms: u64| Time::from_micros(ms * 1000);
        let mut o = Outbox::new(&me, 1);
        o.add(at(0), WallTime(0), "", b"a");
        assert!(!o.is_held_back(at(0)) && o.deadline().is_none(), "nothing is to be written first");
        o.seal(&me, at(0)).unwrap();
        o.hold_back(true);
        for ms in 1..=3 {
            for _ in 0..2 {
                o.add(at(ms), WallTime(0), "", &[0; 40_000]);
            }
        }
        assert!(o.is_held_back(at(20)));
        assert_eq!(o.deadline(), Some(at(21)), "20 ms after the first");
        assert!(!o.is_held_back(at(21)));
        o.hold_back(false);
        assert!(!o.is_held_back(at(4)));
        let group: Vec<Batch> = core::iter::from_fn(|| o.seal(&me, at(4))).collect();
        assert_eq!(group.len(), 6);
        assert!(group.iter().all(|b| b.signature() == group[0].signature()));
        assert!(o.deadline().is_none() && !o.is_empty());
    }

    #[test]
    fn a_stall_is_told_once_in_a_while() {
        let me = Identity::from_secret(&[1; 32]);
        let at = |ms: u64| Time::from_micros(ms * 1000);
        let second = Duration::from_secs(1);
        let mut o = Outbox::new(&me, 1);
        o.add(at(0), WallTime(0), "t", b"a");
        assert!(!o.is_stalled(second, at(5000)), "nothing is on its way");
        let end = o.seal(&me, at(5000)).unwrap().end();
        assert!(!o.is_stalled(second, at(5999)));
        assert!(o.is_stalled(second, at(6000)) && !o.is_stalled(second, at(6999)));
        assert!(o.is_stalled(second, at(7000)));
        o.acknowledged(end, at(7001), false);
        assert!(!o.is_stalled(second, at(20_000)));
    }

    #[test]
    fn another_epoch_keeps_the_numbers_and_the_previous_stream() {
        let me = Identity::from_secret(&[1; 32]);
        let mut o = Outbox::new(&me, 1);
        o.follow(Some(PreviousStream { epoch: 0, next: 9 }));
        let ids = [0, 1].map(|_| o.add(Time::ZERO, WallTime(0), "", b"x").sequence);
        o.set_epoch(7);
        let id = o.add(Time::ZERO, WallTime(0), "", b"x");
        assert_eq!((ids, id.epoch, id.sequence), ([0, 1], 7, 2));
        let batch = o.seal(&me, Time::ZERO).unwrap();
        assert_eq!((batch.epoch(), batch.first(), batch.len()), (7, 0, 3));
        assert_eq!(batch.previous(), Some(PreviousStream { epoch: 0, next: 9 }));
        assert!(batch.signature_is_valid());
        let next = BatchBuilder::with_epoch(&batch, 8).seal(&me);
        assert!(
            next.epoch() == 8 && next.signature_is_valid() && next.content() == batch.content()
        );
    }
}
