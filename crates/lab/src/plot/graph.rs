//! Graphs from pairs of ids.

use std::collections::{BTreeMap, BTreeSet};

use rumormill_analysis::Graph;

/// The graph of these nodes and of those that the pairs name, by their ids.
pub(super) fn graph(
    nodes: impl Iterator<Item = String>,
    pairs: &BTreeSet<(String, String)>,
) -> Result<Graph, String> {
    let mut all: BTreeSet<String> = nodes.collect();
    all.extend(pairs.iter().flat_map(|(a, b)| [a.clone(), b.clone()]));
    let index: BTreeMap<&str, u32> = all.iter().map(String::as_str).zip(0..).collect();
    let edges: Vec<(u32, u32)> = pairs
        .iter()
        .filter_map(|(a, b)| Some((*index.get(a.as_str())?, *index.get(b.as_str())?)))
        .collect();
    Graph::new(all.len(), &edges).map_err(|e| e.to_string())
}
