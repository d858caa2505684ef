//! Which messages another node is known to hold, and which messages others rely on this peer for.
//!
//! A neighbour that is asked whether it holds a stream up to a number *confirms* how far it does. A peer
//! asks before it leaves, and when its application wants to know ([`Peer::flush`](crate::Peer::flush)).
//! A peer that confirms a stream *vouches* for it: the publisher may be gone a moment later, so for a
//! while this peer does not leave before another neighbour confirms the same.

use core::time::Duration;

use crate::identity::PeerId;
use crate::limits::MAX_CONFIRM;
use crate::message::StreamId;
use crate::small::VecMap;
use crate::time::Time;
use crate::wire::{Range, StreamMark};

/// How long an answer may take before the question is repeated.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Pause between an answer that is not enough and the next question.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// How long it takes at the most until messages that one neighbour holds have spread from there: for so
/// long a peer vouches for what it has confirmed, and asks for a confirmation of what was acknowledged.
const SPREAD_WITHIN: Duration = Duration::from_secs(10);

/// What one neighbour was asked and has answered.
#[derive(Debug)]
struct Question {
    /// It is not asked again before.
    next: Time,
    /// What it was asked for last, ascending, one range of each stream. While an answer is due, the part that each of
    /// the questions was about: it may be the answer to any of them.
    asked: Vec<Range>,
    /// Questions without an answer yet.
    pending: u32,
    /// What of that it holds.
    held: Vec<Range>,
    /// It is about to leave the network, and holds nothing for long.
    leaving: bool,
}

impl Question {
    fn covers(&self, range: &Range) -> bool {
        let covers = |h: &Range| h.from <= range.from && h.to >= range.to;
        self.held.iter().any(|h| h.stream() == range.stream() && covers(h))
    }

    /// The part of what was asked for that an answer says is held.
    fn held_of(&self, mark: &StreamMark) -> Option<Range> {
        let asked = self.asked.iter().find(|r| r.stream() == key(mark))?;
        (mark.next > asked.from).then_some(Range { to: mark.next.min(asked.to), ..*asked })
    }
}

/// Nodes of which it is known how far they have acknowledged the own stream.
const MAX_ACKNOWLEDGED: usize = 256;

/// How far one neighbour has acknowledged the own stream.
#[derive(Debug, Default)]
struct Acknowledged {
    /// The highest mark, and when it was reached.
    mark: u64,
    at: Time,
    /// The highest mark when the period before the present one began, and when this one began.
    before: u64,
    at_begin: u64,
    since: Time,
}

impl Acknowledged {
    fn note(&mut self, mark: u64, now: Time) {
        if mark <= self.mark {
            return;
        }
        if now.since(self.since) >= SPREAD_WITHIN {
            (self.before, self.at_begin, self.since) = (self.at_begin, self.mark, now);
        }
        (self.mark, self.at) = (mark, now);
    }

    /// The mark that was reached so long ago that its messages have spread.
    fn settled(&self, now: Time) -> u64 {
        if now.since(self.at) >= SPREAD_WITHIN { self.mark } else { self.before }
    }
}

/// Up to where a stream was confirmed to a neighbour, and when.
#[derive(Debug)]
struct Vouched {
    end: u64,
    at: Time,
    /// It was confirmed while this peer was leaving itself: a neighbour that leaves as well may rely on it.
    while_leaving: bool,
    /// An earlier process of this peer published it, and it is not known who else has it.
    is_own: bool,
}

impl Vouched {
    fn counts(&self, now: Time) -> bool {
        self.is_own || now.since(self.at) < SPREAD_WITHIN
    }
}

/// The confirmations of one peer.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    asked: VecMap<PeerId, Question>,
    /// By node, also where it is a neighbour no more: it still holds what it acknowledged. At most
    /// [`MAX_ACKNOWLEDGED`].
    acknowledged: VecMap<PeerId, Acknowledged>,
    /// The neighbour that confirmed most of the own stream, and up to where.
    best: Option<(PeerId, u64)>,
    /// Up to where another node has held the own stream at some time. It has spread from there.
    reached: u64,
    vouched: VecMap<StreamId, Vouched>,
    /// The application waits until the own stream is confirmed up to here.
    pub(crate) wanted: u64,
    /// When the next question is due.
    pub(crate) due: Option<Time>,
}

/// The stream of a mark.
pub(crate) const fn key(mark: &StreamMark) -> StreamId {
    StreamId { publisher: mark.publisher, epoch: mark.epoch }
}

const fn range(stream: StreamId, from: u64, to: u64) -> Range {
    Range { publisher: stream.publisher, epoch: stream.epoch, from, to }
}

impl Handover {
    /// A neighbour has acknowledged the own stream up to here.
    pub(crate) fn acknowledged(&mut self, neighbour: PeerId, mark: u64, now: Time) {
        let full = self.acknowledged.len() >= MAX_ACKNOWLEDGED;
        if full && !self.acknowledged.contains_key(&neighbour) {
            let lowest = self.acknowledged.iter().min_by_key(|(_, a)| a.mark).map(|(id, _)| *id);
            lowest.map(|id| self.acknowledged.remove(&id));
        }
        self.reached = self.reached.max(mark);
        self.acknowledged.get_or_insert(neighbour, Acknowledged::default).note(mark, now);
    }

    /// The highest mark that was acknowledged so long ago that its messages have spread.
    fn settled(&self, now: Time) -> u64 {
        self.acknowledged.values().map(|a| a.settled(now)).max().unwrap_or(0)
    }

    /// Up to where another node is known to hold the own stream.
    pub(crate) fn confirmed(&self) -> u64 {
        let acknowledged = self.acknowledged.values().map(|a| a.mark).max().unwrap_or(0);
        acknowledged.max(self.best.map_or(0, |(_, end)| end))
    }

    /// Up to where another node has held the own stream at some time.
    pub(crate) const fn reached(&self) -> u64 {
        self.reached
    }

    /// This peer confirmed a stream to a neighbour, `while_leaving` itself or not, or holds it for a neighbour that has
    /// left. Of too many the oldest is forgotten.
    pub(crate) fn vouch(&mut self, stream: StreamId, end: u64, while_leaving: bool, now: Time) {
        self.vouched.retain(|_, v| v.counts(now));
        if self.vouched.len() >= MAX_CONFIRM && !self.vouched.contains_key(&stream) {
            let others = self.vouched.iter().filter(|(_, v)| !v.is_own);
            let oldest = others.min_by_key(|(_, v)| v.at).map(|(s, _)| *s);
            oldest.map(|s| self.vouched.remove(&s));
        }
        let before = self.vouched.get(&stream);
        let end = end.max(before.map_or(0, |v| v.end));
        let while_leaving = while_leaving || before.is_some_and(|v| v.while_leaving);
        let is_own = before.is_some_and(|v| v.is_own);
        self.vouched.insert(stream, Vouched { end, at: now, while_leaving, is_own });
    }

    /// An earlier process of this peer published a stream up to here, and it is not known who else has it.
    pub(crate) fn owes_earlier(&mut self, stream: StreamId, end: u64, now: Time) {
        if self.vouched.len() < MAX_CONFIRM {
            self.vouched
                .insert(stream, Vouched { end, at: now, while_leaving: false, is_own: true });
        }
    }

    /// What a neighbour has to confirm: of the own stream, of which `published` messages exist, and, when this
    /// peer leaves, of the streams that it vouches for. `held_since` says since which number this peer itself
    /// keeps a stream up to an end: no neighbour can get more of it. Ascending, at most [`MAX_CONFIRM`].
    pub(crate) fn owed(
        &self,
        own: StreamId,
        published: u64,
        leaves: bool,
        held_since: impl Fn(StreamId, u64) -> u64,
        now: Time,
    ) -> Vec<Range> {
        let (end, known, from) = if leaves {
            let settled = self.settled(now);
            (published, settled, settled)
        } else {
            (self.wanted, self.confirmed(), 0)
        };
        // The last number is asked for also where it is kept no more: it is not handed over by that.
        let owed_from = |stream, from: u64, end: u64| {
            range(stream, from.max(held_since(stream, end)).min(end.saturating_sub(1)), end)
        };
        let mut owed = Vec::new();
        if end > known {
            owed.push(owed_from(own, from, end));
        }
        if leaves {
            let others = self.vouched.iter().filter(|(s, _)| **s != own);
            // Of what an earlier process published, what is kept no more is not asked for.
            let is_kept = |s: &StreamId, v: &Vouched| held_since(*s, v.end) < v.end;
            let recent = others.filter(|(s, v)| v.counts(now) && (!v.is_own || is_kept(s, v)));
            let recent = recent.map(|(s, v)| owed_from(*s, 0, v.end));
            owed.extend(recent.filter(|r| r.from < r.to).take(MAX_CONFIRM - 1));
        }
        owed.sort_unstable_by_key(Range::stream);
        owed
    }

    /// Whether a neighbour is to be asked now; the question is noted.
    pub(crate) fn ask(&mut self, neighbour: PeerId, owed: &[Range], now: Time) -> bool {
        let q = self.asked.get_or_insert(neighbour, || Question {
            next: now,
            asked: Vec::new(),
            pending: 0,
            held: Vec::new(),
            leaving: false,
        });
        let lacks = owed.iter().any(|r| !q.covers(r));
        let asks = lacks && q.next <= now;
        if asks {
            q.next = now + ANSWER_WITHIN;
            let before = core::mem::replace(&mut q.asked, owed.to_vec());
            for r in before.iter().filter(|_| q.pending > 0) {
                let same = q.asked.iter_mut().find(|a| a.stream() == r.stream());
                same.into_iter().for_each(|a| a.from = a.from.max(r.from));
            }
            q.pending += 1;
        }
        if lacks {
            self.ask_by(self.asked.get(&neighbour).map_or(now, |q| q.next));
        }
        asks
    }

    /// A question is due by then.
    pub(crate) fn ask_by(&mut self, at: Time) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// A neighbour has answered. `own` is the mark of the own stream in the answer. `false` if it was not asked.
    pub(crate) fn answered(
        &mut self,
        neighbour: PeerId,
        held: &[StreamMark],
        leaving: bool,
        own: Option<u64>,
        now: Time,
    ) -> bool {
        let Some(q) = self.asked.get_mut(&neighbour) else { return false };
        q.held = held.iter().filter_map(|m| q.held_of(m)).collect();
        (q.leaving, q.next) = (leaving, now + ASK_AGAIN);
        q.pending = q.pending.saturating_sub(1);
        self.ask_by(now + ASK_AGAIN);
        self.reached = self.reached.max(own.unwrap_or(0));
        if let Some(end) = own
            && self.best.is_none_or(|(_, best)| end > best)
        {
            self.best = Some((neighbour, end));
        }
        true
    }

    /// Whether a neighbour has confirmed a range: one that stays, or one that leaves as well and may be relied on.
    fn covers(&self, range: &Range, relies_on: impl Fn(&PeerId) -> bool) -> bool {
        self.asked.iter().any(|(id, q)| (!q.leaving || relies_on(id)) && q.covers(range))
    }

    /// Whether for each of these ranges a neighbour has confirmed it.
    pub(crate) fn is_covered(&self, owed: &[Range], relies_on: impl Fn(&PeerId) -> bool) -> bool {
        owed.iter().all(|r| self.covers(r, &relies_on))
    }

    /// The streams among these ranges that others may have handed over to this peer while it was leaving, or that an
    /// earlier process of it published, and that no neighbour that stays has confirmed.
    pub(crate) fn lost_with_this_peer<'a>(
        &'a self,
        owed: &'a [Range],
    ) -> impl Iterator<Item = StreamId> + 'a {
        let relied_on =
            |r: &&Range| self.vouched.get(&r.stream()).is_some_and(|v| v.while_leaving || v.is_own);
        owed.iter().filter(relied_on).filter(|r| !self.covers(r, |_| false)).map(Range::stream)
    }

    /// Whether a neighbour has said that it leaves.
    pub(crate) fn is_leaving(&self, neighbour: &PeerId) -> bool {
        self.asked.get(neighbour).is_some_and(|q| q.leaving)
    }

    /// A peer is no neighbour any more.
    pub(crate) fn forget_neighbour(&mut self, neighbour: &PeerId) {
        self.asked.remove(neighbour);
    }

    /// The own stream goes on under another epoch: what was confirmed of it before counts no more.
    pub(crate) fn stream_moved(&mut self, now: Time) {
        let vouched = core::mem::take(&mut self.vouched);
        *self = Handover { vouched, wanted: self.wanted, due: Some(now), ..Handover::default() };
    }

    /// A peer has left the network or is dead: it holds nothing.
    pub(crate) fn forget_peer(&mut self, peer: &PeerId) {
        self.asked.remove(peer);
        self.acknowledged.remove(peer);
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

    fn own() -> StreamId {
        stream(OWN, 1)
    }

    const fn mark(stream: StreamId, next: u64) -> StreamMark {
        StreamMark { publisher: stream.publisher, epoch: stream.epoch, next }
    }

    fn owed(h: &Handover, own: StreamId, published: u64, leaves: bool, now: Time) -> Vec<Range> {
        h.owed(own, published, leaves, |_, _| 0, now)
    }

    fn answer(h: &mut Handover, from: u8, end: u64, leaving: bool, now: Time) {
        assert!(h.answered(id(from), &[mark(own(), end)], leaving, Some(end), now));
    }

    #[test]
    fn own_stream_is_owed_until_a_staying_neighbour_confirms_its_end() {
        let mut h = Handover::default();
        let question = owed(&h, own(), 5, true, at(0));
        assert_eq!(question, [range(own(), 0, 5)]);
        assert!(h.ask(id(2), &question, at(0)) && h.ask(id(3), &question, at(0)));
        assert!(!h.ask(id(2), &question, at(999)), "its answer is awaited");
        answer(&mut h, 2, 4, false, at(10));
        assert!(!h.is_covered(&question, |_| false));
        assert_eq!(h.confirmed(), 4);
        answer(&mut h, 3, 5, true, at(10));
        assert!(!h.is_covered(&question, |who| *who != id(3)) && h.is_covered(&question, |_| true));
        assert!(!h.ask(id(2), &question, at(109)) && h.ask(id(2), &question, at(110)));
        answer(&mut h, 2, 5, false, at(120));
        assert!(h.is_covered(&question, |_| false));
        assert!(!h.ask(id(2), &question, at(9000)), "it has confirmed everything");
    }

    #[test]
    fn acknowledgement_counts_as_handed_over_when_it_is_old() {
        let mut h = Handover::default();
        h.acknowledged(id(2), 5, at(0));
        assert_eq!(owed(&h, own(), 5, true, at(9_999)).len(), 1);
        assert_eq!(owed(&h, own(), 5, true, at(10_000)), []);
        assert_eq!(h.confirmed(), 5);
        // A publisher that never pauses.
        for s in 1..60 {
            h.acknowledged(id(2), 5 + s, at(10_000 + s * 1000));
        }
        let settled = h.settled(at(69_000));
        assert!((34..=54).contains(&settled), "{settled}");
    }

    #[test]
    fn stream_is_lost_with_a_peer_that_confirmed_it_while_leaving_unless_a_staying_neighbour_has_it()
     {
        let mut h = Handover::default();
        let other = stream(2, 1);
        h.vouch(other, 7, false, at(0));
        let question = owed(&h, own(), 0, true, at(1));
        assert_eq!(h.lost_with_this_peer(&question).count(), 0, "nobody relied on it for that");
        h.vouch(other, 7, true, at(2));
        assert_eq!(h.lost_with_this_peer(&question).collect::<Vec<_>>(), [other]);
        assert!(h.ask(id(3), &question, at(3)));
        h.answered(id(3), &[mark(other, 7)], true, None, at(4));
        assert_eq!(h.lost_with_this_peer(&question).count(), 1, "the neighbour leaves as well");
        h.answered(id(3), &[mark(other, 7)], false, None, at(5));
        assert_eq!(h.lost_with_this_peer(&question).count(), 0);
    }

    #[test]
    fn vouched_streams_are_owed_for_a_while_and_bounded() {
        let mut h = Handover::default();
        h.vouch(stream(2, 1), 7, true, at(0));
        h.vouch(stream(2, 1), 6, true, at(1));
        assert_eq!(owed(&h, own(), 0, true, at(9_999)), [range(stream(2, 1), 0, 7)]);
        assert_eq!(owed(&h, own(), 0, false, at(5)), [], "a flush is about the own stream");
        assert_eq!(owed(&h, own(), 0, true, at(10_001)), []);
        for n in 0..2 * MAX_CONFIRM as u64 {
            h.vouch(stream(3, n), 1, true, at(20_000 + n));
        }
        assert_eq!(h.vouched.len(), MAX_CONFIRM);
        let question = owed(&h, own(), 1, true, at(21_000));
        assert!(question.len() <= MAX_CONFIRM && question.is_sorted_by_key(Range::stream));
        assert!(question.iter().any(|r| r.stream() == own()));
    }

    #[test]
    fn confirmation_of_a_stream_that_moved_counts_no_more() {
        let mut h = Handover { wanted: 5, ..Handover::default() };
        let question = owed(&h, own(), 5, false, at(0));
        h.ask(id(2), &question, at(0));
        answer(&mut h, 2, 3, false, at(1));
        h.stream_moved(at(2));
        assert_eq!((h.confirmed(), h.wanted, h.due), (0, 5, Some(at(2))));
        assert!(h.ask(id(2), &owed(&h, stream(OWN, 2), 5, false, at(2)), at(2)));
    }

    #[test]
    fn confirmation_of_a_peer_that_is_gone_counts_no_more() {
        let mut h = Handover::default();
        let question = owed(&h, own(), 5, true, at(0));
        h.ask(id(2), &question, at(0));
        answer(&mut h, 2, 5, false, at(1));
        h.forget_neighbour(&id(2));
        assert!(!h.is_covered(&question, |_| true), "another neighbour is asked");
        assert_eq!(h.confirmed(), 5, "it still holds them");
        h.forget_peer(&id(2));
        assert_eq!(h.confirmed(), 0);
    }

    #[test]
    fn acknowledgement_of_a_peer_that_is_gone_counts_no_more() {
        let mut h = Handover::default();
        h.acknowledged(id(2), 5, at(0));
        h.acknowledged(id(3), 3, at(0));
        h.forget_neighbour(&id(2));
        assert_eq!(h.confirmed(), 5, "it still holds them");
        assert_eq!(owed(&h, own(), 5, true, at(10_000)), []);
        h.forget_peer(&id(2));
        assert_eq!(h.confirmed(), 3);
        assert_eq!(
            owed(&h, own(), 5, true, at(10_000)),
            [range(own(), 3, 5)],
            "from the other one's mark on"
        );
        h.wanted = 5;
        assert_eq!(owed(&h, own(), 5, false, at(10_000)), [range(own(), 0, 5)]);
    }

    #[test]
    fn neighbour_confirms_no_more_than_it_was_asked_for() {
        let mut h = Handover::default();
        let question = h.owed(own(), 9, true, |_, _| 4, at(0));
        assert_eq!(question, [range(own(), 4, 9)]);
        h.ask(id(2), &question, at(0));
        answer(&mut h, 2, 9, false, at(1));
        assert!(h.is_covered(&question, |_| false));
        assert!(!h.is_covered(&[range(own(), 3, 9)], |_| false));
        assert_eq!(h.owed(own(), 9, true, |_, _| 9, at(0)), [range(own(), 8, 9)]);
    }

    /// The answer to the first question says nothing of what only the second one was about.
    #[test]
    fn late_answer_counts_for_what_both_questions_were_about() {
        let mut h = Handover::default();
        let narrow = [range(own(), 4, 9)];
        let wide = [range(own(), 0, 9)];
        assert!(h.ask(id(2), &narrow, at(0)));
        assert!(h.ask(id(2), &wide, at(1_000)), "no answer in time");
        answer(&mut h, 2, 9, false, at(1_001));
        assert!(!h.is_covered(&wide, |_| false) && h.is_covered(&narrow, |_| false));
        assert!(h.ask(id(2), &wide, at(1_200)), "while the second answer is due");
        answer(&mut h, 2, 9, false, at(1_201));
        assert!(!h.is_covered(&wide, |_| false), "that may be the second one");
        answer(&mut h, 2, 9, false, at(1_202));
        assert!(h.ask(id(2), &wide, at(1_400)));
        answer(&mut h, 2, 9, false, at(1_401));
        assert!(h.is_covered(&wide, |_| false));
    }

    #[test]
    fn what_was_confirmed_once_has_been_somewhere_else_though_that_node_is_gone() {
        let mut h = Handover::default();
        h.acknowledged(id(2), 5, at(0));
        h.forget_peer(&id(2));
        assert_eq!((h.confirmed(), h.reached()), (0, 5));
        h.stream_moved(at(1));
        assert_eq!(h.reached(), 0);
    }

    #[test]
    fn acknowledgements_of_former_neighbours_are_bounded() {
        let mut h = Handover::default();
        for n in 0..2 * MAX_ACKNOWLEDGED as u64 {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            h.acknowledged(PeerId::from_bytes(bytes), n, at(n));
        }
        assert_eq!(h.acknowledged.len(), MAX_ACKNOWLEDGED);
        assert_eq!(h.confirmed(), 2 * MAX_ACKNOWLEDGED as u64 - 1);
    }
}
