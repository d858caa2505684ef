//! G1: a message published by a live peer reaches every peer that is live and connected, once.

use core::cell::OnceCell;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use rumormill_proto::{MessageId, StreamId, Time};

use super::Violation;
use crate::ledger::{Departure, GapTold, Impairment, Parts, Publication, Trouble};
use crate::node::NodeId;
use crate::observation::Observation;

/// How long a publisher must live on for its message to be owed: to hand it to its neighbours. Where packets are late
/// G1 allows more, so that a violation there may be none.
const HAND_OVER: Duration = Duration::from_secs(1);
/// The same where so much is lost that it has to be pulled: so long is the tree waited for first.
const LOSSY_HAND_OVER: Duration = Duration::from_millis(2500);

/// Nothing is delivered twice to one process, and nothing that nobody published.
#[must_use]
pub fn once(seen: &Observation) -> Vec<Violation> {
    let published: BTreeSet<MessageId> = seen.ledger.publications.iter().map(|p| p.id).collect();
    let mut counts: BTreeMap<(NodeId, u32, MessageId), u32> = BTreeMap::new();
    for a in &seen.ledger.arrivals {
        *counts.entry((a.node, a.life, a.id)).or_default() += 1;
    }
    let mut found = Vec::new();
    for ((node, _, id), n) in counts {
        if n > 1 {
            let what = format!("{node} got message {id} {n} times");
            found.push(Violation::new("G1", what).about([node]));
        }
        if !published.contains(&id) && !seen.strangers.contains(&id.publisher) {
            let what = format!("{node} got message {id}, which nobody published");
            found.push(Violation::new("G1", what).about([node]));
        }
    }
    found
}

/// The orderly exit of a message's publisher, if it said that another node holds the message.
fn handed_over<'a>(seen: &'a Observation, p: &Publication) -> Option<&'a Departure> {
    let mut departures = seen.ledger.departures.iter();
    departures.find(|d| {
        d.node == p.node
            && (d.since..=d.at).contains(&p.at)
            && d.unconfirmed.is_none_or(|(from, _)| p.id.sequence < from)
    })
}

/// Whether all those have been in trouble since that held a message when its publisher had left: then it may be
/// gone with them. If there are none, or all of them have left as well without saying so, it was lost by the exits.
fn holders_are_gone(seen: &Observation, p: &Publication, d: &Departure) -> bool {
    let arrivals = seen.ledger.arrivals.iter();
    let holders: Vec<_> =
        arrivals.filter(|a| a.id == p.id && a.node != p.node && a.at <= d.at).collect();
    let says_so = |node: NodeId| {
        let mut departures = seen.ledger.departures.iter();
        let ended = |i: &Impairment| i.trouble != Trouble::Left && i.trouble != Trouble::Moved;
        seen.ledger.impairments.iter().any(|i| i.node == node && i.from >= p.at && ended(i))
            || departures.any(|d| d.node == node && d.others > 0)
    };
    holders.iter().all(|a| disturbed(seen, a.node, a.at, seen.now))
        && holders.iter().any(|a| says_so(a.node))
}

/// Whether the message died with its publisher and with all other nodes that ever had it, before the first of
/// them could pass it on: the publisher within [`HAND_OVER`] of the first arrival at another node, each holder
/// within [`HAND_OVER`] of its own, or [`LOSSY_HAND_OVER`]. A publisher that is cut off from its neighbours may hand over long after it
/// published.
fn died_with_holders(seen: &Observation, p: &Publication) -> bool {
    let died = |node: NodeId, from: Time, to: Time| {
        let mut impairments = seen.ledger.impairments.iter();
        impairments
            .any(|i| i.node == node && i.trouble == Trouble::Dead && (from..=to).contains(&i.from))
    };
    if !died(p.node, p.at, seen.now) {
        return false;
    }
    let arrivals = seen.ledger.arrivals.iter();
    let elsewhere: Vec<(NodeId, Time)> =
        arrivals.filter(|a| a.id == p.id && a.node != p.node).map(|a| (a.node, a.at)).collect();
    let Some(first) = elsewhere.iter().map(|&(_, at)| at).min() else { return false };
    let mut losses = seen.ledger.losses.iter();
    let is_lossy =
        losses.any(|(from, until)| *from <= first && until.is_none_or(|until| until >= first));
    // The other neighbours may be behind a cut, which takes some time to be noticed.
    let parts = seen.ledger.parts.iter().rfind(|parts| parts.from <= first);
    let is_cut = parts.is_some_and(|parts| parts.of.values().any(|part| *part > 0));
    let hand_over = if is_lossy || is_cut { LOSSY_HAND_OVER } else { HAND_OVER };
    let died_soon =
        |node: NodeId, at: Time| died(node, at, at + hand_over) && !holds_now(seen, node, &p.id);
    died_soon(p.node, first) && elsewhere.iter().all(|&(node, at)| died_soon(node, at))
}

/// Every message reached every peer that was connected when it was published and undisturbed since.
///
/// - Messages younger than [`Observation::settle`] may still be on their way.
/// - A message that a process could not hand to any other node is gone with the process, unless it left in an
///   orderly way and did not say so.
/// - A message that died with its publisher and all its holders is gone with them; where these lived for longer, only
///   peers that were cut off from all of them for all that time are not owed it.
/// - A gap that was told is as good where retention may have passed, or where no peer with a path to the
///   node had the message (GUARANTEES.md, G3).
#[must_use]
pub fn complete(seen: &Observation) -> Vec<Violation> {
    let mut got: BTreeMap<MessageId, BTreeSet<NodeId>> = BTreeMap::new();
    let mut spread: BTreeSet<MessageId> = BTreeSet::new();
    for a in &seen.ledger.arrivals {
        got.entry(a.id).or_default().insert(a.node);
        if a.from.is_some() {
            spread.insert(a.id);
        }
    }
    let lives: BTreeSet<(NodeId, u64)> =
        seen.live_peers().filter_map(|n| Some((n.node, n.peer.as_ref()?.epoch))).collect();
    let exists = |p: &&Publication| {
        spread.contains(&p.id)
            || lives.contains(&(p.node, p.id.epoch))
            || handed_over(seen, p).is_some()
    };
    let none = BTreeSet::new();
    let gaps = gaps(seen);
    let mut found = Vec::new();
    let passed = past_retention(seen);
    let gap = |node: NodeId, id: &MessageId| {
        let mut of = gaps.get(&(node, id.stream())).into_iter().flatten();
        of.find(|g| (g.first.sequence..g.to).contains(&id.sequence))
    };
    let told = |node: NodeId, id: &MessageId| {
        gap(node, id).is_some_and(|g| g.holder.is_none() || passed.contains(id))
    };
    for p in seen.ledger.publications.iter().filter(exists) {
        let arrived = got.get(&p.id).unwrap_or(&none);
        let missing: Vec<NodeId> = owed(seen, p)
            .into_iter()
            .filter(|n| !arrived.contains(n) && !told(*n, &p.id))
            .collect();
        if let Some(first) = missing.first() {
            let gap = gap(*first, &p.id).map_or_else(String::new, |g| {
                let holder = g.holder.map_or_else(|| "nobody".to_owned(), |h| h.to_string());
                format!(", which was told a gap at {} when {holder} had it", g.at)
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

/// How long before a gap nothing may have been wrong at the two nodes.
const SOUND_BEFORE: Duration = Duration::from_secs(30);

/// No gap is told about a message that a reachable peer has and need still keep, unless one of the two has been in
/// trouble just before: also not at a peer that came later, or was in trouble when it was published.
#[must_use]
pub fn needless_gaps(seen: &Observation) -> Vec<Violation> {
    let passed = OnceCell::new();
    let is_past = |id| passed.get_or_init(|| past_retention(seen)).contains(id);
    let sound = |node, at: Time| !disturbed(seen, node, at - SOUND_BEFORE, at);
    let mut found = Vec::new();
    for g in seen.ledger.gaps.iter().filter(|g| !seen.strangers.contains(&g.first.publisher)) {
        let Some(holder) = g.holder else { continue };
        if sound(g.node, g.at) && sound(holder, g.at) && !is_past(&g.first) {
            let what = format!(
                "{} was told a gap at {} from {} of {} on, which {holder} had",
                g.node, g.at, g.first.sequence, g.first.publisher
            );
            found.push(Violation::new("G1", what).about([g.node, holder]));
        }
    }
    found
}

/// Gaps told at each node, by the stream they are in.
type Gaps<'a> = BTreeMap<(NodeId, StreamId), Vec<&'a GapTold>>;

fn gaps(seen: &Observation) -> Gaps<'_> {
    let mut gaps = Gaps::new();
    for g in &seen.ledger.gaps {
        let stream = (g.node, g.first.stream());
        gaps.entry(stream).or_default().push(g);
    }
    gaps
}

/// The messages that nobody need hold any more.
pub(super) fn past_retention(seen: &Observation) -> BTreeSet<MessageId> {
    let mut left: u64 = seen.ledger.publications.iter().map(|p| p.bytes).sum();
    let passed = seen.ledger.publications.iter().filter(|p| {
        left -= p.bytes;
        may_be_past_retention(seen, p, left)
    });
    passed.map(|p| p.id).collect()
}

/// Whether nobody need hold a message any more, when so many bytes were published after it. What is
/// awaited is kept longest, so that it takes half of the retention at the least.
fn may_be_past_retention(seen: &Observation, p: &Publication, after: u64) -> bool {
    let least = seen.nodes.iter().map(|n| n.config.retention_bytes()).min().unwrap_or(0);
    let shortest = seen.nodes.iter().map(|n| n.config.retention_age()).min().unwrap_or_default();
    after >= least / 2 || seen.now.since(p.at) >= shortest
}

/// The peers that a message is owed to.
#[must_use]
pub fn owed(seen: &Observation, p: &Publication) -> Vec<NodeId> {
    let departure = handed_over(seen, p);
    let excused = match departure {
        Some(d) => seen.now.since(d.at) < seen.settle || holders_are_gone(seen, p, d),
        None => {
            seen.now.since(p.at) < seen.settle
                || disturbed(seen, p.node, p.at, p.at + HAND_OVER)
                || died_with_holders(seen, p)
        }
    };
    if excused {
        return Vec::new();
    }
    let later = |n: &NodeId| departure.is_some_and(|d| d.connected.contains(n));
    let holders = OnceCell::new();
    let cut_off = |n: &NodeId| {
        let holders = holders.get_or_init(|| holders_that_are_gone(seen, p));
        holders.as_ref().is_some_and(|all| !all.iter().any(|h| met(seen, *n, h)))
    };
    seen.live_peers()
        .filter(|n| n.node != p.node && n.life_since <= p.at)
        .filter(|n| p.connected.contains(&n.node) || later(&n.node))
        .filter(|n| !disturbed(seen, n.node, p.at, seen.now))
        .map(|n| n.node)
        .filter(|n| !cut_off(n))
        .collect()
}

/// A node that held a message, from when, and until it died or left.
type Holder = (NodeId, Time, Time);

/// Whether the process that runs at a node now has a message, from its disk perhaps.
fn holds_now(seen: &Observation, node: NodeId, id: &MessageId) -> bool {
    let of = seen.nodes.iter().filter(|n| n.node == node && n.is_live_peer());
    let mut streams = of.flat_map(|n| &n.publishers);
    streams.any(|s| {
        let lacks = |g: &(u64, u64)| (g.0..g.1).contains(&id.sequence);
        let end = s.gaps.last().map_or(s.high_water, |g| g.1.max(s.high_water));
        (s.publisher, s.epoch) == (id.publisher, id.epoch)
            && id.sequence < end
            && !s.gaps.iter().any(lacks)
    })
}

/// All who ever held a message, if all of them have died or left without keeping it on a disk.
fn holders_that_are_gone(seen: &Observation, p: &Publication) -> Option<Vec<Holder>> {
    let ends = |i: &&Impairment| matches!(i.trouble, Trouble::Dead | Trouble::Left);
    let end = |node: NodeId, since: Time| {
        if holds_now(seen, node, &p.id) {
            return None;
        }
        let of = seen.ledger.impairments.iter().filter(ends);
        of.filter(|i| i.node == node && i.from >= since).map(|i| i.from).min()
    };
    let others = seen.ledger.arrivals.iter().filter(|a| a.id == p.id && a.node != p.node);
    // The publisher first: nearly always it lives, and the others need not be looked for.
    let all = [(p.node, p.at)].into_iter().chain(others.map(|a| (a.node, a.at)));
    all.map(|(node, since)| Some((node, since, end(node, since)?))).collect()
}

/// Whether a node was in one part of the network with a holder of a message for [`HAND_OVER`], or after a cut
/// for as long as the parts take to link with each other and compare what they have.
fn met(seen: &Observation, node: NodeId, &(holder, since, end): &Holder) -> bool {
    let together = |p: &Parts| match (p.of.get(&node), p.of.get(&holder)) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    };
    // From when on they were together or apart. Before the first change nobody was cut off.
    let mut times = vec![(Time::ZERO, true)];
    for p in &seen.ledger.parts {
        let now = together(p);
        if times.last().is_some_and(|(_, before)| *before != now) {
            times.push((p.from, now));
        }
    }
    times.iter().enumerate().filter(|(_, (_, together))| *together).any(|(i, &(from, _))| {
        let until = times.get(i + 1).map_or(Time::MAX, |next| next.0);
        let need = if from > since { seen.settle } else { HAND_OVER };
        until.min(end).since(from.max(since)) >= need
    })
}

fn disturbed(seen: &Observation, node: NodeId, from: Time, to: Time) -> bool {
    seen.ledger
        .impairments
        .iter()
        .filter(|i| i.trouble != Trouble::Moved)
        .any(|i| i.node == node && i.from <= to && i.until.is_none_or(|until| until >= from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted;
    use rumormill_proto::snapshot::PublisherView;

    #[test]
    fn a_missing_message_is_found() {
        let mut seen = planted::sound();
        assert_eq!(complete(&seen), []);
        let last = seen.ledger.arrivals.pop().unwrap();
        let found = complete(&seen);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains(&last.node.to_string()), "{found:?}");
    }

    #[test]
    fn a_gap_is_as_good_only_where_retention_may_have_passed() {
        let mut seen = planted::sound();
        let last = seen.ledger.arrivals.pop().unwrap();
        let (node, life, first) = (last.node, last.life, last.id);
        let (at, after) = (seen.now, seen.ledger.arrivals.len());
        let (to, holder) = (first.sequence + 1, Some(seen.ledger.publications[0].node));
        let gap = GapTold { at, node, life, first, to, after, holder };
        seen.ledger.gaps.push(gap);
        assert_eq!(complete(&seen).len(), 1, "it is still held, and could be had");
        seen.ledger.gaps[0].holder = None;
        assert_eq!(complete(&seen), [], "nobody within reach had it");
        seen.ledger.gaps[0].holder = holder;
        let mut later = seen.ledger.publications[0].clone();
        (later.bytes, later.at) = (u64::MAX / 2, seen.now);
        later.id.sequence += 1;
        seen.ledger.publications.push(later);
        assert_eq!(complete(&seen), []);
    }

    #[test]
    fn gap_about_what_a_neighbour_has_is_found_also_where_the_message_is_not_owed() {
        let mut seen = planted::sound();
        planted::gap(&mut seen, 4, 0, 1);
        assert_eq!(needless_gaps(&seen), [], "nobody within reach had it");
        let holder = seen.ledger.publications[0].node;
        seen.ledger.gaps[0].holder = Some(holder);
        let at = seen.ledger.gaps[0].at;
        seen.nodes.iter_mut().for_each(|n| n.life_since = at);
        assert_eq!(needless_gaps(&seen).len(), 1, "it came later");
        planted::trouble(&mut seen, holder, Trouble::Frozen, at - SOUND_BEFORE, Some(at));
        assert_eq!(needless_gaps(&seen), [], "it may not have answered");
    }

    #[test]
    fn what_a_dead_publisher_could_hand_to_nobody_is_owed_to_nobody() {
        let mut seen = planted::sound();
        seen.ledger.arrivals.retain(|a| a.from.is_none());
        assert_eq!(complete(&seen).len(), 1, "it lives and has told nobody");
        let publisher = seen.ledger.publications[0].node;
        let n = seen.nodes.iter_mut().find(|n| n.node == publisher).unwrap();
        n.peer.as_mut().unwrap().epoch += 1;
        assert_eq!(complete(&seen), []);
    }

    /// n3 hands its message to n4 alone, three seconds after it published; it dies at the first of these
    /// times, n4 at the second.
    fn with_late_first_holder(publisher_dies: Duration, holder_dies: Duration) -> Observation {
        let mut seen = planted::sound();
        let published = seen.ledger.publications[0].at;
        seen.ledger.arrivals.truncate(2);
        seen.ledger.arrivals[1].at = published + Duration::from_secs(3);
        for (node, after) in [(3, publisher_dies), (4, holder_dies)] {
            let (node, from) = (NodeId(node), published + after);
            planted::trouble(&mut seen, node, Trouble::Dead, from, None);
            seen.nodes.iter_mut().find(|n| n.node == node).unwrap().peer = None;
        }
        seen
    }

    #[test]
    fn message_that_dies_with_publisher_and_all_holders_at_once_is_not_owed() {
        let (soon, later) = (Duration::from_millis(3_070), Duration::from_millis(4_500));
        assert_eq!(complete(&with_late_first_holder(soon, soon)), []);
        let missed = complete(&with_late_first_holder(soon, later));
        assert_eq!(missed.len(), 1, "the holder had time to pass it on: {missed:?}");
        let missed = complete(&with_late_first_holder(later, soon));
        assert_eq!(missed.len(), 1, "the publisher had time to hand it to another: {missed:?}");
        let lossy = |died: Duration, until: Option<Time>| {
            let mut seen = with_late_first_holder(died, died);
            seen.ledger.losses.push((Time::ZERO, until));
            complete(&seen)
        };
        assert_eq!(lossy(later, None), [], "it has to be pulled by the next ones");
        assert_eq!(lossy(Duration::from_secs(6), None).len(), 1);
        assert_eq!(lossy(later, Some(Time::ZERO)).len(), 1, "nothing was lost any more");
        let mut seen = with_late_first_holder(later, later);
        let of = [(NodeId(3), 0), (NodeId(4), 0), (NodeId(5), 0), (NodeId(9), 1)].into();
        seen.ledger.parts.push(Parts { from: Time::ZERO, of });
        assert_eq!(complete(&seen), [], "its other neighbours may be behind the cut");
    }

    #[test]
    fn message_is_not_owed_to_a_peer_that_was_cut_off_from_all_holders_until_they_died() {
        let soon = Duration::from_secs(10);
        let mut seen = with_late_first_holder(soon, soon);
        assert_eq!(complete(&seen).len(), 1, "they had time to pass it on");
        let published = seen.ledger.publications[0].at;
        let cut = |after: u64, apart: u32| Parts {
            from: published + Duration::from_millis(after),
            of: [3, 4, 5].map(|n| (NodeId(n), usize::from(n == apart))).into(),
        };
        seen.ledger.parts.push(cut(900, 5));
        assert_eq!(complete(&seen), []);
        seen.ledger.parts.push(cut(2_500, 3));
        assert_eq!(complete(&seen).len(), 1, "n4 got it when the cut had healed");
        seen.ledger.parts[1] = cut(3_500, 3);
        assert_eq!(complete(&seen), [], "they had no time to link with each other");
        let died = seen.ledger.impairments.pop().unwrap();
        assert_eq!(complete(&seen).len(), 1, "n4 still holds it");
        let id = seen.ledger.publications[0].id;
        seen.ledger.impairments.push(Impairment { until: Some(seen.now), ..died });
        let of = |seen: &Observation, node| seen.nodes.iter().position(|n| n.node == node).unwrap();
        let (n4, n5) = (of(&seen, NodeId(4)), of(&seen, NodeId(5)));
        seen.nodes[n4].peer = seen.nodes[n5].peer.clone();
        seen.nodes[n4].life_since = seen.now;
        assert_eq!(complete(&seen), [], "n4 has started again without a disk");
        seen.nodes[n4].publishers.push(PublisherView {
            publisher: id.publisher,
            epoch: id.epoch,
            high_water: 1,
            gaps: vec![],
            received: 1,
        });
        assert_eq!(complete(&seen).len(), 1, "n4 has it on its disk");
    }

    #[test]
    fn messages_of_a_peer_that_left_are_owed_unless_it_said_otherwise() {
        let mut seen = planted::with_departure();
        assert_eq!(complete(&seen), []);
        seen.ledger.arrivals.retain(|a| a.from.is_none());
        assert_eq!(complete(&seen).len(), 1, "no other node holds it");
        seen.ledger.departures[0].unconfirmed = Some((0, 1));
        assert_eq!(complete(&seen), [], "it said so");
        let mut seen = planted::with_departure();
        seen.ledger.arrivals.pop();
        assert_eq!(complete(&seen).len(), 1, "one peer does not get it");
        let (holder, from) = (seen.ledger.arrivals[1].node, seen.ledger.departures[0].at);
        planted::trouble(&mut seen, holder, Trouble::Dead, from, None);
        assert_eq!(complete(&seen), [], "the only holder died");
    }

    #[test]
    fn message_is_owed_when_all_its_holders_have_left_without_saying_so() {
        let mut seen = planted::with_departure();
        seen.ledger.arrivals.pop();
        let (holder, departure) = (seen.ledger.arrivals[1].node, seen.ledger.departures[0].clone());
        planted::trouble(&mut seen, holder, Trouble::Left, departure.at, None);
        seen.ledger.departures.push(Departure { node: holder, others: 0, ..departure });
        assert_eq!(complete(&seen).len(), 1, "two that relied on each other");
        seen.ledger.departures[1].others = 1;
        assert_eq!(complete(&seen), [], "the second one said so");
    }

    #[test]
    fn a_peer_whose_host_moved_is_owed_everything() {
        let mut seen = planted::sound();
        let last = seen.ledger.arrivals.pop().unwrap();
        let moved = last.at;
        planted::trouble(&mut seen, last.node, Trouble::Moved, moved, Some(moved));
        assert_eq!(complete(&seen).len(), 1);
    }

    #[test]
    fn a_peer_that_was_frozen_is_owed_nothing() {
        let mut seen = planted::sound();
        let last = seen.ledger.arrivals.pop().unwrap();
        planted::trouble(&mut seen, last.node, Trouble::Frozen, Time::from_micros(1), None);
        assert_eq!(complete(&seen), []);
    }

    #[test]
    fn a_second_delivery_is_found() {
        let mut seen = planted::sound();
        assert_eq!(once(&seen), []);
        let again = seen.ledger.arrivals[1].clone();
        seen.ledger.arrivals.push(again);
        assert_eq!(once(&seen).len(), 1);
    }

    #[test]
    fn a_message_from_nowhere_is_found() {
        let mut seen = planted::sound();
        seen.ledger.publications.clear();
        assert!(!once(&seen).is_empty());
    }
}
