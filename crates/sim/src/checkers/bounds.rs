//! G7: state that other nodes can make a node hold stays within its limits.

use rumormill_proto::limits;

use super::Violation;
use crate::observation::{NodeObservation, Observation};

/// Compares every figure of every snapshot with its limit.
#[must_use]
pub fn check(observation: &Observation) -> Vec<Violation> {
    observation.nodes.iter().flat_map(|n| [peer(n), seed(n)].concat()).collect()
}

fn over_limit(n: &NodeObservation, figures: &[(&str, u64, usize)]) -> Vec<Violation> {
    figures
        .iter()
        .filter(|(_, value, limit)| *value > *limit as u64)
        .map(|(what, value, limit)| {
            let what = format!("{} has {value} {what}, the limit is {limit}", n.node);
            Violation::new("G7", what).about([n.node])
        })
        .collect()
}

fn peer(n: &NodeObservation) -> Vec<Violation> {
    let Some(p) = &n.peer else { return Vec::new() };
    let gaps = n.publishers.iter().map(|p| p.gaps.len()).max().unwrap_or(0);
    let retention = usize::try_from(n.config.retention_bytes()).unwrap_or(usize::MAX);
    over_limit(
        n,
        &[
            ("links", u64::from(p.links), limits::MAX_PEER_LINKS),
            ("neighbours", p.neighbours.len() as u64, limits::MAX_NEIGHBOURS),
            ("members", u64::from(p.alive), limits::MAX_MEMBERS),
            ("bytes of messages", p.retained_bytes, retention),
            ("publishers", n.publishers.len() as u64, limits::MAX_STREAMS),
            ("gaps of one publisher", gaps as u64, limits::MAX_GAPS),
        ],
    )
}

fn seed(n: &NodeObservation) -> Vec<Violation> {
    let Some(s) = &n.seed else { return Vec::new() };
    over_limit(
        n,
        &[
            ("links", u64::from(s.links), limits::MAX_SEED_LINKS),
            ("entries", u64::from(s.entries), limits::MAX_REGISTRY),
            ("death cases", u64::from(s.cases), limits::MAX_CASES),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted;

    #[test]
    fn figures_over_their_limits_are_found() {
        let mut observation = planted::valid();
        assert_eq!(check(&observation), []);
        let over = |limit: usize| u32::try_from(limit).unwrap() + 1;
        observation.nodes[0].seed.as_mut().unwrap().cases = over(limits::MAX_CASES);
        observation.nodes[3].peer.as_mut().unwrap().links = over(limits::MAX_PEER_LINKS);
        let retention = observation.nodes[4].config.retention_bytes();
        observation.nodes[4].peer.as_mut().unwrap().retained_bytes = retention + 1;
        let found = check(&observation);
        assert_eq!(found.len(), 3, "{found:?}");
    }
}
