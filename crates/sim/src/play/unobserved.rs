//! Faults that impede failure detection: deaths that few or no neighbours can report, and cut paths
//! between the seeds.

use core::time::Duration;

use super::Run;
use super::schedule::{Action, Revert};
use crate::node::NodeId;

/// Shortest and longest time for which a newcomer of a crash loop runs.
const CRASH_AFTER: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(300));
/// Bytes of a message that is in transit to frozen neighbours when its publisher dies.
const IN_TRANSIT_SIZE: usize = 500;
/// Number of these messages.
const IN_TRANSIT_MESSAGES: usize = 10;

impl Run<'_> {
    /// Starts a peer that is killed soon after its start, `left` times, one after the other.
    pub(super) fn crash_loop(&mut self, left: usize, gap: Duration) {
        if left == 0 {
            return;
        }
        let new = self.world.add_peers(1);
        self.peers.extend(&new);
        let now = self.world.now();
        let lifetime = self.fault_rng.between(CRASH_AFTER.0, CRASH_AFTER.1);
        for node in new {
            self.schedule.add(now + lifetime, Action::Crash { node });
        }
        self.schedule.add(now + gap, Action::CrashLoop { left: left - 1, gap });
    }

    /// Takes the power from a publisher's host while all its neighbours but one are frozen for a
    /// moment, with the last frames of the publisher in their sockets.
    pub(super) fn crash_unobserved(&mut self, p: NodeId, pause: Duration) {
        let frozen: Vec<NodeId> = self.world.graph().neighbours(p).skip(1).collect();
        frozen.iter().for_each(|&n| self.world.freeze(n));
        let payload = vec![7; IN_TRANSIT_SIZE];
        for _ in 0..IN_TRANSIT_MESSAGES {
            // Flow control may refuse the message.
            let _ = self.world.publish(p, "last", &payload);
        }
        self.world.run_for(Duration::from_millis(20));
        self.world.power_off(p);
        let at = self.world.now() + pause;
        self.schedule.add(at, Action::Revert(Revert::Thaw(frozen)));
    }

    /// Cuts the paths between all seeds; returns these paths.
    pub(super) fn cut_paths_between_seeds(&mut self) -> Vec<(NodeId, NodeId)> {
        let mut paths = Vec::new();
        for (at, &a) in self.seeds.iter().enumerate() {
            paths.extend(self.seeds.iter().skip(at + 1).map(|&b| (a, b)));
        }
        paths.iter().for_each(|&(a, b)| self.world.cut_path(a, b));
        paths
    }
}
