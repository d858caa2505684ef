//! Copies per peer: how often a peer receives a batch that it needs once.

use std::collections::BTreeSet;

use rumormill_proto::Time;

use super::Violation;
use crate::ledger::BatchCopy;
use crate::observation::Observation;

/// Numbers of copies of batches that peers received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copies {
    /// All copies.
    pub all: u64,
    /// Copies that were pulled.
    pub pulled: u64,
    /// Copies that were the first of their batch at their peer.
    pub first: u64,
}

impl Copies {
    /// Copies that a peer received for each batch that it needed: at least 1, and 1 if no batch was
    /// sent.
    #[must_use]
    pub fn per_peer(&self) -> f64 {
        if self.first == 0 { 1.0 } else { self.all as f64 / self.first as f64 }
    }
}

/// Counts the copies that arrived from `since` on. A copy at the publisher of the batch is a
/// duplicate.
#[must_use]
pub fn since(observation: &Observation, since: Time) -> Copies {
    let is_own =
        |c: &BatchCopy| observation.node_of(&c.batch.publisher).is_some_and(|n| n.node == c.node);
    let mut known = BTreeSet::new();
    let (mut all, mut pulled, mut first) = (0, 0, 0);
    for c in &observation.ledger.copies {
        let is_first = known.insert((c.node, c.process, c.batch)) && !is_own(c);
        if c.at >= since {
            all += 1;
            pulled += u64::from(c.pulled);
            first += u64::from(is_first);
        }
    }
    Copies { all, pulled, first }
}

/// Finds a mean number of copies per peer above `at_most`.
#[must_use]
pub fn check(observation: &Observation, from: Time, at_most: f64) -> Vec<Violation> {
    let copies = since(observation, from);
    if copies.per_peer() <= at_most {
        return Vec::new();
    }
    let what = format!(
        "{:.3} copies per peer ({copies:?}), at most {at_most} are allowed",
        copies.per_peer()
    );
    vec![Violation::new("copies", what)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted;

    fn copies(nodes: &[u32]) -> Observation {
        let mut observation = planted::valid();
        for &node in nodes {
            planted::copy(&mut observation, node);
        }
        observation
    }

    #[test]
    fn one_copy_per_peer_passes() {
        let observation = copies(&[4, 5]);
        assert_eq!(check(&observation, Time::ZERO, 1.0), []);
        assert_eq!(since(&observation, Time::ZERO), Copies { all: 2, pulled: 0, first: 2 });
        assert_eq!(
            since(&observation, observation.now).per_peer().to_bits(),
            1.0f64.to_bits(),
            "no copy arrived"
        );
    }

    #[test]
    fn a_second_copy_is_found() {
        let observation = copies(&[4, 5, 5]);
        assert_eq!(check(&observation, Time::ZERO, 1.0).len(), 1);
        assert_eq!(check(&observation, Time::ZERO, 1.5), []);
    }

    #[test]
    fn a_copy_at_its_publisher_is_found() {
        assert_eq!(check(&copies(&[3, 4, 5]), Time::ZERO, 1.4).len(), 1);
    }
}
