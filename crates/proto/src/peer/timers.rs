//! The timers of a peer, and the actions when one has expired.

use core::time::Duration;

use super::Peer;
use crate::failure::LATE_DEADLINE;
use crate::time::Time;
use crate::timers::{PeerTimer, TimerName};

impl Peer {
    /// Sets the timers of membership, overlay, links and departure. Broadcast and failure detector
    /// set theirs at the end of each of their calls.
    pub(super) fn set_timers(&mut self) {
        let timers = &mut self.timers;
        self.membership.set_timers(timers, &self.config);
        timers.set(PeerTimer::Leave, self.membership.own.departure.as_ref().map(|d| d.deadline()));
        self.overlay.set_timers(timers);
        timers.set(PeerTimer::IdleLinks, self.links.next_idle_check);
    }

    /// Performs the actions that are due, in the order of the timers. `before` is the time of the
    /// last call: what was due earlier was not late until then.
    pub(super) fn on_timeout(&mut self, before: Time) {
        let now = self.fx.now();
        let late = self.timers.next().map_or(Duration::ZERO, |at| now.since(at.max(before)));
        if late > LATE_DEADLINE {
            self.fx.counters.late_wakeups += 1;
            self.with_failure(|f, _| f.postpone(late));
            self.record_trouble();
        }
        self.failure.is_behind = false;
        for timer in PeerTimer::ALL {
            // Whenever this peer is awake it looks at its neighbours: a request that traffic has
            // answered ends without a wake-up of its own.
            if self.timers.is_due(*timer, now) || *timer == PeerTimer::Watch {
                self.on_timer(*timer);
                self.set_timers();
            }
        }
    }

    fn on_timer(&mut self, timer: PeerTimer) {
        match timer {
            PeerTimer::Seeds | PeerTimer::WholeLists | PeerTimer::Lease | PeerTimer::Record => {
                self.with_membership(|m, cx| m.on_timer(cx, timer));
            }
            PeerTimer::Watch => self.watch_neighbours(),
            PeerTimer::Probe => self.run_probes(),
            PeerTimer::Report => self.expire_reports(),
            PeerTimer::Fill => self.fill(),
            PeerTimer::Swap | PeerTimer::Trim | PeerTimer::Neighbourhood => {
                self.with_overlay(|o, cx| o.on_timer(cx, timer));
            }
            PeerTimer::IdleLinks => self.check_idle_links(),
            PeerTimer::Leave => self.review_leave(),
            broadcast => self.with_broadcast(|b, cx| b.on_timer(cx, broadcast)),
        }
    }
}
