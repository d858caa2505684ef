//! What survives a restart.

mod database;
mod identity_file;
mod task;

#[cfg(test)]
pub(crate) use database::settle;
pub(crate) use database::{Database, Kept};
pub(crate) use identity_file::load_or_create;
pub(crate) use task::{StoreHandle, spawn};
