//! G5: no live, reachable peer is removed, every removal names enough witnesses, and the dead are removed
//! in time.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use rumormill_proto::snapshot::MemberState;
use rumormill_proto::{PeerId, Role, Time};

use super::Violation;
use crate::ledger::{Impairment, Removal, Trouble};
use crate::node::NodeId;
use crate::observation::{Observation, prompt as limit};

/// How long the network has to be quiet before a death for the death to be found in the usual time: a seed
/// that was away has its registrations again by then.
const QUIET: Duration = Duration::from_secs(30);
/// How soon after its goodbye a process ends.
const ENDS_WITHIN: Duration = Duration::from_secs(1);
/// Live peers without which there may be no witness.
const WITNESSES: usize = 3;

/// Judges the first word of every removal; that others repeat it later says nothing new.
#[must_use]
pub fn check(seen: &Observation) -> Vec<Violation> {
    let mut first: BTreeMap<(PeerId, u64), &Removal> = BTreeMap::new();
    for r in seen.ledger.removals.iter().filter(|r| !seen.strangers.contains(&r.subject)) {
        first.entry((r.subject, r.incarnation)).or_insert(r);
    }
    first.values().flat_map(|r| judge(seen, r)).collect()
}

/// No seed has a dead process as alive, or as one whose lease ran out, for long: where nothing else was wrong,
/// longer than its death takes to be found, whatever its degree; where something was, or most peers died, longer
/// than a lease in addition.
#[must_use]
pub fn prompt(seen: &Observation) -> Vec<Violation> {
    let mut found = Vec::new();
    if !seen.strangers.is_empty() || seen.live_peers().count() < WITNESSES {
        return found;
    }
    let dead = seen.ledger.impairments.iter();
    let dead = dead.filter(|i| i.trouble == Trouble::Dead && i.until.is_none());
    for i in dead.clone() {
        let Some(node) = seen.nodes.iter().find(|n| n.node == i.node) else { continue };
        // The seeds may seem to be cut off where most peers die within a lease.
        let lease = node.config.lease();
        let with_it =
            dead.clone().filter(|d| d.from.max(i.from).since(d.from.min(i.from)) <= lease);
        let most = with_it.count() > seen.live_peers().count();
        let (limit, from) = if !most && seen.quiet_since + QUIET <= i.from {
            (limit(&node.config), i.from)
        } else {
            let calm = limit(&node.config) + node.config.report_window() * 12;
            (node.config.lease() + calm, i.from.max(seen.quiet_since))
        };
        let late = seen.now.since(from);
        if late <= limit {
            continue;
        }
        let stands = |s: &MemberState| matches!(s, MemberState::Alive | MemberState::Expired);
        for seed in seen.live_seeds() {
            let entry = seed.registry.iter().find(|m| m.id == node.id);
            if let Some(m) = entry.filter(|m| stands(&m.state)) {
                let what = format!(
                    "{} died at {} and is {:?} at {} after {late:?}",
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
pub fn false_deaths(seen: &Observation) -> Vec<Removal> {
    let unjust = |r: &&Removal| match seen.node_of(&r.subject) {
        Some(n) => cause(seen, n.node, r).is_none(),
        None => true,
    };
    seen.ledger.removals.iter().filter(unjust).cloned().collect()
}

fn judge(seen: &Observation, r: &Removal) -> Vec<Violation> {
    let about = seen.node_of(&r.subject).map(|n| n.node);
    let say = |what: String| Violation::new("G5", what).about(about).about([r.observer]);
    let Some(subject) = seen.node_of(&r.subject) else {
        return vec![say(format!("{} was removed at {}, but never lived", r.subject, r.at))];
    };
    let node = subject.node;
    let mut found = Vec::new();
    let Some(cause) = cause(seen, node, r) else {
        let what = format!(
            "{node} was removed at {} (incarnation {}) while it was live and reachable",
            r.at, r.incarnation
        );
        return vec![say(what)];
    };
    let witnesses: BTreeSet<PeerId> = r.witnesses.iter().copied().collect();
    let needed = needed(seen, cause, r);
    if witnesses.len() < needed {
        found.push(say(format!(
            "{node} was removed at {} on {} witnesses, {needed} were needed",
            r.at,
            witnesses.len(),
        )));
    }
    if witnesses.contains(&r.subject) {
        found.push(say(format!("{node} is a witness of its own death at {}", r.at)));
    }
    for w in witnesses.iter().filter(|w| seen.node_of(w).is_none()) {
        found.push(say(format!("{w} bears witness against {node} and never lived")));
    }
    let seeds: BTreeSet<PeerId> = r.seeds.iter().copied().collect();
    if seeds.len() < seen.seed_quorum() {
        found.push(say(format!(
            "{node} was removed at {} by {} of {} seeds",
            r.at,
            seeds.len(),
            seen.seeds
        )));
    }
    found
}

/// Witnesses that the removal needed at least. Neighbours that were struck meanwhile take away from
/// the degree that the number follows from, by half a witness each.
fn needed(seen: &Observation, cause: &Impairment, r: &Removal) -> usize {
    let from = Time::from_micros(
        cause.from.as_micros().saturating_sub(u64::try_from(seen.grace.as_micros()).unwrap_or(0)),
    );
    let meanwhile = |i: &&Impairment| {
        i.node != cause.node
            && i.trouble != Trouble::Moved
            && i.from <= r.at
            && i.until.is_none_or(|until| until >= from)
    };
    let others: BTreeSet<NodeId> =
        seen.ledger.impairments.iter().filter(meanwhile).map(|i| i.node).collect();
    cause.needed.saturating_sub(others.len().div_ceil(2)).max(1)
}

/// The trouble that may have led to the removal: the node's own, or that of a copy of it which ran with the
/// incarnation that was removed. An end of a process is one for the incarnations up to its own, not for that of the
/// next process. Leaving is none if the seeds have acknowledged it: such a peer is not dead, as one is that stops
/// because another process has its identity. Nor is a cut, while it lasts and for a lease at most, that leaves most peers without the seeds: it is the seeds that
/// are cut off. Nor is a move, unless other trouble had come before it: a host that moves says so at once.
fn cause<'a>(seen: &'a Observation, node: NodeId, r: &Removal) -> Option<&'a Impairment> {
    let said_goodbye = |i: &Impairment| {
        let mut departures = seen.ledger.departures.iter();
        departures.any(|d| {
            let ends = d.at <= i.from && i.from.since(d.at) <= ENDS_WITHIN;
            d.node == node && d.acknowledged && ends
        })
    };
    seen.ledger.impairments.iter().find(|i| {
        let was_removed = i.id == r.subject && i.incarnation == Some(r.incarnation);
        let ended = matches!(i.trouble, Trouble::Dead | Trouble::Left);
        let own = i.node == node && (!ended || i.incarnation >= Some(r.incarnation));
        (own || was_removed)
            && (i.trouble != Trouble::Left || !said_goodbye(i))
            && (i.trouble != Trouble::Moved || was_hindered(seen, i))
            && !(i.trouble == Trouble::CutOff && cuts_seeds_off(seen, i, r.at))
            && i.from <= r.at
            && i.until.is_none_or(|until| r.at.since(until) <= seen.grace)
    })
}

/// Whether there was other trouble with a host shortly before it moved, so that nobody might hear of the move.
fn was_hindered(seen: &Observation, moved: &Impairment) -> bool {
    seen.ledger.impairments.iter().any(|i| {
        i.node == moved.node
            && matches!(i.trouble, Trouble::CutOff | Trouble::Frozen | Trouble::Slow)
            && i.from <= moved.from
            && i.until.is_none_or(|until| moved.from.since(until) <= seen.grace)
    })
}

/// Whether more than seven eighths of the live peers have been cut off with this one for less than a lease.
fn cuts_seeds_off(seen: &Observation, cut: &Impairment, at: Time) -> bool {
    let lease = seen.nodes.iter().find(|n| n.node == cut.node).map(|n| n.config.lease());
    if lease.is_none_or(|lease| at.since(cut.from) >= lease)
        || cut.until.is_some_and(|end| at >= end)
    {
        return false;
    }
    let then = |i: &&Impairment| i.from <= cut.from && i.until.is_none_or(|end| end > at);
    let (mut cut_off, mut gone) = (BTreeSet::new(), BTreeSet::new());
    for i in seen.ledger.impairments.iter().filter(then) {
        match i.trouble {
            Trouble::CutOff => cut_off.insert(i.node),
            Trouble::Dead | Trouble::Left => gone.insert(i.node),
            Trouble::Moved | Trouble::Frozen | Trouble::Slow => false,
        };
    }
    let peers = seen.nodes.iter().filter(|n| n.role == Role::Peer && !gone.contains(&n.node));
    cut_off.difference(&gone).count() * 8 > peers.count() * 7
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted;
    use crate::ledger::Departure;

    #[test]
    fn a_just_removal_passes() {
        let seen = planted::with_removal();
        assert_eq!(check(&seen), []);
        assert_eq!(false_deaths(&seen), []);
    }

    #[test]
    fn neighbours_that_are_struck_as_well_take_away_from_what_is_needed() {
        let mut seen = planted::with_removal();
        let cause = seen.ledger.impairments[0].clone();
        let r = seen.ledger.removals[0].clone();
        seen.ledger.impairments[0].needed = r.witnesses.len() + 1;
        assert_eq!(check(&seen).len(), 1);
        let mut other = cause;
        other.node = NodeId(99);
        seen.ledger.impairments.push(other);
        assert_eq!(check(&seen), []);
        seen.ledger.impairments[0].needed += 1;
        assert_eq!(check(&seen).len(), 1);
    }

    #[test]
    fn a_dead_process_that_stays_alive_in_a_registry_is_found() {
        let died = |at: u64| {
            let mut seen = planted::with_removal();
            seen.ledger.impairments[0].from = Time::from_micros(at * 1_000_000);
            seen.ledger.impairments[0].until = None;
            for n in &mut seen.nodes {
                n.registry.iter_mut().filter(|m| m.id == planted::id(5)).for_each(|m| {
                    m.state = MemberState::Alive;
                });
            }
            // It is at 60 s, and one more peer lives than the three that were planted.
            let mut fourth = seen.nodes[3].clone();
            fourth.id = planted::id(9);
            seen.nodes.push(fourth);
            seen
        };
        let prompt = |seen: &Observation| prompt(seen).len();
        assert_eq!(prompt(&died(55)), 0, "not yet");
        let late = died(40);
        assert_eq!(prompt(&late), 3, "at each seed");
        let mut removed = late.clone();
        removed.nodes.iter_mut().for_each(|n| n.registry.retain(|m| m.id != planted::id(5)));
        assert_eq!(prompt(&removed), 0);
        let mut disturbed = late;
        disturbed.quiet_since = Time::from_micros(30_000_000);
        assert_eq!(prompt(&disturbed), 0, "there was more to it than the death");
        disturbed.now += Duration::from_secs(300);
        assert_eq!(prompt(&disturbed), 3);
    }

    #[test]
    fn a_removal_of_a_live_peer_is_found() {
        let mut seen = planted::with_removal();
        seen.ledger.impairments.clear();
        assert!(check(&seen)[0].what.contains("live and reachable"));
        assert_eq!(false_deaths(&seen).len(), 1);
    }

    #[test]
    fn removal_of_a_peer_that_is_cut_off_with_most_others_is_found_within_a_lease() {
        let mut seen = planted::with_removal();
        seen.ledger.impairments[0].trouble = Trouble::CutOff;
        seen.ledger.impairments[0].until = None;
        assert_eq!(check(&seen), []);
        let cut = seen.ledger.impairments[0].clone();
        let peers = seen.nodes.iter().filter(|n| n.role == Role::Peer && n.node != cut.node);
        let with_it: Vec<Impairment> =
            peers.map(|n| Impairment { node: n.node, ..cut.clone() }).collect();
        seen.ledger.impairments.extend(with_it);
        assert_eq!(check(&seen).len(), 1);
        seen.ledger.removals[0].at = cut.from + seen.nodes[3].config.lease();
        assert_eq!(check(&seen), []);
    }

    #[test]
    fn removal_of_a_copy_that_died_is_no_removal_of_the_original() {
        let mut seen = planted::with_removal();
        seen.ledger.impairments[0].node = NodeId(9);
        assert_eq!(check(&seen), []);
        seen.ledger.removals[0].incarnation += 1;
        assert_eq!(check(&seen).len(), 1, "the original's incarnation");
    }

    #[test]
    fn removal_of_the_next_process_is_not_excused_by_the_end_of_the_last() {
        let mut seen = planted::with_removal();
        seen.ledger.removals[0].incarnation = seen.ledger.impairments[0].incarnation.unwrap() + 1;
        assert_eq!(check(&seen).len(), 1);
    }

    #[test]
    fn removal_of_a_host_that_moved_is_found_unless_it_was_cut_off_before() {
        let mut seen = planted::with_removal();
        let cut = seen.ledger.impairments[0].clone();
        seen.ledger.impairments[0].trouble = Trouble::Moved;
        assert_eq!(check(&seen).len(), 1);
        let ended = Impairment { trouble: Trouble::CutOff, until: Some(cut.from), ..cut };
        seen.ledger.impairments.push(ended);
        let moved = cut.from + seen.grace / 2;
        (seen.ledger.impairments[0].from, seen.ledger.impairments[0].until) = (moved, Some(moved));
        seen.ledger.removals[0].at = moved + seen.grace;
        assert_eq!(check(&seen), []);
    }

    #[test]
    fn deaths_of_long_ago_give_no_death_more_time() {
        let mut seen = planted::with_removal();
        let died = seen.ledger.impairments[0].clone();
        let lease = seen.nodes[3].config.lease();
        for n in &mut seen.nodes {
            n.registry.iter_mut().filter(|m| m.id == died.id).for_each(|m| {
                m.state = MemberState::Alive;
            });
        }
        let mut more = seen.nodes[3].clone();
        more.id = planted::id(9);
        seen.nodes.push(more);
        let now = died.from + lease * 3;
        (seen.now, seen.ledger.impairments[0].from) = (now, now - Duration::from_secs(20));
        seen.ledger.impairments[0].until = None;
        assert_eq!(prompt(&seen).len(), 3, "at each seed");
        // Their nodes are in no registry.
        let other = |n| Impairment { node: NodeId(n), until: None, ..died.clone() };
        seen.ledger.impairments.extend((20..30).map(other));
        assert_eq!(prompt(&seen).len(), 3, "they died long before");
        for i in &mut seen.ledger.impairments {
            (i.from, i.until) = (now - Duration::from_secs(20), None);
        }
        assert_eq!(prompt(&seen), [], "most died at once");
    }

    #[test]
    fn a_removal_long_after_the_trouble_is_found() {
        let mut seen = planted::with_removal();
        seen.ledger.impairments[0].until = Some(Time::from_micros(6_000_000));
        seen.ledger.removals[0].at = Time::from_micros(6_000_000) + seen.grace;
        assert_eq!(check(&seen), []);
        seen.ledger.removals[0].at += Duration::from_micros(1);
        assert_eq!(check(&seen).len(), 1);
    }

    #[test]
    fn a_removal_of_a_peer_that_left_is_found() {
        let mut seen = planted::with_removal();
        seen.ledger.impairments[0].trouble = Trouble::Left;
        assert_eq!(check(&seen), [], "it stopped without a goodbye");
        let Impairment { node, from: at, .. } = seen.ledger.impairments[0];
        seen.ledger.departures.push(Departure {
            at,
            node,
            since: Time::ZERO,
            acknowledged: false,
            unconfirmed: None,
            others: 0,
            connected: Vec::new(),
        });
        assert_eq!(check(&seen), [], "nobody heard that it leaves");
        seen.ledger.departures[0].acknowledged = true;
        assert_eq!(check(&seen).len(), 1);
    }

    #[test]
    fn too_few_witnesses_are_found() {
        let mut seen = planted::with_removal();
        seen.ledger.removals[0].witnesses.pop();
        assert!(check(&seen)[0].what.contains("1 witnesses, 2 were needed"));
        // The same witness twice is one.
        let again = seen.ledger.removals[0].witnesses[0];
        seen.ledger.removals[0].witnesses.push(again);
        assert_eq!(check(&seen).len(), 1);
    }

    #[test]
    fn a_removal_by_a_minority_of_the_seeds_is_found() {
        let mut seen = planted::with_removal();
        seen.ledger.removals[0].seeds.pop();
        assert!(check(&seen)[0].what.contains("1 of 3 seeds"));
    }

    #[test]
    fn a_witness_of_ones_own_death_is_found() {
        let mut seen = planted::with_removal();
        let subject = seen.ledger.removals[0].subject;
        seen.ledger.removals[0].witnesses.push(subject);
        assert_eq!(check(&seen).len(), 1);
    }
}
