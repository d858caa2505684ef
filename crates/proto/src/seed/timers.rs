//! The timers of a seed, and the actions when they expire.

use core::time::Duration;

use super::Seed;
use crate::event::CloseReason;
use crate::failure::{Cases, LATE_DEADLINE};
use crate::registry::Registry;
use crate::time::Time;
use crate::timers::TimerName;

/// The timers of a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SeedTimer {
    /// Registry: another seed is dialled.
    Dial,
    /// Registry: another seed is pinged, or has been silent for too long.
    Ping,
    /// Cases: silent registered peers are looked for.
    Watch,
    /// Registry: the bucket hashes are sent to another seed.
    Compare,
    /// Cases: the check whether this seed reaches its peers ends.
    Reach,
    /// Cases: a case is reviewed.
    Case,
    /// Registry: gathered changes are pushed.
    Push,
    /// Links without a purpose are closed.
    IdleLinks,
    /// Registry: leases and tombstones expire.
    Expiry,
}

impl TimerName for SeedTimer {
    type Table = [Time; 9];
    const UNSET: Self::Table = [Time::MAX; 9];
    const ALL: &'static [Self] = &[
        SeedTimer::Dial,
        SeedTimer::Ping,
        SeedTimer::Watch,
        SeedTimer::Compare,
        SeedTimer::Reach,
        SeedTimer::Case,
        SeedTimer::Push,
        SeedTimer::IdleLinks,
        SeedTimer::Expiry,
    ];

    fn index(self) -> usize {
        self as usize
    }
}

impl Seed {
    /// Detects that this seed was paused or starved, and so late for actions that were due. Frames
    /// that arrived meanwhile are handled before the timeout.
    pub(super) fn notice_lateness(&mut self, before: Time) {
        let now = self.fx.now();
        let late = self.timers.next().map_or(Duration::ZERO, |at| now.since(at.max(before)));
        if late > LATE_DEADLINE {
            self.with_cases(|cases, cx| cases.on_late(cx, late));
        }
    }

    pub(super) fn on_timeout(&mut self) {
        self.cases.on_timeout();
        for timer in SeedTimer::ALL {
            if self.timers.is_due(*timer, self.fx.now()) {
                self.on_timer(*timer);
            }
        }
    }

    fn on_timer(&mut self, timer: SeedTimer) {
        match timer {
            SeedTimer::Dial => self.with_registry(Registry::dial_seeds),
            SeedTimer::Ping => self.with_registry(Registry::watch_seeds),
            SeedTimer::Watch => {
                for link in self.with_cases(Cases::silent_registrants) {
                    self.close(link, CloseReason::NoSignOfLife);
                }
            }
            SeedTimer::Compare => self.with_registry(Registry::compare),
            SeedTimer::Reach => {
                let waiting = self.with_cases(Cases::repeat_reach_check);
                self.review_cases(waiting);
            }
            SeedTimer::Case => {
                let due = self.with_cases(Cases::fail_due_probes);
                self.review_cases(due);
            }
            SeedTimer::Push => self.with_registry(Registry::push),
            SeedTimer::IdleLinks => self.close_idle_links(),
            SeedTimer::Expiry => {
                // Their entries are hidden; a case decides whether the peers are dead.
                for id in self.with_registry(Registry::expire) {
                    self.on_peer_lost(id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_of_each_timer_is_its_position() {
        assert!(SeedTimer::ALL.iter().enumerate().all(|(i, name)| name.index() == i));
        assert_eq!(SeedTimer::ALL.len(), SeedTimer::UNSET.len());
    }
}
