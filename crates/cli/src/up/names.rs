//! What the nodes of a run are called.

/// `peer-01`, `peer-02`, …; `seed-1`, `seed-2`, …
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) peers: Vec<String>,
    pub(crate) seeds: Vec<String>,
}

impl Names {
    pub(crate) fn new(peers: usize, seeds: usize) -> Self {
        Names { peers: numbered("peer", peers), seeds: numbered("seed", seeds) }
    }
}

/// Numbers from 1, all of the same width, so that a sorted list is in order.
fn numbered(word: &str, count: usize) -> Vec<String> {
    let width = count.to_string().len();
    (1..=count).map(|n| format!("{word}-{n:0width$}")).collect()
}

/// The name of a peer that comes later, in a run that began with so many.
pub(crate) fn peer(index: usize, began_with: usize) -> String {
    let width = began_with.to_string().len();
    format!("peer-{:0width$}", index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_by_name_is_sorted_by_number() {
        let names = Names::new(12, 3);
        assert_eq!(names.seeds, ["seed-1", "seed-2", "seed-3"]);
        assert_eq!((names.peers[0].as_str(), names.peers[11].as_str()), ("peer-01", "peer-12"));
        assert!(names.peers.is_sorted());
        assert_eq!(peer(12, 12), "peer-13");
        assert_eq!(peer(11, 12), names.peers[11]);
    }
}
