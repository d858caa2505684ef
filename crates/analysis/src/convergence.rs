//! The time at which a measured value has settled.

/// The first time from which the condition holds for every later sample. `None` if it does not hold
/// for the last sample, or if there are no samples.
///
/// Samples are pairs of a time, in any unit, and a value, in order of time. The value between two
/// samples is unknown, so the result is late by at most the time between them.
///
/// ```
/// use rumormill_analysis::settled_since;
///
/// let mean_degree = [(0, 2.0), (10, 4.9), (20, 4.0), (30, 5.1), (40, 5.0)];
/// assert_eq!(settled_since(mean_degree, |&d| d > 4.5), Some(30));
/// ```
pub fn settled_since<T, V>(
    samples: impl IntoIterator<Item = (T, V)>,
    mut holds: impl FnMut(&V) -> bool,
) -> Option<T> {
    let mut since = None;
    for (time, value) in samples {
        if !holds(&value) {
            since = None;
        } else if since.is_none() {
            since = Some(time);
        }
    }
    since
}

/// [`settled_since`] for values within `tolerance` of `target`, both ends included.
pub fn settled_near<T>(
    samples: impl IntoIterator<Item = (T, f64)>,
    target: f64,
    tolerance: f64,
) -> Option<T> {
    settled_since(samples, |value| (value - target).abs() <= tolerance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settled_time_is_that_of_the_last_uninterrupted_stretch() {
        let samples = [(0, 1.0), (1, 5.0), (2, 1.0), (3, 5.5), (4, 4.5)];
        assert_eq!(settled_near(samples, 5.0, 0.5), Some(3));
        assert_eq!(settled_near(samples, 5.0, 0.4), None);
        assert_eq!(settled_near(samples, 3.0, 9.0), Some(0));
        assert_eq!(settled_near([(0, f64::NAN)], 3.0, 9.0), None);
        assert_eq!(settled_near::<u8>([], 3.0, 9.0), None);
    }
}
