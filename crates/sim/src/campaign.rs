//! Campaigns: many runs of one scenario with different random seeds and settings, also on several
//! machines.
//!
//! A campaign is a list of [`Point`]s; the same arguments always give the same list. A [`Shard`]
//! `i/n` is every nth point, so any number of processes can share a campaign, and their reports
//! can be merged afterwards. This fits a Kubernetes indexed Job, a Slurm array and GNU parallel.

use core::fmt;
use core::str::FromStr;
use std::collections::BTreeMap;

use toml::Table;

use crate::report::Report;
use crate::scenario::{Scenario, ScenarioError, Variation, set};

/// Most runs in one campaign.
const MAX_RUNS: u64 = 10_000_000;

/// One run of a campaign.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The random seed of the run.
    pub seed: u64,
    /// Changed settings, by path.
    pub set: Vec<(String, toml::Value)>,
}

impl Point {
    /// The scenario with its settings changed.
    ///
    /// # Errors
    /// A path does not exist in the scenario, or a value is invalid.
    pub fn scenario(&self, base: &Table) -> Result<Scenario, ScenarioError> {
        let mut table = base.clone();
        for (path, value) in &self.set {
            set(&mut table, path, value.clone())?;
        }
        Scenario::from_table(table)
    }

    /// The changed settings as text.
    #[must_use]
    pub fn settings(&self) -> BTreeMap<String, String> {
        self.set.iter().map(|(path, value)| (path.clone(), value_text(value))).collect()
    }
}

/// A value as it is written on a command line.
fn value_text(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The random seeds of a campaign, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeedRange {
    first: u64,
    last: u64,
}

impl SeedRange {
    /// `n` seeds from `first` on.
    #[must_use]
    pub const fn from(first: u64, n: u64) -> Self {
        SeedRange { first, last: first.saturating_add(n.saturating_sub(1)) }
    }
}

impl FromStr for SeedRange {
    type Err = String;

    /// Parses `1000` (seeds 1 to 1000) or `5..80` (both ends included).
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a range of seeds: write 1000, or 5..80");
        let seeds = match text.split_once("..") {
            Some((first, last)) => SeedRange {
                first: first.parse().map_err(|_| wrong())?,
                last: last.parse().map_err(|_| wrong())?,
            },
            None => {
                let n: u64 = text.parse().map_err(|_| wrong())?;
                SeedRange { first: 1, last: n }
            }
        };
        if seeds.last < seeds.first { Err(wrong()) } else { Ok(seeds) }
    }
}

/// One part of a campaign: shard `i/n` contains point `i` and every nth point after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u64,
    of: u64,
}

impl Shard {
    /// All points.
    pub const WHOLE: Shard = Shard { index: 0, of: 1 };
}

impl FromStr for Shard {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is not a shard: write 0/8 for the first of eight, 7/8 for the last")
        };
        let (index, of) = text.split_once('/').ok_or_else(wrong)?;
        let shard = Shard {
            index: index.parse().map_err(|_| wrong())?,
            of: of.parse().map_err(|_| wrong())?,
        };
        if shard.index < shard.of { Ok(shard) } else { Err(wrong()) }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

/// The points of one shard. A campaign runs every combination of values with every random seed.
///
/// # Errors
/// The campaign has more than ten million points.
pub fn points(
    seeds: SeedRange,
    sweeps: &[Variation],
    shard: Shard,
) -> Result<Vec<Point>, ScenarioError> {
    let combinations: u64 = sweeps.iter().fold(1, |n, s| n.saturating_mul(s.values.len() as u64));
    let runs = combinations.saturating_mul((seeds.last - seeds.first).saturating_add(1));
    if runs > MAX_RUNS {
        let (what, expected) = ("the number of runs", "at most 10000000");
        return Err(ScenarioError::Range { what, value: runs.to_string(), expected });
    }
    let mut all = Vec::new();
    for number in (shard.index..runs).step_by(usize::try_from(shard.of).unwrap_or(usize::MAX)) {
        let (mut combination, seed) = (number % combinations, seeds.first + number / combinations);
        let mut set = Vec::new();
        for sweep in sweeps.iter().rev() {
            let n = sweep.values.len() as u64;
            let value = sweep.values.get((combination % n) as usize);
            set.extend(value.map(|v| (sweep.path.clone(), v.clone())));
            combination /= n;
        }
        set.reverse();
        all.push(Point { seed, set });
    }
    Ok(all)
}

/// Summary of the reports of one combination of values.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Summary {
    /// The scenario.
    pub scenario: String,
    /// The values.
    pub set: BTreeMap<String, String>,
    /// Runs.
    pub runs: usize,
    /// Runs in which every promise and every expectation held.
    pub passed: usize,
    /// Random seeds of the other runs.
    pub failed_seeds: Vec<u64>,
    /// Quantiles of each figure over the runs.
    pub figures: BTreeMap<&'static str, Quantiles>,
}

/// Quantiles of a figure over many runs.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Quantiles {
    /// Runs that have this figure.
    pub runs: usize,
    /// Smallest value.
    pub least: f64,
    /// Median.
    pub median: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest value.
    pub most: f64,
}

/// Merges the reports of the shards of a campaign: sorted, each run once. The same random seed
/// must give the same run, so two reports of one run with different traces are an error.
///
/// # Errors
/// Two reports of one run have different traces.
pub fn merge(reports: impl IntoIterator<Item = Report>) -> Result<Vec<Report>, String> {
    let mut all: BTreeMap<(String, BTreeMap<String, String>, usize, u64), Report> = BTreeMap::new();
    for r in reports {
        let key = (r.scenario.clone(), r.set.clone(), r.peers, r.seed);
        match all.get(&key) {
            Some(known) if known.trace_hash != r.trace_hash => {
                return Err(format!(
                    "two reports of {} with seed {} have different traces: they come from different \
                     versions of the program or of the scenario",
                    r.scenario, r.seed
                ));
            }
            Some(_) => {}
            None => {
                all.insert(key, r);
            }
        }
    }
    Ok(all.into_values().collect())
}

/// Makes one summary for each combination of values.
#[must_use]
pub fn summarise(reports: &[Report]) -> Vec<Summary> {
    let mut groups: BTreeMap<(String, BTreeMap<String, String>), Vec<&Report>> = BTreeMap::new();
    for r in reports {
        groups.entry((r.scenario.clone(), r.set.clone())).or_default().push(r);
    }
    groups
        .into_iter()
        .map(|((scenario, set), group)| Summary {
            scenario,
            set,
            runs: group.len(),
            passed: group.iter().filter(|r| r.passed).count(),
            failed_seeds: group.iter().filter(|r| !r.passed).map(|r| r.seed).collect(),
            figures: FIGURES
                .iter()
                .filter_map(|(n, f)| Some((*n, quantiles(&group, *f)?)))
                .collect(),
        })
        .collect()
}

type Figure = fn(&Report) -> Option<f64>;

/// The figures that summaries and comparisons contain.
pub(crate) const FIGURES: &[(&str, Figure)] = &[
    ("alpha", |r| r.degrees_fit.as_ref().map(|f| f.alpha)),
    ("bounded_alpha", |r| r.degrees_fit.as_ref().map(|f| f.bounded_alpha)),
    ("bounded_p", |r| r.degrees_fit.as_ref().and_then(|f| f.bounded_p)),
    ("calm_seconds", |r| r.calm_seconds),
    ("components", |r| Some(r.components as f64)),
    ("copies_per_peer", |r| Some(r.messages.copies_per_peer)),
    ("stretch", |r| r.propagation.as_ref()?.stretch),
    ("delivered_fraction", |r| Some(r.messages.delivered_fraction)),
    ("detection_max", |r| r.deaths.detection_max),
    ("detection_median", |r| r.deaths.detection_median),
    ("events", |r| Some(r.events as f64)),
    ("events_per_second", |r| r.cost.events_per_second),
    ("false_deaths", |r| Some(r.deaths.false_deaths as f64)),
    ("gaps", |r| Some(r.messages.gaps as f64)),
    ("join_seconds", |r| r.join_seconds),
    ("last_delivery_ms", |r| Some(r.propagation.as_ref()?.curve.last()?.micros as f64 / 1e3)),
    ("live_peers", |r| Some(r.live_peers as f64)),
    ("mean_path", |r| Some(r.distances.as_ref()?.mean_path)),
    ("peer_hours", |r| Some(r.deaths.peer_hours)),
    ("published", |r| Some(r.messages.published as f64)),
];

fn quantiles(group: &[&Report], figure: Figure) -> Option<Quantiles> {
    let mut values: Vec<f64> = group.iter().filter_map(|r| figure(r)).collect();
    values.sort_by(f64::total_cmp);
    Some(Quantiles {
        runs: values.len(),
        least: *values.first()?,
        median: rumormill_analysis::percentile(&values, 50.0)?,
        p99: rumormill_analysis::percentile(&values, 99.0)?,
        most: *values.last()?,
    })
}

/// One difference between two reports.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Change {
    /// The figure, or the promise.
    pub what: String,
    /// Its value in the first report.
    pub before: Option<f64>,
    /// Its value in the second report.
    pub after: Option<f64>,
    /// Whether a promise that held before is broken now, or a run that passed before fails now.
    pub broke: bool,
}

/// The differences between two reports: figures with other values, and promises whose number of
/// violations changed.
#[must_use]
pub fn compare(before: &Report, after: &Report) -> Vec<Change> {
    let mut changes = Vec::new();
    let passed = |r: &Report| Some(f64::from(u8::from(r.passed)));
    if before.passed != after.passed {
        let (what, broke) = ("passed".to_owned(), before.passed);
        changes.push(Change { what, before: passed(before), after: passed(after), broke });
    }
    for (name, figure) in FIGURES {
        let (b, a) = (figure(before), figure(after));
        if b != a {
            let what = (*name).to_owned();
            changes.push(Change { what, before: b, after: a, broke: false });
        }
    }
    let broken = |r: &Report, p: &str| r.promises.get(p).map(|p| p.broken as f64);
    let names: std::collections::BTreeSet<&String> =
        before.promises.keys().chain(after.promises.keys()).collect();
    for p in names {
        let (b, a) = (broken(before, p), broken(after, p));
        if b != a {
            let broke = b.is_none_or(|b| b == 0.0) && a.is_some_and(|a| a > 0.0);
            changes.push(Change { what: format!("{p} broken"), before: b, after: a, broke });
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep() -> Vec<Variation> {
        vec!["peers=10,20".parse().unwrap(), "network.loss=0,0.01,0.05".parse().unwrap()]
    }

    #[test]
    fn shards_together_contain_every_point_once() {
        let seeds: SeedRange = "5..10".parse().unwrap();
        let whole = points(seeds, &sweep(), Shard::WHOLE).unwrap();
        assert_eq!(whole.len(), 36);
        let mut together = Vec::new();
        for i in 0..4 {
            let shard = format!("{i}/4").parse().unwrap();
            together.extend(points(seeds, &sweep(), shard).unwrap());
        }
        assert_eq!(together.len(), 36);
        assert!(whole.iter().all(|p| together.contains(p)));
        let seeds: std::collections::BTreeSet<u64> = whole.iter().map(|p| p.seed).collect();
        assert_eq!(seeds.into_iter().collect::<Vec<_>>(), [5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn point_applies_its_settings_to_the_scenario() {
        let base: Table = "name = \"x\"\npeers = 5".parse().unwrap();
        let points = points(SeedRange::from(1, 1), &sweep(), Shard::WHOLE).unwrap();
        let last = points.last().unwrap();
        let s = last.scenario(&base).unwrap();
        assert_eq!((s.peers, s.network.loss), (20, 0.05));
        assert_eq!(last.settings()["network.loss"], "0.05");
        let bad = Point { seed: 1, set: vec![("peers.x".into(), toml::Value::Integer(1))] };
        assert!(bad.scenario(&base).is_err());
    }

    #[test]
    fn seed_ranges_and_shards_are_parsed() {
        assert_eq!("1000".parse::<SeedRange>().unwrap(), SeedRange { first: 1, last: 1000 });
        for bad in ["", "0", "9..5", "a..b", "-1"] {
            assert!(bad.parse::<SeedRange>().is_err(), "{bad}");
        }
        for bad in ["", "8", "8/8", "1/0", "a/b"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
        assert_eq!("3/8".parse::<Shard>().unwrap().to_string(), "3/8");
    }
}
