//! The registry of a seed, in a form that merges: any order of the same updates gives the same
//! registry.

mod entry;
mod pool;
mod table;

pub use entry::{Entry, EntryState};
pub(crate) use table::{EntryChange, Table};
