//! The schedule of a run: the actions of the nemesis and of the load generators, by time.

use core::time::Duration;
use std::collections::BTreeMap;

use rumormill_proto::Time;

use crate::node::NodeId;
use crate::world::DiskFate;

/// A scheduled action.
#[derive(Debug, Clone)]
pub(super) enum Action {
    /// Publishes the next messages of a load.
    Publish { load: usize },
    /// Adds a peer of a churn.
    Arrive { churn: usize },
    /// Lets a peer depart, for a churn.
    Depart { churn: usize },
    /// Injects a fault of the scenario.
    InjectFault { fault: usize },
    /// Reverts a fault.
    Revert(Revert),
    /// Injects the next random fault of the chaos.
    InjectChaos,
    /// Cuts or restores a flapping path.
    Flap { a: NodeId, b: NodeId, cut: bool, down: Duration, up: Duration, until: Time },
    /// Adds a peer that is killed soon; `left` more follow.
    CrashLoop { left: usize, gap: Duration },
    /// Kills a peer, if it runs.
    Crash { node: NodeId },
    /// Lets a peer publish as much as flow control allows.
    Overload { node: NodeId, size: usize, until: Time },
    /// Lets a peer publish and leave at once.
    PublishAndLeave { node: NodeId, messages: usize, size: usize },
    /// Lets an isolated peer publish and restarts it, `left` more times.
    RestartIsolated { node: NodeId, left: u32 },
    /// Isolates a peer from all nodes until it is declared dead, `left` times.
    Isolate { node: NodeId, left: u32 },
    /// Kills a peer and starts it from the earlier copy of its disk.
    RestoreDisk { node: NodeId, clock_back: bool },
    /// Checks the promises that hold at every moment.
    Check,
}

/// How a fault is reverted.
#[derive(Debug, Clone)]
pub(super) enum Revert {
    /// Restarts processes.
    Restart(Vec<(NodeId, DiskFate)>),
    /// Kills processes and starts them from the earlier copies of their disks.
    RestoreDisks { nodes: Vec<NodeId>, clock_back: bool },
    /// Lets frozen processes continue.
    Thaw(Vec<NodeId>),
    /// Kills processes: copies that have not ended by themselves.
    Crash(Vec<NodeId>),
    /// Ends all partitions.
    Heal,
    /// Restores cut paths.
    RestorePaths(Vec<(NodeId, NodeId)>),
    /// Sets the loss to the value of the scenario.
    Loss,
    /// Sets the latency to the value of the scenario.
    Delay,
    /// Stops drops from full queues.
    QueueDrops,
    /// Sets the bandwidth of lines to the value of the scenario.
    Line(Vec<NodeId>),
    /// Removes the limits of uplinks.
    Uplink(Vec<NodeId>),
}

/// Actions by time; actions with the same time keep the order of insertion.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    actions: BTreeMap<(Time, u64), Action>,
    next_number: u64,
}

impl Schedule {
    pub(super) fn add(&mut self, at: Time, action: Action) {
        self.actions.insert((at, self.next_number), action);
        self.next_number += 1;
    }

    /// Takes the first action, if it is due by `end`.
    pub(super) fn next_until(&mut self, end: Time) -> Option<(Time, Action)> {
        let entry = self.actions.first_entry().filter(|e| e.key().0 <= end)?;
        let at = entry.key().0;
        Some((at, entry.remove()))
    }

    /// Removes all actions and returns the reverts among them.
    pub(super) fn drain_reverts(&mut self) -> Vec<Revert> {
        let revert = |action| match action {
            Action::Revert(revert) => Some(revert),
            _ => None,
        };
        core::mem::take(&mut self.actions).into_values().filter_map(revert).collect()
    }
}
