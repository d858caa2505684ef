//! Random draws of a run, all derived from one random seed. Every purpose has its own random
//! stream, so an additional draw for one purpose does not shift the draws for another.

use core::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// 32 bytes for a purpose and an index, derived from the world's random seed.
pub(crate) fn derive(seed: u64, purpose: &str, index: u64) -> [u8; 32] {
    let mut h = blake3::Hasher::new();
    h.update(&seed.to_le_bytes()).update(purpose.as_bytes()).update(&[0]);
    h.update(&index.to_le_bytes());
    *h.finalize().as_bytes()
}

/// A stream of random draws.
#[derive(Debug)]
pub(crate) struct RngStream(ChaCha8Rng);

impl RngStream {
    pub(crate) fn new(seed: u64, purpose: &str) -> Self {
        RngStream(ChaCha8Rng::from_seed(derive(seed, purpose, 0)))
    }

    /// Draws whether an event of this probability happens.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A number in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        // 53 bits fill the mantissa; the quotient is exact, so it is the same on every machine.
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `n`; 0 if `n` is 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let bits = self.0.next_u64();
        scale(bits, 0, (n as u64).saturating_sub(1)) as usize
    }

    /// `n` of the items, drawn uniformly without replacement; all of them if there are fewer.
    pub(crate) fn pick<T: Clone>(&mut self, from: &[T], n: usize) -> Vec<T> {
        let mut all = from.to_vec();
        let n = n.min(all.len());
        for i in 0..n {
            let j = i + self.below(all.len() - i);
            all.swap(i, j);
        }
        all.truncate(n);
        all
    }

    /// A duration between the two, both included, in whole microseconds.
    pub(crate) fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let (low, high) = (micros(low), micros(high));
        Duration::from_micros(scale(self.0.next_u64(), low, high))
    }
}

/// Maps 64 random bits onto `low..=high`.
pub(crate) fn scale(bits: u64, low: u64, high: u64) -> u64 {
    let span = u128::from(high.saturating_sub(low)) + 1;
    // The product of two 64-bit numbers, shifted down by 64, is below `span`.
    low.saturating_add(((u128::from(bits) * span) >> 64) as u64)
}

pub(crate) fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_bytes_differ_by_seed_purpose_and_index() {
        assert_eq!(derive(1, "a", 0), derive(1, "a", 0));
        assert_ne!(derive(1, "a", 0), derive(2, "a", 0));
        assert_ne!(derive(1, "a", 0), derive(1, "b", 0));
        assert_ne!(derive(1, "a", 0), derive(1, "a", 1));
    }

    #[test]
    fn scaled_draws_stay_in_range_and_reach_both_ends() {
        assert_eq!(scale(0, 5, 9), 5);
        assert_eq!(scale(u64::MAX, 5, 9), 9);
        assert_eq!(scale(u64::MAX, 7, 7), 7);
        let mut rng = RngStream::new(3, "t");
        let hits = (0..1000).filter(|_| rng.chance(0.25)).count();
        assert!((180..320).contains(&hits), "{hits}");
        assert!(!rng.chance(0.0));
    }
}
