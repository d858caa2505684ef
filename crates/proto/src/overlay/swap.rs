//! Edge swaps with random peers, so that no two parts of the network stay disconnected for long.

use core::time::Duration;

use super::{Overlay, OverlayContext};
use crate::identity::PeerId;
use crate::wire::PeerRequestKind;

impl Overlay {
    /// Exchanges one edge with a random peer (i-a, j-b become i-j, a-b): all degrees stay, and no
    /// two parts of the network stay disconnected for long.
    pub(crate) fn request_swap(&mut self, cx: &mut OverlayContext<'_>) {
        let now = cx.now;
        if self.soon_swaps > 0 {
            self.soon_swaps -= 1;
            let soon = Duration::from_secs(2);
            self.next_swap = now + cx.rng.scaled(soon, 0.5, 1.5);
        } else {
            self.next_swap = now + swap_period(cx);
        }
        // Choose the neighbour to give, and whom to ask.
        let free = self.neighbours.iter().filter(|(_, n)| !n.is_promised(now));
        let give: Vec<(PeerId, bool)> = free.map(|(id, _)| (*id, cx.edges.is_busy(id))).collect();
        let others: Vec<PeerId> = cx
            .membership
            .members
            .alive()
            .filter(|(id, m)| self.may_exchange(id, m, now))
            .map(|(id, _)| *id)
            .collect();
        if cx.membership.own.is_departing() || give.is_empty() {
            return;
        }
        let candidates = match self.dial_candidates {
            0 | 1 => others.get(cx.rng.below(others.len())).copied().into_iter().collect(),
            n => cx.rng.sample(others, n),
        };
        if candidates.is_empty() {
            return;
        }
        let Some(give) = self.choose_transferred(cx, &give, true) else {
            return;
        };
        self.ask_nearest(cx, &candidates, PeerRequestKind::EdgeSwap { give });
    }

    /// Schedules the first swap of a peer that has just joined.
    pub(crate) fn start_swapping(&mut self, cx: &mut OverlayContext<'_>) {
        self.next_swap = cx.now + swap_period(cx);
        if self.prefers_short_links() {
            // The first neighbours were those with free slots, not the nearest ones.
            self.schedule_swaps(cx);
        }
        self.fill.look_soon(cx.now);
    }

    /// Schedules a few swaps soon, because the network may have been partitioned.
    pub(crate) fn schedule_swaps(&mut self, cx: &mut OverlayContext<'_>) {
        const ROUNDS: u32 = 3;
        self.soon_swaps = ROUNDS;
        let soon = cx.now + cx.rng.scaled(Duration::from_secs(1), 0.2, 2.0);
        self.next_swap = self.next_swap.min(soon);
        self.fill.look_soon(cx.now);
    }
}

/// The wait between two swaps of this peer, so that there is one in the whole network every
/// `swap_interval`.
fn swap_period(cx: &mut OverlayContext<'_>) -> Duration {
    let n = cx.membership.registrations.network_size().max(2);
    cx.rng.scaled(cx.config.swap_interval().saturating_mul(n), 0.5, 1.5)
}
