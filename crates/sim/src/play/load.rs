//! Executes the loads and the churn of a scenario.

use core::time::Duration;

use rumormill_proto::{PublishError, Time};

use super::Run;
use super::schedule::Action;
use crate::node::{NodeId, NodeStatus};
use crate::scenario::DepartureKind;
use crate::world::CommandError;

/// Topic of the messages of a load.
const TOPIC: &str = "sim";
/// Interval at which a peer under overload tries to publish more.
const OVERLOAD_INTERVAL: Duration = Duration::from_millis(10);
/// Most messages that it publishes at one moment.
const OVERLOAD_BURST: usize = 256;

impl Run<'_> {
    /// Beginning and end of a part of the scenario, as virtual times; without `until` it ends with
    /// the active phase.
    fn window(&self, from: Duration, until: Option<Duration>) -> (Time, Time) {
        let (begin, end) = self.active_phase;
        (begin + from, until.map_or(end, |u| begin + u).min(end))
    }

    /// Draws the publishers of a load and schedules its first messages.
    pub(super) fn schedule_load(&mut self, load: usize) {
        let spec = &self.scenario.loads[load];
        let live = self.live();
        let n = spec.publishers.of(live.len()).max(1);
        self.publishers[load] = self.load_rng.pick(&live, n);
        let (from, _) = self.window(spec.from.0, None);
        self.schedule.add(from, Action::Publish { load });
    }

    /// Publishes the next messages of a load and schedules the following ones.
    pub(super) fn publish(&mut self, load: usize) {
        let spec = &self.scenario.loads[load];
        let (_, until) = self.window(spec.from.0, spec.until.map(|u| u.0));
        if self.world.now() >= until {
            return;
        }
        if let Some(node) = self.publisher(load) {
            let mut payloads: Vec<Vec<u8>> = (0..spec.burst)
                .map(|_| {
                    let span = (spec.size.max.0 - spec.size.min.0) as usize + 1;
                    vec![b'm'; spec.size.min.0 as usize + self.load_rng.below(span)]
                })
                .collect();
            let with_receipt = if spec.receipts { payloads.pop() } else { None };
            self.publish_payloads(node, &payloads);
            if let Some(payload) = with_receipt {
                let published = self.world.publish_with_receipt(node, TOPIC, &payload);
                self.busy += u64::from(published.is_err());
            }
        }
        // The gaps are drawn uniformly from half to one and a half of the mean.
        let mean = Duration::from_secs_f64(spec.burst as f64 / spec.rate);
        let gap = self.load_rng.between(mean / 2, mean + mean / 2);
        let at = self.world.now() + gap.max(Duration::from_micros(1));
        self.schedule.add(at, Action::Publish { load });
    }

    /// Publishes payloads at one moment; returns false if the peer refused one of them.
    fn publish_payloads(&mut self, node: NodeId, payloads: &[Vec<u8>]) -> bool {
        let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        match self.world.publish_all(node, TOPIC, &payloads) {
            Ok(_) => true,
            Err(CommandError::Refused(_, PublishError::Busy)) => {
                self.busy += 1;
                false
            }
            Err(_) => false,
        }
    }

    /// Draws one of a load's publishers; another live peer replaces a publisher that does not run.
    fn publisher(&mut self, load: usize) -> Option<NodeId> {
        let index = self.load_rng.below(self.publishers[load].len());
        let node = *self.publishers[load].get(index)?;
        if self.world.status(node) == NodeStatus::Running {
            return Some(node);
        }
        let live = self.live();
        let node = *live.get(self.load_rng.below(live.len()))?;
        self.publishers[load][index] = node;
        Some(node)
    }

    /// Lets a peer publish and leave at once.
    pub(super) fn publish_and_leave(&mut self, node: NodeId, messages: usize, size: usize) {
        let payloads = vec![vec![b'l'; size]; messages];
        self.publish_payloads(node, &payloads);
        // A running peer can always leave.
        let _ = self.world.leave(node);
    }

    /// Lets a peer publish until it refuses a message, and schedules the next attempt.
    pub(super) fn overload(&mut self, node: NodeId, size: usize, until: Time) {
        if self.world.now() >= until {
            return;
        }
        let payloads = [vec![b'o'; size]];
        for _ in 0..OVERLOAD_BURST {
            if !self.publish_payloads(node, &payloads) {
                break;
            }
        }
        let at = self.world.now() + OVERLOAD_INTERVAL;
        self.schedule.add(at, Action::Overload { node, size, until });
    }

    // ---- churn ------------------------------------------------------------------------------

    /// Arrivals and departures a minute.
    fn rates(&self, churn: usize) -> (f64, f64) {
        let spec = &self.scenario.churn[churn];
        let (from, until) = self.window(spec.from.0, spec.until.map(|u| u.0));
        let minutes = until.since(from).as_secs_f64() / 60.0;
        match spec.turnover {
            Some(percent) if minutes > 0.0 => {
                let rate = self.scenario.peers as f64 * percent / 100.0 / minutes;
                (rate, rate)
            }
            Some(_) => (0.0, 0.0),
            None => (spec.arrivals, spec.departures),
        }
    }

    pub(super) fn schedule_churn(&mut self, churn: usize) {
        let (from, _) = self.window(self.scenario.churn[churn].from.0, None);
        let (arrivals, departures) = self.rates(churn);
        if arrivals > 0.0 {
            self.schedule_next(from, arrivals, Action::Arrive { churn });
        }
        if departures > 0.0 {
            self.schedule_next(from, departures, Action::Depart { churn });
        }
    }

    fn schedule_next(&mut self, from: Time, per_minute: f64, action: Action) {
        let mean = Duration::from_secs_f64(60.0 / per_minute);
        let gap = self.churn_rng.between(mean / 2, mean + mean / 2);
        self.schedule.add(from + gap.max(Duration::from_micros(1)), action);
    }

    fn churn_has_ended(&self, churn: usize) -> bool {
        let spec = &self.scenario.churn[churn];
        self.world.now() >= self.window(spec.from.0, spec.until.map(|u| u.0)).1
    }

    /// Adds a peer for a churn and schedules the next arrival.
    pub(super) fn arrive(&mut self, churn: usize) {
        if self.churn_has_ended(churn) {
            return;
        }
        let new = self.world.add_peers(1);
        self.peers.extend(new);
        let rate = self.rates(churn).0;
        self.schedule_next(self.world.now(), rate, Action::Arrive { churn });
    }

    /// Lets a random live peer depart for a churn and schedules the next departure.
    pub(super) fn depart(&mut self, churn: usize) {
        if self.churn_has_ended(churn) {
            return;
        }
        let live = self.live();
        if live.len() > 2 {
            let node = live[self.churn_rng.below(live.len())];
            self.remove_peer(node, self.scenario.churn[churn].by);
            self.departures += 1;
        }
        let rate = self.rates(churn).1;
        self.schedule_next(self.world.now(), rate, Action::Depart { churn });
    }

    fn remove_peer(&mut self, node: NodeId, by: DepartureKind) {
        let kinds = [DepartureKind::Crash, DepartureKind::PowerOff, DepartureKind::Leave];
        let by = if by == DepartureKind::Mixed { kinds[self.churn_rng.below(3)] } else { by };
        match by {
            DepartureKind::PowerOff => self.world.power_off(node),
            DepartureKind::Leave => {
                // A running peer can always leave.
                let _ = self.world.leave(node);
            }
            DepartureKind::Crash | DepartureKind::Mixed => self.world.crash(node),
        }
    }
}
