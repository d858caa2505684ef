//! G8: at rest the degrees of the live peers follow the power law from which their targets are
//! drawn.

use rumormill_analysis::{Histogram, ZetaLaw};
use rumormill_proto::overlay::target::{MIN_TARGET, max_target, power_law_exponent};

use super::Violation;
use crate::observation::Observation;

/// Smallest number of peers for which the law is tested.
const MIN_PEERS: usize = 100;
/// Critical value of the Kolmogorov-Smirnov statistic: divided by the root of the number of peers
/// it is the distance that a sample of the law exceeds once in ten thousand cases: Q_KS(2.23) =
/// 1e-4 (Kolmogorov 1933).
const CRITICAL_VALUE: f64 = 2.23;
/// Additional distance allowed for degrees in transition: a free slot that is being filled, one
/// neighbour over the target.
const TRANSITION_ALLOWANCE: f64 = 0.05;

/// Compares the distribution of all degrees with the law for this number of peers
/// (Kolmogorov-Smirnov). Networks whose settings limit the degree have another law and are exempt.
#[must_use]
pub fn check(observation: &Observation) -> Vec<Violation> {
    if observation.live_peers().any(|p| p.config.max_degree().is_some()) {
        return Vec::new();
    }
    let degrees: Histogram = observation.graph.degrees().into_iter().map(|d| d as u64).collect();
    let Some(distance) = distance(&degrees) else { return Vec::new() };
    let n = degrees.n();
    let allowed = CRITICAL_VALUE / (n as f64).sqrt() + TRANSITION_ALLOWANCE;
    if distance <= allowed {
        return Vec::new();
    }
    let what = format!(
        "the degrees of {n} peers have distance {distance:.3} from the law, {allowed:.3} is allowed"
    );
    vec![Violation::new("G8", what)]
}

/// The distance of the degrees from the law (0 to 1); `None` for networks that are too small.
fn distance(degrees: &Histogram) -> Option<f64> {
    let n = degrees.n();
    if n < MIN_PEERS as u64 {
        return None;
    }
    let peers = u32::try_from(n).unwrap_or(u32::MAX);
    let (least, most) = (u64::from(MIN_TARGET), u64::from(max_target(peers)));
    let law = ZetaLaw::new(power_law_exponent(peers), least, Some(most))?;
    let steps = least..=most.max(degrees.max()?);
    // By the law no peer has a degree below the smallest target.
    let below = 1.0 - degrees.at_least(least) as f64 / n as f64;
    let difference = |k: u64| (degrees.at_least(k) as f64 / n as f64 - law.ccdf(k)).abs();
    Some(steps.map(difference).fold(below, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(of: impl Fn(f64) -> u64) -> Histogram {
        (0..1000).map(|i| of((f64::from(i) + 0.5) / 1000.0)).collect()
    }

    #[test]
    fn degrees_of_the_law_pass_and_other_distributions_fail() {
        use rumormill_proto::overlay::target::target_degree;
        let law = histogram(|rank| u64::from(target_degree(rank, 1000, None)));
        assert!(distance(&law).unwrap() < 0.01);
        let unfilled = histogram(|rank| u64::from(target_degree(rank, 1000, None) - 1));
        assert!(distance(&unfilled).unwrap() > 0.3);
        let regular = histogram(|_| 5);
        assert!(distance(&regular).unwrap() > 0.3);
        // The rule "top n/2 by degree": half of the peers form nearly a clique, the others have few
        // neighbours.
        let halves = histogram(|rank| if rank < 0.5 { 3 } else { 40 });
        assert!(distance(&halves).unwrap() > 0.3);
    }

    #[test]
    fn small_network_is_not_tested() {
        assert_eq!(distance(&[3u64, 3, 4].into_iter().collect()), None);
    }
}
