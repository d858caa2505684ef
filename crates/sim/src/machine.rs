//! Anything that can stand in a world as a node: the real cores, or what a test writes to play a
//! part (an adversary, a listener that only counts).

use rumormill_proto::{Identity, Input, Output, Peer, Seed, Time};

use crate::disk::Disk;

/// A state machine in the shape of [`Peer`] and [`Seed`].
pub trait Machine {
    /// Takes in what happened.
    fn handle(&mut self, now: Time, input: Input);
    /// The next thing to do, if any.
    fn poll_output(&mut self) -> Option<Output>;
    /// When to call `handle` with [`Input::Timeout`] at the latest.
    fn poll_timeout(&self) -> Option<Time>;
}

/// Makes a machine for a node that starts, from its identity, its disk and the time.
pub type Factory = Box<dyn FnMut(&Identity, &Disk, Time) -> Box<dyn Machine>>;

/// What runs in a node.
pub(crate) enum Core {
    Peer(Box<Peer>),
    Seed(Box<Seed>),
    Other(Box<dyn Machine>),
}

impl Core {
    pub(crate) fn handle(&mut self, now: Time, input: Input) {
        match self {
            Core::Peer(p) => p.handle(now, input),
            Core::Seed(s) => s.handle(now, input),
            Core::Other(m) => m.handle(now, input),
        }
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        match self {
            Core::Peer(p) => p.poll_output(),
            Core::Seed(s) => s.poll_output(),
            Core::Other(m) => m.poll_output(),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        match self {
            Core::Peer(p) => p.poll_timeout(),
            Core::Seed(s) => s.poll_timeout(),
            Core::Other(m) => m.poll_timeout(),
        }
    }
}
