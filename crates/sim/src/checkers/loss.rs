//! G3: nothing is lost silently. What does not come is told as a gap, in its place and once.

use std::collections::BTreeMap;

use rumormill_proto::{DeliveredMark, MessageId, PeerId, StreamId, Time};

use super::Violation;
use super::delivery::past_retention;
use super::order::{Word, words};
use crate::ledger::Arrival;
use crate::node::NodeId;
use crate::observation::{NodeObservation, Observation};

/// From the first one on, every number of a publisher's life was either handed to the application
/// or lies in exactly one gap that it was told in its place.
#[must_use]
pub fn told(seen: &Observation) -> Vec<Violation> {
    let mut next: BTreeMap<((NodeId, u32), StreamId), u64> = BTreeMap::new();
    let mut found = Vec::new();
    for (process, word) in words(seen) {
        let (id, to) = word.numbers();
        let expected = next.insert((process, id.stream()), to);
        let Some(expected) = expected else { continue };
        let node = process.0;
        match word {
            Word::Got(id) if id.sequence > expected => {
                let what = format!("{node} got {id}, and {expected} and on are missing");
                found.push(Violation::new("G3", what).about([node]));
            }
            Word::Gap(first, to) if first.sequence != expected || to <= first.sequence => {
                let what =
                    format!("{node} was told a gap {first} to {to}, when {expected} was next");
                found.push(Violation::new("G3", what).about([node]));
            }
            _ => {}
        }
    }
    found
}

/// A process that finds on its disk how far its earlier life came with a stream goes on right there:
/// it neither leaves out what that one held back, nor delivers again what it delivered.
#[must_use]
pub fn resumed(seen: &Observation) -> Vec<Violation> {
    let mut marks: BTreeMap<((NodeId, u32), StreamId), u64> = BTreeMap::new();
    for r in &seen.ledger.resumes {
        let mark = |m: &DeliveredMark| (((r.node, r.life), m.stream()), m.to);
        marks.extend(r.marks.iter().map(mark));
    }
    let mut found = Vec::new();
    if marks.is_empty() {
        return found;
    }
    for (process, word) in words(seen) {
        let (id, _) = word.numbers();
        // Only the first word of each is held against the mark; the rest follows from it.
        let Some(mark) = marks.remove(&(process, id.stream())) else { continue };
        if id.sequence != mark {
            let node = process.0;
            let what = format!("{node} went on with {word:?}, when an earlier life came to {mark}");
            found.push(Violation::new("G3", what).about([node]));
        }
    }
    found
}

/// A process of a peer with a consumer goes back to what that one has not acknowledged: no message that it was
/// given before is left out.
#[must_use]
pub fn consumed(seen: &Observation) -> Vec<Violation> {
    let mut found = Vec::new();
    for r in &seen.ledger.resumes {
        let Some(consumed) = &r.consumed else { continue };
        let by_stream = |marks: &[DeliveredMark]| -> BTreeMap<StreamId, u64> {
            marks.iter().map(|m| (m.stream(), m.to)).collect()
        };
        let (marks, consumed) = (by_stream(&r.marks), by_stream(consumed));
        let mut left_out: BTreeMap<StreamId, u64> = BTreeMap::new();
        let earlier = seen.ledger.arrivals.iter().filter(|a| a.node == r.node && a.life < r.life);
        for a in earlier {
            let (stream, number) = (a.id.stream(), a.id.sequence);
            let acknowledged = consumed.get(&stream).copied().unwrap_or(0);
            let resumed =
                if r.is_over(stream) { u64::MAX } else { marks.get(&stream).copied().unwrap_or(0) };
            if (acknowledged..resumed).contains(&number) {
                let first = left_out.entry(stream).or_insert(number);
                *first = number.min(*first);
            }
        }
        for (stream, number) in left_out {
            let (node, epoch) = (r.node, stream.epoch);
            let publisher = seen.node_of(&stream.publisher).map(|n| n.node);
            let what = format!(
                "{node} left out {number} and on of {publisher:?} (epoch {epoch}), which its consumer had not \
                 acknowledged"
            );
            found.push(Violation::new("G3", what).about([node]));
        }
    }
    found
}

/// How far each node has come with each stream, in all its lives.
fn progress(seen: &Observation) -> BTreeMap<(NodeId, StreamId), u64> {
    let mut next: BTreeMap<(NodeId, StreamId), u64> = BTreeMap::new();
    for ((node, _), word) in words(seen) {
        let (id, to) = word.numbers();
        let n = next.entry((node, id.stream())).or_default();
        *n = to.max(*n);
    }
    next
}

/// At rest, what one live peer got was handed to or told as a gap at every live peer that is
/// connected with it, also where the publisher is dead, and where the peer came later. Messages
/// younger than [`Observation::settle`] may still be on their way. A peer that has had nothing of this stream or an
/// earlier one of the publisher is owed only what need be kept (GUARANTEES.md, G3).
#[must_use]
pub fn even(seen: &Observation) -> Vec<Violation> {
    let components = seen.graph.components();
    let component = |n: NodeId| components.iter().position(|c| c.contains(&n));
    let settled = |at| seen.now.since(at) >= seen.settle;
    let mut ends: BTreeMap<(usize, StreamId), u64> = BTreeMap::new();
    let lively: Vec<_> = seen.live_peers().collect();
    let places: BTreeMap<NodeId, (usize, core::time::Duration)> = lively
        .iter()
        .filter_map(|n| Some((n.node, (component(n.node)?, n.config.retention_age()))))
        .collect();
    let since: BTreeMap<NodeId, Time> = lively.iter().map(|n| (n.node, n.life_since)).collect();
    for a in &seen.ledger.arrivals {
        // What only its publisher had may be gone with it.
        let Some(&(place, age)) = places.get(&a.node).filter(|_| a.from.is_some()) else {
            continue;
        };
        // What a process had may have been lost with it, be it killed before its disk had it.
        let has_it = || {
            since.get(&a.node).is_some_and(|since| *since <= a.at) || knows(&lively, a.node, &a.id)
        };
        if settled(a.at) && seen.now.since(a.at) < age && has_it() {
            let end = ends.entry((place, a.id.stream())).or_default();
            *end = (*end).max(a.id.sequence + 1);
        }
    }
    // What a live publisher has of itself it owes to all, also where it was cut off or killed since.
    for p in &seen.ledger.publications {
        let Some(&(place, age)) = places.get(&p.node).filter(|_| settled(p.at)) else { continue };
        if seen.now.since(p.at) < age && knows(&lively, p.node, &p.id) {
            let end = ends.entry((place, p.id.stream())).or_default();
            *end = (*end).max(p.id.sequence + 1);
        }
    }
    let progress = progress(seen);
    let passed = past_retention(seen);
    let is_of_the_past = |n: &NodeObservation, stream: &StreamId, end: u64| {
        let last =
            MessageId { publisher: stream.publisher, epoch: stream.epoch, sequence: end - 1 };
        let earlier = (n.node, StreamId { epoch: 0, ..*stream })..=(n.node, *stream);
        progress.range(earlier).next().is_none() && passed.contains(&last)
    };
    let troubled = |node| {
        let of = seen.ledger.impairments.iter().filter(move |i| i.node == node);
        of.into_iter().any(|i| i.until.is_none_or(|until| !settled(until)))
    };
    let mut found = Vec::new();
    let publisher = |stream: &StreamId| seen.node_of(&stream.publisher);
    let arrived = |stream: &StreamId, end: u64| {
        let came = |a: &Arrival| a.from.is_some() && a.id.sequence + 1 >= end;
        seen.ledger.arrivals.iter().any(|a| a.id.stream() == *stream && came(a))
    };
    // A publisher that has only just come back has not told of it yet.
    ends.retain(|(_, stream), end| {
        let back = publisher(stream).is_none_or(|n| settled(n.life_since) && !troubled(n.node));
        back || arrived(stream, *end)
    });
    for n in lively.iter().filter(|n| settled(n.life_since) && !troubled(n.node)) {
        let Some(&(place, _)) = places.get(&n.node) else { continue };
        for (&(_, stream), &end) in ends.range((place, FIRST)..).take_while(|(k, _)| k.0 == place) {
            let at = progress.get(&(n.node, stream)).copied().unwrap_or(0);
            if at < end && !is_of_the_past(n, &stream, end) {
                let who = seen.node_of(&stream.publisher).map(|n| n.node);
                let what = format!(
                    "{} has come to {at} of {who:?} (epoch {}), others to {end}",
                    n.node, stream.epoch
                );
                found.push(Violation::new("G3", what).about([n.node]).about(who));
            }
        }
    }
    found
}

/// Whether a live peer still knows that it had a message.
fn knows(lively: &[&NodeObservation], node: NodeId, id: &MessageId) -> bool {
    let of_stream = |n: &&&NodeObservation| n.node == node;
    lively.iter().find(of_stream).is_some_and(|n| {
        let of = n.publishers.iter().find(|p| (p.publisher, p.epoch) == (id.publisher, id.epoch));
        of.is_some_and(|p| p.high_water > id.sequence)
    })
}

/// Before all streams.
const FIRST: StreamId = StreamId { publisher: PeerId::from_bytes([0; 32]), epoch: 0 };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted;
    use crate::ledger::Resume;
    use rumormill_proto::snapshot::PublisherView;

    #[test]
    fn a_number_left_out_is_found() {
        let mut seen = planted::sound();
        planted::deliver(&mut seen, 4, &[1]);
        assert_eq!(told(&seen), []);
        planted::deliver(&mut seen, 4, &[3]);
        assert_eq!(told(&seen).len(), 1);
    }

    #[test]
    fn a_gap_stands_for_what_is_missing_and_for_nothing_else() {
        let mut seen = planted::sound();
        planted::gap(&mut seen, 4, 1, 3);
        planted::deliver(&mut seen, 4, &[3]);
        assert_eq!(told(&seen), []);
        let mut short = planted::sound();
        planted::gap(&mut short, 4, 1, 2);
        planted::deliver(&mut short, 4, &[3]);
        assert_eq!(told(&short).len(), 1, "2 is missing");
        planted::gap(&mut seen, 4, 3, 5);
        assert_eq!(told(&seen).len(), 1, "3 was delivered");
        let mut twice = planted::sound();
        planted::gap(&mut twice, 4, 1, 3);
        planted::gap(&mut twice, 4, 1, 3);
        assert_eq!(told(&twice).len(), 1);
        let mut empty = planted::sound();
        planted::gap(&mut empty, 4, 1, 1);
        assert_eq!(told(&empty).len(), 1);
    }

    #[test]
    fn a_gap_at_another_node_is_no_excuse() {
        let mut seen = planted::sound();
        planted::gap(&mut seen, 5, 1, 3);
        planted::deliver(&mut seen, 4, &[3]);
        assert_eq!(told(&seen).len(), 1);
    }

    #[test]
    fn a_late_joiner_begins_anywhere() {
        let mut seen = planted::sound();
        seen.ledger.arrivals.retain(|a| a.node != NodeId(4));
        planted::deliver(&mut seen, 4, &[7, 8]);
        assert_eq!(told(&seen), []);
    }

    #[test]
    fn a_life_that_does_not_go_on_at_its_mark_is_found() {
        let of = |next: u64| {
            let mut seen = planted::sound();
            let first = seen.ledger.arrivals[0].id;
            let marks =
                vec![DeliveredMark { publisher: first.publisher, epoch: first.epoch, to: 3 }];
            let (compacted, own, consumed) = (vec![], vec![], None);
            seen.ledger.resumes.push(Resume {
                at: Time::ZERO,
                node: NodeId(4),
                life: 2,
                marks,
                compacted,
                own,
                consumed,
            });
            planted::deliver(&mut seen, 4, &[next, next + 1]);
            for a in seen.ledger.arrivals.iter_mut().rev().take(2) {
                a.life = 2;
            }
            resumed(&seen).len()
        };
        assert_eq!([2, 3, 4].map(of), [1, 0, 1]);
    }

    #[test]
    fn message_that_the_consumer_lacks_and_the_next_process_leaves_out_is_found() {
        let of = |acknowledged: u64, mark: u64, is_over: bool| {
            let mut seen = planted::sound();
            planted::deliver(&mut seen, 4, &[1, 2, 3]);
            let stream = seen.ledger.arrivals[0].id.stream();
            let to =
                |to| vec![DeliveredMark { publisher: stream.publisher, epoch: stream.epoch, to }];
            seen.ledger.resumes.push(Resume {
                at: Time::ZERO,
                node: NodeId(4),
                life: 2,
                marks: to(mark),
                compacted: if is_over { vec![stream] } else { vec![] },
                own: vec![],
                consumed: Some(to(acknowledged)),
            });
            consumed(&seen).len()
        };
        assert_eq!([of(2, 2, false), of(4, 4, true), of(3, 2, false)], [0, 0, 0]);
        assert_eq!([of(2, 3, false), of(2, 2, true)], [1, 1]);
    }

    #[test]
    fn a_peer_that_stays_behind_is_found() {
        let mut seen = planted::sound();
        assert_eq!(even(&seen), []);
        for n in [3, 4, 5] {
            planted::deliver(&mut seen, n, &[1, 2]);
        }
        assert_eq!(even(&seen), []);
        planted::deliver(&mut seen, 4, &[3]);
        assert_eq!(even(&seen).len(), 2, "at n3 and n5");
        planted::gap(&mut seen, 5, 3, 4);
        assert_eq!(even(&seen).len(), 1, "n5 knows of it");
        seen.graph = planted::graph(&[(4, 5)], &[3]);
        assert_eq!(even(&seen), [], "n3 is not connected");
    }

    #[test]
    fn what_was_lost_with_a_process_is_owed_to_nobody() {
        let mut seen = planted::sound();
        planted::deliver(&mut seen, 4, &[1]);
        assert_eq!(even(&seen).len(), 2, "at n3 and n5");
        let n4 = seen.nodes.iter_mut().find(|n| n.node == NodeId(4)).unwrap();
        n4.life_since = Time::ZERO + core::time::Duration::from_secs(10);
        assert_eq!(even(&seen), [], "its next process does not know of it");
        let n4 = seen.nodes.iter_mut().find(|n| n.node == NodeId(4)).unwrap();
        let StreamId { publisher, epoch } = seen.ledger.publications[0].id.stream();
        let (gaps, received) = (Vec::new(), 2);
        n4.publishers.push(PublisherView { publisher, epoch, high_water: 2, gaps, received });
        assert_eq!(even(&seen).len(), 2, "it was on its disk");
    }

    #[test]
    fn peer_is_not_owed_what_nobody_need_keep_of_a_stream_before_its_first() {
        let mut seen = planted::sound();
        let node = NodeId(4);
        seen.ledger.arrivals.retain(|a| a.node != node);
        assert_eq!(even(&seen).len(), 1, "it is kept");
        let mut later = seen.ledger.publications[0].clone();
        later.id.epoch += 1;
        later.bytes = seen.nodes[3].config.retention_bytes();
        seen.ledger.publications.push(later);
        assert_eq!(even(&seen), []);
        let earlier = StreamId { epoch: 0, ..seen.ledger.publications[0].id.stream() };
        planted::deliver(&mut seen, 4, &[0]);
        seen.ledger.arrivals.last_mut().unwrap().id.epoch = earlier.epoch;
        let of_n4 = |v: &&Violation| v.what.starts_with("n4 ");
        assert_eq!(even(&seen).iter().filter(of_n4).count(), 1, "it follows the publisher");
    }

    #[test]
    fn message_that_its_live_publisher_keeps_to_itself_is_found() {
        let mut seen = planted::sound();
        seen.ledger.arrivals.retain(|a| a.from.is_none());
        let id = seen.ledger.publications[0].id;
        let publisher = seen.ledger.publications[0].node;
        assert_eq!(even(&seen), [], "it does not know of it any more");
        let n = seen.nodes.iter_mut().find(|n| n.node == publisher).unwrap();
        n.publishers.push(PublisherView {
            publisher: id.publisher,
            epoch: id.epoch,
            high_water: id.sequence + 1,
            gaps: Vec::new(),
            received: 1,
        });
        assert_eq!(even(&seen).len(), 2, "the two others have nothing");
    }

    #[test]
    fn a_peer_that_got_nothing_of_a_stream_is_found() {
        let mut seen = planted::sound();
        seen.ledger.arrivals.pop();
        assert_eq!(even(&seen).len(), 1);
    }
}
