//! What is missing, who has it, and when to ask for it.
//!
//! Announcements and summaries say who has what. What does not come by itself in the meantime is
//! pulled from one neighbour after the other. What nobody has is given up in the end, so that it
//! does not hold up what is behind it for ever.

use core::cmp::Reverse;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::message_list::MessageList;
use crate::identity::PeerId;
use crate::limits::{MAX_MISSING, MAX_PULL_RANGES, MAX_SOURCES};
use crate::message::StreamId;
use crate::random::Stream;
use crate::small::GrowMap;
use crate::time::Time;
use crate::wire::{Range, SummaryEntry};

/// Wait before the second pull of a stream; it doubles with every further one.
const RETRY: Duration = Duration::from_millis(250);
/// The longest wait between two pulls of a stream.
const LONGEST_RETRY: Duration = Duration::from_secs(4);
/// Pulls without effect after which nobody is expected to have it any more.
const ATTEMPTS: u32 = 7;
/// Nothing is given up before something was missing of the stream for so long, even where neighbours
/// had it once, or have given it up themselves.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where they are looking for it as well, all of them may only be cut off from somebody who has it,
/// and will be told when the way there is open again. With ten seconds, one of twenty networks of a
/// hundred peers under chaos lost something that way, with thirty one of 250. What waits is what came after it of
/// the same publisher, which does not answer either: so only that of the dead is late.
const COMMON_PATIENCE: Duration = Duration::from_secs(120);
/// But everything is given up in the end, also if a neighbour goes on saying that it sends it.
const LAST_PATIENCE: Duration = Duration::from_secs(240);
/// Distinct neighbours that must have failed, or all if there are fewer.
const WITNESSES: usize = 3;
/// Bounds of the time that trees get to bring what was announced.
const SHORTEST_WAIT: Duration = Duration::from_millis(60);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How long what came out of order has to come by itself, while a tree changes: at least, and at most
/// if announced messages took long lately.
const HOLE_WAIT: Duration = Duration::from_millis(30);
const LONGEST_HOLE_WAIT: Duration = Duration::from_millis(300);
/// The same before anything was measured.
const FIRST_WAIT: Duration = Duration::from_millis(150);
/// Gaps of a source that are remembered.
const MAX_LACKS: usize = 32;

/// What a neighbour says it has of a stream.
#[derive(Debug, Clone, Default)]
struct Claim {
    floor: u64,
    /// Whether what is below the floor is not kept, rather than not announced.
    kept_from: bool,
    next: u64,
    lacks: Vec<(u64, u64)>,
}

impl Claim {
    /// Whether it has something of a range.
    fn has_of(&self, from: u64, to: u64) -> bool {
        let inside = from.max(self.floor) < to.min(self.next);
        inside
            && !self.lacks.iter().any(|l| l.0 <= from.max(self.floor) && to.min(self.next) <= l.1)
    }
}

/// From where a neighbour keeps a stream, as it tells in a summary.
#[derive(Debug, Clone, Copy)]
struct Extent {
    neighbour: PeerId,
    /// It keeps nothing below.
    floor: u64,
}

/// A stream that something is missing of.
#[derive(Debug)]
struct Wanted {
    sources: Vec<(PeerId, Claim)>,
    due: Time,
    tries: u32,
    /// When it was first announced, while nothing has been pulled yet.
    announced: Option<Time>,
    /// Messages received of it at the last pull.
    received: u64,
    /// The first missing number at the last pull, and since when it is.
    first: u64,
    /// The number after the highest one received then: what is missing below it has been for as long.
    horizon: u64,
    progress: Time,
    /// Neighbours that answered with nothing, or said that they have it not. One that has not
    /// answered may have it: the answer found no room on the way.
    failed: BTreeSet<PeerId>,
    /// Those of them that had said before that it is not missing there, and have let go of something of
    /// the stream: they do not look for it.
    gone: BTreeSet<PeerId>,
    /// What neighbours say they keep the stream from, also those that have nothing of what is missing.
    told: Vec<Extent>,
}

impl Wanted {
    const fn new(due: Time, announced: Option<Time>, now: Time) -> Self {
        Wanted {
            sources: Vec::new(),
            due,
            tries: 0,
            announced,
            received: 0,
            first: 0,
            horizon: 0,
            progress: now,
            failed: BTreeSet::new(),
            gone: BTreeSet::new(),
            told: Vec::new(),
        }
    }

    /// A neighbour has told its extent of the stream.
    fn note_extent(&mut self, extent: Extent) {
        let room = self.told.len() < MAX_SOURCES;
        match self.told.iter_mut().find(|e| e.neighbour == extent.neighbour) {
            Some(before) => *before = extent,
            None if room => self.told.push(extent),
            None => {}
        }
    }

    /// The highest number below which any neighbour has had everything and keeps nothing.
    fn claimed_end(&self) -> u64 {
        self.told.iter().map(|e| e.floor).max().unwrap_or(0)
    }

    /// The number up to which enough of so many neighbours have had the stream and keep nothing, once the stream has not
    /// moved for so long that nothing of it can be on its way. In the end fewer have to agree: the
    /// others may have been cut off as well.
    fn agreed_end(&self, degree: usize, patience: &Patience, now: Time) -> u64 {
        let waited = now.since(self.progress);
        let needed = if waited >= patience.last {
            degree / 2
        } else if waited >= patience.gone {
            degree
        } else {
            return 0;
        };
        self.kept_nowhere_below(needed)
    }

    /// The number below which enough of so many neighbours keep nothing any more. That is not what they
    /// gave up or look for themselves: it had come and made room for what came after it.
    fn kept_nowhere_below(&self, degree: usize) -> u64 {
        let mut floors: Vec<u64> = self.told.iter().map(|e| e.floor).collect();
        floors.sort_unstable_by(|a, b| b.cmp(a));
        floors.get(degree.clamp(1, WITNESSES) - 1).copied().unwrap_or(0)
    }

    /// Takes out of what is missing what nobody keeps any more and no neighbour claims to have.
    fn split_gone(&self, missing: &mut Vec<(u64, u64)>, degree: usize) -> Vec<(u64, u64)> {
        let bound = self.kept_nowhere_below(degree);
        let mut gone = Vec::new();
        for m in missing.iter_mut().take_while(|m| m.0 < bound) {
            let old = (m.0, m.1.min(bound));
            if !self.sources.iter().any(|(_, c)| c.has_of(old.0, old.1)) {
                gone.push(old);
                m.0 = old.1;
            }
        }
        missing.retain(|m| m.0 < m.1);
        gone
    }
}

/// What is due.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// What to pull from whom.
    pub(crate) pulls: BTreeMap<PeerId, Vec<Range>>,
    /// What is given up.
    pub(crate) lost: Vec<(StreamId, u64, u64)>,
    /// Whether the sources known do not have it: somebody else should be asked for more.
    pub(crate) ask_others: bool,
    /// And for this itself: an answer without it is an answer, too.
    pub(crate) ask_anybody: Vec<Range>,
}

/// [`PATIENCE`] and the others, or less: what waits behind something that is missing is not to grow too
/// old meanwhile.
#[derive(Debug)]
struct Patience {
    gone: Duration,
    common: Duration,
    last: Duration,
}

impl Patience {
    fn of(retention_age: Duration) -> Self {
        Patience {
            gone: PATIENCE.min(retention_age / 4),
            common: COMMON_PATIENCE.min(retention_age / 4),
            last: LAST_PATIENCE.min(retention_age / 2),
        }
    }

    /// Whether nothing more is waited for.
    fn is_exhausted(&self, w: &Wanted, now: Time) -> bool {
        now.since(w.progress) >= self.last
    }

    /// Whether what was asked for in vain is given up, with so many neighbours.
    fn is_over(&self, w: &Wanted, degree: usize, now: Time) -> bool {
        let waited = now.since(w.progress);
        let witnesses = degree.min(WITNESSES);
        let enough = w.failed.len() >= witnesses || w.sources.is_empty();
        let asked = w.tries >= ATTEMPTS && enough;
        let gone = w.gone.len() >= witnesses.max(1) && waited >= self.gone;
        (asked && (gone || waited >= self.common)) || self.is_exhausted(w, now)
    }
}

/// All streams that something is missing of.
#[derive(Debug)]
pub(crate) struct Missing {
    streams: GrowMap<StreamId, Wanted>,
    /// How long after an announcement the payload comes by itself: mean and deviation.
    lag: Option<(Duration, Duration)>,
    patience: Patience,
    /// There was no room, and will be none before.
    full_until: Time,
    refused: u64,
    rng: Stream,
}

impl Missing {
    pub(crate) fn new(retention_age: Duration, rng: Stream) -> Self {
        let patience = Patience::of(retention_age);
        let streams = GrowMap::new();
        Missing { streams, lag: None, patience, full_until: Time::ZERO, refused: 0, rng }
    }

    /// How long trees get to bring what somebody has: as long as they took lately.
    fn wait(&mut self) -> Duration {
        let usual = self.lag.map_or(FIRST_WAIT, |(mean, deviation)| mean + deviation * 4);
        self.rng.scaled(usual.clamp(SHORTEST_WAIT, LONGEST_WAIT), 1.0, 2.0)
    }

    /// A batch came along a tree and those before it did not: links keep the order, so they were
    /// skipped or lost, and who sent this one is the likeliest to have them.
    pub(crate) fn hole(&mut self, stream: StreamId, who: PeerId, below: u64, now: Time) {
        let claim = Claim { floor: 0, kept_from: false, next: below, lacks: Vec::new() };
        let usual = self.lag.map_or(HOLE_WAIT, |(mean, deviation)| mean + deviation * 2);
        let due = now + usual.clamp(HOLE_WAIT, LONGEST_HOLE_WAIT);
        self.claim(stream, who, claim, due, Some(now), now);
    }

    /// Looks after every stream that has a hole, whether or not anybody is known to have what is
    /// missing: in the end it is given up.
    pub(crate) fn review(&mut self, list: &MessageList, now: Time) {
        for (stream, seen) in list.iter() {
            let known = self.streams.contains_key(stream);
            if !known && seen.has_missing() && self.make_room(now) {
                self.streams.insert(*stream, Wanted::new(now + RETRY, None, now));
            }
        }
    }

    /// A publisher has signed that there is more of a stream than was received.
    pub(crate) fn expect(&mut self, stream: StreamId, now: Time) {
        if self.streams.contains_key(&stream) || self.make_room(now) {
            self.streams.get_or_insert(stream, || Wanted::new(now + RETRY, None, now));
        }
    }

    /// A neighbour announced a range.
    pub(crate) fn announced(&mut self, list: &MessageList, who: PeerId, r: &Range, now: Time) {
        let stream = r.stream();
        let ours = list.get(stream);
        let lacking = !list.is_over(stream)
            && ours.is_none_or(|s| s.missing_below(r.to).last().is_some_and(|m| m.1 > r.from));
        if lacking {
            let claim = Claim { floor: r.from, kept_from: false, next: r.to, lacks: Vec::new() };
            let due = now + self.wait();
            self.claim(stream, who, claim, due, Some(now), now);
        }
    }

    /// A neighbour said all it has of a stream; `at_once` if no tree can be bringing it.
    pub(crate) fn told(
        &mut self,
        list: &MessageList,
        who: PeerId,
        e: &SummaryEntry,
        at_once: bool,
        now: Time,
    ) {
        let stream = e.stream();
        if list.is_over(stream) {
            return;
        }
        let missing =
            list.get(stream).map_or_else(|| vec![(0, e.next)], |s| s.missing_below(e.next));
        let lacks: Vec<_> = e.gaps.iter().copied().take(MAX_LACKS).collect();
        let claim = Claim { floor: e.floor, kept_from: true, next: e.next, lacks };
        if missing.iter().any(|m| claim.has_of(m.0, m.1)) {
            let due = if at_once { now } else { now + self.wait() };
            self.claim(stream, who, claim, due, None, now);
        } else if !missing.is_empty() {
            if list.is_owed(stream) {
                // No neighbour can give it any more: in time that is told as a gap.
                self.expect(stream, now);
            }
            if let Some(w) = self.streams.get_mut(&stream) {
                w.failed.insert(who);
            }
        }
        if let Some(w) = self.streams.get_mut(&stream) {
            w.note_extent(Extent { neighbour: who, floor: e.floor });
        }
    }

    fn claim(
        &mut self,
        stream: StreamId,
        who: PeerId,
        claim: Claim,
        due: Time,
        announced: Option<Time>,
        now: Time,
    ) {
        if !self.streams.contains_key(&stream) && !self.make_room(now) {
            return;
        }
        let fresh = || Wanted::new(due, announced, now);
        let w = self.streams.get_or_insert(stream, fresh);
        if w.tries == 0 {
            w.due = w.due.min(due);
        }
        let full = w.sources.len() >= MAX_SOURCES;
        match w.sources.iter_mut().find(|(id, _)| *id == who) {
            Some((_, c)) if announced.is_some() => {
                c.floor = c.floor.min(claim.floor);
                c.next = c.next.max(claim.next);
            }
            Some((_, c)) => *c = claim,
            None if full => {}
            None => {
                w.sources.push((who, claim));
                if w.tries > 0 {
                    // The others were asked already: this one is not made to wait for their turn.
                    w.due = w.due.min(now + RETRY);
                }
            }
        }
    }

    /// Makes room for another stream; says whether there is some. A full house is looked through for many
    /// at once, and not again for a [`RETRY`] where few could go: whoever makes up streams could have it
    /// looked through for each.
    fn make_room(&mut self, now: Time) -> bool {
        if self.streams.len() < MAX_MISSING {
            return true;
        }
        if now < self.full_until {
            self.refused += 1;
            return false;
        }
        // Made-up streams are asked for in vain, and nothing has come of them; real ones are given up with
        // a gap, in their time.
        let in_vain = self.streams.iter().filter(|(_, w)| w.tries > 1 && w.received == 0);
        let mut hopeless: Vec<(Reverse<u32>, StreamId)> =
            in_vain.map(|(s, w)| (Reverse(w.tries), *s)).collect();
        hopeless.sort_unstable();
        if hopeless.len() < MAX_MISSING / 16 {
            self.full_until = now + RETRY;
        }
        for (_, stream) in hopeless.iter().take(MAX_MISSING / 16) {
            self.streams.remove(stream);
        }
        self.refused += u64::from(hopeless.is_empty());
        !hopeless.is_empty()
    }

    /// How many were not looked for since it was last asked, because there was no room.
    pub(crate) fn take_refused(&mut self) -> u64 {
        core::mem::take(&mut self.refused)
    }

    /// Something of a stream came in: if that was all, it is not missing any more.
    pub(crate) fn received(&mut self, list: &MessageList, stream: StreamId, now: Time) {
        let Some(w) = self.streams.get(&stream) else { return };
        let claimed = w.sources.iter().map(|(_, c)| c.next).max().unwrap_or(0);
        let complete = list
            .get(stream)
            .is_some_and(|s| s.has_begun() && s.missing_below(claimed.max(s.end())).is_empty());
        if !complete {
            return;
        }
        if let Some(at) = w.announced.filter(|_| w.tries == 0) {
            // RFC 6298, section 2: gains of 1/8 and 1/4.
            let lag = now.since(at);
            self.lag = Some(match self.lag {
                None => (lag, lag / 2),
                Some((mean, dev)) => ((mean * 7 + lag) / 8, (dev * 3 + lag.abs_diff(mean)) / 4),
            });
        }
        self.streams.remove(&stream);
    }

    /// A neighbour has answered a pull. Where that brought something, there may be more to ask for
    /// at once.
    pub(crate) fn answered(
        &mut self,
        list: &MessageList,
        who: PeerId,
        streams: &[StreamId],
        empty: bool,
        now: Time,
    ) {
        for stream in streams {
            let Some(w) = self.streams.get_mut(stream) else { continue };
            if empty {
                // Somebody else may have it, but not for long: under load, what is kept turns over
                // in a fraction of a second.
                let claim = w.sources.iter().position(|(id, _)| *id == who);
                let claim = claim.map(|place| w.sources.swap_remove(place).1);
                // One that has let go of nothing of the stream never had it, and gave it up: by its patience,
                // which is not to decide for those who learn of that.
                let had = |c: &Claim| c.kept_from && c.floor > 0 && c.has_of(w.first, w.first + 1);
                if claim.is_some_and(|c| had(&c)) {
                    w.gone.insert(who);
                }
                w.failed.insert(who);
                w.due = now;
            }
            if list.get(*stream).is_some_and(|s| s.received() > w.received) {
                w.due = now;
            }
        }
    }

    /// The smallest number of a stream that a neighbour says it can give.
    pub(crate) fn floor(&self, stream: StreamId) -> Option<u64> {
        let w = self.streams.get(&stream)?;
        w.sources.iter().filter(|(_, c)| c.kept_from).map(|(_, c)| c.floor).min()
    }

    /// Whether a neighbour has been asked for what is missing of a stream, in vain.
    pub(crate) fn has_failed(&self, stream: StreamId, who: &PeerId) -> bool {
        self.streams.get(&stream).is_some_and(|w| w.failed.contains(who))
    }

    /// A neighbour is gone.
    pub(crate) fn forget_source(&mut self, who: PeerId, now: Time) {
        for w in self.streams.values_mut() {
            let before = w.sources.len();
            w.sources.retain(|(id, _)| *id != who);
            w.told.retain(|e| e.neighbour != who);
            if w.sources.len() < before && w.tries > 0 {
                w.due = w.due.min(now + RETRY);
            }
        }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.streams.values().map(|w| w.due).min()
    }

    /// What is due now, with so many neighbours to ask.
    pub(crate) fn due(&mut self, list: &MessageList, degree: usize, now: Time) -> Due {
        let mut due = Due::default();
        let mut asked = 0;
        let mut done = Vec::new();
        for (&stream, w) in self.streams.iter_mut().filter(|(_, w)| w.due <= now) {
            let seen = list.get(stream);
            if seen.is_none() && list.is_over(stream) {
                done.push(stream);
                continue;
            }
            let known = seen.map_or(0, crate::broadcast::Seen::end);
            let owed = list.is_owed(stream);
            let (agreed, claimed) = if owed {
                (w.agreed_end(degree, &self.patience, now), w.claimed_end())
            } else {
                (0, 0)
            };
            // That there is more than the publisher has signed is only the neighbours' word.
            let certain = known.max(agreed);
            let next = w.sources.iter().map(|(_, c)| c.next).max().unwrap_or(0);
            let next = next.max(certain).max(claimed);
            let missing = seen.map_or_else(|| vec![(0, next)], |s| s.missing_below(next));
            let mut missing: Vec<(u64, u64)> = missing.into_iter().filter(|m| m.0 < m.1).collect();
            let received = seen.map_or(0, crate::broadcast::Seen::received);
            if missing.is_empty() {
                done.push(stream);
                continue;
            }
            w.received = received;
            let first = missing.first().map_or(0, |m| m.0);
            if first != w.first {
                // What was asked for comes.
                (w.tries, w.first, w.progress) = (0, first, now);
                w.horizon = known;
                w.failed.clear();
                w.gone.clear();
            }
            w.announced = None;
            if self.patience.is_over(w, degree, now) {
                let old = missing.iter().take_while(|m| m.0 <= w.horizon);
                let lost = old.filter_map(|m| (m.0 < certain).then_some((m.0, m.1.min(certain))));
                let before = due.lost.len();
                due.lost.extend(lost.map(|(from, to)| (stream, from, to)));
                w.due = now + RETRY;
                w.tries = 0;
                if due.lost.len() == before && w.sources.is_empty() {
                    if self.patience.is_exhausted(w, now) {
                        done.push(stream);
                    }
                    w.due = now + LONGEST_RETRY;
                }
                continue;
            }
            let gone = w.split_gone(&mut missing, degree);
            let undecided = owed && gone.last().is_some_and(|g| g.1 > certain);
            let lost =
                gone.iter().filter_map(|g| (g.0 < certain).then_some((g.0, g.1.min(certain))));
            due.lost.extend(lost.map(|(from, to)| (stream, from, to)));
            if missing.is_empty() && undecided {
                w.due = now + LONGEST_RETRY;
                continue;
            }
            if missing.is_empty() {
                done.push(stream);
                continue;
            }
            w.tries = w.tries.saturating_add(1);
            w.due = now + (RETRY * (1 << (w.tries - 1).min(4))).min(LONGEST_RETRY);
            due.ask_others |= w.tries > 1 || w.sources.is_empty();
            if let Some(&(from, to)) = missing.first()
                && (w.tries > 2 || !w.sources.iter().any(|(_, c)| c.has_of(from, to)))
            {
                let StreamId { publisher, epoch } = stream;
                due.ask_anybody.push(Range { publisher, epoch, from, to });
            }
            let n = w.sources.len();
            for (i, &(from, to)) in missing.iter().enumerate() {
                // Another one each time, and different ones for different gaps.
                let turn = w.tries as usize - 1 + i;
                let source = (0..n)
                    .filter_map(|k| w.sources.get((turn + k) % n))
                    .find(|(_, c)| c.has_of(from, to));
                let Some((who, c)) = source else { continue };
                if asked >= MAX_PULL_RANGES {
                    break;
                }
                asked += 1;
                let StreamId { publisher, epoch } = stream;
                let (from, to) = (from.max(c.floor), to.min(c.next));
                due.pulls.entry(*who).or_default().push(Range { publisher, epoch, from, to });
            }
        }
        for stream in done {
            self.streams.remove(&stream);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: StreamId = StreamId { publisher: PeerId::from_bytes([1; 32]), epoch: 1 };
    const A: PeerId = PeerId::from_bytes([2; 32]);
    const B: PeerId = PeerId::from_bytes([3; 32]);

    fn missing() -> Missing {
        Missing::new(Duration::from_secs(600), Stream::new(&[0; 32], "test"))
    }

    fn list(ranges: &[(u64, u64)]) -> MessageList {
        let mut l = MessageList::default();
        for &(from, to) in ranges {
            l.receive(S, from, to);
        }
        l
    }

    fn range(from: u64, to: u64) -> Range {
        Range { publisher: S.publisher, epoch: S.epoch, from, to }
    }

    fn entry(floor: u64, next: u64, gaps: &[(u64, u64)]) -> SummaryEntry {
        SummaryEntry { publisher: S.publisher, epoch: S.epoch, next, gaps: gaps.to_vec(), floor }
    }

    fn pulls(m: &mut Missing, l: &MessageList, now: Time) -> Vec<(PeerId, u64, u64)> {
        let due = m.due(l, 2, now);
        due.pulls.iter().flat_map(|(p, r)| r.iter().map(|r| (*p, r.from, r.to))).collect()
    }

    #[test]
    fn what_is_announced_and_comes_is_not_pulled() {
        let (mut m, mut l) = (missing(), list(&[(0, 5)]));
        m.announced(&l, A, &range(3, 5), Time::ZERO);
        assert_eq!(m.deadline(), None, "known already");
        m.announced(&l, A, &range(5, 8), Time::ZERO);
        assert!(m.deadline().unwrap() > Time::ZERO + SHORTEST_WAIT);
        l.receive(S, 5, 8);
        m.received(&l, S, Time::from_micros(1000));
        assert_eq!(m.deadline(), None);
    }

    #[test]
    fn what_does_not_come_is_pulled_from_one_after_the_other() {
        let (mut m, l) = (missing(), list(&[(0, 5), (7, 8)]));
        m.announced(&l, A, &range(5, 9), Time::ZERO);
        m.announced(&l, B, &range(5, 9), Time::ZERO);
        let at = m.deadline().unwrap();
        assert_eq!(pulls(&mut m, &l, at), [(A, 5, 7), (B, 8, 9)]);
        let at = m.deadline().unwrap();
        assert_eq!(pulls(&mut m, &l, at), [(A, 8, 9), (B, 5, 7)]);
    }

    #[test]
    fn a_summary_says_who_has_it() {
        let (mut m, l) = (missing(), list(&[(0, 2)]));
        m.told(&l, A, &entry(4, 9, &[(5, 7)]), true, Time::ZERO);
        m.told(&l, B, &entry(0, 2, &[]), true, Time::ZERO);
        assert_eq!(pulls(&mut m, &l, Time::ZERO), [(A, 4, 9)]);
        m.answered(&l, A, &[S], true, Time::ZERO);
        let at = m.deadline().unwrap();
        assert_eq!(pulls(&mut m, &l, at), []);
    }

    #[test]
    fn after_an_empty_answer_somebody_else_is_asked_at_once() {
        let (mut m, l) = (missing(), list(&[(0, 5), (7, 8)]));
        m.hole(S, A, 7, Time::ZERO);
        m.announced(&l, B, &range(5, 7), Time::ZERO);
        let mut at = m.deadline().unwrap();
        assert_eq!(pulls(&mut m, &l, at), [(A, 5, 7)]);
        at += Duration::from_millis(1);
        m.answered(&l, A, &[S], true, at);
        assert_eq!(m.deadline(), Some(at));
        assert_eq!(pulls(&mut m, &l, at), [(B, 5, 7)]);
        m.answered(&l, B, &[S], true, at);
        let due = m.due(&l, 4, at);
        assert!(due.pulls.is_empty());
        assert_eq!(due.ask_anybody, [range(5, 7)], "nobody is known to have it: anybody may");
        assert!(m.deadline().unwrap() >= at + RETRY, "not as fast as it goes");
        m.announced(&l, PeerId::from_bytes([4; 32]), &range(5, 7), at);
        assert_eq!(m.deadline(), Some(at + RETRY), "a new one is not kept waiting");
    }

    /// When what is missing is given up, how often it was asked for by then, and what that is. The
    /// neighbours that are asked answer with nothing.
    fn given_up(m: &mut Missing, l: &MessageList) -> (Time, u32, Vec<(StreamId, u64, u64)>) {
        let mut tries = 0;
        loop {
            let at = m.deadline().unwrap();
            let due = m.due(l, 2, at);
            if !due.lost.is_empty() {
                return (at, tries, due.lost);
            }
            tries += 1;
            for who in due.pulls.keys() {
                m.answered(l, *who, &[S], true, at);
            }
        }
    }

    #[test]
    fn what_others_had_and_nobody_keeps_is_given_up() {
        let (mut m, l) = (missing(), list(&[(0, 1), (3, 4)]));
        m.told(&l, A, &entry(1, 4, &[]), true, Time::ZERO);
        m.told(&l, B, &entry(1, 4, &[]), true, Time::ZERO);
        let (at, tries, lost) = given_up(&mut m, &l);
        assert!(at >= Time::ZERO + PATIENCE && at < Time::ZERO + COMMON_PATIENCE, "{at:?}");
        assert!(tries >= ATTEMPTS, "{tries}");
        assert_eq!(lost, [(S, 1, 3)]);
        let mut l = l;
        l.give_up(S, 1, 3);
        let at = m.deadline().unwrap();
        assert!(m.due(&l, 2, at).lost.is_empty() && m.deadline().is_none());
    }

    /// Under load what is kept turns over in a fraction of a second: who was away for longer is told at
    /// once, and gets what is left.
    #[test]
    fn what_made_room_for_others_everywhere_is_given_up_at_once() {
        let (mut m, l) = (missing(), list(&[(0, 10), (20, 30)]));
        m.review(&l, Time::ZERO);
        // All that B keeps has come; A has more.
        m.told(&l, B, &entry(20, 30, &[]), true, Time::ZERO);
        let at = m.deadline().unwrap();
        assert!(m.due(&l, 2, at).lost.is_empty(), "A may have it");
        m.told(&l, A, &entry(50, 90, &[]), true, at);
        let at = m.deadline().unwrap();
        let due = m.due(&l, 2, at);
        assert_eq!(due.lost, [(S, 10, 20)]);
        assert!(due.pulls.contains_key(&A));
        m.told(&l, B, &entry(60, 90, &[]), true, at);
        let due = m.due(&l, 2, m.deadline().unwrap());
        assert!(at < Time::ZERO + Duration::from_secs(2), "{at:?}");
        assert_eq!(due.lost, [(S, 10, 20)], "that there is more above 30 is only their word");
    }

    /// They may be cut off together from somebody who has it.
    #[test]
    fn what_others_look_for_as_well_is_waited_for_longer() {
        let (mut m, l) = (missing(), list(&[(0, 1), (3, 4)]));
        m.review(&l, Time::ZERO);
        m.told(&l, A, &entry(0, 4, &[(1, 3)]), true, Time::ZERO);
        m.told(&l, B, &entry(0, 4, &[(1, 3)]), true, Time::ZERO);
        let (at, _, lost) = given_up(&mut m, &l);
        assert!(at >= Time::ZERO + COMMON_PATIENCE && at < Time::ZERO + LAST_PATIENCE, "{at:?}");
        assert_eq!(lost, [(S, 1, 3)]);
    }

    /// Neighbours that have given it up say that nothing is missing there, and have nothing. If that counted
    /// as if they had had it, each that gives up would make the next one do so sooner.
    #[test]
    fn who_gives_up_hastens_nobody() {
        let (mut m, l) = (missing(), list(&[(0, 1), (3, 4)]));
        m.told(&l, A, &entry(0, 4, &[]), true, Time::ZERO);
        m.told(&l, B, &entry(0, 4, &[]), true, Time::ZERO);
        assert!(given_up(&mut m, &l).0 >= Time::ZERO + COMMON_PATIENCE);
    }

    /// One of two has given it up, the other one looks for it.
    #[test]
    fn one_that_has_given_up_decides_for_nobody() {
        let (mut m, l) = (missing(), list(&[(0, 1), (3, 4)]));
        m.told(&l, A, &entry(0, 4, &[]), true, Time::ZERO);
        m.told(&l, B, &entry(0, 4, &[(1, 3)]), true, Time::ZERO);
        assert!(given_up(&mut m, &l).0 >= Time::ZERO + COMMON_PATIENCE);
    }

    /// Neighbours know more of a stream than this node, and keep none of it.
    #[test]
    fn tail_that_nobody_keeps_is_given_up_when_enough_neighbours_agree() {
        let (mut m, l) = (missing(), list(&[(0, 5)]));
        m.told(&l, A, &entry(9, 9, &[]), true, Time::ZERO);
        m.told(&l, B, &entry(9, 9, &[]), true, Time::ZERO);
        let (at, _, lost) = given_up(&mut m, &l);
        assert!(at >= Time::ZERO + PATIENCE && at < Time::ZERO + COMMON_PATIENCE, "{at:?}");
        assert_eq!(lost, [(S, 5, 9)]);
    }

    #[test]
    fn tail_that_one_neighbour_claims_is_given_up_last() {
        let (mut m, l) = (missing(), list(&[(0, 5)]));
        m.told(&l, A, &entry(9, 9, &[]), true, Time::ZERO);
        m.told(&l, B, &entry(0, 5, &[]), true, Time::ZERO);
        let (at, _, lost) = given_up(&mut m, &l);
        assert!(at >= Time::ZERO + LAST_PATIENCE, "{at:?}");
        assert_eq!(lost, [(S, 5, 9)]);
    }

    #[test]
    fn made_up_stream_of_an_unknown_publisher_is_never_given_up() {
        let (mut m, l) = (missing(), MessageList::default());
        m.told(&l, A, &entry(9, 9, &[]), true, Time::ZERO);
        assert_eq!(m.deadline(), None, "it may be of the time before this node took part");
        m.told(&l, A, &entry(3, 9, &[]), true, Time::ZERO);
        for _ in 0..200 {
            let Some(at) = m.deadline() else { break };
            assert_eq!(m.due(&l, 2, at).lost, []);
        }
    }

    #[test]
    fn earlier_stream_that_the_publisher_names_is_asked_for_and_given_up() {
        let mut l = list(&[(0, 5)]);
        let later = StreamId { epoch: 3, ..S };
        l.receive(later, 0, 1);
        let named = StreamId { epoch: 2, ..S };
        l.expect(named, 4);
        let mut m = missing();
        m.expect(named, Time::ZERO);
        let due = m.due(&l, 2, m.deadline().unwrap());
        assert_eq!(due.ask_anybody.len(), 1);
        let (at, _, lost) = given_up(&mut m, &l);
        assert!(at < Time::ZERO + LAST_PATIENCE + COMMON_PATIENCE, "{at:?}");
        assert_eq!(lost, [(named, 0, 4)]);
    }
}
