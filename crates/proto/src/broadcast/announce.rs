//! Announcements for lazy links: which messages were received, as ranges per publisher.
//!
//! Lazy push as in Plumtree (Leitao, Pereira, Rodrigues 2007, section 3.4), gathered for a while,
//! so that its cost does not grow with the number of messages.

use core::time::Duration;

use crate::batch::Batch;
use crate::identity::PeerId;
use crate::limits::MAX_PULL_RANGES;
use crate::message::StreamId;
use crate::random::RngStream;
use crate::small::GrowMap;
use crate::time::Time;
use crate::wire::Range;

/// How long announcements are gathered at most. The delay is drawn anew each time, so that of two
/// neighbours one announces first and the other need not. At 20 messages a second of 1 KiB,
/// announcing every 100 ms took more processor time than forwarding the messages (measured at 64
/// nodes). Announcements repair losses without a failed link, which can wait a little.
const GATHER_TIME: Duration = Duration::from_millis(350);

/// A received range that is not announced yet.
#[derive(Debug, Clone)]
struct PendingRange {
    stream: StreamId,
    from: u64,
    to: u64,
    via: Option<PeerId>,
    /// It arrived along its publisher's tree and was forwarded; otherwise it is announced to all
    /// neighbours.
    pushed: bool,
    /// Neighbours that became children of the tree later: the range was not sent to them.
    grafted_late: Vec<PeerId>,
}

/// The announcements of one peer.
#[derive(Debug)]
pub(crate) struct Announcer {
    pending: Vec<PendingRange>,
    /// Recent announcements of neighbours: the number after the last, by neighbour and stream.
    announced: GrowMap<(PeerId, StreamId), u64>,
    /// The same of the round before.
    announced_before: GrowMap<(PeerId, StreamId), u64>,
    pub(crate) due: Option<Time>,
    rng: RngStream,
}

impl Announcer {
    pub(crate) const fn new(rng: RngStream) -> Self {
        let announced = GrowMap::new();
        let announced_before = GrowMap::new();
        Announcer { pending: Vec::new(), announced, announced_before, due: None, rng }
    }

    /// Records a received batch; `pushed` if it arrived along its publisher's tree.
    pub(crate) fn record_batch(
        &mut self,
        batch: &Batch,
        via: Option<PeerId>,
        pushed: bool,
        now: Time,
    ) {
        if self.pending.is_empty() {
            let due = now + self.rng.scaled(GATHER_TIME, 0.4, 1.0);
            self.due = Some(self.due.map_or(due, |at| at.min(due)));
        }
        let (stream, from, to) = (batch.stream(), batch.first(), batch.end());
        let extends = |n: &&mut PendingRange| {
            let is_same = n.stream == stream && n.via == via && n.pushed == pushed;
            is_same && n.to == from && n.grafted_late.is_empty()
        };
        // With many publishers at once, a range to extend is among the last ones.
        match self.pending.iter_mut().rev().take(64).find(extends) {
            Some(n) => n.to = to,
            None => self.pending.push(PendingRange {
                stream,
                from,
                to,
                via,
                pushed,
                grafted_late: Vec::new(),
            }),
        }
    }

    /// A neighbour becomes a child on the trees of these publishers: earlier batches were not sent
    /// to it.
    pub(crate) fn on_graft(&mut self, neighbour: PeerId, is_publisher: impl Fn(&PeerId) -> bool) {
        let affected =
            self.pending.iter_mut().filter(|n| n.pushed && is_publisher(&n.stream.publisher));
        for n in affected.filter(|n| !n.grafted_late.contains(&neighbour)) {
            n.grafted_late.push(neighbour);
        }
    }

    /// Records a range that a neighbour has announced.
    pub(crate) fn on_announced(&mut self, neighbour: PeerId, range: &Range, now: Time) {
        self.due.get_or_insert(now + GATHER_TIME);
        if self.announced.len() < MAX_PULL_RANGES * 8 {
            let key = (neighbour, range.stream());
            let next = self.announced.get_or_insert(key, || 0);
            *next = (*next).max(range.to);
        }
    }

    fn knows(&self, neighbour: PeerId, n: &PendingRange) -> bool {
        n.via == Some(neighbour) || self.has_announced(neighbour, n.stream, n.to)
    }

    /// Whether a neighbour has lately announced a stream up to `to`.
    pub(crate) fn has_announced(&self, neighbour: PeerId, stream: StreamId, to: u64) -> bool {
        let next = |m: &GrowMap<_, u64>| m.get(&(neighbour, stream)).is_some_and(|n| *n >= to);
        next(&self.announced) || next(&self.announced_before)
    }

    /// Takes the ranges to announce to each neighbour; `is_child` says whether a neighbour gets a
    /// publisher's batches themselves.
    pub(crate) fn take_announcements(
        &mut self,
        neighbours: impl Iterator<Item = PeerId>,
        now: Time,
        is_child: impl Fn(&PeerId, &PeerId) -> bool,
    ) -> Vec<(PeerId, Vec<Range>)> {
        self.due = None;
        let pending = core::mem::take(&mut self.pending);
        let mut announcements = Vec::new();
        for neighbour in neighbours {
            let mut ranges: Vec<Range> = Vec::new();
            for n in &pending {
                let is_sent = n.pushed
                    && is_child(&neighbour, &n.stream.publisher)
                    && !n.grafted_late.contains(&neighbour);
                if is_sent || self.knows(neighbour, n) {
                    continue;
                }
                let full = ranges.len() >= MAX_PULL_RANGES;
                let touches =
                    |r: &&mut Range| r.stream() == n.stream && r.from <= n.to && n.from <= r.to;
                match ranges.iter_mut().rev().take(64).find(touches) {
                    Some(r) => (r.from, r.to) = (r.from.min(n.from), r.to.max(n.to)),
                    // The next comparison of message lists finds the others.
                    None if full => break,
                    None => ranges.push(Range::new(n.stream, n.from, n.to)),
                }
            }
            if !ranges.is_empty() {
                announcements.push((neighbour, ranges));
            }
        }
        self.announced_before = core::mem::take(&mut self.announced);
        if !self.announced_before.is_empty() {
            // Forget the neighbours' announcements after another round, also if nothing more
            // arrives.
            self.due = Some(now + GATHER_TIME);
        }
        announcements
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchBuilder;
    use crate::identity::Identity;
    use crate::message::MessageId;
    use crate::time::WallTime;

    const A: PeerId = PeerId::from_bytes([1; 32]);
    const B: PeerId = PeerId::from_bytes([2; 32]);

    fn batch(first: u64, count: u64) -> Batch {
        let me = Identity::from_secret(&[9; 32]);
        let id = MessageId { publisher: me.id(), epoch: 1, sequence: first };
        let mut b = BatchBuilder::new(id, WallTime(0));
        for _ in 0..count {
            b.push(WallTime(0), "", b"");
        }
        b.seal(&me)
    }

    #[test]
    fn batches_in_order_are_announced_as_one_range_to_neighbours_that_lack_them() {
        let mut announcer = Announcer::new(RngStream::new(&[0; 32], "test"));
        for n in 0..10 {
            announcer.record_batch(&batch(n * 2, 2), Some(A), true, Time::ZERO);
        }
        assert!(announcer.due.is_some_and(|at| at <= Time::ZERO + GATHER_TIME));
        let announced = announcer.take_announcements([A, B].into_iter(), Time::ZERO, |_, _| false);
        assert_eq!(announced.len(), 1, "A sent it");
        assert_eq!((announced[0].0, announced[0].1[0].from, announced[0].1[0].to), (B, 0, 20));
        assert!(
            announcer.take_announcements([A, B].into_iter(), Time::ZERO, |_, _| false).is_empty(),
            "once"
        );
        let b = batch(20, 1);
        announcer.record_batch(&b, None, true, Time::ZERO);
        announcer.on_announced(A, &Range::new(b.stream(), 20, 21), Time::ZERO);
        assert!(
            announcer.take_announcements([A, B].into_iter(), Time::ZERO, |n, _| *n == B).is_empty(),
            "A has it, B gets it"
        );
    }

    #[test]
    fn neighbour_that_grafts_between_a_batch_and_its_announcement_is_told() {
        let mut announcer = Announcer::new(RngStream::new(&[0; 32], "test"));
        let first = batch(0, 1);
        announcer.record_batch(&first, Some(A), true, Time::ZERO);
        announcer.on_graft(B, |p| *p == first.publisher());
        announcer.record_batch(&batch(1, 1), Some(A), true, Time::ZERO);
        let announced =
            announcer.take_announcements([A, B].into_iter(), Time::ZERO, |n, _| *n == B);
        assert_eq!(announced.len(), 1, "A sent both");
        assert_eq!(
            (announced[0].0, announced[0].1[0].from, announced[0].1[0].to),
            (B, 0, 1),
            "the second was sent"
        );
    }
}
