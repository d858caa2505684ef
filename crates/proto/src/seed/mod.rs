//! A seed: registry, exchange with the other seeds, verdicts on death, composed.

use crate::config::Config;
use crate::identity::{Identity, PeerId};
use crate::io::{Input, Output, SeedAddress};
use crate::registry::Entry;
use crate::snapshot::{MemberView, SeedSnapshot};
use crate::time::Time;

/// What a seed starts with.
#[derive(Debug, Clone)]
pub struct SeedSetup {
    /// Its settings.
    pub config: Config,
    /// Its key pair.
    pub identity: Identity,
    /// All seeds of the network as the configuration names them, this one included.
    pub seeds: Vec<SeedAddress>,
    /// Which of them this one is, if it is among them.
    pub own_index: Option<usize>,
    /// The registry as stored.
    pub entries: Vec<Entry>,
    /// The stored nonce for target degrees, if there is one.
    pub nonce: Option<[u8; 16]>,
    /// Seed of all its randomness. Fresh OS randomness in production.
    pub rng_seed: [u8; 32],
}

/// A seed as a state machine.
#[derive(Debug)]
pub struct Seed {}

#[allow(missing_docs, unused_variables, clippy::todo)]
impl Seed {
    /// A seed that has done nothing yet.
    #[must_use]
    pub fn new(setup: SeedSetup, now: Time) -> Self {
        todo!()
    }
    /// Its id.
    pub fn id(&self) -> PeerId {
        todo!()
    }
    /// Takes in what happened.
    pub fn handle(&mut self, now: Time, input: Input) {
        todo!()
    }
    /// The next thing to do, if any.
    pub fn poll_output(&mut self) -> Option<Output> {
        todo!()
    }
    /// When to call `handle` with `Input::Timeout` at the latest.
    pub fn poll_timeout(&self) -> Option<Time> {
        todo!()
    }
    /// Everything about this seed.
    pub fn snapshot(&self, now: Time) -> SeedSnapshot {
        todo!()
    }
    /// The registry, by id, all states.
    pub fn members(&self, now: Time) -> Vec<MemberView> {
        todo!()
    }
}
