//! Which other publishers are active now: they share the space that retention has.
//!
//! Messages in flight have to be retained until the peers that miss some of them have pulled them.
//! One window per publisher does not bound that: many publishers together would evict from all
//! nodes messages that some peer still needs. So each publisher divides half of the retention by
//! the number of active publishers that it sees. No node has to be asked: all of them see nearly
//! the same number, because all batches reach all nodes.

use core::time::Duration;

use crate::identity::PeerId;
use crate::limits::{MAX_ACK_STREAMS, MAX_BATCH};
use crate::small::VecMap;
use crate::time::Time;

/// A publisher counts while it has published [`BUSY_BYTES`] in this period and the one before.
/// Together they are longer than a publisher waits for any peer, because a publisher that waits
/// publishes nothing.
const ACTIVITY_PERIOD: Duration = Duration::from_secs(10);
/// Publishers with less than a batch need no share.
const BUSY_BYTES: u64 = MAX_BATCH as u64;
/// This part of the retention may be in flight in all: the other half is for messages that were in
/// flight and are being pulled.
const IN_FLIGHT_DIVISOR: u64 = 2;

/// The publishers that were active lately.
#[derive(Debug, Default)]
pub(crate) struct ActivePublishers {
    /// Bytes in this period, and in the one before.
    publishers: VecMap<PeerId, (u64, u64)>,
    period_start: Time,
    /// Number of publishers with [`BUSY_BYTES`].
    busy_publishers: u64,
}

impl ActivePublishers {
    /// Records a batch of a publisher. `false` if there are too many publishers to count another
    /// one.
    pub(crate) fn record_batch(&mut self, publisher: PeerId, bytes: u64, now: Time) -> bool {
        self.roll_period(now);
        if self.publishers.len() >= MAX_ACK_STREAMS && !self.publishers.contains_key(&publisher) {
            return false;
        }
        let (current, before) = self.publishers.get_or_insert(publisher, <(u64, u64)>::default);
        let was_busy = *current + *before >= BUSY_BYTES;
        *current = current.saturating_add(bytes);
        self.busy_publishers += u64::from(!was_busy && *current + *before >= BUSY_BYTES);
        true
    }

    fn roll_period(&mut self, now: Time) {
        let passed = now.since(self.period_start);
        if passed < ACTIVITY_PERIOD {
            return;
        }
        let recent = passed < ACTIVITY_PERIOD * 2;
        self.period_start = now;
        for bytes in self.publishers.values_mut() {
            *bytes = (0, if recent { bytes.0 } else { 0 });
        }
        self.publishers.retain(|_, bytes| bytes.1 > 0);
        self.busy_publishers =
            self.publishers.values().filter(|bytes| bytes.1 >= BUSY_BYTES).count() as u64;
    }

    /// Bytes that one publisher may have in flight, with this node counted among the publishers.
    pub(crate) fn retention_share(&mut self, me: &PeerId, retention: u64, now: Time) -> u64 {
        self.roll_period(now);
        let counted = self.publishers.get(me).is_some_and(|bytes| bytes.0 + bytes.1 >= BUSY_BYTES);
        retention / IN_FLIGHT_DIVISOR / (self.busy_publishers + u64::from(!counted)).max(1)
    }

    /// Bytes that a publisher may have in flight before it has seen the others: as if all members
    /// published.
    pub(crate) fn initial_share(&self, retention: u64, members: usize) -> u64 {
        retention / IN_FLIGHT_DIVISOR / (members as u64).max(1)
    }

    /// Whether a publisher has published anything lately.
    pub(crate) fn has_published_lately(&mut self, publisher: &PeerId, now: Time) -> bool {
        self.roll_period(now);
        self.publishers.contains_key(publisher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: PeerId = PeerId::from_bytes([0; 32]);
    const MIB: u64 = 1 << 20;

    fn at(s: u64) -> Time {
        Time::from_micros(s * 1_000_000)
    }

    #[test]
    fn half_of_the_retention_is_shared_by_busy_publishers() {
        let mut active = ActivePublishers::default();
        assert_eq!(active.retention_share(&ME, 16 * MIB, at(1)), 8 * MIB, "alone");
        for n in 1..8 {
            active.record_batch(PeerId::from_bytes([n; 32]), MIB, at(1));
            active.record_batch(PeerId::from_bytes([n + 100; 32]), 100, at(1));
        }
        assert_eq!(active.retention_share(&ME, 16 * MIB, at(1)), MIB, "with seven others");
        active.record_batch(ME, MIB, at(1));
        assert_eq!(active.retention_share(&ME, 16 * MIB, at(1)), MIB, "and counted once");
        assert_eq!(active.retention_share(&ME, 16 * MIB, at(11)), MIB, "while they wait");
        assert_eq!(active.retention_share(&ME, 16 * MIB, at(21)), 8 * MIB, "not for ever");
        assert!(!active.has_published_lately(&ME, at(21)));
    }

    #[test]
    fn shares_of_all_publishers_stay_within_half_of_the_retention() {
        for n in 1..=100u8 {
            let mut all: Vec<ActivePublishers> =
                (0..n).map(|_| ActivePublishers::default()).collect();
            let mut sum = 0;
            for (k, active) in all.iter_mut().enumerate() {
                (0..n).for_each(|m| {
                    assert!(active.record_batch(PeerId::from_bytes([m; 32]), MIB, at(1)));
                });
                sum += active.retention_share(&PeerId::from_bytes([k as u8; 32]), 16 * MIB, at(1));
            }
            assert!(sum <= 8 * MIB && sum > 7 * MIB, "{n}: {sum}");
        }
    }

    #[test]
    fn the_number_of_publishers_followed_is_bounded() {
        let mut active = ActivePublishers::default();
        for n in 0..2 * MAX_ACK_STREAMS {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            assert_eq!(
                active.record_batch(PeerId::from_bytes(id), MIB, at(1)),
                n < MAX_ACK_STREAMS
            );
        }
        assert_eq!(active.publishers.len(), MAX_ACK_STREAMS);
    }
}
