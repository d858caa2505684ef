//! The discrete power law, with and without an upper end.

use rand::Rng;

use crate::Histogram;
use crate::random::{binomial, unit};
use crate::special::PowerSums;
use libm::{exp, log};

/// The zeta law: the probability of k is proportional to k^-alpha, for xmin ≤ k (≤ xmax).
///
/// Without an upper end this is p(x) = x^-α / ζ(α, xmin) with the Hurwitz zeta function (Clauset,
/// Shalizi, Newman, SIAM Review 51 (2009), section 2.1); with one, the same cut off at `xmax` and
/// normalised anew.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ZetaLaw {
    alpha: f64,
    xmin: u64,
    xmax: Option<u64>,
    /// Sum of (k/xmin)^-alpha over the support.
    norm: f64,
}

impl ZetaLaw {
    /// The law with these parameters. None unless 1 ≤ xmin ≤ xmax and alpha is finite, above 1
    /// without an upper end and not negative with one.
    #[must_use]
    pub fn new(alpha: f64, xmin: u64, xmax: Option<u64>) -> Option<Self> {
        let alpha_fits =
            alpha.is_finite() && if xmax.is_some() { alpha >= 0.0 } else { alpha > 1.0 };
        let ends_fit = xmin >= 1 && xmax.is_none_or(|xmax| xmax >= xmin);
        (alpha_fits && ends_fit).then(|| Self::in_bounds(alpha, xmin, xmax))
    }

    /// The law of a fit, whose parameters are in bounds by construction.
    pub(crate) fn in_bounds(alpha: f64, xmin: u64, xmax: Option<u64>) -> Self {
        let norm = PowerSums::new(alpha, xmin, xmax).zeroth;
        Self { alpha, xmin, xmax, norm }
    }

    /// Sum of (k/xmin)^-alpha over the support.
    pub(crate) fn norm(&self) -> f64 {
        self.norm
    }

    /// The exponent.
    #[must_use]
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// The smallest value of the support.
    #[must_use]
    pub fn xmin(&self) -> u64 {
        self.xmin
    }

    /// The largest value of the support, if it has one.
    #[must_use]
    pub fn xmax(&self) -> Option<u64> {
        self.xmax
    }

    /// Natural logarithm of the probability of `x`; minus infinity outside of the support.
    #[must_use]
    pub fn ln_pmf(&self, x: u64) -> f64 {
        if x < self.xmin || self.xmax.is_some_and(|xmax| x > xmax) {
            return f64::NEG_INFINITY;
        }
        -self.alpha * (log(x as f64) - log(self.xmin as f64)) - log(self.norm)
    }

    /// Probability of `x`.
    #[must_use]
    pub fn pmf(&self, x: u64) -> f64 {
        exp(self.ln_pmf(x))
    }

    /// Probability of `x` or more.
    #[must_use]
    pub fn ccdf(&self, x: u64) -> f64 {
        if x <= self.xmin {
            return 1.0;
        }
        if self.xmax.is_some_and(|xmax| x > xmax) {
            return 0.0;
        }
        let ratio = log(x as f64) - log(self.xmin as f64);
        PowerSums::new(self.alpha, x, self.xmax).zeroth * exp(-self.alpha * ratio) / self.norm
    }

    /// Draws `n` values at once, as a histogram.
    pub fn sample(&self, n: u64, rng: &mut impl Rng) -> Histogram {
        Histogram::from_counts(Sampler::new(*self).draw(n, rng))
    }
}

/// Values up to this many above xmin have an entry in a table; rarer ones are searched for.
const TABLE: u64 = 4096;

/// Draws many values of one law at a time: a binomial draw per value while several are expected
/// there, single draws for the rest of the tail.
#[derive(Debug)]
pub(crate) struct Sampler {
    law: ZetaLaw,
    /// Probability of k or more, for k from xmin on.
    ccdf: Vec<f64>,
}

impl Sampler {
    pub(crate) fn new(law: ZetaLaw) -> Self {
        let last = law.xmax.map_or(TABLE, |xmax| (xmax - law.xmin).min(TABLE));
        // One entry past the last value of a bounded law: zero.
        let ccdf = (0..=last + 1).map(|i| law.ccdf(law.xmin.saturating_add(i))).collect();
        Self { law, ccdf }
    }

    /// `n` values: pairs of a value and how often it was drawn; values may repeat.
    pub(crate) fn draw(&self, n: u64, rng: &mut impl Rng) -> Vec<(u64, u64)> {
        let mut out = Vec::new();
        let mut left = n;
        let mut above = 1.0;
        for (k, pair) in (self.law.xmin..).zip(self.ccdf.windows(2)) {
            if left == 0 {
                return out;
            }
            let share = if pair[0] > 0.0 { 1.0 - pair[1] / pair[0] } else { 1.0 };
            above = pair[0];
            if share * (left as f64) < 0.5 {
                break;
            }
            let here = binomial(rng, left, share);
            out.push((k, here));
            left -= here;
            above = pair[1];
        }
        out.extend((0..left).map(|_| (self.quantile(above * (1.0 - unit(rng))), 1)));
        out
    }

    /// The largest value that is reached or exceeded with at least this probability, in (0, 1].
    fn quantile(&self, tail: f64) -> u64 {
        let entries = self.ccdf.partition_point(|&c| c >= tail);
        let in_table = self.law.xmin.saturating_add(entries.max(1) as u64 - 1);
        if entries < self.ccdf.len() {
            return in_table;
        }
        let end = self.law.xmax.unwrap_or(1 << 62).max(in_table);
        let (mut low, mut high) = (in_table, in_table.saturating_mul(2).min(end));
        while high < end && self.law.ccdf(high) >= tail {
            low = high;
            high = high.saturating_mul(2).min(end);
        }
        if self.law.ccdf(high) >= tail {
            return high;
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.law.ccdf(middle) >= tail {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::stream;
    use proptest::prelude::*;

    #[test]
    fn parameters_out_of_bounds_are_refused() {
        assert!(ZetaLaw::new(1.0, 1, None).is_none());
        assert!(ZetaLaw::new(f64::NAN, 1, Some(3)).is_none());
        assert!(ZetaLaw::new(2.0, 0, None).is_none());
        assert!(ZetaLaw::new(2.0, 5, Some(4)).is_none());
        assert!(ZetaLaw::new(0.0, 5, Some(5)).is_some());
    }

    #[test]
    fn drawn_shares_are_those_of_the_law() {
        for (alpha, xmin, xmax) in [(2.2, 1, None), (2.5, 3, Some(60)), (1.5, 1, Some(100_000))] {
            let law = ZetaLaw::new(alpha, xmin, xmax).unwrap();
            let n = 200_000;
            let drawn = law.sample(n, &mut stream(5, b"test----", 0));
            assert_eq!(drawn.n(), n);
            assert!(drawn.min() >= Some(xmin) && xmax.is_none_or(|m| drawn.max() <= Some(m)));
            for x in [xmin + 1, xmin + 5, 50, 1000, 8000] {
                let p = law.ccdf(x);
                let seen = drawn.at_least(x) as f64 / n as f64;
                let sigma = (p * (1.0 - p) / n as f64).sqrt();
                assert!((seen - p).abs() <= 4.5 * sigma, "{alpha} {x}: {seen} {p}");
            }
        }
    }

    proptest! {
        #[test]
        fn masses_add_up_to_the_tail(
            alpha in 1.05f64..8.0, xmin in 1u64..50, width in 0u64..300, bounded: bool,
        ) {
            let xmax = bounded.then_some(xmin + width + 10);
            let law = ZetaLaw::new(alpha, xmin, xmax).unwrap();
            let sum: f64 = (xmin..xmin + width).map(|k| law.pmf(k)).sum();
            prop_assert!((sum + law.ccdf(xmin + width) - 1.0).abs() < 1e-10);
        }

        #[test]
        fn a_quantile_is_where_the_tail_is_crossed(
            alpha in 1.2f64..4.0, xmin in 1u64..9, tail in 1e-6f64..1.0,
        ) {
            let law = ZetaLaw::new(alpha, xmin, None).unwrap();
            let x = Sampler::new(law).quantile(tail);
            prop_assert!(x == 1 << 62 || (law.ccdf(x) >= tail && law.ccdf(x + 1) < tail));
        }
    }
}
