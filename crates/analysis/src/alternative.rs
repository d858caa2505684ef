//! Alternative laws for the same tail, and the test of which law fits the data better: Clauset,
//! Shalizi and Newman (2009), section 5 and appendix C, after Vuong (1989).

use libm::{exp, expm1, log, log1p};
use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;
use crate::power_law::PowerLaw;
use crate::special::{ln_normal_mass, ln_normal_tail, two_sided_p};

/// A difference in likelihood with a larger p than this may be chance (section 5).
pub const SIGNIFICANT: f64 = 0.1;

/// The law that fits the data significantly better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FavouredLaw {
    /// The power law.
    PowerLaw,
    /// The alternative.
    Alternative,
    /// The test is inconclusive: p is not below [`SIGNIFICANT`].
    Neither,
}

/// Outcome of a likelihood-ratio test between the power law and an alternative.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// R: the logarithm of the likelihood of the power law over that of the alternative. Positive
    /// where the power law is better.
    pub ratio: f64,
    /// R divided by its standard deviation: √n times the standard deviation of the difference per
    /// observation.
    pub normalised: f64,
    /// Two-sided: the probability of a ratio this large if both laws are equally far from the
    /// truth.
    pub p: f64,
    /// The verdict at the level [`SIGNIFICANT`].
    pub favours: FavouredLaw,
}

impl Comparison {
    /// Compares by the logarithms of the two probabilities of each value in the tail.
    fn new(tail: &[(u64, u64)], power: impl Fn(u64) -> f64, other: impl Fn(u64) -> f64) -> Self {
        let n: f64 = tail.iter().map(|b| b.1 as f64).sum();
        let each: Vec<(f64, f64)> =
            tail.iter().map(|&(x, c)| (power(x) - other(x), c as f64)).collect();
        let ratio: f64 = each.iter().map(|(d, c)| d * c).sum();
        let mean = ratio / n;
        let variance = each.iter().map(|(d, c)| c * (d - mean) * (d - mean)).sum::<f64>() / n;
        let deviation = (n * variance).sqrt();
        // Laws that agree at every value have no meaningful ratio.
        let normalised = if deviation > 0.0 { ratio / deviation } else { 0.0 };
        let p = two_sided_p(normalised);
        let favours = match ratio {
            _ if p.is_nan() || p >= SIGNIFICANT => FavouredLaw::Neither,
            r if r > 0.0 => FavouredLaw::PowerLaw,
            _ => FavouredLaw::Alternative,
        };
        Self { ratio, normalised, p, favours }
    }
}

/// The geometric law, which is the discrete exponential: p(x) is proportional to e^(-λx) from
/// xmin on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exponential {
    /// λ; negative only with an upper end, where the tail may rise.
    pub rate: f64,
    xmin: u64,
    ln_norm: f64,
}

impl Exponential {
    /// The law of greatest likelihood for the part of `data` that `power` was fitted to, with the
    /// same ends.
    #[must_use]
    pub fn fit(data: &Histogram, power: &PowerLaw) -> Self {
        let (xmin, xmax) = (power.law.xmin(), power.law.xmax());
        let mean = mean_excess(tail(data, xmin), xmin);
        let Some(xmax) = xmax else {
            let rate = log1p(1.0 / mean);
            return Self { rate, xmin, ln_norm: -log(-expm1(-rate)) };
        };
        let width = (xmax - xmin) as f64;
        // The mean falls as the rate grows. Beyond 50 all mass is at one end.
        let (mut low, mut high) = (-50.0, 50.0);
        for _ in 0..100 {
            let middle = (low + high) / 2.0;
            if truncated_mean(middle, width) > mean {
                low = middle;
            } else {
                high = middle;
            }
        }
        let rate = (low + high) / 2.0;
        Self { rate, xmin, ln_norm: ln_geometric_sum(rate, width) }
    }

    /// Natural logarithm of the probability of `x`, which must be within the ends.
    #[must_use]
    pub fn ln_pmf(&self, x: u64) -> f64 {
        -self.rate * (x - self.xmin) as f64 - self.ln_norm
    }
}

/// Mean of the geometric law with this rate on 0..=width.
fn truncated_mean(rate: f64, width: f64) -> f64 {
    let terms = width + 1.0;
    if (rate * terms).abs() < 1e-4 {
        return width / 2.0 - rate * (terms * terms - 1.0) / 12.0;
    }
    1.0 / expm1(rate) - terms / expm1(rate * terms)
}

/// Logarithm of the sum of e^(-rate·k) over k = 0..=width.
fn ln_geometric_sum(rate: f64, width: f64) -> f64 {
    if rate < 0.0 {
        return -rate * width + ln_geometric_sum(-rate, width);
    }
    if rate < 1e-12 {
        return log(width + 1.0);
    }
    log(expm1(-rate * (width + 1.0)) / expm1(-rate))
}

/// The lognormal law rounded to the nearest integer: the mass of x is that between x - 1/2 and
/// x + 1/2, given that it is above xmin - 1/2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lognormal {
    /// μ, mean of the logarithm.
    pub mu: f64,
    /// σ, standard deviation of the logarithm.
    pub sigma: f64,
    ln_norm: f64,
}

/// How far below the tail, in standard deviations, the mean of the logarithm may lie. At this limit
/// the lognormal is straight on doubly logarithmic axes over the range of any data.
const MAX_CUTOFF_SIGMAS: f64 = 100.0;

/// Above this value the density at x equals the mass between x - 1/2 and x + 1/2 to 12 digits,
/// while the difference of two tails loses digits.
const DENSITY_FROM: u64 = 1_000_000;

impl Lognormal {
    /// The law of greatest likelihood for the part of `data` that `power` was fitted to, with the
    /// same ends.
    ///
    /// Where the data are straighter than any lognormal, the likelihood grows as μ falls without
    /// end and the lognormal turns into a power law; μ stops 100 σ below the tail then. That limit
    /// is the continuous power law rounded, not quite the zeta law: with hundreds of thousands of
    /// observations the test can tell them apart at a small xmin.
    #[must_use]
    pub fn fit(data: &Histogram, power: &PowerLaw) -> Self {
        let (xmin, xmax) = (power.law.xmin(), power.law.xmax());
        let tail = tail(data, xmin);
        let n: f64 = tail.iter().map(|b| b.1 as f64).sum();
        // The search uses the distance of the cutoff from μ in units of σ, and the local exponent
        // at the cutoff: along the ridge towards the power law the latter is constant.
        let law = |[cut, slope]: [f64; 2]| {
            let sigma = local_exponent(cut) / exp(slope);
            Self::new(log(xmin as f64 - 0.5) - cut * sigma, sigma, xmin, xmax)
        };
        let cost = |at: [f64; 2]| {
            if !(-15.0..=MAX_CUTOFF_SIGMAS).contains(&at[0]) || at[1].abs() > 12.0 {
                return f64::INFINITY;
            }
            let cost = -law(at).ln_likelihood(tail) / n;
            if cost.is_nan() { f64::INFINITY } else { cost }
        };
        let slope = log((power.law.alpha() - 1.0).max(0.1));
        let mut best = ([0.0, slope], f64::INFINITY);
        for start in [[3.0, slope], [0.0, slope], [-2.0, slope]] {
            let found = descend(&cost, start, [0.5, 0.2]);
            if found.1 < best.1 {
                best = found;
            }
        }
        // Restarts from there: a simplex that has shrunk too early grows again.
        law(descend(&cost, best.0, [0.3, 0.1]).0)
    }

    fn new(mu: f64, sigma: f64, xmin: u64, xmax: Option<u64>) -> Self {
        let low = (log(xmin as f64 - 0.5) - mu) / sigma;
        let ln_norm = match xmax {
            None => ln_normal_tail(low),
            Some(xmax) => ln_normal_mass(low, (log(xmax as f64 + 0.5) - mu) / sigma),
        };
        Self { mu, sigma, ln_norm }
    }

    /// Natural logarithm of the probability of `x`, which must be within the ends.
    #[must_use]
    pub fn ln_pmf(&self, x: u64) -> f64 {
        let at = |edge: f64| (log(edge) - self.mu) / self.sigma;
        if x > DENSITY_FROM {
            let z = at(x as f64);
            let ln_density = -z * z / 2.0 - log(core::f64::consts::TAU) / 2.0;
            return ln_density - log(self.sigma * x as f64) - self.ln_norm;
        }
        ln_normal_mass(at(x as f64 - 0.5), at(x as f64 + 0.5)) - self.ln_norm
    }

    fn ln_likelihood(&self, tail: &[(u64, u64)]) -> f64 {
        tail.iter().map(|&(x, c)| c as f64 * self.ln_pmf(x)).sum()
    }
}

/// Approximates the hazard rate of the normal law at `z` without exponentials: z far above zero,
/// 1/|z| far below.
fn local_exponent(z: f64) -> f64 {
    let root = (z * z + 4.0).sqrt();
    if z > 0.0 { (z + root) / 2.0 } else { 2.0 / (root - z) }
}

/// The minimum of a function of two variables, after Nelder and Mead (1965).
fn descend(f: &impl Fn([f64; 2]) -> f64, start: [f64; 2], size: [f64; 2]) -> ([f64; 2], f64) {
    let corners = [start, [start[0] + size[0], start[1]], [start[0], start[1] + size[1]]];
    let mut simplex = corners.map(|at| (at, f(at)));
    for _ in 0..300 {
        simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
        let [best, middle, worst] = simplex;
        let extent = (0..2).map(|i| (worst.0[i] - best.0[i]).abs()).fold(0.0, f64::max);
        if extent < 1e-6 && worst.1 - best.1 < 1e-12 {
            break;
        }
        // The point on the line from the worst corner through the centre of the better two, `t`
        // times as far beyond the centre as the worst corner is before it.
        let along = |t: f64| {
            let coordinate = |i: usize| {
                let centre = (best.0[i] + middle.0[i]) / 2.0;
                centre + t * (centre - worst.0[i])
            };
            let at = [coordinate(0), coordinate(1)];
            (at, f(at))
        };
        let reflected = along(1.0);
        simplex[2] = if reflected.1 < best.1 {
            let expanded = along(2.0);
            if expanded.1 < reflected.1 { expanded } else { reflected }
        } else if reflected.1 < middle.1 {
            reflected
        } else {
            let contracted = along(if reflected.1 < worst.1 { 0.5 } else { -0.5 });
            if contracted.1 < worst.1.min(reflected.1) {
                contracted
            } else {
                for corner in &mut simplex[1..] {
                    let at = [0, 1].map(|i| (corner.0[i] + best.0[i]) / 2.0);
                    *corner = (at, f(at));
                }
                continue;
            }
        };
    }
    simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
    simplex[0]
}

/// Compares a fitted power law with the discrete exponential on the same tail.
#[must_use]
pub fn against_exponential(data: &Histogram, power: &PowerLaw) -> Comparison {
    let other = Exponential::fit(data, power);
    let tail = tail(data, power.law.xmin());
    Comparison::new(tail, |x| power.law.ln_pmf(x), |x| other.ln_pmf(x))
}

/// Compares a fitted power law with the discrete lognormal on the same tail.
#[must_use]
pub fn against_lognormal(data: &Histogram, power: &PowerLaw) -> Comparison {
    let other = Lognormal::fit(data, power);
    let tail = tail(data, power.law.xmin());
    Comparison::new(tail, |x| power.law.ln_pmf(x), |x| other.ln_pmf(x))
}

fn tail(data: &Histogram, xmin: u64) -> &[(u64, u64)] {
    &data.bins()[data.bins().partition_point(|b| b.0 < xmin)..]
}

/// Mean of x - xmin.
fn mean_excess(tail: &[(u64, u64)], xmin: u64) -> f64 {
    let n: f64 = tail.iter().map(|b| b.1 as f64).sum();
    tail.iter().map(|&(x, c)| (x - xmin) as f64 * c as f64).sum::<f64>() / n
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::power_law::{Bound, Cutoff, fit};
    use crate::random::stream;
    use crate::zeta_law::ZetaLaw;

    fn fitted(data: &Histogram, bound: Bound) -> PowerLaw {
        fit(data, Cutoff::At(data.min().unwrap()), bound).unwrap()
    }

    fn geometric(n: f64) -> Histogram {
        let counts = (0..300).map(|k| (k + 3, (n * 0.1 * 0.9f64.powi(k as i32)).round() as u64));
        Histogram::from_counts(counts)
    }

    #[test]
    fn every_law_has_mass_one() {
        let data = geometric(10_000.0);
        for bound in [Bound::None, Bound::At(150)] {
            let power = fitted(&data, bound);
            let (e, l) = (Exponential::fit(&data, &power), Lognormal::fit(&data, &power));
            let end = if bound == Bound::None { 200_000 } else { 150 };
            let exponential: f64 = (3..=end).map(|x| e.ln_pmf(x).exp()).sum();
            let lognormal: f64 = (3..=end).map(|x| l.ln_pmf(x).exp()).sum();
            assert!((exponential - 1.0).abs() < 1e-9, "{exponential}");
            assert!((lognormal - 1.0).abs() < 1e-6, "{lognormal}");
            assert!((e.rate + 0.9f64.ln()).abs() < 2e-3, "{}", e.rate);
        }
    }

    #[test]
    fn fit_recovers_parameters_of_a_lognormal() {
        let law = Lognormal::new(3.0, 0.7, 3, None);
        let counts = (3..2000).map(|x| (x, (1e6 * law.ln_pmf(x).exp()).round() as u64));
        let data = Histogram::from_counts(counts);
        let found = Lognormal::fit(&data, &fitted(&data, Bound::None));
        assert!((found.mu - 3.0).abs() < 1e-3 && (found.sigma - 0.7).abs() < 1e-3, "{found:?}");
    }

    #[test]
    fn comparison_favours_the_law_that_generated_the_data() {
        let data = geometric(10_000.0);
        let power = fitted(&data, Bound::None);
        assert_eq!(against_exponential(&data, &power).favours, FavouredLaw::Alternative);
        for (xmax, bound) in [(None, Bound::None), (Some(200), Bound::At(200))] {
            let law = ZetaLaw::new(2.3, 3, xmax).unwrap();
            let data = law.sample(10_000, &mut stream(3, b"test----", 0));
            let power = fitted(&data, bound);
            let exponential = against_exponential(&data, &power);
            assert_eq!(exponential.favours, FavouredLaw::PowerLaw, "{exponential:?}");
            let lognormal = against_lognormal(&data, &power);
            assert_eq!(lognormal.favours, FavouredLaw::Neither, "{lognormal:?}");
        }
    }

    #[test]
    fn rising_and_flat_tails_have_a_rate() {
        for (counts, sign) in [([10, 20, 40], -1.0), ([20, 20, 20], 0.0), ([40, 20, 10], 1.0)] {
            let data = Histogram::from_counts((1..).zip(counts));
            let rate = Exponential::fit(&data, &fitted(&data, Bound::Largest)).rate;
            assert!((rate - sign * 2f64.ln()).abs() < 1e-9, "{rate}");
        }
    }
}
