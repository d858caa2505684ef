//! The state machines that a node of a world can run: the cores of peers and seeds, or a machine
//! written by a test (an adversary, a listener that only counts).

use rumormill_proto::{Identity, Input, Output, Peer, Seed, Time};

use crate::disk::Disk;

/// A state machine with the interface of [`Peer`] and [`Seed`].
pub trait Machine {
    /// Handles an input.
    fn handle(&mut self, now: Time, input: Input);
    /// The next output, if there is one.
    fn poll_output(&mut self) -> Option<Output>;
    /// The latest time at which `handle` must be called with [`Input::Timeout`].
    fn poll_timeout(&self) -> Option<Time>;
}

/// Makes a machine when a node starts, from the node's identity, its disk and the time.
pub type MachineFactory = Box<dyn FnMut(&Identity, &Disk, Time) -> Box<dyn Machine>>;

/// The state machine that runs in a node.
pub(crate) enum NodeCore {
    Peer(Box<Peer>),
    Seed(Box<Seed>),
    Other(Box<dyn Machine>),
}

impl NodeCore {
    pub(crate) fn handle(&mut self, now: Time, input: Input) {
        match self {
            NodeCore::Peer(p) => p.handle(now, input),
            NodeCore::Seed(s) => s.handle(now, input),
            NodeCore::Other(m) => m.handle(now, input),
        }
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        match self {
            NodeCore::Peer(p) => p.poll_output(),
            NodeCore::Seed(s) => s.poll_output(),
            NodeCore::Other(m) => m.poll_output(),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        match self {
            NodeCore::Peer(p) => p.poll_timeout(),
            NodeCore::Seed(s) => s.poll_timeout(),
            NodeCore::Other(m) => m.poll_timeout(),
        }
    }
}
