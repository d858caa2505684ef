//! The one deadline of a peer, and what is done when it comes.

use core::time::Duration;

use super::Peer;
use crate::broadcast::name;
use crate::io::{Input, StoreOp};
use crate::liveness::LATE;
use crate::time::Time;
use crate::wire::Frame;

impl Peer {
    /// Whether an input moves no deadline. Half of what comes to a peer in a network at rest are
    /// questions whether it is there.
    pub(super) fn is_quiet(&self, input: &Input) -> bool {
        let Input::Frame { frame, .. } = input else { return false };
        // A sign of life of somebody who is not suspected, and the answer goes out at once.
        matches!(**frame, Frame::Ping(_)) && self.suspects.is_empty()
    }

    /// The earliest of all deadlines.
    pub(super) fn find_deadline(&self) -> Option<Time> {
        let watches = self
            .watches
            .iter()
            .filter(|(id, _)| !self.suspects.contains_key(id))
            .map(|(_, w)| w.deadline(&self.config));
        let bursts = self.suspects.values().map(|s| s.burst.deadline());
        let own = [
            Some(self.seeds_deadline()),
            self.reports_deadline(),
            self.fetches_deadline(),
            self.broadcast.kept.next_expiry(),
            self.own.tell_at,
            self.own.leave_deadline,
            self.overlay.announce_at,
            self.overlay.trim_at,
            Some(self.overlay.fill.next),
            Some(self.overlay.next_mix),
            Some(self.own.refresh_at),
            Some(self.next_sync),
            self.trees.deadline(),
            self.announcer.due,
            self.missing.deadline(),
            self.acks.deadline(),
            self.outbox.deadline(),
            self.begin_deadline(),
            Some(self.own_tree_deadline()),
            Some(self.review_at),
            Some(self.pace_at),
            Some(self.next_idle_check),
        ];
        let at = own.into_iter().flatten().chain(watches).chain(bursts).min()?;
        (at < Time::MAX && !self.own.has_left()).then_some(at)
    }

    pub(super) fn on_timeout(&mut self) {
        let now = self.fx.now();
        let late = self.find_deadline().map_or(Duration::ZERO, |at| now.since(at));
        if late > LATE {
            self.fx.count("late_wakeups");
            self.watches.values_mut().for_each(|w| w.postpone(late));
            self.suspects.values_mut().for_each(|s| s.burst.postpone(late));
        }
        self.dial_seeds();
        self.watch_seeds();
        self.watch_neighbours();
        self.run_bursts();
        self.expire_reports();
        self.fill();
        self.mix();
        self.trim();
        self.run_sync();
        self.run_trees();
        self.run_announcer();
        self.begin_streams();
        self.run_pulls();
        self.run_acks();
        self.review_own_tree();
        if self.pace_at <= now {
            self.pace(false);
        }
        if self.review_at <= now {
            self.review_receipts();
            self.run_census();
        }
        self.run_fetches();
        self.check_idle_links();
        self.check_leave();
        if self.own.refresh_at <= now {
            self.refresh_lease();
        }
        if self.own.tell_at.is_some_and(|at| at <= now) {
            self.tell_seeds();
        }
        if self.overlay.announce_at.is_some_and(|at| at <= now) {
            self.announce_neighbourhood();
        }
        let expired = self.broadcast.expire(now);
        if !expired.is_empty() {
            self.fx.store(expired.iter().map(|b| StoreOp::RemoveBatch(name(b))).collect());
        }
    }
}
