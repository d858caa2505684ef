//! G1: a message is never taken for older than it is, so that a subscription which begins now misses
//! nothing that is published afterwards.

use core::time::Duration;
use std::collections::BTreeMap;

use rumormill_proto::{MessageId, Time};

use super::Violation;
use crate::observation::Observation;

/// No node says of a message that it has existed for longer than it has. Two cases are left out: what
/// an earlier process of the same node kept is older than every subscription, and where a wall clock
/// was set, a node that was restarted does not know better.
#[must_use]
pub fn check(seen: &Observation) -> Vec<Violation> {
    if seen.ledger.clock_was_set {
        return Vec::new();
    }
    let published: BTreeMap<MessageId, Time> =
        seen.ledger.publications.iter().map(|p| (p.id, p.at)).collect();
    let mut found = Vec::new();
    let aged = seen.ledger.arrivals.iter().filter(|a| !a.age.is_zero() && a.age < Duration::MAX);
    for a in aged {
        let Some(at) = published.get(&a.id) else { continue };
        let existed = a.at.since(*at);
        if a.age > existed {
            let what = format!(
                "{} takes {} for {:?} old, and it was published {existed:?} before",
                a.node, a.id, a.age
            );
            found.push(Violation::new("G1", what).about([a.node]));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted;

    #[test]
    fn message_taken_for_older_than_it_is_is_found() {
        let mut seen = planted::sound();
        planted::deliver(&mut seen, 4, &[0]);
        let last = seen.ledger.arrivals.last_mut().unwrap();
        last.age = Duration::from_secs(1);
        assert_eq!(check(&seen), [], "it was published a second before");
        seen.ledger.arrivals.last_mut().unwrap().age = Duration::from_millis(1001);
        assert_eq!(check(&seen).len(), 1);
        seen.ledger.arrivals.last_mut().unwrap().age = Duration::MAX;
        assert_eq!(check(&seen), [], "of an earlier process");
    }
}
