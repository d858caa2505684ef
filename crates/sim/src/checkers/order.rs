//! G2: per publisher and epoch, messages come in the order published.

use std::collections::{BTreeMap, BTreeSet};

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

/// What the first batch of each stream names: the stream before it and the end of that one, as the disk of the
/// publisher had it when the process started.
fn named(seen: &Observation) -> BTreeMap<StreamId, (u64, u64)> {
    let mut named = BTreeMap::new();
    for p in seen.ledger.publications.iter().filter(|p| p.id.sequence == 0) {
        let mut before = seen.ledger.resumes.iter().filter(|r| r.node == p.node && r.at <= p.at);
        let Some(start) = before.next_back() else { continue };
        let earlier = start.own.iter().filter(|m| m.epoch < p.id.epoch && m.to > 0);
        if let Some(m) = earlier.max_by_key(|m| m.epoch) {
            named.insert(p.id.stream(), (m.epoch, m.to));
        }
    }
    named
}

/// What the first message of a stream names is handed over or told as a gap before that message, to a process that
/// was handed something of an earlier stream of the publisher.
#[must_use]
pub fn named_streams(seen: &Observation) -> Vec<Violation> {
    let named = named(seen);
    // The streams of a publisher that a process was handed the first message of, and all of which it was handed
    // anything.
    let mut begun: BTreeMap<(Process, PeerId), BTreeSet<u64>> = BTreeMap::new();
    let mut first: BTreeMap<(Process, PeerId), u64> = BTreeMap::new();
    let mut found = Vec::new();
    // The number after the last one that a process, or the one before it, was handed or told of a stream.
    let mut ends: BTreeMap<(Process, StreamId), u64> = BTreeMap::new();
    for r in &seen.ledger.resumes {
        ends.extend(r.marks.iter().map(|m| (((r.node, r.life), m.stream()), m.to)));
    }
    for (process, word) in words(seen) {
        let (id, to) = word.numbers();
        let key = (process, id.publisher);
        let is_message = matches!(word, Word::Got(_));
        if !is_message && !first.contains_key(&key) {
            continue;
        }
        let first = *first.entry(key).or_insert(id.epoch);
        let begun = begun.entry(key).or_default();
        let names = |epoch: &u64| {
            let stream = StreamId { epoch: *epoch, ..id.stream() };
            named.get(&stream).is_some_and(|n| n.0 == id.epoch && id.sequence < n.1)
        };
        if first <= id.epoch && begun.range(id.epoch + 1..).any(names) {
            let what = format!("{} got {word:?} after a stream that names it", process.0);
            found.push(Violation::new("G2", what).about([process.0]));
        }
        let end = ends.entry((process, id.stream())).or_default();
        *end = to.max(*end);
        if is_message && id.sequence == 0 {
            begun.insert(id.epoch);
            if let Some(&(epoch, named)) = named.get(&id.stream()).filter(|n| first <= n.0) {
                let before = StreamId { epoch, ..id.stream() };
                let end = ends.get(&(process, before)).copied().unwrap_or(0);
                let mut resumes = seen.ledger.resumes.iter();
                let is_over = resumes.any(|r| (r.node, r.life) == process && r.is_over(before));
                if end < named && !is_over {
                    let what = format!(
                        "{} got {id}, which names epoch {epoch} up to {named}, when it had been told of {end}",
                        process.0
                    );
                    found.push(Violation::new("G2", what).about([process.0]));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted;
    use crate::ledger::{Publication, Resume};
    use rumormill_proto::{DeliveredMark, Time};

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
    fn message_after_the_stream_that_names_it_is_found() {
        let mut seen = planted::sound();
        planted::deliver(&mut seen, 4, &[1, 0, 2]);
        let [.., later, _] = seen.ledger.arrivals.as_mut_slice() else { unreachable!() };
        later.id.epoch = 2;
        let (id, at) = (later.id, later.at);
        let publisher = seen.ledger.publications[0].node;
        let start = |to| Resume {
            at: Time::ZERO,
            node: publisher,
            life: 2,
            marks: vec![],
            compacted: vec![],
            own: vec![DeliveredMark { publisher: id.publisher, epoch: 1, to }],
            consumed: None,
        };
        let publication = Publication { at, node: publisher, id, bytes: 1, connected: vec![] };
        seen.ledger.publications.push(publication);
        assert_eq!(named_streams(&seen), [], "the publisher did not know of it");
        seen.ledger.resumes = vec![start(2)];
        assert_eq!(named_streams(&seen), [], "it did not know of number 2");
        seen.ledger.resumes = vec![start(3)];
        assert_eq!(named_streams(&seen).len(), 2, "not before the stream, and after it");
        seen.ledger.arrivals.pop();
        assert_eq!(named_streams(&seen).len(), 1, "number 2 never came");
        planted::gap(&mut seen, 4, 2, 3);
        assert_eq!(named_streams(&seen).len(), 2, "its gap was told too late");
        let told = seen.ledger.gaps.last_mut().unwrap();
        told.after -= 1;
        assert_eq!(named_streams(&seen), [], "it was told in time");
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
