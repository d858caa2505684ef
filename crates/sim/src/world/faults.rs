//! What can go wrong, on purpose.

use core::time::Duration;
use std::collections::BTreeMap;

use rumormill_proto::{CloseReason, Role, Time};

use super::{Happening, World};
use crate::disk::Disk;
use crate::graph::Graph;
use crate::ledger::{Impairment, Parts, Trouble};
use crate::link::Item;
use crate::network::Latency;
use crate::node::{NodeId, NodeStatus};
use crate::trace::Step;

/// What is left of a node's disk at a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFate {
    /// Everything that was safely stored.
    Kept,
    /// Nothing.
    Lost,
    /// What there was when the disk was last copied ([`World::back_up`]); nothing if it never was.
    Restored,
}

impl World {
    /// Kills a process: its connections are reset, dials to it are refused, what it had not stored
    /// is gone.
    pub fn crash(&mut self, node: NodeId) {
        if !self.has_process(node) {
            return;
        }
        self.trouble(node, Trouble::Dead);
        if self.node(node).role() == Role::Seed {
            self.disturb();
        }
        for link in self.links.ends_at(node) {
            self.abandon(link);
        }
        self.end_process(node, NodeStatus::Killed);
    }

    /// Takes a host off the network without a word: packets to and from it vanish.
    pub fn power_off(&mut self, node: NodeId) {
        if !self.has_process(node) {
            return;
        }
        self.trouble(node, Trouble::Dead);
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
            self.trouble(node, Trouble::Frozen);
            self.disturb();
            self.watch_change(node, "freezes");
            self.node_mut(node).status = NodeStatus::Frozen;
            self.frozen += 1;
        }
    }

    /// Lets a frozen process go on: it gets everything that came in the meantime, now.
    pub fn thaw(&mut self, node: NodeId) {
        if self.node(node).status == NodeStatus::Frozen {
            self.ledger.end_trouble(node, Trouble::Frozen, self.now);
            self.disturb();
            self.node_mut(node).status = NodeStatus::Running;
            self.watch_change(node, "goes on");
            self.frozen -= 1;
            self.room_again(node);
            self.work_off_backlog(node);
        }
    }

    /// Starts a process again, with the same identity and address; one that still runs is killed
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
        self.ledger.end_trouble(node, Trouble::Frozen, self.now);
        self.ledger.end_trouble(node, Trouble::Dead, self.now);
        self.ledger.end_trouble(node, Trouble::Left, self.now);
        self.queue.push(self.now, Happening::Start { node });
        self.run_to(self.now);
    }

    /// Copies a node's disk as it is now, to be put back by [`DiskFate::Restored`].
    pub fn back_up(&mut self, node: NodeId) {
        let n = self.node_mut(node);
        n.backup = Some(n.disk.clone());
    }

    /// Closes the network between two sets of nodes, both ways. Several partitions add up.
    pub fn partition(&mut self, a: &[NodeId], b: &[NodeId]) {
        self.network.partition(a, b, true);
        self.disturb();
        self.path_changed();
    }

    /// Closes the network from one set of nodes to another; the other way stays open.
    pub fn partition_one_way(&mut self, from: &[NodeId], to: &[NodeId]) {
        self.network.partition(from, to, false);
        self.disturb();
        self.path_changed();
    }

    /// Ends all partitions. Cuts stay.
    pub fn heal(&mut self) {
        self.network.heal();
        self.disturb();
        self.path_changed();
    }

    /// Closes the network between two nodes for good.
    pub fn cut(&mut self, a: NodeId, b: NodeId) {
        self.network.cut(a, b);
        self.disturb();
        self.path_changed();
    }

    /// Ends a cut.
    pub fn mend(&mut self, a: NodeId, b: NodeId) {
        self.network.mend(a, b);
        self.disturb();
        self.path_changed();
    }

    /// Changes the loss for packets sent from now on (0 to 1).
    pub fn set_loss(&mut self, loss: f64) {
        self.disturb();
        self.network.set_loss(loss);
        self.note_losses();
    }

    /// Notes since when something is lost on the way, and until when it was.
    pub(super) fn note_losses(&mut self) {
        let (now, loses) = (self.now, self.network.loses());
        match self.ledger.losses.last_mut().filter(|(_, until)| until.is_none()) {
            Some((_, until)) if !loses => *until = Some(now),
            None if loses => self.ledger.losses.push((now, None)),
            _ => {}
        }
    }

    /// Part of the announcements and payloads that find no room in their queue and are never sent
    /// (0 to 1), as on a link that is too slow. Control goes through in any case.
    pub fn set_skips(&mut self, part: f64) {
        self.disturb();
        self.network.set_skips(part);
        self.note_losses();
    }

    /// Changes the latency for packets sent from now on.
    pub fn set_latency(&mut self, latency: Latency) {
        self.disturb();
        self.network.set_latency(latency);
    }

    /// Makes a node's disk slow from now for a while: requests finish after it.
    pub fn stall_disk(&mut self, node: NodeId, time: Duration) {
        let until = self.now + time;
        self.disturb();
        self.node_mut(node).writer.stall(until);
    }

    /// Sets a node's wall clock by so much, forward or back. Time for its timers goes on as before.
    pub fn set_clock(&mut self, node: NodeId, by: Duration, back: bool) {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.ledger.clock_was_set = true;
        let ahead = self.node(node).clock_ahead;
        self.node_mut(node).clock_ahead =
            if back { ahead.saturating_sub(by) } else { ahead.saturating_add(by) };
        if self.node(node).status == NodeStatus::Running {
            self.tell_wall_clock(node);
        }
    }

    /// Something is not as it was: what is promised for a quiet network counts from now.
    pub(super) fn disturb(&mut self) {
        self.disturbed = self.now;
    }

    /// Since when nothing has disturbed the network, deaths of peers aside; now, if something does.
    #[must_use]
    pub fn quiet_since(&self) -> Time {
        let seed_away = |n: &NodeId| {
            let n = self.node(*n);
            n.role() == Role::Seed && n.status != NodeStatus::Running
        };
        let slow = |n: &NodeId| self.node(*n).up_rate().is_some();
        let quiet = self.network.is_undisturbed()
            && self.frozen == 0
            && !self.nodes().any(|n| seed_away(&n) || slow(&n));
        if quiet { self.disturbed } else { self.now }
    }

    // ---- what follows from it ---------------------------------------------------------------

    fn has_process(&self, node: NodeId) -> bool {
        matches!(self.node(node).status, NodeStatus::Running | NodeStatus::Frozen)
    }

    fn end_process(&mut self, node: NodeId, status: NodeStatus) {
        self.frozen -= usize::from(self.node(node).status == NodeStatus::Frozen);
        self.hosts_down += usize::from(status == NodeStatus::HostDown);
        let now = self.now;
        self.node_mut(node).end_process(now, status);
        self.trace.step(self.now, node, Step::Stop, 0);
        self.watch_change(node, &format!("ends: {status:?}"));
        self.note_bridges();
    }

    /// The peer has said goodbye and its process ends: links still up are closed in an orderly way.
    pub(super) fn process_left(&mut self, node: NodeId) {
        self.trouble(node, Trouble::Left);
        for link in self.links.ends_at(node) {
            if self.node(node).open_links.contains(&link) {
                self.transmit(link, Item::Closed(CloseReason::Leaving));
                self.links.finish(link);
            } else {
                self.abandon(link);
            }
        }
        self.end_process(node, NodeStatus::Left);
    }

    pub(super) fn trouble(&mut self, node: NodeId, trouble: Trouble) {
        let needed = if self.is_judged() { self.reports_needed(node) } else { 0 };
        let from = self.now;
        let id = self.node(node).identity.id();
        let incarnation = self.peer_snapshot(node).map(|p| p.incarnation);
        let i = Impairment { node, id, incarnation, trouble, from, until: None, needed };
        self.ledger.impairments.push(i);
    }

    /// A peer came or went: it may be all that links two parts of a network that is cut.
    pub(super) fn note_bridges(&mut self) {
        if !self.network.is_whole() {
            self.note_parts();
        }
    }

    /// Notes which parts the network falls into now, as far as gossip goes.
    pub(super) fn note_parts(&mut self) {
        if !self.is_judged() {
            return;
        }
        let peers = self.live_peers();
        let reached = |from: NodeId| {
            let others = peers.iter().copied().filter(|to| *to != from);
            others.filter(|to| !self.network.is_apart(from, *to)).collect()
        };
        let links = peers.iter().map(|p| (*p, reached(*p))).collect();
        let parts = Graph::new(&links).components();
        let of = parts.iter().enumerate().flat_map(|(i, part)| part.iter().map(move |n| (*n, i)));
        let of: BTreeMap<NodeId, usize> = of.collect();
        if self.ledger.parts.last().is_none_or(|last| last.of != of) {
            self.ledger.parts.push(Parts { from: self.now, of });
        }
    }

    /// Notes which peers a majority of the seeds cannot reach now.
    pub(super) fn note_cut_off(&mut self) {
        let of = |w: &World, role| -> Vec<NodeId> {
            w.nodes().filter(|&n| w.node(n).role() == role).collect()
        };
        let seeds = of(self, Role::Seed);
        for peer in of(self, Role::Peer) {
            let lost = seeds.iter().filter(|&&s| self.network.is_apart(peer, s)).count();
            let cut_off = !seeds.is_empty() && lost > seeds.len() / 2;
            let before = self.ledger.is_in_trouble(peer, Trouble::CutOff);
            if cut_off && !before {
                self.trouble(peer, Trouble::CutOff);
            } else if before && !cut_off {
                self.ledger.end_trouble(peer, Trouble::CutOff, self.now);
            }
        }
    }
}
