//! Computes the report of a run.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use rumormill_analysis::robustness::{Attack, Robustness};
use rumormill_analysis::{
    Clustering, Components, Cutoff, Distances, Fit, FitOptions, Graph, percentile, propagation,
};
use rumormill_proto::{MessageId, Role, Time};

use super::run_checker::seconds;
use super::{MeasureOptions, Phase, PlayError, ProgressCallback, Run};
use crate::checkers;
use crate::ledger::{ImpairmentKind, Ledger};
use crate::node::NodeId;
use crate::observation::Observation;
use crate::report::{Cost, DeathReport, FailureReport, GraphReport, MessageReport, Report};

/// Most links of an overlay that a report lists completely.
const LARGEST_GRAPH: usize = 100_000;
/// Number of sources from which paths are measured in large overlays.
const SOURCES: usize = 64;
/// Repetitions of the random removal.
const REMOVALS: u32 = 10;
/// Points of a curve.
const POINTS: usize = 200;
/// Number of messages whose propagation is measured: the first ones of the run.
const MEASURED_MESSAGES: usize = 2000;

impl Run<'_> {
    /// Computes the report.
    pub(super) fn report(
        self,
        measures: MeasureOptions,
        mut on_progress: ProgressCallback<'_>,
    ) -> Result<Report, PlayError> {
        self.report_progress(&mut on_progress, Phase::Measuring, self.world.now())?;
        let observation = self.world.observe();
        let graph = overlay(&observation);
        let degrees = graph.degrees();
        let options = FitOptions {
            cutoff: Cutoff::Scan { min_tail: 50 },
            replicates: measures.replicates,
            seed: self.world.config().seed,
            ..FitOptions::default()
        };
        let fit = Fit::new(&degrees, &options);
        let components = Components::new(&graph);
        let (spread, messages) = spread(&observation, self.busy);
        let config = &self.world.config().node;
        let mut report = Report {
            scenario: self.scenario.name.clone(),
            seed: self.world.config().seed,
            set: BTreeMap::new(),
            peers: self.scenario.peers,
            seeds: self.scenario.seeds,
            preset: config.preset().to_string(),
            broadcast: config.broadcast().to_string(),
            passed: false,
            problems: Vec::new(),
            promises: self.checker.promises(),
            checks: self.checker.checks(),
            failure: self.failure(),
            simulated_seconds: seconds(self.world.now()),
            join_seconds: self.rest_times[0].map(|d| d.as_secs_f64()),
            calm_seconds: self.rest_times[1].map(|d| d.as_secs_f64()),
            events: self.world.steps(),
            frames: observation.ledger.frames,
            bytes: observation.ledger.bytes,
            cost: Cost::default(),
            live_peers: graph.len(),
            came: self.peers.len() - self.scenario.peers.min(self.peers.len()),
            went: self.departures,
            components: components.sizes().len(),
            edges: graph.edge_count(),
            degrees: degrees.bins().to_vec(),
            degrees_fit: fit.as_ref().ok().cloned(),
            degrees_fit_error: fit.as_ref().err().map(ToString::to_string),
            distances: Distances::new(&graph, SOURCES, self.world.config().seed),
            clustering: (!graph.is_empty()).then(|| Clustering::new(&graph)),
            robustness: robustness(&graph, self.world.config().seed),
            graph: (measures.graph && graph.edge_count() <= LARGEST_GRAPH)
                .then(|| GraphReport { nodes: graph.len(), edges: graph.edges().collect() }),
            messages,
            propagation: propagation::Propagation::new(&spread, &propagation::SHARES, POINTS).ok(),
            deaths: deaths(&observation),
            trace_hash: hex(&self.world.trace_hash()),
        };
        report.problems = self.problems(&report);
        report.passed = report.problems.is_empty();
        Ok(report)
    }

    fn failure(&self) -> Option<FailureReport> {
        let first = self.checker.first()?;
        Some(FailureReport {
            at_seconds: seconds(first.at),
            promise: first.violation.promise.to_owned(),
            what: first.violation.what.clone(),
            nodes: first.violation.nodes.iter().map(ToString::to_string).collect(),
            trace: self.checker.trace.clone(),
        })
    }

    /// Descriptions of broken promises and unmet expectations.
    fn problems(&self, r: &Report) -> Vec<String> {
        let mut all: Vec<String> = r
            .promises
            .iter()
            .filter(|(_, p)| !p.held)
            .map(|(name, p)| format!("{name}: {}", p.first.as_deref().unwrap_or("broken")))
            .collect();
        let mut expect =
            |what: &str, value: Option<f64>, holds: &dyn Fn(f64) -> bool, range: String| {
                if !value.is_some_and(holds) {
                    let value = value.map_or_else(|| "not known".to_owned(), |v| format!("{v:.3}"));
                    all.push(format!("{what} is {value}, expected {range}"));
                }
            };
        let (limits, fit) = (&self.scenario.expect, r.degrees_fit.as_ref());
        if let Some(least) = limits.alpha_min {
            expect("alpha", fit.map(|f| f.alpha), &|v| v >= least, format!("at least {least}"));
        }
        if let Some(most) = limits.alpha_max {
            expect("alpha", fit.map(|f| f.alpha), &|v| v <= most, format!("at most {most}"));
        }
        if let Some(least) = limits.bounded_p_min {
            let p = fit.and_then(|f| f.bounded_p);
            expect("bounded p", p, &|v| v >= least, format!("at least {least}"));
        }
        if let Some(most) = limits.copies_max {
            let copies = Some(r.messages.copies_per_peer);
            expect("copies per peer", copies, &|v| v <= most, format!("at most {most}"));
        }
        if let Some(most) = limits.stretch_max {
            let limit = format!("at most {most}");
            let stretch = r.propagation.as_ref().and_then(|p| p.stretch);
            expect("the stretch", stretch, &|v| v <= most, limit);
        }
        if let Some(least) = limits.delivered_min {
            let part = Some(r.messages.delivered_fraction);
            expect("the part delivered", part, &|v| v >= least, format!("at least {least}"));
        }
        if let Some(most) = limits.delay_max {
            let last = r.propagation.as_ref().and_then(|p| p.curve.last());
            let last = last.map(|p| p.micros as f64 / 1e6);
            let limit = most.0.as_secs_f64();
            expect("the longest delay in s", last, &|v| v <= limit, format!("at most {limit}"));
        }
        all
    }
}

/// The overlay, with nodes numbered from 0.
fn overlay(observation: &Observation) -> Graph {
    let nodes: Vec<NodeId> = observation.graph.nodes().collect();
    let number: BTreeMap<NodeId, u32> = nodes.iter().copied().zip(0..).collect();
    let mut edges = Vec::new();
    for &a in &nodes {
        for b in observation.graph.neighbours(a).filter(|b| a < *b) {
            edges.extend(number.get(&a).copied().zip(number.get(&b).copied()));
        }
    }
    // All edges are between nodes that were numbered above, so the graph is valid.
    Graph::new(nodes.len(), &edges).unwrap_or_default()
}

fn robustness(graph: &Graph, seed: u64) -> Vec<Robustness> {
    let attacks = [Attack::Random, Attack::InitialDegree];
    attacks
        .into_iter()
        .filter_map(|a| Robustness::new(graph, a, REMOVALS, POINTS / 2, seed))
        .collect()
}

/// Arrivals of each message at the peers to which it was owed, and the figures of all messages.
fn spread(observation: &Observation, busy: u64) -> (Vec<propagation::Message>, MessageReport) {
    let ledger = &observation.ledger;
    let mut arrived: BTreeMap<(MessageId, NodeId), (Time, u16)> = BTreeMap::new();
    for a in ledger.arrivals.iter().filter(|a| a.from.is_some()) {
        arrived.entry((a.id, a.node)).or_insert((a.at, a.hops));
    }
    let copies = copies(ledger);
    let mut report = MessageReport {
        published: ledger.publications.len() as u64,
        busy,
        deliveries: ledger.arrivals.len() as u64,
        gaps: ledger.gaps.len() as u64,
        queue_drops: ledger.queue_drops,
        refused: ledger.refused,
        copies_per_peer: mean_copies(&copies),
        ..MessageReport::default()
    };
    let (mut messages, mut delivered) = (Vec::new(), 0u64);
    // The distances are those of the overlay at the end of the run; earlier overlays may have had
    // shorter paths.
    let mut distances: BTreeMap<NodeId, BTreeMap<NodeId, u32>> = BTreeMap::new();
    for p in &ledger.publications {
        let owed = checkers::delivery::owed(observation, p);
        let distances =
            distances.entry(p.node).or_insert_with(|| observation.graph.distances(p.node));
        let mut arrivals = Vec::new();
        for node in &owed {
            let Some((at, hops)) = arrived.get(&(p.id, *node)) else { continue };
            let (n, bytes) = copies.get(&(p.id, *node)).copied().unwrap_or((0, 0));
            arrivals.push(propagation::Arrival {
                micros: at.since(p.at).as_micros() as u64,
                hops: u32::from(*hops),
                fewest: distances.get(node).copied(),
                duplicates: n.saturating_sub(1),
                bytes,
            });
        }
        report.owed += owed.len() as u64;
        delivered += arrivals.len() as u64;
        if !owed.is_empty() && messages.len() < MEASURED_MESSAGES {
            messages.push(propagation::Message { expected: owed.len(), arrivals });
        }
    }
    report.delivered_fraction =
        if report.owed > 0 { delivered as f64 / report.owed as f64 } else { 1.0 };
    (messages, report)
}

/// Number and bytes of the copies of each batch at each peer, by the first message of the batch.
fn copies(ledger: &Ledger) -> BTreeMap<(MessageId, NodeId), (u32, u64)> {
    let mut copies: BTreeMap<(MessageId, NodeId), (u32, u64)> = BTreeMap::new();
    for c in &ledger.copies {
        let entry = copies.entry((c.batch, c.node)).or_default();
        *entry = (entry.0 + 1, entry.1 + c.bytes);
    }
    copies
}

fn mean_copies(copies: &BTreeMap<(MessageId, NodeId), (u32, u64)>) -> f64 {
    let all: u64 = copies.values().map(|(n, _)| u64::from(*n)).sum();
    if copies.is_empty() { 0.0 } else { all as f64 / copies.len() as f64 }
}

fn deaths(observation: &Observation) -> DeathReport {
    let ledger = &observation.ledger;
    let seeds: BTreeSet<NodeId> = observation.live_seeds().map(|s| s.node).collect();
    let mut times: Vec<f64> = Vec::new();
    for i in ledger.impairments.iter().filter(|i| i.kind == ImpairmentKind::Dead) {
        let Some(id) = observation.nodes.iter().find(|n| n.node == i.node).map(|n| n.id) else {
            continue;
        };
        let first = ledger
            .removals
            .iter()
            .find(|r| r.subject == id && r.at >= i.from && seeds.contains(&r.observer));
        // A peer that came back before its removal does not count.
        if let Some(r) = first.filter(|r| i.until.is_none_or(|until| r.at <= until)) {
            times.push(r.at.since(i.from).as_secs_f64());
        }
    }
    times.sort_by(f64::total_cmp);
    let uptime: Duration =
        observation.nodes.iter().filter(|n| n.role == Role::Peer).map(|n| n.uptime).sum();
    DeathReport {
        died: times.len() as u64,
        detection_median: percentile(&times, 50.0),
        detection_p99: percentile(&times, 99.0),
        detection_max: times.last().copied(),
        false_deaths: checkers::death::false_deaths(observation)
            .iter()
            .map(|r| (r.subject, r.incarnation))
            .collect::<BTreeSet<_>>()
            .len() as u64,
        peer_hours: uptime.as_secs_f64() / 3600.0,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
