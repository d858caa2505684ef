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
/// Peers that were in trouble meanwhile, or were leaving, are left out, and so is everything after the first seed has
/// crashed: a seed that loses its disk forgets whom it acknowledged.
#[must_use]
pub fn check(seen: &Observation) -> Vec<Violation> {
    if seen.live_peers().count() > WHOLE_LIST {
        return Vec::new();
    }
    let troubles = first_troubles(seen);
    let seeds_until = seen
        .nodes
        .iter()
        .filter(|n| n.role == Role::Seed)
        .filter_map(|n| troubles.get(&n.node))
        .min()
        .copied()
        .unwrap_or(Time::MAX);
    let honest = |j: &&Join| !seen.strangers.contains(&j.id);
    let joins: Vec<&Join> = seen.ledger.joins.iter().filter(honest).collect();
    let mut found = Vec::new();
    for (at, later) in joins.iter().enumerate().filter(|(_, j)| j.at < seeds_until) {
        let sound = |j: &&&Join| troubles.get(&j.node).is_none_or(|t| *t > later.at);
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

/// When each node first was in trouble, or began to leave.
fn first_troubles(seen: &Observation) -> BTreeMap<NodeId, Time> {
    let mut first = BTreeMap::new();
    let troubles = seen.ledger.impairments.iter().filter(|i| i.trouble != Trouble::Slow);
    let troubles = troubles.map(|i| (i.node, i.from));
    for (node, from) in troubles.chain(seen.ledger.exits.iter().copied()) {
        let at = first.entry(node).or_insert(from);
        *at = from.min(*at);
    }
    first
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
    fn of_two_that_join_together_one_knows_the_other() {
        let mut seen = planted::sound();
        planted::join(&mut seen, 3, 1, 4, &[4]);
        planted::join(&mut seen, 4, 1, 5, &[]);
        assert_eq!(check(&seen), []);
        planted::join(&mut seen, 5, 1, 6, &[3]);
        assert_eq!(check(&seen).len(), 1, "neither n4 nor n5 knows the other");
    }
}
