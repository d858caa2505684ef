//! The protocol's time (monotonic, from the start of the node) and the wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rumormill_proto::{Time, WallTime};
use tokio::time::Instant;

/// How often the core receives the wall clock.
const WALL_CLOCK_INTERVAL: Duration = Duration::from_secs(60);
/// A difference from the expected reading that counts as a jump of the wall clock.
const WALL_CLOCK_JUMP_MICROS: u64 = 250_000;

/// The wall clock now; 1970 if it is set before that.
pub(crate) fn wall_clock() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// The protocol's time: the time since the start of the node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Clock { start: Instant::now() }
    }

    /// The protocol's time.
    pub(crate) fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    /// When a point of the protocol's time is. The timer has a resolution of a millisecond and
    /// rounds up, so it never fires early.
    pub(crate) fn instant(&self, t: Time) -> Instant {
        // Far in the future is as good as never, and does not overflow.
        let micros = t.as_micros().min(u64::MAX / 1_000_000);
        self.start.checked_add(Duration::from_micros(micros)).unwrap_or(self.start)
    }
}

/// Decides when the core needs a new reading of the wall clock.
#[derive(Debug, Default)]
pub(crate) struct WallClockMonitor {
    /// The last reading that was reported, and when.
    last: Option<(Instant, WallTime)>,
}

impl WallClockMonitor {
    /// The wall clock, if a minute has passed since the last report or if the clock jumped.
    pub(crate) fn reading_if_due(&mut self) -> Option<WallTime> {
        self.due(Instant::now(), wall_clock())
    }

    fn due(&mut self, now: Instant, reading: WallTime) -> Option<WallTime> {
        if let Some((at, last)) = self.last {
            let passed = now.saturating_duration_since(at);
            let expected = last.0.saturating_add(passed.as_micros().try_into().unwrap_or(0));
            if passed < WALL_CLOCK_INTERVAL && expected.abs_diff(reading.0) < WALL_CLOCK_JUMP_MICROS
            {
                return None;
            }
        }
        self.last = Some((now, reading));
        Some(reading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_clock_is_reported_at_start_every_minute_and_after_a_jump() {
        let mut c = WallClockMonitor::default();
        let t = Instant::now();
        let s = Duration::from_secs;
        assert!(c.due(t, WallTime(1_000_000_000)).is_some());
        assert!(c.due(t + s(1), WallTime(1_001_000_000)).is_none());
        assert!(c.due(t + s(60), WallTime(1_060_000_000)).is_some());
        assert!(c.due(t + s(61), WallTime(1_061_300_000)).is_some(), "a jump forwards");
        assert!(c.due(t + s(62), WallTime(1_000_000_000)).is_some(), "a jump backwards");
    }
}
