//! Seeded random draws. One seed determines all of them; every purpose and repetition has a
//! separate stream, so that an additional draw for one does not shift the draws for another.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A stream for one purpose and repetition.
pub(crate) fn stream(seed: u64, purpose: &[u8; 8], index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(purpose);
    key[16..24].copy_from_slice(&index.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// A number in [0, 1), from 53 bits.
pub(crate) fn unit(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A number below `end`, which is at least 1.
pub(crate) fn below(rng: &mut impl Rng, end: usize) -> usize {
    // Deviates from uniform by less than end / 2^64.
    ((u128::from(rng.next_u64()) * end as u128) >> 64) as usize
}

/// Puts the items into a random order (Fisher-Yates).
pub(crate) fn shuffle<T>(rng: &mut impl Rng, items: &mut [T]) {
    for i in (1..items.len()).rev() {
        items.swap(i, below(rng, i + 1));
    }
}

/// `count` different numbers below `end`, in random order; all of them if there are not more.
pub(crate) fn choose(rng: &mut impl Rng, end: usize, count: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..end).collect();
    let count = count.min(end);
    for i in 0..count {
        let other = i + below(rng, end - i);
        all.swap(i, other);
    }
    all.truncate(count);
    all
}

/// The number of successes in `n` trials.
pub(crate) fn binomial(rng: &mut impl Rng, n: u64, probability: f64) -> u64 {
    if n == 0 || probability.is_nan() || probability <= 0.0 {
        return 0;
    }
    // The constructor refuses only probabilities outside [0, 1].
    rand_distr::Binomial::new(n, probability.min(1.0))
        .map_or(n, |law| rand_distr::Distribution::sample(&law, rng).min(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_reproducible_and_differ_by_seed_and_index() {
        let draw = |seed, index| stream(seed, b"test----", index).next_u64();
        assert_eq!(draw(1, 0), draw(1, 0));
        assert_ne!(draw(1, 0), draw(1, 1));
        assert_ne!(draw(1, 0), draw(2, 0));
    }

    #[test]
    fn draws_are_within_their_ranges() {
        let mut rng = stream(3, b"test----", 0);
        assert!((0..1000).all(|_| below(&mut rng, 3) < 3));
        assert!((0..1000).all(|_| (0.0..1.0).contains(&unit(&mut rng))));
        let mut chosen = choose(&mut rng, 10, 4);
        chosen.sort_unstable();
        chosen.dedup();
        assert_eq!(chosen.len(), 4);
        assert_eq!(choose(&mut rng, 3, 9).len(), 3);
        assert_eq!(binomial(&mut rng, 10, 0.0), 0);
        assert_eq!(binomial(&mut rng, 10, 1.0), 10);
        let sum: u64 = (0..1000).map(|_| binomial(&mut rng, 100, 0.3)).sum();
        assert!((29_500..30_500).contains(&sum), "{sum}");
    }
}
