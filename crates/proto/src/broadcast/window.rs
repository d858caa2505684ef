//! The send window of a publisher: how many bytes may be in flight.
//!
//! The window bounds the bytes that are not acknowledged by the slowest part of the network that
//! keeps up. It grows with acknowledged bytes and is cut by a quarter when a queue on the path is
//! congested (additive increase, multiplicative decrease; Chiu and Jain 1989). So publishers share
//! the capacity of the network, and no queue overflows meanwhile.

use core::time::Duration;

use crate::time::Time;

/// The window at the start.
const INITIAL_WINDOW: u64 = 1024 * 1024;
/// A cut does not make the window smaller.
const MIN_WINDOW_AFTER_CUT: u64 = 256 * 1024;
/// The largest window. More bytes would only wait in another queue.
const MAX_WINDOW: u64 = 4 * 1024 * 1024;
/// The least bound. Acknowledgements are gathered until they are worth sending; with less in flight
/// a publisher would stand still until then.
const MIN_BOUND: u64 = 64 * 1024;
/// Growth for each window of acknowledged bytes.
const GROWTH_STEP: u64 = 64 * 1024;
/// Shortest time between two cuts: the effect of the first one must show.
const CUT_INTERVAL: Duration = Duration::from_millis(100);

/// The window of one publisher.
#[derive(Debug)]
pub(crate) struct Window {
    size: u64,
    /// No queue was congested yet: the window doubles with every window of acknowledged bytes.
    is_in_slow_start: bool,
    cut_after: Time,
    /// The publisher's share of the retention.
    bound: u64,
}

impl Window {
    pub(crate) const fn new() -> Self {
        Window {
            size: INITIAL_WINDOW,
            is_in_slow_start: true,
            cut_after: Time::ZERO,
            bound: MAX_WINDOW,
        }
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Bounds the window by a share of the retention, but not below [`MIN_BOUND`].
    pub(crate) fn set_bound(&mut self, share: u64) {
        self.bound = share.clamp(MIN_BOUND, MAX_WINDOW);
        self.size = self.size.min(self.bound);
    }

    /// Restarts the window after a pause, because the capacity of the network and the number of
    /// other publishers are not known any more: with no more than `share`.
    pub(crate) fn restart(&mut self, share: u64) {
        self.size = self.size.min(INITIAL_WINDOW).min(share.max(MIN_BOUND));
        self.is_in_slow_start = true;
    }

    /// Grows the window after bytes were acknowledged.
    pub(crate) fn on_acknowledged(&mut self, bytes: u64) {
        let more = if self.is_in_slow_start { bytes } else { bytes * GROWTH_STEP / self.size };
        self.size = (self.size + more).min(self.bound);
    }

    /// Cuts the window, because a queue on the path is congested.
    pub(crate) fn on_congestion(&mut self, now: Time) {
        self.is_in_slow_start = false;
        if now >= self.cut_after {
            self.cut_after = now + CUT_INTERVAL;
            self.size = (self.size / 4 * 3).max(MIN_WINDOW_AFTER_CUT).min(self.bound);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_stays_within_its_bound() {
        let mut window = Window::new();
        window.set_bound(INITIAL_WINDOW / 2);
        assert_eq!(window.size(), INITIAL_WINDOW / 2);
        window.on_acknowledged(INITIAL_WINDOW);
        window.on_congestion(Time::from_micros(1));
        assert_eq!(window.size(), INITIAL_WINDOW / 8 * 3);
        window.set_bound(1);
        assert_eq!(window.size(), MIN_BOUND);
        window.set_bound(u64::MAX);
        (0..1_000_000).for_each(|_| window.on_acknowledged(MIN_BOUND));
        assert_eq!(window.size(), MAX_WINDOW);
        window.restart(INITIAL_WINDOW / 4);
        assert_eq!(window.size(), INITIAL_WINDOW / 4, "after a pause");
        window.on_acknowledged(INITIAL_WINDOW / 4);
        assert_eq!(window.size(), INITIAL_WINDOW / 2, "it doubles after the restart");
    }

    #[test]
    fn window_is_cut_once_per_interval_and_grows_back_slowly() {
        let mut window = Window::new();
        window.on_acknowledged(INITIAL_WINDOW);
        assert_eq!(window.size(), 2 * INITIAL_WINDOW);
        window.on_congestion(Time::from_micros(1));
        window.on_congestion(Time::from_micros(2));
        assert_eq!(window.size(), INITIAL_WINDOW / 2 * 3);
        window.on_acknowledged(INITIAL_WINDOW / 2 * 3);
        assert_eq!(window.size(), INITIAL_WINDOW / 2 * 3 + GROWTH_STEP);
        for n in 1..100 {
            window.on_congestion(Time::ZERO + CUT_INTERVAL * (n + 1));
        }
        assert_eq!(window.size(), MIN_WINDOW_AFTER_CUT);
        for _ in 0..10_000 {
            window.on_acknowledged(MIN_WINDOW_AFTER_CUT);
        }
        assert_eq!(window.size(), MAX_WINDOW);
    }
}
