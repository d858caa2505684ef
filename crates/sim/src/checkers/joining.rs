//! G4: a peer that reports that it has joined knows the peers that had joined before.

use std::collections::BTreeMap;

use rumormill_proto::limits::FULL_LIST_LIMIT;
use rumormill_proto::{Role, Time};

use super::Violation;
use crate::ledger::{ImpairmentKind, Join};
use crate::node::NodeId;
use crate::observation::Observation;

/// Finds joined peers that do not know an earlier one. A peer must know every peer that had joined
/// before it was itself registered at a majority of the seeds. Of two peers that joined at the same
/// time, at least one must know the other.
///
/// Peers that were impaired or leaving between the two joins are exempt, and so are all joins after
/// the first seed has lost its disk, because that seed has lost registrations that it had
/// acknowledged.
#[must_use]
pub fn check(observation: &Observation) -> Vec<Violation> {
    if observation.live_peers().count() > FULL_LIST_LIMIT {
        return Vec::new();
    }
    let is_seed =
        |node: NodeId| observation.nodes.iter().any(|n| n.node == node && n.role == Role::Seed);
    let mut lost = observation.ledger.disks_lost.iter().filter(|(node, _)| is_seed(*node));
    let first_disk_loss = lost.next().map_or(Time::MAX, |(_, at)| *at);
    let periods = impaired_periods(observation);
    let is_honest = |j: &&Join| !observation.adversaries.contains(&j.id);
    let joins: Vec<&Join> = observation.ledger.joins.iter().filter(is_honest).collect();
    let mut found = Vec::new();
    for (at, later) in joins.iter().enumerate().filter(|(_, j)| j.at < first_disk_loss) {
        let is_unimpaired = |j: &&&Join| {
            let mut of = periods.get(&j.node).into_iter().flatten();
            !of.any(|&(from, until)| from <= later.at && until >= j.at)
        };
        let earlier_joins = joins.iter().take(at).filter(is_unimpaired);
        for earlier in earlier_joins.filter(|j| j.node != later.node) {
            let knows = |a: &Join, b: &Join| a.known.binary_search(&b.id).is_ok();
            let is_violation = !knows(later, earlier)
                && (earlier.at <= later.registered || !knows(earlier, later));
            if is_violation {
                let what = format!(
                    "{} joined at {} and did not know {}, which had joined at {}",
                    later.node, later.at, earlier.node, earlier.at
                );
                found.push(Violation::new("G4", what).about([later.node, earlier.node]));
            }
        }
    }
    found
}

/// The periods in which each node was impaired or leaving.
fn impaired_periods(observation: &Observation) -> BTreeMap<NodeId, Vec<(Time, Time)>> {
    let mut all: BTreeMap<NodeId, Vec<(Time, Time)>> = BTreeMap::new();
    for i in &observation.ledger.impairments {
        // A peer with a slow line or a changed address stays registered.
        if !matches!(i.kind, ImpairmentKind::Slow | ImpairmentKind::Moved) {
            all.entry(i.node).or_default().push((i.from, i.until.unwrap_or(Time::MAX)));
        }
    }
    for &(node, from) in &observation.ledger.exits {
        all.entry(node).or_default().push((from, Time::MAX));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted;

    #[test]
    fn joined_peer_that_does_not_know_an_earlier_one_is_found() {
        let mut observation = planted::valid();
        planted::join(&mut observation, 3, 1, 2, &[]);
        planted::join(&mut observation, 4, 3, 4, &[3]);
        assert_eq!(check(&observation), []);
        planted::join(&mut observation, 5, 5, 6, &[3]);
        assert_eq!(check(&observation).len(), 1, "n5 does not know n4");
    }

    #[test]
    fn leaving_peer_need_not_be_known() {
        let mut observation = planted::valid();
        planted::join(&mut observation, 3, 1, 2, &[]);
        planted::join(&mut observation, 4, 5, 6, &[]);
        assert_eq!(check(&observation).len(), 1);
        observation.ledger.exits.push((NodeId(3), Time::from_micros(4_000_000)));
        assert_eq!(check(&observation), []);
    }

    #[test]
    fn peer_impaired_only_before_it_joined_must_be_known() {
        let at = |s: u64| Time::from_micros(s * 1_000_000);
        let mut observation = planted::valid();
        planted::join(&mut observation, 3, 3, 4, &[]);
        planted::join(&mut observation, 4, 7, 8, &[]);
        planted::impair(&mut observation, NodeId(3), ImpairmentKind::Frozen, at(1), Some(at(2)));
        assert_eq!(check(&observation).len(), 1);
        planted::impair(&mut observation, NodeId(3), ImpairmentKind::Frozen, at(5), Some(at(6)));
        assert_eq!(check(&observation), []);
    }

    #[test]
    fn joined_peer_must_be_known_until_a_seed_loses_its_disk() {
        let at = |s: u64| Time::from_micros(s * 1_000_000);
        let mut observation = planted::valid();
        planted::join(&mut observation, 3, 1, 2, &[]);
        planted::join(&mut observation, 4, 5, 6, &[]);
        planted::impair(&mut observation, NodeId(0), ImpairmentKind::Dead, at(3), Some(at(4)));
        observation.ledger.disks_lost.push((NodeId(3), at(4)));
        assert_eq!(check(&observation).len(), 1, "the seed restarted with its disk");
        observation.ledger.disks_lost.push((NodeId(0), at(4)));
        assert_eq!(check(&observation), []);
    }

    #[test]
    fn one_of_two_concurrent_joiners_must_know_the_other() {
        let mut observation = planted::valid();
        planted::join(&mut observation, 3, 1, 4, &[4]);
        planted::join(&mut observation, 4, 1, 5, &[]);
        assert_eq!(check(&observation), []);
        planted::join(&mut observation, 5, 1, 6, &[3]);
        assert_eq!(check(&observation).len(), 1, "neither n4 nor n5 knows the other");
    }
}
