//! The names of the nodes of a run.

/// `peer-01`, `peer-02`, …; `seed-1`, `seed-2`, …
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeNames {
    pub(crate) peers: Vec<String>,
    pub(crate) seeds: Vec<String>,
}

impl NodeNames {
    pub(crate) fn new(peers: usize, seeds: usize) -> Self {
        NodeNames { peers: numbered("peer", peers), seeds: numbered("seed", seeds) }
    }
}

/// Names with numbers from 1, all of the same width, so that a list sorted by name is sorted by
/// number.
fn numbered(word: &str, count: usize) -> Vec<String> {
    let width = count.to_string().len();
    (1..=count).map(|n| format!("{word}-{n:0width$}")).collect()
}

/// The name of a peer that is added to a run of `peers_at_start` peers. `index` counts from 0.
pub(crate) fn added_peer_name(index: usize, peers_at_start: usize) -> String {
    let width = peers_at_start.to_string().len();
    format!("peer-{:0width$}", index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sorted_by_text_are_sorted_by_number() {
        let names = NodeNames::new(12, 3);
        assert_eq!(names.seeds, ["seed-1", "seed-2", "seed-3"]);
        assert_eq!((names.peers[0].as_str(), names.peers[11].as_str()), ("peer-01", "peer-12"));
        assert!(names.peers.is_sorted());
        assert_eq!(added_peer_name(12, 12), "peer-13");
        assert_eq!(added_peer_name(11, 12), names.peers[11]);
    }
}
