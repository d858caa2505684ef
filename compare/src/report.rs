//! The result of a comparison: one table, or one JSON object.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::metric::{Metric, Reading, Sample, combine};
use crate::plan::{Plan, Work};
use crate::systems::SystemKind;
use crate::table::{Table, show_number};
use crate::versions;
use crate::work::idle;

/// The text of a figure that does not exist.
const NONE: &str = "–";
/// Characters of a line of notes.
const LINE_WIDTH: usize = 96;

/// All measurements.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    plan: Plan,
    runs: u32,
    processors: usize,
    systems: Vec<SystemReport>,
    results: Vec<WorkResult>,
}

/// What is known about a system.
#[derive(Debug, Serialize)]
struct SystemReport {
    #[serde(rename = "name")]
    kind: SystemKind,
    /// `None` if its program is not installed.
    version: Option<String>,
    /// Why it was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
    note: &'static str,
}

/// The runs of one work over one system.
#[derive(Debug, Serialize)]
struct WorkResult {
    system: SystemKind,
    work: Work,
    medians: Sample,
    runs: Vec<Sample>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
}

impl Report {
    /// A report without results.
    pub(crate) fn new(plan: Plan, runs: u32, systems: &[SystemKind]) -> Self {
        let system = |kind: &SystemKind| {
            let version = versions::of(*kind);
            let missing = kind.program().filter(|_| version.is_none());
            let skipped = missing.map(|(program, package)| {
                format!("{program} is not installed: apt-get install {package}")
            });
            SystemReport { kind: *kind, version, skipped, note: kind.note() }
        };
        Report {
            plan,
            runs,
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            systems: systems.iter().map(system).collect(),
            results: Vec::new(),
        }
    }

    /// The systems that can be measured.
    pub(crate) fn measurable(&self) -> Vec<SystemKind> {
        self.systems.iter().filter(|s| s.skipped.is_none()).map(|s| s.kind).collect()
    }

    /// Adds a run, or the reason why it failed.
    pub(crate) fn add(&mut self, system: SystemKind, work: Work, run: anyhow::Result<Sample>) {
        let found = self.results.iter().position(|r| r.system == system && r.work == work);
        let index = found.unwrap_or_else(|| {
            let (medians, runs, errors) = (Sample::new(), Vec::new(), Vec::new());
            self.results.push(WorkResult { system, work, medians, runs, errors });
            self.results.len() - 1
        });
        let Some(result) = self.results.get_mut(index) else { return };
        match run {
            Ok(sample) => result.runs.push(sample),
            Err(e) => result.errors.push(format!("{e:#}")),
        }
        result.medians = combine(&result.runs);
    }

    /// Whether a run failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.results.iter().any(|r| !r.errors.is_empty())
    }

    /// The table, and notes under it.
    pub(crate) fn text(&self) -> String {
        let plan = &self.plan;
        let runs = match self.runs {
            1 => "one run".to_owned(),
            runs => format!("medians of {runs} runs"),
        };
        let mut text = format!(
            "{} nodes, {} B payload, {} publishers, {} s of publishing, {runs}, {} processors\n\n",
            plan.nodes, plan.payload, plan.publishers, plan.seconds, self.processors
        );
        text += &self.table().render();
        text += "\n";
        for system in &self.systems {
            let version = system.version.as_deref().unwrap_or("not installed");
            let state = system.skipped.as_deref().map_or(String::new(), |s| format!("{s}. "));
            let line = format!("{} ({version}): {state}{}", system.kind.name(), system.note);
            text += &wrapped(&line);
        }
        for result in &self.results {
            for error in &result.errors {
                let (system, work) = (result.system.name(), result.work.name());
                text += &wrapped(&format!("{system} {work}: a run failed: {error}"));
            }
        }
        text
    }

    fn table(&self) -> Table {
        let names = self.systems.iter().map(|s| s.kind.name().to_owned());
        let mut table = Table::new(std::iter::once(String::new()).chain(names).collect());
        for work in Work::ALL {
            let results: BTreeMap<SystemKind, &Sample> = self
                .results
                .iter()
                .filter(|r| r.work == work)
                .map(|r| (r.system, &r.medians))
                .collect();
            if results.is_empty() {
                continue;
            }
            table.title(title(work, &self.plan));
            for metric in rows(work) {
                let cell = |s: &SystemReport| {
                    let reading = results.get(&s.kind).and_then(|sample| sample.get(metric));
                    reading.map_or(NONE.to_owned(), |r| show(*metric, *r))
                };
                let label = format!("  {}", metric.label());
                let cells = self.systems.iter().map(cell);
                table.row(std::iter::once(label).chain(cells).collect());
            }
        }
        table
    }
}

fn title(work: Work, plan: &Plan) -> String {
    match work {
        Work::Throughput => {
            format!("throughput, {} messages of each publisher in flight", plan.window)
        }
        Work::Delay => format!("delay at {} messages/s", plan.rate),
        Work::Idle => format!("idle, over {} s", idle::time(plan).as_secs()),
        Work::Detection => {
            "detection, time until every node that knew it has removed it".to_owned()
        }
    }
}

/// The rows of a kind of work.
const fn rows(work: Work) -> &'static [Metric] {
    match work {
        Work::Throughput => &[
            Metric::DeliveriesPerSecond,
            Metric::Lost,
            Metric::Duplicates,
            Metric::CpuPerDeliveryUs,
            Metric::BytesSentPerPayloadByte,
        ],
        Work::Delay => &[
            Metric::LastNodeP50Ms,
            Metric::LastNodeP99Ms,
            Metric::Lost,
            Metric::Duplicates,
            Metric::CpuPerDeliveryUs,
            Metric::BytesSentPerPayloadByte,
        ],
        Work::Idle => &[Metric::CpuPerNodeMs, Metric::MemoryPerNodeMib],
        Work::Detection => &[Metric::KnewKilled, Metric::KilledRemovedS, Metric::PausedRemovedS],
    }
}

fn show(metric: Metric, reading: Reading) -> String {
    match reading {
        Reading::Value(value) => show_number(value, metric.digits()),
        Reading::Never { never_within_s } => format!("never in {never_within_s} s"),
    }
}

/// A paragraph in lines of limited width. Later lines are indented.
fn wrapped(text: &str) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for word in text.split_whitespace() {
        if !line.trim().is_empty() && line.chars().count() + 1 + word.chars().count() > LINE_WIDTH {
            lines += &format!("{line}\n");
            line = " ".to_owned();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    lines + &line + "\n"
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn report() -> Report {
        let plan = Plan {
            nodes: 16,
            publishers: 4,
            payload: 1024,
            seconds: 5.0,
            rate: 20.0,
            window: 256,
            detect_within_s: 30.0,
        };
        Report::new(plan, 3, &[SystemKind::Rumormill, SystemKind::Gossipsub])
    }

    #[test]
    fn table_shows_missing_figures_and_failed_runs() {
        let mut report = report();
        let never = Reading::Never { never_within_s: 30.0 };
        let sample = Sample::from([(Metric::KilledRemovedS, Reading::Value(0.126))]);
        report.add(SystemKind::Rumormill, Work::Detection, Ok(sample));
        let sample = Sample::from([(Metric::KilledRemovedS, never)]);
        report.add(SystemKind::Gossipsub, Work::Detection, Ok(sample));
        assert!(!report.has_failed());
        report.add(SystemKind::Gossipsub, Work::Detection, Err(anyhow!("it broke")));
        assert!(report.has_failed());
        let text = report.text();
        let row = |label: &str| text.lines().find(|l| l.contains(label)).unwrap().to_owned();
        assert!(row("killed node removed").ends_with("0.126  never in 30 s"), "{text}");
        assert!(row("paused node removed").contains('–'), "{text}");
        assert!(text.contains("gossipsub detection: a run failed: it broke"), "{text}");
        assert!(!text.contains("throughput,"), "work that was not done has no rows: {text}");
    }

    #[test]
    fn long_notes_are_wrapped_and_indented() {
        let text = wrapped(&"word ".repeat(40));
        assert!(text.lines().all(|l| l.chars().count() <= LINE_WIDTH));
        assert!(text.lines().count() > 1 && text.lines().skip(1).all(|l| l.starts_with("  word")));
        assert_eq!(wrapped("a  b"), "a b\n");
    }
}
