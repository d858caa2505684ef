//! The deadline of a peer, and the actions when it has come.

use core::time::Duration;

use super::Peer;
use crate::failure::LATE_DEADLINE;
use crate::identity::PeerId;
use crate::io::Input;
use crate::time::Time;
use crate::wire::Frame;

/// The deadlines that an input may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MovedDeadlines {
    /// None.
    None,
    /// The deadline of this neighbour's watch, which was not the next.
    Watch(PeerId),
    /// Any.
    All,
}

impl Peer {
    /// The deadlines that an input may change. Nearly all inputs of a peer in a network at rest are
    /// pings and answers to its own; computing the deadline again takes a scan of the whole state
    /// of the peer.
    pub(super) fn moved_deadlines(&self, input: &Input) -> MovedDeadlines {
        let Input::Frame { frame, link } = input else { return MovedDeadlines::All };
        let Some(Some(known)) =
            self.deadline.get().filter(|_| self.failure.suspects().next().is_none())
        else {
            return MovedDeadlines::All;
        };
        match &**frame {
            // A sign of life of a peer that is not suspected; the answer is sent at once.
            Frame::Ping(_) => MovedDeadlines::None,
            Frame::Pong(_) => {
                let remote = self.links.open.get(link).map(|l| l.remote);
                let watch = remote.and_then(|id| self.failure.watch_deadline(&self.view(), &id));
                if watch.is_some_and(|at| at > known) {
                    remote.map_or(MovedDeadlines::All, MovedDeadlines::Watch)
                } else {
                    MovedDeadlines::All
                }
            }
            _ => MovedDeadlines::All,
        }
    }

    /// Updates the known deadline after an input.
    pub(super) fn update_deadline(&self, moves: MovedDeadlines) {
        let known = self.deadline.get().flatten();
        let MovedDeadlines::Watch(id) = moves else { return };
        let watch = self.failure.watch_deadline(&self.view(), &id);
        self.deadline.set(Some([known, watch].into_iter().flatten().min()));
    }

    /// The earliest of all deadlines.
    pub(super) fn find_deadline(&self) -> Option<Time> {
        let own = [
            self.broadcast.deadline(&self.view()),
            Some(self.seeds_deadline()),
            self.failure.deadline(&self.view()),
            self.membership.own.update_at,
            self.leave_deadline(),
            self.overlay.announce_at,
            self.overlay.trim_at,
            Some(self.overlay.fill.next),
            Some(self.overlay.next_mix),
            Some(self.membership.own.refresh_at),
            Some(self.links.next_idle_check),
            self.request_lists_at,
        ];
        let at = own.into_iter().flatten().min()?;
        (at < Time::MAX && !self.membership.own.has_left()).then_some(at)
    }

    /// Performs the actions that are due. `deadline` is the time at which it should have been
    /// called.
    pub(super) fn on_timeout(&mut self, deadline: Option<Time>) {
        let now = self.fx.now();
        let late = deadline.map_or(Duration::ZERO, |at| now.since(at));
        if late > LATE_DEADLINE {
            self.fx.count("late_wakeups");
            self.failure.postpone(late);
            self.record_trouble();
        }
        self.failure.is_behind = false;
        self.dial_seeds();
        self.watch_seeds();
        self.watch_neighbours();
        self.run_probes();
        self.expire_reports();
        self.fill();
        self.mix();
        self.trim();
        self.with_broadcast(crate::broadcast::Broadcast::on_timeout);
        self.check_idle_links();
        self.request_due_lists();
        self.with_broadcast(crate::broadcast::Broadcast::run_confirmations);
        self.check_leave();
        if self.membership.own.refresh_at <= now {
            self.refresh_lease();
        }
        if self.membership.own.update_at.is_some_and(|at| at <= now) {
            self.send_record_to_seeds();
        }
        if self.overlay.announce_at.is_some_and(|at| at <= now) {
            self.announce_neighbourhood();
        }
        self.with_broadcast(crate::broadcast::Broadcast::expire);
    }
}
