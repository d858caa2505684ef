//! Reverts the faults of a scenario.

use rumormill_proto::Peer;
use rumormill_proto::snapshot::PeerState;

use super::Run;
use super::schedule::Revert;
use crate::node::NodeStatus;

impl Run<'_> {
    /// Reverts a fault.
    pub(super) fn revert(&mut self, revert: Revert) {
        let network = &self.scenario.network;
        match revert {
            Revert::Restart(nodes) => {
                for (node, disk) in nodes {
                    let is_leaving = |p: &Peer| p.state() == PeerState::Leaving;
                    let needs_restart = match self.world.status(node) {
                        NodeStatus::Killed | NodeStatus::HostDown | NodeStatus::Left => true,
                        _ => self.world.peer(node).is_some_and(is_leaving),
                    };
                    if needs_restart {
                        self.world.restart(node, disk);
                    }
                }
            }
            Revert::RestoreDisks { nodes, clock_back } => {
                nodes.into_iter().for_each(|n| self.restore_disk(n, clock_back));
            }
            Revert::Thaw(nodes) => nodes.into_iter().for_each(|n| self.world.thaw(n)),
            Revert::Crash(nodes) => nodes.into_iter().for_each(|n| self.world.crash(n)),
            Revert::Heal => self.world.heal(),
            Revert::RestorePaths(paths) => {
                paths.into_iter().for_each(|(a, b)| self.world.restore_path(a, b));
            }
            Revert::Loss => self.world.set_loss(network.loss),
            Revert::Delay => self.world.set_latency(network.latency()),
            Revert::QueueDrops => self.world.set_queue_drops(0.0),
            Revert::Line(nodes) => {
                let line = network.bandwidth.map(|b| b.0);
                nodes.into_iter().for_each(|n| self.world.set_bandwidth(n, line));
            }
            Revert::Uplink(nodes) => nodes.into_iter().for_each(|n| self.world.set_uplink(n, None)),
        }
    }
}
