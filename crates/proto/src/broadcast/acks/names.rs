//! Names of holders, passed on towards a publisher.
//!
//! The aggregates of the acknowledgements say how many peers hold a message, and which ones only if
//! those are all, none, or all but one of the members that the publisher knows. A publisher whose
//! receipt stays open asks for names with a census: each peer then reports its own progress once,
//! and again when it changes, beside its acknowledgement, and passes on the names from its subtree.
//! A relay stores no name that it has passed on, and passes on a bounded number of names for each
//! census.

use std::collections::BTreeMap;

use crate::limits::{FULL_LIST_LIMIT, MAX_NAME_ROUNDS};
use crate::message::StreamId;
use crate::small::VecMap;
use crate::time::Time;
use crate::wire::Holder;

/// Names that a relay passes on for one census: the first report of each peer and some changes.
const MAX_RELAYED_NAMES: usize = 2 * FULL_LIST_LIMIT;

/// The names that one census has asked for.
#[derive(Debug)]
struct NameRound {
    asked_at: Time,
    /// Progress is reported up to this sequence number.
    until: u64,
    /// The progress of this peer that was reported last.
    own: Option<u64>,
    /// Progress by token, not passed on yet.
    pending: BTreeMap<u64, u64>,
    /// Names accepted from neighbours so far.
    accepted: usize,
}

/// The rounds of names by stream; at most [`MAX_NAME_ROUNDS`], the oldest is evicted first.
#[derive(Debug, Default)]
pub(super) struct NameRounds(VecMap<StreamId, NameRound>);

impl NameRounds {
    /// Begins a round for names up to `until`; without it, ends the round of the stream.
    pub(super) fn begin_round(&mut self, stream: StreamId, until: Option<u64>, now: Time) {
        let Some(until) = until else {
            self.0.remove(&stream);
            return;
        };
        if self.0.len() >= MAX_NAME_ROUNDS && !self.0.contains_key(&stream) {
            let oldest = self.0.iter().min_by_key(|(_, r)| r.asked_at).map(|(s, _)| *s);
            oldest.and_then(|s| self.0.remove(&s));
        }
        let pending = BTreeMap::new();
        let round = NameRound { asked_at: now, until, own: None, pending, accepted: 0 };
        self.0.insert(stream, round);
    }

    /// Accepts names from a neighbour. Returns the number of names that were refused: those that no
    /// census has asked for, and those above the bound of the round.
    pub(super) fn accept(&mut self, stream: StreamId, holders: &[Holder]) -> usize {
        let Some(round) = self.0.get_mut(&stream) else { return holders.len() };
        let available = MAX_RELAYED_NAMES - round.accepted;
        let accepted = holders.len().min(available);
        for h in holders.iter().take(accepted) {
            let held = h.held.min(round.until);
            let known = round.pending.entry(h.token).or_insert(held);
            *known = held.max(*known);
        }
        round.accepted += accepted;
        holders.len() - accepted
    }

    /// Whether there is a name to send, given this peer's own progress.
    pub(super) fn has_unsent(&self, stream: StreamId, own: u64) -> bool {
        self.0.get(&stream).is_some_and(|r| !r.pending.is_empty() || r.own < Some(own.min(r.until)))
    }

    /// Takes the names to send now; `None` if there are none. At most [`FULL_LIST_LIMIT`] names,
    /// the others stay.
    pub(super) fn take_names(
        &mut self,
        stream: StreamId,
        token: u64,
        own: u64,
    ) -> Option<Vec<Holder>> {
        let round = self.0.get_mut(&stream)?;
        let mut names = Vec::new();
        let own = own.min(round.until);
        if round.own < Some(own) {
            round.own = Some(own);
            names.push(Holder { token, held: own });
        }
        while names.len() < FULL_LIST_LIMIT
            && let Some((token, held)) = round.pending.pop_first()
        {
            names.push(Holder { token, held });
        }
        (!names.is_empty()).then_some(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::PeerId;

    fn stream(n: u8) -> StreamId {
        StreamId { publisher: PeerId::from_bytes([n; 32]), epoch: 1 }
    }

    fn holder(token: u64, held: u64) -> Holder {
        Holder { token, held }
    }

    #[test]
    fn relay_sends_each_name_once_and_its_own_again_when_it_changes() {
        let mut rounds = NameRounds::default();
        let s = stream(1);
        rounds.begin_round(s, Some(9), Time::ZERO);
        assert_eq!(rounds.accept(s, &[holder(5, 4), holder(6, 99), holder(5, 3)]), 0);
        let told = rounds.take_names(s, 1, 2).unwrap();
        assert_eq!(told, [holder(1, 2), holder(5, 4), holder(6, 9)]);
        assert!(!rounds.has_unsent(s, 2) && rounds.take_names(s, 1, 2).is_none());
        assert!(rounds.has_unsent(s, 7));
        assert_eq!(rounds.take_names(s, 1, 70).unwrap(), [holder(1, 9)]);
        assert!(!rounds.has_unsent(s, 80), "not beyond the requested sequence number");
    }

    #[test]
    fn names_without_a_census_are_refused() {
        let mut rounds = NameRounds::default();
        assert_eq!(rounds.accept(stream(1), &[holder(5, 4)]), 1);
        rounds.begin_round(stream(1), Some(9), Time::ZERO);
        rounds.begin_round(stream(1), None, Time::ZERO);
        assert_eq!(rounds.accept(stream(1), &[holder(5, 4)]), 1);
    }

    #[test]
    fn relay_passes_on_a_bounded_number_of_names_for_each_census() {
        let mut rounds = NameRounds::default();
        let s = stream(1);
        let many: Vec<Holder> = (0..FULL_LIST_LIMIT as u64).map(|n| holder(n, 1)).collect();
        for round in 0..2 {
            rounds.begin_round(s, Some(9), Time::ZERO);
            assert_eq!(rounds.accept(s, &many), 0, "{round}");
            assert_eq!(rounds.accept(s, &many), 0, "{round}");
            assert_eq!(rounds.accept(s, &many), FULL_LIST_LIMIT, "{round}");
            assert_eq!(rounds.take_names(s, u64::MAX, 1).unwrap().len(), FULL_LIST_LIMIT);
            assert_eq!(rounds.take_names(s, u64::MAX, 1).unwrap().len(), 1, "{round}");
        }
        for n in 0..=MAX_NAME_ROUNDS {
            rounds.begin_round(stream(n as u8 + 2), Some(9), Time::ZERO);
        }
        assert_eq!(rounds.0.len(), MAX_NAME_ROUNDS);
    }
}
