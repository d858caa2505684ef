//! Randomness from one seed, with one independent stream per purpose, so that an additional draw in
//! one place does not change other decisions.

use core::time::Duration;
use std::collections::BTreeSet;

use rand::{Rng, RngExt, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::config::Config;

/// One stream, as its key and the number of words drawn: a peer has several and seldom draws, and
/// the state of a generator with its buffer takes eight times as much memory.
#[derive(Debug, Clone)]
pub(crate) struct RngStream {
    key: [u8; 32],
    words: u64,
}

impl RngStream {
    /// The stream of `purpose` under `seed`.
    pub(crate) fn new(seed: &[u8; 32], purpose: &str) -> Self {
        let mut h = blake3::Hasher::new_keyed(seed);
        h.update(purpose.as_bytes());
        RngStream { key: *h.finalize().as_bytes(), words: 0 }
    }

    /// Draws from the generator at the present position.
    fn draw<T>(&mut self, draws: impl FnOnce(&mut ChaCha8Rng) -> T) -> T {
        let mut rng = ChaCha8Rng::from_seed(self.key);
        rng.set_word_pos(u128::from(self.words));
        let drawn = draws(&mut rng);
        // The number of drawn words never reaches 2^64.
        self.words = u64::try_from(rng.get_word_pos()).unwrap_or(u64::MAX);
        drawn
    }

    /// Uniform below `n`; 0 for `n` = 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { self.draw(|rng| rng.random_range(0..n)) }
    }

    /// `count` numbers, each uniform below `n`; none for `n` = 0.
    pub(crate) fn many_below(&mut self, n: u64, count: usize) -> Vec<u64> {
        if n == 0 {
            return Vec::new();
        }
        self.draw(|rng| (0..count).map(|_| rng.random_range(0..n)).collect())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.draw(Rng::next_u64)
    }

    pub(crate) fn bytes16(&mut self) -> [u8; 16] {
        self.draw(RngExt::random)
    }

    /// Uniform between `low` and `high` times `d`.
    pub(crate) fn scaled(&mut self, d: Duration, low: f64, high: f64) -> Duration {
        d.mul_f64(low + (high - low) * self.draw(RngExt::random::<f64>))
    }

    /// The wait after `failures` consecutive failures: doubling from the configured minimum to the
    /// maximum, with jitter, so that many nodes do not come back at the same time.
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
        let mut left = self.draw(|rng| rng.random_range(0..total));
        for (i, w) in weights.enumerate() {
            if left < w {
                return Some(i);
            }
            left -= w;
        }
        None
    }

    /// `n` distinct numbers below `below`, ascending (Floyd's algorithm: Bentley and Floyd 1987);
    /// the cost depends on `n` only.
    pub(crate) fn distinct(&mut self, below: usize, n: usize) -> BTreeSet<usize> {
        self.draw(|rng| {
            let mut picked = BTreeSet::new();
            for top in below.saturating_sub(n)..below {
                let one = rng.random_range(0..=top);
                if !picked.insert(one) {
                    picked.insert(top);
                }
            }
            picked
        })
    }

    /// `n` distinct elements of a list, in random order (a partial Fisher-Yates shuffle).
    pub(crate) fn sample<T>(&mut self, mut from: Vec<T>, n: usize) -> Vec<T> {
        let n = n.min(from.len());
        self.draw(|rng| {
            for i in 0..n {
                let j = i + rng.random_range(0..from.len() - i);
                from.swap(i, j);
            }
        });
        from.truncate(n);
        from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_continues_at_its_last_position() {
        let mut one = RngStream::new(&[1; 32], "t");
        let mut other = ChaCha8Rng::from_seed(one.key);
        for n in 1..200u64 {
            // Draws of one word and of two, across block boundaries.
            let small = u32::try_from(n).unwrap();
            assert_eq!(one.draw(|r| r.random_range(0..small)), other.random_range(0..small));
            assert_eq!(one.u64(), other.next_u64());
            assert_eq!(one.clone().bytes16(), other.clone().random::<[u8; 16]>());
        }
    }
}
