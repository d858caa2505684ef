//! Broadcast trees of publishers that have published lately: the parents of every peer lead to the
//! publisher, every parent lists its children, and an orphaned peer gets the next batch from every
//! neighbour that has it.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use rumormill_proto::snapshot::TreeView;
use rumormill_proto::{MessageId, PeerId, Time};

use super::Violation;
use crate::node::NodeId;
use crate::observation::Observation;

/// Batches after which a tree is settled: an orphaned peer gets the first one from several
/// neighbours, and superfluous senders are pruned after the next one.
const BATCHES_TO_SETTLE: usize = 3;
/// A batch counts if all peers received it within this time. The last copy of a batch that waits
/// for seconds in the queues of slow lines may describe an earlier tree.
const PROMPT_DELIVERY: Duration = Duration::from_secs(2);

/// Checks the trees of live publishers whose last three batches, of those published `within` the
/// last time, reached all peers promptly.
#[must_use]
pub fn check(observation: &Observation, within: Duration) -> Vec<Violation> {
    let reached = reached_promptly(observation, within);
    let components = observation.graph.components();
    let mut found = Vec::new();
    for n in observation.live_peers() {
        let contains_node = |c: &&BTreeSet<NodeId>| c.contains(&n.node) && c.len() > 1;
        let Some(component) = components.iter().find(contains_node) else { continue };
        // Only the last batches count: a late batch may change the tree.
        let last = reached.get(&n.id).and_then(|of| of.last_chunk::<BATCHES_TO_SETTLE>());
        if last.is_some_and(|last| last.iter().all(|nodes| nodes.is_superset(component))) {
            found.extend(check_tree(observation, &n.id, n.node, component));
        }
    }
    found
}

/// The nodes that each message published `within` the last time reached promptly, by publisher and
/// in order of publication.
fn reached_promptly(
    observation: &Observation,
    within: Duration,
) -> BTreeMap<PeerId, Vec<BTreeSet<NodeId>>> {
    let is_recent = |at: Time| observation.now.since(at) <= within;
    let mut nodes: BTreeMap<MessageId, (Time, BTreeSet<NodeId>)> = BTreeMap::new();
    for p in observation.ledger.publications.iter().filter(|p| is_recent(p.at)) {
        nodes.insert(p.id, (p.at, BTreeSet::from([p.node])));
    }
    for a in observation.ledger.arrivals.iter().rev().take_while(|a| is_recent(a.at)) {
        if let Some((at, nodes)) = nodes.get_mut(&a.id)
            && a.at.since(*at) <= PROMPT_DELIVERY
        {
            nodes.insert(a.node);
        }
    }
    // A pulled batch did not follow the tree, which may be changing.
    let pulled =
        observation.ledger.copies.iter().rev().take_while(|c| is_recent(c.at)).filter(|c| c.pulled);
    for copy in pulled {
        if let Some((_, nodes)) = nodes.get_mut(&copy.batch) {
            nodes.clear();
        }
    }
    let mut by_publisher: BTreeMap<PeerId, Vec<BTreeSet<NodeId>>> = BTreeMap::new();
    for (id, (_, nodes)) in nodes {
        by_publisher.entry(id.publisher).or_default().push(nodes);
    }
    by_publisher
}

/// Checks the tree of one publisher in its component.
fn check_tree(
    observation: &Observation,
    publisher: &PeerId,
    root: NodeId,
    component: &BTreeSet<NodeId>,
) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut violation = |what: String| {
        found.push(Violation::new("tree", format!("tree of {root}: {what}")));
    };
    let node = |id: &PeerId| observation.node_of(id).map(|n| n.node);
    let views: BTreeMap<NodeId, &TreeView> = observation
        .live_peers()
        .filter_map(|n| {
            let trees = &n.peer.as_ref()?.trees;
            Some((n.node, trees.iter().find(|t| t.publisher == *publisher)?))
        })
        .collect();
    let has_child = |t: &TreeView, n: &NodeId| t.children.iter().any(|c| node(c) == Some(*n));
    let parent = |n: &NodeId| views.get(n).and_then(|t| t.parent.as_ref()).and_then(node);
    for n in component {
        if *n != root {
            match parent(n) {
                None => {
                    // An orphaned peer must get the next batch from every neighbour that has it. A
                    // neighbour has no state for the tree if all its batches of the publisher were
                    // old; such a neighbour is exempt.
                    let neighbours = observation.graph.neighbours(*n);
                    for lazy in neighbours.filter(|x| !views.get(x).is_none_or(|t| has_child(t, n)))
                    {
                        violation(format!("{n} has no parent, and {lazy} has no eager link to it"));
                    }
                }
                Some(p) => {
                    if !views.get(&p).is_some_and(|t| has_child(t, n)) {
                        violation(format!(
                            "{n} has the parent {p}, which does not list it as a child"
                        ));
                    }
                    if !leads_to_root(*n, component.len(), &parent, root) {
                        violation(format!("the parents of {n} do not lead to the publisher"));
                    }
                }
            }
        }
        let children = views.get(n).into_iter().flat_map(|t| &t.children);
        for child in children.filter_map(node) {
            if parent(&child).is_some_and(|p| p != *n) || child == root {
                violation(format!("{n} lists the child {child}, which has another parent"));
            }
        }
    }
    found
}

/// Whether the parents of a node lead to the root in at most `steps` steps.
fn leads_to_root(
    from: NodeId,
    steps: usize,
    parent: &impl Fn(&NodeId) -> Option<NodeId>,
    root: NodeId,
) -> bool {
    let mut at = from;
    for _ in 0..steps {
        if at == root {
            return true;
        }
        let Some(next) = parent(&at) else { return false };
        at = next;
    }
    at == root
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted;
    use crate::ledger::{Arrival, Publication};

    const MINUTE: Duration = Duration::from_secs(60);

    /// The tree of publisher n3: its child is n4, and the child of n4 is n5.
    fn valid() -> Observation {
        let mut observation = planted::valid();
        let (published, arrived) =
            (observation.ledger.publications[0].clone(), observation.ledger.arrivals.clone());
        for sequence in 1..BATCHES_TO_SETTLE as u64 {
            let id = MessageId { sequence, ..published.id };
            observation.ledger.publications.push(Publication { id, ..published.clone() });
            observation.ledger.arrivals.extend(arrived.iter().map(|a| Arrival { id, ..a.clone() }));
        }
        let ids: Vec<PeerId> = observation.nodes.iter().map(|n| n.id).collect();
        for n in 3..6 {
            let (parent, children) = match n {
                3 => (None, vec![ids[4]]),
                4 => (Some(ids[3]), vec![ids[5]]),
                _ => (Some(ids[4]), vec![]),
            };
            let peer = observation.nodes[n].peer.as_mut().unwrap();
            peer.trees = vec![TreeView { publisher: ids[3], parent, children }];
        }
        observation
    }

    fn tree(observation: &mut Observation, n: usize) -> &mut TreeView {
        &mut observation.nodes[n].peer.as_mut().unwrap().trees[0]
    }

    fn violations(observation: &Observation) -> Vec<String> {
        check(observation, MINUTE).into_iter().map(|v| v.what).collect()
    }

    #[test]
    fn valid_tree_passes() {
        assert_eq!(check(&valid(), MINUTE), []);
    }

    #[test]
    fn tree_of_a_publisher_without_recent_batches_is_not_checked() {
        let mut observation = valid();
        tree(&mut observation, 5).parent = None;
        assert_eq!(violations(&observation).len(), 1, "n3 has no eager link to n5");
        assert_eq!(check(&observation, Duration::from_secs(1)), []);
        observation.ledger.publications.pop();
        assert_eq!(check(&observation, MINUTE), [], "the tree has not settled");
    }

    #[test]
    fn tree_whose_batches_are_late_is_not_checked() {
        let mut observation = valid();
        tree(&mut observation, 5).parent = None;
        observation.ledger.arrivals.last_mut().unwrap().at += PROMPT_DELIVERY;
        assert_eq!(violations(&observation).len(), 1, "the last batch arrived in time");
        observation.ledger.arrivals.last_mut().unwrap().at += Duration::from_millis(1);
        assert_eq!(check(&observation, MINUTE), []);
    }

    #[test]
    fn tree_whose_last_batches_were_pulled_is_not_checked() {
        let mut observation = valid();
        tree(&mut observation, 5).parent = None;
        planted::copy(&mut observation, 5);
        assert_eq!(violations(&observation).len(), 1);
        observation.ledger.copies[0].pulled = true;
        assert_eq!(check(&observation, MINUTE), []);
    }

    #[test]
    fn orphaned_peer_needs_eager_links_from_all_neighbours() {
        let mut observation = valid();
        tree(&mut observation, 5).parent = None;
        let id = observation.nodes[5].id;
        tree(&mut observation, 3).children.push(id);
        assert_eq!(check(&observation, MINUTE), []);
        tree(&mut observation, 4).parent = None;
        let id = observation.nodes[4].id;
        tree(&mut observation, 5).children.push(id);
        assert_eq!(check(&observation, MINUTE), [], "n3 has eager links to both");
    }

    #[test]
    fn parents_that_do_not_lead_to_the_publisher_are_found() {
        let mut observation = valid();
        tree(&mut observation, 4).parent = None;
        assert!(
            violations(&observation).iter().any(|w| w.contains("the parents of n5 do not lead"))
        );
    }

    #[test]
    fn peer_outside_the_tree_is_found() {
        let mut observation = valid();
        observation.nodes[5].peer.as_mut().unwrap().trees.clear();
        assert!(violations(&observation).iter().any(|w| w.contains("n5 has no parent")));
    }

    #[test]
    fn cycle_of_parents_is_found() {
        let mut observation = valid();
        let id = observation.nodes[5].id;
        tree(&mut observation, 4).parent = Some(id);
        assert!(
            violations(&observation).iter().any(|w| w.contains("the parents of n4 do not lead"))
        );
    }

    #[test]
    fn parent_that_does_not_list_its_child_is_found() {
        let mut observation = valid();
        tree(&mut observation, 4).children.clear();
        assert_eq!(violations(&observation).len(), 1);
    }

    #[test]
    fn listed_child_with_another_parent_is_found() {
        let mut observation = valid();
        let id = observation.nodes[5].id;
        tree(&mut observation, 3).children.push(id);
        assert_eq!(violations(&observation).len(), 1);
    }
}
