//! Messages, and peers that come and go.

use core::time::Duration;

use rumormill_proto::{PublishError, Time};

use super::Run;
use super::agenda::Deed;
use crate::node::{NodeId, NodeStatus};
use crate::scenario::Departure;
use crate::world::CommandError;

/// What messages are made of.
const TOPIC: &str = "sim";
/// How often a peer under overload tries to publish more.
const OVERLOAD_EVERY: Duration = Duration::from_millis(10);
/// Most messages it publishes at once.
const OVERLOAD_BURST: usize = 256;

impl Run<'_> {
    /// When something of the scenario that has a beginning and maybe an end takes place.
    fn window(&self, from: Duration, until: Option<Duration>) -> (Time, Time) {
        let (begin, end) = self.action;
        (begin + from, until.map_or(end, |u| begin + u).min(end))
    }

    pub(super) fn plan_load(&mut self, load: usize) {
        let spec = &self.scenario.loads[load];
        let live = self.live();
        let n = spec.publishers.of(live.len()).max(1);
        self.publishers[load] = self.load_dice.pick(&live, n);
        let (from, _) = self.window(spec.from.0, None);
        self.agenda.put(from, Deed::Publish { load });
    }

    /// Publishes the next messages of a load, and plans those after them.
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
                    vec![b'm'; spec.size.min.0 as usize + self.load_dice.below(span)]
                })
                .collect();
            let awaited = if spec.receipts { payloads.pop() } else { None };
            self.say(node, &payloads);
            if let Some(payload) = awaited {
                let published = self.world.publish_awaited(node, TOPIC, &payload);
                self.busy += u64::from(published.is_err());
            }
        }
        // Evenly, but for some chance: from half to one and a half of the mean.
        let mean = Duration::from_secs_f64(spec.burst as f64 / spec.rate);
        let gap = self.load_dice.between(mean / 2, mean + mean / 2);
        let at = self.world.now() + gap.max(Duration::from_micros(1));
        self.agenda.put(at, Deed::Publish { load });
    }

    fn say(&mut self, node: NodeId, payloads: &[Vec<u8>]) -> bool {
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

    /// One of a load's publishers; another peer takes the place of one that is gone.
    fn publisher(&mut self, load: usize) -> Option<NodeId> {
        let place = self.load_dice.below(self.publishers[load].len());
        let node = *self.publishers[load].get(place)?;
        if self.world.status(node) == NodeStatus::Running {
            return Some(node);
        }
        let live = self.live();
        let node = *live.get(self.load_dice.below(live.len()))?;
        self.publishers[load][place] = node;
        Some(node)
    }

    /// A peer publishes, and leaves at once.
    pub(super) fn publish_and_leave(&mut self, node: NodeId, messages: usize, size: usize) {
        let payloads = vec![vec![b'l'; size]; messages];
        self.say(node, &payloads);
        // If it runs, it can leave.
        let _ = self.world.leave(node);
    }

    pub(super) fn overload(&mut self, node: NodeId, size: usize, until: Time) {
        if self.world.now() >= until {
            return;
        }
        let payloads = [vec![b'o'; size]];
        for _ in 0..OVERLOAD_BURST {
            if !self.say(node, &payloads) {
                break;
            }
        }
        let at = self.world.now() + OVERLOAD_EVERY;
        self.agenda.put(at, Deed::Overload { node, size, until });
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

    pub(super) fn plan_churn(&mut self, churn: usize) {
        let (from, _) = self.window(self.scenario.churn[churn].from.0, None);
        let (arrivals, departures) = self.rates(churn);
        if arrivals > 0.0 {
            self.plan_next(from, arrivals, Deed::Come { churn });
        }
        if departures > 0.0 {
            self.plan_next(from, departures, Deed::Go { churn });
        }
    }

    fn plan_next(&mut self, from: Time, a_minute: f64, deed: Deed) {
        let mean = Duration::from_secs_f64(60.0 / a_minute);
        let gap = self.churn_dice.between(mean / 2, mean + mean / 2);
        self.agenda.put(from + gap.max(Duration::from_micros(1)), deed);
    }

    fn churn_is_over(&self, churn: usize) -> bool {
        let spec = &self.scenario.churn[churn];
        self.world.now() >= self.window(spec.from.0, spec.until.map(|u| u.0)).1
    }

    pub(super) fn come(&mut self, churn: usize) {
        if self.churn_is_over(churn) {
            return;
        }
        let new = self.world.add_peers(1);
        self.peers.extend(new);
        let rate = self.rates(churn).0;
        self.plan_next(self.world.now(), rate, Deed::Come { churn });
    }

    pub(super) fn go(&mut self, churn: usize) {
        if self.churn_is_over(churn) {
            return;
        }
        let live = self.live();
        if live.len() > 2 {
            let node = live[self.churn_dice.below(live.len())];
            self.depart(node, self.scenario.churn[churn].by);
            self.replaced += 1;
        }
        let rate = self.rates(churn).1;
        self.plan_next(self.world.now(), rate, Deed::Go { churn });
    }

    fn depart(&mut self, node: NodeId, by: Departure) {
        let ways = [Departure::Crash, Departure::PowerOff, Departure::Leave];
        let by = if by == Departure::Mixed { ways[self.churn_dice.below(3)] } else { by };
        match by {
            Departure::PowerOff => self.world.power_off(node),
            Departure::Leave => {
                // It runs, so it can say goodbye.
                let _ = self.world.leave(node);
            }
            Departure::Crash | Departure::Mixed => self.world.crash(node),
        }
    }
}
