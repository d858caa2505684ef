//! What is measured, and how the readings of several runs become one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One figure of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// Deliveries per second, at all nodes other than the publisher.
    DeliveriesPerSecond,
    /// Median time until the last node has a message, in milliseconds.
    LastNodeP50Ms,
    /// 99th percentile of that time, in milliseconds.
    LastNodeP99Ms,
    /// Deliveries that did not happen.
    Lost,
    /// Messages that an application received again.
    Duplicates,
    /// Processor time per delivery, in microseconds.
    CpuPerDeliveryUs,
    /// Bytes sent per byte of delivered payload.
    BytesSentPerPayloadByte,
    /// Processor time per node and second, in milliseconds.
    CpuPerNodeMs,
    /// Resident memory per node, in MiB.
    MemoryPerNodeMib,
    /// Time until every node that knew a killed node has removed it, in seconds.
    KilledRemovedS,
    /// The same for a paused node, whose sockets stay open.
    PausedRemovedS,
    /// The number of nodes that knew the killed node.
    KnewKilled,
}

/// The value of a metric in one run, or in all runs together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Reading {
    /// It was measured.
    Value(f64),
    /// It did not happen within this time.
    Never {
        /// Seconds.
        never_within_s: f64,
    },
}

/// The readings of one run. A metric that a system does not have is not there.
pub(crate) type Sample = BTreeMap<Metric, Reading>;

impl Metric {
    /// The words of the table.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Metric::DeliveriesPerSecond => "deliveries per second",
            Metric::LastNodeP50Ms => "last node has it, p50, ms",
            Metric::LastNodeP99Ms => "last node has it, p99, ms",
            Metric::Lost => "lost deliveries (worst run)",
            Metric::Duplicates => "duplicates (worst run)",
            Metric::CpuPerDeliveryUs => "CPU time per delivery, µs",
            Metric::BytesSentPerPayloadByte => "bytes sent per payload byte",
            Metric::CpuPerNodeMs => "CPU time per node, ms/s",
            Metric::MemoryPerNodeMib => "memory per node, MiB",
            Metric::KilledRemovedS => "killed node removed, s",
            Metric::PausedRemovedS => "paused node removed, s",
            Metric::KnewKilled => "nodes that knew it",
        }
    }

    /// Digits after the point in the table.
    pub(crate) const fn digits(self) -> usize {
        match self {
            Metric::DeliveriesPerSecond
            | Metric::Lost
            | Metric::Duplicates
            | Metric::KnewKilled => 0,
            Metric::LastNodeP50Ms
            | Metric::LastNodeP99Ms
            | Metric::MemoryPerNodeMib
            | Metric::CpuPerDeliveryUs => 1,
            Metric::BytesSentPerPayloadByte | Metric::CpuPerNodeMs => 2,
            Metric::KilledRemovedS | Metric::PausedRemovedS => 3,
        }
    }

    /// Whether the worst run counts and not the median: a median hides errors.
    const fn is_error_count(self) -> bool {
        matches!(self, Metric::Lost | Metric::Duplicates)
    }
}

/// The readings of several runs as one sample: medians, and the worst of the error counts. A metric
/// that is missing in a run does not count for that run.
pub(crate) fn combine(runs: &[Sample]) -> Sample {
    let mut all: BTreeMap<Metric, Vec<Reading>> = BTreeMap::new();
    for (metric, reading) in runs.iter().flatten() {
        all.entry(*metric).or_default().push(*reading);
    }
    let combined = all.into_iter().filter_map(|(metric, mut readings)| {
        readings.sort_by(|a, b| rank(*a).total_cmp(&rank(*b)));
        let reading =
            if metric.is_error_count() { readings.last().copied() } else { median(&readings) };
        Some((metric, reading?))
    });
    combined.collect()
}

/// "Never" is longer than every time.
const fn rank(reading: Reading) -> f64 {
    match reading {
        Reading::Value(value) => value,
        Reading::Never { .. } => f64::INFINITY,
    }
}

/// The median of sorted readings: of an even number, the mean of the middle two, or "never" if one
/// of them is.
fn median(sorted: &[Reading]) -> Option<Reading> {
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    match (*sorted.get(sorted.len() / 2 - 1)?, upper) {
        (Reading::Value(a), Reading::Value(b)) => Some(Reading::Value(f64::midpoint(a, b))),
        (_, never) => Some(never),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Reading = Reading::Never { never_within_s: 30.0 };

    fn runs(metric: Metric, readings: &[Reading]) -> Vec<Sample> {
        readings.iter().map(|r| Sample::from([(metric, *r)])).collect()
    }

    fn combined(metric: Metric, readings: &[Reading]) -> Option<Reading> {
        combine(&runs(metric, readings)).get(&metric).copied()
    }

    #[test]
    fn median_of_times_counts_never_as_longest() {
        let values = |v: &[f64]| v.iter().map(|v| Reading::Value(*v)).collect::<Vec<_>>();
        let of = |r: &[Reading]| combined(Metric::KilledRemovedS, r);
        assert_eq!(of(&values(&[3.0, 1.0, 2.0])), Some(Reading::Value(2.0)));
        assert_eq!(of(&values(&[4.0, 1.0])), Some(Reading::Value(2.5)));
        assert_eq!(
            of(&[NEVER, Reading::Value(1.0), Reading::Value(2.0)]),
            Some(Reading::Value(2.0))
        );
        assert_eq!(of(&[NEVER, Reading::Value(1.0)]), Some(NEVER));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn error_counts_show_the_worst_run() {
        let readings = [Reading::Value(0.0), Reading::Value(7.0), Reading::Value(0.0)];
        assert_eq!(combined(Metric::Lost, &readings), Some(Reading::Value(7.0)));
    }

    #[test]
    fn sample_survives_json() {
        let sample =
            Sample::from([(Metric::Lost, Reading::Value(0.0)), (Metric::KilledRemovedS, NEVER)]);
        let text = serde_json::to_string(&sample).unwrap();
        assert_eq!(text, r#"{"lost":0.0,"killed_removed_s":{"never_within_s":30.0}}"#);
        assert_eq!(serde_json::from_str::<Sample>(&text).unwrap(), sample);
    }
}
