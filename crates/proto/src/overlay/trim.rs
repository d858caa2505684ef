//! Giving up neighbours above the target, without taking needed edges from other peers.
//!
//! Targets shrink with the network (and while it grows from a few peers to many, because the law of
//! a small network has a heavier tail). A peer with two surplus neighbours asks them to link with
//! each other instead: u-a, u-b become a-b.
//!
//! A newcomer that found no free slot leaves one surplus neighbour at another peer. Where peers
//! join one after the other, two of three peers would have one, and most degrees would be off the
//! law by one. So two neighbours that are both above their targets give up the edge between them,
//! if they know of a short detour: then the network stays connected. Where no such two are
//! neighbours, two distant peers do it together: i-a, u-b become a-b.

use core::time::Duration;

use super::{Neighbour, Overlay, OverlayContext, OverlayEffect};
use crate::identity::PeerId;
use crate::membership::Member;
use crate::random::RngStream;
use crate::time::Time;
use crate::wire::{PeerRequestKind, Permit};

/// Pause between two pairs, until the last one shows in the degree.
const PAIR_PAUSE: Duration = Duration::from_millis(300);
/// How long a single surplus neighbour is kept at least: a newcomer may need the edge.
const SURPLUS_KEPT_FOR: Duration = Duration::from_secs(5);
/// After that, one look of this many gives it up, so that few peers do so at the same time.
const TRIM_ONE_IN: usize = 4;
/// Longest wait between two attempts to find another peer with a surplus neighbour. If there is
/// none, as when the sum of all targets is odd, these attempts are the only cost.
const MAX_SEARCH_WAIT: Duration = Duration::from_secs(60);
/// How long a list of the seeds takes to arrive in nearly all cases.
const LIST_ARRIVAL_TIME: Duration = Duration::from_secs(2);

/// The degree in a record that a seed has listed so lately is up to date.
const FRESH_RECORD: Duration = Duration::from_secs(15);

/// When to look for another peer with a surplus neighbour.
#[derive(Debug)]
pub(crate) struct SurplusSearch {
    at: Time,
    wait: Duration,
    /// A list was requested at the last look.
    listed: bool,
}

impl SurplusSearch {
    pub(super) const fn new() -> Self {
        SurplusSearch { at: Time::ZERO, wait: SURPLUS_KEPT_FOR, listed: false }
    }

    /// Whether to request a list because no peer with a surplus neighbour is known, to look again
    /// when it has arrived. If that did not help, there is none for now.
    fn wants_list(&mut self, now: Time) -> bool {
        self.listed = !self.listed;
        if self.listed {
            self.at = self.at.min(now + LIST_ARRIVAL_TIME);
        }
        self.listed
    }

    /// Whether it is time to look; the next look is later.
    fn is_due(&mut self, now: Time, rng: &mut RngStream) -> bool {
        let due = now >= self.at;
        if due {
            self.at = now + rng.scaled(self.wait, 0.5, 1.5);
            if !self.listed {
                self.wait = (self.wait * 2).min(MAX_SEARCH_WAIT);
            }
        }
        due
    }
}

impl Overlay {
    /// Number of surplus neighbours, without those whose edges are promised to others.
    fn surplus(&self, now: Time) -> usize {
        let going = self.neighbours.values().filter(|n| n.is_promised(now)).count();
        self.neighbours.len().saturating_sub(going).saturating_sub(usize::from(self.target))
    }

    /// Schedules the next look for surplus neighbours.
    pub(crate) fn schedule_trim(&mut self, now: Time) {
        let at = match self.neighbours.len().saturating_sub(usize::from(self.target)) {
            0 => {
                self.trim_at = None;
                return;
            }
            1 => now + SURPLUS_KEPT_FOR,
            _ => now + PAIR_PAUSE,
        };
        self.trim_at = Some(self.trim_at.map_or(at, |before| before.min(at)));
    }

    /// Gives up surplus neighbours, if that is due.
    pub(crate) fn trim(&mut self, cx: &mut OverlayContext<'_>) {
        let now = cx.now;
        if self.trim_at.is_none_or(|at| at > now) {
            return;
        }
        match self.surplus(now) {
            0 => {
                self.surplus_search = SurplusSearch::new();
                self.trim_at = None;
                self.schedule_trim(now);
            }
            1 => {
                self.trim_at = Some(now + cx.rng.scaled(SURPLUS_KEPT_FOR, 0.5, 1.5));
                if let Some(id) = self.shared_surplus_neighbour(cx) {
                    self.give_up(cx, id);
                } else if self.surplus_search.is_due(now, cx.rng) {
                    self.find_surplus_partner(cx);
                }
            }
            _ => {
                self.trim_at = Some(now + PAIR_PAUSE);
                self.pair_surplus(cx);
            }
        }
    }

    /// Lets two surplus neighbours link with each other instead of with this peer.
    fn pair_surplus(&mut self, cx: &mut OverlayContext<'_>) {
        let now = cx.now;
        let free = self.neighbours.iter().filter(|(_, n)| !n.is_promised(now));
        let free: Vec<PeerId> = free.map(|(id, _)| *id).collect();
        let mut pairs = Vec::new();
        for (i, &a) in free.iter().enumerate() {
            let others = free.iter().skip(i + 1);
            pairs.extend(others.filter(|&&b| !self.linked(a, b)).map(|&b| (a, b)));
        }
        let Some(&(a, b)) = pairs.get(cx.rng.below(pairs.len())) else {
            // All neighbours are linked with each other already, as happens in small networks: no
            // other edge can replace one, so one is dropped. The network stays connected.
            if let Some(id) = self.most_surplus_neighbour(&free) {
                self.give_up(cx, id);
            }
            return;
        };
        let Some(n) = self.neighbours.get_mut(&b) else { return };
        cx.fx.send(n.link, Permit { peer: a });
        n.promise(now);
        let record = n.record.clone();
        self.redirect(cx, &a, record, cx.identity.id());
    }

    /// Drops an edge without a replacement.
    fn give_up(&mut self, cx: &mut OverlayContext<'_>, id: PeerId) {
        cx.fx.counters.edges_given_up += 1;
        self.drop_replaced(cx, id);
    }

    /// Looks for another peer with a surplus neighbour: i-a, u-b become a-b.
    fn find_surplus_partner(&mut self, cx: &mut OverlayContext<'_>) {
        let now = cx.now;
        let over = |(id, m): &(&PeerId, &Member)| {
            m.record.degree > m.record.target
                && now.since(m.confirmed) < FRESH_RECORD
                && self.may_exchange(id, m, now)
        };
        let others: Vec<PeerId> =
            cx.membership.members.alive().filter(over).map(|(id, _)| *id).collect();
        let Some(&other) = others.get(cx.rng.below(others.len())) else {
            // The degrees of others are not pushed; the seeds know them better.
            if self.surplus_search.wants_list(now) {
                self.effects.push(OverlayEffect::ListWanted);
            }
            return;
        };
        let idle = |(id, n): &(&PeerId, &Neighbour)| !n.is_promised(now) && !cx.edges.is_busy(id);
        let give: Vec<PeerId> = self.neighbours.iter().filter(idle).map(|(id, _)| *id).collect();
        let Some(&give) = give.get(cx.rng.below(give.len())) else { return };
        self.ask_member(cx, other, PeerRequestKind::SurplusPairing { give });
    }

    /// A neighbour that is above its target as well and has a detour. An edge is kept while it
    /// carries payload, because a tree would have to find another one.
    fn shared_surplus_neighbour(&self, cx: &mut OverlayContext<'_>) -> Option<PeerId> {
        if cx.rng.below(TRIM_ONE_IN) != 0 {
            return None;
        }
        let over = self.neighbours.iter().filter(|(id, n)| {
            n.degree > n.target
                && !n.is_promised(cx.now)
                && !cx.edges.is_busy(id)
                && self.has_way_round(&cx.identity.id(), id)
        });
        let candidates: Vec<PeerId> = over.map(|(id, _)| *id).collect();
        candidates.get(cx.rng.below(candidates.len())).copied()
    }

    /// Whether a path of two or three links leads to a neighbour besides the direct edge, by the
    /// neighbours' lists of their own neighbours.
    fn has_way_round(&self, me: &PeerId, to: &PeerId) -> bool {
        let Some(end) = self.neighbours.get(to) else { return false };
        let near_end = |id: &PeerId| id == to || end.lists(id);
        self.neighbours.iter().filter(|(id, _)| *id != to).any(|(id, n)| {
            let leads_on = |x: &PeerId| x != id && x != me && near_end(x);
            near_end(id) || n.neighbourhood.iter().any(|(x, _)| x == to || leads_on(x))
        })
    }

    fn linked(&self, a: PeerId, b: PeerId) -> bool {
        let knows = |a: PeerId, b: PeerId| self.neighbours.get(&a).is_some_and(|n| n.lists(&b));
        knows(a, b) || knows(b, a)
    }

    /// The neighbour that needs the edge least: the one furthest above its own target.
    fn most_surplus_neighbour(&self, free: &[PeerId]) -> Option<PeerId> {
        let surplus = |id: &&PeerId| {
            let record = self.neighbours.get(*id).map(|n| &n.record);
            record.map_or(0, |r| i32::from(r.degree) - i32::from(r.target))
        };
        free.iter().max_by_key(surplus).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surplus_partner_is_looked_for_at_growing_intervals() {
        let (mut surplus_search, mut rng) =
            (SurplusSearch::new(), RngStream::new(&[0; 32], "test"));
        let (mut now, mut looks, mut lists) = (Time::ZERO, Vec::new(), 0);
        while now < Time::ZERO + Duration::from_secs(600) {
            if surplus_search.is_due(now, &mut rng) {
                looks.push(now);
                lists += u32::from(surplus_search.wants_list(now));
            }
            now += Duration::from_millis(500);
        }
        let minutes = |n: u64| {
            looks.iter().filter(|t| **t < Time::ZERO + Duration::from_secs(60 * n)).count()
        };
        assert!((5..=16).contains(&minutes(1)), "{looks:?}");
        assert!(
            minutes(10) - minutes(1) <= 40 && lists as usize * 2 <= looks.len() + 1,
            "{looks:?}"
        );
    }
}
