//! P2: at rest no peer exceeds its target degree by more than one. P3: both ends of every edge list
//! it, and a peer has one link to each neighbour.

use super::Violation;
use crate::observation::Observation;

/// Checks the degree and the edges of every live peer.
#[must_use]
pub fn check(observation: &Observation) -> Vec<Violation> {
    let mut found = Vec::new();
    for peer in observation.live_peers() {
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
    for (a, b) in &observation.graph.one_sided {
        let what = format!("{a} lists {b} as a neighbour, but {b} does not list {a}");
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
    fn degree_two_over_its_target_is_found() {
        let mut observation = planted::valid();
        assert_eq!(check(&observation), []);
        let view = observation.nodes[3].peer.as_mut().unwrap();
        view.target = 1;
        assert_eq!(check(&observation), [], "one neighbour over the target is allowed");
        observation.nodes[3].peer.as_mut().unwrap().target = 0;
        assert_eq!(check(&observation).len(), 1);
    }

    #[test]
    fn second_link_to_the_same_peer_is_found() {
        let mut observation = planted::valid();
        observation.nodes[3].linked.push(NodeId(5));
        assert_eq!(check(&observation).len(), 1);
    }

    #[test]
    fn edge_that_one_end_does_not_list_is_found() {
        let mut observation = planted::valid();
        observation.graph.one_sided.push((observation.nodes[3].node, observation.nodes[4].node));
        assert_eq!(check(&observation).len(), 1);
    }
}
