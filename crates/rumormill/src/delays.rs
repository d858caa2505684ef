//! How long messages took from their publisher to here.

use core::time::Duration;

use crate::counters::Count;

/// Upper bounds of the buckets, in microseconds: from a message inside one host to one that waited for
/// a partition to end.
const BOUNDS: [u64; 14] = [
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    1_000_000,
    5_000_000,
    30_000_000,
    120_000_000,
];

/// Many tasks add to it.
#[derive(Debug, Default)]
pub(crate) struct DelayTally {
    buckets: [Count; BOUNDS.len() + 1],
    sum_us: Count,
}

impl DelayTally {
    /// So many messages took so long.
    pub(crate) fn add(&self, delay: Duration, messages: u64) {
        let us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS.partition_point(|bound| *bound < us);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.add(messages);
        }
        self.sum_us.add(us.saturating_mul(messages));
    }

    pub(crate) fn snapshot(&self) -> DelayHistogram {
        let bounds = BOUNDS.map(Duration::from_micros).map(Some).into_iter().chain([None]);
        DelayHistogram {
            buckets: bounds.zip(self.buckets.iter().map(Count::get)).collect(),
            sum: Duration::from_micros(self.sum_us.get()),
        }
    }
}

/// How long messages of others took from their publisher to the delivery here, since the node started: by the
/// publisher's clock and this host's, so it is as good as they agree. Where this host's is behind, 0.
///
/// The messages of one batch count with the time of its first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayHistogram {
    /// Messages by how long they took: up to the bound, above the one before; the last bucket has none.
    pub buckets: Vec<(Option<Duration>, u64)>,
    /// All delays together.
    pub sum: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_in_the_first_bucket_that_it_does_not_exceed() {
        let t = DelayTally::default();
        t.add(Duration::ZERO, 1);
        t.add(Duration::from_micros(250), 2);
        t.add(Duration::from_micros(251), 4);
        t.add(Duration::from_secs(500), 8);
        let h = t.snapshot();
        let counts: Vec<u64> = h.buckets.iter().map(|b| b.1).collect();
        assert_eq!((counts[0], counts[1], counts[14]), (3, 4, 8));
        assert_eq!(counts.iter().sum::<u64>(), 15);
        assert_eq!(h.buckets[1].0, Some(Duration::from_micros(500)));
        assert_eq!(h.sum, Duration::from_micros(2 * 250 + 4 * 251 + 8 * 500_000_000));
    }
}
