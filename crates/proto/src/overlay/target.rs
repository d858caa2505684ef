//! Target degrees: how many neighbours each peer looks for, so that the degrees of the network
//! follow a power law and stay with it under churn.
//!
//! Preferential attachment (Barabási, Albert 1999) gives a power law to a network that only grows;
//! under churn it drifts away from it. So the degree of a peer is drawn once from the law itself,
//! and the overlay realises the drawn degrees (the configuration model, Newman 2010, section 13.2).

use std::sync::OnceLock;

use crate::identity::PeerId;
use crate::limits::MAX_TARGET;

/// Smallest target: a network of minimum degree 3 stays connected under random loss.
pub const MIN_TARGET: u16 = 3;

/// A peer's fixed rank in the distribution, uniform in [0, 1): from its id and a nonce of the seeds
/// that it cannot know before it has an id, so that no peer can make itself a hub.
#[must_use]
pub fn rank(id: &PeerId, nonce: &[u8; 16]) -> f64 {
    let mut h = blake3::Hasher::new();
    h.update(b"rumor/1 target\0").update(nonce).update(id.as_bytes());
    let mut eight = [0u8; 8];
    h.finalize_xof().fill(&mut eight);
    // 53 bits: the precision of a double.
    (u64::from_le_bytes(eight) >> 11) as f64 / (1u64 << 53) as f64
}

/// The exponent for a network of `n` peers. Small networks get a heavier tail; without it they
/// would have no hub.
#[must_use]
pub fn power_law_exponent(n: u32) -> f64 {
    match n {
        0..30 => 2.2,
        30..50 => 2.3,
        50..100 => 2.4,
        100..300 => 2.5,
        _ => 2.6,
    }
}

/// The largest target in a network of `n` peers: a few times the natural cutoff n^(1/(α−1)) of
/// its square root, which keeps the largest hub's load moderate.
#[must_use]
pub fn max_target(n: u32) -> u16 {
    let cutoff = 3.0 * (3.3 * f64::from(n.max(1)).sqrt()).powf(1.0 / (power_law_exponent(n) - 1.0));
    // Truncation is intended: the value is positive and bounded by the next line.
    (cutoff.min(f64::from(MAX_TARGET)) as u16).max(MIN_TARGET)
}

/// The target degree of rank `rank` in a network of `n` peers: the zeta law with
/// [`power_law_exponent`], truncated to [[`MIN_TARGET`], [`max_target`]], read at `rank`; at most
/// the number of other peers, and at most `limit`.
#[must_use]
pub fn target_degree(rank: f64, n: u32, limit: Option<u16>) -> u16 {
    let others = u16::try_from(n.saturating_sub(1)).unwrap_or(u16::MAX);
    law(rank, n).min(others).min(limit.unwrap_or(u16::MAX))
}

/// The values of [`power_law_exponent`].
const EXPONENTS: [f64; 5] = [2.2, 2.3, 2.4, 2.5, 2.6];

/// For an exponent, the sums of the weights of [`MIN_TARGET`] up to each degree. They are computed
/// once: a peer needs them whenever the size of the network has changed, and in a large network
/// computing them would take longer than everything else that it does then.
fn sums(alpha: f64) -> &'static [f64] {
    static SUMS: OnceLock<Vec<Vec<f64>>> = OnceLock::new();
    let sums_of = |alpha: &f64| -> Vec<f64> {
        let weights = (MIN_TARGET..=MAX_TARGET).map(|k| f64::from(k).powf(-alpha));
        let add = |sum: &mut f64, weight| {
            *sum += weight;
            Some(*sum)
        };
        weights.scan(0.0, add).collect()
    };
    let all = SUMS.get_or_init(|| EXPONENTS.iter().map(sums_of).collect());
    let at = EXPONENTS.iter().position(|e| *e == alpha);
    at.and_then(|at| all.get(at)).map_or(&[], Vec::as_slice)
}

/// The law without limits.
fn law(rank: f64, n: u32) -> u16 {
    let top = max_target(n);
    let below_top = usize::from(top - MIN_TARGET);
    let sums = sums(power_law_exponent(n));
    let total = sums.get(below_top).copied().unwrap_or_default();
    let below = sums.get(..below_top).unwrap_or_default();
    let steps = below.partition_point(|sum| rank * total >= *sum);
    MIN_TARGET + u16::try_from(steps).unwrap_or(u16::MAX - MIN_TARGET)
}

/// The largest target that an honest peer of this rank can claim while its estimate of the
/// network's size is off by a factor of up to four.
#[must_use]
pub fn max_acceptable_target(rank: f64, n: u32) -> u16 {
    let n = n.max(8);
    [n / 4, n / 2, n, n.saturating_mul(2), n.saturating_mul(4)]
        .into_iter()
        .map(|n| law(rank, n))
        .max()
        .unwrap_or(MIN_TARGET)
        .saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    #[test]
    fn small_networks_are_complete_graphs() {
        for n in 1..=4u32 {
            assert_eq!(target_degree(0.5, n, None), (n - 1) as u16);
        }
        assert_eq!(target_degree(0.0, 0, None), 0);
    }

    #[test]
    fn larger_rank_never_means_fewer_neighbours() {
        for n in [10, 40, 80, 200, 10_000, 1_000_000] {
            let targets: Vec<u16> =
                (0..1000).map(|i| target_degree(f64::from(i) / 1000.0, n, None)).collect();
            assert!(targets.is_sorted());
            assert!(targets[0] >= MIN_TARGET && targets[999] <= max_target(n));
        }
    }

    #[test]
    fn law_gives_many_small_and_few_large_degrees() {
        let nonce = [5; 16];
        let n = 10_000;
        let targets: Vec<u16> = (0..n)
            .map(|i: u32| {
                let mut secret = [0; 32];
                secret[..4].copy_from_slice(&i.to_le_bytes());
                // Any 32 bytes can be an id here, and are a thousand times faster to make than a
                // key.
                target_degree(rank(&PeerId::from_bytes(secret), &nonce), n, None)
            })
            .collect();
        let at = |k: u16| targets.iter().filter(|&&t| t == k).count() as f64;
        // Ratio of neighbouring probabilities of the zeta law: (4/3)^2.6 = 2.11.
        assert!((at(3) / at(4) - 2.11).abs() < 0.2, "{} {}", at(3), at(4));
        assert!(targets.iter().any(|&t| t > 50));
    }

    #[test]
    fn limit_caps_the_target_and_an_honest_claim_is_accepted() {
        let nonce = [1; 16];
        for i in 0..200u8 {
            let r = rank(&Identity::from_secret(&[i; 32]).id(), &nonce);
            assert!(target_degree(r, 500, Some(4)) <= 4);
            for (claimed, known) in [(100, 60), (60, 100), (200, 200), (20, 5)] {
                assert!(target_degree(r, claimed, None) <= max_acceptable_target(r, known));
            }
        }
    }
}
