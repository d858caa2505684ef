//! Figures with as many digits as were measured.

use rumormill_units::count;

/// A count as a float; counts are far below 2^52.
#[allow(clippy::cast_precision_loss)]
pub(super) const fn float(n: u64) -> f64 {
    n as f64
}

pub(super) fn per(a: f64, b: f64) -> Option<f64> {
    (b > 0.0).then(|| rounded(a / b))
}

/// A part of all. It is not rounded, so that it is 1 only if nothing is missing.
pub(super) fn fraction(part: u64, all: u64) -> f64 {
    if all == 0 { 1.0 } else { float(part) / float(all) }
}

/// A figure with six significant digits, which is as exact as it was measured.
pub(super) fn rounded(x: f64) -> f64 {
    format!("{x:.5e}").parse().unwrap_or(x)
}

/// A rate or an amount, to the whole number.
pub(super) fn grouped(x: f64) -> String {
    count::grouped(x.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_keeps_six_significant_digits() {
        assert!((rounded(1_234_567.0) - 1_234_570.0).abs() < 0.1);
        assert!((rounded(0.000_123_456_7) - 0.000_123_457).abs() < 1e-12);
        assert_eq!((per(1.0, 0.0), per(1.0, 4.0)), (None, Some(0.25)));
        assert!(fraction(999_999_999, 1_000_000_000) < 1.0);
        assert!((fraction(0, 0) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn grouped_separates_thousands() {
        assert_eq!(grouped(0.4), "0");
        assert_eq!(grouped(999.0), "999");
        assert_eq!(grouped(1000.0), "1,000");
        assert_eq!(grouped(12_345_678.0), "12,345,678");
    }
}
