//! Load, churn and chaos of a scenario.

use serde::Deserialize;

use super::ScenarioError;
use super::values::{Share, Size, SizeRange, Span, SpanRange};

/// Messages that peers publish.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Load {
    /// Beginning, from the beginning of the active phase.
    #[serde(default)]
    pub from: Span,
    /// End; the end of the active phase if not given.
    pub until: Option<Span>,
    /// Number of peers that publish; another peer replaces a publisher that does not run.
    #[serde(default)]
    pub publishers: Share,
    /// Messages a second of all publishers together (above 0, at most 1,000,000).
    pub rate: f64,
    /// Bytes of a message.
    #[serde(default = "two_hundred")]
    pub size: SizeRange,
    /// Messages published at one moment (1 to 10,000); the rate counts each message.
    #[serde(default = "one")]
    pub burst: usize,
    /// Whether a delivery receipt is requested for the last message of each burst.
    #[serde(default)]
    pub receipts: bool,
}

/// Arrivals and departures of peers, at slightly random intervals.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Churn {
    /// Beginning, from the beginning of the active phase.
    #[serde(default)]
    pub from: Span,
    /// End; the end of the active phase if not given.
    pub until: Option<Span>,
    /// Arrivals a minute.
    #[serde(default)]
    pub arrivals: f64,
    /// Departures a minute, drawn from all live peers.
    #[serde(default)]
    pub departures: f64,
    /// Peers that are replaced in total, in percent of the initial number: as many arrive as
    /// depart.
    pub turnover: Option<f64>,
    /// How peers depart.
    #[serde(default)]
    pub by: DepartureKind,
}

/// How a peer departs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DepartureKind {
    /// One of the other kinds, at random.
    #[default]
    Mixed,
    /// The process is killed.
    Crash,
    /// The host loses power.
    PowerOff,
    /// The peer leaves in an orderly way.
    Leave,
}

/// Random faults in rapid succession: crash, power-off, freeze, restart with and without disk,
/// partition, loss, full queues, arrival, departure, and more.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Chaos {
    /// Beginning, from the beginning of the active phase.
    #[serde(default)]
    pub from: Span,
    /// End; the end of the active phase if not given.
    pub until: Option<Span>,
    /// Time from one step to the next.
    pub every: SpanRange,
    /// Whether seeds are victims too; a majority of the seeds is left.
    #[serde(default)]
    pub seeds: bool,
}

fn two_hundred() -> SizeRange {
    SizeRange { min: Size(200), max: Size(200) }
}

const fn one() -> usize {
    1
}

impl Load {
    pub(super) fn check(&self) -> Result<(), ScenarioError> {
        if !(self.rate > 0.0 && self.rate <= 1e6) {
            return range("load.rate", self.rate, "above 0 and at most 1000000 a second");
        }
        if !(1..=10_000).contains(&self.burst) {
            return range("load.burst", self.burst, "from 1 to 10000");
        }
        if self.size.max.0 > rumormill_proto::limits::MAX_PAYLOAD as u64 {
            return range("load.size", self.size, "at most 1MiB");
        }
        Ok(())
    }
}

impl Churn {
    pub(super) fn check(&self) -> Result<(), ScenarioError> {
        let rates = [self.arrivals, self.departures, self.turnover.unwrap_or(0.0)];
        if rates.iter().any(|r| !(0.0..=1e6).contains(r)) {
            let shown = format!("{rates:?}");
            return range("churn", shown, "made of numbers from 0 to 1000000");
        }
        if self.turnover.is_some() && self.arrivals + self.departures > 0.0 {
            let expected = "given without them, because it sets both";
            return range("churn.turnover", "given with arrivals or departures", expected);
        }
        Ok(())
    }
}

impl Chaos {
    pub(super) fn check(&self) -> Result<(), ScenarioError> {
        if self.every.max.0.is_zero() {
            return range("chaos.every", self.every, "above 0");
        }
        Ok(())
    }
}

fn range<T>(
    what: &'static str,
    value: impl core::fmt::Display,
    expected: &'static str,
) -> Result<T, ScenarioError> {
    Err(ScenarioError::Range { what, value: value.to_string(), expected })
}
