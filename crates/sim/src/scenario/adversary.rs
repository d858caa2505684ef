//! Nodes that do not play by the rules.

use serde::Deserialize;

use super::values::Share;

/// Some nodes of one kind. They join with the peers, beside them, and begin with the action.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Adversary {
    /// What they do.
    pub kind: AdversaryKind,
    /// How many.
    #[serde(default)]
    pub count: Share,
}

/// What an adversary does. In all else it is a peer like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdversaryKind {
    /// It reports its live neighbours dead, and says so to whoever asks.
    Liar,
    /// It sends its neighbours announcements of messages that do not exist, requests, and words
    /// about strangers, as many as a link takes.
    Flooder,
    /// It asks its neighbours and seeds for everything they have, as fast as a link takes.
    Greedy,
    /// It sends again, much later, what it was sent or has sent.
    Replayer,
    /// It publishes two contents under one number, one to each half of its neighbours.
    Equivocator,
    /// It takes what it is sent and hands no message on.
    SilentRelay,
    /// It changes bytes of the messages that it hands on.
    Forger,
    /// It registers and never links with a peer, from its start to the end of the run.
    Idle,
}

impl AdversaryKind {
    /// Whether it is in the overlay, and so perhaps in the way of others.
    #[must_use]
    pub const fn has_neighbours(self) -> bool {
        !matches!(self, AdversaryKind::Idle)
    }

    /// Whether what it sends is refused by its signature: with fast keys it would not be.
    #[must_use]
    pub const fn breaks_signatures(self) -> bool {
        matches!(self, AdversaryKind::Forger)
    }
}
