//! The seam: nodes use links, dials and timeouts by the contract of the seam, and honest nodes send
//! no invalid frame.

use super::Violation;
use crate::observation::Observation;

/// Returns the contract violations that the world recorded.
#[must_use]
pub fn check(observation: &Observation) -> Vec<Violation> {
    let misuse = observation.ledger.seam_violations.iter().map(|f| ("seam", f));
    let wire = observation.ledger.wire_violations.iter().map(|f| ("wire", f));
    misuse
        .chain(wire)
        .map(|(kind, f)| {
            let what = format!("{} at {}: {}", f.node, f.at, f.what);
            Violation::new(kind, what).about([f.node])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted;
    use crate::ledger::ContractViolation;

    #[test]
    fn misuse_and_invalid_frames_are_found() {
        let mut observation = planted::valid();
        assert_eq!(check(&observation), []);
        let node = observation.nodes[0].node;
        let violation = ContractViolation { at: observation.now, node, what: "x".to_owned() };
        observation.ledger.seam_violations.push(violation.clone());
        observation.ledger.wire_violations.push(violation);
        assert_eq!(check(&observation).len(), 2);
    }
}
