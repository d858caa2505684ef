//! Giving up neighbours over the target, without taking from anybody what it needs.
//!
//! Targets shrink when the network does (and while it grows from a few peers to many, because the
//! law of a small network has a heavier tail). A peer that has two neighbours too many asks them to
//! link with each other in its stead: u-a, u-b become a-b.
//!
//! One neighbour over the target is what a newcomer that found no free place leaves behind. Where
//! peers come one after the other, two of three would have one, and most degrees would be off the
//! law by one. So two neighbours that are both over their targets give up the edge between them, if
//! they know of a short way round it: then nobody is cut off by it. Where no such two are neighbours, two that
//! are far apart do it together: i-a, u-b become a-b.

use core::time::Duration;

use super::{EdgeLoad, Overlay};
use crate::identity::PeerId;
use crate::random::RngStream;
use crate::time::Time;

/// Pause between two pairs, so that what is under way shows in the degree.
const PAIR_PAUSE: Duration = Duration::from_millis(300);
/// How long a single neighbour over the target is kept at least: a newcomer may need the edge.
const SURPLUS_KEPT_FOR: Duration = Duration::from_secs(5);
/// Then one in so many looks gives it up, so that few do at the same time.
const TRIM_ONE_IN: usize = 4;
/// Longest wait between two attempts to find somebody else with one too many. Where there is nobody, as
/// when the sum of all targets is odd, that is all it costs.
const MAX_SEARCH_WAIT: Duration = Duration::from_secs(60);
/// How long a list of the seeds takes to come, at most nearly always.
const LIST_ARRIVAL_TIME: Duration = Duration::from_secs(2);

/// How a surplus is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrimAction {
    /// Two neighbours can link with each other instead of with this peer.
    Pair(PeerId, PeerId),
    /// All neighbours are linked with each other already, as happens in small networks: nothing can
    /// take the place of an edge, and this one is given up. Nobody is cut off by it.
    Drop(PeerId),
    /// This neighbour is over its target as well, and there is a way round the edge to it.
    DropShared(PeerId),
    /// No neighbour is, or none without which there is a way: somebody else may be.
    FindPartner,
}

/// When to look for somebody else with one too many.
#[derive(Debug)]
pub(crate) struct SurplusSearch {
    at: Time,
    wait: Duration,
    /// A list was asked for at the last look.
    listed: bool,
}

impl SurplusSearch {
    pub(super) const fn new() -> Self {
        SurplusSearch { at: Time::ZERO, wait: SURPLUS_KEPT_FOR, listed: false }
    }

    /// Nobody is known who has one too many: whether to ask for a list, to look again when it has
    /// come. If that did not help, there is nobody for now.
    pub(crate) fn wants_list(&mut self, now: Time) -> bool {
        self.listed = !self.listed;
        if self.listed {
            self.at = self.at.min(now + LIST_ARRIVAL_TIME);
        }
        self.listed
    }

    /// Whether it is time; then the next one is further away.
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
    /// Neighbours over the target, those already promised to others not counted.
    fn surplus(&self, now: Time) -> usize {
        let going = self.neighbours.values().filter(|n| n.is_promised(now)).count();
        self.neighbours.len().saturating_sub(going).saturating_sub(usize::from(self.target))
    }

    /// When to look for a pair next.
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

    /// What to do about a surplus.
    pub(crate) fn trim(
        &mut self,
        me: &PeerId,
        edges: &impl EdgeLoad,
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

    /// A neighbour that is over its target as well and can be reached another way. An edge that
    /// carries payload is kept while it does: a tree would have to find another one.
    fn shared_surplus_neighbour(
        &self,
        me: &PeerId,
        edges: &impl EdgeLoad,
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

    /// Whether a path of two or three links leads to a neighbour beside the direct one, by what the
    /// neighbours told of their own.
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

    /// The neighbour that can do best with one less: the one furthest over its own target.
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
    fn somebody_else_is_looked_for_less_and_less_often() {
        let (mut surplus_search, mut rng) = (SurplusSearch::new(), RngStream::new(&[0; 32], "test"));
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
