//! Pulls: what is asked of which neighbour, and its answers.

use super::stream::SourceRange;
use super::{
    DuePulls, MAX_RETRY_DELAY, MAX_SILENCE, MIN_SILENCE, MissingRanges, PendingPull, RETRY_DELAY,
    SILENCE_FACTOR, is_free, smooth,
};
use crate::broadcast::message_list::{MessageList, StreamState};
use crate::identity::PeerId;
use crate::limits::MAX_PULL_RANGES;
use crate::message::StreamId;
use crate::time::Time;
use crate::wire::Range;

impl MissingRanges {
    /// Records a pull. Returns the nonce that the answer has to repeat.
    pub(crate) fn record_pull(
        &mut self,
        neighbour: PeerId,
        mut streams: Vec<StreamId>,
        now: Time,
    ) -> u64 {
        streams.dedup();
        self.last_nonce += 1;
        let usual = (self.retry_delay() * SILENCE_FACTOR).max(MIN_SILENCE);
        // A neighbour that has not answered the last pull gets twice as long (RFC 6298, 5.5): it
        // may be sending its answer.
        let doubled = self.pulls.get(&neighbour).map(|p| (p.silence * 2).min(MAX_SILENCE));
        let (nonce, silence) = (self.last_nonce, doubled.unwrap_or(usual).max(usual));
        self.pulls.insert(
            neighbour,
            PendingPull { nonce, streams, at: now, silence, until: now + silence },
        );
        nonce
    }

    /// Whether a neighbour has a pull to answer.
    pub(crate) fn has_pending_pull(&self, neighbour: &PeerId) -> bool {
        self.pulls.contains_key(neighbour)
    }

    /// Handles a part of an answer: the rest may take as long again. If the part was needed, the
    /// rest is not pulled from others meanwhile, but for no longer than an answer may take: the
    /// neighbour may hold back the rest.
    pub(crate) fn on_answer_progress(
        &mut self,
        neighbour: &PeerId,
        stream: StreamId,
        is_new: bool,
        now: Time,
    ) {
        let retry = self.retry_delay();
        let Some(pull) = self.pulls.get_mut(neighbour).filter(|p| p.streams.contains(&stream))
        else {
            return;
        };
        pull.until = pull.until.max(now + pull.silence);
        if !is_new || now.since(pull.at) >= MAX_SILENCE {
            return;
        }
        for stream in &pull.streams {
            if let Some(w) = self.streams.get_mut(stream) {
                w.due = w.due.max(now + retry);
            }
        }
    }

    /// Whether a neighbour has no pull to answer.
    pub(crate) fn is_free(&self, neighbour: &PeerId, now: Time) -> bool {
        is_free(&self.pulls, neighbour, now)
    }

    /// Handles the end of an answer, or a refusal: streams that wait for the neighbour are due.
    /// Returns the streams of the pull; `None` if that pull was given up, or never sent.
    pub(crate) fn take_pull(
        &mut self,
        neighbour: PeerId,
        nonce: u64,
        refused: bool,
        now: Time,
    ) -> Option<Vec<StreamId>> {
        if self.pulls.get(&neighbour).is_none_or(|p| p.nonce != nonce) {
            return None;
        }
        let pull = self.pulls.remove(&neighbour)?;
        if !refused {
            smooth(&mut self.answer_time, now.since(pull.at));
        }
        for w in self.streams.values_mut() {
            if w.waits_for_sources && w.sources.iter().any(|(id, _)| *id == neighbour) {
                w.due = now;
            }
        }
        Some(pull.streams)
    }

    /// Evaluates an answer to a pull. If it had messages, there may be more to pull at once.
    pub(crate) fn on_pull_answered(
        &mut self,
        list: &MessageList,
        neighbour: PeerId,
        streams: &[StreamId],
        empty: bool,
        now: Time,
    ) {
        for stream in streams {
            let Some(w) = self.streams.get_mut(stream) else { continue };
            if empty {
                // Another neighbour may have it, but not for long: under load, retained messages
                // turn over in a fraction of a second.
                let source = w.sources.iter().position(|(id, _)| *id == neighbour);
                let source = source.map(|place| w.sources.swap_remove(place).1);
                // A source that has evicted nothing of the stream never had the range, but gave it
                // up, by its own limits. These must not decide for the peers that hear of it.
                let had_and_evicted = |c: &SourceRange| {
                    c.is_retention_bound && c.oldest > 0 && c.has_any_of(w.first, w.first + 1)
                };
                if source.is_some_and(|c| had_and_evicted(&c)) {
                    w.evicted_at.insert(neighbour);
                }
                w.failed.insert(neighbour);
                w.pending_announcement.take_if(|a| a.neighbour == neighbour);
                w.due = now;
            }
            if list.get(*stream).is_some_and(|s| s.received() > w.received) {
                w.due = now;
            }
        }
    }

    /// Takes the pulls and decisions that are due, with `degree` neighbours to ask.
    pub(crate) fn take_due(&mut self, list: &MessageList, degree: usize, now: Time) -> DuePulls {
        let mut due = DuePulls::default();
        let mut range_count = 0;
        let mut done = Vec::new();
        let retry = self.retry_delay();
        let pulls = &self.pulls;
        let is_free = |neighbour: &PeerId| is_free(pulls, neighbour, now);
        // Streams that have waited longest come first: much of one stream would fill every answer.
        let is_due = self.streams.iter().filter(|(_, w)| w.due <= now);
        let mut all: Vec<(Time, StreamId)> = is_due.map(|(s, w)| (w.progress, *s)).collect();
        all.sort_unstable();
        for (_, stream) in all {
            // Find the missing ranges.
            let Some(w) = self.streams.get_mut(&stream) else { continue };
            let seen = list.get(stream);
            if seen.is_none() && list.is_closed(stream) {
                done.push(stream);
                continue;
            }
            let known = seen.map_or(0, StreamState::end);
            let is_followed = list.is_followed(stream);
            let (agreed, claimed) = if is_followed {
                (w.agreed_end(degree, &self.limits, now), w.claimed_end())
            } else {
                (0, 0)
            };
            // An end beyond what the publisher has signed rests on the claims of neighbours.
            let certain = known.max(agreed);
            let next = w.sources.iter().map(|(_, c)| c.next).max().unwrap_or(0);
            let next = next.max(certain).max(claimed);
            let missing = seen.map_or_else(|| vec![(0, next)], |s| s.missing_below(next));
            let mut missing: Vec<(u64, u64)> = missing.into_iter().filter(|m| m.0 < m.1).collect();
            let received = seen.map_or(0, StreamState::received);
            if missing.is_empty() {
                done.push(stream);
                continue;
            }
            w.received = received;
            let first = missing.first().map_or(0, |m| m.0);
            if first != w.first {
                // Pulled messages arrive.
                (w.fruitless_pulls, w.first, w.progress) = (0, first, now);
                w.horizon = known;
                w.failed.clear();
                w.evicted_at.clear();
            }
            w.announced_at = None;
            // Give up what was missing for too long.
            if self.limits.is_reached(w, degree, now) {
                let old = missing.iter().take_while(|m| m.0 <= w.horizon);
                let given_up =
                    old.filter_map(|m| (m.0 < certain).then_some((m.0, m.1.min(certain))));
                let before = due.given_up.len();
                due.given_up.extend(given_up.map(|(from, to)| (stream, from, to)));
                if due.given_up.len() > before {
                    (w.due, w.fruitless_pulls) = (now + RETRY_DELAY, 0);
                    continue;
                }
                if w.sources.is_empty() {
                    if self.limits.is_exhausted(w, now) {
                        done.push(stream);
                    }
                    (w.due, w.fruitless_pulls) = (now + MAX_RETRY_DELAY, 0);
                    continue;
                }
                // Nothing certain is missing, and a source still claims to have the range.
            }
            // Give up what the neighbours had and have evicted.
            let evicted = w.split_evicted(&mut missing, degree);
            let undecided = is_followed && evicted.last().is_some_and(|g| g.1 > certain);
            let given_up =
                evicted.iter().filter_map(|g| (g.0 < certain).then_some((g.0, g.1.min(certain))));
            due.given_up.extend(given_up.map(|(from, to)| (stream, from, to)));
            if missing.is_empty() && undecided {
                w.due = now + MAX_RETRY_DELAY;
                continue;
            }
            if missing.is_empty() {
                done.push(stream);
                continue;
            }
            // Wait if all sources are busy with another answer.
            let has_any = |c: &SourceRange| missing.iter().any(|m| c.has_any_of(m.0, m.1));
            let mut have = w.sources.iter().filter(|(_, c)| has_any(c)).peekable();
            let was_waiting = w.waits_for_sources;
            w.waits_for_sources = have.peek().is_some() && !have.any(|(id, _)| is_free(id));
            if w.waits_for_sources {
                // Other neighbours may have it as well.
                due.compare_lists |= !was_waiting && w.fruitless_pulls > 0;
                w.due = now + RETRY_DELAY;
                continue;
            }
            // Pull: each missing range from another source.
            w.fruitless_pulls = w.fruitless_pulls.saturating_add(1);
            w.due = now + (retry * (1 << (w.fruitless_pulls - 1).min(4))).min(MAX_RETRY_DELAY);
            due.compare_lists |= w.fruitless_pulls > 1 || w.sources.is_empty();
            if let Some(&(from, to)) = missing.first()
                && (w.fruitless_pulls > 2 || !w.sources.iter().any(|(_, c)| c.has_any_of(from, to)))
            {
                let StreamId { publisher, epoch } = stream;
                due.from_any_neighbour.push(Range { publisher, epoch, from, to });
            }
            let n = w.sources.len();
            for (i, &(from, to)) in missing.iter().enumerate() {
                // Another source each time, and different ones for different gaps.
                let turn = w.fruitless_pulls as usize - 1 + i;
                let source = (0..n)
                    .filter_map(|k| w.sources.get((turn + k) % n))
                    .find(|(id, c)| is_free(id) && c.has_any_of(from, to));
                let Some((neighbour, c)) = source else { continue };
                if range_count >= MAX_PULL_RANGES {
                    break;
                }
                range_count += 1;
                let StreamId { publisher, epoch } = stream;
                let (from, to) = (from.max(c.oldest), to.min(c.next));
                due.pulls.entry(*neighbour).or_default().push(Range { publisher, epoch, from, to });
            }
        }
        for stream in done {
            self.streams.remove(&stream);
        }
        due
    }
}
