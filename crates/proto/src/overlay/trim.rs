//! Giving up neighbours over the target, without changing anybody else's degree.
//!
//! Targets shrink when the network does (and while it grows from a few peers to many, because the
//! law of a small network has a heavier tail). A peer that has two neighbours too many asks them to
//! link with each other in its stead: u-a, u-b become a-b.

use core::time::Duration;

use super::Overlay;
use crate::identity::PeerId;
use crate::random::Stream;
use crate::time::Time;

/// Pause between two pairs, so that what is under way shows in the degree.
const PAUSE: Duration = Duration::from_millis(300);

/// How a surplus is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trim {
    /// Two neighbours can link with each other instead of with this peer.
    Pair(PeerId, PeerId),
    /// All neighbours are linked with each other already, as happens in small networks: nothing can
    /// take the place of an edge, and this one is given up. Nobody is cut off by it.
    Alone(PeerId),
}

impl Overlay {
    /// Neighbours over the target, those already promised to others not counted.
    fn surplus(&self, now: Time) -> usize {
        let going = self.neighbours.values().filter(|n| n.is_promised(now)).count();
        self.neighbours.len().saturating_sub(going).saturating_sub(usize::from(self.target))
    }

    /// When to look for a pair next.
    pub(crate) fn schedule_trim(&mut self, now: Time) {
        if self.neighbours.len() < usize::from(self.target) + 2 {
            self.trim_at = None;
        } else if self.trim_at.is_none() {
            self.trim_at = Some(now + PAUSE);
        }
    }

    /// What to do about a surplus of two or more.
    pub(crate) fn trim(&mut self, now: Time, rng: &mut Stream) -> Option<Trim> {
        if self.trim_at.is_none_or(|at| at > now) {
            return None;
        }
        self.trim_at = Some(now + PAUSE);
        if self.surplus(now) < 2 {
            return None;
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
            Some(&(a, b)) => Some(Trim::Pair(a, b)),
            None => self.dispensable(&free).map(Trim::Alone),
        }
    }

    fn linked(&self, a: PeerId, b: PeerId) -> bool {
        let knows = |a: PeerId, b: PeerId| {
            self.neighbours.get(&a).is_some_and(|n| n.around.iter().any(|(id, _)| *id == b))
        };
        knows(a, b) || knows(b, a)
    }

    /// The neighbour that can do best with one less: the one furthest over its own target.
    fn dispensable(&self, free: &[PeerId]) -> Option<PeerId> {
        let surplus = |id: &&PeerId| {
            let record = self.neighbours.get(*id).map(|n| &n.record);
            record.map_or(0, |r| i32::from(r.degree) - i32::from(r.target))
        };
        free.iter().max_by_key(surplus).copied()
    }
}
