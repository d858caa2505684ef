//! Filling the target degree: which peer to ask for which kind of edge.

use core::time::Duration;
use std::collections::BTreeSet;

use super::{Overlay, OverlayContext, OverlayEffect, given};
use crate::identity::PeerId;
use crate::membership::{Member, Members};
use crate::random::RngStream;
use crate::time::Time;
use crate::wire::PeerRequestKind;

/// Shortest and longest wait between two rounds without a candidate.
const ROUND_MIN: Duration = Duration::from_millis(60);
const ROUND_MAX: Duration = Duration::from_secs(8);
/// How long a peer looks for free slots before it asks for an edge transfer.
const HAND_OVER_AFTER: Duration = Duration::from_millis(400);
/// How long one neighbour is missing before the peer asks for an edge above another peer's target.
const OVERFLOW_AFTER: Duration = Duration::from_secs(6);
/// Number of requests at a time.
const MAX_PENDING_REQUESTS: usize = 4;

/// Where short links are preferred, one candidate of this many is drawn regardless of delay, so
/// that no part of the network is cut off.
const UNIFORM_ONE_IN: usize = 3;

/// Shortest wait between two requests for a new list.
const FREE_PLACES_LIST_INTERVAL: Duration = Duration::from_secs(1);

/// A request to send: its kind, and its candidates, of which the nearest is asked.
#[derive(Debug)]
pub(crate) struct PlannedRequest {
    candidates: Vec<PeerId>,
    kind: PeerRequestKind,
}

/// When to look next, and since when neighbours are missing.
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

    /// Schedules a round soon, after a change that may help.
    pub(crate) fn look_soon(&mut self, now: Time) {
        self.wait = ROUND_MIN;
        self.next = self.next.min(now + ROUND_MIN / 4);
    }

    /// Schedules a round after a new list.
    pub(crate) fn look_again(&mut self, now: Time) {
        self.next = self.next.min(now + ROUND_MIN / 4);
    }

    /// Waits longer after a refused request that was not for a free slot: the missing edge may not
    /// exist, as for a hub in a small network that is already linked with all neighbours of its
    /// neighbours.
    pub(crate) fn back_off(&mut self, now: Time) {
        self.wait = (self.wait * 2).min(ROUND_MAX);
        self.next = now + self.wait;
    }

    /// Whether to ask a seed for peers with free slots: neighbours are missing, and the known peers
    /// have no free slots, as far as is known. Degrees are not pushed; they would be most of the
    /// traffic.
    fn wants_list(&mut self, now: Time) -> bool {
        let wants = self.short_since.is_some_and(|since| now.since(since) >= HAND_OVER_AFTER / 2)
            && now >= self.list_after;
        if wants {
            self.list_after = now + FREE_PLACES_LIST_INTERVAL.max(self.wait);
        }
        wants
    }
}

impl Overlay {
    /// A round of looking for missing edges: the requests to send now.
    pub(crate) fn look_for_edges(&mut self, cx: &mut OverlayContext<'_>) -> Vec<PlannedRequest> {
        let requests = self.plan_requests(cx);
        let is_for_slot = |r: &PlannedRequest| matches!(r.kind, PeerRequestKind::FreeSlot);
        if !requests.iter().any(is_for_slot) && self.fill.wants_list(cx.now) {
            self.effects.push(OverlayEffect::ListWanted);
        }
        requests
    }

    /// Sends the requests of a round.
    pub(crate) fn send_requests(
        &mut self,
        cx: &mut OverlayContext<'_>,
        requests: Vec<PlannedRequest>,
    ) {
        for PlannedRequest { candidates, kind } in requests {
            self.ask_nearest(cx, &candidates, kind);
        }
    }

    /// The requests to send now.
    fn plan_requests(&mut self, cx: &mut OverlayContext<'_>) -> Vec<PlannedRequest> {
        let (me, members, now) = (cx.identity.id(), &cx.membership.members, cx.now);
        let deficit = usize::from(self.deficit());
        if deficit == 0 {
            self.fill.short_since = None;
            self.fill.wait = ROUND_MIN;
            self.fill.next = Time::MAX;
            return Vec::new();
        }
        let short_since = *self.fill.short_since.get_or_insert(now);
        self.fill.next = now + cx.rng.scaled(self.fill.wait, 0.75, 1.25);
        let filling = self.requests.values().filter(|r| given(r.kind).is_none());
        // The requests of one race count once.
        let races: BTreeSet<u64> = filling.clone().filter_map(|r| r.race).collect();
        let pending = filling.filter(|r| r.race.is_none()).count() + races.len();
        // Half of the missing edges are requested; others will ask this peer for the other half.
        let ask = deficit.div_ceil(2).min(MAX_PENDING_REQUESTS).saturating_sub(pending);
        if ask == 0 {
            return Vec::new();
        }
        let mut round = FillRound { me, members, now, chosen: BTreeSet::new(), overlay: self };
        let mut asks = Vec::new();
        for _ in 0..ask {
            let short_for = now.since(short_since);
            let Some(ask) = round.choose(deficit - asks.len(), short_for, cx.rng) else { break };
            round.chosen.extend(&ask.candidates);
            asks.push(ask);
        }
        if asks.is_empty() {
            self.fill.wait = (self.fill.wait * 2).min(ROUND_MAX);
            self.fill.next = now + cx.rng.scaled(self.fill.wait, 0.75, 1.25);
        }
        asks
    }
}

/// One round of choosing.
struct FillRound<'a> {
    me: PeerId,
    members: &'a Members,
    now: Time,
    chosen: BTreeSet<PeerId>,
    overlay: &'a Overlay,
}

impl FillRound<'_> {
    fn choose(
        &self,
        missing: usize,
        short_for: Duration,
        rng: &mut RngStream,
    ) -> Option<PlannedRequest> {
        let free = |m: &Member| u64::from(m.record.free_slots());
        let near = self.overlay.prefers_short_links() && rng.below(UNIFORM_ONE_IN) > 0;
        let n = if near { self.overlay.dial_candidates } else { 1 };
        let ask = |candidates: Vec<PeerId>, kind| {
            (!candidates.is_empty()).then_some(PlannedRequest { candidates, kind })
        };
        if let Some(slot) = ask(self.draw(n, free, rng), PeerRequestKind::FreeSlot) {
            return Some(slot);
        }
        if self.overlay.degree() < 2 {
            return ask(self.draw(1, |_| 1, rng), PeerRequestKind::Overflow);
        }
        if short_for < HAND_OVER_AFTER {
            return None;
        }
        if missing >= 2 {
            // At least 1: a record from before its owner knew its target has 0.
            let by_target = |m: &Member| u64::from(m.record.target.max(1));
            return ask(self.draw(1, by_target, rng), PeerRequestKind::EdgeTransfer);
        }
        let excess = |m: &Member| u64::from(m.record.degree.saturating_sub(m.record.target));
        if let Some(edge) = ask(self.draw(1, excess, rng), PeerRequestKind::SurplusEdge) {
            return Some(edge);
        }
        if short_for < OVERFLOW_AFTER {
            return None;
        }
        let full = |m: &Member| u64::from(m.record.degree <= m.record.target);
        ask(self.draw(1, full, rng), PeerRequestKind::Overflow)
    }

    /// Draws up to `n` different candidates.
    fn draw(&self, n: usize, weight: impl Fn(&Member) -> u64, rng: &mut RngStream) -> Vec<PeerId> {
        // Check the weight first: most members have none, and need not be looked up among the
        // neighbours.
        let mut candidates: Vec<(PeerId, u64)> = self
            .members
            .alive()
            .filter(|(_, m)| !m.suspect && m.avoid_until <= self.now)
            .map(|(id, m)| (*id, weight(m)))
            .filter(|(id, weight)| {
                *weight > 0
                    && *id != self.me
                    && !self.chosen.contains(id)
                    && !self.overlay.neighbours.contains_key(id)
                    && !self.overlay.requests.contains_key(id)
            })
            .collect();
        let mut drawn = Vec::new();
        while drawn.len() < n
            && let Some(i) = rng.weighted(candidates.iter().map(|(_, w)| *w))
        {
            drawn.push(candidates.swap_remove(i).0);
        }
        drawn
    }
}
