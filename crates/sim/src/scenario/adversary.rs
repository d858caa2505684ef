//! The adversaries of a scenario.

use serde::Deserialize;

use super::values::Share;

/// Some adversaries of one kind. They join with the peers and attack from the beginning of the
/// active phase to its end.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Adversary {
    /// The kind.
    pub kind: AdversaryKind,
    /// How many, of the initial number of peers.
    #[serde(default)]
    pub count: Share,
}

/// The kind of an adversary: the rule that it violates. In everything else it is a normal peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdversaryKind {
    /// Reports its live neighbours as dead, and gives every indirect probe of them a false answer.
    Liar,
    /// Sends its neighbours announcements of messages that do not exist, requests, and probe
    /// replies about unknown nodes, as many as a link accepts.
    Flooder,
    /// Requests everything from its neighbours and seeds, as fast as a link accepts.
    Greedy,
    /// Replays frames that it has received or sent, much later.
    Replayer,
    /// Publishes two contents under one sequence number, one to each half of its neighbours.
    Equivocator,
    /// Receives messages and does not forward them.
    SilentRelay,
    /// Changes bytes of the messages that it forwards.
    Forger,
    /// Registers and never links with a peer, from its start to the end of the run.
    Idle,
}

impl AdversaryKind {
    /// Whether it is part of the overlay.
    #[must_use]
    pub const fn has_neighbours(self) -> bool {
        !matches!(self, AdversaryKind::Idle)
    }

    /// Whether the defence against it is a signature check, which fast keys do not do.
    #[must_use]
    pub const fn breaks_signatures(self) -> bool {
        matches!(self, AdversaryKind::Forger)
    }
}
