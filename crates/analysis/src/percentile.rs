//! Percentiles of sorted data.

/// The `p`-th percentile by nearest rank: the smallest value that at least p percent of the values
/// do not exceed, which has rank ⌈p/100·n⌉. It is always one of the values, never a mean of two; p
/// is clamped to the range from 0 (the smallest value) to 100 (the largest).
///
/// `sorted` must ascend. `None` without values or if p is not a number.
///
/// ```
/// use rumormill_analysis::percentile;
///
/// let delays = [10, 20, 30, 40];
/// assert_eq!(percentile(&delays, 50.0), Some(20));
/// assert_eq!(percentile(&delays, 99.0), Some(40));
/// ```
#[must_use]
pub fn percentile<T: Copy>(sorted: &[T], p: f64) -> Option<T> {
    if p.is_nan() {
        return None;
    }
    sorted.get(rank(p.clamp(0.0, 100.0) / 100.0, sorted.len()).max(1) - 1).copied()
}

/// The number of items that make up at least this share of `n`; at most `n`.
pub(crate) fn rank(share: f64, n: usize) -> usize {
    let exact = share * n as f64;
    // 0.07 · 100 is slightly above 7 in binary. No intended share is this close to an integer
    // without being meant as one.
    let nearest = exact.round();
    let whole =
        if (exact - nearest).abs() < 1e-9 * exact.max(1.0) { nearest } else { exact.ceil() };
    (whole as usize).min(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentile_is_right_at_the_edges_of_its_range() {
        let hundred: Vec<u32> = (1..=100).collect();
        for p in 1..=100u32 {
            assert_eq!(percentile(&hundred, f64::from(p)), Some(p));
        }
        assert_eq!(percentile(&hundred, -3.0), Some(1));
        assert_eq!(percentile(&hundred, 300.0), Some(100));
        assert_eq!(percentile(&hundred, 0.1), Some(1));
        assert_eq!(percentile(&hundred, f64::NAN), None);
        assert_eq!(percentile::<u32>(&[], 50.0), None);
        assert_eq!(percentile(&[7], 99.9), Some(7));
    }

    proptest! {
        #[test]
        fn at_least_p_percent_of_values_do_not_exceed_the_percentile(
            mut values in prop::collection::vec(0u32..100, 1..50), p in 0.1f64..100.0,
        ) {
            values.sort_unstable();
            let at = percentile(&values, p).unwrap();
            let up_to = values.iter().filter(|&&v| v <= at).count() as f64;
            let before = values.iter().filter(|&&v| v < at).count() as f64;
            let needed = p / 100.0 * values.len() as f64;
            prop_assert!(up_to >= needed - 1e-6 && before < needed + 1e-6);
        }
    }
}
