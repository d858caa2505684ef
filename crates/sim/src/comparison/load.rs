//! What spreading the messages of others costs the busiest peer.

use rumormill_analysis::{Components, Graph, hops_from};
use serde::{Deserialize, Serialize};

use crate::random::Dice;

/// Links that all searches together look at, about: some seconds.
const LOOKS: usize = 2_000_000_000;
/// Sources that are searched from even where that takes longer.
const LEAST_SOURCES: usize = 16;

/// Copies of other peers' messages that one peer sends.
///
/// Rumormill spreads messages along trees: a peer takes a message from the neighbour that brings it
/// first. With equal delays everywhere these are trees of shortest paths, and of several neighbours
/// that are equally near to the source each is as likely as any other to be the first. So a peer
/// sends to each neighbour that is one hop further away one part in as many as that neighbour has
/// such ways. All peers together, the source with them, send one copy less than they are.
///
/// A peer's own messages are left out: it sends them to all its neighbours, and where only some
/// sources are searched from, those would be the busiest for that alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Copies of a message of somebody else that the busiest peer sends, on average.
    pub busiest: f64,
    /// Number of links of that peer.
    pub degree: usize,
    /// Peers that the mean is over: all of the largest component, or some drawn from them.
    pub sources: usize,
}

impl Load {
    /// Measures the largest component; none for a graph without nodes.
    pub(super) fn new(graph: &Graph, seed: u64) -> Option<Self> {
        let nodes = Components::new(graph).nodes(0);
        let most = (LOOKS / (4 * graph.edge_count()).max(1)).max(LEAST_SOURCES);
        let sources = if nodes.len() <= most {
            nodes
        } else {
            Dice::new(seed, "sources of load").pick(&nodes, most)
        };
        let mut sent = vec![0.0; graph.len()];
        let mut others = vec![sources.len(); graph.len()];
        for &source in &sources {
            others[source as usize] -= 1;
            let hops = hops_from(graph, source);
            for (node, &far) in graph.nodes().zip(&hops) {
                let Some(nearer) = far.and_then(|h| h.checked_sub(1)) else { continue };
                let from = |&&p: &&u32| hops[p as usize] == Some(nearer);
                let ways = graph.neighbours(node).iter().filter(from).count();
                // One hop from the source there is one way only, and it sends itself.
                for &p in graph.neighbours(node).iter().filter(from).filter(|_| nearer > 0) {
                    sent[p as usize] += 1.0 / ways as f64;
                }
            }
        }
        let mean = sent.iter().zip(others).map(|(&copies, n)| copies / n.max(1) as f64);
        let (node, busiest) = graph.nodes().zip(mean).max_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(Load { busiest, degree: graph.degree(node), sources: sources.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(nodes: usize, edges: &[(u32, u32)]) -> Load {
        Load::new(&Graph::new(nodes, edges).unwrap(), 1).unwrap()
    }

    #[test]
    fn the_middle_of_a_star_sends_to_all() {
        // Of what comes from one of the four, it sends a copy to each of the other three.
        let star = load(5, &[(0, 1), (0, 2), (0, 3), (0, 4)]);
        assert_eq!((star.busiest, star.degree, star.sources), (3.0, 4, 5));
    }

    #[test]
    fn equal_ways_share_the_load() {
        // A square: half a copy of what each neighbour says, none of what the one opposite says.
        let square = load(4, &[(0, 1), (1, 2), (2, 3), (3, 0)]);
        assert!((square.busiest - 1.0 / 3.0).abs() < 1e-12, "{square:?}");
    }

    #[test]
    fn other_components_do_not_count() {
        assert_eq!(load(4, &[(0, 1)]).sources, 2);
        assert_eq!(load(1, &[]).busiest, 0.0);
        assert_eq!(Load::new(&Graph::default(), 1), None);
    }
}
