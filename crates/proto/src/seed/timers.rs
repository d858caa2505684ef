//! The deadline of a seed, and the actions when it has come.

use core::time::Duration;

use super::Seed;
use crate::event::Event;
use crate::failure::LATE_DEADLINE;
use crate::io::StoreOp;
use crate::time::Time;

impl Seed {
    pub(super) fn deadline(&self) -> Option<Time> {
        let push = self.pending_updates.at.unwrap_or(Time::MAX);
        let at = [
            push,
            self.others_deadline(),
            self.cases_deadline(),
            self.next_expiry,
            self.next_idle_check,
            self.next_watch,
            self.reach_deadline(),
        ];
        at.into_iter().min().filter(|at| *at < Time::MAX)
    }

    /// Detects that this seed was paused or starved, and so late for actions that were due: probes
    /// get as much more time. Frames that arrived meanwhile are handled before the timeout.
    pub(super) fn notice_lateness(&mut self, before: Time) {
        let now = self.fx.now();
        let late = self.deadline().map_or(Duration::ZERO, |at| now.since(at.max(before)));
        if late > LATE_DEADLINE {
            self.fx.counters.late_wakeups += 1;
            self.cases.values_mut().for_each(|c| c.probe.postpone(late));
            self.awake_since = now;
            self.is_behind = true;
        }
    }

    pub(super) fn on_timeout(&mut self) {
        self.is_behind = false;
        self.dial_seeds();
        self.watch_seeds();
        self.watch_registrants();
        self.compare();
        self.repeat_reach_check();
        let failed = self.fail_due_probes();
        self.review_cases(&failed);
        self.push();
        self.check_idle_links();
        self.expire();
    }

    fn expire(&mut self) {
        let now = self.fx.now();
        if now < self.next_expiry {
            return;
        }
        self.next_expiry = now + self.config.lease() / 24;
        let (hidden, forgotten) = self.table.expire(now);
        for entry in hidden {
            self.fx.counters.leases_expired += 1;
            let name = entry.record.name.clone();
            self.fx.event(Event::PeerExpired { id: entry.id(), name });
            // The entry is hidden; a case decides whether the peer is dead.
            self.on_peer_lost(entry.id());
        }
        if !forgotten.is_empty() {
            self.failed_writes.retain(|id| !forgotten.contains(id));
            self.fx.store(forgotten.into_iter().map(StoreOp::RemoveEntry).collect());
        }
    }
}
