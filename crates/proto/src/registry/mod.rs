//! What a seed knows of the peers, in a form that merges.

mod entry;

pub use entry::{Entry, EntryState};
