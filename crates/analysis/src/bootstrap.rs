//! The plausibility of a fitted power law: the semi-parametric bootstrap of Clauset, Shalizi and
//! Newman (2009), section 4.1.

use rand::Rng;

use crate::histogram::Histogram;
use crate::power_law::{Bound, Cutoff, PowerLaw, fit};
use crate::random::{binomial, stream};
use crate::zeta_law::Sampler;

/// The share of `replicates` data sets whose Kolmogorov-Smirnov distance is at least that of
/// `fitted`. Each has as many observations as `data`: in the tail they are drawn from the fitted
/// law, below it from the data. Each is fitted in the same way as the data, `cutoff` and `bound`
/// included.
///
/// Below 0.1 the power law is ruled out: data that follow the law have so large a distance in one
/// case of ten. Above 0.1 the law is not proven; few observations rule out nothing. The error of p
/// is about 1 / (2 √replicates), so 2500 replicates give two decimals.
///
/// `None` without replicates, or if no replicate could be fitted. Costs one draw and one fit per
/// replicate, on histograms, so the number of observations hardly matters.
#[must_use]
pub fn p_value(
    data: &Histogram,
    fitted: &PowerLaw,
    (cutoff, bound): (Cutoff, Bound),
    replicates: u32,
    seed: u64,
) -> Option<f64> {
    let sampler = Sampler::new(fitted.law);
    let below = data.bins().partition_point(|b| b.0 < fitted.law.xmin());
    let below = &data.bins()[..below];
    let (mut fits, mut worse) = (0u32, 0u32);
    for index in 0..replicates {
        let mut rng = stream(seed, b"replicat", u64::from(index));
        let replicate = draw(data.n(), fitted.tail, &sampler, below, &mut rng);
        // A replicate without a tail is skipped; such replicates are very rare.
        if let Ok(other) = fit(&replicate, cutoff, bound) {
            fits += 1;
            worse += u32::from(other.ks >= fitted.ks);
        }
    }
    (fits > 0).then(|| f64::from(worse) / f64::from(fits))
}

fn draw(
    n: u64,
    tail: u64,
    sampler: &Sampler,
    below: &[(u64, u64)],
    rng: &mut impl Rng,
) -> Histogram {
    let in_tail = binomial(rng, n, tail as f64 / n as f64);
    let mut counts = sampler.draw(in_tail, rng);
    // A multinomial draw is a chain of binomial ones.
    let mut left = n - in_tail;
    let mut weight = n - tail;
    for &(value, count) in below {
        let here = binomial(rng, left, count as f64 / weight as f64);
        counts.push((value, here));
        left -= here;
        weight -= count;
    }
    Histogram::from_counts(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::power_law::MIN_TAIL;
    use crate::random::unit;
    use crate::zeta_law::ZetaLaw;

    const SCAN: Cutoff = Cutoff::Scan { min_tail: MIN_TAIL };

    fn p(data: &Histogram, cutoff: Cutoff, bound: Bound, replicates: u32) -> Option<f64> {
        let fitted = fit(data, cutoff, bound).unwrap();
        p_value(data, &fitted, (cutoff, bound), replicates, 9)
    }

    #[test]
    fn replicate_has_the_value_shares_of_the_data() {
        let data = Histogram::from_counts([(0, 1000), (1, 3000), (2, 2000), (3, 4000), (5, 1000)]);
        let law = ZetaLaw::new(2.5, 3, Some(9)).unwrap();
        let mut rng = stream(1, b"test----", 0);
        let drawn = draw(11_000, 5000, &Sampler::new(law), &data.bins()[..3], &mut rng);
        assert_eq!(drawn.n(), 11_000);
        for (value, expected) in [(0, 1000.0), (1, 3000.0), (2, 2000.0), (3, 5000.0 * law.pmf(3))] {
            let seen = drawn.count(value) as f64;
            assert!((seen - expected).abs() < 220.0, "{value}: {seen} {expected}");
        }
    }

    #[test]
    fn p_value_is_none_without_replicates() {
        let data = Histogram::from_counts([(3, 50), (4, 30), (5, 20)]);
        assert_eq!(p(&data, SCAN, Bound::None, 0), None);
    }

    /// With fixed cutoffs, p is uniformly distributed where the law holds, up to its error.
    #[test]
    fn p_value_is_uniform_for_data_that_follow_the_law() {
        for (xmax, bound) in [(None, Bound::None), (Some(50), Bound::At(50))] {
            let law = ZetaLaw::new(2.4, 3, xmax).unwrap();
            let mut all: Vec<f64> = (0..200)
                .map(|i| {
                    let data = law.sample(1000, &mut stream(6, b"test----", i));
                    p(&data, Cutoff::At(3), bound, 100).unwrap()
                })
                .collect();
            all.sort_by(f64::total_cmp);
            let distance = all
                .iter()
                .zip(1..)
                .map(|(p, i)| (p - f64::from(i) / 200.0).abs())
                .fold(0.0, f64::max);
            // The one-in-a-thousand point of the Kolmogorov-Smirnov test is 1.95 / √200 = 0.138.
            assert!(distance < 0.138, "{distance}");
        }
    }

    #[test]
    fn right_law_is_accepted_and_exponential_is_ruled_out() {
        let kept = |xmax, bound| {
            let law = ZetaLaw::new(2.3, 3, xmax).unwrap();
            (0..20u64)
                .filter(|&i| {
                    let data = law.sample(10_000, &mut stream(7, b"test----", i));
                    p(&data, SCAN, bound, 50).unwrap() > 0.1
                })
                .count()
        };
        assert!(kept(None, Bound::None) >= 15);
        assert!(kept(Some(100), Bound::Largest) >= 15);
        // A geometric law from 3 on with mean 8, 10,000 values.
        let counts = (0..200).map(|k| (k + 3, (2000.0 * 0.8f64.powi(k as i32)).round() as u64));
        let exponential = Histogram::from_counts(counts);
        let at_start = (Cutoff::At(3), 100);
        assert_eq!(p(&exponential, at_start.0, Bound::None, at_start.1), Some(0.0));
        assert_eq!(p(&exponential, at_start.0, Bound::Largest, at_start.1), Some(0.0));
    }

    /// A scan may choose the last few hundred of 10,000 values as the tail, for which a power law
    /// is not always ruled out; but it cannot choose a larger tail.
    #[test]
    fn scan_of_exponential_data_finds_a_small_tail_and_mostly_rules_the_law_out() {
        let geometric = |index| {
            let mut rng = stream(8, b"test----", index);
            let value = |_| 3 + (libm::log(1.0 - unit(&mut rng)) / libm::log(0.8)).floor() as u64;
            (0..10_000).map(value).collect::<Histogram>()
        };
        let (mut free, mut bounded) = (0, 0);
        for data in (0..10).map(geometric) {
            assert!(fit(&data, SCAN, Bound::None).unwrap().tail < 1000);
            free += u32::from(p(&data, SCAN, Bound::None, 100).unwrap() < 0.1);
            bounded += u32::from(p(&data, SCAN, Bound::Largest, 100).unwrap() < 0.1);
        }
        assert!(free >= 6 && bounded >= 8, "{free} {bounded}");
    }
}
