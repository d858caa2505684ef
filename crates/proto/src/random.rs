//! Randomness from one seed, one independent stream per purpose, so that a draw more in one place
//! does not change what happens in another.

use core::time::Duration;
use std::collections::BTreeSet;

use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::config::Config;

/// One stream.
#[derive(Debug, Clone)]
pub(crate) struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of `purpose` under `seed`.
    pub(crate) fn new(seed: &[u8; 32], purpose: &str) -> Self {
        let mut h = blake3::Hasher::new_keyed(seed);
        h.update(purpose.as_bytes());
        Stream(ChaCha8Rng::from_seed(*h.finalize().as_bytes()))
    }

    /// Uniform below `n`; 0 for `n` = 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { self.0.random_range(0..n) }
    }

    /// Uniform below `n`; 0 for `n` = 0.
    pub(crate) fn below_u64(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.0.random_range(0..n) }
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub(crate) fn bytes16(&mut self) -> [u8; 16] {
        self.0.random()
    }

    /// Uniform between `low` and `high` times `d`.
    pub(crate) fn scaled(&mut self, d: Duration, low: f64, high: f64) -> Duration {
        d.mul_f64(low + (high - low) * self.0.random::<f64>())
    }

    /// How long to wait after so many failures in a row: doubling from the configured least to the
    /// most, with jitter, so that many nodes do not come back in the same moment.
    pub(crate) fn backoff(&mut self, failures: u32, config: &Config) -> Duration {
        let doubled = config.backoff_min() * (1 << failures.saturating_sub(1).min(16));
        self.scaled(doubled.min(config.backoff_max()), 0.5, 1.0)
    }

    /// An index drawn in proportion to the weights; `None` if all are zero.
    pub(crate) fn weighted(&mut self, weights: impl Iterator<Item = u64> + Clone) -> Option<usize> {
        let total: u64 = weights.clone().fold(0, u64::saturating_add);
        if total == 0 {
            return None;
        }
        let mut left = self.0.random_range(0..total);
        for (i, w) in weights.enumerate() {
            if left < w {
                return Some(i);
            }
            left -= w;
        }
        None
    }

    /// `n` distinct numbers below `below`, ascending (Floyd's algorithm: Bentley and Floyd 1987): its
    /// cost follows `n` alone.
    pub(crate) fn distinct(&mut self, below: usize, n: usize) -> BTreeSet<usize> {
        let mut picked = BTreeSet::new();
        for top in below.saturating_sub(n)..below {
            let one = self.below(top + 1);
            if !picked.insert(one) {
                picked.insert(top);
            }
        }
        picked
    }

    /// `n` distinct elements of a list, in random order (a partial Fisher-Yates shuffle).
    pub(crate) fn sample<T>(&mut self, mut from: Vec<T>, n: usize) -> Vec<T> {
        let n = n.min(from.len());
        for i in 0..n {
            let j = i + self.below(from.len() - i);
            from.swap(i, j);
        }
        from.truncate(n);
        from
    }
}
