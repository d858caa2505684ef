//! Filling the target degree: whom to ask for what.

use core::time::Duration;
use std::collections::BTreeSet;

use super::Overlay;
use crate::identity::PeerId;
use crate::membership::{Member, Members};
use crate::random::Stream;
use crate::time::Time;
use crate::wire::Want;

/// Shortest and longest wait between two rounds that found nothing.
const ROUND_MIN: Duration = Duration::from_millis(60);
const ROUND_MAX: Duration = Duration::from_secs(8);
/// How long a peer looks for free places before it asks for a hand-over.
const HAND_OVER_AFTER: Duration = Duration::from_millis(400);
/// How long it is short by one before it asks for a place over somebody's target.
const OVERFLOW_AFTER: Duration = Duration::from_secs(6);
/// Requests under way at once.
const MAX_UNDERWAY: usize = 4;

/// Shortest wait between two requests for a fresh list.
const LIST_EVERY: Duration = Duration::from_secs(1);

/// When to look next, and since when there is something missing.
#[derive(Debug)]
pub(crate) struct FillState {
    pub(crate) next: Time,
    list_after: Time,
    wait: Duration,
    short_since: Option<Time>,
}

impl FillState {
    pub(crate) const fn new(now: Time) -> Self {
        FillState { next: now, list_after: now, wait: ROUND_MIN, short_since: None }
    }

    /// Something changed that makes it worth to look again soon.
    pub(crate) fn soon(&mut self, now: Time) {
        self.wait = ROUND_MIN;
        self.next = self.next.min(now + ROUND_MIN / 4);
    }

    /// A fresh list came.
    pub(crate) fn look_again(&mut self, now: Time) {
        self.next = self.next.min(now + ROUND_MIN / 4);
    }

    /// A request that was not for a free place was refused: what is missing may not be there to be
    /// had, as for a hub in a small network whose neighbours' neighbours are all its own.
    pub(crate) fn back_off(&mut self, now: Time) {
        self.wait = (self.wait * 2).min(ROUND_MAX);
        self.next = now + self.wait;
    }

    /// Whether to ask a seed who has free places: something is missing, and those that are known
    /// have none, as far as is known. Degrees are not pushed; they would be most of the traffic.
    pub(crate) fn wants_list(&mut self, now: Time) -> bool {
        let wants = self.short_since.is_some_and(|since| now.since(since) >= HAND_OVER_AFTER / 2)
            && now >= self.list_after;
        if wants {
            self.list_after = now + LIST_EVERY.max(self.wait);
        }
        wants
    }
}

impl Overlay {
    /// Whom to ask now, and for what. Call when [`FillState::next`] has come.
    pub(crate) fn fill(
        &mut self,
        me: PeerId,
        members: &Members,
        now: Time,
        rng: &mut Stream,
    ) -> Vec<(PeerId, Want)> {
        let deficit = usize::from(self.deficit());
        if deficit == 0 {
            self.fill.short_since = None;
            self.fill.wait = ROUND_MIN;
            self.fill.next = Time::MAX;
            return Vec::new();
        }
        let short_since = *self.fill.short_since.get_or_insert(now);
        self.fill.next = now + rng.scaled(self.fill.wait, 0.75, 1.25);
        let filling = self
            .requests
            .values()
            .filter(|r| !matches!(r.want, Want::Mix { .. } | Want::Shed { .. }));
        let underway = filling.count();
        // Half of what is missing is asked for; the other half others will ask of us.
        let ask = deficit.div_ceil(2).min(MAX_UNDERWAY).saturating_sub(underway);
        if ask == 0 {
            return Vec::new();
        }
        let mut round = Round { me, members, now, taken: BTreeSet::new(), overlay: self };
        let mut asks = Vec::new();
        for _ in 0..ask {
            let short_for = now.since(short_since);
            let Some(choice) = round.choose(deficit - asks.len(), short_for, rng) else { break };
            round.taken.insert(choice.0);
            asks.push(choice);
        }
        if asks.is_empty() {
            self.fill.wait = (self.fill.wait * 2).min(ROUND_MAX);
            self.fill.next = now + rng.scaled(self.fill.wait, 0.75, 1.25);
        }
        asks
    }
}

/// One round of choosing.
struct Round<'a> {
    me: PeerId,
    members: &'a Members,
    now: Time,
    taken: BTreeSet<PeerId>,
    overlay: &'a Overlay,
}

impl Round<'_> {
    fn choose(
        &self,
        missing: usize,
        short_for: Duration,
        rng: &mut Stream,
    ) -> Option<(PeerId, Want)> {
        let free = |m: &Member| u64::from(m.record.free_places());
        if let Some(id) = self.draw(free, rng) {
            return Some((id, Want::Place));
        }
        let degree = self.overlay.degree();
        if degree < 2 {
            return self.draw(|_| 1, rng).map(|id| (id, Want::Overflow));
        }
        if short_for < HAND_OVER_AFTER {
            return None;
        }
        if missing >= 2 {
            // At least 1: a record from before its owner knew its target says 0.
            let by_target = |m: &Member| u64::from(m.record.target.max(1));
            return self.draw(by_target, rng).map(|id| (id, Want::HandOver));
        }
        let excess = |m: &Member| u64::from(m.record.degree.saturating_sub(m.record.target));
        if let Some(id) = self.draw(excess, rng) {
            return Some((id, Want::Edge));
        }
        if short_for < OVERFLOW_AFTER {
            return None;
        }
        self.draw(|m| u64::from(m.record.degree <= m.record.target), rng)
            .map(|id| (id, Want::Overflow))
    }

    fn draw(&self, weight: impl Fn(&Member) -> u64, rng: &mut Stream) -> Option<PeerId> {
        // The weight goes first: most have none, and need not be looked for among the neighbours.
        let candidates: Vec<(PeerId, u64)> = self
            .members
            .alive()
            .filter(|(_, m)| !m.suspect && m.avoid_until <= self.now)
            .map(|(id, m)| (*id, weight(m)))
            .filter(|(id, weight)| {
                *weight > 0
                    && *id != self.me
                    && !self.taken.contains(id)
                    && !self.overlay.neighbours.contains_key(id)
                    && !self.overlay.requests.contains_key(id)
            })
            .collect();
        let i = rng.weighted(candidates.iter().map(|(_, w)| *w))?;
        candidates.get(i).map(|(id, _)| *id)
    }
}
