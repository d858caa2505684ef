//! Faults of a scenario: how they begin, and how they end.

use core::cmp::Reverse;
use core::time::Duration;

use rumormill_proto::snapshot::PeerState;
use rumormill_proto::{Peer, Time};

use super::Run;
use super::agenda::{Deed, Undo};
use crate::network::Latency;
use crate::node::{NodeId, NodeStatus};
use crate::scenario::{Act, Share, Side, Size, Whom};
use crate::world::DiskFate;

/// Bytes of a message, if the scenario does not say.
const MESSAGE_SIZE: u64 = 1024;

/// Bytes of a message of a fault.
fn message_size(size: Option<Size>) -> usize {
    size.map_or(MESSAGE_SIZE, |s| s.0) as usize
}

const fn fate(disk_lost: bool) -> DiskFate {
    if disk_lost { DiskFate::Lost } else { DiskFate::Kept }
}

impl Run<'_> {
    /// A fault of the scenario begins; its end, and its next time, are planned.
    pub(super) fn fault(&mut self, index: usize) {
        let fault = &self.scenario.faults[index];
        let now = self.world.now();
        let until = fault.lasts.map_or(self.action.1, |l| now + l.0);
        let undo = self.begin(&fault.act.clone(), until);
        match (undo, fault.lasts) {
            (Some(undo), Some(lasts)) => self.agenda.put(now + lasts.0, Deed::Undo(undo)),
            // Who is killed for good stays dead; all else ends with the action.
            (Some(Undo::Start(_)) | None, None) | (None, Some(_)) => {}
            (Some(undo), None) => self.standing.push(undo),
        }
        if let Some(every) = fault.every {
            self.agenda.put(now + every.0, Deed::Fault { fault: index });
        }
    }

    /// Some of the live peers.
    fn some(&mut self, share: Share, whom: Whom) -> Vec<NodeId> {
        let live = self.live();
        let n = share.of(live.len());
        if whom == Whom::Random {
            return self.fault_dice.pick(&live, n);
        }
        let graph = self.world.graph();
        if whom == Whom::WithNeighbours {
            let mut struck = self.fault_dice.pick(&live, n);
            let around: Vec<NodeId> = struck.iter().flat_map(|&p| graph.neighbours(p)).collect();
            struck.extend(around);
            struck.sort_unstable();
            struck.dedup();
            return struck;
        }
        let mut by_degree: Vec<(Reverse<usize>, NodeId)> =
            live.iter().map(|&p| (Reverse(graph.neighbours(p).count()), p)).collect();
        by_degree.sort_unstable();
        if whom == Whom::Leaves {
            by_degree.reverse();
        }
        by_degree.into_iter().take(n).map(|(_, p)| p).collect()
    }

    /// An act takes place; says how it ends, if it can.
    fn begin(&mut self, act: &Act, until: Time) -> Option<Undo> {
        match *act {
            Act::Crash { peers, whom } => {
                let struck = self.some(peers, whom);
                struck.iter().for_each(|&p| self.world.crash(p));
                Some(Undo::Start(struck.into_iter().map(|p| (p, DiskFate::Kept)).collect()))
            }
            Act::PowerOff { peers, whom } => {
                let struck = self.some(peers, whom);
                struck.iter().for_each(|&p| self.world.power_off(p));
                Some(Undo::Start(struck.into_iter().map(|p| (p, DiskFate::Kept)).collect()))
            }
            Act::Freeze { peers, whom } => {
                let struck = self.some(peers, whom);
                struck.iter().for_each(|&p| self.world.freeze(p));
                Some(Undo::Thaw(struck))
            }
            Act::Leave { peers, messages, size } => {
                let those = self.some(peers, Whom::Random);
                for &p in &those {
                    self.publish_and_leave(p, messages, message_size(size));
                }
                Some(Undo::Start(those.into_iter().map(|p| (p, DiskFate::Kept)).collect()))
            }
            Act::Restart { peers, disk_lost } => {
                for p in self.some(peers, Whom::Random) {
                    self.world.restart(p, fate(disk_lost));
                }
                None
            }
            Act::Restore { peers, clock_back } => {
                let nodes = self.some(peers, Whom::Random);
                nodes.iter().for_each(|&p| self.world.back_up(p));
                Some(Undo::Restore { nodes, clock_back })
            }
            Act::Arrive { peers } => {
                let new = self.world.add_peers(peers.of(self.scenario.peers));
                self.peers.extend(new);
                None
            }
            Act::Visit { peers, stay, messages, size } => {
                let visitors = self.world.add_peers(peers.of(self.scenario.peers));
                let (at, size) = (self.world.now() + stay.0, message_size(size));
                for &node in &visitors {
                    self.agenda.put(at, Deed::Depart { node, messages, size });
                }
                self.peers.extend(visitors);
                None
            }
            Act::Clone { peers } => {
                let originals = self.some(peers, Whom::Random);
                let copy = |p| self.world.add_copy(p, None);
                Some(Undo::Crash(originals.into_iter().filter_map(copy).collect()))
            }
            Act::MoveHost { peers } => {
                for p in self.some(peers, Whom::Random) {
                    self.world.move_host(p);
                }
                None
            }
            Act::CrashLoop { peers, gap } => {
                self.crash_loop(peers.of(self.scenario.peers), gap.0);
                None
            }
            Act::CrashUnobserved { peers, pause } => {
                for p in self.some(peers, Whom::Random) {
                    self.crash_unobserved(p, pause.0);
                }
                None
            }
            Act::CrashSeeds { .. } | Act::FreezeSeeds { .. } | Act::CutSeeds {} => {
                self.strike_seeds(act)
            }
            _ => self.disturb(act, until),
        }
    }

    fn strike_seeds(&mut self, act: &Act) -> Option<Undo> {
        let running = |r: &Self| -> Vec<NodeId> {
            let runs = |s: &NodeId| r.world.status(*s) == NodeStatus::Running;
            r.seeds.iter().copied().filter(runs).collect()
        };
        match *act {
            Act::CrashSeeds { seeds, disk_lost } => {
                let live = running(self);
                let struck = self.fault_dice.pick(&live, seeds);
                struck.iter().for_each(|&s| self.world.crash(s));
                Some(Undo::Start(struck.into_iter().map(|s| (s, fate(disk_lost))).collect()))
            }
            Act::FreezeSeeds { seeds } => {
                let live = running(self);
                let struck = self.fault_dice.pick(&live, seeds);
                struck.iter().for_each(|&s| self.world.freeze(s));
                Some(Undo::Thaw(struck))
            }
            Act::CutSeeds {} => Some(Undo::Mend(self.cut_seeds())),
            _ => None,
        }
    }

    /// Acts on paths, lines, disks and clocks.
    fn disturb(&mut self, act: &Act, until: Time) -> Option<Undo> {
        match *act {
            Act::Partition { peers, seeds, side } => {
                let mut one = self.some(peers, Whom::Random);
                one.extend(self.fault_dice.pick(&self.seeds.clone(), seeds));
                let other: Vec<NodeId> = self.world.nodes().filter(|n| !one.contains(n)).collect();
                match side {
                    Side::Both => self.world.partition(&one, &other),
                    Side::Out => self.world.partition_one_way(&one, &other),
                    Side::In => self.world.partition_one_way(&other, &one),
                }
                Some(Undo::Heal)
            }
            Act::CutLinks { peers } => {
                let edges = self.an_edge_each(peers);
                edges.iter().for_each(|&(a, b)| self.world.cut(a, b));
                Some(Undo::Mend(edges))
            }
            Act::Flap { peers, down, up } => {
                let edges = self.an_edge_each(peers);
                for &(a, b) in &edges {
                    self.flap(a, b, true, (down.0, up.0), until);
                }
                Some(Undo::Mend(edges))
            }
            Act::Loss { part } => {
                self.world.set_loss(part);
                Some(Undo::Loss)
            }
            Act::Delay { latency } => {
                let (min, max) = (latency.min.0, latency.max.0);
                self.world.set_latency(Latency::Uniform { min, max });
                Some(Undo::Delay)
            }
            Act::FullQueues { part } => {
                self.world.set_skips(part);
                Some(Undo::Queues)
            }
            Act::SlowPeer { peers, bandwidth } => {
                let struck = self.some(peers, Whom::Random);
                struck.iter().for_each(|&p| self.world.set_bandwidth(p, Some(bandwidth.0)));
                Some(Undo::Line(struck))
            }
            Act::SlowUplink { peers, bandwidth } => {
                let struck = self.some(peers, Whom::Random);
                struck.iter().for_each(|&p| self.world.set_uplink(p, Some(bandwidth.0)));
                Some(Undo::Uplink(struck))
            }
            Act::SlowDisk { peers, stall } => {
                for p in self.some(peers, Whom::Random) {
                    self.world.stall_disk(p, stall.0);
                }
                None
            }
            Act::ClockJump { peers, by, back } => {
                for p in self.some(peers, Whom::Random) {
                    self.world.set_clock(p, by.0, back);
                }
                None
            }
            Act::Overload { peers, size } => {
                let size = message_size(size);
                for p in self.some(peers, Whom::Random) {
                    self.overload(p, size, until);
                }
                None
            }
            _ => None,
        }
    }

    /// An edge of each of some peers.
    fn an_edge_each(&mut self, peers: Share) -> Vec<(NodeId, NodeId)> {
        let graph = self.world.graph();
        let mut edges = Vec::new();
        for p in self.some(peers, Whom::Random) {
            let neighbours: Vec<NodeId> = graph.neighbours(p).collect();
            let picked = self.fault_dice.pick(&neighbours, 1);
            edges.extend(picked.into_iter().map(|n| (p, n)));
        }
        edges
    }

    /// A path goes or comes, and will come or go again.
    pub(super) fn flap(
        &mut self,
        a: NodeId,
        b: NodeId,
        closed: bool,
        (down, up): (Duration, Duration),
        until: Time,
    ) {
        let now = self.world.now();
        if closed && now < until {
            self.world.cut(a, b);
        } else {
            self.world.mend(a, b);
        }
        if now < until {
            let at = now + if closed { down } else { up };
            self.agenda.put(at, Deed::Flap { a, b, closed: !closed, down, up, until });
        }
    }

    /// A fault ends.
    pub(super) fn undo(&mut self, undo: Undo) {
        let network = &self.scenario.network;
        match undo {
            Undo::Start(nodes) => {
                for (node, disk) in nodes {
                    let leaves = |p: &Peer| p.state() == PeerState::Leaving;
                    let down = match self.world.status(node) {
                        NodeStatus::Killed | NodeStatus::HostDown | NodeStatus::Left => true,
                        _ => self.world.peer(node).is_some_and(leaves),
                    };
                    if down {
                        self.world.restart(node, disk);
                    }
                }
            }
            Undo::Restore { nodes, clock_back } => {
                nodes.into_iter().for_each(|n| self.restore(n, clock_back));
            }
            Undo::Thaw(nodes) => nodes.into_iter().for_each(|n| self.world.thaw(n)),
            Undo::Crash(nodes) => nodes.into_iter().for_each(|n| self.world.crash(n)),
            Undo::Heal => self.world.heal(),
            Undo::Mend(edges) => edges.into_iter().for_each(|(a, b)| self.world.mend(a, b)),
            Undo::Loss => self.world.set_loss(network.loss),
            Undo::Delay => self.world.set_latency(network.latency()),
            Undo::Queues => self.world.set_skips(0.0),
            Undo::Line(nodes) => {
                let line = network.bandwidth.map(|b| b.0);
                nodes.into_iter().for_each(|n| self.world.set_bandwidth(n, line));
            }
            Undo::Uplink(nodes) => nodes.into_iter().for_each(|n| self.world.set_uplink(n, None)),
        }
    }
}
