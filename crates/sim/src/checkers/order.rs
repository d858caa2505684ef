//! G2: per publisher and epoch, messages come in the order published.

use std::collections::BTreeMap;

use rumormill_proto::{MessageId, PeerId, StreamId};

use super::Violation;
use crate::node::NodeId;
use crate::observation::Observation;

/// What one process was handed, or told that it will not get.
#[derive(Debug, Clone, Copy)]
pub(super) enum Word {
    /// A message.
    Got(MessageId),
    /// The first of some messages, and the number after the last of them.
    Gap(MessageId, u64),
}

impl Word {
    /// The first number it is about, and the one after the last.
    pub(super) const fn numbers(self) -> (MessageId, u64) {
        match self {
            Word::Got(id) => (id, id.sequence.saturating_add(1)),
            Word::Gap(id, to) => (id, to),
        }
    }
}

/// A process: a node in one of its lives.
pub(super) type Process = (NodeId, u32);

/// Everything that processes were handed or told, in order.
pub(super) fn words(seen: &Observation) -> Vec<(Process, Word)> {
    let mut gaps = seen.ledger.gaps.iter().peekable();
    let mut words = Vec::with_capacity(seen.ledger.arrivals.len() + seen.ledger.gaps.len());
    for (i, a) in seen.ledger.arrivals.iter().enumerate() {
        while let Some(g) = gaps.next_if(|g| g.after <= i) {
            words.push(((g.node, g.life), Word::Gap(g.first, g.to)));
        }
        words.push(((a.node, a.life), Word::Got(a.id)));
    }
    words.extend(gaps.map(|g| ((g.node, g.life), Word::Gap(g.first, g.to))));
    words
}

/// No number comes after a higher one of the same stream.
#[must_use]
pub fn check(seen: &Observation) -> Vec<Violation> {
    let mut last: BTreeMap<(Process, StreamId), u64> = BTreeMap::new();
    let mut found = Vec::new();
    for (process, word) in words(seen) {
        let (id, to) = word.numbers();
        let next = last.entry((process, id.stream())).or_default();
        if id.sequence < *next {
            let what = format!("{} got {word:?} when it had come to number {next}", process.0);
            found.push(Violation::new("G2", what).about([process.0]));
        }
        *next = to.max(*next);
    }
    found
}

/// No epoch of a publisher comes after a later one. A promise only where the publisher had its store when
/// it started: what it does not know of its past it cannot tell, and a peer that has not heard of a
/// message cannot wait for it.
#[must_use]
pub fn epochs(seen: &Observation) -> Vec<Violation> {
    let mut last: BTreeMap<(Process, PeerId), u64> = BTreeMap::new();
    let mut found = Vec::new();
    for (process, word) in words(seen) {
        let (id, _) = word.numbers();
        let epoch = last.entry((process, id.publisher)).or_default();
        if id.epoch < *epoch {
            let what = format!("{} got {word:?} after epoch {epoch}", process.0);
            found.push(Violation::new("G2", what).about([process.0]));
        }
        *epoch = id.epoch.max(*epoch);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted;

    #[test]
    fn what_comes_in_order_passes() {
        let mut seen = planted::sound();
        planted::deliver(&mut seen, 4, &[1, 2, 3]);
        assert_eq!(check(&seen), []);
    }

    #[test]
    fn a_number_before_a_lower_one_is_found() {
        let mut seen = planted::sound();
        planted::deliver(&mut seen, 4, &[2, 1]);
        assert_eq!(check(&seen).len(), 1);
    }

    #[test]
    fn what_comes_after_its_gap_was_told_is_found() {
        let mut seen = planted::sound();
        planted::gap(&mut seen, 4, 1, 3);
        planted::deliver(&mut seen, 4, &[3]);
        assert_eq!(check(&seen), []);
        planted::deliver(&mut seen, 4, &[2]);
        assert_eq!(check(&seen).len(), 1);
    }

    #[test]
    fn earlier_epoch_after_a_later_one_is_found() {
        let mut seen = planted::sound();
        planted::deliver(&mut seen, 4, &[1, 0]);
        seen.ledger.arrivals.last_mut().unwrap().id.epoch = 2;
        assert_eq!([check(&seen), epochs(&seen)].concat(), [], "a new epoch counts from 0");
        planted::deliver(&mut seen, 4, &[2]);
        assert_eq!(check(&seen), []);
        assert_eq!(epochs(&seen).len(), 1);
    }

    #[test]
    fn a_new_process_may_be_told_again() {
        let mut seen = planted::sound();
        planted::deliver(&mut seen, 4, &[1, 0]);
        assert_eq!(check(&seen).len(), 1);
        seen.ledger.arrivals.last_mut().unwrap().life = 2;
        assert_eq!(check(&seen), []);
    }
}
