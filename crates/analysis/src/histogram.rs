//! Counts of values: the form in which degrees and hops are counted and fitted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How many nodes have each degree (or how many deliveries took each number of hops).
///
/// Values ascend, and each listed value occurs at least once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<u64, u64>", into = "BTreeMap<u64, u64>")]
pub struct Histogram {
    bins: Vec<(u64, u64)>,
    n: u64,
}

/// A logarithmic bin, for plotting on doubly logarithmic axes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LogBin {
    /// Smallest integer of the bin.
    pub from: u64,
    /// Largest integer of the bin.
    pub to: u64,
    /// Geometric mean of both ends: the position of the point in a plot.
    pub centre: f64,
    /// Observations in the bin.
    pub count: u64,
    /// Share of all observations per integer value in the bin: an estimate of the probability mass
    /// at `centre`.
    pub density: f64,
}

impl Histogram {
    /// Creates a histogram from pairs of a value and its count. Equal values are added up, zero
    /// counts are left out; sums saturate.
    pub fn from_counts(counts: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut bins: Vec<(u64, u64)> = counts.into_iter().filter(|b| b.1 > 0).collect();
        bins.sort_unstable();
        bins.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 = kept.1.saturating_add(later.1);
            }
            same
        });
        let n = bins.iter().fold(0u64, |n, b| n.saturating_add(b.1));
        Self { bins, n }
    }

    /// Number of observations.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Whether there are no observations.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bins.is_empty()
    }

    /// Values that occur, ascending, each with its count.
    #[must_use]
    pub fn bins(&self) -> &[(u64, u64)] {
        &self.bins
    }

    /// How often `value` occurs.
    #[must_use]
    pub fn count(&self, value: u64) -> u64 {
        self.bins.binary_search_by_key(&value, |b| b.0).map_or(0, |i| self.bins[i].1)
    }

    /// How many observations are `value` or more.
    #[must_use]
    pub fn at_least(&self, value: u64) -> u64 {
        let first = self.bins.partition_point(|b| b.0 < value);
        self.bins[first..].iter().map(|b| b.1).sum()
    }

    /// Arithmetic mean; none without observations.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let sum: f64 = self.bins.iter().map(|&(x, c)| x as f64 * c as f64).sum();
        (self.n > 0).then(|| sum / self.n as f64)
    }

    /// The smallest value that occurs.
    #[must_use]
    pub fn min(&self) -> Option<u64> {
        self.bins.first().map(|b| b.0)
    }

    /// The largest value that occurs.
    #[must_use]
    pub fn max(&self) -> Option<u64> {
        self.bins.last().map(|b| b.0)
    }

    /// Complementary cumulative distribution: for every value that occurs, the share of
    /// observations that are at least as large. The first share is 1.
    #[must_use]
    pub fn ccdf(&self) -> Vec<(u64, f64)> {
        let mut left = self.n;
        let share = |&(x, c): &(u64, u64)| {
            let here = left as f64 / self.n as f64;
            left -= c;
            (x, here)
        };
        self.bins.iter().map(share).collect()
    }

    /// Logarithmic bins, `per_decade` (at least 1) to a factor of ten, from 1 on; empty bins are
    /// left out, and so are zeros, which have no position on a logarithmic axis. Small values have
    /// separate bins as long as the grid is finer than the integers.
    #[must_use]
    pub fn log_bins(&self, per_decade: u32) -> Vec<LogBin> {
        let ratio = libm::pow(10.0, 1.0 / f64::from(per_decade.max(1)));
        let mut out: Vec<LogBin> = Vec::new();
        let (mut from, mut edge) = (1u64, 1.0f64);
        let mut bins = self.bins.iter().filter(|b| b.0 > 0).peekable();
        while bins.peek().is_some() {
            // The next grid line that leaves at least one integer in the bin.
            let mut next = from;
            while next <= from {
                edge *= ratio;
                next = if edge >= u64::MAX as f64 { u64::MAX } else { edge.ceil() as u64 };
                if next == u64::MAX {
                    break;
                }
            }
            let last = next == u64::MAX;
            let to = if last { u64::MAX } else { next - 1 };
            let mut count = 0;
            while let Some(bin) = bins.next_if(|b| b.0 <= to) {
                count += bin.1;
            }
            if count > 0 {
                let width = (to - from) as f64 + 1.0;
                let density = count as f64 / self.n as f64 / width;
                let centre = (from as f64).sqrt() * (to as f64).sqrt();
                out.push(LogBin { from, to, centre, count, density });
            }
            from = next;
        }
        out
    }
}

impl FromIterator<u64> for Histogram {
    fn from_iter<I: IntoIterator<Item = u64>>(values: I) -> Self {
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for value in values {
            *counts.entry(value).or_default() += 1;
        }
        Self::from_counts(counts)
    }
}

impl From<BTreeMap<u64, u64>> for Histogram {
    fn from(counts: BTreeMap<u64, u64>) -> Self {
        Self::from_counts(counts)
    }
}

impl From<Histogram> for BTreeMap<u64, u64> {
    fn from(histogram: Histogram) -> Self {
        histogram.bins.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_shares_and_mean_match_the_values() {
        let h: Histogram = [3, 3, 5, 3, 9].into_iter().collect();
        assert_eq!(h.bins(), [(3, 3), (5, 1), (9, 1)]);
        assert_eq!((h.n(), h.min(), h.max(), h.count(3), h.count(4)), (5, Some(3), Some(9), 3, 0));
        assert_eq!(h.mean(), Some(23.0 / 5.0));
        assert_eq!(h.ccdf(), [(3, 1.0), (5, 0.4), (9, 0.2)]);
        assert_eq!((h.at_least(4), h.at_least(10)), (2, 0));
        let none = Histogram::default();
        assert_eq!((none.mean(), none.max(), none.ccdf().len()), (None, None, 0));
        assert!(none.log_bins(5).is_empty());
    }

    #[test]
    fn largest_possible_value_has_a_bin() {
        let h = Histogram::from_counts([(0, 4), (u64::MAX, 1)]);
        let bins = h.log_bins(3);
        assert_eq!((bins.len(), bins[0].count, bins[0].to), (1, 1, u64::MAX));
    }

    proptest! {
        #[test]
        fn log_bins_contain_every_positive_value_once(
            values in prop::collection::vec(0u64..5000, 0..200), per_decade in 1u32..20,
        ) {
            let h: Histogram = values.iter().copied().collect();
            let bins = h.log_bins(per_decade);
            let held: u64 = bins.iter().map(|b| b.count).sum();
            prop_assert_eq!(held, h.at_least(1));
            for pair in bins.windows(2) {
                prop_assert!(pair[0].to < pair[1].from);
            }
            for b in &bins {
                let inside = values.iter().filter(|&&v| b.from <= v && v <= b.to).count();
                prop_assert_eq!(inside as u64, b.count);
            }
        }

        #[test]
        fn histogram_round_trips_through_json(values in prop::collection::vec(0u64..50, 0..100)) {
            let h: Histogram = values.into_iter().collect();
            let text = serde_json::to_string(&h).unwrap();
            prop_assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), h);
        }
    }
}
