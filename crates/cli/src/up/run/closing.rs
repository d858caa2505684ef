//! The end of a run: the nodes are asked how they are, and all is summed up.

use std::collections::BTreeMap;

use rumormill_analysis::{Fit, FitOptions, Histogram};

use super::{Run, overlay};
use crate::up::fleet::Fleet;
use crate::up::seen::Facts;
use crate::up::summary::Summary;
use rumormill_launch::overlay::Overlay;

/// Fewer peers say little of a law.
const FEWEST_FITTED: usize = 50;

fn fit(degrees: &[usize]) -> Option<Fit> {
    let histogram: Histogram = degrees.iter().map(|d| *d as u64).collect();
    let enough = degrees.len() >= FEWEST_FITTED;
    enough.then(|| Fit::new(&histogram, &FitOptions::default()).ok()).flatten()
}

/// What the living nodes said at the end.
struct Closing {
    peers: Vec<(usize, Facts)>,
    overlay: Overlay,
    /// Sums over all nodes, by name.
    counters: BTreeMap<String, u64>,
}

impl Closing {
    fn sum(&self, wanted: impl Fn(&str) -> bool) -> u64 {
        self.counters.iter().filter(|(name, _)| wanted(name)).map(|(_, n)| n).sum()
    }

    fn seed_quorum(&self) -> u32 {
        self.peers.iter().map(|(_, f)| f.seed_quorum).max().unwrap_or(0)
    }

    fn registrations_min(&self) -> usize {
        self.peers.iter().map(|(_, f)| f.registrations).min().unwrap_or(0)
    }
}

impl Run {
    /// Asks everybody, and sums up.
    pub(super) async fn sum_up(mut self, fleet: &Fleet) -> Summary {
        let usage = fleet.usage();
        let seconds = rounded(self.started.elapsed().as_secs_f64());
        let closing = self.close(fleet).await;
        if !self.interrupted {
            for fault in self.faults(&closing, fleet) {
                self.error(fault);
            }
        }
        let deliveries = self.ledger.deliveries();
        let peers = self.everybody().count();
        let nodes = peers + self.seeds;
        let since =
            |at: tokio::time::Instant| rounded(at.duration_since(self.started).as_secs_f64() * 1e3);
        #[allow(clippy::cast_precision_loss)] // Far below 2^52.
        let (fraction, percent) = (
            match deliveries.expected {
                0 => 1.0,
                expected => deliveries.arrived as f64 / expected as f64,
            },
            |cpu: f64| rounded(cpu / seconds / nodes as f64 * 100.0),
        );
        Summary {
            seeds: self.seeds,
            peers,
            processes: self.processes,
            preset: self.preset.to_string(),
            seconds,
            joined_ms: self.joined_at.map(since),
            formed_ms: self.formed_at.filter(|_| !self.forming_failed).map(since),
            seed_quorum: closing.seed_quorum(),
            registrations_per_peer_min: closing.registrations_min(),
            edges: closing.overlay.edges,
            components: closing.overlay.components,
            degrees_fit: fit(&closing.overlay.degrees),
            degrees: closing.overlay.degrees.clone(),
            published: deliveries.published,
            deliveries_expected: deliveries.expected,
            deliveries: deliveries.arrived,
            delivered_fraction: fraction,
            delivered_twice: self.ledger.twice(),
            duplicates_received: closing.sum(|name| name == "messages_duplicate"),
            latency_ms: self.ledger.delays(),
            last_delivery_ms: self.ledger.last_delays(),
            deaths: self.casualties.deaths(&self.names),
            false_deaths: self.casualties.false_deaths().len(),
            false_reports: self.casualties.false_reports(),
            refused: closing.sum(|name| name.ends_with("_refused")),
            dropped: closing.sum(|name| name.starts_with("dropped_")),
            errors: self.error_count,
            error_list: self.errors.clone(),
            rss_kib: usage.map(|u| u.rss_kib),
            rss_kib_per_node: usage.map(|u| u.rss_kib / nodes as u64),
            cpu_seconds: usage.map(|u| rounded(u.cpu_seconds)),
            cpu_percent_per_node: usage.map(|u| percent(u.cpu_seconds)),
            counters: closing.counters,
            interrupted: self.interrupted,
        }
    }

    async fn close(&mut self, fleet: &Fleet) -> Closing {
        let (peers, unanswered) = self.facts(fleet).await;
        for error in unanswered {
            self.error(error);
        }
        let mut seeds = Vec::new();
        // A killed one does not answer, and a stopped one never does.
        let first = self.plan.peers;
        let answering = (0..self.seeds).filter(|s| !self.seeds_struck.contains(&(first + s)));
        for seed in answering.collect::<Vec<_>>() {
            match fleet.seed_facts(seed).await {
                Ok(facts) => seeds.push(facts),
                Err(e) => {
                    let name = self.name(self.plan.peers + seed, fleet);
                    self.error(format!("{name} does not answer: {e}"));
                }
            }
        }
        let mut counters: BTreeMap<String, u64> = BTreeMap::new();
        for facts in peers.iter().map(|(_, f)| f).chain(&seeds) {
            for (name, n) in &facts.counters {
                *counters.entry(name.clone()).or_default() += n;
            }
        }
        Closing { overlay: overlay(&peers, fleet), peers, counters }
    }

    /// What is wrong at the end.
    fn faults(&self, closing: &Closing, fleet: &Fleet) -> Vec<String> {
        let mut faults = Vec::new();
        let not_joined = self.everybody().filter(|p| !p.gone && !p.joined);
        faults.extend(not_joined.map(|p| format!("{} did not join", p.name)));
        if closing.overlay.components > 1 {
            faults.push(format!("the overlay is in {} pieces", closing.overlay.components));
        }
        for (peer, f) in &closing.peers {
            if u32::try_from(f.registrations).is_ok_and(|n| n < f.seed_quorum) {
                let name = self.name(*peer, fleet);
                faults.push(format!(
                    "{name} is registered at {} of {} seeds it needs",
                    f.registrations, f.seed_quorum
                ));
            }
        }
        faults.extend(self.ledger.missing().into_iter().map(|(publisher, number, peer)| {
            let (from, to) = (self.name(publisher, fleet), self.name(peer, fleet));
            format!("message {number} of {from} did not reach {to}")
        }));
        if self.ledger.twice() > 0 {
            faults.push(format!("{} messages were delivered twice", self.ledger.twice()));
        }
        for death in self.casualties.deaths(&self.names) {
            if death.removed_ms.is_none() {
                faults.push(format!("{} is dead, and was not removed", death.peer));
            }
        }
        if self.next_victim < self.plan.victims.len() {
            faults.push("the run ended before all victims were struck".to_owned());
        }
        faults
    }
}

/// Three decimals are what these figures are worth.
pub(super) fn rounded(x: f64) -> f64 {
    (x * 1e3).round() / 1e3
}
