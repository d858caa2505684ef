//! What is missing, who has it, and when to ask for it.
//!
//! Announcements and summaries say who has what. What does not come by itself in the meantime is
//! pulled from one neighbour after the other. What nobody has is given up in the end, so that it
//! does not hold up what is behind it for ever.

mod patience;
#[cfg(test)]
mod tests;
mod wanted;

use core::cmp::Reverse;
use core::time::Duration;
use std::collections::BTreeMap;

use self::patience::Patience;
use self::wanted::{Ahead, Claim, Extent, Wanted};
use super::message_list::MessageList;
use crate::identity::PeerId;
use crate::limits::{MAX_MISSING, MAX_PULL_RANGES, MAX_SOURCES};
use crate::message::StreamId;
use crate::random::Stream;
use crate::small::GrowMap;
use crate::time::Time;
use crate::wire::{Range, SummaryEntry};

/// Shortest wait before the second pull of a stream; it doubles with every further one.
const RETRY: Duration = Duration::from_millis(250);
/// The longest wait between two pulls of a stream.
const LONGEST_RETRY: Duration = Duration::from_secs(4);
/// Bounds of the time that trees get to bring what was announced; up to twice as long is waited.
const SHORTEST_WAIT: Duration = Duration::from_millis(60);
/// Where trees take longer, only few may have a message, and it is lost if they die before it is pulled.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How long messages may still come along a tree that is changing when a later one has come, before they are pulled:
/// at least, and at most if announced messages took long lately.
const HOLE_WAIT: Duration = Duration::from_millis(30);
const LONGEST_HOLE_WAIT: Duration = Duration::from_millis(300);
/// The same before anything was measured.
const FIRST_WAIT: Duration = Duration::from_millis(150);
/// A neighbour that sends nothing of its answer for so many times the usual time of an answer is asked again.
const ANSWER_TIMES: u32 = 4;
/// And not before it was silent for so long.
const SHORTEST_ANSWER: Duration = Duration::from_secs(4);
/// The longest silence that one is given, after several pulls in vain.
const LONGEST_ANSWER: Duration = Duration::from_secs(16);
/// Gaps of a source that are remembered.
const MAX_LACKS: usize = 32;

/// What is due.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// What to pull from whom.
    pub(crate) pulls: BTreeMap<PeerId, Vec<Range>>,
    /// What is given up.
    pub(crate) lost: Vec<(StreamId, u64, u64)>,
    /// Whether the sources known do not have it: somebody else should be asked for more.
    pub(crate) ask_others: bool,
    /// What to pull from any neighbour, though none has announced it: an answer without it counts as well.
    pub(crate) ask_anybody: Vec<Range>,
}

/// What a neighbour had announced before it came along a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lead {
    /// Nobody has announced anything that has not come.
    None,
    /// Somebody has announced more than has come.
    Open,
    /// This neighbour had announced it for so long.
    Of(PeerId, Duration),
}

/// A pull that is not answered yet.
#[derive(Debug)]
struct Sent {
    nonce: u64,
    streams: Vec<StreamId>,
    at: Time,
    /// So long its neighbour may be silent.
    silence: Duration,
    /// Until then its neighbour is asked for nothing else: on a slow link, answers would pile up there faster
    /// than they leave.
    until: Time,
}

fn is_free(sent: &BTreeMap<PeerId, Sent>, who: &PeerId, now: Time) -> bool {
    sent.get(who).is_none_or(|s| s.until <= now)
}

/// RFC 6298, section 2: gains of 1/8 and 1/4.
fn smooth(estimate: &mut Option<(Duration, Duration)>, sample: Duration) {
    *estimate = Some(match *estimate {
        None => (sample, sample / 2),
        Some((mean, dev)) => ((mean * 7 + sample) / 8, (dev * 3 + sample.abs_diff(mean)) / 4),
    });
}

/// All streams that something is missing of.
#[derive(Debug)]
pub(crate) struct Missing {
    streams: GrowMap<StreamId, Wanted>,
    /// How long after an announcement the payload comes by itself: mean and deviation.
    lag: Option<(Duration, Duration)>,
    /// How long neighbours take to answer a pull: mean and deviation.
    answer: Option<(Duration, Duration)>,
    /// The last pull of each neighbour that has not answered it.
    sent: BTreeMap<PeerId, Sent>,
    last_nonce: u64,
    patience: Patience,
    /// There was no room, and will be none before.
    full_until: Time,
    refused: u64,
    rng: Stream,
}

impl Missing {
    pub(crate) fn new(retention_age: Duration, rng: Stream) -> Self {
        let patience = Patience::of(retention_age);
        Missing {
            streams: GrowMap::new(),
            lag: None,
            answer: None,
            sent: BTreeMap::new(),
            last_nonce: 0,
            patience,
            full_until: Time::ZERO,
            refused: 0,
            rng,
        }
    }

    /// How long trees get to bring what somebody has: as long as they took lately.
    fn wait(&mut self) -> Duration {
        let usual = self.lag.map_or(FIRST_WAIT, |(mean, deviation)| mean + deviation * 4);
        self.rng.scaled(usual.clamp(SHORTEST_WAIT, LONGEST_WAIT), 1.0, 2.0)
    }

    /// The wait before the second pull of a stream: an answer takes that long.
    fn retry(&self) -> Duration {
        let usual = self.answer.map_or(RETRY, |(mean, deviation)| mean + deviation * 4);
        usual.clamp(RETRY, LONGEST_RETRY)
    }

    /// A batch came along a tree and those before it did not: links keep the order, so they were
    /// skipped or lost, and who sent this one is the likeliest to have them.
    pub(crate) fn hole(&mut self, stream: StreamId, who: PeerId, below: u64, now: Time) {
        // Where it has said from where it keeps the stream, that stands.
        let floor = self.streams.get(&stream).and_then(|w| w.kept_from(&who)).unwrap_or(0);
        let claim = Claim { floor, kept_from: false, next: below, lacks: Vec::new() };
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
            if let Some(w) = self.streams.get_mut(&stream)
                // Of two, the one that can be judged sooner: the other may have announced what does not exist.
                && w.ahead.is_none_or(|a| r.to < a.to)
            {
                w.ahead = Some(Ahead { neighbour: who, to: r.to, at: now });
            }
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
        // Made-up streams are asked for in vain, or wait for a neighbour that does not answer, and nothing has come;
        // real ones are given up with a gap, in their time.
        let is_in_vain = |w: &Wanted| w.received == 0 && (w.tries > 1 || w.is_waiting);
        let in_vain = self.streams.iter().filter(|(_, w)| is_in_vain(w));
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

    /// Whether a neighbour had announced what has come of a stream by now. Told once.
    pub(crate) fn take_lead(&mut self, list: &MessageList, stream: StreamId, now: Time) -> Lead {
        let has = list.get(stream).map_or(0, crate::broadcast::Seen::high_water);
        let Some(w) = self.streams.get_mut(&stream) else { return Lead::None };
        match w.ahead {
            None => Lead::None,
            Some(ahead) if ahead.to > has => Lead::Open,
            Some(ahead) => {
                w.ahead = None;
                Lead::Of(ahead.neighbour, now.since(ahead.at))
            }
        }
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
            smooth(&mut self.lag, now.since(at));
        }
        self.streams.remove(&stream);
    }

    /// A neighbour is pulled from. Says what its answer has to repeat.
    pub(crate) fn asked(&mut self, who: PeerId, mut streams: Vec<StreamId>, now: Time) -> u64 {
        streams.dedup();
        self.last_nonce += 1;
        let usual = (self.retry() * ANSWER_TIMES).max(SHORTEST_ANSWER);
        // One that has not answered the last pull gets twice as long (RFC 6298, 5.5): it may be sending its answer.
        let doubled = self.sent.get(&who).map(|s| (s.silence * 2).min(LONGEST_ANSWER));
        let (nonce, silence) = (self.last_nonce, doubled.unwrap_or(usual).max(usual));
        self.sent.insert(who, Sent { nonce, streams, at: now, silence, until: now + silence });
        nonce
    }

    /// Whether a neighbour has a pull to answer.
    pub(crate) fn is_asked(&self, who: &PeerId) -> bool {
        self.sent.contains_key(who)
    }

    /// A part of an answer has come: the rest may take as long again. Where it was needed, what is still to come is not
    /// asked of others meanwhile, but for no longer than an answer may take: the neighbour may hold back the rest.
    pub(crate) fn answer_goes_on(
        &mut self,
        who: &PeerId,
        stream: StreamId,
        is_new: bool,
        now: Time,
    ) {
        let retry = self.retry();
        let Some(sent) = self.sent.get_mut(who).filter(|s| s.streams.contains(&stream)) else {
            return;
        };
        sent.until = sent.until.max(now + sent.silence);
        if !is_new || now.since(sent.at) >= LONGEST_ANSWER {
            return;
        }
        for stream in &sent.streams {
            if let Some(w) = self.streams.get_mut(stream) {
                w.due = w.due.max(now + retry);
            }
        }
    }

    /// Whether a neighbour has no pull to answer.
    pub(crate) fn is_free(&self, who: &PeerId, now: Time) -> bool {
        is_free(&self.sent, who, now)
    }

    /// A neighbour has answered its pull, or refused to: what waits for it is due. Says for which streams it was
    /// pulled from; `None` if that pull was given up, or never sent.
    pub(crate) fn take_asked(
        &mut self,
        who: PeerId,
        nonce: u64,
        refused: bool,
        now: Time,
    ) -> Option<Vec<StreamId>> {
        if self.sent.get(&who).is_none_or(|s| s.nonce != nonce) {
            return None;
        }
        let sent = self.sent.remove(&who)?;
        if !refused {
            smooth(&mut self.answer, now.since(sent.at));
        }
        for w in self.streams.values_mut() {
            if w.is_waiting && w.sources.iter().any(|(id, _)| *id == who) {
                w.due = now;
            }
        }
        Some(sent.streams)
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
                w.ahead.take_if(|a| a.neighbour == who);
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
        self.sent.remove(&who);
        for w in self.streams.values_mut() {
            let before = w.sources.len();
            w.sources.retain(|(id, _)| *id != who);
            w.told.retain(|e| e.neighbour != who);
            w.ahead.take_if(|a| a.neighbour == who);
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
        let retry = self.retry();
        let sent = &self.sent;
        let is_free = |who: &PeerId| is_free(sent, who, now);
        // What has waited longest comes first: where there is much of one stream, it would fill every answer.
        let is_due = self.streams.iter().filter(|(_, w)| w.due <= now);
        let mut all: Vec<(Time, StreamId)> = is_due.map(|(s, w)| (w.progress, *s)).collect();
        all.sort_unstable();
        for (_, stream) in all {
            let Some(w) = self.streams.get_mut(&stream) else { continue };
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
                if due.lost.len() > before {
                    (w.due, w.tries) = (now + RETRY, 0);
                    continue;
                }
                if w.sources.is_empty() {
                    if self.patience.is_exhausted(w, now) {
                        done.push(stream);
                    }
                    (w.due, w.tries) = (now + LONGEST_RETRY, 0);
                    continue;
                }
                // Nothing certain is missing, and somebody still says that it has it.
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
            let has_any = |c: &Claim| missing.iter().any(|m| c.has_of(m.0, m.1));
            let mut have = w.sources.iter().filter(|(_, c)| has_any(c)).peekable();
            let was_waiting = w.is_waiting;
            w.is_waiting = have.peek().is_some() && !have.any(|(id, _)| is_free(id));
            if w.is_waiting {
                // Others may have it as well.
                due.ask_others |= !was_waiting && w.tries > 0;
                w.due = now + RETRY;
                continue;
            }
            w.tries = w.tries.saturating_add(1);
            w.due = now + (retry * (1 << (w.tries - 1).min(4))).min(LONGEST_RETRY);
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
                    .find(|(id, c)| is_free(id) && c.has_of(from, to));
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
