//! The work that every system does in the same way.

pub(crate) mod delay;
pub(crate) mod detection;
pub(crate) mod idle;
pub(crate) mod load;
pub(crate) mod throughput;
