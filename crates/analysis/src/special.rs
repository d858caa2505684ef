//! Sums of powers and tails of the normal law.
//!
//! Uses functions of `libm` rather than of the platform, so that every machine gives the same
//! digits.

use libm::{exp, expm1, log, log1p};

/// The sums over k = a..=b of (k/a)^-s times the zeroth, first and second power of ln(k/a).
///
/// The sum of k^-s itself is a^-s times `zeroth`, the Hurwitz zeta function ζ(s, a) without an
/// upper end. Taking a out keeps every number in range, whatever s and a are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PowerSums {
    pub(crate) zeroth: f64,
    pub(crate) first: f64,
    pub(crate) second: f64,
}

impl PowerSums {
    /// Sums from `a` (at least 1) to `b`, which is at least `a`; without `b`, s must be above 1.
    ///
    /// The first terms are added one by one; where k is well above s, the Euler-Maclaurin formula
    /// with three derivatives gives the rest to about 12 digits.
    pub(crate) fn new(s: f64, a: u64, b: Option<u64>) -> Self {
        let mut sums = Self { zeroth: 0.0, first: 0.0, second: 0.0 };
        let ln_a = log(a as f64);
        let start = a.max((10.0 + 3.0 * s) as u64);
        // Up to eight terms are cheaper, and more exact, than the formula.
        let direct_end = match b {
            Some(b) if b <= start.saturating_add(8) => b.saturating_add(1),
            _ => start,
        };
        for k in a..direct_end {
            let l = log(k as f64) - ln_a;
            sums.add(exp(-s * l), l, [1.0, 0.0, 0.0]);
        }
        if b.is_some_and(|b| b < direct_end) {
            return sums;
        }
        let from = direct_end as f64;
        let l = log(from) - ln_a;
        let weight = exp(-s * l);
        let end = b.map(|b| b as f64 + 1.0);
        let width = end.map(|end| log(end / from));
        let integral = exponential_moments(1.0 - s, width);
        let scale = from * weight;
        sums.zeroth += scale * integral[0];
        sums.first += scale * (l * integral[0] + integral[1]);
        sums.second += scale * (l * l * integral[0] + 2.0 * l * integral[1] + integral[2]);
        sums.add(weight, l, end_terms(s, from));
        if let Some(end) = end {
            let l = log(end) - ln_a;
            sums.add(-exp(-s * l), l, end_terms(s, end));
        }
        sums
    }

    /// Adds weight(s)·g(s), where d weight/ds = -l·weight, and `g` is g with two derivatives.
    fn add(&mut self, weight: f64, l: f64, g: [f64; 3]) {
        self.zeroth += weight * g[0];
        self.first += weight * (l * g[0] - g[1]);
        self.second += weight * (l * l * g[0] - 2.0 * l * g[1] + g[2]);
    }
}

/// The terms that the Euler-Maclaurin formula adds at one end x of the integral, divided by x^-s,
/// with their first and second derivatives in s.
fn end_terms(s: f64, x: f64) -> [f64; 3] {
    let cube = x * x * x;
    let (i1, i3, i5) = (1.0 / (12.0 * x), 1.0 / (720.0 * cube), 1.0 / (30240.0 * cube * x * x));
    // The rising factorials s, s(s+1)(s+2) and s(s+1)(s+2)(s+3)(s+4), as polynomials.
    let p3 = s * (s + 1.0) * (s + 2.0);
    let p5 = p3 * (s + 3.0) * (s + 4.0);
    let d3 = (3.0 * s + 6.0) * s + 2.0;
    let d5 = (((5.0 * s + 40.0) * s + 105.0) * s + 100.0) * s + 24.0;
    let dd5 = ((20.0 * s + 120.0) * s + 210.0) * s + 100.0;
    [0.5 + s * i1 - p3 * i3 + p5 * i5, i1 - d3 * i3 + d5 * i5, -(6.0 * s + 6.0) * i3 + dd5 * i5]
}

/// The integrals of u^m·e^(cu) over 0..width for m = 0, 1, 2; without a width c must be negative.
fn exponential_moments(c: f64, width: Option<f64>) -> [f64; 3] {
    let Some(d) = width else {
        return [-1.0 / c, 1.0 / (c * c), -2.0 / (c * c * c)];
    };
    let cd = c * d;
    if cd.abs() < 1.0 {
        // The closed forms lose digits by cancellation here; the series does not.
        let mut out = [0.0; 3];
        let mut term = 1.0;
        for j in 0..20 {
            let j = f64::from(j);
            if j > 0.0 {
                term *= cd / j;
            }
            out[0] += term / (j + 1.0);
            out[1] += term / (j + 2.0);
            out[2] += term / (j + 3.0);
        }
        return [out[0] * d, out[1] * d * d, out[2] * d * d * d];
    }
    let e = exp(cd);
    let m0 = expm1(cd) / c;
    let m1 = (d * e - m0) / c;
    [m0, m1, (d * d * e - 2.0 * m1) / c]
}

/// Logarithm of the upper tail of the standard normal law at `z`.
pub(crate) fn ln_normal_tail(z: f64) -> f64 {
    let x = z / core::f64::consts::SQRT_2;
    if x < 4.0 {
        return log(0.5 * libm::erfc(x));
    }
    // Laplace's continued fraction for erfc, from the inside out; 40 levels are enough from 4 on.
    let mut f = x;
    for level in (1..=40).rev() {
        f = x + f64::from(level) * 0.5 / f;
    }
    -x * x - log(2.0 * f * core::f64::consts::PI.sqrt())
}

/// Logarithm of the standard normal law's mass between `low` and `high`, accurate in both tails.
pub(crate) fn ln_normal_mass(low: f64, high: f64) -> f64 {
    if low < 0.0 && high <= 0.0 {
        return ln_normal_mass(-high, -low);
    }
    let low_tail = ln_normal_tail(low);
    // 1 - e^x as -expm1(x) where x is small, and log1p otherwise.
    let x = ln_normal_tail(high) - low_tail;
    low_tail + if x > -0.7 { log(-expm1(x)) } else { log1p(-exp(x)) }
}

/// Two-sided p of a normal deviate: the probability of one at least this far from zero.
pub(crate) fn two_sided_p(z: f64) -> f64 {
    libm::erfc(z.abs() / core::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(s: f64, a: u64, b: u64) -> [f64; 3] {
        let mut out = [0.0; 3];
        for k in (a..=b).rev() {
            let l = (k as f64 / a as f64).ln();
            let f = (-s * l).exp();
            out[0] += f;
            out[1] += l * f;
            out[2] += l * l * f;
        }
        out
    }

    fn close(a: f64, b: f64, tolerance: f64) -> bool {
        (a - b).abs() <= tolerance * b.abs().max(1e-300)
    }

    #[test]
    fn bounded_sums_equal_term_by_term_sums() {
        for s in [0.0, 0.3, 0.999, 1.0, 1.001, 1.7, 2.5, 4.0, 9.0, 20.0] {
            for (a, b) in [(1, 1), (1, 9), (1, 500), (3, 30), (3, 3000), (40, 90), (700, 20_000)] {
                let sums = PowerSums::new(s, a, Some(b));
                let plain = plain(s, a, b);
                assert!(close(sums.zeroth, plain[0], 1e-10), "{s} {a} {b}: {sums:?} {plain:?}");
                assert!(close(sums.first, plain[1], 1e-9), "{s} {a} {b}: {sums:?} {plain:?}");
                assert!(close(sums.second, plain[2], 1e-8), "{s} {a} {b}: {sums:?} {plain:?}");
            }
        }
    }

    #[test]
    fn sums_match_known_values_of_the_zeta_function() {
        let pi = core::f64::consts::PI;
        let zeta = |s, a| PowerSums::new(s, a, None).zeroth * (a as f64).powf(-s);
        assert!(close(zeta(2.0, 1), pi.powi(2) / 6.0, 1e-12));
        assert!(close(zeta(4.0, 1), pi.powi(4) / 90.0, 1e-12));
        assert!(close(zeta(3.0, 1), 1.202_056_903_159_594_2, 1e-12));
        assert!(close(zeta(2.0, 3), pi.powi(2) / 6.0 - 1.25, 1e-11));
        // -ζ'(2)
        assert!(close(PowerSums::new(2.0, 1, None).first, 0.937_548_254_315_843_8, 1e-10));
    }

    #[test]
    fn normal_tails_match_known_values() {
        // Known: Q(0) = 1/2, Q(1.96) = 0.0249979, ln Q(10) = -53.2312851505.
        assert!(close(ln_normal_tail(0.0), 0.5f64.ln(), 1e-14));
        assert!(close(ln_normal_tail(1.96).exp(), 0.024_997_895_148_220_4, 1e-12));
        assert!(close(ln_normal_tail(10.0), -53.231_285_150_512_5, 1e-12));
        let (below, above) = (ln_normal_tail(5.656), ln_normal_tail(5.658));
        assert!((above - below + 0.002 * 5.83).abs() < 2e-4, "a step where the formula changes");
        for (low, high) in [(-1.0, 2.0), (0.5, 0.6), (-9.0, -8.0), (8.0, 9.0), (-3.0, -2.9)] {
            let mirrored = ln_normal_mass(-high, -low);
            assert!(close(ln_normal_mass(low, high), mirrored, 1e-12));
        }
        assert!(close(two_sided_p(1.96), 0.049_995_790_296_440_8, 1e-10));
    }
}
