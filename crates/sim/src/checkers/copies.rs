//! Copies per peer: how often a batch comes to a peer that needs it once.

use std::collections::BTreeSet;

use rumormill_proto::Time;

use super::Violation;
use crate::ledger::BatchCopy;
use crate::observation::Observation;

/// Copies of batches that reached peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copies {
    /// All of them.
    pub all: u64,
    /// Those that were asked for.
    pub pulled: u64,
    /// Those that were the first at their peer.
    pub first: u64,
}

impl Copies {
    /// Copies a peer got for each batch that it needed; 1 at best, and where there was none.
    #[must_use]
    pub fn per_peer(&self) -> f64 {
        if self.first == 0 { 1.0 } else { self.all as f64 / self.first as f64 }
    }
}

/// Counts the copies that came from `since` on. A batch that comes back to its publisher is one too
/// many.
#[must_use]
pub fn since(seen: &Observation, since: Time) -> Copies {
    let own = |c: &BatchCopy| seen.node_of(&c.batch.publisher).is_some_and(|n| n.node == c.node);
    let mut known = BTreeSet::new();
    let (mut all, mut pulled, mut first) = (0, 0, 0);
    for c in &seen.ledger.copies {
        let new = known.insert((c.node, c.life, c.batch)) && !own(c);
        if c.at >= since {
            all += 1;
            pulled += u64::from(c.pulled);
            first += u64::from(new);
        }
    }
    Copies { all, pulled, first }
}

/// No more copies than so many came to a peer for each batch.
#[must_use]
pub fn check(seen: &Observation, from: Time, at_most: f64) -> Vec<Violation> {
    let copies = since(seen, from);
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
        let mut seen = planted::sound();
        for &node in nodes {
            planted::copy(&mut seen, node);
        }
        seen
    }

    #[test]
    fn one_copy_each_passes() {
        let seen = copies(&[4, 5]);
        assert_eq!(check(&seen, Time::ZERO, 1.0), []);
        assert_eq!(since(&seen, Time::ZERO), Copies { all: 2, pulled: 0, first: 2 });
        assert_eq!(since(&seen, seen.now).per_peer().to_bits(), 1.0f64.to_bits(), "none came");
    }

    #[test]
    fn a_second_copy_is_found() {
        let seen = copies(&[4, 5, 5]);
        assert_eq!(check(&seen, Time::ZERO, 1.0).len(), 1);
        assert_eq!(check(&seen, Time::ZERO, 1.5), []);
    }

    #[test]
    fn a_copy_at_its_publisher_is_found() {
        assert_eq!(check(&copies(&[3, 4, 5]), Time::ZERO, 1.4).len(), 1);
    }
}
