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

use super::{EdgeLoad, Neighbour, Overlay, OverlayContext, OverlayEffect};
use crate::identity::PeerId;
use crate::membership::Member;
use crate::random::RngStream;
use crate::time::Time;
use crate::wire::{PeerRequestKind, Permit, Redirect};

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

/// How to give up a surplus neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TrimAction {
    /// These two neighbours can link with each other instead of with this peer.
    Pair(PeerId, PeerId),
    /// All neighbours are linked with each other already, as happens in small networks: no other
    /// edge can replace one, so the edge to this neighbour is dropped. The network stays connected.
    Drop(PeerId),
    /// This neighbour is above its target as well, and can be reached by a detour: drop the edge.
    DropShared(PeerId),
    /// No neighbour is above its target and has a detour: find another peer with a surplus
    /// neighbour.
    FindPartner,
}

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

    /// Gives up surplus neighbours.
    pub(crate) fn trim(&mut self, cx: &mut OverlayContext<'_>) {
        let now = cx.now;
        let me = cx.identity.id();
        let (a, b) = match self.choose_surplus(&me, cx.edges, now, cx.rng) {
            Some(TrimAction::Pair(a, b)) => (a, b),
            Some(TrimAction::Drop(id) | TrimAction::DropShared(id)) => {
                cx.fx.counters.edges_given_up += 1;
                return self.drop_replaced(cx, id);
            }
            Some(TrimAction::FindPartner) => return self.find_surplus_partner(cx),
            None => return,
        };
        let in_place_of = me;
        let links = (self.neighbours.get(&a), self.neighbours.get(&b));
        let (Some(na), Some(nb)) = links else { return };
        cx.fx.send(nb.link, Permit { peer: a });
        cx.fx.send(na.link, Redirect { to: nb.record.clone(), in_place_of });
        self.promise(&a, now);
        self.promise(&b, now);
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

    /// Decides how to give up a surplus neighbour, if that is due.
    fn choose_surplus(
        &mut self,
        me: &PeerId,
        edges: &dyn EdgeLoad,
        now: Time,
        rng: &mut RngStream,
    ) -> Option<TrimAction> {
        if self.trim_at.is_none_or(|at| at > now) {
            return None;
        }
        match self.surplus(now) {
            0 => {
                self.trim_at = None;
                self.surplus_search = SurplusSearch::new();
                self.schedule_trim(now);
                return None;
            }
            1 => {
                self.trim_at = Some(now + rng.scaled(SURPLUS_KEPT_FOR, 0.5, 1.5));
                if let Some(id) = self.shared_surplus_neighbour(me, edges, now, rng) {
                    return Some(TrimAction::DropShared(id));
                }
                return self.surplus_search.is_due(now, rng).then_some(TrimAction::FindPartner);
            }
            _ => self.trim_at = Some(now + PAIR_PAUSE),
        }
        let free: Vec<PeerId> = self
            .neighbours
            .iter()
            .filter(|(_, n)| !n.is_promised(now))
            .map(|(id, _)| *id)
            .collect();
        let mut pairs = Vec::new();
        for (i, &a) in free.iter().enumerate() {
            let others = free.iter().skip(i + 1);
            pairs.extend(others.filter(|&&b| !self.linked(a, b)).map(|&b| (a, b)));
        }
        match pairs.get(rng.below(pairs.len())) {
            Some(&(a, b)) => Some(TrimAction::Pair(a, b)),
            None => self.most_surplus_neighbour(&free).map(TrimAction::Drop),
        }
    }

    /// A neighbour that is above its target as well and has a detour. An edge is kept while it
    /// carries payload, because a tree would have to find another one.
    fn shared_surplus_neighbour(
        &self,
        me: &PeerId,
        edges: &dyn EdgeLoad,
        now: Time,
        rng: &mut RngStream,
    ) -> Option<PeerId> {
        if rng.below(TRIM_ONE_IN) != 0 {
            return None;
        }
        let over = self.neighbours.iter().filter(|(id, n)| {
            n.degree > n.target
                && !n.is_promised(now)
                && !edges.is_busy(id)
                && self.has_way_round(me, id)
        });
        let candidates: Vec<PeerId> = over.map(|(id, _)| *id).collect();
        candidates.get(rng.below(candidates.len())).copied()
    }

    /// Whether a path of two or three links leads to a neighbour besides the direct edge, by the
    /// neighbours' lists of their own neighbours.
    fn has_way_round(&self, me: &PeerId, to: &PeerId) -> bool {
        let Some(end) = self.neighbours.get(to) else { return false };
        let near_end = |id: &PeerId| id == to || end.neighbourhood.iter().any(|(x, _)| x == id);
        self.neighbours.iter().filter(|(id, _)| *id != to).any(|(id, n)| {
            let leads_on = |x: &PeerId| x != id && x != me && near_end(x);
            near_end(id) || n.neighbourhood.iter().any(|(x, _)| x == to || leads_on(x))
        })
    }

    fn linked(&self, a: PeerId, b: PeerId) -> bool {
        let knows = |a: PeerId, b: PeerId| {
            self.neighbours.get(&a).is_some_and(|n| n.neighbourhood.iter().any(|(id, _)| *id == b))
        };
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
