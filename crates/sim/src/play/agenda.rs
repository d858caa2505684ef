//! What is still to be done to the network in a run, by time.

use core::time::Duration;
use std::collections::BTreeMap;

use rumormill_proto::Time;

use crate::node::NodeId;
use crate::world::DiskFate;

/// Something to do.
#[derive(Debug, Clone)]
pub(super) enum Deed {
    /// The next messages of a load.
    Publish { load: usize },
    /// A peer of a churn comes.
    Come { churn: usize },
    /// A peer of a churn goes.
    Go { churn: usize },
    /// A fault of the scenario begins.
    Fault { fault: usize },
    /// A fault ends.
    Undo(Undo),
    /// The next fault of the chaos.
    Chaos,
    /// A path goes or comes.
    Flap { a: NodeId, b: NodeId, closed: bool, down: Duration, up: Duration, until: Time },
    /// A peer joins, to be killed soon; and after a while another one.
    CrashLoop { left: usize, gap: Duration },
    /// A peer is killed, if it runs.
    Crash { node: NodeId },
    /// A peer publishes as much as it may.
    Overload { node: NodeId, size: usize, until: Time },
    /// A peer publishes, and leaves at once.
    Depart { node: NodeId, messages: usize, size: usize },
    /// A peer that is cut off publishes, and is killed and started again, so many times.
    RestartBurst { node: NodeId, left: u32 },
    /// A peer is cut off from all nodes until it is held to be dead, so many times.
    CutOff { node: NodeId, left: u32 },
    /// A peer is killed and started from the old copy of its disk.
    Restore { node: NodeId, clock_back: bool },
    /// The promises for every moment are looked at.
    Check,
}

/// How a fault ends.
#[derive(Debug, Clone)]
pub(super) enum Undo {
    Start(Vec<(NodeId, DiskFate)>),
    Restore {
        nodes: Vec<NodeId>,
        clock_back: bool,
    },
    Thaw(Vec<NodeId>),
    /// Processes are killed: copies that have not ended by themselves.
    Crash(Vec<NodeId>),
    Heal,
    Mend(Vec<(NodeId, NodeId)>),
    Loss,
    Delay,
    Queues,
    Line(Vec<NodeId>),
    Uplink(Vec<NodeId>),
}

/// Deeds by time; those for the same time come in the order in which they were put in.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    deeds: BTreeMap<(Time, u64), Deed>,
    number: u64,
}

impl Agenda {
    pub(super) fn put(&mut self, at: Time, deed: Deed) {
        self.deeds.insert((at, self.number), deed);
        self.number += 1;
    }

    /// The first deed, if it is due by then.
    pub(super) fn next_until(&mut self, end: Time) -> Option<(Time, Deed)> {
        let entry = self.deeds.first_entry().filter(|e| e.key().0 <= end)?;
        let at = entry.key().0;
        Some((at, entry.remove()))
    }

    /// Forgets everything, apart from how faults end: gives those.
    pub(super) fn clear(&mut self) -> Vec<Undo> {
        let undo = |deed| match deed {
            Deed::Undo(undo) => Some(undo),
            _ => None,
        };
        core::mem::take(&mut self.deeds).into_values().filter_map(undo).collect()
    }
}
