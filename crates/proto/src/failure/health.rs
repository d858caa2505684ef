//! How far this node trusts its own view: Lifeguard's local health multiplier (Dadgar, Phillips,
//! Currey 2018, section IV.A).

use core::time::Duration;

use crate::time::Time;

/// The highest score.
const MAX_SCORE: u32 = 7;

/// The score of this node: 0 when all is well, higher after each sign that this node or its own
/// link, not its neighbours, is late. It falls by one in every interval with timely answers. A seed
/// counts accused peers whose answers were nearly too late.
#[derive(Debug)]
pub(crate) struct Health {
    score: u32,
    changed_at: Time,
    had_timely_answer: bool,
}

impl Health {
    /// The highest value of [`Health::burst_factor`].
    pub(crate) const MAX_BURST_FACTOR: u32 = 1 + MAX_SCORE / 2;

    pub(crate) const fn new(now: Time) -> Self {
        Health { score: 0, changed_at: now, had_timely_answer: false }
    }

    /// The factor for answer timeouts: 1 to 8.
    pub(crate) const fn timeout_factor(&self) -> u32 {
        1 + self.score
    }

    /// The factor for the length of a probe burst: 1 to 4.
    pub(crate) const fn burst_factor(&self) -> u32 {
        1 + self.score / 2
    }

    /// Records that this node was late, was accused itself, or that its link is congested. Counts
    /// once per `interval`. Returns whether the score has changed.
    pub(crate) fn record_trouble(&mut self, now: Time, interval: Duration) -> bool {
        self.had_timely_answer = false;
        if self.score >= MAX_SCORE || (self.score > 0 && now.since(self.changed_at) < interval) {
            return false;
        }
        self.score += 1;
        self.changed_at = now;
        true
    }

    /// Records that a neighbour has answered in time.
    pub(crate) const fn record_timely_answer(&mut self) {
        self.had_timely_answer = true;
    }

    /// Lowers the score after an interval with timely answers. Returns whether it has changed.
    pub(crate) fn recover(&mut self, now: Time, interval: Duration) -> bool {
        if self.score == 0 || !self.had_timely_answer || now.since(self.changed_at) < interval {
            return false;
        }
        self.score -= 1;
        self.changed_at = now;
        self.had_timely_answer = false;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn score_rises_with_trouble_and_falls_with_timely_answers() {
        let at = |ms: u64| Time::from_micros(ms * 1000);
        let interval = Duration::from_millis(500);
        let mut h = Health::new(at(0));
        assert_eq!((h.timeout_factor(), h.burst_factor()), (1, 1));
        assert!(h.record_trouble(at(1), interval));
        assert!(!h.record_trouble(at(2), interval), "one cause shows in many places");
        for n in 1..20 {
            h.record_trouble(at(1 + 500 * n), interval);
        }
        assert_eq!((h.timeout_factor(), h.burst_factor()), (8, 4), "bounded");
        assert!(!h.recover(at(100_000), interval), "no answer in time");
        for n in 0..7 {
            h.record_timely_answer();
            assert!(h.recover(at(100_000 + 500 * n), interval));
        }
        assert_eq!((h.timeout_factor(), h.burst_factor()), (1, 1));
        assert!(!h.recover(at(200_000), interval));
    }
}
