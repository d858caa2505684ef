//! Broadcast trees: of publishers that have published lately, every way up leads to the publisher, every parent
//! knows its children, and who has lost the way gets the next batch from whoever has it.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use rumormill_proto::snapshot::TreeView;
use rumormill_proto::{MessageId, PeerId, Time};

use super::Violation;
use crate::node::NodeId;
use crate::observation::Observation;

/// Batches after which a tree has come to rest: who has lost the way gets the first from several neighbours, and who
/// sends what is not needed is told to stop after the next.
const SETTLES: usize = 3;
/// A batch counts if everybody had it so soon. One that waits for seconds in the queues of slow lines may be
/// too old to tell anything of the tree when its last copy comes.
const SOON: Duration = Duration::from_secs(2);

/// Looks at the trees of live peers whose last three batches, of those published for so long, everybody had soon.
#[must_use]
pub fn check(seen: &Observation, within: Duration) -> Vec<Violation> {
    let reached = reached_soon(seen, within);
    let components = seen.graph.components();
    let mut found = Vec::new();
    for n in seen.live_peers() {
        let with_it = |c: &&BTreeSet<NodeId>| c.contains(&n.node) && c.len() > 1;
        let Some(component) = components.iter().find(with_it) else { continue };
        // The last of them: a tree may change with each that comes late.
        let last = reached.get(&n.id).and_then(|of| of.last_chunk::<SETTLES>());
        if last.is_some_and(|last| last.iter().all(|nodes| nodes.is_superset(component))) {
            found.extend(judge(seen, &n.id, n.node, component));
        }
    }
    found
}

/// For each message that was published so lately, by publisher and in order: who had it soon.
fn reached_soon(seen: &Observation, within: Duration) -> BTreeMap<PeerId, Vec<BTreeSet<NodeId>>> {
    let lately = |at: Time| seen.now.since(at) <= within;
    let mut nodes: BTreeMap<MessageId, (Time, BTreeSet<NodeId>)> = BTreeMap::new();
    for p in seen.ledger.publications.iter().filter(|p| lately(p.at)) {
        nodes.insert(p.id, (p.at, BTreeSet::from([p.node])));
    }
    for a in seen.ledger.arrivals.iter().rev().take_while(|a| lately(a.at)) {
        if let Some((at, nodes)) = nodes.get_mut(&a.id)
            && a.at.since(*at) <= SOON
        {
            nodes.insert(a.node);
        }
    }
    // What had to be asked for went another way than the tree, which may be changing.
    let pulled = seen.ledger.copies.iter().rev().take_while(|c| lately(c.at)).filter(|c| c.pulled);
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

/// One publisher's tree in its component.
fn judge(
    seen: &Observation,
    publisher: &PeerId,
    root: NodeId,
    component: &BTreeSet<NodeId>,
) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut say = |what: String| {
        found.push(Violation::new("tree", format!("tree of {root}: {what}")));
    };
    let node = |id: &PeerId| seen.node_of(id).map(|n| n.node);
    let places: BTreeMap<NodeId, &TreeView> = seen
        .live_peers()
        .filter_map(|n| {
            let trees = &n.peer.as_ref()?.trees;
            Some((n.node, trees.iter().find(|t| t.publisher == *publisher)?))
        })
        .collect();
    let takes = |t: &TreeView, n: &NodeId| t.children.iter().any(|c| node(c) == Some(*n));
    let parent = |n: &NodeId| places.get(n).and_then(|t| t.parent.as_ref()).and_then(node);
    for n in component {
        if *n != root {
            match parent(n) {
                None => {
                    // The next batch finds it, whoever has it first. It knows nothing of the tree if all it had was old.
                    let around = seen.graph.neighbours(*n);
                    for deaf in around.filter(|x| !places.get(x).is_none_or(|t| takes(t, n))) {
                        say(format!("{n} has no parent, and {deaf} would not give it anything"));
                    }
                }
                Some(p) => {
                    if !places.get(&p).is_some_and(|t| takes(t, n)) {
                        say(format!("{n} hangs on {p}, which does not know"));
                    }
                    if !leads_up(*n, component.len(), &parent, root) {
                        say(format!("the way up from {n} does not lead to the publisher"));
                    }
                }
            }
        }
        let children = places.get(n).into_iter().flat_map(|t| &t.children);
        for child in children.filter_map(node) {
            if parent(&child).is_some_and(|p| p != *n) || child == root {
                say(format!("{n} takes {child} for its child, which it is not"));
            }
        }
    }
    found
}

/// Whether the parents of a node lead to the root in so many steps at most.
fn leads_up(
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
        let Some(up) = parent(&at) else { return false };
        at = up;
    }
    at == root
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted;
    use crate::ledger::{Arrival, Publication};

    const MINUTE: Duration = Duration::from_secs(60);

    /// The peers n3, n4 and n5; n3 has published, n4 is below it and n5 below n4.
    fn sound() -> Observation {
        let mut seen = planted::sound();
        let (published, arrived) =
            (seen.ledger.publications[0].clone(), seen.ledger.arrivals.clone());
        for sequence in 1..SETTLES as u64 {
            let id = MessageId { sequence, ..published.id };
            seen.ledger.publications.push(Publication { id, ..published.clone() });
            seen.ledger.arrivals.extend(arrived.iter().map(|a| Arrival { id, ..a.clone() }));
        }
        let ids: Vec<PeerId> = seen.nodes.iter().map(|n| n.id).collect();
        for n in 3..6 {
            let (parent, children) = match n {
                3 => (None, vec![ids[4]]),
                4 => (Some(ids[3]), vec![ids[5]]),
                _ => (Some(ids[4]), vec![]),
            };
            let peer = seen.nodes[n].peer.as_mut().unwrap();
            peer.trees = vec![TreeView { publisher: ids[3], parent, children }];
        }
        seen
    }

    fn tree(seen: &mut Observation, n: usize) -> &mut TreeView {
        &mut seen.nodes[n].peer.as_mut().unwrap().trees[0]
    }

    fn words(seen: &Observation) -> Vec<String> {
        check(seen, MINUTE).into_iter().map(|v| v.what).collect()
    }

    #[test]
    fn a_sound_tree_passes() {
        assert_eq!(check(&sound(), MINUTE), []);
    }

    #[test]
    fn tree_of_somebody_who_is_silent_may_be_anything() {
        let mut seen = sound();
        tree(&mut seen, 5).parent = None;
        assert_eq!(words(&seen).len(), 1, "n3 would not give it anything");
        assert_eq!(check(&seen, Duration::from_secs(1)), []);
        seen.ledger.publications.pop();
        assert_eq!(check(&seen, MINUTE), [], "it has not come to rest");
    }

    #[test]
    fn tree_on_lines_that_are_behind_by_seconds_may_be_anything() {
        let mut seen = sound();
        tree(&mut seen, 5).parent = None;
        seen.ledger.arrivals.last_mut().unwrap().at += SOON;
        assert_eq!(words(&seen).len(), 1, "in time");
        seen.ledger.arrivals.last_mut().unwrap().at += Duration::from_millis(1);
        assert_eq!(check(&seen, MINUTE), []);
    }

    #[test]
    fn tree_whose_last_batches_were_asked_for_may_be_anything() {
        let mut seen = sound();
        tree(&mut seen, 5).parent = None;
        planted::copy(&mut seen, 5);
        assert_eq!(words(&seen).len(), 1);
        seen.ledger.copies[0].pulled = true;
        assert_eq!(check(&seen, MINUTE), []);
    }

    #[test]
    fn peer_that_has_lost_its_way_is_grafted_on_all_its_neighbours() {
        let mut seen = sound();
        tree(&mut seen, 5).parent = None;
        let id = seen.nodes[5].id;
        tree(&mut seen, 3).children.push(id);
        assert_eq!(check(&seen, MINUTE), []);
        tree(&mut seen, 4).parent = None;
        let id = seen.nodes[4].id;
        tree(&mut seen, 5).children.push(id);
        assert_eq!(check(&seen, MINUTE), [], "n3 gives it to both");
    }

    #[test]
    fn way_up_that_ends_before_the_publisher_is_found() {
        let mut seen = sound();
        tree(&mut seen, 4).parent = None;
        assert!(words(&seen).iter().any(|w| w.contains("the way up from n5")), "n5 was not told");
    }

    #[test]
    fn a_peer_beside_a_tree_is_found() {
        let mut seen = sound();
        seen.nodes[5].peer.as_mut().unwrap().trees.clear();
        assert!(words(&seen).iter().any(|w| w.contains("n5 has no parent")));
    }

    #[test]
    fn a_cycle_is_found() {
        let mut seen = sound();
        let id = seen.nodes[5].id;
        tree(&mut seen, 4).parent = Some(id);
        assert!(words(&seen).iter().any(|w| w.contains("the way up from n4")));
    }

    #[test]
    fn a_parent_that_does_not_know_its_child_is_found() {
        let mut seen = sound();
        tree(&mut seen, 4).children.clear();
        assert_eq!(words(&seen).len(), 1);
    }

    #[test]
    fn a_child_that_went_elsewhere_is_found() {
        let mut seen = sound();
        let id = seen.nodes[5].id;
        tree(&mut seen, 3).children.push(id);
        assert_eq!(words(&seen).len(), 1);
    }
}
