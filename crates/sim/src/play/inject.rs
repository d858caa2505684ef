//! Injects the faults of a scenario and schedules their reverts.

use core::cmp::Reverse;
use core::time::Duration;

use rumormill_proto::Time;

use super::Run;
use super::schedule::{Action, Revert};
use crate::network::Latency;
use crate::node::{NodeId, NodeStatus};
use crate::scenario::{FaultKind, Share, Side, Size, VictimSelection};
use crate::world::DiskFate;

/// Bytes of a message, if the scenario does not set the size.
const DEFAULT_MESSAGE_SIZE: u64 = 1024;

/// Bytes of a message that a fault publishes.
fn message_size(size: Option<Size>) -> usize {
    size.map_or(DEFAULT_MESSAGE_SIZE, |s| s.0) as usize
}

const fn fate(disk_lost: bool) -> DiskFate {
    if disk_lost { DiskFate::Lost } else { DiskFate::Kept }
}

impl Run<'_> {
    /// Injects a fault of the scenario, and schedules its revert and its next repetition.
    pub(super) fn inject_scheduled_fault(&mut self, index: usize) {
        let fault = &self.scenario.faults[index];
        let now = self.world.now();
        let until = fault.duration.map_or(self.active_phase.1, |d| now + d.0);
        let revert = self.inject(&fault.kind.clone(), until);
        match (revert, fault.duration) {
            (Some(revert), Some(duration)) => {
                self.schedule.add(now + duration.0, Action::Revert(revert));
            }
            // Without a duration, killed processes stay dead; all other faults end with the phase.
            (Some(Revert::Restart(_)) | None, None) | (None, Some(_)) => {}
            (Some(revert), None) => self.pending_reverts.push(revert),
        }
        if let Some(every) = fault.every {
            self.schedule.add(now + every.0, Action::InjectFault { fault: index });
        }
    }

    /// Selects the victims of a fault among the live peers.
    fn select_victims(&mut self, share: Share, selection: VictimSelection) -> Vec<NodeId> {
        let live = self.live();
        let n = share.of(live.len());
        if selection == VictimSelection::Random {
            return self.fault_rng.pick(&live, n);
        }
        let graph = self.world.graph();
        if selection == VictimSelection::WithNeighbours {
            let mut victims = self.fault_rng.pick(&live, n);
            let neighbours: Vec<NodeId> =
                victims.iter().flat_map(|&p| graph.neighbours(p)).collect();
            victims.extend(neighbours);
            victims.sort_unstable();
            victims.dedup();
            return victims;
        }
        let mut by_degree: Vec<(Reverse<usize>, NodeId)> =
            live.iter().map(|&p| (Reverse(graph.neighbours(p).count()), p)).collect();
        by_degree.sort_unstable();
        if selection == VictimSelection::Leaves {
            by_degree.reverse();
        }
        by_degree.into_iter().take(n).map(|(_, p)| p).collect()
    }

    /// Injects a fault; returns its revert, if it has one. `until` is the end of faults that run
    /// for some time.
    fn inject(&mut self, fault: &FaultKind, until: Time) -> Option<Revert> {
        match *fault {
            FaultKind::Crash { peers, victims } => {
                let victims = self.select_victims(peers, victims);
                victims.iter().for_each(|&p| self.world.crash(p));
                Some(Revert::Restart(victims.into_iter().map(|p| (p, DiskFate::Kept)).collect()))
            }
            FaultKind::PowerOff { peers, victims } => {
                let victims = self.select_victims(peers, victims);
                victims.iter().for_each(|&p| self.world.power_off(p));
                Some(Revert::Restart(victims.into_iter().map(|p| (p, DiskFate::Kept)).collect()))
            }
            FaultKind::Freeze { peers, victims } => {
                let victims = self.select_victims(peers, victims);
                victims.iter().for_each(|&p| self.world.freeze(p));
                Some(Revert::Thaw(victims))
            }
            FaultKind::Leave { peers, messages, size } => {
                let victims = self.select_victims(peers, VictimSelection::Random);
                for &p in &victims {
                    self.publish_and_leave(p, messages, message_size(size));
                }
                Some(Revert::Restart(victims.into_iter().map(|p| (p, DiskFate::Kept)).collect()))
            }
            FaultKind::Restart { peers, disk_lost } => {
                for p in self.select_victims(peers, VictimSelection::Random) {
                    self.world.restart(p, fate(disk_lost));
                }
                None
            }
            FaultKind::Restore { peers, clock_back } => {
                let nodes = self.select_victims(peers, VictimSelection::Random);
                nodes.iter().for_each(|&p| self.world.back_up_disk(p));
                Some(Revert::RestoreDisks { nodes, clock_back })
            }
            FaultKind::Arrive { peers } => {
                let new = self.world.add_peers(peers.of(self.scenario.peers));
                self.peers.extend(new);
                None
            }
            FaultKind::Visit { peers, stay, messages, size } => {
                let visitors = self.world.add_peers(peers.of(self.scenario.peers));
                let (at, size) = (self.world.now() + stay.0, message_size(size));
                for &node in &visitors {
                    self.schedule.add(at, Action::PublishAndLeave { node, messages, size });
                }
                self.peers.extend(visitors);
                None
            }
            FaultKind::Clone { peers } => {
                let originals = self.select_victims(peers, VictimSelection::Random);
                let copy = |p| self.world.add_copy(p, None);
                Some(Revert::Crash(originals.into_iter().filter_map(copy).collect()))
            }
            FaultKind::MoveHost { peers } => {
                for p in self.select_victims(peers, VictimSelection::Random) {
                    self.world.move_host(p);
                }
                None
            }
            FaultKind::CrashLoop { peers, gap } => {
                self.crash_loop(peers.of(self.scenario.peers), gap.0);
                None
            }
            FaultKind::CrashUnobserved { peers, pause } => {
                for p in self.select_victims(peers, VictimSelection::Random) {
                    self.crash_unobserved(p, pause.0);
                }
                None
            }
            FaultKind::CrashSeeds { .. }
            | FaultKind::FreezeSeeds { .. }
            | FaultKind::CutSeeds {} => self.inject_seed_fault(fault),
            _ => self.inject_network_fault(fault, until),
        }
    }

    /// Injects a fault of seeds.
    fn inject_seed_fault(&mut self, fault: &FaultKind) -> Option<Revert> {
        let running = |r: &Self| -> Vec<NodeId> {
            let runs = |s: &NodeId| r.world.status(*s) == NodeStatus::Running;
            r.seeds.iter().copied().filter(runs).collect()
        };
        match *fault {
            FaultKind::CrashSeeds { seeds, disk_lost } => {
                let live = running(self);
                let victims = self.fault_rng.pick(&live, seeds);
                victims.iter().for_each(|&s| self.world.crash(s));
                let disk = fate(disk_lost);
                Some(Revert::Restart(victims.into_iter().map(|s| (s, disk)).collect()))
            }
            FaultKind::FreezeSeeds { seeds } => {
                let live = running(self);
                let victims = self.fault_rng.pick(&live, seeds);
                victims.iter().for_each(|&s| self.world.freeze(s));
                Some(Revert::Thaw(victims))
            }
            FaultKind::CutSeeds {} => Some(Revert::RestorePaths(self.cut_paths_between_seeds())),
            _ => None,
        }
    }

    /// Injects a fault of paths, lines, disks or clocks, or an overload.
    fn inject_network_fault(&mut self, fault: &FaultKind, until: Time) -> Option<Revert> {
        match *fault {
            FaultKind::Partition { peers, seeds, side } => {
                let mut victims = self.select_victims(peers, VictimSelection::Random);
                victims.extend(self.fault_rng.pick(&self.seeds.clone(), seeds));
                let others: Vec<NodeId> =
                    self.world.nodes().filter(|n| !victims.contains(n)).collect();
                match side {
                    Side::Both => self.world.partition(&victims, &others),
                    Side::Out => self.world.partition_one_way(&victims, &others),
                    Side::In => self.world.partition_one_way(&others, &victims),
                }
                Some(Revert::Heal)
            }
            FaultKind::CutLinks { peers } => {
                let edges = self.select_edges(peers);
                edges.iter().for_each(|&(a, b)| self.world.cut_path(a, b));
                Some(Revert::RestorePaths(edges))
            }
            FaultKind::Flap { peers, down, up } => {
                let edges = self.select_edges(peers);
                for &(a, b) in &edges {
                    self.flap(a, b, true, (down.0, up.0), until);
                }
                Some(Revert::RestorePaths(edges))
            }
            FaultKind::Loss { part } => {
                self.world.set_loss(part);
                Some(Revert::Loss)
            }
            FaultKind::Delay { latency } => {
                let (min, max) = (latency.min.0, latency.max.0);
                self.world.set_latency(Latency::Uniform { min, max });
                Some(Revert::Delay)
            }
            FaultKind::FullQueues { part } => {
                self.world.set_queue_drops(part);
                Some(Revert::QueueDrops)
            }
            FaultKind::SlowPeer { peers, bandwidth } => {
                let victims = self.select_victims(peers, VictimSelection::Random);
                victims.iter().for_each(|&p| self.world.set_bandwidth(p, Some(bandwidth.0)));
                Some(Revert::Line(victims))
            }
            FaultKind::SlowUplink { peers, bandwidth } => {
                let victims = self.select_victims(peers, VictimSelection::Random);
                victims.iter().for_each(|&p| self.world.set_uplink(p, Some(bandwidth.0)));
                Some(Revert::Uplink(victims))
            }
            FaultKind::SlowDisk { peers, stall } => {
                for p in self.select_victims(peers, VictimSelection::Random) {
                    self.world.stall_disk(p, stall.0);
                }
                None
            }
            FaultKind::ClockJump { peers, by, back } => {
                for p in self.select_victims(peers, VictimSelection::Random) {
                    self.world.set_clock(p, by.0, back);
                }
                None
            }
            FaultKind::Overload { peers, size } => {
                let size = message_size(size);
                for p in self.select_victims(peers, VictimSelection::Random) {
                    self.overload(p, size, until);
                }
                None
            }
            _ => None,
        }
    }

    /// Selects one edge of each of some peers.
    fn select_edges(&mut self, peers: Share) -> Vec<(NodeId, NodeId)> {
        let graph = self.world.graph();
        let mut edges = Vec::new();
        for p in self.select_victims(peers, VictimSelection::Random) {
            let neighbours: Vec<NodeId> = graph.neighbours(p).collect();
            let picked = self.fault_rng.pick(&neighbours, 1);
            edges.extend(picked.into_iter().map(|n| (p, n)));
        }
        edges
    }

    /// Cuts or restores a flapping path, and schedules the next change.
    pub(super) fn flap(
        &mut self,
        a: NodeId,
        b: NodeId,
        cut: bool,
        (down, up): (Duration, Duration),
        until: Time,
    ) {
        let now = self.world.now();
        if cut && now < until {
            self.world.cut_path(a, b);
        } else {
            self.world.restore_path(a, b);
        }
        if now < until {
            let at = now + if cut { down } else { up };
            self.schedule.add(at, Action::Flap { a, b, cut: !cut, down, up, until });
        }
    }
}
