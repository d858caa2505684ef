//! Faults that a test or a scenario injects into a world.

use core::time::Duration;
use std::collections::BTreeMap;

use rumormill_proto::{CloseReason, Role, Time};

use super::{SimEvent, World};
use crate::disk::Disk;
use crate::graph::Graph;
use crate::ledger::{Impairment, ImpairmentKind, NetworkParts};
use crate::link::LinkItem;
use crate::network::Latency;
use crate::node::{NodeId, NodeStatus};
use crate::trace::Step;

/// The content of a node's disk after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFate {
    /// Everything that was durable.
    Kept,
    /// Nothing.
    Lost,
    /// The last copy of the disk ([`World::back_up_disk`]); nothing if there is none.
    Restored,
}

impl World {
    /// Kills a process: its connections are reset, dials to it are refused, and data that is not
    /// durable is lost.
    pub fn crash(&mut self, node: NodeId) {
        if !self.has_process(node) {
            return;
        }
        self.note_impairment(node, ImpairmentKind::Dead);
        if self.node(node).role() == Role::Seed {
            self.disturb();
        }
        for link in self.links.ends_at(node) {
            self.abandon(link);
        }
        self.end_process(node, NodeStatus::Killed);
    }

    /// Takes the power from a host: packets to and from it are lost without an answer.
    pub fn power_off(&mut self, node: NodeId) {
        if !self.has_process(node) {
            return;
        }
        self.note_impairment(node, ImpairmentKind::Dead);
        let links = self.links.ends_at(node);
        self.end_process(node, NodeStatus::HostDown);
        for link in links {
            self.abandon(link);
        }
        self.path_changed();
    }

    /// Stops a process as `SIGSTOP` does.
    pub fn freeze(&mut self, node: NodeId) {
        if self.node(node).status == NodeStatus::Running {
            self.note_impairment(node, ImpairmentKind::Frozen);
            self.disturb();
            self.watch_change(node, "frozen");
            self.node_mut(node).status = NodeStatus::Frozen;
            self.frozen += 1;
        }
    }

    /// Lets a frozen process continue: it gets everything that arrived meanwhile at once.
    pub fn thaw(&mut self, node: NodeId) {
        if self.node(node).status == NodeStatus::Frozen {
            self.ledger.end_impairment(node, ImpairmentKind::Frozen, self.now);
            self.disturb();
            self.node_mut(node).status = NodeStatus::Running;
            self.watch_change(node, "thawed");
            self.frozen -= 1;
            self.resume_senders(node);
            self.process_backlog(node);
        }
    }

    /// Restarts a process with the same identity and address; a process that still runs is killed
    /// first.
    pub fn restart(&mut self, node: NodeId, disk: DiskFate) {
        self.crash(node);
        if disk != DiskFate::Kept {
            self.ledger.disks_lost.push((node, self.now));
        }
        match disk {
            DiskFate::Kept => {}
            DiskFate::Lost => self.node_mut(node).disk = Disk::default(),
            DiskFate::Restored => {
                let n = self.node_mut(node);
                n.disk = n.backup.clone().unwrap_or_default();
            }
        }
        self.ledger.end_impairment(node, ImpairmentKind::Frozen, self.now);
        self.ledger.end_impairment(node, ImpairmentKind::Dead, self.now);
        self.ledger.end_impairment(node, ImpairmentKind::Left, self.now);
        self.queue.push(self.now, SimEvent::Start { node });
        self.run_to(self.now);
    }

    /// Copies a node's disk in its present state, for [`DiskFate::Restored`].
    pub fn back_up_disk(&mut self, node: NodeId) {
        let n = self.node_mut(node);
        n.backup = Some(n.disk.clone());
    }

    /// Partitions two sets of nodes in both directions, in addition to earlier partitions.
    pub fn partition(&mut self, a: &[NodeId], b: &[NodeId]) {
        self.network.partition(a, b, true);
        self.disturb();
        self.path_changed();
    }

    /// Blocks packets from one set of nodes to another; the other direction stays open.
    pub fn partition_one_way(&mut self, from: &[NodeId], to: &[NodeId]) {
        self.network.partition(from, to, false);
        self.disturb();
        self.path_changed();
    }

    /// Ends all partitions. Cut paths stay.
    pub fn heal(&mut self) {
        self.network.heal();
        self.disturb();
        self.path_changed();
    }

    /// Blocks the path between two nodes in both directions until
    /// [`restore_path`](World::restore_path).
    pub fn cut_path(&mut self, a: NodeId, b: NodeId) {
        self.network.cut_path(a, b);
        self.disturb();
        self.path_changed();
    }

    /// Opens the path between two nodes again.
    pub fn restore_path(&mut self, a: NodeId, b: NodeId) {
        self.network.restore_path(a, b);
        self.disturb();
        self.path_changed();
    }

    /// Sets the loss probability of packets sent from now on (0 to 1).
    pub fn set_loss(&mut self, loss: f64) {
        self.disturb();
        self.network.set_loss(loss);
        self.note_losses();
    }

    /// Records the beginning or the end of a period with losses.
    pub(super) fn note_losses(&mut self) {
        let (now, loses) = (self.now, self.network.loses());
        match self.ledger.losses.last_mut().filter(|(_, until)| until.is_none()) {
            Some((_, until)) if !loses => *until = Some(now),
            None if loses => self.ledger.losses.push((now, None)),
            _ => {}
        }
    }

    /// Sets the probability that an announcement or a payload finds its queue full and is dropped
    /// (0 to 1), as on a link that is too slow. Control frames are never dropped.
    pub fn set_queue_drops(&mut self, probability: f64) {
        self.disturb();
        self.network.set_queue_drops(probability);
        self.note_losses();
    }

    /// Sets the latency of packets sent from now on.
    pub fn set_latency(&mut self, latency: Latency) {
        self.disturb();
        self.network.set_latency(latency);
    }

    /// Stalls a node's disk for a time: writes become durable after it at the earliest.
    pub fn stall_disk(&mut self, node: NodeId, time: Duration) {
        let until = self.now + time;
        self.disturb();
        self.node_mut(node).writer.stall(until);
    }

    /// Moves a node's wall clock forward or back. The monotonic time of its timers is not changed.
    pub fn set_clock(&mut self, node: NodeId, by: Duration, back: bool) {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.ledger.clock_was_set = true;
        let ahead = self.node(node).clock_ahead;
        self.node_mut(node).clock_ahead =
            if back { ahead.saturating_sub(by) } else { ahead.saturating_add(by) };
        if self.node(node).status == NodeStatus::Running {
            self.send_wall_clock(node);
        }
    }

    /// Marks the network as disturbed now: promises for an undisturbed network count from here.
    pub(super) fn disturb(&mut self) {
        self.last_disturbance = self.now;
    }

    /// Since when the network has been undisturbed, deaths of peers aside; the present time if it
    /// is disturbed.
    #[must_use]
    pub fn quiet_since(&self) -> Time {
        let is_absent_seed = |n: &NodeId| {
            let n = self.node(*n);
            n.role() == Role::Seed && n.status != NodeStatus::Running
        };
        let is_limited = |n: &NodeId| self.node(*n).up_rate().is_some();
        let is_quiet = self.network.is_undisturbed()
            && self.frozen == 0
            && !self.nodes().any(|n| is_absent_seed(&n) || is_limited(&n));
        if is_quiet { self.last_disturbance } else { self.now }
    }

    // ---- consequences -----------------------------------------------------------------------

    fn has_process(&self, node: NodeId) -> bool {
        matches!(self.node(node).status, NodeStatus::Running | NodeStatus::Frozen)
    }

    fn end_process(&mut self, node: NodeId, status: NodeStatus) {
        self.frozen -= usize::from(self.node(node).status == NodeStatus::Frozen);
        self.hosts_down += usize::from(status == NodeStatus::HostDown);
        let now = self.now;
        self.node_mut(node).end_process(now, status);
        self.trace.step(self.now, node, Step::Stop, 0);
        self.watch_change(node, &format!("process ends: {status:?}"));
        self.note_parts_if_partitioned();
    }

    /// Ends the process of a peer that has left: links that are still up are closed in an orderly
    /// way.
    pub(super) fn process_left(&mut self, node: NodeId) {
        self.note_impairment(node, ImpairmentKind::Left);
        for link in self.links.ends_at(node) {
            if self.node(node).open_links.contains(&link) {
                self.transmit(link, LinkItem::Closed(CloseReason::Leaving));
                self.links.finish(link);
            } else {
                self.abandon(link);
            }
        }
        self.end_process(node, NodeStatus::Left);
    }

    /// Records the beginning of an impairment.
    pub(super) fn note_impairment(&mut self, node: NodeId, kind: ImpairmentKind) {
        let needed = if self.keeps_ledger() { self.reports_needed(node) } else { 0 };
        let from = self.now;
        let id = self.node(node).identity.id();
        let incarnation = self.peer_snapshot(node).map(|p| p.incarnation);
        let i = Impairment { node, id, incarnation, kind, from, until: None, needed };
        self.ledger.impairments.push(i);
    }

    /// Records the parts of a partitioned network after a peer started or ended: this peer may be
    /// the only connection between two parts.
    pub(super) fn note_parts_if_partitioned(&mut self) {
        if !self.network.is_whole() {
            self.note_parts();
        }
    }

    /// Records the parts of the network: sets of live peers that can reach each other over other
    /// live peers.
    pub(super) fn note_parts(&mut self) {
        if !self.keeps_ledger() {
            return;
        }
        let peers = self.live_peers();
        let reached = |from: NodeId| {
            let others = peers.iter().copied().filter(|to| *to != from);
            others.filter(|to| !self.network.is_apart(from, *to)).collect()
        };
        let links = peers.iter().map(|p| (*p, reached(*p))).collect();
        let parts = Graph::new(&links).components();
        let part_of: BTreeMap<NodeId, usize> = parts
            .iter()
            .enumerate()
            .flat_map(|(i, part)| part.iter().map(move |n| (*n, i)))
            .collect();
        if self.ledger.parts.last().is_none_or(|last| last.part_of != part_of) {
            self.ledger.parts.push(NetworkParts { from: self.now, part_of });
        }
    }

    /// Records which peers a majority of the seeds cannot reach now.
    pub(super) fn note_unreachable_peers(&mut self) {
        let with_role = |w: &World, role| -> Vec<NodeId> {
            w.nodes().filter(|&n| w.node(n).role() == role).collect()
        };
        let seeds = with_role(self, Role::Seed);
        for peer in with_role(self, Role::Peer) {
            let lost = seeds.iter().filter(|&&s| self.network.is_apart(peer, s)).count();
            let is_unreachable = !seeds.is_empty() && lost > seeds.len() / 2;
            let was_unreachable = self.ledger.is_impaired(peer, ImpairmentKind::Unreachable);
            if is_unreachable && !was_unreachable {
                self.note_impairment(peer, ImpairmentKind::Unreachable);
            } else if was_unreachable && !is_unreachable {
                self.ledger.end_impairment(peer, ImpairmentKind::Unreachable, self.now);
            }
        }
    }
}
