//! Deaths that few or none of the neighbours can report, and seeds that cannot reach each other.

use core::time::Duration;

use super::Run;
use super::agenda::{Deed, Undo};
use crate::node::NodeId;

/// How long a newcomer of a crash loop lives at least and at most.
const SHORT_LIFE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(300));
/// Bytes of a message, and how many are on their way to stopped neighbours when their publisher dies.
const ON_THE_WAY: (usize, usize) = (500, 10);

impl Run<'_> {
    /// Starts a peer that is killed soon after; `left` of them, one after the other.
    pub(super) fn crash_loop(&mut self, left: usize, gap: Duration) {
        if left == 0 {
            return;
        }
        let new = self.world.add_peers(1);
        self.peers.extend(&new);
        let now = self.world.now();
        let life = self.fault_dice.between(SHORT_LIFE.0, SHORT_LIFE.1);
        for node in new {
            self.agenda.put(now + life, Deed::Crash { node });
        }
        self.agenda.put(now + gap, Deed::CrashLoop { left: left - 1, gap });
    }

    /// A publisher's host vanishes while its neighbours, but one, are stopped for a moment: what it sent last
    /// is in their sockets then.
    pub(super) fn crash_unobserved(&mut self, p: NodeId, pause: Duration) {
        let stopped: Vec<NodeId> = self.world.graph().neighbours(p).skip(1).collect();
        stopped.iter().for_each(|&n| self.world.freeze(n));
        let payload = vec![7; ON_THE_WAY.0];
        for _ in 0..ON_THE_WAY.1 {
            // It may be busy.
            let _ = self.world.publish(p, "last", &payload);
        }
        self.world.run_for(Duration::from_millis(20));
        self.world.power_off(p);
        self.agenda.put(self.world.now() + pause, Deed::Undo(Undo::Thaw(stopped)));
    }

    /// Cuts every seed off from every other one; says which paths are cut.
    pub(super) fn cut_seeds(&mut self) -> Vec<(NodeId, NodeId)> {
        let mut cut = Vec::new();
        for (at, &a) in self.seeds.iter().enumerate() {
            cut.extend(self.seeds.iter().skip(at + 1).map(|&b| (a, b)));
        }
        cut.iter().for_each(|&(a, b)| self.world.cut(a, b));
        cut
    }
}
