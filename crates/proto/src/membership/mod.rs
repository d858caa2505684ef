//! Membership at a peer: its own record, its registrations at the seeds, and the other peers.

mod local;
mod members;
mod registration;

use crate::limits::FULL_LIST_LIMIT;

pub(crate) use local::LocalRecord;
pub(crate) use members::{Member, Members, MergeOutcome};
pub(crate) use registration::{QuorumChange, Registrations, SeedSlot, majority};

/// The membership state of a peer.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) own: LocalRecord,
    pub(crate) members: Members,
    pub(crate) registrations: Registrations,
}

impl Membership {
    /// Whether the network is so large that no peer knows all members.
    pub(crate) fn is_large(&self) -> bool {
        self.registrations.network_size() as usize > FULL_LIST_LIMIT
    }
}
