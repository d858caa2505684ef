//! Who else publishes much now: among them the room that retention leaves is shared.
//!
//! What is on its way has to be kept until those who miss some of it have pulled it. One window per
//! publisher does not bound that: many publishers together would push out of everybody's retention
//! what somebody still needs. So each divides half of the retention by the publishers that it sees
//! at work. Nobody is asked: all see nearly the same, since all get everything.

use core::time::Duration;

use crate::identity::PeerId;
use crate::limits::{MAX_ACKS, MAX_BATCH};
use crate::small::VecMap;
use crate::time::Time;

/// A publisher counts while it published [`MUCH`] in this period and the one before: longer than
/// anybody is waited for, because a publisher that waits publishes nothing.
const PERIOD: Duration = Duration::from_secs(10);
/// Less than a batch of it takes no room worth dividing.
const MUCH: u64 = MAX_BATCH as u64;
/// Part of the retention that may be on its way in all: the other half is for what was on its way
/// and is being pulled.
const PART: u64 = 2;

/// The publishers seen lately.
#[derive(Debug, Default)]
pub(crate) struct Active {
    /// Bytes in this period, and in the one before.
    publishers: VecMap<PeerId, (u64, u64)>,
    since: Time,
    /// Those with [`MUCH`].
    busy: u64,
}

impl Active {
    /// A publisher's batch came. `false` if there are too many to follow another one.
    pub(crate) fn note(&mut self, publisher: PeerId, bytes: u64, now: Time) -> bool {
        self.roll(now);
        if self.publishers.len() >= MAX_ACKS && !self.publishers.contains_key(&publisher) {
            return false;
        }
        let (current, before) = self.publishers.get_or_insert(publisher, <(u64, u64)>::default);
        let was_busy = *current + *before >= MUCH;
        *current = current.saturating_add(bytes);
        self.busy += u64::from(!was_busy && *current + *before >= MUCH);
        true
    }

    fn roll(&mut self, now: Time) {
        let passed = now.since(self.since);
        if passed < PERIOD {
            return;
        }
        let recent = passed < PERIOD * 2;
        self.since = now;
        for bytes in self.publishers.values_mut() {
            *bytes = (0, if recent { bytes.0 } else { 0 });
        }
        self.publishers.retain(|_, bytes| bytes.1 > 0);
        self.busy = self.publishers.values().filter(|b| b.1 >= MUCH).count() as u64;
    }

    /// Bytes that one publisher may have on its way, this node being one of those who publish.
    pub(crate) fn share(&mut self, me: &PeerId, retention: u64, now: Time) -> u64 {
        self.roll(now);
        let counted = self.publishers.get(me).is_some_and(|b| b.0 + b.1 >= MUCH);
        retention / PART / (self.busy + u64::from(!counted)).max(1)
    }

    /// Bytes that it may have on its way before it has seen who else publishes: as if all did.
    pub(crate) fn first_share(&self, retention: u64, members: usize) -> u64 {
        retention / PART / (members as u64).max(1)
    }

    /// Whether a publisher has published something lately.
    pub(crate) fn is_fresh(&mut self, publisher: &PeerId, now: Time) -> bool {
        self.roll(now);
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
    fn half_of_the_retention_is_shared_by_those_who_publish_much() {
        let mut a = Active::default();
        assert_eq!(a.share(&ME, 16 * MIB, at(1)), 8 * MIB, "alone");
        for n in 1..8 {
            a.note(PeerId::from_bytes([n; 32]), MIB, at(1));
            a.note(PeerId::from_bytes([n + 100; 32]), 100, at(1));
        }
        assert_eq!(a.share(&ME, 16 * MIB, at(1)), MIB, "with seven others");
        a.note(ME, MIB, at(1));
        assert_eq!(a.share(&ME, 16 * MIB, at(1)), MIB, "and counted once");
        assert_eq!(a.share(&ME, 16 * MIB, at(11)), MIB, "while they wait");
        assert_eq!(a.share(&ME, 16 * MIB, at(21)), 8 * MIB, "not for ever");
        assert!(!a.is_fresh(&ME, at(21)));
    }

    #[test]
    fn what_is_on_its_way_in_all_stays_within_half_of_the_retention() {
        for n in 1..=100u8 {
            let mut all: Vec<Active> = (0..n).map(|_| Active::default()).collect();
            let mut sum = 0;
            for (k, a) in all.iter_mut().enumerate() {
                (0..n).for_each(|m| assert!(a.note(PeerId::from_bytes([m; 32]), MIB, at(1))));
                sum += a.share(&PeerId::from_bytes([k as u8; 32]), 16 * MIB, at(1));
            }
            assert!(sum <= 8 * MIB && sum > 7 * MIB, "{n}: {sum}");
        }
    }

    #[test]
    fn the_number_of_publishers_followed_is_bounded() {
        let mut a = Active::default();
        for n in 0..2 * MAX_ACKS {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            assert_eq!(a.note(PeerId::from_bytes(id), MIB, at(1)), n < MAX_ACKS);
        }
        assert_eq!(a.publishers.len(), MAX_ACKS);
    }
}
