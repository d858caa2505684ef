//! The promises of the network, held against an [`Observation`].
//!
//! [`always`] gathers what must hold at every moment, [`at_rest`] also what must hold once faults
//! have ended and the network has had time to settle. Every checker has a test that plants the
//! fault it looks for.

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

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The promise, by its id in the design (`G1`), or `seam`.
    pub promise: &'static str,
    /// What was found, and where.
    pub what: String,
    /// The nodes concerned, if it can be told.
    pub nodes: Vec<NodeId>,
}

impl Violation {
    pub(crate) const fn new(promise: &'static str, what: String) -> Self {
        Violation { promise, what, nodes: Vec::new() }
    }

    /// Says which nodes are concerned.
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

/// What must hold at every moment: nothing delivered twice, out of order, as older than it is or left out in silence, also
/// by a process that was started again, no false death, everything bounded, the seam used as agreed.
#[must_use]
pub fn always(seen: &Observation) -> Vec<Violation> {
    let checks = [
        delivery::once,
        delivery::needless_gaps,
        age::check,
        order::check,
        order::named_streams,
        loss::told,
        loss::resumed,
        loss::consumed,
        death::check,
        death::prompt,
        receipts::check,
        bounds::check,
        seam::check,
    ];
    checks.iter().flat_map(|check| check(seen)).collect()
}

/// Every promise there is a checker for, by its id.
pub const PROMISES: &[&str] =
    &["G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8", "P2", "P3", "seam", "tree", "wire"];

/// What must hold at rest: everything of [`always`], every message delivered everywhere, one
/// component, registries that agree and show every live peer, no joined peer that overlooks another
/// one, degrees in order.
#[must_use]
pub fn at_rest(seen: &Observation) -> Vec<Violation> {
    let mut found = always(seen);
    found.extend(only_at_rest(seen));
    found
}

/// What must hold at rest, and need not before.
#[must_use]
pub fn only_at_rest(seen: &Observation) -> Vec<Violation> {
    let checks = [
        delivery::complete,
        loss::even,
        receipts::settled,
        islands::check,
        registry::agreement,
        registry::visibility,
        joining::check,
        degree::check,
        scale_free::check,
    ];
    checks.iter().flat_map(|check| check(seen)).collect()
}
