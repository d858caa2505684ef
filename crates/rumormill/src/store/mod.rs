//! The durable state of a node.

mod database;
mod guard;
mod identity_file;
mod task;

use rumormill_proto::Role;

#[cfg(test)]
pub(crate) use database::last_op_per_key;
pub(crate) use database::{Database, StoredPeerState, unusable};
pub use guard::silence_caught_panics;
pub(crate) use identity_file::load_or_create;
pub(crate) use task::{StoreHandle, spawn};

/// The file in a data directory that holds the state of a node of this role.
pub(crate) const fn state_file_name(role: Role) -> &'static str {
    match role {
        Role::Peer => "peer.redb",
        Role::Seed => "seed.redb",
    }
}
