//! Names of holders, on their way to a publisher.
//!
//! The sums of the acknowledgements say how many peers hold a message, and which ones only if that is
//! all, none, or all but one of those that the publisher knows. A publisher whose receipt stays open asks
//! for names with a census: each peer then tells its own progress once, and again when it changes, beside
//! its acknowledgement, and passes on what those behind it tell. A relay keeps nothing that it has passed
//! on, and passes on a bounded number of names for each census.

use std::collections::BTreeMap;

use crate::limits::{MAX_NAME_ROUNDS, WHOLE_LIST};
use crate::message::StreamId;
use crate::small::VecMap;
use crate::time::Time;
use crate::wire::Holder;

/// Names of one census that a relay passes on: each peer's first word and some changes of it.
const MAX_RELAYED: usize = 2 * WHOLE_LIST;

/// The names that one census asked for.
#[derive(Debug)]
struct NameRound {
    asked_at: Time,
    /// Progress is told up to this sequence number.
    until: u64,
    /// This peer's own progress, as told last.
    own: Option<u64>,
    /// Progress by token, not passed on yet.
    pending: BTreeMap<u64, u64>,
    /// Names taken from neighbours so far.
    taken: usize,
}

/// The names that were asked for, by stream; at most [`MAX_NAME_ROUNDS`], the least recent ends first.
#[derive(Debug, Default)]
pub(super) struct NameRounds(VecMap<StreamId, NameRound>);

impl NameRounds {
    /// A census came: it asks for names up to `until`, or ends the round before it.
    pub(super) fn begin(&mut self, stream: StreamId, until: Option<u64>, now: Time) {
        let Some(until) = until else {
            self.0.remove(&stream);
            return;
        };
        if self.0.len() >= MAX_NAME_ROUNDS && !self.0.contains_key(&stream) {
            let oldest = self.0.iter().min_by_key(|(_, r)| r.asked_at).map(|(s, _)| *s);
            oldest.and_then(|s| self.0.remove(&s));
        }
        let pending = BTreeMap::new();
        let round = NameRound { asked_at: now, until, own: None, pending, taken: 0 };
        self.0.insert(stream, round);
    }

    /// A neighbour names holders. Says how many names were refused: those that were not asked for, and
    /// those over the bound of the round.
    pub(super) fn take(&mut self, stream: StreamId, holders: &[Holder]) -> usize {
        let Some(round) = self.0.get_mut(&stream) else { return holders.len() };
        let room = MAX_RELAYED - round.taken;
        let taken = holders.len().min(room);
        for h in holders.iter().take(taken) {
            let held = h.held.min(round.until);
            let known = round.pending.entry(h.token).or_insert(held);
            *known = held.max(*known);
        }
        round.taken += taken;
        holders.len() - taken
    }

    /// Whether something is to be told, given this peer's own progress.
    pub(super) fn has_news(&self, stream: StreamId, own: u64) -> bool {
        self.0.get(&stream).is_some_and(|r| !r.pending.is_empty() || r.own < Some(own.min(r.until)))
    }

    /// What is to be told now; `None` if nothing is. At most [`WHOLE_LIST`] names, the others stay.
    pub(super) fn drain(&mut self, stream: StreamId, token: u64, own: u64) -> Option<Vec<Holder>> {
        let round = self.0.get_mut(&stream)?;
        let mut names = Vec::new();
        let own = own.min(round.until);
        if round.own < Some(own) {
            round.own = Some(own);
            names.push(Holder { token, held: own });
        }
        while names.len() < WHOLE_LIST
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
    fn relay_tells_each_name_once_and_its_own_again_when_it_changes() {
        let mut rounds = NameRounds::default();
        let s = stream(1);
        rounds.begin(s, Some(9), Time::ZERO);
        assert_eq!(rounds.take(s, &[holder(5, 4), holder(6, 99), holder(5, 3)]), 0);
        let told = rounds.drain(s, 1, 2).unwrap();
        assert_eq!(told, [holder(1, 2), holder(5, 4), holder(6, 9)]);
        assert!(!rounds.has_news(s, 2) && rounds.drain(s, 1, 2).is_none());
        assert!(rounds.has_news(s, 7));
        assert_eq!(rounds.drain(s, 1, 70).unwrap(), [holder(1, 9)]);
        assert!(!rounds.has_news(s, 80), "not beyond what was asked for");
    }

    #[test]
    fn names_that_nobody_asked_for_are_refused() {
        let mut rounds = NameRounds::default();
        assert_eq!(rounds.take(stream(1), &[holder(5, 4)]), 1);
        rounds.begin(stream(1), Some(9), Time::ZERO);
        rounds.begin(stream(1), None, Time::ZERO);
        assert_eq!(rounds.take(stream(1), &[holder(5, 4)]), 1);
    }

    #[test]
    fn relay_passes_on_a_bounded_number_of_names_for_each_census() {
        let mut rounds = NameRounds::default();
        let s = stream(1);
        let many: Vec<Holder> = (0..WHOLE_LIST as u64).map(|n| holder(n, 1)).collect();
        for round in 0..2 {
            rounds.begin(s, Some(9), Time::ZERO);
            assert_eq!(rounds.take(s, &many), 0, "{round}");
            assert_eq!(rounds.take(s, &many), 0, "{round}");
            assert_eq!(rounds.take(s, &many), WHOLE_LIST, "{round}");
            assert_eq!(rounds.drain(s, u64::MAX, 1).unwrap().len(), WHOLE_LIST);
            assert_eq!(rounds.drain(s, u64::MAX, 1).unwrap().len(), 1, "{round}");
        }
        for n in 0..=MAX_NAME_ROUNDS {
            rounds.begin(stream(n as u8 + 2), Some(9), Time::ZERO);
        }
        assert_eq!(rounds.0.len(), MAX_NAME_ROUNDS);
    }
}
