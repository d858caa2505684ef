//! G1: a message published by a live peer reaches every live and connected peer exactly once.
//!
//! A message is *owed* to the peers that must get it by this promise.

use core::cell::OnceCell;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use rumormill_proto::{MessageId, StreamId, Time};

use super::Violation;
use crate::ledger::{Departure, GapReport, Impairment, ImpairmentKind, NetworkParts, Publication};
use crate::node::NodeId;
use crate::observation::Observation;

/// How long a publisher must live after publication for its message to be owed: long enough to hand
/// it to its neighbours. Where packets are late G1 allows more time, so a violation found there may
/// be a false positive.
const HAND_OVER: Duration = Duration::from_secs(1);
/// The same where frames are lost or the network is partitioned: peers wait so long for the tree
/// before they pull.
const LOSSY_HAND_OVER: Duration = Duration::from_millis(2500);

/// Finds messages delivered twice to one process, and messages that no node published.
#[must_use]
pub fn once(observation: &Observation) -> Vec<Violation> {
    let published: BTreeSet<MessageId> =
        observation.ledger.publications.iter().map(|p| p.id).collect();
    let mut counts: BTreeMap<(NodeId, u32, MessageId), u32> = BTreeMap::new();
    for a in &observation.ledger.arrivals {
        *counts.entry((a.node, a.process, a.id)).or_default() += 1;
    }
    let mut found = Vec::new();
    for ((node, _, id), n) in counts {
        if n > 1 {
            let what = format!("{node} delivered message {id} {n} times");
            found.push(Violation::new("G1", what).about([node]));
        }
        if !published.contains(&id) && !observation.adversaries.contains(&id.publisher) {
            let what = format!("{node} delivered message {id}, which no node published");
            found.push(Violation::new("G1", what).about([node]));
        }
    }
    found
}

/// The orderly exit of a message's publisher, if it confirmed that another node holds the message.
fn handed_over<'a>(observation: &'a Observation, p: &Publication) -> Option<&'a Departure> {
    let mut departures = observation.ledger.departures.iter();
    departures.find(|d| {
        d.node == p.node
            && (d.since..=d.at).contains(&p.at)
            && d.unconfirmed.is_none_or(|(from, _)| p.id.sequence < from)
    })
}

/// Whether all holders of a message at the exit of its publisher have been impaired since, so that
/// the message may be lost with them. If there was no holder, or if all holders left as well
/// without reporting the message as unconfirmed, the exits lost it and it is owed.
fn lost_with_holders_after_exit(observation: &Observation, p: &Publication, d: &Departure) -> bool {
    let arrivals = observation.ledger.arrivals.iter();
    let holders: Vec<_> =
        arrivals.filter(|a| a.id == p.id && a.node != p.node && a.at <= d.at).collect();
    let is_excused = |node: NodeId| {
        let mut departures = observation.ledger.departures.iter();
        let ended =
            |i: &Impairment| i.kind != ImpairmentKind::Left && i.kind != ImpairmentKind::Moved;
        observation.ledger.impairments.iter().any(|i| i.node == node && i.from >= p.at && ended(i))
            || departures.any(|d| d.node == node && d.others > 0)
    };
    holders.iter().all(|a| impaired_between(observation, a.node, a.at, observation.now))
        && holders.iter().any(|a| is_excused(a.node))
}

/// Whether a message was lost with its publisher and all other holders before one of them could
/// forward it: the publisher died within [`HAND_OVER`] (or [`LOSSY_HAND_OVER`]) of the first
/// arrival at another node, and each holder within the same time of its own arrival. The time does
/// not count from publication, because a publisher without a reachable neighbour may hand the
/// message over much later.
fn lost_with_holders(observation: &Observation, p: &Publication) -> bool {
    let died = |node: NodeId, from: Time, to: Time| {
        let mut impairments = observation.ledger.impairments.iter();
        impairments.any(|i| {
            i.node == node && i.kind == ImpairmentKind::Dead && (from..=to).contains(&i.from)
        })
    };
    if !died(p.node, p.at, observation.now) {
        return false;
    }
    let arrivals = observation.ledger.arrivals.iter();
    let holders: Vec<(NodeId, Time)> =
        arrivals.filter(|a| a.id == p.id && a.node != p.node).map(|a| (a.node, a.at)).collect();
    let Some(first) = holders.iter().map(|&(_, at)| at).min() else { return false };
    let mut losses = observation.ledger.losses.iter();
    let is_lossy =
        losses.any(|(from, until)| *from <= first && until.is_none_or(|until| until >= first));
    // The other neighbours may be behind a partition, which takes some time to detect.
    let parts = observation.ledger.parts.iter().rfind(|parts| parts.from <= first);
    let is_partitioned = parts.is_some_and(|parts| parts.part_of.values().any(|part| *part > 0));
    let hand_over = if is_lossy || is_partitioned { LOSSY_HAND_OVER } else { HAND_OVER };
    let died_soon = |node: NodeId, at: Time| {
        died(node, at, at + hand_over) && !holds_now(observation, node, &p.id)
    };
    died_soon(p.node, first) && holders.iter().all(|&(node, at)| died_soon(node, at))
}

/// Finds messages that did not reach a peer to which they are owed: a peer that was connected at
/// publication and has been unimpaired since.
///
/// - Messages younger than [`Observation::settle`] may still be in transit.
/// - A message that a process could not hand to any other node is lost with the process, unless the
///   peer left in an orderly way and did not report the message as unconfirmed.
/// - A message that was lost with its publisher and all its holders is not owed. If these lived
///   longer, it is not owed to peers that were partitioned from all of them for all that time.
/// - A reported gap is sufficient if retention may have passed, or if no peer with a path to the
///   node had the message (GUARANTEES.md, G3).
#[must_use]
pub fn complete(observation: &Observation) -> Vec<Violation> {
    let mut receivers: BTreeMap<MessageId, BTreeSet<NodeId>> = BTreeMap::new();
    let mut spread: BTreeSet<MessageId> = BTreeSet::new();
    for a in &observation.ledger.arrivals {
        receivers.entry(a.id).or_default().insert(a.node);
        if a.from.is_some() {
            spread.insert(a.id);
        }
    }
    let live_epochs: BTreeSet<(NodeId, u64)> =
        observation.live_peers().filter_map(|n| Some((n.node, n.peer.as_ref()?.epoch))).collect();
    let exists = |p: &&Publication| {
        spread.contains(&p.id)
            || live_epochs.contains(&(p.node, p.id.epoch))
            || handed_over(observation, p).is_some()
    };
    let none = BTreeSet::new();
    let gaps = gaps(observation);
    let mut found = Vec::new();
    let passed = past_retention(observation);
    let gap_with = |node: NodeId, id: &MessageId| {
        let mut of = gaps.get(&(node, id.stream())).into_iter().flatten();
        of.find(|g| (g.first.sequence..g.to).contains(&id.sequence))
    };
    let has_valid_gap = |node: NodeId, id: &MessageId| {
        gap_with(node, id).is_some_and(|g| g.holder.is_none() || passed.contains(id))
    };
    for p in observation.ledger.publications.iter().filter(exists) {
        let arrived = receivers.get(&p.id).unwrap_or(&none);
        let missing: Vec<NodeId> = owed(observation, p)
            .into_iter()
            .filter(|n| !arrived.contains(n) && !has_valid_gap(*n, &p.id))
            .collect();
        if let Some(first) = missing.first() {
            let gap = gap_with(*first, &p.id).map_or_else(String::new, |g| {
                let holder = g.holder.map_or_else(|| "no node".to_owned(), |h| h.to_string());
                format!(", which reported a gap at {} when {holder} had it", g.at)
            });
            let what = format!(
                "message {} of {} (published at {}) is missing at {} peers, {first} among them{gap}",
                p.id.sequence,
                p.node,
                p.at,
                missing.len()
            );
            found.push(Violation::new("G1", what).about([p.node, *first]));
        }
    }
    found
}

/// How long the two nodes must have been unimpaired before a gap for the gap to be needless.
const UNIMPAIRED_BEFORE: Duration = Duration::from_secs(30);

/// Finds gaps for messages that a reachable peer has and must still retain, unless one of the two
/// was impaired just before. This includes peers that joined after publication or were impaired at
/// publication.
#[must_use]
pub fn needless_gaps(observation: &Observation) -> Vec<Violation> {
    let passed = OnceCell::new();
    let is_past = |id| passed.get_or_init(|| past_retention(observation)).contains(id);
    let is_unimpaired =
        |node, at: Time| !impaired_between(observation, node, at - UNIMPAIRED_BEFORE, at);
    let mut found = Vec::new();
    for g in observation
        .ledger
        .gaps
        .iter()
        .filter(|g| !observation.adversaries.contains(&g.first.publisher))
    {
        let Some(holder) = g.holder else { continue };
        if is_unimpaired(g.node, g.at) && is_unimpaired(holder, g.at) && !is_past(&g.first) {
            let what = format!(
                "{} reported a gap at {} from number {} of {} on, which {holder} had",
                g.node, g.at, g.first.sequence, g.first.publisher
            );
            found.push(Violation::new("G1", what).about([g.node, holder]));
        }
    }
    found
}

/// Gaps reported at each node, by stream.
type Gaps<'a> = BTreeMap<(NodeId, StreamId), Vec<&'a GapReport>>;

fn gaps(observation: &Observation) -> Gaps<'_> {
    let mut gaps = Gaps::new();
    for g in &observation.ledger.gaps {
        let stream = (g.node, g.first.stream());
        gaps.entry(stream).or_default().push(g);
    }
    gaps
}

/// The messages that no peer must retain any more.
pub(super) fn past_retention(observation: &Observation) -> BTreeSet<MessageId> {
    let mut left: u64 = observation.ledger.publications.iter().map(|p| p.bytes).sum();
    let passed = observation.ledger.publications.iter().filter(|p| {
        left -= p.bytes;
        may_be_past_retention(observation, p, left)
    });
    passed.map(|p| p.id).collect()
}

/// Whether no peer must retain a message any more after so many bytes were published after it.
/// Messages with a pending receipt are retained longest, so a peer may evict others once half of
/// its retention is used.
fn may_be_past_retention(observation: &Observation, p: &Publication, after: u64) -> bool {
    let least = observation.nodes.iter().map(|n| n.config.retention_bytes()).min().unwrap_or(0);
    let shortest =
        observation.nodes.iter().map(|n| n.config.retention_age()).min().unwrap_or_default();
    after >= least / 2 || observation.now.since(p.at) >= shortest
}

/// The peers to which a message is owed.
#[must_use]
pub fn owed(observation: &Observation, p: &Publication) -> Vec<NodeId> {
    let departure = handed_over(observation, p);
    let is_excused = match departure {
        Some(d) => {
            observation.now.since(d.at) < observation.settle
                || lost_with_holders_after_exit(observation, p, d)
        }
        None => {
            observation.now.since(p.at) < observation.settle
                || impaired_between(observation, p.node, p.at, p.at + HAND_OVER)
                || lost_with_holders(observation, p)
        }
    };
    if is_excused {
        return Vec::new();
    }
    let was_connected_at_exit = |n: &NodeId| departure.is_some_and(|d| d.connected.contains(n));
    let holders = OnceCell::new();
    let was_partitioned = |n: &NodeId| {
        let holders = holders.get_or_init(|| ended_holders(observation, p));
        holders.as_ref().is_some_and(|all| !all.iter().any(|h| were_connected(observation, *n, h)))
    };
    observation
        .live_peers()
        .filter(|n| n.node != p.node && n.started_at <= p.at)
        .filter(|n| p.connected.contains(&n.node) || was_connected_at_exit(&n.node))
        .filter(|n| !impaired_between(observation, n.node, p.at, observation.now))
        .map(|n| n.node)
        .filter(|n| !was_partitioned(n))
        .collect()
}

/// A holder of a message: the node, since when it held the message, and when it died or left.
type Holder = (NodeId, Time, Time);

/// Whether the present process of a node has a message, possibly from its disk.
fn holds_now(observation: &Observation, node: NodeId, id: &MessageId) -> bool {
    let of = observation.nodes.iter().filter(|n| n.node == node && n.is_live_peer());
    let mut streams = of.flat_map(|n| &n.publishers);
    streams.any(|s| {
        let lacks = |g: &(u64, u64)| (g.0..g.1).contains(&id.sequence);
        let end = s.gaps.last().map_or(s.high_water, |g| g.1.max(s.high_water));
        (s.publisher, s.epoch) == (id.publisher, id.epoch)
            && id.sequence < end
            && !s.gaps.iter().any(lacks)
    })
}

/// All nodes that ever held a message, if all of them died or left without the message on a disk
/// that is in use now; otherwise `None`.
fn ended_holders(observation: &Observation, p: &Publication) -> Option<Vec<Holder>> {
    let ends = |i: &&Impairment| matches!(i.kind, ImpairmentKind::Dead | ImpairmentKind::Left);
    let end = |node: NodeId, since: Time| {
        if holds_now(observation, node, &p.id) {
            return None;
        }
        let of = observation.ledger.impairments.iter().filter(ends);
        of.filter(|i| i.node == node && i.from >= since).map(|i| i.from).min()
    };
    let others = observation.ledger.arrivals.iter().filter(|a| a.id == p.id && a.node != p.node);
    // The publisher comes first: it nearly always lives, and then the search ends.
    let all = [(p.node, p.at)].into_iter().chain(others.map(|a| (a.node, a.at)));
    all.map(|(node, since)| Some((node, since, end(node, since)?))).collect()
}

/// Whether a node was in the same part of the network as a holder of a message for [`HAND_OVER`],
/// or after a partition for as long as the parts need to link and to compare their message lists.
fn were_connected(observation: &Observation, node: NodeId, &(holder, since, end): &Holder) -> bool {
    let same_part = |p: &NetworkParts| match (p.part_of.get(&node), p.part_of.get(&holder)) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    };
    // The times from which on the two were in the same part or not. Before the first change the
    // network was not partitioned.
    let mut changes = vec![(Time::ZERO, true)];
    for p in &observation.ledger.parts {
        let now = same_part(p);
        if changes.last().is_some_and(|(_, before)| *before != now) {
            changes.push((p.from, now));
        }
    }
    changes.iter().enumerate().filter(|(_, (_, same_part))| *same_part).any(|(i, &(from, _))| {
        let until = changes.get(i + 1).map_or(Time::MAX, |next| next.0);
        let needed = if from > since { observation.settle } else { HAND_OVER };
        until.min(end).since(from.max(since)) >= needed
    })
}

/// Whether a node had an impairment, other than a changed address, in this period.
fn impaired_between(observation: &Observation, node: NodeId, from: Time, to: Time) -> bool {
    observation
        .ledger
        .impairments
        .iter()
        .filter(|i| i.kind != ImpairmentKind::Moved)
        .any(|i| i.node == node && i.from <= to && i.until.is_none_or(|until| until >= from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted;
    use rumormill_proto::snapshot::PublisherView;

    #[test]
    fn missing_message_is_found() {
        let mut observation = planted::valid();
        assert_eq!(complete(&observation), []);
        let last = observation.ledger.arrivals.pop().unwrap();
        let found = complete(&observation);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains(&last.node.to_string()), "{found:?}");
    }

    #[test]
    fn gap_replaces_a_message_only_after_retention_or_without_a_holder() {
        let mut observation = planted::valid();
        let last = observation.ledger.arrivals.pop().unwrap();
        let (node, process, first) = (last.node, last.process, last.id);
        let (at, after) = (observation.now, observation.ledger.arrivals.len());
        let (to, holder) = (first.sequence + 1, Some(observation.ledger.publications[0].node));
        let gap = GapReport { at, node, process, first, to, after, holder };
        observation.ledger.gaps.push(gap);
        assert_eq!(complete(&observation).len(), 1, "a reachable peer still holds the message");
        observation.ledger.gaps[0].holder = None;
        assert_eq!(complete(&observation), [], "no reachable peer had the message");
        observation.ledger.gaps[0].holder = holder;
        let mut later = observation.ledger.publications[0].clone();
        (later.bytes, later.at) = (u64::MAX / 2, observation.now);
        later.id.sequence += 1;
        observation.ledger.publications.push(later);
        assert_eq!(complete(&observation), []);
    }

    #[test]
    fn needless_gap_is_found_also_where_the_message_is_not_owed() {
        let mut observation = planted::valid();
        planted::gap(&mut observation, 4, 0, 1);
        assert_eq!(needless_gaps(&observation), [], "no reachable peer had the message");
        let holder = observation.ledger.publications[0].node;
        observation.ledger.gaps[0].holder = Some(holder);
        let at = observation.ledger.gaps[0].at;
        observation.nodes.iter_mut().for_each(|n| n.started_at = at);
        assert_eq!(needless_gaps(&observation).len(), 1, "the peer joined after publication");
        planted::impair(
            &mut observation,
            holder,
            ImpairmentKind::Frozen,
            at - UNIMPAIRED_BEFORE,
            Some(at),
        );
        assert_eq!(needless_gaps(&observation), [], "the frozen holder may not have answered");
    }

    #[test]
    fn message_that_no_other_node_got_is_not_owed_after_its_publisher_restarted() {
        let mut observation = planted::valid();
        observation.ledger.arrivals.retain(|a| a.from.is_none());
        assert_eq!(
            complete(&observation).len(),
            1,
            "the publisher lives and has sent it to no node"
        );
        let publisher = observation.ledger.publications[0].node;
        let n = observation.nodes.iter_mut().find(|n| n.node == publisher).unwrap();
        n.peer.as_mut().unwrap().epoch += 1;
        assert_eq!(complete(&observation), []);
    }

    /// n3 hands its message to n4 only, three seconds after publication. n3 dies at the first of
    /// these times after publication, n4 at the second.
    fn with_late_first_holder(publisher_dies: Duration, holder_dies: Duration) -> Observation {
        let mut observation = planted::valid();
        let published = observation.ledger.publications[0].at;
        observation.ledger.arrivals.truncate(2);
        observation.ledger.arrivals[1].at = published + Duration::from_secs(3);
        for (node, after) in [(3, publisher_dies), (4, holder_dies)] {
            let (node, from) = (NodeId(node), published + after);
            planted::impair(&mut observation, node, ImpairmentKind::Dead, from, None);
            observation.nodes.iter_mut().find(|n| n.node == node).unwrap().peer = None;
        }
        observation
    }

    #[test]
    fn message_lost_with_publisher_and_all_holders_at_once_is_not_owed() {
        let (soon, later) = (Duration::from_millis(3_070), Duration::from_millis(4_500));
        assert_eq!(complete(&with_late_first_holder(soon, soon)), []);
        let missed = complete(&with_late_first_holder(soon, later));
        assert_eq!(missed.len(), 1, "the holder had time to forward it: {missed:?}");
        let missed = complete(&with_late_first_holder(later, soon));
        assert_eq!(
            missed.len(),
            1,
            "the publisher had time to send it to another peer: {missed:?}"
        );
        let lossy = |died: Duration, until: Option<Time>| {
            let mut observation = with_late_first_holder(died, died);
            observation.ledger.losses.push((Time::ZERO, until));
            complete(&observation)
        };
        assert_eq!(lossy(later, None), [], "other peers have to pull it");
        assert_eq!(lossy(Duration::from_secs(6), None).len(), 1);
        assert_eq!(lossy(later, Some(Time::ZERO)).len(), 1, "the losses had ended");
        let mut observation = with_late_first_holder(later, later);
        let part_of = [(NodeId(3), 0), (NodeId(4), 0), (NodeId(5), 0), (NodeId(9), 1)].into();
        observation.ledger.parts.push(NetworkParts { from: Time::ZERO, part_of });
        assert_eq!(complete(&observation), [], "its other neighbours may be behind the partition");
    }

    #[test]
    fn message_is_not_owed_to_a_peer_partitioned_from_all_holders_until_they_died() {
        let soon = Duration::from_secs(10);
        let mut observation = with_late_first_holder(soon, soon);
        assert_eq!(complete(&observation).len(), 1, "the holders had time to forward it");
        let published = observation.ledger.publications[0].at;
        let partition = |after: u64, apart: u32| NetworkParts {
            from: published + Duration::from_millis(after),
            part_of: [3, 4, 5].map(|n| (NodeId(n), usize::from(n == apart))).into(),
        };
        observation.ledger.parts.push(partition(900, 5));
        assert_eq!(complete(&observation), []);
        observation.ledger.parts.push(partition(2_500, 3));
        assert_eq!(complete(&observation).len(), 1, "n4 got it after the partition had healed");
        observation.ledger.parts[1] = partition(3_500, 3);
        assert_eq!(complete(&observation), [], "the parts had no time to link");
        let died = observation.ledger.impairments.pop().unwrap();
        assert_eq!(complete(&observation).len(), 1, "n4 still holds it");
        let id = observation.ledger.publications[0].id;
        observation.ledger.impairments.push(Impairment { until: Some(observation.now), ..died });
        let index = |observation: &Observation, node| {
            observation.nodes.iter().position(|n| n.node == node).unwrap()
        };
        let (n4, n5) = (index(&observation, NodeId(4)), index(&observation, NodeId(5)));
        observation.nodes[n4].peer = observation.nodes[n5].peer.clone();
        observation.nodes[n4].started_at = observation.now;
        assert_eq!(complete(&observation), [], "n4 has restarted with an empty disk");
        observation.nodes[n4].publishers.push(PublisherView {
            publisher: id.publisher,
            epoch: id.epoch,
            high_water: 1,
            gaps: vec![],
            received: 1,
        });
        assert_eq!(complete(&observation).len(), 1, "n4 has it on its disk");
    }

    #[test]
    fn messages_of_a_peer_that_left_are_owed_unless_reported_as_unconfirmed() {
        let mut observation = planted::with_departure();
        assert_eq!(complete(&observation), []);
        observation.ledger.arrivals.retain(|a| a.from.is_none());
        assert_eq!(complete(&observation).len(), 1, "no other node holds it");
        observation.ledger.departures[0].unconfirmed = Some((0, 1));
        assert_eq!(complete(&observation), [], "the peer reported it as unconfirmed");
        let mut observation = planted::with_departure();
        observation.ledger.arrivals.pop();
        assert_eq!(complete(&observation).len(), 1, "one peer did not get it");
        let (holder, from) =
            (observation.ledger.arrivals[1].node, observation.ledger.departures[0].at);
        planted::impair(&mut observation, holder, ImpairmentKind::Dead, from, None);
        assert_eq!(complete(&observation), [], "the only holder died");
    }

    #[test]
    fn message_is_owed_when_all_holders_left_without_reporting_it() {
        let mut observation = planted::with_departure();
        observation.ledger.arrivals.pop();
        let (holder, departure) =
            (observation.ledger.arrivals[1].node, observation.ledger.departures[0].clone());
        planted::impair(&mut observation, holder, ImpairmentKind::Left, departure.at, None);
        observation.ledger.departures.push(Departure { node: holder, others: 0, ..departure });
        assert_eq!(complete(&observation).len(), 1, "each of the two relied on the other");
        observation.ledger.departures[1].others = 1;
        assert_eq!(complete(&observation), [], "the second peer reported it");
    }

    #[test]
    fn message_is_owed_to_a_peer_whose_host_moved() {
        let mut observation = planted::valid();
        let last = observation.ledger.arrivals.pop().unwrap();
        let moved = last.at;
        planted::impair(&mut observation, last.node, ImpairmentKind::Moved, moved, Some(moved));
        assert_eq!(complete(&observation).len(), 1);
    }

    #[test]
    fn message_is_not_owed_to_a_frozen_peer() {
        let mut observation = planted::valid();
        let last = observation.ledger.arrivals.pop().unwrap();
        planted::impair(
            &mut observation,
            last.node,
            ImpairmentKind::Frozen,
            Time::from_micros(1),
            None,
        );
        assert_eq!(complete(&observation), []);
    }

    #[test]
    fn second_delivery_is_found() {
        let mut observation = planted::valid();
        assert_eq!(once(&observation), []);
        let again = observation.ledger.arrivals[1].clone();
        observation.ledger.arrivals.push(again);
        assert_eq!(once(&observation).len(), 1);
    }

    #[test]
    fn delivery_of_an_unpublished_message_is_found() {
        let mut observation = planted::valid();
        observation.ledger.publications.clear();
        assert!(!once(&observation).is_empty());
    }
}
