//! Fitting a discrete power law to a histogram.
//!
//! The method is that of Clauset, Shalizi and Newman, "Power-law distributions in empirical data",
//! SIAM Review 51 (2009): maximum likelihood for the exponent (section 3.1 and appendix B), the
//! least Kolmogorov-Smirnov distance for the lower cutoff (section 3.3). The bounded fit is the
//! same with the zeta law cut off at an upper end.

use libm::{exp, log};

use crate::histogram::Histogram;
use crate::special::PowerSums;
use crate::zeta_law::ZetaLaw;

/// Largest exponent that is searched. Real degree distributions have far smaller ones.
pub const ALPHA_MAX: f64 = 20.0;
/// Smallest exponent of a fit without an upper end: such a law needs an exponent above 1.
pub const ALPHA_MIN: f64 = 1.0001;
/// Smallest exponent of a fit with an upper end: the uniform law.
pub const BOUNDED_ALPHA_MIN: f64 = 0.0;
/// A tail with fewer observations is not fitted; [`crate::Fit`] says how many are needed for a
/// meaningful result.
pub const MIN_TAIL: u64 = 10;

/// A scan with an upper end tries lower cutoffs up to the end divided by this, and the smallest
/// value in any case. With a handful of values between the cutoffs every falling law fits.
pub const MIN_SPAN: u64 = 4;

/// Why there is no fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// Fewer observations of 1 or more (and within the cutoffs) than a fit needs.
    #[error("{found} observations in the tail are too few, {needed} are needed")]
    TooFewSamples {
        /// The number of observations.
        found: u64,
        /// The number needed.
        needed: u64,
    },
    /// There is only one value: any law that is steep enough fits it.
    #[error("all values in the tail are {value}")]
    AllEqual {
        /// That value.
        value: u64,
    },
    /// The lower cutoff is 0, or the upper one below it or below the largest value.
    #[error("cutoffs {xmin} to {xmax} do not hold the values, which go up to {largest}")]
    Cutoffs {
        /// The lower cutoff.
        xmin: u64,
        /// The upper cutoff.
        xmax: u64,
        /// The largest value in the data.
        largest: u64,
    },
}

/// Where the tail begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cutoff {
    /// At this value, at least 1.
    At(u64),
    /// Where the distance is smallest, among the values with enough observations from there on (at
    /// least [`MIN_TAIL`]), and not too near to an upper end (see [`MIN_SPAN`]).
    Scan {
        /// Least number of observations in the tail.
        min_tail: u64,
    },
}

/// Where the law ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// At no value.
    None,
    /// At the largest value in the data, which is the maximum-likelihood estimate of the end.
    Largest,
    /// At this value.
    At(u64),
}

/// A fitted power law.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerLaw {
    /// The law.
    pub law: ZetaLaw,
    /// Standard error of the exponent: the inverse root of the Fisher information (equation 3.6 and
    /// appendix B). It does not include the uncertainty of xmin.
    pub alpha_error: f64,
    /// Whether the exponent is at the end of the range searched. The likelihood grows beyond it,
    /// and the error is meaningless.
    pub at_bound: bool,
    /// Kolmogorov-Smirnov distance: the largest difference between the shares of law and tail at
    /// or below x, over all integers x from xmin on (equation 3.9).
    pub ks: f64,
    /// Observations in the tail.
    pub tail: u64,
}

/// Fits a power law.
///
/// # Errors
///
/// If the cutoffs contradict each other or the data, or if the tail is too small or all equal.
pub fn fit(data: &Histogram, cutoff: Cutoff, bound: Bound) -> Result<PowerLaw, FitError> {
    Scanner::new(data, cutoff, bound)?.fit(cutoff)
}

/// The data, prepared so that many lower cutoffs can be tried quickly.
struct Scanner<'a> {
    /// Values from 1 on.
    bins: &'a [(u64, u64)],
    /// Logarithm of the value of each bin.
    ln: Vec<f64>,
    /// Observations from each bin on.
    tail: Vec<u64>,
    /// Sum of the logarithms of all observations from each bin on.
    ln_sum: Vec<f64>,
    xmax: Option<u64>,
}

impl<'a> Scanner<'a> {
    fn new(data: &'a Histogram, cutoff: Cutoff, bound: Bound) -> Result<Self, FitError> {
        let bins = &data.bins()[data.bins().partition_point(|b| b.0 < 1)..];
        let Some(&(largest, _)) = bins.last() else {
            return Err(FitError::TooFewSamples { found: 0, needed: MIN_TAIL });
        };
        let xmax = match bound {
            Bound::None => None,
            Bound::Largest => Some(largest),
            Bound::At(xmax) => Some(xmax),
        };
        let xmin = match cutoff {
            Cutoff::At(xmin) => xmin,
            Cutoff::Scan { .. } => 1,
        };
        if xmin < 1 || xmax.is_some_and(|xmax| xmax < largest || xmax < xmin) {
            return Err(FitError::Cutoffs { xmin, xmax: xmax.unwrap_or(u64::MAX), largest });
        }
        let ln: Vec<f64> = bins.iter().map(|b| log(b.0 as f64)).collect();
        let mut tail = vec![0; bins.len()];
        let mut ln_sum = vec![0.0; bins.len()];
        let (mut count, mut sum) = (0, 0.0);
        for i in (0..bins.len()).rev() {
            count += bins[i].1;
            sum += bins[i].1 as f64 * ln[i];
            (tail[i], ln_sum[i]) = (count, sum);
        }
        Ok(Self { bins, ln, tail, ln_sum, xmax })
    }

    fn fit(&self, cutoff: Cutoff) -> Result<PowerLaw, FitError> {
        match cutoff {
            Cutoff::At(xmin) => self.fit_at(xmin),
            Cutoff::Scan { min_tail } => self.scan(min_tail.max(MIN_TAIL)),
        }
    }

    fn fit_at(&self, xmin: u64) -> Result<PowerLaw, FitError> {
        let first = self.bins.partition_point(|b| b.0 < xmin);
        let found = self.tail.get(first).copied().unwrap_or(0);
        if found < MIN_TAIL {
            return Err(FitError::TooFewSamples { found, needed: MIN_TAIL });
        }
        self.check_spread(first)?;
        let mut fit = self.exponent(first, xmin, None);
        // Without a limit the distance is always found.
        fit.ks = self.distance(first, &fit.law, f64::INFINITY).unwrap_or(1.0);
        Ok(fit)
    }

    fn check_spread(&self, first: usize) -> Result<(), FitError> {
        match self.bins[first..] {
            [(value, _)] => Err(FitError::AllEqual { value }),
            _ => Ok(()),
        }
    }

    fn scan(&self, min_tail: u64) -> Result<PowerLaw, FitError> {
        if self.tail[0] < min_tail {
            return Err(FitError::TooFewSamples { found: self.tail[0], needed: min_tail });
        }
        self.check_spread(0)?;
        let mut best: Option<PowerLaw> = None;
        let mut guess = None;
        // The last value alone is not a tail.
        for first in 0..self.bins.len() - 1 {
            let too_narrow = self.xmax.is_some_and(|end| end / MIN_SPAN < self.bins[first].0);
            if self.tail[first] < min_tail || (first > 0 && too_narrow) {
                break;
            }
            let mut fit = self.exponent(first, self.bins[first].0, guess);
            guess = Some(fit.law.alpha());
            let limit = best.map_or(f64::INFINITY, |b| b.ks);
            if let Some(ks) = self.distance(first, &fit.law, limit) {
                fit.ks = ks;
                best = Some(fit);
            }
        }
        let needed = min_tail;
        best.ok_or(FitError::TooFewSamples { found: self.tail[0], needed })
    }

    /// The exponent of greatest likelihood: the one at which the law's mean of ln x equals that of
    /// the tail. The mean falls as the exponent grows, so Newton's method between two converging
    /// bounds finds it.
    fn exponent(&self, first: usize, xmin: u64, guess: Option<f64>) -> PowerLaw {
        let tail = self.tail[first];
        let n = tail as f64;
        // Mean of ln(x / xmin).
        let wanted = self.ln_sum[first] / n - log(xmin as f64);
        let (low, high) = if self.xmax.is_some() {
            (BOUNDED_ALPHA_MIN, ALPHA_MAX)
        } else {
            (ALPHA_MIN, ALPHA_MAX)
        };
        let moments = |alpha: f64| {
            let sums = PowerSums::new(alpha, xmin, self.xmax);
            let mean = sums.first / sums.zeroth;
            (mean, sums.second / sums.zeroth - mean * mean, sums.zeroth)
        };
        // The continuous estimate with xmin - 1/2 (equation 3.7) is a good first guess.
        let continuous = 1.0 + 1.0 / (wanted + log(xmin as f64 / (xmin as f64 - 0.5)));
        let (mut below, mut above) = (low, high);
        let mut alpha = guess.unwrap_or(continuous).clamp(low, high);
        for _ in 0..80 {
            let (mean, variance, _) = moments(alpha);
            if mean > wanted {
                below = alpha;
            } else {
                above = alpha;
            }
            let mut next = alpha + (mean - wanted) / variance;
            if !(next > below && next < above) {
                // Towards an end of the range, halving would never arrive.
                next = if next >= high && above == high {
                    high
                } else if next <= low && below == low {
                    low
                } else {
                    (below + above) / 2.0
                };
            }
            let step = (next - alpha).abs();
            alpha = next;
            if step < 1e-10 {
                break;
            }
        }
        let (_, variance, _) = moments(alpha);
        let law = ZetaLaw::in_bounds(alpha, xmin, self.xmax);
        let at_bound = alpha <= low || alpha >= high;
        PowerLaw { law, alpha_error: 1.0 / (n * variance).sqrt(), at_bound, ks: 1.0, tail }
    }

    /// The largest difference of the cumulative shares; `None` as soon as it is not below `limit`.
    ///
    /// Between two values of the data the share of the data is constant while that of the law
    /// grows, so the largest difference is at a value or just before one.
    fn distance(&self, first: usize, law: &ZetaLaw, limit: f64) -> Option<f64> {
        let n = self.tail[first] as f64;
        let (ln_xmin, alpha) = (log(law.xmin() as f64), law.alpha());
        let norm = law.norm();
        let mut cumulative = 0.0;
        let mut next = law.xmin();
        let mut seen = 0;
        let mut largest: f64 = 0.0;
        for i in first..self.bins.len() {
            let (x, count) = self.bins[i];
            if x > next {
                let ratio = log(next as f64) - ln_xmin;
                let gap = PowerSums::new(alpha, next, Some(x - 1)).zeroth;
                cumulative += gap * exp(-alpha * ratio) / norm;
            }
            largest = largest.max((cumulative - seen as f64 / n).abs());
            cumulative += exp(-alpha * (self.ln[i] - ln_xmin)) / norm;
            seen += count;
            largest = largest.max((cumulative - seen as f64 / n).abs());
            if largest >= limit {
                return None;
            }
            next = x.saturating_add(1);
        }
        // A fixed end beyond the last value changes nothing: there the share of the data is 1, and
        // that of the law approaches it.
        Some(largest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::stream;
    use proptest::prelude::*;

    const SCAN: Cutoff = Cutoff::Scan { min_tail: MIN_TAIL };

    #[test]
    fn data_that_cannot_be_fitted_are_refused_with_the_reason() {
        let empty = Histogram::default();
        let few = FitError::TooFewSamples { found: 0, needed: 10 };
        assert_eq!(fit(&empty, SCAN, Bound::None), Err(few));
        let zeros = Histogram::from_counts([(0, 100), (4, 9)]);
        let few = FitError::TooFewSamples { found: 9, needed: 10 };
        assert_eq!(fit(&zeros, SCAN, Bound::None), Err(few));
        let equal = Histogram::from_counts([(3, 100)]);
        for cutoff in [SCAN, Cutoff::At(2)] {
            assert_eq!(fit(&equal, cutoff, Bound::None), Err(FitError::AllEqual { value: 3 }));
        }
        let data = Histogram::from_counts([(3, 100), (9, 10)]);
        assert!(matches!(fit(&data, Cutoff::At(0), Bound::None), Err(FitError::Cutoffs { .. })));
        assert!(matches!(fit(&data, SCAN, Bound::At(8)), Err(FitError::Cutoffs { .. })));
        let few = fit(&data, Cutoff::At(10), Bound::None);
        assert!(matches!(few, Err(FitError::TooFewSamples { found: 0, .. })));
    }

    #[test]
    fn exponent_at_the_end_of_the_range_is_flagged() {
        let steep = Histogram::from_counts([(100, 1_000_000), (101, 1)]);
        let fitted = fit(&steep, Cutoff::At(100), Bound::None).unwrap();
        assert!(fitted.at_bound && fitted.law.alpha() == ALPHA_MAX);
        let rising = Histogram::from_counts([(1, 1), (2, 10), (3, 100)]);
        let fitted = fit(&rising, Cutoff::At(1), Bound::Largest).unwrap();
        assert!(fitted.at_bound && fitted.law.alpha() == BOUNDED_ALPHA_MIN);
        let six =
            ZetaLaw::new(6.5, 1, None).unwrap().sample(100_000, &mut stream(1, b"test----", 0));
        let fitted = fit(&six, Cutoff::At(1), Bound::None).unwrap();
        assert!(!fitted.at_bound && (fitted.law.alpha() - 6.5).abs() < 4.0 * fitted.alpha_error);
    }

    #[test]
    fn standard_error_matches_the_spread_of_estimates() {
        for (xmax, bound) in [(None, Bound::None), (Some(40), Bound::At(40))] {
            let law = ZetaLaw::new(2.4, 3, xmax).unwrap();
            let deviates: Vec<f64> = (0..400)
                .map(|i| {
                    let data = law.sample(2000, &mut stream(2, b"test----", i));
                    let fitted = fit(&data, Cutoff::At(3), bound).unwrap();
                    (fitted.law.alpha() - 2.4) / fitted.alpha_error
                })
                .collect();
            let mean = deviates.iter().sum::<f64>() / 400.0;
            let variance = deviates.iter().map(|d| d * d).sum::<f64>() / 400.0;
            assert!(mean.abs() < 0.2 && (0.8..1.25).contains(&variance), "{mean} {variance}");
        }
    }

    #[test]
    fn scan_finds_the_start_of_the_law() {
        let law = ZetaLaw::new(2.5, 10, None).unwrap();
        let tail = law.sample(20_000, &mut stream(4, b"test----", 0));
        let flat = (1..10).map(|k| (k, 1500));
        let data = Histogram::from_counts(flat.chain(tail.bins().iter().copied()));
        let fitted = fit(&data, SCAN, Bound::None).unwrap();
        assert!((10..=14).contains(&fitted.law.xmin()), "{fitted:?}");
        assert!((fitted.law.alpha() - 2.5).abs() < 0.06, "{fitted:?}");
    }

    proptest! {
        #[test]
        fn likelihood_is_greatest_at_the_estimate(
            counts in prop::collection::vec((1u64..60, 1u64..50), 3..20), bounded: bool,
        ) {
            let data = Histogram::from_counts(counts);
            prop_assume!(data.n() >= MIN_TAIL && data.bins().len() > 1);
            let xmin = data.min().unwrap();
            let bound = if bounded { Bound::Largest } else { Bound::None };
            let fitted = fit(&data, Cutoff::At(xmin), bound).unwrap();
            let likelihood = |law: ZetaLaw| -> f64 {
                data.bins().iter().map(|&(x, c)| c as f64 * law.ln_pmf(x)).sum()
            };
            let best = likelihood(fitted.law);
            for other in [fitted.law.alpha() - 0.01, fitted.law.alpha() + 0.01] {
                if other < ALPHA_MAX && let Some(law) = ZetaLaw::new(other, xmin, fitted.law.xmax()) {
                    prop_assert!(likelihood(law) <= best + 1e-9);
                }
            }
        }

        #[test]
        fn distance_equals_the_maximum_over_all_integers(
            counts in prop::collection::vec((1u64..200, 1u64..9), 10..20), bounded: bool,
        ) {
            let data = Histogram::from_counts(counts);
            prop_assume!(data.bins().len() > 1);
            let bound = if bounded { Bound::At(250) } else { Bound::None };
            let fitted = fit(&data, Cutoff::At(1), bound).unwrap();
            let largest = (1..=250)
                .map(|x| (data.at_least(x) as f64 / data.n() as f64 - fitted.law.ccdf(x)).abs())
                .fold(0.0, f64::max);
            prop_assert!((largest - fitted.ks).abs() < 1e-9, "{} {}", largest, fitted.ks);
        }

        #[test]
        fn scan_finds_the_smallest_distance_of_all_cutoffs(
            counts in prop::collection::vec((1u64..40, 1u64..30), 5..25),
        ) {
            let data = Histogram::from_counts(counts);
            prop_assume!(data.n() >= MIN_TAIL && data.bins().len() > 1);
            let scanned = fit(&data, SCAN, Bound::None).unwrap();
            for &(xmin, _) in data.bins() {
                if let Ok(one) = fit(&data, Cutoff::At(xmin), Bound::None) {
                    prop_assert!(scanned.ks <= one.ks + 1e-9);
                }
            }
        }
    }
}
