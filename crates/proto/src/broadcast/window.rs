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
/// To this it is cut at most.
const LEAST: u64 = 256 * 1024;
/// Largest window. One more batch would only wait in another queue.
const MOST: u64 = 4 * 1024 * 1024;
/// The bound is never under it: acknowledgements are gathered until they are worth sending, and
/// with less than that on its way a publisher would stand still until they are.
const LEAST_BOUND: u64 = 64 * 1024;
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
    /// What its share of the retention leaves it.
    bound: u64,
}

impl Window {
    pub(crate) const fn new() -> Self {
        Window { size: FIRST, growing: true, cut_after: Time::ZERO, bound: MOST }
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// It is never over this, but always a batch.
    pub(crate) fn bound(&mut self, share: u64) {
        self.bound = share.clamp(LEAST_BOUND, MOST);
        self.size = self.size.min(self.bound);
    }

    /// After a pause nothing is known of what the network carries, nor of who else begins: it begins
    /// again, with no more than `share`.
    pub(crate) fn begin(&mut self, share: u64) {
        self.size = self.size.min(FIRST).min(share.max(LEAST_BOUND));
        self.growing = true;
    }

    /// So many bytes were acknowledged.
    pub(crate) fn acknowledged(&mut self, bytes: u64) {
        let more = if self.growing { bytes } else { bytes * STEP / self.size };
        self.size = (self.size + more).min(self.bound);
    }

    /// A queue on the way fills.
    pub(crate) fn congested(&mut self, now: Time) {
        self.growing = false;
        if now >= self.cut_after {
            self.cut_after = now + CUT_EVERY;
            self.size = (self.size / 4 * 3).max(LEAST).min(self.bound);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_to_its_share() {
        let mut w = Window::new();
        w.bound(FIRST / 2);
        assert_eq!(w.size(), FIRST / 2);
        w.acknowledged(FIRST);
        w.congested(Time::from_micros(1));
        assert_eq!(w.size(), FIRST / 8 * 3);
        w.bound(1);
        assert_eq!(w.size(), LEAST_BOUND);
        w.bound(u64::MAX);
        (0..1_000_000).for_each(|_| w.acknowledged(LEAST_BOUND));
        assert_eq!(w.size(), MOST);
        w.begin(FIRST / 4);
        assert_eq!(w.size(), FIRST / 4, "after a pause");
        w.acknowledged(FIRST / 4);
        assert_eq!(w.size(), FIRST / 2, "it doubles again");
    }

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
