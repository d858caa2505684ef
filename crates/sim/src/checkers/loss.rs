//! G3: no message is lost silently. A message that does not arrive is reported in a gap, once and
//! at its position in the stream.

use std::collections::BTreeMap;

use rumormill_proto::{DeliveredMark, MessageId, PeerId, StreamId, Time};

use super::Violation;
use super::delivery::past_retention;
use super::order::{StreamEvent, stream_events};
use crate::ledger::Arrival;
use crate::node::NodeId;
use crate::observation::{NodeObservation, Observation};

/// Finds sequence numbers that are neither delivered nor in a gap, and gaps at a wrong position:
/// from the first number that a process delivers of a stream, every number is either delivered or
/// in exactly one gap.
#[must_use]
pub fn gaps(observation: &Observation) -> Vec<Violation> {
    let mut next: BTreeMap<((NodeId, u32), StreamId), u64> = BTreeMap::new();
    let mut found = Vec::new();
    for (process, event) in stream_events(observation) {
        let (id, to) = event.range();
        let expected = next.insert((process, id.stream()), to);
        let Some(expected) = expected else { continue };
        let node = process.0;
        match event {
            StreamEvent::Message(id) if id.sequence > expected => {
                let what = format!("{node} delivered {id}, but {expected} was next");
                found.push(Violation::new("G3", what).about([node]));
            }
            StreamEvent::Gap(first, to) if first.sequence != expected || to <= first.sequence => {
                let what =
                    format!("{node} reported a gap {first} to {to}, but {expected} was next");
                found.push(Violation::new("G3", what).about([node]));
            }
            _ => {}
        }
    }
    found
}

/// Finds processes that do not resume a stream at the delivery mark on their disk: a new process
/// must neither skip messages that the earlier one had not delivered nor repeat delivered ones.
#[must_use]
pub fn resumed(observation: &Observation) -> Vec<Violation> {
    let mut marks: BTreeMap<((NodeId, u32), StreamId), u64> = BTreeMap::new();
    for r in &observation.ledger.resumes {
        let mark = |m: &DeliveredMark| (((r.node, r.process), m.stream()), m.to);
        marks.extend(r.marks.iter().map(mark));
    }
    let mut found = Vec::new();
    if marks.is_empty() {
        return found;
    }
    for (process, event) in stream_events(observation) {
        let (id, _) = event.range();
        // Only the first event of each stream is compared with the mark; the others follow from it.
        let Some(mark) = marks.remove(&(process, id.stream())) else { continue };
        if id.sequence != mark {
            let node = process.0;
            let what = format!("{node} resumed with {event:?}, but its delivery mark was {mark}");
            found.push(Violation::new("G3", what).about([node]));
        }
    }
    found
}

/// Finds messages that the consumer has not acknowledged and that the next process does not deliver
/// again.
#[must_use]
pub fn consumed(observation: &Observation) -> Vec<Violation> {
    let mut found = Vec::new();
    for r in &observation.ledger.resumes {
        let Some(consumed) = &r.consumed else { continue };
        let by_stream = |marks: &[DeliveredMark]| -> BTreeMap<StreamId, u64> {
            marks.iter().map(|m| (m.stream(), m.to)).collect()
        };
        let (marks, consumed) = (by_stream(&r.marks), by_stream(consumed));
        let mut skipped: BTreeMap<StreamId, u64> = BTreeMap::new();
        let earlier = observation
            .ledger
            .arrivals
            .iter()
            .filter(|a| a.node == r.node && a.process < r.process);
        for a in earlier {
            let (stream, number) = (a.id.stream(), a.id.sequence);
            let acknowledged = consumed.get(&stream).copied().unwrap_or(0);
            let resumed =
                if r.is_over(stream) { u64::MAX } else { marks.get(&stream).copied().unwrap_or(0) };
            if (acknowledged..resumed).contains(&number) {
                let first = skipped.entry(stream).or_insert(number);
                *first = number.min(*first);
            }
        }
        for (stream, number) in skipped {
            let (node, epoch) = (r.node, stream.epoch);
            let publisher = observation.node_of(&stream.publisher).map(|n| n.node);
            let what = format!(
                "{node} skips messages from {number} on of {publisher:?} (epoch {epoch}), which its \
                consumer has not acknowledged"
            );
            found.push(Violation::new("G3", what).about([node]));
        }
    }
    found
}

/// The progress of each node with each stream, over all its processes: the number after the last
/// message delivered or reported in a gap.
fn progress(observation: &Observation) -> BTreeMap<(NodeId, StreamId), u64> {
    let mut next: BTreeMap<(NodeId, StreamId), u64> = BTreeMap::new();
    for ((node, _), event) in stream_events(observation) {
        let (id, to) = event.range();
        let n = next.entry((node, id.stream())).or_default();
        *n = to.max(*n);
    }
    next
}

/// Finds live peers that are behind other peers of their component: at rest, every message that one
/// live peer has received is delivered or reported in a gap at every other one, also if the
/// publisher is dead and if the peer joined later.
///
/// Messages younger than [`Observation::settle`] may still be in transit. To a peer that has
/// received nothing of this stream or an earlier one of the publisher, only messages are owed that
/// peers must still retain (GUARANTEES.md, G3).
#[must_use]
pub fn equal_progress(observation: &Observation) -> Vec<Violation> {
    let components = observation.graph.components();
    let component = |n: NodeId| components.iter().position(|c| c.contains(&n));
    let settled = |at| observation.now.since(at) >= observation.settle;
    let mut ends: BTreeMap<(usize, StreamId), u64> = BTreeMap::new();
    let live: Vec<_> = observation.live_peers().collect();
    let components: BTreeMap<NodeId, (usize, core::time::Duration)> = live
        .iter()
        .filter_map(|n| Some((n.node, (component(n.node)?, n.config.retention_age()))))
        .collect();
    let started: BTreeMap<NodeId, Time> = live.iter().map(|n| (n.node, n.started_at)).collect();
    for a in &observation.ledger.arrivals {
        // A message that only its publisher had may be lost with the publisher.
        let Some(&(component, age)) = components.get(&a.node).filter(|_| a.from.is_some()) else {
            continue;
        };
        // A message may be lost with a process that was killed before the message was durable.
        let still_has =
            || started.get(&a.node).is_some_and(|at| *at <= a.at) || knows(&live, a.node, &a.id);
        if settled(a.at) && observation.now.since(a.at) < age && still_has() {
            let end = ends.entry((component, a.id.stream())).or_default();
            *end = (*end).max(a.id.sequence + 1);
        }
    }
    // A live publisher owes its own messages to all peers, also if it was partitioned or killed
    // meanwhile.
    for p in &observation.ledger.publications {
        let Some(&(component, age)) = components.get(&p.node).filter(|_| settled(p.at)) else {
            continue;
        };
        if observation.now.since(p.at) < age && knows(&live, p.node, &p.id) {
            let end = ends.entry((component, p.id.stream())).or_default();
            *end = (*end).max(p.id.sequence + 1);
        }
    }
    let progress = progress(observation);
    let passed = past_retention(observation);
    let is_not_owed = |n: &NodeObservation, stream: &StreamId, end: u64| {
        let last =
            MessageId { publisher: stream.publisher, epoch: stream.epoch, sequence: end - 1 };
        let earlier = (n.node, StreamId { epoch: 0, ..*stream })..=(n.node, *stream);
        progress.range(earlier).next().is_none() && passed.contains(&last)
    };
    let is_impaired = |node| {
        let of = observation.ledger.impairments.iter().filter(move |i| i.node == node);
        of.into_iter().any(|i| i.until.is_none_or(|until| !settled(until)))
    };
    let mut found = Vec::new();
    let publisher = |stream: &StreamId| observation.node_of(&stream.publisher);
    let arrived = |stream: &StreamId, end: u64| {
        let came = |a: &Arrival| a.from.is_some() && a.id.sequence + 1 >= end;
        observation.ledger.arrivals.iter().any(|a| a.id.stream() == *stream && came(a))
    };
    // A publisher that has just come back may not have announced its messages yet.
    ends.retain(|(_, stream), end| {
        let is_settled =
            publisher(stream).is_none_or(|n| settled(n.started_at) && !is_impaired(n.node));
        is_settled || arrived(stream, *end)
    });
    for n in live.iter().filter(|n| settled(n.started_at) && !is_impaired(n.node)) {
        let Some(&(component, _)) = components.get(&n.node) else { continue };
        let in_component = ends.range((component, FIRST)..).take_while(|(k, _)| k.0 == component);
        for (&(_, stream), &end) in in_component {
            let at = progress.get(&(n.node, stream)).copied().unwrap_or(0);
            if at < end && !is_not_owed(n, &stream, end) {
                let publisher = observation.node_of(&stream.publisher).map(|n| n.node);
                let what = format!(
                    "{} has progressed to {at} of {publisher:?} (epoch {}), others to {end}",
                    n.node, stream.epoch
                );
                found.push(Violation::new("G3", what).about([n.node]).about(publisher));
            }
        }
    }
    found
}

/// Whether the message list of a live peer contains a message or is past it.
fn knows(live: &[&NodeObservation], node: NodeId, id: &MessageId) -> bool {
    let is_node = |n: &&&NodeObservation| n.node == node;
    live.iter().find(is_node).is_some_and(|n| {
        let of = n.publishers.iter().find(|p| (p.publisher, p.epoch) == (id.publisher, id.epoch));
        of.is_some_and(|p| p.high_water > id.sequence)
    })
}

/// The smallest stream id.
const FIRST: StreamId = StreamId { publisher: PeerId::from_bytes([0; 32]), epoch: 0 };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted;
    use crate::ledger::Resume;
    use rumormill_proto::snapshot::PublisherView;

    #[test]
    fn skipped_sequence_number_is_found() {
        let mut observation = planted::valid();
        planted::deliver(&mut observation, 4, &[1]);
        assert_eq!(gaps(&observation), []);
        planted::deliver(&mut observation, 4, &[3]);
        assert_eq!(gaps(&observation).len(), 1);
    }

    #[test]
    fn gap_must_cover_exactly_the_missing_messages() {
        let mut observation = planted::valid();
        planted::gap(&mut observation, 4, 1, 3);
        planted::deliver(&mut observation, 4, &[3]);
        assert_eq!(gaps(&observation), []);
        let mut short = planted::valid();
        planted::gap(&mut short, 4, 1, 2);
        planted::deliver(&mut short, 4, &[3]);
        assert_eq!(gaps(&short).len(), 1, "2 is missing");
        planted::gap(&mut observation, 4, 3, 5);
        assert_eq!(gaps(&observation).len(), 1, "3 was delivered");
        let mut twice = planted::valid();
        planted::gap(&mut twice, 4, 1, 3);
        planted::gap(&mut twice, 4, 1, 3);
        assert_eq!(gaps(&twice).len(), 1);
        let mut empty = planted::valid();
        planted::gap(&mut empty, 4, 1, 1);
        assert_eq!(gaps(&empty).len(), 1);
    }

    #[test]
    fn gap_at_another_node_does_not_cover_a_missing_message() {
        let mut observation = planted::valid();
        planted::gap(&mut observation, 5, 1, 3);
        planted::deliver(&mut observation, 4, &[3]);
        assert_eq!(gaps(&observation).len(), 1);
    }

    #[test]
    fn late_joiner_may_begin_at_any_sequence_number() {
        let mut observation = planted::valid();
        observation.ledger.arrivals.retain(|a| a.node != NodeId(4));
        planted::deliver(&mut observation, 4, &[7, 8]);
        assert_eq!(gaps(&observation), []);
    }

    #[test]
    fn process_that_does_not_resume_at_its_mark_is_found() {
        let of = |next: u64| {
            let mut observation = planted::valid();
            let first = observation.ledger.arrivals[0].id;
            let marks =
                vec![DeliveredMark { publisher: first.publisher, epoch: first.epoch, to: 3 }];
            let (closed_up_to, own, consumed) = (vec![], vec![], None);
            observation.ledger.resumes.push(Resume {
                at: Time::ZERO,
                node: NodeId(4),
                process: 2,
                marks,
                closed_up_to,
                own,
                consumed,
            });
            planted::deliver(&mut observation, 4, &[next, next + 1]);
            for a in observation.ledger.arrivals.iter_mut().rev().take(2) {
                a.process = 2;
            }
            resumed(&observation).len()
        };
        assert_eq!([2, 3, 4].map(of), [1, 0, 1]);
    }

    #[test]
    fn unacknowledged_message_that_the_next_process_skips_is_found() {
        let of = |acknowledged: u64, mark: u64, is_over: bool| {
            let mut observation = planted::valid();
            planted::deliver(&mut observation, 4, &[1, 2, 3]);
            let stream = observation.ledger.arrivals[0].id.stream();
            let to =
                |to| vec![DeliveredMark { publisher: stream.publisher, epoch: stream.epoch, to }];
            observation.ledger.resumes.push(Resume {
                at: Time::ZERO,
                node: NodeId(4),
                process: 2,
                marks: to(mark),
                closed_up_to: if is_over { vec![stream] } else { vec![] },
                own: vec![],
                consumed: Some(to(acknowledged)),
            });
            consumed(&observation).len()
        };
        assert_eq!([of(2, 2, false), of(4, 4, true), of(3, 2, false)], [0, 0, 0]);
        assert_eq!([of(2, 3, false), of(2, 2, true)], [1, 1]);
    }

    #[test]
    fn peer_that_stays_behind_is_found() {
        let mut observation = planted::valid();
        assert_eq!(equal_progress(&observation), []);
        for n in [3, 4, 5] {
            planted::deliver(&mut observation, n, &[1, 2]);
        }
        assert_eq!(equal_progress(&observation), []);
        planted::deliver(&mut observation, 4, &[3]);
        assert_eq!(equal_progress(&observation).len(), 2, "n3 and n5 are behind");
        planted::gap(&mut observation, 5, 3, 4);
        assert_eq!(equal_progress(&observation).len(), 1, "n5 has reported a gap");
        observation.graph = planted::graph(&[(4, 5)], &[3]);
        assert_eq!(equal_progress(&observation), [], "n3 is not connected");
    }

    #[test]
    fn message_lost_with_a_process_is_not_owed() {
        let mut observation = planted::valid();
        planted::deliver(&mut observation, 4, &[1]);
        assert_eq!(equal_progress(&observation).len(), 2, "n3 and n5 are behind");
        let n4 = observation.nodes.iter_mut().find(|n| n.node == NodeId(4)).unwrap();
        n4.started_at = Time::ZERO + core::time::Duration::from_secs(10);
        assert_eq!(
            equal_progress(&observation),
            [],
            "the next process of n4 does not have the message"
        );
        let n4 = observation.nodes.iter_mut().find(|n| n.node == NodeId(4)).unwrap();
        let StreamId { publisher, epoch } = observation.ledger.publications[0].id.stream();
        let (gaps, received) = (Vec::new(), 2);
        n4.publishers.push(PublisherView { publisher, epoch, high_water: 2, gaps, received });
        assert_eq!(equal_progress(&observation).len(), 2, "the message was on the disk of n4");
    }

    #[test]
    fn peer_is_not_owed_evictable_messages_of_a_publisher_it_does_not_follow() {
        let mut observation = planted::valid();
        let node = NodeId(4);
        observation.ledger.arrivals.retain(|a| a.node != node);
        assert_eq!(equal_progress(&observation).len(), 1, "peers must still retain it");
        let mut later = observation.ledger.publications[0].clone();
        later.id.epoch += 1;
        later.bytes = observation.nodes[3].config.retention_bytes();
        observation.ledger.publications.push(later);
        assert_eq!(equal_progress(&observation), []);
        let earlier = StreamId { epoch: 0, ..observation.ledger.publications[0].id.stream() };
        planted::deliver(&mut observation, 4, &[0]);
        observation.ledger.arrivals.last_mut().unwrap().id.epoch = earlier.epoch;
        let of_n4 = |v: &&Violation| v.what.starts_with("n4 ");
        assert_eq!(
            equal_progress(&observation).iter().filter(of_n4).count(),
            1,
            "n4 follows the publisher"
        );
    }

    #[test]
    fn message_that_its_live_publisher_does_not_send_is_found() {
        let mut observation = planted::valid();
        observation.ledger.arrivals.retain(|a| a.from.is_none());
        let id = observation.ledger.publications[0].id;
        let publisher = observation.ledger.publications[0].node;
        assert_eq!(equal_progress(&observation), [], "the publisher does not have it any more");
        let n = observation.nodes.iter_mut().find(|n| n.node == publisher).unwrap();
        n.publishers.push(PublisherView {
            publisher: id.publisher,
            epoch: id.epoch,
            high_water: id.sequence + 1,
            gaps: Vec::new(),
            received: 1,
        });
        assert_eq!(equal_progress(&observation).len(), 2, "the two other peers do not have it");
    }

    #[test]
    fn peer_that_received_nothing_of_a_stream_is_found() {
        let mut observation = planted::valid();
        observation.ledger.arrivals.pop();
        assert_eq!(equal_progress(&observation).len(), 1);
    }
}
