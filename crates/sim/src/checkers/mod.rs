//! Checkers: each compares an [`Observation`] with a promise of GUARANTEES.md.
//!
//! [`always`] runs the checkers of promises that hold at every moment. [`at_rest`] also runs those
//! of promises that hold once faults have ended and the network has had time to settle. Every
//! checker has a test with a planted violation.

pub mod age;
pub mod bounds;
pub mod copies;
pub mod death;
pub mod degree;
pub mod delivery;
pub mod islands;
pub mod joining;
pub mod loss;
pub mod order;
pub mod receipts;
pub mod registry;
pub mod scale_free;
pub mod seam;
pub mod trees;

use core::fmt;

use crate::node::NodeId;
use crate::observation::Observation;

#[cfg(test)]
mod planted;

/// A violation of a promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The id of the promise (`G1`), or `copies`, `seam`, `tree` or `wire`.
    pub promise: &'static str,
    /// Description of the violation and its location.
    pub what: String,
    /// The nodes concerned, if known.
    pub nodes: Vec<NodeId>,
}

impl Violation {
    pub(crate) const fn new(promise: &'static str, what: String) -> Self {
        Violation { promise, what, nodes: Vec::new() }
    }

    /// Adds nodes that are concerned.
    pub(crate) fn about(mut self, nodes: impl IntoIterator<Item = NodeId>) -> Self {
        self.nodes.extend(nodes);
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.what)
    }
}

/// Violations of the promises that hold at every moment: no message is delivered twice, out of
/// order or with an overestimated age; none is skipped silently, also after a restart; no live peer
/// is removed; state is bounded; the contract of the seam is kept.
#[must_use]
pub fn always(observation: &Observation) -> Vec<Violation> {
    let checks = [
        delivery::once,
        delivery::needless_gaps,
        age::check,
        order::check,
        order::named_streams,
        loss::gaps,
        loss::resumed,
        loss::consumed,
        death::check,
        death::late_removals,
        receipts::check,
        bounds::check,
        seam::check,
    ];
    checks.iter().flat_map(|check| check(observation)).collect()
}

/// The ids of all promises that have a checker.
pub const PROMISES: &[&str] =
    &["G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8", "P2", "P3", "seam", "tree", "wire"];

/// Violations of the promises that hold at rest: those of [`always`]; every message is delivered to
/// every peer; the overlay is one component; the registries agree and contain every live peer;
/// every joined peer knows the others; the degrees follow their targets and the law.
#[must_use]
pub fn at_rest(observation: &Observation) -> Vec<Violation> {
    let mut found = always(observation);
    found.extend(only_at_rest(observation));
    found
}

/// Violations of the promises that hold only at rest.
#[must_use]
pub fn only_at_rest(observation: &Observation) -> Vec<Violation> {
    let checks = [
        delivery::complete,
        loss::equal_progress,
        receipts::open_receipts,
        islands::check,
        registry::agreement,
        registry::visibility,
        joining::check,
        degree::check,
        scale_free::check,
    ];
    checks.iter().flat_map(|check| check(observation)).collect()
}
