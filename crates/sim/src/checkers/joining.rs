//! G4: a peer that says that it has joined knows those that had joined before.

use std::collections::BTreeMap;

use rumormill_proto::limits::WHOLE_LIST;
use rumormill_proto::{Role, Time};

use super::Violation;
use crate::ledger::{Join, Trouble};
use crate::node::NodeId;
use crate::observation::Observation;

/// A peer that joined knows every peer that had joined before it was itself registered at a majority
/// of the seeds. Of two peers that joined at the same time, at least one knows the other.
///
/// Peers that were in trouble between the two joins, or were leaving, are left out, and so is everything after the
/// first seed has lost its disk: it forgets whom it acknowledged.
#[must_use]
pub fn check(seen: &Observation) -> Vec<Violation> {
    if seen.live_peers().count() > WHOLE_LIST {
        return Vec::new();
    }
    let is_seed = |node: NodeId| seen.nodes.iter().any(|n| n.node == node && n.role == Role::Seed);
    let mut lost = seen.ledger.disks_lost.iter().filter(|(node, _)| is_seed(*node));
    let seeds_until = lost.next().map_or(Time::MAX, |(_, at)| *at);
    let troubles = troubles(seen);
    let honest = |j: &&Join| !seen.strangers.contains(&j.id);
    let joins: Vec<&Join> = seen.ledger.joins.iter().filter(honest).collect();
    let mut found = Vec::new();
    for (at, later) in joins.iter().enumerate().filter(|(_, j)| j.at < seeds_until) {
        let sound = |j: &&&Join| {
            let mut of = troubles.get(&j.node).into_iter().flatten();
            !of.any(|&(from, until)| from <= later.at && until >= j.at)
        };
        for earlier in joins.iter().take(at).filter(sound).filter(|j| j.node != later.node) {
            let knows = |a: &Join, b: &Join| a.known.binary_search(&b.id).is_ok();
            let overlooked = !knows(later, earlier)
                && (earlier.at <= later.registered || !knows(earlier, later));
            if overlooked {
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

/// When each node was in trouble: from, and until. One that leaves does not come back.
fn troubles(seen: &Observation) -> BTreeMap<NodeId, Vec<(Time, Time)>> {
    let mut all: BTreeMap<NodeId, Vec<(Time, Time)>> = BTreeMap::new();
    for i in &seen.ledger.impairments {
        // A peer with a slow line is registered, and so is one whose host has moved.
        if !matches!(i.trouble, Trouble::Slow | Trouble::Moved) {
            all.entry(i.node).or_default().push((i.from, i.until.unwrap_or(Time::MAX)));
        }
    }
    for &(node, from) in &seen.ledger.exits {
        all.entry(node).or_default().push((from, Time::MAX));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted;

    #[test]
    fn joined_peer_that_overlooks_an_earlier_one_is_found() {
        let mut seen = planted::sound();
        planted::join(&mut seen, 3, 1, 2, &[]);
        planted::join(&mut seen, 4, 3, 4, &[3]);
        assert_eq!(check(&seen), []);
        planted::join(&mut seen, 5, 5, 6, &[3]);
        assert_eq!(check(&seen).len(), 1, "n4 is missing");
    }

    #[test]
    fn peer_that_was_leaving_need_not_be_known() {
        let mut seen = planted::sound();
        planted::join(&mut seen, 3, 1, 2, &[]);
        planted::join(&mut seen, 4, 5, 6, &[]);
        assert_eq!(check(&seen).len(), 1);
        seen.ledger.exits.push((NodeId(3), Time::from_micros(4_000_000)));
        assert_eq!(check(&seen), []);
    }

    #[test]
    fn peer_that_had_been_in_trouble_before_it_joined_is_to_be_known() {
        let at = |s: u64| Time::from_micros(s * 1_000_000);
        let mut seen = planted::sound();
        planted::join(&mut seen, 3, 3, 4, &[]);
        planted::join(&mut seen, 4, 7, 8, &[]);
        planted::trouble(&mut seen, NodeId(3), Trouble::Frozen, at(1), Some(at(2)));
        assert_eq!(check(&seen).len(), 1);
        planted::trouble(&mut seen, NodeId(3), Trouble::Frozen, at(5), Some(at(6)));
        assert_eq!(check(&seen), []);
    }

    #[test]
    fn what_was_acknowledged_counts_until_a_seed_loses_its_disk() {
        let at = |s: u64| Time::from_micros(s * 1_000_000);
        let mut seen = planted::sound();
        planted::join(&mut seen, 3, 1, 2, &[]);
        planted::join(&mut seen, 4, 5, 6, &[]);
        planted::trouble(&mut seen, NodeId(0), Trouble::Dead, at(3), Some(at(4)));
        seen.ledger.disks_lost.push((NodeId(3), at(4)));
        assert_eq!(check(&seen).len(), 1, "the seed was started again with what it had stored");
        seen.ledger.disks_lost.push((NodeId(0), at(4)));
        assert_eq!(check(&seen), []);
    }

    #[test]
    fn of_two_that_join_together_one_knows_the_other() {
        let mut seen = planted::sound();
        planted::join(&mut seen, 3, 1, 4, &[4]);
        planted::join(&mut seen, 4, 1, 5, &[]);
        assert_eq!(check(&seen), []);
        planted::join(&mut seen, 5, 1, 6, &[3]);
        assert_eq!(check(&seen).len(), 1, "neither n4 nor n5 knows the other");
    }
}
