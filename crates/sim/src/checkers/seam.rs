//! The seam: nodes use links, dials and timeouts as agreed, and send no frame that does not hold.

use super::Violation;
use crate::observation::Observation;

/// Repeats what the world wrote down.
#[must_use]
pub fn check(seen: &Observation) -> Vec<Violation> {
    let misuse = seen.ledger.seam_faults.iter().map(|f| ("seam", f));
    let wire = seen.ledger.wire_faults.iter().map(|f| ("wire", f));
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
    use crate::ledger::Fault;

    #[test]
    fn misuse_and_bad_frames_are_found() {
        let mut seen = planted::sound();
        assert_eq!(check(&seen), []);
        let fault = Fault { at: seen.now, node: seen.nodes[0].node, what: "x".to_owned() };
        seen.ledger.seam_faults.push(fault.clone());
        seen.ledger.wire_faults.push(fault);
        assert_eq!(check(&seen).len(), 2);
    }
}
