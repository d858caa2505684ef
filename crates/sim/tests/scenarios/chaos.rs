//! Random faults, then calm: all promises must hold.

use core::time::Duration;

use rumormill_sim::{DiskFate, NodeId, NodeStatus, checkers};

use crate::common::{Net, SplitMix64, lan, ms, s, world_config};

/// How long the network has after the faults have ended.
const CALM: Duration = s(150);

pub(crate) struct Chaos {
    pub(crate) net: Net,
    rng: SplitMix64,
}

impl Chaos {
    pub(crate) fn new(seed: u64) -> Self {
        let mut config = world_config(seed, lan());
        config.fast = true;
        config.check_every = s(1);
        let mut rng = SplitMix64::new(config.seed);
        let peers = 4 + rng.below(24);
        let mut net = Net::new(config, 1 + 2 * rng.below(2), peers);
        net.assert_at_rest_within(s(60));
        Chaos { net, rng }
    }

    fn peer(&mut self, status: NodeStatus) -> Option<NodeId> {
        let w = &self.net.world;
        let all: Vec<NodeId> =
            self.net.peers.iter().copied().filter(|&p| w.status(p) == status).collect();
        (!all.is_empty()).then(|| all[self.rng.below(all.len())])
    }

    fn publish(&mut self) {
        let Some(p) = self.peer(NodeStatus::Running) else { return };
        let (n, bytes) = (1 + self.rng.below(20), self.rng.below(2000));
        let payload = vec![7; bytes];
        let payloads: Vec<&[u8]> = (0..n).map(|_| payload.as_slice()).collect();
        // Flow control may refuse the messages, or the peer may be leaving.
        let _ = self.net.world.publish_all(p, "t", &payloads);
        if n % 4 == 0 {
            let _ = self.net.world.publish_with_receipt(p, "t", b"to be confirmed");
        }
    }

    fn inject_fault(&mut self) {
        let running = self.peer(NodeStatus::Running);
        let has_spare = self.net.world.live_peers().len() > 3;
        match (self.rng.below(16), running) {
            (0, Some(p)) if has_spare => self.net.world.crash(p),
            (1, Some(p)) if has_spare => self.net.world.power_off(p),
            (2 | 3, Some(p)) if has_spare => self.net.world.freeze(p),
            (4 | 5, _) => {
                if let Some(p) = self.peer(NodeStatus::Frozen) {
                    self.net.world.thaw(p);
                }
            }
            (6 | 7, _) => {
                let dead = self.peer(NodeStatus::Killed);
                if let Some(p) = dead.or_else(|| self.peer(NodeStatus::HostDown)) {
                    let fates = [DiskFate::Kept, DiskFate::Lost];
                    self.net.world.restart(p, fates[self.rng.below(2)]);
                }
            }
            (8, Some(p)) => self.net.world.restart(p, DiskFate::Kept),
            (9, _) => {
                let side: Vec<NodeId> =
                    self.net.peers.iter().copied().filter(|_| self.rng.below(3) == 0).collect();
                let others: Vec<NodeId> =
                    self.net.peers.iter().copied().filter(|p| !side.contains(p)).collect();
                self.net.world.partition(&side, &others);
            }
            (10, _) => self.net.world.heal(),
            (11, _) => self.net.world.set_queue_drops([0.0, 0.01, 0.1, 0.5][self.rng.below(4)]),
            (12, _) => self.net.world.set_loss([0.0, 0.01, 0.05][self.rng.below(3)]),
            (13, _) if self.net.peers.len() < 40 => {
                let new = self.net.world.add_peers(1);
                self.net.peers.extend(new);
            }
            (14, Some(p)) if has_spare => {
                let _ = self.net.world.leave(p);
            }
            _ => {}
        }
    }

    pub(crate) fn run(&mut self) {
        for _ in 0..150 {
            for _ in 0..self.rng.below(4) {
                self.publish();
            }
            if self.rng.below(3) == 0 {
                self.inject_fault();
            }
            self.net.world.run_for(ms(20 + self.rng.below(500) as u64));
        }
        let found = checkers::always(&self.net.world.observe());
        assert!(found.is_empty(), "seed {}: {found:?}", self.net.world.config().seed);
    }

    fn assert_at_rest_within(&mut self, limit: Duration) {
        self.net.assert_at_rest_within(limit);
    }

    pub(crate) fn calm(&mut self) {
        let w = &mut self.net.world;
        w.heal();
        w.set_queue_drops(0.0);
        w.set_loss(0.0);
        for &p in &self.net.peers {
            w.thaw(p);
        }
        self.assert_at_rest_within(CALM);
        // Peers may still pull missing messages: a retry waits up to 4 s, a comparison of message
        // lists up to 5 s.
        self.net.world.run_for(s(10));
        // After that new messages must arrive promptly.
        let from = self.net.world.now();
        let ids = self.net.publish_at_all_peers();
        self.net.world.run_for(s(13));
        self.assert_at_rest_within(s(20));
        let arrivals = self.net.world.deliveries().iter();
        let late = arrivals.filter(|a| ids.contains(&a.id)).map(|a| a.at.since(from)).max();
        let seed = self.net.world.config().seed;
        assert!(late < Some(s(1)), "a message took {late:?} after the calm (seed {seed})");
    }
}

fn chaos(seed: u64) {
    let mut c = Chaos::new(seed);
    c.run();
    c.calm();
}

#[test]
fn network_recovers_from_random_faults_1() {
    chaos(100);
}

#[test]
fn network_recovers_from_random_faults_2() {
    chaos(101);
}

#[test]
fn network_recovers_from_random_faults_3() {
    chaos(102);
}

#[test]
fn network_recovers_from_random_faults_4() {
    chaos(103);
}
