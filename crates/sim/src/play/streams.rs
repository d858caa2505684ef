//! Faults of a publisher's streams: restarts behind a partition, repeated refutations, and
//! disks that are restored from an earlier copy.

use core::time::Duration;

use super::Run;
use super::schedule::{Action, Revert};
use crate::node::{NodeId, NodeStatus};
use crate::world::DiskFate;

/// Messages that a peer publishes in each step of a fault.
const MESSAGES: usize = 3;
/// Restarts of an isolated publisher.
const RESTARTS: u32 = 6;
/// How often a publisher is isolated until it is declared dead.
const ISOLATIONS: u32 = 3;
/// Time between two restarts of an isolated publisher.
const RESTART_INTERVAL: Duration = Duration::from_millis(400);
/// Shortest and longest isolation of a publisher that is to be declared dead.
const ISOLATED_FOR: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(12));
/// Time between two isolations of a publisher.
const CONNECTED_FOR: Duration = Duration::from_secs(8);
/// Smallest and largest age of the copy of a disk when it is restored.
const COPY_AGE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(40));
/// How far the clock of a restored host is set back.
const CLOCK_BACK: Duration = Duration::from_secs(3600);

impl Run<'_> {
    /// Draws one of the faults of this module and injects it.
    pub(super) fn inject_stream_fault(&mut self, p: NodeId) {
        match self.chaos_rng.below(3) {
            0 => self.restart_isolated(p, RESTARTS),
            1 => self.isolate(p, ISOLATIONS),
            _ => {
                self.world.back_up_disk(p);
                let clock_back = self.chaos_rng.below(2) == 0;
                let at = self.world.now() + self.chaos_rng.between(COPY_AGE.0, COPY_AGE.1);
                self.schedule.add(at, Action::RestoreDisk { node: p, clock_back });
            }
        }
    }

    /// Isolates a peer, lets it publish and restarts it `left` times; then its paths are restored.
    pub(super) fn restart_isolated(&mut self, node: NodeId, left: u32) {
        if self.world.status(node) != NodeStatus::Running {
            return;
        }
        let now = self.world.now();
        if left == RESTARTS {
            let all = self.paths_of(node);
            all.iter().for_each(|&(a, b)| self.world.cut_path(a, b));
            let end = now + RESTART_INTERVAL * (RESTARTS + 1);
            self.schedule.add(end, Action::Revert(Revert::RestorePaths(all)));
        } else {
            self.world.restart(node, DiskFate::Kept);
        }
        self.publish_some(node);
        if left > 0 {
            let next = Action::RestartIsolated { node, left: left - 1 };
            self.schedule.add(now + RESTART_INTERVAL, next);
        }
    }

    /// Isolates a peer, which publishes, until it is declared dead and restores its paths, `left`
    /// times.
    pub(super) fn isolate(&mut self, node: NodeId, left: u32) {
        let all = self.paths_of(node);
        all.iter().for_each(|&(a, b)| self.world.cut_path(a, b));
        self.publish_some(node);
        let end = self.world.now() + self.chaos_rng.between(ISOLATED_FOR.0, ISOLATED_FOR.1);
        self.schedule.add(end, Action::Revert(Revert::RestorePaths(all)));
        if left > 1 {
            self.schedule.add(end + CONNECTED_FOR, Action::Isolate { node, left: left - 1 });
        }
    }

    /// Restarts a peer from the earlier copy of its disk and lets it publish.
    pub(super) fn restore_disk(&mut self, node: NodeId, clock_back: bool) {
        if clock_back {
            self.world.set_clock(node, CLOCK_BACK, true);
        }
        self.world.restart(node, DiskFate::Restored);
        self.publish_some(node);
    }

    fn publish_some(&mut self, node: NodeId) {
        for _ in 0..MESSAGES {
            // Flow control may refuse the message, or the peer may be leaving.
            let _ = self.world.publish(node, "streams", b"published while cut off");
        }
    }

    fn paths_of(&self, node: NodeId) -> Vec<(NodeId, NodeId)> {
        self.world.nodes().filter(|&n| n != node).map(|n| (node, n)).collect()
    }
}
