//! Chaos: random faults, injected and reverted at random times.

use core::time::Duration;

use super::Run;
use super::schedule::{Action, Revert};
use crate::node::{NodeId, NodeStatus};
use crate::world::DiskFate;

/// Number of live peers below which chaos kills no peer.
const MIN_LIVE_PEERS: usize = 3;
/// Probabilities of drops from full queues, one of which is drawn.
const QUEUE_DROPS: [f64; 4] = [0.0, 0.01, 0.1, 0.5];
/// Probabilities of packet loss, one of which is drawn.
const LOSSES: [f64; 3] = [0.0, 0.01, 0.05];
/// How long the process of a copy runs, if it does not end by itself: chaos may kill its original
/// meanwhile.
const COPY_RUNS: Duration = Duration::from_secs(1);
/// Bytes of the messages of a peer that leaves under load.
const LEAVER_MESSAGE_SIZES: [usize; 3] = [200, 20_000, 200_000];
/// Bytes a second of the line of a peer that leaves under load.
const LEAVER_BANDWIDTHS: [u64; 3] = [128 * 1024, 1024 * 1024, 4 * 1024 * 1024];
/// Bytes a second of a line that becomes slow; the first is 128 kbit/s.
const SLOW_BANDWIDTHS: [u64; 3] = [16_000, 64_000, 256_000];
/// A line becomes slow in one of this many steps of the chaos.
const SLOW_LINE_ODDS: usize = 10;
/// Bytes a second of a slow uplink: 128 kbit/s.
const SLOW_UPLINK: u64 = 16_000;
/// Longest partition between the seeds and most peers: less than a lease.
const LONGEST_SEED_PARTITION: Duration = Duration::from_secs(60);
/// Most live peers, as a multiple of the initial number.
const MAX_GROWTH: usize = 3;

impl Run<'_> {
    pub(super) fn schedule_chaos(&mut self) {
        if let Some(chaos) = self.scenario.chaos {
            let at = self.active_phase.0 + chaos.from.0;
            self.schedule.add(at, Action::InjectChaos);
        }
    }

    /// One step of the chaos: injects or reverts some random faults and schedules the next step.
    pub(super) fn inject_chaos(&mut self) {
        let Some(chaos) = self.scenario.chaos else { return };
        let (begin, end) = self.active_phase;
        let until = chaos.until.map_or(end, |u| begin + u.0);
        if self.world.now() >= until {
            return;
        }
        let running = self.random_peer_with(NodeStatus::Running);
        match running {
            Some(p) if self.live().len() > MIN_LIVE_PEERS => self.inject_random_fault(p),
            _ => self.revert_random_fault(),
        }
        if chaos.seeds {
            self.inject_or_revert_seed_fault();
        }
        self.move_or_copy_host();
        if self.chaos_rng.below(SLOW_LINE_ODDS) == 0 {
            self.slow_line();
        }
        self.request_receipt();
        self.inject_rare_fault(chaos.seeds);
        let (min, max) = (chaos.every.min.0, chaos.every.max.0);
        let gap = self.chaos_rng.between(min, max).max(Duration::from_micros(1));
        self.schedule.add(self.world.now() + gap, Action::InjectChaos);
    }

    /// Lets a running peer publish a message with a delivery receipt.
    fn request_receipt(&mut self) {
        if let Some(p) = self.random_peer_with(NodeStatus::Running) {
            // Flow control may refuse the message.
            let _ = self.world.publish_with_receipt(p, "receipts", b"to be confirmed");
        }
    }

    fn random_peer_with(&mut self, status: NodeStatus) -> Option<NodeId> {
        let all: Vec<NodeId> =
            self.peers.iter().copied().filter(|&p| self.world.status(p) == status).collect();
        self.chaos_rng.pick(&all, 1).first().copied()
    }

    /// Draws a fault and injects it, in most cases at peer `p`.
    fn inject_random_fault(&mut self, p: NodeId) {
        match self.chaos_rng.below(18) {
            0 => self.world.crash(p),
            1 => self.world.power_off(p),
            2 | 3 => self.world.freeze(p),
            4 => self.world.restart(p, DiskFate::Kept),
            5 => self.partition_a_third(),
            6 => self.world.set_queue_drops(QUEUE_DROPS[self.chaos_rng.below(QUEUE_DROPS.len())]),
            7 => self.world.set_loss(LOSSES[self.chaos_rng.below(LOSSES.len())]),
            8 if self.live().len() < self.scenario.peers * MAX_GROWTH => {
                let new = self.world.add_peers(1);
                self.peers.extend(new);
            }
            9 => self.leave_and_maybe_return(p),
            10 => self.cut_path_to_neighbour(p),
            11 => self.leave_under_load(p),
            12 => self.inject_stream_fault(p),
            _ => self.revert_random_fault(),
        }
    }

    /// Injects a rare fault in some steps: a death that no neighbour can report, a slow uplink, cut
    /// paths between the seeds, or a partition of the seeds and a few peers from all others.
    fn inject_rare_fault(&mut self, seeds: bool) {
        let now = self.world.now();
        let live = self.live();
        let spare = live.len().saturating_sub(MIN_LIVE_PEERS);
        let Some(&p) = self.chaos_rng.pick(&live, 1).first() else { return };
        match self.chaos_rng.below(60) {
            0 => {
                let neighbours: Vec<NodeId> = self.world.graph().neighbours(p).collect();
                if neighbours.len() < spare {
                    self.world.crash(p);
                    neighbours.into_iter().for_each(|n| self.world.crash(n));
                }
            }
            1 => {
                let n = 1 + self.chaos_rng.below(5);
                self.crash_loop(n, Duration::from_millis(200));
            }
            2 if spare > 0 => self.crash_unobserved(p, Duration::from_millis(400)),
            3 => {
                self.world.set_uplink(p, Some(SLOW_UPLINK));
                let gap = self.chaos_rng.between(Duration::from_secs(1), Duration::from_secs(20));
                self.schedule.add(now + gap, Action::Revert(Revert::Uplink(vec![p])));
            }
            4 if seeds => {
                let cut = self.cut_paths_between_seeds();
                let gap = self.chaos_rng.between(Duration::from_secs(1), Duration::from_secs(20));
                self.schedule.add(now + gap, Action::Revert(Revert::RestorePaths(cut)));
            }
            5 if seeds => {
                let few = self.chaos_rng.below(live.len() / 4 + 1);
                self.partition_seeds_from_most_peers(&live, few);
                let gap = self.chaos_rng.between(Duration::from_secs(1), LONGEST_SEED_PARTITION);
                self.schedule.add(now + gap, Action::Revert(Revert::Heal));
            }
            _ => {}
        }
    }

    /// Partitions the seeds and a few of the live peers from all others.
    fn partition_seeds_from_most_peers(&mut self, live: &[NodeId], few: usize) {
        let few = self.chaos_rng.pick(live, few);
        let others = self.peers.iter().copied().filter(|p| !few.contains(p));
        let others: Vec<NodeId> = others.collect();
        let near = [self.seeds.clone(), few].concat();
        self.world.partition(&near, &others);
    }

    /// Reverts a random fault: thaws or restarts a peer, or ends all partitions.
    fn revert_random_fault(&mut self) {
        match self.chaos_rng.below(5) {
            0 | 1 => {
                if let Some(p) = self.random_peer_with(NodeStatus::Frozen) {
                    self.world.thaw(p);
                }
            }
            2 | 3 => {
                let dead = self.random_peer_with(NodeStatus::Killed);
                let dead = dead.or_else(|| self.random_peer_with(NodeStatus::HostDown));
                if let Some(p) = dead {
                    let fates = [DiskFate::Kept, DiskFate::Lost];
                    self.world.restart(p, fates[self.chaos_rng.below(2)]);
                }
            }
            _ => self.world.heal(),
        }
    }

    /// Lets a peer leave. In half of the cases it comes back within a second, as a restarted
    /// service does, often before all nodes know that it has left.
    fn leave_and_maybe_return(&mut self, p: NodeId) {
        // A running peer can always leave.
        let _ = self.world.leave(p);
        if self.chaos_rng.below(2) == 0 {
            let gap = self.chaos_rng.between(Duration::ZERO, Duration::from_secs(1));
            let back = Revert::Restart(vec![(p, DiskFate::Kept)]);
            self.schedule.add(self.world.now() + gap, Action::Revert(back));
        }
    }

    /// Lets a peer on a slow line or a newcomer publish and leave at once.
    fn leave_under_load(&mut self, p: NodeId) {
        let size = LEAVER_MESSAGE_SIZES[self.chaos_rng.below(LEAVER_MESSAGE_SIZES.len())];
        let messages = 1 + self.chaos_rng.below(4);
        if self.chaos_rng.below(2) == 0 && self.live().len() < self.scenario.peers * MAX_GROWTH {
            let new = self.world.add_peers(1);
            let stay = self.chaos_rng.between(Duration::from_millis(50), Duration::from_secs(2));
            let at = self.world.now() + stay;
            for &node in &new {
                self.schedule.add(at, Action::PublishAndLeave { node, messages, size });
            }
            self.peers.extend(new);
            return;
        }
        let line = LEAVER_BANDWIDTHS[self.chaos_rng.below(LEAVER_BANDWIDTHS.len())];
        self.world.set_bandwidth(p, Some(line));
        self.publish_and_leave(p, messages, size);
    }

    /// Makes the line of a running peer slow for some seconds.
    fn slow_line(&mut self) {
        let Some(p) = self.random_peer_with(NodeStatus::Running) else { return };
        let rate = SLOW_BANDWIDTHS[self.chaos_rng.below(SLOW_BANDWIDTHS.len())];
        self.world.set_bandwidth(p, Some(rate));
        let time = self.chaos_rng.between(Duration::from_secs(2), Duration::from_secs(20));
        self.schedule.add(self.world.now() + time, Action::Revert(Revert::Line(vec![p])));
    }

    /// Partitions about a third of the peers from the others; the seeds reach both sides.
    fn partition_a_third(&mut self) {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        for p in self.peers.clone() {
            if self.chaos_rng.below(3) == 0 { one.push(p) } else { other.push(p) }
        }
        self.world.partition(&one, &other);
    }

    /// Cuts the path from a peer to one of its neighbours for some seconds.
    fn cut_path_to_neighbour(&mut self, p: NodeId) {
        let neighbours: Vec<NodeId> = self.world.graph().neighbours(p).collect();
        if let Some(&n) = self.chaos_rng.pick(&neighbours, 1).first() {
            self.world.cut_path(p, n);
            let gap = self.chaos_rng.between(Duration::from_secs(1), Duration::from_secs(20));
            let at = self.world.now() + gap;
            self.schedule.add(at, Action::Revert(Revert::RestorePaths(vec![(p, n)])));
        }
    }

    /// Changes the address of a host, or starts a second process from a copied data directory, in
    /// some steps.
    fn move_or_copy_host(&mut self) {
        let draw = self.chaos_rng.below(40);
        if draw > 1 {
            return;
        }
        let Some(p) = self.random_peer_with(NodeStatus::Running) else { return };
        if draw == 0 {
            self.world.move_host(p);
        } else {
            let copy = self.world.add_copy(p, None);
            let end = Revert::Crash(copy.into_iter().collect());
            self.schedule.add(self.world.now() + COPY_RUNS, Action::Revert(end));
        }
    }

    /// Kills or freezes a seed if a majority of the seeds is left, or reverts such a fault, in some
    /// steps.
    fn inject_or_revert_seed_fault(&mut self) {
        let runs = |r: &Self, s: &NodeId| r.world.status(*s) == NodeStatus::Running;
        let (up, down): (Vec<NodeId>, Vec<NodeId>) =
            self.seeds.clone().into_iter().partition(|s| runs(self, s));
        let has_spare = up.len() > self.seeds.len() / 2 + 1;
        match self.chaos_rng.below(20) {
            0 if has_spare => {
                let s = up[self.chaos_rng.below(up.len())];
                self.world.crash(s);
            }
            1 if has_spare => {
                let s = up[self.chaos_rng.below(up.len())];
                self.world.freeze(s);
            }
            2..=4 => {
                if let Some(&s) = self.chaos_rng.pick(&down, 1).first() {
                    if self.world.status(s) == NodeStatus::Frozen {
                        self.world.thaw(s);
                    } else {
                        self.world.restart(s, DiskFate::Kept);
                    }
                }
            }
            _ => {}
        }
    }
}
