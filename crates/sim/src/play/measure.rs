//! The figures of a run.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use rumormill_analysis::robustness::{Attack, Robustness};
use rumormill_analysis::{
    Clustering, Components, Cutoff, Distances, Fit, FitOptions, Graph, percentile, propagation,
};
use rumormill_proto::{MessageId, Role, Time};

use super::judge::seconds;
use super::{Measures, Phase, PlayError, Run, Tell};
use crate::checkers;
use crate::ledger::{Ledger, Trouble};
use crate::node::NodeId;
use crate::observation::Observation;
use crate::report::{Cost, DeathReport, FailureReport, GraphReport, MessageReport, Report};

/// Links of the largest overlay that a report has whole.
const LARGEST_GRAPH: usize = 100_000;
/// Sources from which paths are measured in large overlays.
const SOURCES: usize = 64;
/// Repetitions of the removal at random.
const REMOVALS: u32 = 10;
/// Points of a curve.
const POINTS: usize = 200;
/// Messages whose spread is followed, the first ones.
const FOLLOWED: usize = 2000;

impl Run<'_> {
    /// Works out the report.
    pub(super) fn report(
        self,
        measures: Measures,
        mut tell: Tell<'_>,
    ) -> Result<Report, PlayError> {
        self.tell(&mut tell, Phase::Measuring, self.world.now())?;
        let seen = self.world.observe();
        let graph = overlay(&seen);
        let degrees = graph.degrees();
        let options = FitOptions {
            cutoff: Cutoff::Scan { min_tail: 50 },
            replicates: measures.replicates,
            seed: self.world.config().seed,
            ..FitOptions::default()
        };
        let fit = Fit::new(&degrees, &options);
        let components = Components::new(&graph);
        let (spread, messages) = spread(&seen, self.busy);
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
            promises: self.judge.promises(),
            looks: self.judge.looks(),
            failure: self.failure(),
            simulated_seconds: seconds(self.world.now()),
            join_seconds: self.rested[0].map(|d| d.as_secs_f64()),
            calm_seconds: self.rested[1].map(|d| d.as_secs_f64()),
            events: self.world.steps(),
            frames: seen.ledger.frames,
            bytes: seen.ledger.bytes,
            cost: Cost::default(),
            live_peers: graph.len(),
            came: self.peers.len() - self.scenario.peers.min(self.peers.len()),
            went: self.replaced,
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
            deaths: deaths(&seen),
            trace_hash: hex(&self.world.trace_hash()),
        };
        report.problems = self.problems(&report);
        report.passed = report.problems.is_empty();
        Ok(report)
    }

    fn failure(&self) -> Option<FailureReport> {
        let first = self.judge.first()?;
        Some(FailureReport {
            at_seconds: seconds(first.at),
            promise: first.violation.promise.to_owned(),
            what: first.violation.what.clone(),
            nodes: first.violation.nodes.iter().map(ToString::to_string).collect(),
            trace: self.judge.trace.clone(),
        })
    }

    /// What did not hold, in words.
    fn problems(&self, r: &Report) -> Vec<String> {
        let mut all: Vec<String> = r
            .promises
            .iter()
            .filter(|(_, p)| !p.held)
            .map(|(name, p)| format!("{name}: {}", p.first.as_deref().unwrap_or("broken")))
            .collect();
        let mut want = |what: &str, is: Option<f64>, holds: &dyn Fn(f64) -> bool, than: String| {
            if !is.is_some_and(holds) {
                let is = is.map_or_else(|| "not known".to_owned(), |v| format!("{v:.3}"));
                all.push(format!("{what} is {is}, expected {than}"));
            }
        };
        let (expect, fit) = (&self.scenario.expect, r.degrees_fit.as_ref());
        if let Some(least) = expect.alpha_min {
            want("alpha", fit.map(|f| f.alpha), &|v| v >= least, format!("at least {least}"));
        }
        if let Some(most) = expect.alpha_max {
            want("alpha", fit.map(|f| f.alpha), &|v| v <= most, format!("at most {most}"));
        }
        if let Some(least) = expect.bounded_p_min {
            let p = fit.and_then(|f| f.bounded_p);
            want("bounded p", p, &|v| v >= least, format!("at least {least}"));
        }
        if let Some(most) = expect.copies_max {
            let copies = Some(r.messages.copies_per_peer);
            want("copies per peer", copies, &|v| v <= most, format!("at most {most}"));
        }
        if let Some(most) = expect.stretch_max {
            let limit = format!("at most {most}");
            let stretch = r.propagation.as_ref().and_then(|p| p.stretch);
            want("the stretch", stretch, &|v| v <= most, limit);
        }
        if let Some(least) = expect.delivered_min {
            let part = Some(r.messages.delivered_fraction);
            want("the part delivered", part, &|v| v >= least, format!("at least {least}"));
        }
        if let Some(most) = expect.delay_max {
            let last = r.propagation.as_ref().and_then(|p| p.curve.last());
            let last = last.map(|p| p.micros as f64 / 1e6);
            let limit = most.0.as_secs_f64();
            want("the longest delay in s", last, &|v| v <= limit, format!("at most {limit}"));
        }
        all
    }
}

/// The overlay with nodes numbered from 0.
fn overlay(seen: &Observation) -> Graph {
    let nodes: Vec<NodeId> = seen.graph.nodes().collect();
    let number: BTreeMap<NodeId, u32> = nodes.iter().copied().zip(0..).collect();
    let mut edges = Vec::new();
    for &a in &nodes {
        for b in seen.graph.neighbours(a).filter(|b| a < *b) {
            edges.extend(number.get(&a).copied().zip(number.get(&b).copied()));
        }
    }
    // The edges are between nodes that were just numbered.
    Graph::new(nodes.len(), &edges).unwrap_or_default()
}

fn robustness(graph: &Graph, seed: u64) -> Vec<Robustness> {
    let attacks = [Attack::Random, Attack::InitialDegree];
    attacks
        .into_iter()
        .filter_map(|a| Robustness::new(graph, a, REMOVALS, POINTS / 2, seed))
        .collect()
}

/// Where each message was owed to and when it came.
fn spread(seen: &Observation, busy: u64) -> (Vec<propagation::Message>, MessageReport) {
    let ledger = &seen.ledger;
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
    let (mut messages, mut came) = (Vec::new(), 0u64);
    // In the overlay at the end of the run; shorter ways than these may have been there before.
    let mut ways: BTreeMap<NodeId, BTreeMap<NodeId, u32>> = BTreeMap::new();
    for p in &ledger.publications {
        let owed = checkers::delivery::owed(seen, p);
        let ways = ways.entry(p.node).or_insert_with(|| seen.graph.distances(p.node));
        let mut arrivals = Vec::new();
        for node in &owed {
            let Some((at, hops)) = arrived.get(&(p.id, *node)) else { continue };
            let (n, bytes) = copies.get(&(p.id, *node)).copied().unwrap_or((0, 0));
            arrivals.push(propagation::Arrival {
                micros: at.since(p.at).as_micros() as u64,
                hops: u32::from(*hops),
                fewest: ways.get(node).copied(),
                duplicates: n.saturating_sub(1),
                bytes,
            });
        }
        report.owed += owed.len() as u64;
        came += arrivals.len() as u64;
        if !owed.is_empty() && messages.len() < FOLLOWED {
            messages.push(propagation::Message { expected: owed.len(), arrivals });
        }
    }
    report.delivered_fraction =
        if report.owed > 0 { came as f64 / report.owed as f64 } else { 1.0 };
    (messages, report)
}

/// Copies of each batch that each peer got, and their bytes, by the first message of the batch.
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

fn deaths(seen: &Observation) -> DeathReport {
    let ledger = &seen.ledger;
    let seeds: BTreeSet<NodeId> = seen.live_seeds().map(|s| s.node).collect();
    let mut took: Vec<f64> = Vec::new();
    for i in ledger.impairments.iter().filter(|i| i.trouble == Trouble::Dead) {
        let Some(id) = seen.nodes.iter().find(|n| n.node == i.node).map(|n| n.id) else { continue };
        let first = ledger
            .removals
            .iter()
            .find(|r| r.subject == id && r.at >= i.from && seeds.contains(&r.observer));
        // One that came back before it was found dead was never to be found.
        if let Some(r) = first.filter(|r| i.until.is_none_or(|until| r.at <= until)) {
            took.push(r.at.since(i.from).as_secs_f64());
        }
    }
    took.sort_by(f64::total_cmp);
    let lived: Duration = seen.nodes.iter().filter(|n| n.role == Role::Peer).map(|n| n.lived).sum();
    DeathReport {
        died: took.len() as u64,
        detection_median: percentile(&took, 50.0),
        detection_p99: percentile(&took, 99.0),
        detection_max: took.last().copied(),
        false_deaths: checkers::death::false_deaths(seen)
            .iter()
            .map(|r| (r.subject, r.incarnation))
            .collect::<BTreeSet<_>>()
            .len() as u64,
        peer_hours: lived.as_secs_f64() / 3600.0,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
