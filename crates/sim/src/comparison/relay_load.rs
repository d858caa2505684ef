//! The relay load: how many copies of other peers' messages the busiest peer sends.

use rumormill_analysis::{Components, Graph, hops_from};
use serde::{Deserialize, Serialize};

use crate::random::RngStream;

/// Approximate number of links that all searches visit together, which takes some seconds.
const VISITED_LINKS: usize = 2_000_000_000;
/// Smallest number of sources to search from, even if that takes longer.
const MIN_SOURCES: usize = 16;

/// The load of the peer that sends the most copies of other peers' messages.
///
/// Rumormill spreads messages along trees: the parent of a peer is the neighbour that delivers a
/// message first. With equal delays on all links these are trees of shortest paths, and of several
/// neighbours equally near to the source each is equally likely to be the first. So to each
/// neighbour that is one hop further from the source, a peer sends one copy divided by the number
/// of that neighbour's neighbours that are nearer to the source. All peers together, the source
/// included, send one copy less than there are peers.
///
/// A peer's own messages are not counted: it sends them to all its neighbours, so the sources of
/// the searches would be the busiest peers if only some peers are sources.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RelayLoad {
    /// Mean number of copies that the busiest peer sends of another peer's message.
    pub busiest: f64,
    /// Degree of that peer.
    pub degree: usize,
    /// Number of sources over which the mean is taken: all peers of the largest component, or some
    /// drawn from them.
    pub sources: usize,
}

impl RelayLoad {
    /// Measures the largest component; `None` for a graph without nodes.
    pub(super) fn new(graph: &Graph, seed: u64) -> Option<Self> {
        let nodes = Components::new(graph).nodes(0);
        let most = (VISITED_LINKS / (4 * graph.edge_count()).max(1)).max(MIN_SOURCES);
        let sources = if nodes.len() <= most {
            nodes
        } else {
            RngStream::new(seed, "sources of load").pick(&nodes, most)
        };
        let mut sent = vec![0.0; graph.len()];
        let mut others = vec![sources.len(); graph.len()];
        for &source in &sources {
            others[source as usize] -= 1;
            let hops = hops_from(graph, source);
            for (node, &distance) in graph.nodes().zip(&hops) {
                let Some(nearer) = distance.and_then(|h| h.checked_sub(1)) else { continue };
                let is_nearer = |&&p: &&u32| hops[p as usize] == Some(nearer);
                let senders = graph.neighbours(node).iter().filter(is_nearer).count();
                // The neighbours of the source get the message from the source only.
                let relays = graph.neighbours(node).iter().filter(is_nearer);
                for &p in relays.filter(|_| nearer > 0) {
                    sent[p as usize] += 1.0 / senders as f64;
                }
            }
        }
        let mean = sent.iter().zip(others).map(|(&copies, n)| copies / n.max(1) as f64);
        let (node, busiest) = graph.nodes().zip(mean).max_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(RelayLoad { busiest, degree: graph.degree(node), sources: sources.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(nodes: usize, edges: &[(u32, u32)]) -> RelayLoad {
        RelayLoad::new(&Graph::new(nodes, edges).unwrap(), 1).unwrap()
    }

    #[test]
    fn centre_of_a_star_relays_to_all_other_leaves() {
        // The centre relays a message of one of the four leaves to the other three.
        let star = load(5, &[(0, 1), (0, 2), (0, 3), (0, 4)]);
        assert_eq!((star.busiest, star.degree, star.sources), (3.0, 4, 5));
    }

    #[test]
    fn equal_shortest_paths_share_the_load() {
        // In a square a peer relays half a copy of each neighbour's message and none of the message
        // of the opposite peer.
        let square = load(4, &[(0, 1), (1, 2), (2, 3), (3, 0)]);
        assert!((square.busiest - 1.0 / 3.0).abs() < 1e-12, "{square:?}");
    }

    #[test]
    fn only_the_largest_component_is_measured() {
        assert_eq!(load(4, &[(0, 1)]).sources, 2);
        assert_eq!(load(1, &[]).busiest, 0.0);
        assert_eq!(RelayLoad::new(&Graph::default(), 1), None);
    }
}
