//! Delays: of every delivery, and of the last delivery of a message.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use hdrhistogram::{CreationError, Histogram};
use serde::Serialize;

use super::stamp::Stamp;

/// Longest delay that the histogram distinguishes: two minutes, in nanoseconds.
const MAX_DELAY_NS: u64 = 120_000_000_000;
/// Messages of one publisher that are tracked to their last delivery at once; a power of two. A
/// message that is still in flight when its slot is needed is no longer tracked.
const MAX_TRACKED: u64 = 16_384;

/// Delays in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub(crate) struct Delays {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Delays {
    /// The quantiles of a histogram; `None` if it is empty.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        #[allow(clippy::cast_precision_loss)] // Two minutes are 1.2e11.
        let ms = |ns: u64| (ns as f64 / 1e3).round() / 1e3;
        let at = |quantile| ms(histogram.value_at_quantile(quantile));
        (!histogram.is_empty()).then(|| Delays {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: ms(histogram.max()),
        })
    }
}

/// The delays of the deliveries at one node. Each node has its own, so that nodes share no lock.
#[derive(Debug)]
pub(crate) struct NodeDelays {
    /// The delay of each delivery.
    pub(crate) each: Histogram<u64>,
    /// The delay of the last delivery of a message, if this node made it.
    pub(crate) last: Histogram<u64>,
}

impl NodeDelays {
    pub(crate) fn new() -> Result<Self, CreationError> {
        // Three significant digits.
        let histogram = || Histogram::new_with_bounds(1000, MAX_DELAY_NS, 3);
        Ok(NodeDelays { each: histogram()?, last: histogram()? })
    }

    /// Adds the delays of another node, whose histograms have the same bounds.
    pub(crate) fn add(&mut self, other: &NodeDelays) {
        let _ = self.each.add(&other.each);
        let _ = self.last.add(&other.last);
    }
}

/// A message in flight.
#[derive(Debug, Default)]
struct TrackedMessage {
    /// Its number plus 1; 0 in an unused slot.
    number: AtomicU64,
    missing: AtomicU32,
    last: AtomicU64,
}

/// The messages in flight, shared by all nodes.
#[derive(Debug)]
pub(crate) struct DelayTracker {
    receivers: u32,
    /// One of this many messages is timed.
    one_in: u64,
    publishers: Vec<Vec<TrackedMessage>>,
}

impl DelayTracker {
    /// A tracker for the messages of a number of publishers; `receivers` nodes receive each
    /// message.
    pub(crate) fn new(publishers: usize, receivers: usize, one_in: u64) -> Self {
        let slots = |_| (0..MAX_TRACKED).map(|_| TrackedMessage::default()).collect();
        DelayTracker {
            receivers: u32::try_from(receivers).unwrap_or(u32::MAX),
            one_in: one_in.max(1),
            publishers: (0..publishers).map(slots).collect(),
        }
    }

    /// Whether a message with this number is timed.
    pub(crate) const fn is_timed(&self, number: u64) -> bool {
        number.is_multiple_of(self.one_in)
    }

    fn slot(&self, publisher: u32, number: u64) -> Option<&TrackedMessage> {
        if !self.is_timed(number) {
            return None;
        }
        let index = usize::try_from(number / self.one_in % MAX_TRACKED).ok()?;
        self.publishers.get(usize::try_from(publisher).ok()?)?.get(index)
    }

    /// Begins to track a message, right before it is published.
    pub(crate) fn begin(&self, publisher: u32, number: u64) {
        if let Some(slot) = self.slot(publisher, number) {
            // A reader uses the other fields only after it has read this number.
            slot.last.store(0, Ordering::Relaxed);
            slot.missing.store(self.receivers, Ordering::Relaxed);
            slot.number.store(number + 1, Ordering::Release);
        }
    }

    /// Records a delivery.
    pub(crate) fn record_arrival(&self, stamp: &Stamp, now: u64, delays: &mut NodeDelays) {
        let delay = now.saturating_sub(stamp.sent);
        delays.each.saturating_record(delay);
        let Some(slot) = self.slot(stamp.publisher, stamp.number) else { return };
        if slot.number.load(Ordering::Acquire) != stamp.number + 1 {
            return;
        }
        let last = slot.last.fetch_max(delay, Ordering::AcqRel).max(delay);
        if slot.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            delays.last.saturating_record(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(number: u64) -> Stamp {
        Stamp { phase: 1, publisher: 0, number, sent: 1_000_000 }
    }

    #[test]
    fn last_delivery_has_the_longest_delay() {
        let tracker = DelayTracker::new(1, 3, 1);
        let (mut a, mut b) = (NodeDelays::new().unwrap(), NodeDelays::new().unwrap());
        tracker.begin(0, 0);
        tracker.record_arrival(&stamp(0), 4_000_000, &mut a);
        tracker.record_arrival(&stamp(0), 6_000_000, &mut b);
        assert_eq!(b.last.len(), 0);
        tracker.record_arrival(&stamp(0), 3_000_000, &mut a);
        a.add(&b);
        let (each, last) = (Delays::of(&a.each).unwrap(), Delays::of(&a.last).unwrap());
        assert!((each.p50 - 3.0).abs() < 0.01 && (each.max - 5.0).abs() < 0.01, "{each:?}");
        assert_eq!(a.last.len(), 1);
        assert!((last.p50 - 5.0).abs() < 0.01, "{last:?}");
    }

    #[test]
    fn message_whose_slot_is_reused_is_no_longer_tracked() {
        let tracker = DelayTracker::new(1, 1, 2);
        let mut delays = NodeDelays::new().unwrap();
        tracker.begin(0, 0);
        tracker.begin(0, 2 * MAX_TRACKED);
        tracker.record_arrival(&stamp(0), 2_000_000, &mut delays);
        assert_eq!(delays.last.len(), 0);
        tracker.record_arrival(&stamp(1), 2_000_000, &mut delays);
        tracker.record_arrival(&stamp(2 * MAX_TRACKED), 2_000_000, &mut delays);
        assert_eq!((delays.each.len(), delays.last.len()), (3, 1));
    }

    #[test]
    fn empty_histogram_has_no_quantiles() {
        assert_eq!(Delays::of(&NodeDelays::new().unwrap().each), None);
    }
}
