//! Faults of a publisher's streams: restarts behind a partition, repeated refutations, and
//! disks that are restored from an old copy.

use core::time::Duration;

use super::Run;
use super::agenda::{Deed, Undo};
use crate::node::{NodeId, NodeStatus};
use crate::world::DiskFate;

/// Messages that a peer publishes each time.
const MESSAGES: usize = 3;
/// Restarts of a burst, and times that a peer is cut off.
const RESTARTS: u32 = 6;
const CUTS: u32 = 3;
/// Between two restarts of a burst.
const BURST_GAP: Duration = Duration::from_millis(400);
/// How long a peer is cut off each time, and how long it is connected in between.
const CUT_OFF: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(12));
const CONNECTED: Duration = Duration::from_secs(8);
/// How old the copy of a disk is when it is put back.
const COPY_AGE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(40));
/// How far the clock of a restored host is behind.
const CLOCK_BACK: Duration = Duration::from_secs(3600);

impl Run<'_> {
    /// One of the faults of this file.
    pub(super) fn strike_a_stream(&mut self, p: NodeId) {
        match self.chaos_dice.below(3) {
            0 => self.restart_again(p, RESTARTS),
            1 => self.cut_off_again(p, CUTS),
            _ => {
                self.world.back_up(p);
                let clock_back = self.chaos_dice.below(2) == 0;
                let at = self.world.now() + self.chaos_dice.between(COPY_AGE.0, COPY_AGE.1);
                self.agenda.put(at, Deed::Restore { node: p, clock_back });
            }
        }
    }

    /// A peer that no node can reach publishes and starts again; in the end the way is open.
    pub(super) fn restart_again(&mut self, node: NodeId, left: u32) {
        if self.world.status(node) != NodeStatus::Running {
            return;
        }
        let now = self.world.now();
        if left == RESTARTS {
            let all = self.paths_of(node);
            all.iter().for_each(|&(a, b)| self.world.cut(a, b));
            self.agenda.put(now + BURST_GAP * (RESTARTS + 1), Deed::Undo(Undo::Mend(all)));
        } else {
            self.world.restart(node, DiskFate::Kept);
        }
        self.publish_some(node);
        if left > 0 {
            self.agenda.put(now + BURST_GAP, Deed::RestartBurst { node, left: left - 1 });
        }
    }

    /// A peer is cut off and publishes, until it is held to be dead; then it is back, and once more.
    pub(super) fn cut_off_again(&mut self, node: NodeId, left: u32) {
        let all = self.paths_of(node);
        all.iter().for_each(|&(a, b)| self.world.cut(a, b));
        self.publish_some(node);
        let back = self.world.now() + self.chaos_dice.between(CUT_OFF.0, CUT_OFF.1);
        self.agenda.put(back, Deed::Undo(Undo::Mend(all)));
        if left > 1 {
            self.agenda.put(back + CONNECTED, Deed::CutOff { node, left: left - 1 });
        }
    }

    pub(super) fn restore(&mut self, node: NodeId, clock_back: bool) {
        if clock_back {
            self.world.set_clock(node, CLOCK_BACK, true);
        }
        self.world.restart(node, DiskFate::Restored);
        self.publish_some(node);
    }

    fn publish_some(&mut self, node: NodeId) {
        for _ in 0..MESSAGES {
            // It may be busy, or about to leave.
            let _ = self.world.publish(node, "streams", b"published while cut off");
        }
    }

    fn paths_of(&self, node: NodeId) -> Vec<(NodeId, NodeId)> {
        self.world.nodes().filter(|&n| n != node).map(|n| (node, n)).collect()
    }
}
