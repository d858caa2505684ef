//! G1: no node overestimates the age of a message, so a subscription that begins now misses no
//! message that is published afterwards.

use core::time::Duration;
use std::collections::BTreeMap;

use rumormill_proto::{MessageId, Time};

use super::Violation;
use crate::observation::Observation;

/// Finds messages whose age a node overestimates. Two cases are exempt: messages that an earlier
/// process of the node stored are older than every subscription, and after a wall clock was set, a
/// restarted node cannot know the true age.
#[must_use]
pub fn check(observation: &Observation) -> Vec<Violation> {
    if observation.ledger.clock_was_set {
        return Vec::new();
    }
    let published: BTreeMap<MessageId, Time> =
        observation.ledger.publications.iter().map(|p| (p.id, p.at)).collect();
    let mut found = Vec::new();
    let aged =
        observation.ledger.arrivals.iter().filter(|a| !a.age.is_zero() && a.age < Duration::MAX);
    for a in aged {
        let Some(at) = published.get(&a.id) else { continue };
        let existed = a.at.since(*at);
        if a.age > existed {
            let what = format!(
                "{} takes {} to be {:?} old, but it was published {existed:?} before",
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
    fn overestimated_age_is_found() {
        let mut observation = planted::valid();
        planted::deliver(&mut observation, 4, &[0]);
        let last = observation.ledger.arrivals.last_mut().unwrap();
        last.age = Duration::from_secs(1);
        assert_eq!(check(&observation), [], "the message was published a second before");
        observation.ledger.arrivals.last_mut().unwrap().age = Duration::from_millis(1001);
        assert_eq!(check(&observation).len(), 1);
        observation.ledger.arrivals.last_mut().unwrap().age = Duration::MAX;
        assert_eq!(check(&observation), [], "an earlier process stored the message");
    }
}
