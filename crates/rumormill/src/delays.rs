//! Delays of messages from their publisher to this node.

use core::time::Duration;

use crate::counters::Counter;

/// Upper bounds of the buckets, in microseconds: from a message that stays on one host to a message
/// that waited for the end of a partition.
const BUCKET_BOUNDS: [u64; 14] = [
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

/// A histogram that many tasks add to.
#[derive(Debug, Default)]
pub(crate) struct DelayRecorder {
    buckets: [Counter; BUCKET_BOUNDS.len() + 1],
    sum_us: Counter,
}

impl DelayRecorder {
    /// Counts `messages` that each took `delay`.
    pub(crate) fn add(&self, delay: Duration, messages: u64) {
        let us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        let index = BUCKET_BOUNDS.partition_point(|bound| *bound < us);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.add(messages);
        }
        self.sum_us.add(us.saturating_mul(messages));
    }

    pub(crate) fn snapshot(&self) -> DelayHistogram {
        let bounds = BUCKET_BOUNDS.map(Duration::from_micros).map(Some).into_iter().chain([None]);
        DelayHistogram {
            buckets: bounds.zip(self.buckets.iter().map(Counter::get)).collect(),
            sum: Duration::from_micros(self.sum_us.get()),
        }
    }
}

/// Delays from the publisher of a message to its delivery on this node, since the node started, for
/// messages of other publishers.
///
/// A delay compares the publisher's wall clock with the wall clock of this host, so it is only as
/// accurate as the two clocks agree. A negative difference counts as 0. All messages of a batch
/// count with the time of its first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayHistogram {
    /// Messages by delay: at most the bound, and above the previous one; the last bucket has no
    /// bound.
    pub buckets: Vec<(Option<Duration>, u64)>,
    /// The sum of all delays.
    pub sum: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_is_counted_in_first_bucket_with_bound_not_below_it() {
        let t = DelayRecorder::default();
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
