//! The discrete power law, with and without an upper end.

use rand::Rng;

use crate::Histogram;
use crate::random::{below, binomial, unit};
use crate::special::PowerSums;
use libm::{exp, log};

/// The zeta law: the probability of k is proportional to k^-alpha, for xmin ≤ k (≤ xmax).
///
/// Without an upper end this is p(x) = x^-α / ζ(α, xmin) with the Hurwitz zeta function (Clauset,
/// Shalizi, Newman, SIAM Review 51 (2009), section 2.1); with one, the same law truncated at `xmax`
/// and normalised again.
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

/// The width of a cell with several values is at most this part of its first value.
const CELL_WIDTH_DIVISOR: u64 = 64;

/// Draws many values of one law at a time: a binomial draw per cell of values while the expected
/// count is large enough, single draws for the rest of the tail.
#[derive(Debug)]
pub(crate) struct Sampler {
    alpha: f64,
    /// First value of each cell, and the first value after the last cell.
    starts: Vec<u64>,
    /// The probability of the first value of each cell or more; 0 at the end.
    ccdf: Vec<f64>,
}

impl Sampler {
    pub(crate) fn new(law: ZetaLaw) -> Self {
        // Without an upper end, values beyond 2^62 fall into the last cell.
        let end = law.xmax.unwrap_or(1 << 62).max(law.xmin).saturating_add(1);
        let mut starts = vec![law.xmin];
        let mut next = law.xmin;
        while next < end {
            next = next.saturating_add((next / CELL_WIDTH_DIVISOR).max(1)).min(end);
            starts.push(next);
        }
        let mut ccdf: Vec<f64> = starts.iter().map(|&x| law.ccdf(x)).collect();
        if let Some(last) = ccdf.last_mut() {
            *last = 0.0;
        }
        Self { alpha: law.alpha, starts, ccdf }
    }

    /// `n` values: pairs of a value and how often it was drawn; values may repeat.
    pub(crate) fn draw(&self, n: u64, rng: &mut impl Rng) -> Vec<(u64, u64)> {
        let mut out = Vec::new();
        let mut left = n;
        for (cell, pair) in self.ccdf.windows(2).enumerate() {
            if left == 0 {
                return out;
            }
            let share = if pair[0] > 0.0 { 1.0 - pair[1] / pair[0] } else { 1.0 };
            if share * (left as f64) < 0.5 {
                // Few values are left: each is drawn separately.
                for _ in 0..left {
                    let tail = pair[0] * (1.0 - unit(rng));
                    let cell = self.ccdf.partition_point(|&c| c >= tail).max(1) - 1;
                    out.push((self.within(cell, rng), 1));
                }
                return out;
            }
            let here = binomial(rng, left, share);
            left -= here;
            if self.starts[cell + 1] - self.starts[cell] <= 1 {
                out.push((self.starts[cell], here));
            } else {
                out.extend((0..here).map(|_| (self.within(cell, rng), 1)));
            }
        }
        out
    }

    /// One value of a cell by rejection sampling: a uniform value, accepted with its probability
    /// relative to that of the first value.
    fn within(&self, cell: usize, rng: &mut impl Rng) -> u64 {
        let first = self.starts[cell];
        let width = self.starts[cell + 1] - first;
        if width <= 1 {
            return first;
        }
        loop {
            let value = first + below(rng, width as usize) as u64;
            let ratio = log(value as f64 / first as f64);
            if unit(rng) < exp(-self.alpha * ratio) {
                return value;
            }
        }
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
    fn drawn_shares_match_the_law() {
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
            // Values that share a cell, one by one.
            for x in (150..156).filter(|&x| xmax.is_none_or(|m| x <= m)) {
                let p = law.pmf(x) * n as f64;
                assert!((drawn.count(x) as f64 - p).abs() <= 4.5 * p.sqrt() + 1.0, "{alpha} {x}");
            }
        }
    }

    proptest! {
        #[test]
        fn probabilities_add_up_to_the_tail(
            alpha in 1.05f64..8.0, xmin in 1u64..50, width in 0u64..300, bounded: bool,
        ) {
            let xmax = bounded.then_some(xmin + width + 10);
            let law = ZetaLaw::new(alpha, xmin, xmax).unwrap();
            let sum: f64 = (xmin..xmin + width).map(|k| law.pmf(k)).sum();
            prop_assert!((sum + law.ccdf(xmin + width) - 1.0).abs() < 1e-10);
        }

        #[test]
        fn cells_cover_the_support_without_gaps(
            alpha in 1.01f64..9.0, xmin in 1u64..1000, width in 0u64..5000, bounded: bool,
        ) {
            let xmax = bounded.then_some(xmin + width);
            let sampler = Sampler::new(ZetaLaw::new(alpha, xmin, xmax).unwrap());
            prop_assert_eq!(sampler.starts[0], xmin);
            prop_assert!(sampler.starts.windows(2).all(|s| s[0] < s[1]));
            prop_assert!(sampler.ccdf.is_sorted_by(|a, b| a >= b));
            let mut rng = stream(1, b"test----", 0);
            for cell in 0..sampler.starts.len() - 1 {
                let x = sampler.within(cell, &mut rng);
                prop_assert!(sampler.starts[cell] <= x && x < sampler.starts[cell + 1]);
            }
            let drawn = Histogram::from_counts(sampler.draw(1000, &mut rng));
            prop_assert_eq!(drawn.n(), 1000);
            prop_assert!(xmax.is_none_or(|end| drawn.max().unwrap() <= end));
        }
    }
}
