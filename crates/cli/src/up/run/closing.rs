//! The end of a run: the reports of the nodes, and the summary.

use std::collections::BTreeMap;

use rumormill_analysis::{Fit, FitOptions, Histogram};
use rumormill_launch::overlay::Overlay;

use super::state::{Run, overlay, rounded};
use crate::up::fleet::Fleet;
use crate::up::node_report::NodeReport;
use crate::up::summary::Summary;

/// Fewest peers whose degrees are fitted: fewer say little of a law.
const MIN_FITTED_PEERS: usize = 50;

fn fit(degrees: &[usize]) -> Option<Fit> {
    let histogram: Histogram = degrees.iter().map(|d| *d as u64).collect();
    let enough = degrees.len() >= MIN_FITTED_PEERS;
    enough.then(|| Fit::new(&histogram, &FitOptions::default()).ok()).flatten()
}

/// The state of the living nodes at the end.
struct FinalState {
    peers: Vec<(usize, NodeReport)>,
    overlay: Overlay,
    /// Sums over all nodes, by name.
    counters: BTreeMap<String, u64>,
}

impl FinalState {
    /// The sum of the counters whose name passes a test.
    fn sum(&self, is_wanted: impl Fn(&str) -> bool) -> u64 {
        self.counters.iter().filter(|(name, _)| is_wanted(name)).map(|(_, n)| n).sum()
    }

    fn seed_quorum(&self) -> u32 {
        self.peers.iter().map(|(_, r)| r.seed_quorum).max().unwrap_or(0)
    }

    fn registrations_min(&self) -> usize {
        self.peers.iter().map(|(_, r)| r.registrations).min().unwrap_or(0)
    }
}

impl Run {
    /// Asks all nodes for their state, and gives the summary.
    pub(super) async fn sum_up(mut self, fleet: &dyn Fleet) -> Summary {
        let usage = fleet.usage();
        let seconds = rounded(self.started.elapsed().as_secs_f64());
        let state = self.final_state(fleet).await;
        if !self.interrupted {
            for error in self.final_errors(&state, fleet) {
                self.error(error);
            }
        }
        let deliveries = self.deliveries.deliveries();
        let peers = self.all_peers().count();
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
            formed_ms: self.formed_at.filter(|_| !self.formation_failed).map(since),
            seed_quorum: state.seed_quorum(),
            registrations_per_peer_min: state.registrations_min(),
            edges: state.overlay.edges,
            components: state.overlay.components,
            degrees_fit: fit(&state.overlay.degrees),
            degrees: state.overlay.degrees.clone(),
            published: deliveries.published,
            deliveries_expected: deliveries.expected,
            deliveries: deliveries.arrived,
            delivered_fraction: fraction,
            delivered_twice: self.deliveries.delivered_twice(),
            duplicates_received: state.sum(|name| name == "messages_duplicate"),
            latency_ms: self.deliveries.delays(),
            last_delivery_ms: self.deliveries.last_delays(),
            deaths: self.faults.deaths(&self.names),
            false_deaths: self.faults.false_deaths().len(),
            false_reports: self.faults.false_reports(),
            refused: state.sum(|name| name.ends_with("_refused")),
            dropped: state.sum(|name| name.starts_with("dropped_")),
            errors: self.error_count,
            error_list: self.errors.clone(),
            rss_kib: usage.map(|u| u.rss_kib),
            rss_kib_per_node: usage.map(|u| u.rss_kib / nodes as u64),
            cpu_seconds: usage.map(|u| rounded(u.cpu_seconds)),
            cpu_percent_per_node: usage.map(|u| percent(u.cpu_seconds)),
            counters: state.counters,
            interrupted: self.interrupted,
        }
    }

    async fn final_state(&mut self, fleet: &dyn Fleet) -> FinalState {
        let (peers, unanswered) = self.peer_reports(fleet).await;
        for error in unanswered {
            self.error(error);
        }
        let mut seeds = Vec::new();
        // A killed or stopped seed does not answer.
        let first = self.plan.peers;
        let answering = (0..self.seeds).filter(|s| !self.faulty_seeds.contains(&(first + s)));
        for seed in answering.collect::<Vec<_>>() {
            match fleet.seed_report(seed).await {
                Ok(report) => seeds.push(report),
                Err(e) => {
                    let name = self.name(self.plan.peers + seed, fleet);
                    self.error(format!("{name} does not answer: {e}"));
                }
            }
        }
        let mut counters: BTreeMap<String, u64> = BTreeMap::new();
        for report in peers.iter().map(|(_, r)| r).chain(&seeds) {
            for (name, n) in &report.counters {
                *counters.entry(name.clone()).or_default() += n;
            }
        }
        FinalState { overlay: overlay(&peers, fleet), peers, counters }
    }

    /// The errors that show only at the end.
    fn final_errors(&self, state: &FinalState, fleet: &dyn Fleet) -> Vec<String> {
        let mut errors = Vec::new();
        let not_joined = self.all_peers().filter(|p| !p.is_gone && !p.joined);
        errors.extend(not_joined.map(|p| format!("{} did not join", p.name)));
        if state.overlay.components > 1 {
            errors.push(format!("the overlay has {} components", state.overlay.components));
        }
        for (peer, r) in &state.peers {
            if u32::try_from(r.registrations).is_ok_and(|n| n < r.seed_quorum) {
                let name = self.name(*peer, fleet);
                errors.push(format!(
                    "{name} is registered at {} of {} seeds it needs",
                    r.registrations, r.seed_quorum
                ));
            }
        }
        errors.extend(self.deliveries.missing().into_iter().map(|(publisher, number, peer)| {
            let (from, to) = (self.name(publisher, fleet), self.name(peer, fleet));
            format!("message {number} of {from} did not reach {to}")
        }));
        let twice = self.deliveries.delivered_twice();
        if twice > 0 {
            errors.push(format!("{twice} messages were delivered twice"));
        }
        for death in self.faults.deaths(&self.names) {
            if death.removed_ms.is_none() {
                errors.push(format!("{} is dead, and was not removed", death.peer));
            }
        }
        if self.next_victim < self.plan.victims.len() {
            errors.push("the run ended before all victims had their fault".to_owned());
        }
        errors
    }
}
