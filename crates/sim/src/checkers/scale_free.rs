//! G8: at rest the degrees of the live peers follow the law that their targets are drawn from.

use rumormill_analysis::{Histogram, ZetaLaw};
use rumormill_proto::overlay::target::{MIN_TARGET, exponent, max_target};

use super::Violation;
use crate::observation::Observation;

/// Fewer peers say nothing about a law.
const FEWEST: usize = 100;
/// The distance that chance alone passes once in ten thousand samples is this over the root of the
/// number of peers: Q_KS(2.23) = 1e-4 (Kolmogorov 1933).
const CHANCE: f64 = 2.23;
/// What is left open in good faith: a place that is being filled, one neighbour over the target.
const UNFILLED: f64 = 0.05;

/// Holds the distribution of all degrees against the law for so many peers (Kolmogorov-Smirnov).
/// Networks whose settings limit the degree have another law, and are left out.
#[must_use]
pub fn check(seen: &Observation) -> Vec<Violation> {
    if seen.live_peers().any(|p| p.config.max_degree().is_some()) {
        return Vec::new();
    }
    let degrees: Histogram = seen.graph.degrees().into_iter().map(|d| d as u64).collect();
    let Some(distance) = distance(&degrees) else { return Vec::new() };
    let n = degrees.n();
    let allowed = CHANCE / (n as f64).sqrt() + UNFILLED;
    if distance <= allowed {
        return Vec::new();
    }
    let what = format!(
        "the degrees of {n} peers are {distance:.3} away from their law, {allowed:.3} is allowed"
    );
    vec![Violation::new("G8", what)]
}

/// How far the degrees are from the law (0 to 1); `None` for networks that are too small.
fn distance(degrees: &Histogram) -> Option<f64> {
    let n = degrees.n();
    if n < FEWEST as u64 {
        return None;
    }
    let peers = u32::try_from(n).unwrap_or(u32::MAX);
    let (least, most) = (u64::from(MIN_TARGET), u64::from(max_target(peers)));
    let law = ZetaLaw::new(exponent(peers), least, Some(most))?;
    let steps = least..=most.max(degrees.max()?);
    // Below the least target there is nothing by the law.
    let below = 1.0 - degrees.at_least(least) as f64 / n as f64;
    let far = |k: u64| (degrees.at_least(k) as f64 / n as f64 - law.ccdf(k)).abs();
    Some(steps.map(far).fold(below, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(of: impl Fn(f64) -> u64) -> Histogram {
        (0..1000).map(|i| of((f64::from(i) + 0.5) / 1000.0)).collect()
    }

    #[test]
    fn the_law_passes_and_others_do_not() {
        use rumormill_proto::overlay::target::target_degree;
        let law = histogram(|rank| u64::from(target_degree(rank, 1000, None)));
        assert!(distance(&law).unwrap() < 0.01);
        let unfilled = histogram(|rank| u64::from(target_degree(rank, 1000, None) - 1));
        assert!(distance(&unfilled).unwrap() > 0.3);
        let regular = histogram(|_| 5);
        assert!(distance(&regular).unwrap() > 0.3);
        // "Top n/2 by degree": a clique-like half and a half with hardly a neighbour.
        let halves = histogram(|rank| if rank < 0.5 { 3 } else { 40 });
        assert!(distance(&halves).unwrap() > 0.3);
    }

    #[test]
    fn a_small_network_has_no_law() {
        assert_eq!(distance(&[3u64, 3, 4].into_iter().collect()), None);
    }
}
