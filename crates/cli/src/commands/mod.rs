//! The commands, one file each.

pub(crate) mod clean;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod get;
pub(crate) mod leave;
pub(crate) mod man;
pub(crate) mod members;
pub(crate) mod messages;
pub(crate) mod neighbours;
pub(crate) mod peer;
pub(crate) mod seed;
pub(crate) mod send;
pub(crate) mod status;
pub(crate) mod tail;
pub(crate) mod top;
pub(crate) mod up;
