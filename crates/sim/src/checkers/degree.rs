//! P2: at rest nobody has more than one neighbour over its target; both ends of every edge know of
//! it, and no two links lead to the same neighbour (P3).

use super::Violation;
use crate::observation::Observation;

/// Looks at every live peer's degree and edges.
#[must_use]
pub fn check(seen: &Observation) -> Vec<Violation> {
    let mut found = Vec::new();
    for peer in seen.live_peers() {
        let Some(view) = &peer.peer else { continue };
        let (degree, target) = (view.neighbours.len(), usize::from(view.target));
        if degree > target + 1 {
            let what = format!("{} has {degree} neighbours, its target is {target}", peer.node);
            found.push(Violation::new("P2", what).about([peer.node]));
        }
        if let Some(twice) = peer.linked.windows(2).find(|w| w[0] == w[1]) {
            let what = format!("{} has two links to {}", peer.node, twice[0]);
            found.push(Violation::new("P3", what).about([peer.node, twice[0]]));
        }
    }
    for (a, b) in &seen.graph.one_sided {
        let what = format!("{a} takes {b} for a neighbour, but not the other way");
        found.push(Violation::new("P3", what).about([*a, *b]));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted;
    use crate::node::NodeId;

    #[test]
    fn a_degree_two_over_its_target_is_found() {
        let mut seen = planted::sound();
        assert_eq!(check(&seen), []);
        let view = seen.nodes[3].peer.as_mut().unwrap();
        view.target = 1;
        assert_eq!(check(&seen), [], "one over is a place over the target");
        seen.nodes[3].peer.as_mut().unwrap().target = 0;
        assert_eq!(check(&seen).len(), 1);
    }

    #[test]
    fn a_second_link_to_the_same_peer_is_found() {
        let mut seen = planted::sound();
        seen.nodes[3].linked.push(NodeId(5));
        assert_eq!(check(&seen).len(), 1);
    }

    #[test]
    fn an_edge_with_one_end_is_found() {
        let mut seen = planted::sound();
        seen.graph.one_sided.push((seen.nodes[3].node, seen.nodes[4].node));
        assert_eq!(check(&seen).len(), 1);
    }
}
