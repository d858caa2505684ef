//! Drawing from many peers in a time that hardly depends on their number.

use crate::identity::PeerId;
use crate::random::RngStream;

/// Peers in no particular order, each with a weight.
///
/// The weights are summed in a binary indexed tree (Fenwick 1994): a change and a draw take a step
/// per doubling of the number of peers.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    members: Vec<(PeerId, u32)>,
    /// At `i`, the sum of the last weights up to and including the `i`th: as many as the lowest bit
    /// of `i + 1`.
    sums: Vec<u64>,
    total: u64,
}

const fn lowest_bit(n: usize) -> usize {
    n & n.wrapping_neg()
}

impl Pool {
    pub(crate) const fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn get(&self, at: usize) -> Option<PeerId> {
        self.members.get(at).map(|(id, _)| *id)
    }

    /// Adds a peer and returns its index.
    pub(crate) fn push(&mut self, id: PeerId, weight: u32) -> usize {
        self.members.push((id, weight));
        let n = self.members.len();
        // Its own weight and the smaller sums that end directly before it.
        let (mut sum, mut bit) = (u64::from(weight), 1);
        while bit < lowest_bit(n) {
            sum += self.sums.get(n - 1 - bit).copied().unwrap_or(0);
            bit <<= 1;
        }
        self.sums.push(sum);
        self.total += u64::from(weight);
        n - 1
    }

    /// Changes a weight.
    pub(crate) fn set_weight(&mut self, at: usize, weight: u32) {
        let Some((_, w)) = self.members.get_mut(at) else { return };
        let before = u64::from(core::mem::replace(w, weight));
        let after = u64::from(weight);
        self.total = self.total - before + after;
        let mut n = at + 1;
        while let Some(sum) = self.sums.get_mut(n - 1) {
            *sum = *sum - before + after;
            n += lowest_bit(n);
        }
    }

    /// Removes a peer. Returns the peer that has its index now, if there is one.
    pub(crate) fn remove(&mut self, at: usize) -> Option<PeerId> {
        let last = self.members.len().checked_sub(1).filter(|last| at <= *last)?;
        self.set_weight(at, 0);
        let (id, weight) = *self.members.last()?;
        self.set_weight(last, 0);
        self.members.pop();
        self.sums.pop();
        if at == last {
            return None;
        }
        if let Some(place) = self.members.get_mut(at) {
            place.0 = id;
        }
        self.set_weight(at, weight);
        Some(id)
    }

    /// `n` of them, each in proportion to the weights regardless of earlier draws; none if all
    /// weights are zero.
    pub(crate) fn draw(&self, n: usize, rng: &mut RngStream) -> impl Iterator<Item = PeerId> {
        rng.many_below(self.total, n).into_iter().filter_map(|number| self.holder(number))
    }

    /// The peer whose weight contains a number below the total, all weights laid end to end.
    fn holder(&self, number: u64) -> Option<PeerId> {
        let mut left = number;
        let (mut passed, mut step) = (0, self.sums.len().next_power_of_two());
        while step > 0 {
            if let Some(sum) = self.sums.get(passed + step - 1)
                && *sum <= left
            {
                left -= sum;
                passed += step;
            }
            step >>= 1;
        }
        self.get(passed)
    }

    /// Up to `n` distinct ones of them, each with the same chance.
    pub(crate) fn sample(&self, n: usize, rng: &mut RngStream) -> impl Iterator<Item = PeerId> {
        rng.distinct(self.len(), n).into_iter().filter_map(|at| self.get(at))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn id(n: u16) -> PeerId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        PeerId::from_bytes(bytes)
    }

    /// Compares the sums with the weights of a model.
    fn check_sums(pool: &Pool, model: &BTreeMap<PeerId, u32>) {
        assert_eq!(pool.len(), model.len());
        assert_eq!(pool.total, model.values().map(|w| u64::from(*w)).sum::<u64>());
        for (i, sum) in pool.sums.iter().enumerate() {
            let from = i + 1 - lowest_bit(i + 1);
            let expected: u64 = pool.members[from..=i].iter().map(|(_, w)| u64::from(*w)).sum();
            assert_eq!(*sum, expected, "at {i}");
        }
        assert!(pool.members.iter().all(|(id, w)| model.get(id) == Some(w)));
    }

    proptest! {
        #[test]
        fn sums_match_the_weights(
            steps in proptest::collection::vec((0u8..3, any::<u16>(), 0u32..9), 1..120),
        ) {
            let mut pool = Pool::default();
            let mut places: BTreeMap<PeerId, usize> = BTreeMap::new();
            let mut model = BTreeMap::new();
            for (n, (what, pick, weight)) in steps.into_iter().enumerate() {
                let chosen = pool.get(usize::from(pick) % pool.len().max(1));
                match (what, chosen) {
                    (0, Some(chosen)) => {
                        let at = places.remove(&chosen).unwrap();
                        if let Some(moved) = pool.remove(at) {
                            places.insert(moved, at);
                        }
                        model.remove(&chosen);
                    }
                    (1, Some(chosen)) => {
                        pool.set_weight(places[&chosen], weight);
                        model.insert(chosen, weight);
                    }
                    _ => {
                        let new = id(u16::try_from(n).unwrap());
                        places.insert(new, pool.push(new, weight));
                        model.insert(new, weight);
                    }
                }
                check_sums(&pool, &model);
            }
        }
    }

    #[test]
    fn draws_follow_the_weights() {
        let mut pool = Pool::default();
        for (n, weight) in [(0, 0), (1, 1), (2, 0), (3, 7), (4, 2)] {
            pool.push(id(n), weight);
        }
        let mut rng = RngStream::new(&[1; 32], "t");
        let mut drawn: BTreeMap<PeerId, u32> = BTreeMap::new();
        for id in pool.draw(10_000, &mut rng) {
            *drawn.entry(id).or_default() += 1;
        }
        assert_eq!(drawn.keys().copied().collect::<Vec<_>>(), [id(1), id(3), id(4)]);
        assert!((900..1_100).contains(&drawn[&id(1)]) && (6_800..7_200).contains(&drawn[&id(3)]));
        assert_eq!(Pool::default().draw(9, &mut rng).count(), 0);
    }

    #[test]
    fn sample_has_distinct_peers_and_each_as_often() {
        let mut pool = Pool::default();
        (0..40).for_each(|n| assert_eq!(pool.push(id(n), 0), usize::from(n)));
        let mut rng = RngStream::new(&[2; 32], "t");
        let mut drawn = [0; 40];
        for _ in 0..4_000 {
            let sample: Vec<PeerId> = pool.sample(10, &mut rng).collect();
            assert!(sample.len() == 10 && sample.is_sorted_by(|a, b| a < b), "distinct");
            sample.iter().for_each(|id| drawn[usize::from(id.as_bytes()[1])] += 1);
        }
        assert!(drawn.iter().all(|n| (850..1_150).contains(n)), "{drawn:?}");
        assert_eq!(pool.sample(99, &mut rng).count(), 40);
    }
}
