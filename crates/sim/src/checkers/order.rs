//! G2: messages of one publisher and epoch are delivered in the order of publication.

use std::collections::{BTreeMap, BTreeSet};

use rumormill_proto::{MessageId, PeerId, StreamId};

use super::Violation;
use crate::node::NodeId;
use crate::observation::Observation;

/// An event of a stream at one process.
#[derive(Debug, Clone, Copy)]
pub(super) enum StreamEvent {
    /// A delivered message.
    Message(MessageId),
    /// A reported gap: the first missing message, and the sequence number after the last one.
    Gap(MessageId, u64),
}

impl StreamEvent {
    /// The first message concerned, and the sequence number after the last one.
    pub(super) const fn range(self) -> (MessageId, u64) {
        match self {
            StreamEvent::Message(id) => (id, id.sequence.saturating_add(1)),
            StreamEvent::Gap(id, to) => (id, to),
        }
    }
}

/// A process: the node, and the number of the process.
pub(super) type ProcessId = (NodeId, u32);

/// All deliveries and gaps of all processes, in order.
pub(super) fn stream_events(observation: &Observation) -> Vec<(ProcessId, StreamEvent)> {
    let mut gaps = observation.ledger.gaps.iter().peekable();
    let mut events =
        Vec::with_capacity(observation.ledger.arrivals.len() + observation.ledger.gaps.len());
    for (i, a) in observation.ledger.arrivals.iter().enumerate() {
        while let Some(g) = gaps.next_if(|g| g.after <= i) {
            events.push(((g.node, g.process), StreamEvent::Gap(g.first, g.to)));
        }
        events.push(((a.node, a.process), StreamEvent::Message(a.id)));
    }
    events.extend(gaps.map(|g| ((g.node, g.process), StreamEvent::Gap(g.first, g.to))));
    events
}

/// Finds messages and gaps after a higher sequence number of the same stream.
#[must_use]
pub fn check(observation: &Observation) -> Vec<Violation> {
    let mut last: BTreeMap<(ProcessId, StreamId), u64> = BTreeMap::new();
    let mut found = Vec::new();
    for (process, event) in stream_events(observation) {
        let (id, to) = event.range();
        let next = last.entry((process, id.stream())).or_default();
        if id.sequence < *next {
            let what = format!("{} delivered {event:?} after number {next} was next", process.0);
            found.push(Violation::new("G2", what).about([process.0]));
        }
        *next = to.max(*next);
    }
    found
}

/// Finds messages of an epoch after messages of a later epoch of the same publisher. This is a
/// promise only if the publisher started with its store: without it the publisher cannot name its
/// earlier stream, and a peer that does not know of a message cannot wait for it.
#[must_use]
pub fn epochs(observation: &Observation) -> Vec<Violation> {
    let mut last: BTreeMap<(ProcessId, PeerId), u64> = BTreeMap::new();
    let mut found = Vec::new();
    for (process, event) in stream_events(observation) {
        let (id, _) = event.range();
        let epoch = last.entry((process, id.publisher)).or_default();
        if id.epoch < *epoch {
            let what = format!("{} delivered {event:?} after epoch {epoch}", process.0);
            found.push(Violation::new("G2", what).about([process.0]));
        }
        *epoch = id.epoch.max(*epoch);
    }
    found
}

/// The predecessor that the first batch of each stream names: the epoch of the stream before it,
/// and the end of that stream on the publisher's disk when the process started.
fn named(observation: &Observation) -> BTreeMap<StreamId, (u64, u64)> {
    let mut named = BTreeMap::new();
    for p in observation.ledger.publications.iter().filter(|p| p.id.sequence == 0) {
        let mut before =
            observation.ledger.resumes.iter().filter(|r| r.node == p.node && r.at <= p.at);
        let Some(start) = before.next_back() else { continue };
        let earlier = start.own.iter().filter(|m| m.epoch < p.id.epoch && m.to > 0);
        if let Some(m) = earlier.max_by_key(|m| m.epoch) {
            named.insert(p.id.stream(), (m.epoch, m.to));
        }
    }
    named
}

/// Finds streams that begin before their predecessor is complete: if the first message of a stream
/// names an earlier one, a process that has delivered messages of an earlier stream of the
/// publisher must deliver the named stream, or report it in a gap, before that message.
#[must_use]
pub fn named_streams(observation: &Observation) -> Vec<Violation> {
    let named = named(observation);
    // For each process and publisher: the epochs whose first message was delivered, and the first
    // epoch of which any message was delivered.
    let mut begun: BTreeMap<(ProcessId, PeerId), BTreeSet<u64>> = BTreeMap::new();
    let mut first: BTreeMap<(ProcessId, PeerId), u64> = BTreeMap::new();
    let mut found = Vec::new();
    // The sequence number after the last one that a process, or the process before it, delivered or
    // reported in a gap.
    let mut ends: BTreeMap<(ProcessId, StreamId), u64> = BTreeMap::new();
    for r in &observation.ledger.resumes {
        ends.extend(r.marks.iter().map(|m| (((r.node, r.process), m.stream()), m.to)));
    }
    for (process, event) in stream_events(observation) {
        let (id, to) = event.range();
        let key = (process, id.publisher);
        let is_message = matches!(event, StreamEvent::Message(_));
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
            let what = format!("{} delivered {event:?} after a stream that names it", process.0);
            found.push(Violation::new("G2", what).about([process.0]));
        }
        let end = ends.entry((process, id.stream())).or_default();
        *end = to.max(*end);
        if is_message && id.sequence == 0 {
            begun.insert(id.epoch);
            if let Some(&(epoch, named)) = named.get(&id.stream()).filter(|n| first <= n.0) {
                let before = StreamId { epoch, ..id.stream() };
                let end = ends.get(&(process, before)).copied().unwrap_or(0);
                let mut resumes = observation.ledger.resumes.iter();
                let is_over = resumes.any(|r| (r.node, r.process) == process && r.is_over(before));
                if end < named && !is_over {
                    let what = format!(
                        "{} delivered {id}, which names epoch {epoch} up to {named}, after {end}",
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
    fn messages_in_order_pass() {
        let mut observation = planted::valid();
        planted::deliver(&mut observation, 4, &[1, 2, 3]);
        assert_eq!(check(&observation), []);
    }

    #[test]
    fn lower_sequence_number_after_a_higher_one_is_found() {
        let mut observation = planted::valid();
        planted::deliver(&mut observation, 4, &[2, 1]);
        assert_eq!(check(&observation).len(), 1);
    }

    #[test]
    fn message_after_a_gap_that_contains_it_is_found() {
        let mut observation = planted::valid();
        planted::gap(&mut observation, 4, 1, 3);
        planted::deliver(&mut observation, 4, &[3]);
        assert_eq!(check(&observation), []);
        planted::deliver(&mut observation, 4, &[2]);
        assert_eq!(check(&observation).len(), 1);
    }

    #[test]
    fn earlier_epoch_after_a_later_one_is_found() {
        let mut observation = planted::valid();
        planted::deliver(&mut observation, 4, &[1, 0]);
        observation.ledger.arrivals.last_mut().unwrap().id.epoch = 2;
        assert_eq!(
            [check(&observation), epochs(&observation)].concat(),
            [],
            "a new epoch counts from 0"
        );
        planted::deliver(&mut observation, 4, &[2]);
        assert_eq!(check(&observation), []);
        assert_eq!(epochs(&observation).len(), 1);
    }

    #[test]
    fn message_after_the_stream_that_names_it_is_found() {
        let mut observation = planted::valid();
        planted::deliver(&mut observation, 4, &[1, 0, 2]);
        let [.., later, _] = observation.ledger.arrivals.as_mut_slice() else { unreachable!() };
        later.id.epoch = 2;
        let (id, at) = (later.id, later.at);
        let publisher = observation.ledger.publications[0].node;
        let start = |to| Resume {
            at: Time::ZERO,
            node: publisher,
            process: 2,
            marks: vec![],
            closed_up_to: vec![],
            own: vec![DeliveredMark { publisher: id.publisher, epoch: 1, to }],
            consumed: None,
        };
        let publication = Publication { at, node: publisher, id, bytes: 1, connected: vec![] };
        observation.ledger.publications.push(publication);
        assert_eq!(named_streams(&observation), [], "the publisher did not know of it");
        observation.ledger.resumes = vec![start(2)];
        assert_eq!(named_streams(&observation), [], "the publisher did not know of number 2");
        observation.ledger.resumes = vec![start(3)];
        assert_eq!(
            named_streams(&observation).len(),
            2,
            "number 2 is missing before and delivered after"
        );
        observation.ledger.arrivals.pop();
        assert_eq!(named_streams(&observation).len(), 1, "number 2 never arrived");
        planted::gap(&mut observation, 4, 2, 3);
        assert_eq!(named_streams(&observation).len(), 2, "its gap was reported too late");
        let gap = observation.ledger.gaps.last_mut().unwrap();
        gap.after -= 1;
        assert_eq!(named_streams(&observation), [], "its gap was reported in time");
    }

    #[test]
    fn new_process_may_deliver_messages_again() {
        let mut observation = planted::valid();
        planted::deliver(&mut observation, 4, &[1, 0]);
        assert_eq!(check(&observation).len(), 1);
        observation.ledger.arrivals.last_mut().unwrap().process = 2;
        assert_eq!(check(&observation), []);
    }
}
