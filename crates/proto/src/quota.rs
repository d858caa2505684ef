//! How much one link may ask for.
//!
//! A short request can have a long answer. What a link asks is bounded by count, and what it is answered
//! by bytes: two token buckets, kept as the time at which each is full again (the generic cell rate
//! algorithm, ITU-T I.371). A request beyond them is refused, counted, and told of.

use core::time::Duration;

use crate::limits::{ANSWER_RATE, REQUEST_BURST, REQUEST_RATE};
use crate::time::Time;

/// How often excess on one link is told of.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What one link has asked for lately.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota {
    asked_until: Time,
    answered_until: Time,
    told: Option<Time>,
}

impl Quota {
    pub(crate) const fn new(now: Time) -> Self {
        Quota { asked_until: now, answered_until: now, told: None }
    }

    /// Takes one request in; `false` if there were too many.
    pub(crate) fn ask(&mut self, now: Time) -> bool {
        let each = Duration::from_micros(1_000_000 / u64::from(REQUEST_RATE));
        if self.asked_until.since(now) > each * REQUEST_BURST {
            return false;
        }
        self.asked_until = self.asked_until.max(now) + each;
        true
    }

    /// Whether it may be answered with more, where `burst` bytes may be asked for at once.
    pub(crate) fn has_bytes(&self, now: Time, burst: u64) -> bool {
        self.answered_until.since(now) <= time_for(burst)
    }

    /// It was answered with so many bytes.
    pub(crate) fn answered(&mut self, now: Time, bytes: usize) {
        self.answered_until = self.answered_until.max(now) + time_for(bytes as u64);
    }

    /// Whether excess is to be told of now.
    pub(crate) fn tell(&mut self, now: Time) -> bool {
        let due = self.told.is_none_or(|at| now >= at + TELL_EVERY);
        if due {
            self.told = Some(now);
        }
        due
    }
}

const fn time_for(bytes: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(1_000_000) / ANSWER_RATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_is_taken_at_once_and_the_rate_afterwards() {
        let mut q = Quota::new(Time::ZERO);
        let asked = |q: &mut Quota, now| (0..100_000).take_while(|_| q.ask(now)).count();
        let first = asked(&mut q, Time::ZERO);
        assert_eq!(first, REQUEST_BURST as usize + 1);
        assert_eq!(asked(&mut q, Time::ZERO), 0);
        let later = Time::ZERO + Duration::from_millis(500);
        assert_eq!(asked(&mut q, later), REQUEST_RATE as usize / 2);

        let burst = 1 << 20;
        assert!(q.has_bytes(later, burst));
        q.answered(later, 8 << 20);
        assert!(!q.has_bytes(later, burst));
        assert!(q.has_bytes(later + time_for(7 << 20), burst));
    }

    #[test]
    fn excess_is_told_of_now_and_then() {
        let mut q = Quota::new(Time::ZERO);
        assert!(q.tell(Time::ZERO) && !q.tell(Time::ZERO));
        assert!(q.tell(Time::ZERO + TELL_EVERY));
    }
}
