//! G5: no live and reachable peer is removed, every removal names enough witnesses, and dead peers
//! are removed in time.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use rumormill_proto::snapshot::MemberState;
use rumormill_proto::{PeerId, Role, Time};

use super::Violation;
use crate::ledger::{Impairment, ImpairmentKind, Removal};
use crate::node::NodeId;
use crate::observation::{Observation, removal_limit};

/// How long the network must be undisturbed before a death for the usual removal limit to apply: a
/// seed that was absent has its registrations again by then.
const QUIET_BEFORE: Duration = Duration::from_secs(30);
/// How soon after `Event::Left` a process ends.
const ENDS_WITHIN: Duration = Duration::from_secs(1);
/// Fewest live peers with which every death has a witness.
const MIN_LIVE_PEERS: usize = 3;

/// Checks the first report of every removal; later reports of the same removal repeat it.
#[must_use]
pub fn check(observation: &Observation) -> Vec<Violation> {
    let mut first: BTreeMap<(PeerId, u64), &Removal> = BTreeMap::new();
    for r in
        observation.ledger.removals.iter().filter(|r| !observation.adversaries.contains(&r.subject))
    {
        first.entry((r.subject, r.incarnation)).or_insert(r);
    }
    first.values().flat_map(|r| check_removal(observation, r)).collect()
}

/// Finds dead peers that a seed still lists as alive or expired after the time limit. In an
/// undisturbed network the limit is [`removal_limit`], whatever the degree. If the network was
/// disturbed, or if most peers died, the limit is longer by a lease and more.
#[must_use]
pub fn late_removals(observation: &Observation) -> Vec<Violation> {
    let mut found = Vec::new();
    if !observation.adversaries.is_empty() || observation.live_peers().count() < MIN_LIVE_PEERS {
        return found;
    }
    let dead = observation.ledger.impairments.iter();
    let dead = dead.filter(|i| i.kind == ImpairmentKind::Dead && i.until.is_none());
    for i in dead.clone() {
        let Some(node) = observation.nodes.iter().find(|n| n.node == i.node) else { continue };
        // If most peers die within a lease, the seeds must assume that they are partitioned from
        // these peers.
        let lease = node.config.lease();
        let same_time =
            dead.clone().filter(|d| d.from.max(i.from).since(d.from.min(i.from)) <= lease);
        let most_died = same_time.count() > observation.live_peers().count();
        let (limit, from) = if !most_died && observation.quiet_since + QUIET_BEFORE <= i.from {
            (removal_limit(&node.config), i.from)
        } else {
            let undisturbed = removal_limit(&node.config) + node.config.report_window() * 12;
            (node.config.lease() + undisturbed, i.from.max(observation.quiet_since))
        };
        let late = observation.now.since(from);
        if late <= limit {
            continue;
        }
        let is_not_removed =
            |s: &MemberState| matches!(s, MemberState::Alive | MemberState::Expired);
        for seed in observation.live_seeds() {
            let entry = seed.registry.iter().find(|m| m.id == node.id);
            if let Some(m) = entry.filter(|m| is_not_removed(&m.state)) {
                let what = format!(
                    "{} died at {} and is still {:?} at {} after {late:?}",
                    node.node, i.from, m.state, seed.node
                );
                found.push(Violation::new("G5", what).about([node.node, seed.node]));
            }
        }
    }
    found
}

/// The removals of peers that were live and reachable.
#[must_use]
pub fn false_deaths(observation: &Observation) -> Vec<Removal> {
    let is_false = |r: &&Removal| match observation.node_of(&r.subject) {
        Some(n) => cause(observation, n.node, r).is_none(),
        None => true,
    };
    observation.ledger.removals.iter().filter(is_false).cloned().collect()
}

fn check_removal(observation: &Observation, r: &Removal) -> Vec<Violation> {
    let about = observation.node_of(&r.subject).map(|n| n.node);
    let violation = |what: String| Violation::new("G5", what).about(about).about([r.observer]);
    let Some(subject) = observation.node_of(&r.subject) else {
        return vec![violation(format!(
            "{} was removed at {}, but never existed",
            r.subject, r.at
        ))];
    };
    let node = subject.node;
    let mut found = Vec::new();
    let Some(cause) = cause(observation, node, r) else {
        let what = format!(
            "{node} was removed at {} (incarnation {}) while it was live and reachable",
            r.at, r.incarnation
        );
        return vec![violation(what)];
    };
    let witnesses: BTreeSet<PeerId> = r.witnesses.iter().copied().collect();
    let needed = needed(observation, cause, r);
    if witnesses.len() < needed {
        found.push(violation(format!(
            "{node} was removed at {} on {} witnesses, {needed} were needed",
            r.at,
            witnesses.len(),
        )));
    }
    if witnesses.contains(&r.subject) {
        found.push(violation(format!("{node} is a witness of its own death at {}", r.at)));
    }
    for w in witnesses.iter().filter(|w| observation.node_of(w).is_none()) {
        found.push(violation(format!("{w} is a witness against {node} and never existed")));
    }
    let seeds: BTreeSet<PeerId> = r.seeds.iter().copied().collect();
    if seeds.len() < observation.seed_quorum() {
        found.push(violation(format!(
            "{node} was removed at {} by {} of {} seeds",
            r.at,
            seeds.len(),
            observation.seeds
        )));
    }
    found
}

/// Number of witnesses that the removal needed at least. The number follows from the degree, which
/// other impaired nodes may have reduced: two of them reduce it by one witness.
fn needed(observation: &Observation, cause: &Impairment, r: &Removal) -> usize {
    let from = Time::from_micros(
        cause
            .from
            .as_micros()
            .saturating_sub(u64::try_from(observation.grace.as_micros()).unwrap_or(0)),
    );
    let is_concurrent = |i: &&Impairment| {
        i.node != cause.node
            && i.kind != ImpairmentKind::Moved
            && i.from <= r.at
            && i.until.is_none_or(|until| until >= from)
    };
    let others: BTreeSet<NodeId> =
        observation.ledger.impairments.iter().filter(is_concurrent).map(|i| i.node).collect();
    cause.needed.saturating_sub(others.len().div_ceil(2)).max(1)
}

/// The impairment that justifies the removal: of the node itself, or of a copy of it that ran with
/// the removed incarnation.
///
/// - The end of a process justifies the removal of its own and earlier incarnations, not of the
///   incarnation of the next process.
/// - An exit that the seeds have acknowledged is no justification: such a peer has left. A process
///   that ends because another process has its identity has no such exit.
/// - A partition that separates most peers from the seeds is no justification while it lasts and
///   for a lease at most: the seeds must assume that they are partitioned themselves.
/// - A changed address is no justification unless another impairment preceded it: a host that
///   moves announces its new address at once.
fn cause<'a>(observation: &'a Observation, node: NodeId, r: &Removal) -> Option<&'a Impairment> {
    let left_acknowledged = |i: &Impairment| {
        let mut departures = observation.ledger.departures.iter();
        departures.any(|d| {
            let ends = d.at <= i.from && i.from.since(d.at) <= ENDS_WITHIN;
            d.node == node && d.acknowledged && ends
        })
    };
    observation.ledger.impairments.iter().find(|i| {
        let same_incarnation = i.id == r.subject && i.incarnation == Some(r.incarnation);
        let ended = matches!(i.kind, ImpairmentKind::Dead | ImpairmentKind::Left);
        let same_node = i.node == node && (!ended || i.incarnation >= Some(r.incarnation));
        (same_node || same_incarnation)
            && (i.kind != ImpairmentKind::Left || !left_acknowledged(i))
            && (i.kind != ImpairmentKind::Moved || was_impaired_before(observation, i))
            && !(i.kind == ImpairmentKind::Unreachable
                && separates_most_peers(observation, i, r.at))
            && i.from <= r.at
            && i.until.is_none_or(|until| r.at.since(until) <= observation.grace)
    })
}

/// Whether a host had another impairment shortly before it moved, so that its announcement of the
/// new address may have been lost.
fn was_impaired_before(observation: &Observation, moved: &Impairment) -> bool {
    observation.ledger.impairments.iter().any(|i| {
        i.node == moved.node
            && matches!(
                i.kind,
                ImpairmentKind::Unreachable | ImpairmentKind::Frozen | ImpairmentKind::Slow
            )
            && i.from <= moved.from
            && i.until.is_none_or(|until| moved.from.since(until) <= observation.grace)
    })
}

/// Whether more than seven eighths of the live peers have been unreachable together with this one,
/// for less than a lease.
fn separates_most_peers(observation: &Observation, cut: &Impairment, at: Time) -> bool {
    let lease = observation.nodes.iter().find(|n| n.node == cut.node).map(|n| n.config.lease());
    if lease.is_none_or(|lease| at.since(cut.from) >= lease)
        || cut.until.is_some_and(|end| at >= end)
    {
        return false;
    }
    let is_concurrent = |i: &&Impairment| i.from <= cut.from && i.until.is_none_or(|end| end > at);
    let (mut unreachable, mut ended) = (BTreeSet::new(), BTreeSet::new());
    for i in observation.ledger.impairments.iter().filter(is_concurrent) {
        match i.kind {
            ImpairmentKind::Unreachable => unreachable.insert(i.node),
            ImpairmentKind::Dead | ImpairmentKind::Left => ended.insert(i.node),
            ImpairmentKind::Moved | ImpairmentKind::Frozen | ImpairmentKind::Slow => false,
        };
    }
    let peers =
        observation.nodes.iter().filter(|n| n.role == Role::Peer && !ended.contains(&n.node));
    unreachable.difference(&ended).count() * 8 > peers.count() * 7
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted;
    use crate::ledger::Departure;

    #[test]
    fn justified_removal_passes() {
        let observation = planted::with_removal();
        assert_eq!(check(&observation), []);
        assert_eq!(false_deaths(&observation), []);
    }

    #[test]
    fn impaired_neighbours_reduce_the_needed_witnesses() {
        let mut observation = planted::with_removal();
        let cause = observation.ledger.impairments[0].clone();
        let r = observation.ledger.removals[0].clone();
        observation.ledger.impairments[0].needed = r.witnesses.len() + 1;
        assert_eq!(check(&observation).len(), 1);
        let mut other = cause;
        other.node = NodeId(99);
        observation.ledger.impairments.push(other);
        assert_eq!(check(&observation), []);
        observation.ledger.impairments[0].needed += 1;
        assert_eq!(check(&observation).len(), 1);
    }

    #[test]
    fn dead_peer_that_stays_alive_in_a_registry_is_found() {
        let died = |at: u64| {
            let mut observation = planted::with_removal();
            observation.ledger.impairments[0].from = Time::from_micros(at * 1_000_000);
            observation.ledger.impairments[0].until = None;
            for n in &mut observation.nodes {
                n.registry.iter_mut().filter(|m| m.id == planted::id(5)).for_each(|m| {
                    m.state = MemberState::Alive;
                });
            }
            // The observation is at 60 s; a fourth peer makes enough live peers for a witness.
            let mut fourth = observation.nodes[3].clone();
            fourth.id = planted::id(9);
            observation.nodes.push(fourth);
            observation
        };
        let late_removals = |observation: &Observation| late_removals(observation).len();
        assert_eq!(late_removals(&died(55)), 0, "the time limit has not passed");
        let late = died(40);
        assert_eq!(late_removals(&late), 3, "every seed lists it");
        let mut removed = late.clone();
        removed.nodes.iter_mut().for_each(|n| n.registry.retain(|m| m.id != planted::id(5)));
        assert_eq!(late_removals(&removed), 0);
        let mut disturbed = late;
        disturbed.quiet_since = Time::from_micros(30_000_000);
        assert_eq!(late_removals(&disturbed), 0, "a disturbed network has a longer limit");
        disturbed.now += Duration::from_secs(300);
        assert_eq!(late_removals(&disturbed), 3);
    }

    #[test]
    fn removal_of_a_live_peer_is_found() {
        let mut observation = planted::with_removal();
        observation.ledger.impairments.clear();
        assert!(check(&observation)[0].what.contains("live and reachable"));
        assert_eq!(false_deaths(&observation).len(), 1);
    }

    #[test]
    fn removal_of_a_peer_partitioned_with_most_others_is_found_within_a_lease() {
        let mut observation = planted::with_removal();
        observation.ledger.impairments[0].kind = ImpairmentKind::Unreachable;
        observation.ledger.impairments[0].until = None;
        assert_eq!(check(&observation), []);
        let cut = observation.ledger.impairments[0].clone();
        let peers = observation.nodes.iter().filter(|n| n.role == Role::Peer && n.node != cut.node);
        let others: Vec<Impairment> =
            peers.map(|n| Impairment { node: n.node, ..cut.clone() }).collect();
        observation.ledger.impairments.extend(others);
        assert_eq!(check(&observation).len(), 1);
        observation.ledger.removals[0].at = cut.from + observation.nodes[3].config.lease();
        assert_eq!(check(&observation), []);
    }

    #[test]
    fn removal_of_a_dead_copy_is_not_a_removal_of_the_original() {
        let mut observation = planted::with_removal();
        observation.ledger.impairments[0].node = NodeId(9);
        assert_eq!(check(&observation), []);
        observation.ledger.removals[0].incarnation += 1;
        assert_eq!(check(&observation).len(), 1, "the original's incarnation is removed");
    }

    #[test]
    fn end_of_a_process_does_not_justify_removal_of_the_next_process() {
        let mut observation = planted::with_removal();
        observation.ledger.removals[0].incarnation =
            observation.ledger.impairments[0].incarnation.unwrap() + 1;
        assert_eq!(check(&observation).len(), 1);
    }

    #[test]
    fn removal_of_a_moved_host_is_found_unless_it_was_unreachable_before() {
        let mut observation = planted::with_removal();
        let cut = observation.ledger.impairments[0].clone();
        observation.ledger.impairments[0].kind = ImpairmentKind::Moved;
        assert_eq!(check(&observation).len(), 1);
        let ended = Impairment { kind: ImpairmentKind::Unreachable, until: Some(cut.from), ..cut };
        observation.ledger.impairments.push(ended);
        let moved = cut.from + observation.grace / 2;
        (observation.ledger.impairments[0].from, observation.ledger.impairments[0].until) =
            (moved, Some(moved));
        observation.ledger.removals[0].at = moved + observation.grace;
        assert_eq!(check(&observation), []);
    }

    #[test]
    fn earlier_deaths_do_not_extend_the_limit_of_a_later_death() {
        let mut observation = planted::with_removal();
        let died = observation.ledger.impairments[0].clone();
        let lease = observation.nodes[3].config.lease();
        for n in &mut observation.nodes {
            n.registry.iter_mut().filter(|m| m.id == died.id).for_each(|m| {
                m.state = MemberState::Alive;
            });
        }
        let mut more = observation.nodes[3].clone();
        more.id = planted::id(9);
        observation.nodes.push(more);
        let now = died.from + lease * 3;
        (observation.now, observation.ledger.impairments[0].from) =
            (now, now - Duration::from_secs(20));
        observation.ledger.impairments[0].until = None;
        assert_eq!(late_removals(&observation).len(), 3, "every seed lists it");
        // The nodes of these impairments are in no registry.
        let other = |n| Impairment { node: NodeId(n), until: None, ..died.clone() };
        observation.ledger.impairments.extend((20..30).map(other));
        assert_eq!(late_removals(&observation).len(), 3, "the others died long before");
        for i in &mut observation.ledger.impairments {
            (i.from, i.until) = (now - Duration::from_secs(20), None);
        }
        assert_eq!(late_removals(&observation), [], "most peers died at once");
    }

    #[test]
    fn removal_long_after_the_impairment_is_found() {
        let mut observation = planted::with_removal();
        observation.ledger.impairments[0].until = Some(Time::from_micros(6_000_000));
        observation.ledger.removals[0].at = Time::from_micros(6_000_000) + observation.grace;
        assert_eq!(check(&observation), []);
        observation.ledger.removals[0].at += Duration::from_micros(1);
        assert_eq!(check(&observation).len(), 1);
    }

    #[test]
    fn removal_of_a_peer_that_left_is_found() {
        let mut observation = planted::with_removal();
        observation.ledger.impairments[0].kind = ImpairmentKind::Left;
        assert_eq!(check(&observation), [], "the process ended without an orderly exit");
        let Impairment { node, from: at, .. } = observation.ledger.impairments[0];
        observation.ledger.departures.push(Departure {
            at,
            node,
            since: Time::ZERO,
            acknowledged: false,
            unconfirmed: None,
            others: 0,
            connected: Vec::new(),
        });
        assert_eq!(check(&observation), [], "no majority of the seeds acknowledged the exit");
        observation.ledger.departures[0].acknowledged = true;
        assert_eq!(check(&observation).len(), 1);
    }

    #[test]
    fn too_few_witnesses_are_found() {
        let mut observation = planted::with_removal();
        observation.ledger.removals[0].witnesses.pop();
        assert!(check(&observation)[0].what.contains("1 witnesses, 2 were needed"));
        // A repeated witness counts once.
        let again = observation.ledger.removals[0].witnesses[0];
        observation.ledger.removals[0].witnesses.push(again);
        assert_eq!(check(&observation).len(), 1);
    }

    #[test]
    fn removal_by_a_minority_of_the_seeds_is_found() {
        let mut observation = planted::with_removal();
        observation.ledger.removals[0].seeds.pop();
        assert!(check(&observation)[0].what.contains("1 of 3 seeds"));
    }

    #[test]
    fn subject_among_its_own_witnesses_is_found() {
        let mut observation = planted::with_removal();
        let subject = observation.ledger.removals[0].subject;
        observation.ledger.removals[0].witnesses.push(subject);
        assert_eq!(check(&observation).len(), 1);
    }
}
