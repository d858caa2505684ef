//! Broadcast trees: every peer is on each of them, and every way up leads to its one root.

use std::collections::{BTreeMap, BTreeSet};

use rumormill_proto::PeerId;
use rumormill_proto::snapshot::TreeView;

use super::Violation;
use crate::node::NodeId;
use crate::observation::Observation;

/// The shared trees by their names in views.
const SHARED: [&str; 4] = ["shared-0", "shared-1", "shared-2", "shared-3"];

/// Looks at the shared trees of every component of two peers or more, and at publishers' own ones
/// as far as somebody is on them.
#[must_use]
pub fn check(seen: &Observation) -> Vec<Violation> {
    let mut views: BTreeMap<NodeId, BTreeMap<&str, &TreeView>> = BTreeMap::new();
    let mut own: BTreeSet<&str> = BTreeSet::new();
    for n in seen.live_peers() {
        let trees = n.peer.iter().flat_map(|p| &p.trees);
        let here: BTreeMap<&str, &TreeView> = trees.map(|t| (t.tree.as_str(), t)).collect();
        let is_own =
            |t: &&str| !SHARED.contains(t) && here.get(t).is_some_and(|v| v.root == Some(n.id));
        own.extend(here.keys().copied().filter(is_own));
        views.insert(n.node, here);
    }
    let mut found = Vec::new();
    for component in seen.graph.components().iter().filter(|c| c.len() > 1) {
        for tree in SHARED {
            found.extend(judge(seen, tree, component, &views));
        }
    }
    for tree in own {
        let everybody: BTreeSet<NodeId> = views.keys().copied().collect();
        found.extend(judge(seen, tree, &everybody, &views));
    }
    found
}

/// One tree in one component.
fn judge(
    seen: &Observation,
    tree: &str,
    component: &BTreeSet<NodeId>,
    views: &BTreeMap<NodeId, BTreeMap<&str, &TreeView>>,
) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut say = |what: String| found.push(Violation::new("tree", format!("{tree}: {what}")));
    let node = |id: &PeerId| seen.node_of(id).map(|n| n.node);
    let view = |n: &NodeId| views.get(n).and_then(|v| v.get(tree)).copied();
    let mut roots: BTreeSet<NodeId> = BTreeSet::new();
    for n in component {
        let Some(v) = view(n) else {
            say(format!("{n} is not on it"));
            continue;
        };
        let root = v.root.as_ref().and_then(node);
        roots.extend(root);
        match (root == Some(*n), v.parents.as_slice()) {
            (true, []) => {}
            (true, more) => say(format!("{n} is the root and has {} parents", more.len())),
            (false, [parent]) => {
                let above = node(parent).filter(|p| component.contains(p));
                match above.and_then(|p| view(&p)) {
                    None => say(format!("{n} hangs on {parent}, which is not on it")),
                    Some(p) if !p.children.iter().any(|c| node(c) == Some(*n)) => {
                        say(format!("{n} hangs on {parent}, which does not know"));
                    }
                    Some(_) => {}
                }
            }
            (false, parents) => say(format!("{n} has {} parents", parents.len())),
        }
        for child in &v.children {
            let below = node(child).and_then(|c| view(&c));
            let hangs = below.is_some_and(|b| b.parents.iter().any(|p| node(p) == Some(*n)));
            if !hangs {
                let child = node(child);
                say(format!("{n} takes {child:?} for its child, which it is not"));
            }
        }
        if !leads_up(
            *n,
            component.len(),
            &|n| {
                let parents = view(n)?.parents.as_slice();
                parents.first().and_then(node)
            },
            root,
        ) {
            say(format!("the way up from {n} does not lead to its root {root:?}"));
        }
    }
    if roots.len() != 1 {
        say(format!("it has {} roots: {roots:?}", roots.len()));
    }
    found
}

/// Whether the parents of a node lead to the root in so many steps at most.
fn leads_up(
    from: NodeId,
    steps: usize,
    parent: &impl Fn(&NodeId) -> Option<NodeId>,
    root: Option<NodeId>,
) -> bool {
    let mut at = from;
    for _ in 0..steps {
        if Some(at) == root {
            return true;
        }
        let Some(up) = parent(&at) else { return false };
        at = up;
    }
    Some(at) == root
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted;

    /// The peers n3, n4 and n5 with n3 as root of all trees, n4 below it and n5 below n4.
    fn sound() -> Observation {
        let mut seen = planted::sound();
        let ids: Vec<PeerId> = seen.nodes.iter().map(|n| n.id).collect();
        let place = |n: usize| match n {
            3 => (vec![], vec![ids[4]]),
            4 => (vec![ids[3]], vec![ids[5]]),
            _ => (vec![ids[4]], vec![]),
        };
        for n in 3..6 {
            let view = |tree: &&str| {
                let (parents, children) = place(n);
                let depth = u16::try_from(n - 3).unwrap();
                TreeView { tree: (*tree).to_owned(), root: Some(ids[3]), depth, parents, children }
            };
            let peer = seen.nodes[n].peer.as_mut().unwrap();
            peer.trees = SHARED.iter().map(view).collect();
        }
        seen
    }

    fn tree(seen: &mut Observation, n: usize) -> &mut TreeView {
        &mut seen.nodes[n].peer.as_mut().unwrap().trees[1]
    }

    #[test]
    fn a_sound_tree_passes() {
        assert_eq!(check(&sound()), []);
    }

    #[test]
    fn a_peer_beside_a_tree_is_found() {
        let mut seen = sound();
        seen.nodes[5].peer.as_mut().unwrap().trees.remove(1);
        assert!(check(&seen).iter().any(|v| v.what.contains("n5 is not on it")));
    }

    #[test]
    fn a_second_parent_is_found() {
        let mut seen = sound();
        let id = seen.nodes[3].id;
        tree(&mut seen, 5).parents.push(id);
        assert!(check(&seen).iter().any(|v| v.what.contains("n5 has 2 parents")));
    }

    #[test]
    fn a_cycle_is_found() {
        let mut seen = sound();
        let id = seen.nodes[5].id;
        tree(&mut seen, 4).parents = vec![id];
        assert!(check(&seen).iter().any(|v| v.what.contains("the way up from n4")));
    }

    #[test]
    fn a_second_root_is_found() {
        let mut seen = sound();
        let id = seen.nodes[5].id;
        let t = tree(&mut seen, 5);
        (t.root, t.parents) = (Some(id), vec![]);
        assert!(check(&seen).iter().any(|v| v.what.contains("2 roots")));
    }

    #[test]
    fn a_parent_that_does_not_know_its_child_is_found() {
        let mut seen = sound();
        tree(&mut seen, 4).children.clear();
        assert_eq!(check(&seen).len(), 1);
    }

    #[test]
    fn a_child_that_went_elsewhere_is_found() {
        let mut seen = sound();
        let id = seen.nodes[5].id;
        tree(&mut seen, 3).children.push(id);
        assert_eq!(check(&seen).len(), 1);
    }
}
