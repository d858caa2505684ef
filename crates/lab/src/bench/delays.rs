//! Delays: of every delivery, and of the last delivery of a message.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use hdrhistogram::{CreationError, Histogram};
use serde::Serialize;

use super::stamp::Stamp;

/// Longest delay that is told apart from longer ones: two minutes, in nanoseconds.
const LONGEST: u64 = 120_000_000_000;
/// Messages of one publisher that are followed to their last delivery at once; a power of two.
/// One that is still on its way when its place is needed is not followed further.
const FOLLOWED: u64 = 16_384;

/// Delays in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub(crate) struct Delays {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Delays {
    /// `None` where nothing was measured.
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

/// The delays that one node saw, so that nodes do not share a lock.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Of each delivery.
    pub(crate) each: Histogram<u64>,
    /// Of the last delivery of a message, where that was this node's.
    pub(crate) last: Histogram<u64>,
}

impl Seen {
    pub(crate) fn new() -> Result<Self, CreationError> {
        // Three significant digits.
        let histogram = || Histogram::new_with_bounds(1000, LONGEST, 3);
        Ok(Seen { each: histogram()?, last: histogram()? })
    }

    /// Puts two together, which have the same bounds.
    pub(crate) fn add(&mut self, other: &Seen) {
        let _ = self.each.add(&other.each);
        let _ = self.last.add(&other.last);
    }
}

/// A message on its way.
#[derive(Debug, Default)]
struct Way {
    /// Its number and 1, so that an unused place is nobody's.
    number: AtomicU64,
    missing: AtomicU32,
    last: AtomicU64,
}

/// The messages that are on their way, shared by all nodes.
#[derive(Debug)]
pub(crate) struct Ways {
    receivers: u32,
    /// One message in so many is timed.
    one_in: u64,
    publishers: Vec<Vec<Way>>,
}

impl Ways {
    /// For messages of so many publishers that so many nodes receive each.
    pub(crate) fn new(publishers: usize, receivers: usize, one_in: u64) -> Self {
        let ways = |_| (0..FOLLOWED).map(|_| Way::default()).collect();
        Ways {
            receivers: u32::try_from(receivers).unwrap_or(u32::MAX),
            one_in: one_in.max(1),
            publishers: (0..publishers).map(ways).collect(),
        }
    }

    /// Whether a message with this number is timed.
    pub(crate) const fn times(&self, number: u64) -> bool {
        number.is_multiple_of(self.one_in)
    }

    fn way(&self, publisher: u32, number: u64) -> Option<&Way> {
        if !self.times(number) {
            return None;
        }
        let place = usize::try_from(number / self.one_in % FOLLOWED).ok()?;
        self.publishers.get(usize::try_from(publisher).ok()?)?.get(place)
    }

    /// A message is about to be published.
    pub(crate) fn begin(&self, publisher: u32, number: u64) {
        if let Some(way) = self.way(publisher, number) {
            // No reader believes the rest before it has seen the number.
            way.last.store(0, Ordering::Relaxed);
            way.missing.store(self.receivers, Ordering::Relaxed);
            way.number.store(number + 1, Ordering::Release);
        }
    }

    /// A node has got a message.
    pub(crate) fn arrived(&self, stamp: &Stamp, now: u64, seen: &mut Seen) {
        let delay = now.saturating_sub(stamp.sent);
        seen.each.saturating_record(delay);
        let Some(way) = self.way(stamp.publisher, stamp.number) else { return };
        if way.number.load(Ordering::Acquire) != stamp.number + 1 {
            return;
        }
        let last = way.last.fetch_max(delay, Ordering::AcqRel).max(delay);
        if way.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            seen.last.saturating_record(last);
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
    fn the_last_delivery_is_the_slowest() {
        let ways = Ways::new(1, 3, 1);
        let (mut a, mut b) = (Seen::new().unwrap(), Seen::new().unwrap());
        ways.begin(0, 0);
        ways.arrived(&stamp(0), 4_000_000, &mut a);
        ways.arrived(&stamp(0), 6_000_000, &mut b);
        assert_eq!(b.last.len(), 0);
        ways.arrived(&stamp(0), 3_000_000, &mut a);
        a.add(&b);
        let (each, last) = (Delays::of(&a.each).unwrap(), Delays::of(&a.last).unwrap());
        assert!((each.p50 - 3.0).abs() < 0.01 && (each.max - 5.0).abs() < 0.01, "{each:?}");
        assert_eq!(a.last.len(), 1);
        assert!((last.p50 - 5.0).abs() < 0.01, "{last:?}");
    }

    #[test]
    fn a_message_whose_place_is_taken_is_let_go() {
        let ways = Ways::new(1, 1, 2);
        let mut seen = Seen::new().unwrap();
        ways.begin(0, 0);
        ways.begin(0, 2 * FOLLOWED);
        ways.arrived(&stamp(0), 2_000_000, &mut seen);
        assert_eq!(seen.last.len(), 0);
        ways.arrived(&stamp(1), 2_000_000, &mut seen);
        ways.arrived(&stamp(2 * FOLLOWED), 2_000_000, &mut seen);
        assert_eq!((seen.each.len(), seen.last.len()), (3, 1));
    }

    #[test]
    fn nothing_measured_is_no_figure() {
        assert_eq!(Delays::of(&Seen::new().unwrap().each), None);
    }
}
