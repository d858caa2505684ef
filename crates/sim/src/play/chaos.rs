//! Faults at random.

use core::time::Duration;

use super::Run;
use super::agenda::{Deed, Undo};
use crate::node::{NodeId, NodeStatus};
use crate::world::DiskFate;

/// Fewest peers that chaos leaves alive.
const LEFT_ALIVE: usize = 3;
/// Parts of queues that are full, and of packets that are lost, in a bad hour.
const SKIPS: [f64; 4] = [0.0, 0.01, 0.1, 0.5];
const LOSSES: [f64; 3] = [0.0, 0.01, 0.05];
/// How long the process of a copy runs, if it does not end by itself: its original may be killed meanwhile.
const COPY_RUNS: Duration = Duration::from_secs(1);
/// Bytes of the messages, and bytes a second of the line, of a peer that leaves under load.
const LEAVERS_SIZES: [usize; 3] = [200, 20_000, 200_000];
const LEAVERS_LINES: [u64; 3] = [128 * 1024, 1024 * 1024, 4 * 1024 * 1024];
/// Bytes a second of a line that becomes slow; the first is 128 kbit/s.
const SLOW_LINES: [u64; 3] = [16_000, 64_000, 256_000];
/// One in so many times a line becomes slow.
const SLOW_LINE_ODDS: usize = 10;
/// Bytes a second of a slow uplink: 128 kbit/s.
const UPLINK: u64 = 16_000;
/// The longest time for which the seeds reach a few peers only: less than a lease.
const SEEDS_APART: Duration = Duration::from_secs(60);
/// The most peers there are at once, beside those of the beginning.
const NEWCOMERS: usize = 3;

impl Run<'_> {
    pub(super) fn plan_chaos(&mut self) {
        if let Some(chaos) = self.scenario.chaos {
            let at = self.action.0 + chaos.from.0;
            self.agenda.put(at, Deed::Chaos);
        }
    }

    /// Something happens to somebody; and soon something else.
    pub(super) fn chaos(&mut self) {
        let Some(chaos) = self.scenario.chaos else { return };
        let (begin, end) = self.action;
        let until = chaos.until.map_or(end, |u| begin + u.0);
        if self.world.now() >= until {
            return;
        }
        let running = self.one_that_is(NodeStatus::Running);
        match running {
            Some(p) if self.live().len() > LEFT_ALIVE => self.strike(p),
            _ => self.relieve(),
        }
        if chaos.seeds {
            self.strike_a_seed();
        }
        self.move_or_copy_a_host();
        if self.chaos_dice.below(SLOW_LINE_ODDS) == 0 {
            self.slow_line();
        }
        self.want_a_receipt();
        self.strike_alone(chaos.seeds);
        let (min, max) = (chaos.every.min.0, chaos.every.max.0);
        let gap = self.chaos_dice.between(min, max).max(Duration::from_micros(1));
        self.agenda.put(self.world.now() + gap, Deed::Chaos);
    }

    /// A running peer publishes and waits for receipts.
    fn want_a_receipt(&mut self) {
        if let Some(p) = self.one_that_is(NodeStatus::Running) {
            // It may be busy with what it published before.
            let _ = self.world.publish_awaited(p, "receipts", b"to be confirmed");
        }
    }

    fn one_that_is(&mut self, status: NodeStatus) -> Option<NodeId> {
        let all: Vec<NodeId> =
            self.peers.iter().copied().filter(|&p| self.world.status(p) == status).collect();
        self.chaos_dice.pick(&all, 1).first().copied()
    }

    fn strike(&mut self, p: NodeId) {
        match self.chaos_dice.below(18) {
            0 => self.world.crash(p),
            1 => self.world.power_off(p),
            2 | 3 => self.world.freeze(p),
            4 => self.world.restart(p, DiskFate::Kept),
            5 => self.split(),
            6 => self.world.set_skips(SKIPS[self.chaos_dice.below(SKIPS.len())]),
            7 => self.world.set_loss(LOSSES[self.chaos_dice.below(LOSSES.len())]),
            8 if self.live().len() < self.scenario.peers * NEWCOMERS => {
                let new = self.world.add_peers(1);
                self.peers.extend(new);
            }
            9 => self.say_goodbye(p),
            10 => self.cut_an_edge(p),
            11 => self.leave_under_load(p),
            12 => self.strike_a_stream(p),
            _ => self.relieve(),
        }
    }

    /// Now and then a death that no neighbour can report, a peer with a slow uplink, or seeds that are cut
    /// off for a while: from each other, or with a few peers from all others.
    fn strike_alone(&mut self, seeds: bool) {
        let now = self.world.now();
        let live = self.live();
        let spare = live.len().saturating_sub(LEFT_ALIVE);
        let Some(&p) = self.chaos_dice.pick(&live, 1).first() else { return };
        match self.chaos_dice.below(60) {
            0 => {
                let around: Vec<NodeId> = self.world.graph().neighbours(p).collect();
                if around.len() < spare {
                    self.world.crash(p);
                    around.into_iter().for_each(|n| self.world.crash(n));
                }
            }
            1 => {
                let n = 1 + self.chaos_dice.below(5);
                self.crash_loop(n, Duration::from_millis(200));
            }
            2 if spare > 0 => self.crash_unobserved(p, Duration::from_millis(400)),
            3 => {
                self.world.set_uplink(p, Some(UPLINK));
                let gap = self.chaos_dice.between(Duration::from_secs(1), Duration::from_secs(20));
                self.agenda.put(now + gap, Deed::Undo(Undo::Uplink(vec![p])));
            }
            4 if seeds => {
                let cut = self.cut_seeds();
                let gap = self.chaos_dice.between(Duration::from_secs(1), Duration::from_secs(20));
                self.agenda.put(now + gap, Deed::Undo(Undo::Mend(cut)));
            }
            5 if seeds => {
                let few = self.chaos_dice.below(live.len() / 4 + 1);
                self.part_seeds_from_most(&live, few);
                let gap = self.chaos_dice.between(Duration::from_secs(1), SEEDS_APART);
                self.agenda.put(now + gap, Deed::Undo(Undo::Heal));
            }
            _ => {}
        }
    }

    /// The seeds are cut off with a few of the live peers from all others.
    fn part_seeds_from_most(&mut self, live: &[NodeId], few: usize) {
        let few = self.chaos_dice.pick(live, few);
        let others = self.peers.iter().copied().filter(|p| !few.contains(p));
        let others: Vec<NodeId> = others.collect();
        let near = [self.seeds.clone(), few].concat();
        self.world.partition(&near, &others);
    }

    fn relieve(&mut self) {
        match self.chaos_dice.below(5) {
            0 | 1 => {
                if let Some(p) = self.one_that_is(NodeStatus::Frozen) {
                    self.world.thaw(p);
                }
            }
            2 | 3 => {
                let dead = self.one_that_is(NodeStatus::Killed);
                let dead = dead.or_else(|| self.one_that_is(NodeStatus::HostDown));
                if let Some(p) = dead {
                    let fates = [DiskFate::Kept, DiskFate::Lost];
                    self.world.restart(p, fates[self.chaos_dice.below(2)]);
                }
            }
            _ => self.world.heal(),
        }
    }

    /// A goodbye; every other one comes back, as a service that is restarted does, often before all
    /// have heard that it is gone.
    fn say_goodbye(&mut self, p: NodeId) {
        // It runs, so it can say goodbye.
        let _ = self.world.leave(p);
        if self.chaos_dice.below(2) == 0 {
            let gap = self.chaos_dice.between(Duration::ZERO, Duration::from_secs(1));
            let back = Undo::Start(vec![(p, DiskFate::Kept)]);
            self.agenda.put(self.world.now() + gap, Deed::Undo(back));
        }
    }

    /// A peer on a slow line, or a newcomer, publishes and leaves at once.
    fn leave_under_load(&mut self, p: NodeId) {
        let size = LEAVERS_SIZES[self.chaos_dice.below(LEAVERS_SIZES.len())];
        let messages = 1 + self.chaos_dice.below(4);
        if self.chaos_dice.below(2) == 0 && self.live().len() < self.scenario.peers * NEWCOMERS {
            let new = self.world.add_peers(1);
            let stay = self.chaos_dice.between(Duration::from_millis(50), Duration::from_secs(2));
            let at = self.world.now() + stay;
            for &node in &new {
                self.agenda.put(at, Deed::Depart { node, messages, size });
            }
            self.peers.extend(new);
            return;
        }
        let line = LEAVERS_LINES[self.chaos_dice.below(LEAVERS_LINES.len())];
        self.world.set_bandwidth(p, Some(line));
        self.publish_and_leave(p, messages, size);
    }

    /// The line of a running peer becomes slow for a while.
    fn slow_line(&mut self) {
        let Some(p) = self.one_that_is(NodeStatus::Running) else { return };
        let rate = SLOW_LINES[self.chaos_dice.below(SLOW_LINES.len())];
        self.world.set_bandwidth(p, Some(rate));
        let time = self.chaos_dice.between(Duration::from_secs(2), Duration::from_secs(20));
        self.agenda.put(self.world.now() + time, Deed::Undo(Undo::Line(vec![p])));
    }

    /// A third of the peers is cut off from the others; the seeds are with either.
    fn split(&mut self) {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        for p in self.peers.clone() {
            if self.chaos_dice.below(3) == 0 { one.push(p) } else { other.push(p) }
        }
        self.world.partition(&one, &other);
    }

    fn cut_an_edge(&mut self, p: NodeId) {
        let neighbours: Vec<NodeId> = self.world.graph().neighbours(p).collect();
        if let Some(&n) = self.chaos_dice.pick(&neighbours, 1).first() {
            self.world.cut(p, n);
            let gap = self.chaos_dice.between(Duration::from_secs(1), Duration::from_secs(20));
            let at = self.world.now() + gap;
            self.agenda.put(at, Deed::Undo(Undo::Mend(vec![(p, n)])));
        }
    }

    /// Now and then the address of a host changes, or a data directory is copied and started a second time.
    fn move_or_copy_a_host(&mut self) {
        let what = self.chaos_dice.below(40);
        if what > 1 {
            return;
        }
        let Some(p) = self.one_that_is(NodeStatus::Running) else { return };
        if what == 0 {
            self.world.move_host(p);
        } else {
            let copy = self.world.add_copy(p, None);
            let end = Undo::Crash(copy.into_iter().collect());
            self.agenda.put(self.world.now() + COPY_RUNS, Deed::Undo(end));
        }
    }

    /// Now and then a seed is struck, so that a majority is left; and one that was comes back.
    fn strike_a_seed(&mut self) {
        let runs = |r: &Self, s: &NodeId| r.world.status(*s) == NodeStatus::Running;
        let (up, down): (Vec<NodeId>, Vec<NodeId>) =
            self.seeds.clone().into_iter().partition(|s| runs(self, s));
        let spare = up.len() > self.seeds.len() / 2 + 1;
        match self.chaos_dice.below(20) {
            0 if spare => {
                let s = up[self.chaos_dice.below(up.len())];
                self.world.crash(s);
            }
            1 if spare => {
                let s = up[self.chaos_dice.below(up.len())];
                self.world.freeze(s);
            }
            2..=4 => {
                if let Some(&s) = self.chaos_dice.pick(&down, 1).first() {
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
