//! How much a publisher may have on its way.
//!
//! The bytes that are not acknowledged by the slowest part of the network that keeps up are held
//! under a window. It grows with what is acknowledged and is cut by a quarter when a queue on
//! the way fills (additive increase, multiplicative decrease; Chiu and Jain 1989), so that publishers share what
//! the network can carry, and nothing overflows while they do.

use core::time::Duration;

use crate::time::Time;

/// Window at first.
const FIRST: u64 = 1024 * 1024;
/// Smallest window: below it, acknowledgements that are gathered would stop the publisher.
const LEAST: u64 = 256 * 1024;
/// Largest window. One more batch would only wait in another queue.
const MOST: u64 = 4 * 1024 * 1024;
/// What a window of acknowledged bytes adds.
const STEP: u64 = 64 * 1024;
/// Shortest time between two cuts: the first one must be able to show.
const CUT_EVERY: Duration = Duration::from_millis(100);

/// The window of one publisher.
#[derive(Debug)]
pub(crate) struct Window {
    size: u64,
    /// No queue has filled yet: it doubles with every window acknowledged.
    growing: bool,
    cut_after: Time,
}

impl Window {
    pub(crate) const fn new() -> Self {
        Window { size: FIRST, growing: true, cut_after: Time::ZERO }
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// So many bytes were acknowledged.
    pub(crate) fn acknowledged(&mut self, bytes: u64) {
        let more = if self.growing { bytes } else { bytes * STEP / self.size };
        self.size = (self.size + more).min(MOST);
    }

    /// A queue on the way fills.
    pub(crate) fn congested(&mut self, now: Time) {
        self.growing = false;
        if now >= self.cut_after {
            self.cut_after = now + CUT_EVERY;
            self.size = (self.size / 4 * 3).max(LEAST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_cut_once_a_round_and_grows_back_slowly() {
        let mut w = Window::new();
        w.acknowledged(FIRST);
        assert_eq!(w.size(), 2 * FIRST);
        w.congested(Time::from_micros(1));
        w.congested(Time::from_micros(2));
        assert_eq!(w.size(), FIRST / 2 * 3);
        w.acknowledged(FIRST / 2 * 3);
        assert_eq!(w.size(), FIRST / 2 * 3 + STEP);
        for n in 1..100 {
            w.congested(Time::ZERO + CUT_EVERY * (n + 1));
        }
        assert_eq!(w.size(), LEAST);
        for _ in 0..10_000 {
            w.acknowledged(LEAST);
        }
        assert_eq!(w.size(), MOST);
    }
}
