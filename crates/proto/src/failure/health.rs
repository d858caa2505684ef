//! How far this node trusts its own view of others: Lifeguard's local health multiplier (Dadgar,
//! Phillips, Currey 2018, section IV.A).

use core::time::Duration;

use crate::time::Time;

/// The highest score.
const MAX_SCORE: u32 = 7;

/// The score of this node: 0 when all is well, higher after each sign that this node or its own link,
/// not its neighbours, is late. It falls again by one in every interval with timely answers. A seed
/// counts accused peers whose answers nearly came too late.
#[derive(Debug)]
pub(crate) struct Health {
    score: u32,
    changed: Time,
    had_timely_answer: bool,
}

impl Health {
    /// The most that [`Health::burst_patience`] says.
    pub(crate) const MOST_BURST_PATIENCE: u32 = 1 + MAX_SCORE / 2;

    pub(crate) const fn new(now: Time) -> Self {
        Health { score: 0, changed: now, had_timely_answer: false }
    }

    /// How many times as long as configured an answer may take: 1 to 8.
    pub(crate) const fn patience(&self) -> u32 {
        1 + self.score
    }

    /// How many times as long as configured a probe burst takes: 1 to 4.
    pub(crate) const fn burst_patience(&self) -> u32 {
        1 + self.score / 2
    }

    /// This node was late, was accused itself, or its link is congested. Counts once in `interval`.
    /// Says whether the score has changed.
    pub(crate) fn suffer(&mut self, now: Time, interval: Duration) -> bool {
        self.had_timely_answer = false;
        if self.score >= MAX_SCORE || (self.score > 0 && now.since(self.changed) < interval) {
            return false;
        }
        self.score += 1;
        self.changed = now;
        true
    }

    /// A neighbour has answered in time.
    pub(crate) const fn answered_in_time(&mut self) {
        self.had_timely_answer = true;
    }

    /// Recovers, if an interval has passed in which answers came in time. Says whether the score has
    /// changed.
    pub(crate) fn recover(&mut self, now: Time, interval: Duration) -> bool {
        if self.score == 0 || !self.had_timely_answer || now.since(self.changed) < interval {
            return false;
        }
        self.score -= 1;
        self.changed = now;
        self.had_timely_answer = false;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_rises_with_trouble_and_falls_with_timely_answers() {
        let at = |ms: u64| Time::from_micros(ms * 1000);
        let interval = Duration::from_millis(500);
        let mut h = Health::new(at(0));
        assert_eq!((h.patience(), h.burst_patience()), (1, 1));
        assert!(h.suffer(at(1), interval));
        assert!(!h.suffer(at(2), interval), "one cause shows in many places");
        for n in 1..20 {
            h.suffer(at(1 + 500 * n), interval);
        }
        assert_eq!((h.patience(), h.burst_patience()), (8, 4), "bounded");
        assert!(!h.recover(at(100_000), interval), "no answer came in time");
        for n in 0..7 {
            h.answered_in_time();
            assert!(h.recover(at(100_000 + 500 * n), interval));
        }
        assert_eq!((h.patience(), h.burst_patience()), (1, 1));
        assert!(!h.recover(at(200_000), interval));
    }
}
