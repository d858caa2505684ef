//! Which messages another node is known to hold, and which streams others rely on this peer for.
//!
//! A neighbour that is asked whether it holds a stream up to a sequence number *confirms* how far
//! it does. A peer asks before it leaves, and when its application calls
//! [`Peer::flush`](crate::Peer::flush). A peer that confirms a stream *vouches* for it: the
//! publisher may be gone a moment later, so for a while this peer does not leave before another
//! neighbour has confirmed the same.

use core::time::Duration;

use crate::identity::PeerId;
use crate::limits::MAX_CONFIRM_STREAMS;
use crate::message::StreamId;
use crate::small::VecMap;
use crate::time::Time;
use crate::wire::{Range, StreamMark};

/// How long an answer may take before the query is repeated.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause between an insufficient answer and the next query.
const QUERY_PAUSE: Duration = Duration::from_millis(100);
/// How long it takes at most until messages that one neighbour holds have spread from there. For
/// this time a peer vouches for what it has confirmed, and asks for a confirmation of what was
/// acknowledged.
const SPREAD_TIME: Duration = Duration::from_secs(10);

/// The queries to one neighbour and its answers.
#[derive(Debug)]
struct ConfirmQuery {
    /// The earliest time of the next query.
    next: Time,
    /// The ranges of the last query, ascending, one of each stream. While an answer is pending,
    /// only the part that all pending queries have in common: the answer may be to any of them.
    asked: Vec<Range>,
    /// Queries without an answer yet.
    pending: u32,
    /// The part of these ranges that the neighbour holds.
    held: Vec<Range>,
    /// The neighbour is about to leave the network, and does not hold anything for long.
    leaving: bool,
}

impl ConfirmQuery {
    fn covers(&self, range: &Range) -> bool {
        let covers = |h: &Range| h.from <= range.from && h.to >= range.to;
        self.held.iter().any(|h| h.stream() == range.stream() && covers(h))
    }

    /// The part of the queried range that an answer confirms.
    fn held_of(&self, mark: &StreamMark) -> Option<Range> {
        let asked = self.asked.iter().find(|r| r.stream() == stream_of_mark(mark))?;
        (mark.next > asked.from).then_some(Range { to: mark.next.min(asked.to), ..*asked })
    }
}

/// Number of nodes whose acknowledgements of this peer's stream are remembered.
const MAX_ACKED_PEERS: usize = 256;

/// How far one node has acknowledged this peer's stream.
#[derive(Debug, Default)]
struct AckedMarks {
    /// The highest mark, and the time at which it was reached.
    mark: u64,
    at: Time,
    /// The highest marks at the begin of the last period and of this one.
    before: u64,
    at_begin: u64,
    since: Time,
}

impl AckedMarks {
    fn record_mark(&mut self, mark: u64, now: Time) {
        if mark <= self.mark {
            return;
        }
        if now.since(self.since) >= SPREAD_TIME {
            (self.before, self.at_begin, self.since) = (self.at_begin, self.mark, now);
        }
        (self.mark, self.at) = (mark, now);
    }

    /// The mark that was reached long enough ago that its messages have spread.
    fn settled_mark(&self, now: Time) -> u64 {
        if now.since(self.at) >= SPREAD_TIME { self.mark } else { self.before }
    }
}

/// A stream that this peer vouches for: its end, and the time of the confirmation.
#[derive(Debug)]
struct VouchedStream {
    end: u64,
    at: Time,
    /// It was confirmed while this peer itself was leaving: a neighbour that leaves as well may
    /// rely on this peer.
    while_leaving: bool,
    /// An earlier process of this peer published it, and no other node is known to hold it.
    is_own: bool,
}

impl VouchedStream {
    fn counts(&self, now: Time) -> bool {
        self.is_own || now.since(self.at) < SPREAD_TIME
    }
}

/// The confirmations of other nodes, and the streams that this peer has confirmed to others.
#[derive(Debug, Default)]
pub(crate) struct Confirmations {
    queries: VecMap<PeerId, ConfirmQuery>,
    /// By node, including former neighbours: they still hold what they have acknowledged. At most
    /// [`MAX_ACKED_PEERS`].
    acked: VecMap<PeerId, AckedMarks>,
    /// The neighbour that confirmed most of this peer's stream, and the end of that.
    best: Option<(PeerId, u64)>,
    /// The end of the part of this peer's stream that another node has held at some time. It has
    /// spread from there.
    ever_confirmed: u64,
    vouched: VecMap<StreamId, VouchedStream>,
    /// The application waits until this peer's stream is confirmed up to here.
    pub(crate) flush_until: u64,
    /// When the next query is due.
    pub(crate) due: Option<Time>,
}

/// The stream of a mark.
pub(crate) const fn stream_of_mark(mark: &StreamMark) -> StreamId {
    StreamId { publisher: mark.publisher, epoch: mark.epoch }
}

const fn range(stream: StreamId, from: u64, to: u64) -> Range {
    Range { publisher: stream.publisher, epoch: stream.epoch, from, to }
}

impl Confirmations {
    /// Records that a neighbour has acknowledged this peer's stream up to `mark`.
    pub(crate) fn on_acknowledged(&mut self, neighbour: PeerId, mark: u64, now: Time) {
        let full = self.acked.len() >= MAX_ACKED_PEERS;
        if full && !self.acked.contains_key(&neighbour) {
            let lowest = self.acked.iter().min_by_key(|(_, a)| a.mark).map(|(id, _)| *id);
            lowest.map(|id| self.acked.remove(&id));
        }
        self.ever_confirmed = self.ever_confirmed.max(mark);
        self.acked.get_or_insert(neighbour, AckedMarks::default).record_mark(mark, now);
    }

    /// The highest mark that was acknowledged long enough ago that its messages have spread.
    fn settled_mark(&self, now: Time) -> u64 {
        self.acked.values().map(|a| a.settled_mark(now)).max().unwrap_or(0)
    }

    /// The end of the part of this peer's stream that another node is known to hold.
    pub(crate) fn confirmed_end(&self) -> u64 {
        let acked = self.acked.values().map(|a| a.mark).max().unwrap_or(0);
        acked.max(self.best.map_or(0, |(_, end)| end))
    }

    /// The end of the part of this peer's stream that another node has held at some time.
    pub(crate) const fn ever_confirmed(&self) -> u64 {
        self.ever_confirmed
    }

    /// Records that this peer has confirmed a stream to a neighbour, `while_leaving` itself or not,
    /// or holds it for a neighbour that has left. If there are too many, the oldest is forgotten.
    pub(crate) fn vouch(&mut self, stream: StreamId, end: u64, while_leaving: bool, now: Time) {
        self.vouched.retain(|_, v| v.counts(now));
        if self.vouched.len() >= MAX_CONFIRM_STREAMS && !self.vouched.contains_key(&stream) {
            let others = self.vouched.iter().filter(|(_, v)| !v.is_own);
            let oldest = others.min_by_key(|(_, v)| v.at).map(|(s, _)| *s);
            oldest.map(|s| self.vouched.remove(&s));
        }
        let before = self.vouched.get(&stream);
        let end = end.max(before.map_or(0, |v| v.end));
        let while_leaving = while_leaving || before.is_some_and(|v| v.while_leaving);
        let is_own = before.is_some_and(|v| v.is_own);
        self.vouched.insert(stream, VouchedStream { end, at: now, while_leaving, is_own });
    }

    /// Records a stream of an earlier process of this peer that no other node is known to hold.
    pub(crate) fn add_earlier_stream(&mut self, stream: StreamId, end: u64, now: Time) {
        if self.vouched.len() < MAX_CONFIRM_STREAMS {
            self.vouched
                .insert(stream, VouchedStream { end, at: now, while_leaving: false, is_own: true });
        }
    }

    /// The ranges that a neighbour has to confirm: of this peer's stream, which has `published`
    /// messages, and, when this peer leaves, of the streams that it vouches for. `held_since`
    /// returns the number from which this peer itself still retains a stream up to an end: no
    /// neighbour can get more of it. Ascending, at most [`MAX_CONFIRM_STREAMS`].
    pub(crate) fn ranges_to_confirm(
        &self,
        own_stream: StreamId,
        published: u64,
        leaves: bool,
        held_since: impl Fn(StreamId, u64) -> u64,
        now: Time,
    ) -> Vec<Range> {
        let (end, known, from) = if leaves {
            let settled_mark = self.settled_mark(now);
            (published, settled_mark, settled_mark)
        } else {
            (self.flush_until, self.confirmed_end(), 0)
        };
        // The last number is part of the query also if it is no longer retained: that hands nothing
        // over.
        let owed_from = |stream, from: u64, end: u64| {
            range(stream, from.max(held_since(stream, end)).min(end.saturating_sub(1)), end)
        };
        let mut ranges_to_confirm = Vec::new();
        if end > known {
            ranges_to_confirm.push(owed_from(own_stream, from, end));
        }
        if leaves {
            let others = self.vouched.iter().filter(|(s, _)| **s != own_stream);
            // Messages of an earlier process that are no longer retained are left out.
            let is_kept = |s: &StreamId, v: &VouchedStream| held_since(*s, v.end) < v.end;
            let recent = others.filter(|(s, v)| v.counts(now) && (!v.is_own || is_kept(s, v)));
            let recent = recent.map(|(s, v)| owed_from(*s, 0, v.end));
            ranges_to_confirm
                .extend(recent.filter(|r| r.from < r.to).take(MAX_CONFIRM_STREAMS - 1));
        }
        ranges_to_confirm.sort_unstable_by_key(Range::stream);
        ranges_to_confirm
    }

    /// Whether to ask a neighbour now; if so, the query is recorded.
    pub(crate) fn try_query(
        &mut self,
        neighbour: PeerId,
        ranges_to_confirm: &[Range],
        now: Time,
    ) -> bool {
        let q = self.queries.get_or_insert(neighbour, || ConfirmQuery {
            next: now,
            asked: Vec::new(),
            pending: 0,
            held: Vec::new(),
            leaving: false,
        });
        let lacks_confirmation = ranges_to_confirm.iter().any(|r| !q.covers(r));
        let queries_now = lacks_confirmation && q.next <= now;
        if queries_now {
            q.next = now + ANSWER_TIMEOUT;
            let before = core::mem::replace(&mut q.asked, ranges_to_confirm.to_vec());
            for r in before.iter().filter(|_| q.pending > 0) {
                let same = q.asked.iter_mut().find(|a| a.stream() == r.stream());
                same.into_iter().for_each(|a| a.from = a.from.max(r.from));
            }
            q.pending += 1;
        }
        if lacks_confirmation {
            self.query_by(self.queries.get(&neighbour).map_or(now, |q| q.next));
        }
        queries_now
    }

    /// Schedules a query at this time or earlier.
    pub(crate) fn query_by(&mut self, at: Time) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Handles an answer. `own_end` is the mark of this peer's stream in it. Returns `false` if the
    /// neighbour was not asked.
    pub(crate) fn on_confirmed(
        &mut self,
        neighbour: PeerId,
        held: &[StreamMark],
        leaving: bool,
        own_end: Option<u64>,
        now: Time,
    ) -> bool {
        let Some(q) = self.queries.get_mut(&neighbour) else { return false };
        q.held = held.iter().filter_map(|m| q.held_of(m)).collect();
        (q.leaving, q.next) = (leaving, now + QUERY_PAUSE);
        q.pending = q.pending.saturating_sub(1);
        self.query_by(now + QUERY_PAUSE);
        self.ever_confirmed = self.ever_confirmed.max(own_end.unwrap_or(0));
        if let Some(end) = own_end
            && self.best.is_none_or(|(_, best)| end > best)
        {
            self.best = Some((neighbour, end));
        }
        true
    }

    /// Whether a neighbour has confirmed a range: one that stays, or one that leaves as well and
    /// may be relied on.
    fn covers(&self, range: &Range, may_rely_on: impl Fn(&PeerId) -> bool) -> bool {
        self.queries.iter().any(|(id, q)| (!q.leaving || may_rely_on(id)) && q.covers(range))
    }

    /// Whether each of these ranges is confirmed by a neighbour.
    pub(crate) fn is_covered(
        &self,
        ranges_to_confirm: &[Range],
        may_rely_on: impl Fn(&PeerId) -> bool,
    ) -> bool {
        ranges_to_confirm.iter().all(|r| self.covers(r, &may_rely_on))
    }

    /// The streams among these ranges that no staying neighbour has confirmed, and that others may
    /// have handed over to this peer while it was leaving, or that an earlier process of it
    /// published.
    pub(crate) fn lost_if_leaving<'a>(
        &'a self,
        ranges_to_confirm: &'a [Range],
    ) -> impl Iterator<Item = StreamId> + 'a {
        let is_relied_on =
            |r: &&Range| self.vouched.get(&r.stream()).is_some_and(|v| v.while_leaving || v.is_own);
        ranges_to_confirm
            .iter()
            .filter(is_relied_on)
            .filter(|r| !self.covers(r, |_| false))
            .map(Range::stream)
    }

    /// Whether a neighbour has said that it leaves.
    pub(crate) fn is_leaving(&self, neighbour: &PeerId) -> bool {
        self.queries.get(neighbour).is_some_and(|q| q.leaving)
    }

    /// Forgets the queries to a former neighbour.
    pub(crate) fn forget_neighbour(&mut self, neighbour: &PeerId) {
        self.queries.remove(neighbour);
    }

    /// This peer's stream continues under another epoch: confirmations of the old one do not count.
    pub(crate) fn stream_moved(&mut self, now: Time) {
        let vouched = core::mem::take(&mut self.vouched);
        *self = Confirmations {
            vouched,
            flush_until: self.flush_until,
            due: Some(now),
            ..Confirmations::default()
        };
    }

    /// Forgets a peer that has left the network or is dead: it does not hold anything.
    pub(crate) fn forget_peer(&mut self, peer: &PeerId) {
        self.queries.remove(peer);
        self.acked.remove(peer);
        self.best.take_if(|(id, _)| id == peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    const OWN: u8 = 1;

    fn id(n: u8) -> PeerId {
        Identity::from_secret(&[n; 32]).id()
    }

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    fn stream(publisher: u8, epoch: u64) -> StreamId {
        StreamId { publisher: id(publisher), epoch }
    }

    fn own_stream() -> StreamId {
        stream(OWN, 1)
    }

    const fn mark(stream: StreamId, next: u64) -> StreamMark {
        StreamMark { publisher: stream.publisher, epoch: stream.epoch, next }
    }

    fn ranges_to_confirm(
        h: &Confirmations,
        own_stream: StreamId,
        published: u64,
        leaves: bool,
        now: Time,
    ) -> Vec<Range> {
        h.ranges_to_confirm(own_stream, published, leaves, |_, _| 0, now)
    }

    fn answer(h: &mut Confirmations, from: u8, end: u64, leaving: bool, now: Time) {
        assert!(h.on_confirmed(id(from), &[mark(own_stream(), end)], leaving, Some(end), now));
    }

    #[test]
    fn own_stream_needs_confirmation_until_a_staying_neighbour_confirms_its_end() {
        let mut h = Confirmations::default();
        let query = ranges_to_confirm(&h, own_stream(), 5, true, at(0));
        assert_eq!(query, [range(own_stream(), 0, 5)]);
        assert!(h.try_query(id(2), &query, at(0)) && h.try_query(id(3), &query, at(0)));
        assert!(!h.try_query(id(2), &query, at(999)), "its answer is pending");
        answer(&mut h, 2, 4, false, at(10));
        assert!(!h.is_covered(&query, |_| false));
        assert_eq!(h.confirmed_end(), 4);
        answer(&mut h, 3, 5, true, at(10));
        assert!(
            !h.is_covered(&query, |neighbour| *neighbour != id(3))
                && h.is_covered(&query, |_| true)
        );
        assert!(!h.try_query(id(2), &query, at(109)) && h.try_query(id(2), &query, at(110)));
        answer(&mut h, 2, 5, false, at(120));
        assert!(h.is_covered(&query, |_| false));
        assert!(!h.try_query(id(2), &query, at(9000)), "it has confirmed everything");
    }

    #[test]
    fn old_acknowledgement_counts_as_confirmation() {
        let mut h = Confirmations::default();
        h.on_acknowledged(id(2), 5, at(0));
        assert_eq!(ranges_to_confirm(&h, own_stream(), 5, true, at(9_999)).len(), 1);
        assert_eq!(ranges_to_confirm(&h, own_stream(), 5, true, at(10_000)), []);
        assert_eq!(h.confirmed_end(), 5);
        // A publisher that never pauses.
        for s in 1..60 {
            h.on_acknowledged(id(2), 5 + s, at(10_000 + s * 1000));
        }
        let settled_mark = h.settled_mark(at(69_000));
        assert!((34..=54).contains(&settled_mark), "{settled_mark}");
    }

    #[test]
    fn stream_confirmed_only_by_a_leaving_peer_is_lost_unless_a_staying_neighbour_has_it() {
        let mut h = Confirmations::default();
        let other = stream(2, 1);
        h.vouch(other, 7, false, at(0));
        let query = ranges_to_confirm(&h, own_stream(), 0, true, at(1));
        assert_eq!(h.lost_if_leaving(&query).count(), 0, "no leaving peer relied on this one");
        h.vouch(other, 7, true, at(2));
        assert_eq!(h.lost_if_leaving(&query).collect::<Vec<_>>(), [other]);
        assert!(h.try_query(id(3), &query, at(3)));
        h.on_confirmed(id(3), &[mark(other, 7)], true, None, at(4));
        assert_eq!(h.lost_if_leaving(&query).count(), 1, "the neighbour leaves as well");
        h.on_confirmed(id(3), &[mark(other, 7)], false, None, at(5));
        assert_eq!(h.lost_if_leaving(&query).count(), 0);
    }

    #[test]
    fn vouched_streams_need_confirmation_for_a_while_and_are_bounded() {
        let mut h = Confirmations::default();
        h.vouch(stream(2, 1), 7, true, at(0));
        h.vouch(stream(2, 1), 6, true, at(1));
        assert_eq!(
            ranges_to_confirm(&h, own_stream(), 0, true, at(9_999)),
            [range(stream(2, 1), 0, 7)]
        );
        assert_eq!(
            ranges_to_confirm(&h, own_stream(), 0, false, at(5)),
            [],
            "a flush is about the own stream"
        );
        assert_eq!(ranges_to_confirm(&h, own_stream(), 0, true, at(10_001)), []);
        for n in 0..2 * MAX_CONFIRM_STREAMS as u64 {
            h.vouch(stream(3, n), 1, true, at(20_000 + n));
        }
        assert_eq!(h.vouched.len(), MAX_CONFIRM_STREAMS);
        let query = ranges_to_confirm(&h, own_stream(), 1, true, at(21_000));
        assert!(query.len() <= MAX_CONFIRM_STREAMS && query.is_sorted_by_key(Range::stream));
        assert!(query.iter().any(|r| r.stream() == own_stream()));
    }

    #[test]
    fn confirmation_does_not_count_after_the_stream_moved_to_another_epoch() {
        let mut h = Confirmations { flush_until: 5, ..Confirmations::default() };
        let query = ranges_to_confirm(&h, own_stream(), 5, false, at(0));
        h.try_query(id(2), &query, at(0));
        answer(&mut h, 2, 3, false, at(1));
        h.stream_moved(at(2));
        assert_eq!((h.confirmed_end(), h.flush_until, h.due), (0, 5, Some(at(2))));
        assert!(h.try_query(id(2), &ranges_to_confirm(&h, stream(OWN, 2), 5, false, at(2)), at(2)));
    }

    #[test]
    fn confirmation_does_not_count_after_the_peer_is_gone() {
        let mut h = Confirmations::default();
        let query = ranges_to_confirm(&h, own_stream(), 5, true, at(0));
        h.try_query(id(2), &query, at(0));
        answer(&mut h, 2, 5, false, at(1));
        h.forget_neighbour(&id(2));
        assert!(!h.is_covered(&query, |_| true), "another neighbour is asked");
        assert_eq!(h.confirmed_end(), 5, "it still holds them");
        h.forget_peer(&id(2));
        assert_eq!(h.confirmed_end(), 0);
    }

    #[test]
    fn acknowledgement_does_not_count_after_the_peer_is_gone() {
        let mut h = Confirmations::default();
        h.on_acknowledged(id(2), 5, at(0));
        h.on_acknowledged(id(3), 3, at(0));
        h.forget_neighbour(&id(2));
        assert_eq!(h.confirmed_end(), 5, "it still holds them");
        assert_eq!(ranges_to_confirm(&h, own_stream(), 5, true, at(10_000)), []);
        h.forget_peer(&id(2));
        assert_eq!(h.confirmed_end(), 3);
        assert_eq!(
            ranges_to_confirm(&h, own_stream(), 5, true, at(10_000)),
            [range(own_stream(), 3, 5)],
            "from the mark of the other peer on"
        );
        h.flush_until = 5;
        assert_eq!(
            ranges_to_confirm(&h, own_stream(), 5, false, at(10_000)),
            [range(own_stream(), 0, 5)]
        );
    }

    #[test]
    fn neighbour_confirms_no_more_than_it_was_asked_for() {
        let mut h = Confirmations::default();
        let query = h.ranges_to_confirm(own_stream(), 9, true, |_, _| 4, at(0));
        assert_eq!(query, [range(own_stream(), 4, 9)]);
        h.try_query(id(2), &query, at(0));
        answer(&mut h, 2, 9, false, at(1));
        assert!(h.is_covered(&query, |_| false));
        assert!(!h.is_covered(&[range(own_stream(), 3, 9)], |_| false));
        assert_eq!(
            h.ranges_to_confirm(own_stream(), 9, true, |_, _| 9, at(0)),
            [range(own_stream(), 8, 9)]
        );
    }

    /// The answer to the first query says nothing about messages that only the second one asked
    /// for.
    #[test]
    fn late_answer_counts_only_for_the_common_part_of_both_queries() {
        let mut h = Confirmations::default();
        let narrow = [range(own_stream(), 4, 9)];
        let wide = [range(own_stream(), 0, 9)];
        assert!(h.try_query(id(2), &narrow, at(0)));
        assert!(h.try_query(id(2), &wide, at(1_000)), "no answer in time");
        answer(&mut h, 2, 9, false, at(1_001));
        assert!(!h.is_covered(&wide, |_| false) && h.is_covered(&narrow, |_| false));
        assert!(h.try_query(id(2), &wide, at(1_200)), "while the second answer is pending");
        answer(&mut h, 2, 9, false, at(1_201));
        assert!(!h.is_covered(&wide, |_| false), "that may be the answer to the second query");
        answer(&mut h, 2, 9, false, at(1_202));
        assert!(h.try_query(id(2), &wide, at(1_400)));
        answer(&mut h, 2, 9, false, at(1_401));
        assert!(h.is_covered(&wide, |_| false));
    }

    #[test]
    fn stream_was_ever_confirmed_although_the_confirming_node_is_gone() {
        let mut h = Confirmations::default();
        h.on_acknowledged(id(2), 5, at(0));
        h.forget_peer(&id(2));
        assert_eq!((h.confirmed_end(), h.ever_confirmed()), (0, 5));
        h.stream_moved(at(1));
        assert_eq!(h.ever_confirmed(), 0);
    }

    #[test]
    fn acknowledgements_of_former_neighbours_are_bounded() {
        let mut h = Confirmations::default();
        for n in 0..2 * MAX_ACKED_PEERS as u64 {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            h.on_acknowledged(PeerId::from_bytes(bytes), n, at(n));
        }
        assert_eq!(h.acked.len(), MAX_ACKED_PEERS);
        assert_eq!(h.confirmed_end(), 2 * MAX_ACKED_PEERS as u64 - 1);
    }
}
