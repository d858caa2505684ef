//! What links that are on no tree are told: which messages came, as ranges per publisher.
//!
//! Lazy push as in Plumtree (Leitao, Pereira, Rodrigues 2007, section 3.4), gathered over a moment,
//! so that its cost does not follow the number of messages.

use core::time::Duration;

use crate::batch::Batch;
use crate::identity::PeerId;
use crate::limits::MAX_PULL_RANGES;
use crate::message::StreamId;
use crate::random::Stream;
use crate::small::GrowMap;
use crate::time::Time;
use crate::wire::Range;

/// How long announcements are gathered, at most; each time another part of it, so that of two
/// neighbours one announces first and the other need not. At 20 messages a second of 1 KiB,
/// announcing every 100 ms took more processor time than bringing the messages (measured at 64
/// nodes); it is for what goes wrong without any link failing, and that can wait a little.
const GATHER: Duration = Duration::from_millis(350);

/// A range that came, and how.
#[derive(Debug, Clone)]
struct News {
    stream: StreamId,
    from: u64,
    to: u64,
    via: Option<PeerId>,
    /// It came along its publisher's tree, and went on; otherwise everybody has to be told.
    pushed: bool,
    /// Neighbours that get the publisher's batches since then only: they were not sent it.
    too_late: Vec<PeerId>,
}

/// What is to be announced.
#[derive(Debug)]
pub(crate) struct Announcer {
    news: Vec<News>,
    /// What neighbours announced lately: the number after the last, by neighbour and stream.
    theirs: GrowMap<(PeerId, StreamId), u64>,
    /// The same of the round before.
    theirs_before: GrowMap<(PeerId, StreamId), u64>,
    pub(crate) due: Option<Time>,
    rng: Stream,
}

impl Announcer {
    pub(crate) const fn new(rng: Stream) -> Self {
        let theirs = GrowMap::new();
        let theirs_before = GrowMap::new();
        Announcer { news: Vec::new(), theirs, theirs_before, due: None, rng }
    }

    /// A batch came in; `pushed` if it came along its publisher's tree.
    pub(crate) fn note(&mut self, batch: &Batch, via: Option<PeerId>, pushed: bool, now: Time) {
        if self.news.is_empty() {
            let due = now + self.rng.scaled(GATHER, 0.4, 1.0);
            self.due = Some(self.due.map_or(due, |at| at.min(due)));
        }
        let (stream, from, to) = (batch.stream(), batch.first(), batch.end());
        let joins = |n: &&mut News| {
            let same = n.stream == stream && n.via == via && n.pushed == pushed;
            same && n.to == from && n.too_late.is_empty()
        };
        // With many publishers at once, the one looked for is among the last.
        match self.news.iter_mut().rev().take(64).find(joins) {
            Some(n) => n.to = to,
            None => self.news.push(News { stream, from, to, via, pushed, too_late: Vec::new() }),
        }
    }

    /// A neighbour gets the batches of these publishers from now on: what came before was not sent to it.
    pub(crate) fn grafted(&mut self, neighbour: PeerId, is_one: impl Fn(&PeerId) -> bool) {
        let of_them = self.news.iter_mut().filter(|n| n.pushed && is_one(&n.stream.publisher));
        for n in of_them.filter(|n| !n.too_late.contains(&neighbour)) {
            n.too_late.push(neighbour);
        }
    }

    /// A neighbour announced a range.
    pub(crate) fn heard(&mut self, neighbour: PeerId, range: &Range, now: Time) {
        self.due.get_or_insert(now + GATHER);
        if self.theirs.len() < MAX_PULL_RANGES * 8 {
            let key = (neighbour, range.stream());
            let next = self.theirs.get_or_insert(key, || 0);
            *next = (*next).max(range.to);
        }
    }

    fn knows(&self, neighbour: PeerId, n: &News) -> bool {
        n.via == Some(neighbour) || self.has_told(neighbour, n.stream, n.to)
    }

    /// Whether a neighbour has announced lately what is below `to` of a stream.
    pub(crate) fn has_told(&self, neighbour: PeerId, stream: StreamId, to: u64) -> bool {
        let next = |m: &GrowMap<_, u64>| m.get(&(neighbour, stream)).is_some_and(|n| *n >= to);
        next(&self.theirs) || next(&self.theirs_before)
    }

    /// What each neighbour is told; `gets` says whether a neighbour gets a publisher's batches
    /// themselves.
    pub(crate) fn round(
        &mut self,
        neighbours: impl Iterator<Item = PeerId>,
        now: Time,
        gets: impl Fn(&PeerId, &PeerId) -> bool,
    ) -> Vec<(PeerId, Vec<Range>)> {
        self.due = None;
        let news = core::mem::take(&mut self.news);
        let mut all = Vec::new();
        for neighbour in neighbours {
            let mut ranges: Vec<Range> = Vec::new();
            for n in &news {
                let got = n.pushed
                    && gets(&neighbour, &n.stream.publisher)
                    && !n.too_late.contains(&neighbour);
                if got || self.knows(neighbour, n) {
                    continue;
                }
                let StreamId { publisher, epoch } = n.stream;
                let full = ranges.len() >= MAX_PULL_RANGES;
                let touches =
                    |r: &&mut Range| r.stream() == n.stream && r.from <= n.to && n.from <= r.to;
                match ranges.iter_mut().rev().take(64).find(touches) {
                    Some(r) => (r.from, r.to) = (r.from.min(n.from), r.to.max(n.to)),
                    // The next comparison of message lists tells the rest.
                    None if full => break,
                    None => ranges.push(Range { publisher, epoch, from: n.from, to: n.to }),
                }
            }
            if !ranges.is_empty() {
                all.push((neighbour, ranges));
            }
        }
        self.theirs_before = core::mem::take(&mut self.theirs);
        if !self.theirs_before.is_empty() {
            // When nothing more comes, it is let go of.
            self.due = Some(now + GATHER);
        }
        all
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
    fn one_range_for_many_batches_and_none_for_who_knows() {
        let mut a = Announcer::new(Stream::new(&[0; 32], "test"));
        for n in 0..10 {
            a.note(&batch(n * 2, 2), Some(A), true, Time::ZERO);
        }
        assert!(a.due.is_some_and(|at| at <= Time::ZERO + GATHER));
        let told = a.round([A, B].into_iter(), Time::ZERO, |_, _| false);
        assert_eq!(told.len(), 1, "it came from A");
        assert_eq!((told[0].0, told[0].1[0].from, told[0].1[0].to), (B, 0, 20));
        assert!(a.round([A, B].into_iter(), Time::ZERO, |_, _| false).is_empty(), "once");
        let b = batch(20, 1);
        a.note(&b, None, true, Time::ZERO);
        let StreamId { publisher, epoch } = b.stream();
        a.heard(A, &Range { publisher, epoch, from: 20, to: 21 }, Time::ZERO);
        assert!(
            a.round([A, B].into_iter(), Time::ZERO, |n, _| *n == B).is_empty(),
            "A has it, B gets it"
        );
    }

    #[test]
    fn who_grafts_between_a_batch_and_its_announcement_is_told() {
        let mut a = Announcer::new(Stream::new(&[0; 32], "test"));
        let first = batch(0, 1);
        a.note(&first, Some(A), true, Time::ZERO);
        a.grafted(B, |p| *p == first.publisher());
        a.note(&batch(1, 1), Some(A), true, Time::ZERO);
        let told = a.round([A, B].into_iter(), Time::ZERO, |n, _| *n == B);
        assert_eq!(told.len(), 1, "A brought both");
        assert_eq!(
            (told[0].0, told[0].1[0].from, told[0].1[0].to),
            (B, 0, 1),
            "the second was sent"
        );
    }
}
