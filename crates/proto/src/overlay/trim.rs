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

    /// Two neighbours that can link with each other instead of with this peer.
    pub(crate) fn trim(&mut self, now: Time, rng: &mut Stream) -> Option<(PeerId, PeerId)> {
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
        let first = *free.get(rng.below(free.len()))?;
        let linked = |a: PeerId, b: PeerId| {
            self.neighbours.get(&a).is_some_and(|n| n.around.iter().any(|(id, _)| *id == b))
        };
        let second: Vec<PeerId> = free
            .into_iter()
            .filter(|&id| id != first && !linked(first, id) && !linked(id, first))
            .collect();
        second.get(rng.below(second.len())).map(|&second| (first, second))
    }
}
