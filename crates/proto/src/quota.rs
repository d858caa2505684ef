//! The request quota of one link.
//!
//! A short request can have a long answer. The requests of a link are bounded by count, and the
//! answers by bytes: two token buckets, kept as the time at which each is full again (the generic
//! cell rate algorithm, ITU-T I.371). A request beyond them is refused, counted, and reported.

use core::time::Duration;

use crate::limits::{ANSWER_RATE, REQUEST_BURST, REQUEST_RATE};
use crate::time::Time;

/// How often excess on one link is reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The recent requests of one link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota {
    requests_until: Time,
    bytes_until: Time,
    reported_at: Option<Time>,
}

impl Quota {
    pub(crate) const fn new(now: Time) -> Self {
        Quota { requests_until: now, bytes_until: now, reported_at: None }
    }

    /// Takes one request; `false` if there are too many.
    pub(crate) fn take_request(&mut self, now: Time) -> bool {
        let each = Duration::from_micros(1_000_000 / u64::from(REQUEST_RATE));
        if self.requests_until.since(now) > each * REQUEST_BURST {
            return false;
        }
        self.requests_until = self.requests_until.max(now) + each;
        true
    }

    /// Whether more bytes may be sent as answers, where `burst` bytes are allowed at once.
    pub(crate) fn has_bytes(&self, now: Time, burst: u64) -> bool {
        self.bytes_until.since(now) <= time_for(burst)
    }

    /// Records the bytes of an answer.
    pub(crate) fn record_answer(&mut self, now: Time, bytes: usize) {
        self.bytes_until = self.bytes_until.max(now) + time_for(bytes as u64);
    }

    /// Whether excess is to be reported now.
    pub(crate) fn report_due(&mut self, now: Time) -> bool {
        let due = self.reported_at.is_none_or(|at| now >= at + REPORT_INTERVAL);
        if due {
            self.reported_at = Some(now);
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
    fn burst_is_accepted_at_once_and_the_rate_afterwards() {
        let mut q = Quota::new(Time::ZERO);
        let taken = |q: &mut Quota, now| (0..100_000).take_while(|_| q.take_request(now)).count();
        let first = taken(&mut q, Time::ZERO);
        assert_eq!(first, REQUEST_BURST as usize + 1);
        assert_eq!(taken(&mut q, Time::ZERO), 0);
        let later = Time::ZERO + Duration::from_millis(500);
        assert_eq!(taken(&mut q, later), REQUEST_RATE as usize / 2);

        let burst = 1 << 20;
        assert!(q.has_bytes(later, burst));
        q.record_answer(later, 8 << 20);
        assert!(!q.has_bytes(later, burst));
        assert!(q.has_bytes(later + time_for(7 << 20), burst));
    }

    #[test]
    fn excess_is_reported_at_intervals() {
        let mut q = Quota::new(Time::ZERO);
        assert!(q.report_due(Time::ZERO) && !q.report_due(Time::ZERO));
        assert!(q.report_due(Time::ZERO + REPORT_INTERVAL));
    }
}
