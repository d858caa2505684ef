//! Membership as a peer has it: its registrations at the seeds, and the other peers.

mod members;
mod registration;

pub(crate) use members::{Learned, Member, Members};
pub(crate) use registration::{Quorum, Registrations, SeedSlot, majority};
