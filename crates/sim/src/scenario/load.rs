//! Messages, peers that come and go, faults at random.

use serde::Deserialize;

use super::ScenarioError;
use super::values::{Share, Size, SizeRange, Span, SpanRange};

/// Messages that peers publish.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Load {
    /// From this time of the action.
    #[serde(default)]
    pub from: Span,
    /// Until then; to the end of the action if not given.
    pub until: Option<Span>,
    /// How many peers publish; another takes the place of one that is gone.
    #[serde(default)]
    pub publishers: Share,
    /// Messages a second, all of them together (above 0, at most 1,000,000).
    pub rate: f64,
    /// Bytes of a message.
    #[serde(default = "two_hundred")]
    pub size: SizeRange,
    /// Messages that are published at one moment (1 to 10,000); the rate counts them singly.
    #[serde(default = "one")]
    pub burst: usize,
    /// Whether delivery receipts are asked for, of the last message of each burst.
    #[serde(default)]
    pub receipts: bool,
}

/// Peers that come and go, evenly but for some chance.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Churn {
    /// From this time of the action.
    #[serde(default)]
    pub from: Span,
    /// Until then; to the end of the action if not given.
    pub until: Option<Span>,
    /// New peers a minute.
    #[serde(default)]
    pub arrivals: f64,
    /// Peers a minute that go, drawn from all that live.
    #[serde(default)]
    pub departures: f64,
    /// Peers that are replaced in all, in percent of those at the beginning: as many come as go.
    pub turnover: Option<f64>,
    /// How they go.
    #[serde(default)]
    pub by: Departure,
}

/// How a peer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Departure {
    /// One of the others, by chance.
    #[default]
    Mixed,
    /// Its process is killed.
    Crash,
    /// Its host goes silent.
    PowerOff,
    /// It says goodbye.
    Leave,
}

/// Faults at random: crash, power-off, freeze, restart with and without disk, partition, loss, full
/// queues, arrival, departure, in a rapid mix.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Chaos {
    /// From this time of the action.
    #[serde(default)]
    pub from: Span,
    /// Until then; to the end of the action if not given.
    pub until: Option<Span>,
    /// Time from one fault to the next.
    pub every: SpanRange,
    /// Whether the seeds are struck, too; a majority of them is left.
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
            let expected = "given alone: it says how many come and go";
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
