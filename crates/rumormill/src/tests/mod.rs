//! The transport, the links and the store over real loopback sockets, with a core that only answers
//! pings and records its inputs.

mod addresses;
mod batches;
mod harness;
mod hostile;
mod identity;
mod lifecycle;
mod logs;
mod queues;
mod resume;
mod stores;

pub(crate) use harness::identity;
