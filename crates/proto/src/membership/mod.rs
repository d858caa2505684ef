//! Membership as a peer has it: its own record, its registrations at the seeds, and the other peers.

mod local;
mod members;
mod registration;

use crate::limits::WHOLE_LIST;

pub(crate) use local::LocalRecord;
pub(crate) use members::{MergeOutcome, Member, Members};
pub(crate) use registration::{QuorumChange, Registrations, SeedSlot, majority};

/// What a peer knows of the members of its network.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) own: LocalRecord,
    pub(crate) members: Members,
    pub(crate) registrations: Registrations,
}

impl Membership {
    /// Whether the network is so large that no peer knows all of it.
    pub(crate) fn is_large(&self) -> bool {
        self.registrations.network_size() as usize > WHOLE_LIST
    }
}
