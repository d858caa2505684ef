//! Whole lists of the members, where this peer and the seeds disagree on their number.

use core::time::Duration;

use super::{Membership, MembershipContext};
use crate::snapshot::PeerState;
use crate::wire::Frame;

/// How long the number of members may differ from the seeds' before whole lists are requested.
const SIZE_DIFFERENCE_LIMIT: Duration = Duration::from_secs(10);

impl Membership {
    /// Whether this peer knows as many members as there are, in a network with whole lists.
    fn agrees_on_network_size(&self) -> bool {
        let size = self.registrations.network_size() as usize;
        let apart = self.own.state != PeerState::Joined || size == 0 || self.is_large();
        apart || self.members.alive_count() + 1 == size
    }

    /// Schedules a request for whole lists if the number of members differs from the seeds': an
    /// expired lease, or a network that has shrunk to whole lists again, causes no notice.
    pub(crate) fn review_network_size(&mut self, cx: &mut MembershipContext<'_>) {
        if self.agrees_on_network_size() {
            self.lists_at = None;
        } else if self.lists_at.is_none() {
            // At different times at different peers.
            let wait = cx.rng.scaled(SIZE_DIFFERENCE_LIMIT, 1.0, 3.0);
            self.lists_at = Some(cx.now + wait);
        }
    }

    /// Requests whole lists from all seeds, if the number of members has differed for long.
    pub(crate) fn request_due_lists(&mut self, cx: &mut MembershipContext<'_>) {
        let now = cx.now;
        if self.lists_at.is_none_or(|at| at > now) {
            return;
        }
        self.lists_at = None;
        if self.agrees_on_network_size() {
            return;
        }
        self.lists_at = Some(now + cx.rng.scaled(cx.config.lease(), 1.0, 1.5));
        cx.fx.counters.lists_asked += 1;
        for slot in &mut self.registrations.slots {
            if let Some(link) = slot.link {
                slot.list_requested = Some(now);
                slot.list_complete = false;
                cx.fx.send(link, Frame::GetPeerList);
            }
        }
    }
}
