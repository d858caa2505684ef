//! The state machines that a node of a world can run: the cores of peers and seeds, or a machine
//! written by a test (an adversary, a listener that only counts).

use rumormill_proto::{Identity, Peer, Seed, StateMachine, Time};

use crate::disk::Disk;

/// Makes a machine when a node starts, from the node's identity, its disk and the time.
pub type MachineFactory = Box<dyn FnMut(&Identity, &Disk, Time) -> Box<dyn StateMachine>>;

/// The state machine that runs in a node.
pub(crate) enum NodeCore {
    Peer(Box<Peer>),
    Seed(Box<Seed>),
    Other(Box<dyn StateMachine>),
}

impl NodeCore {
    pub(crate) fn machine(&self) -> &dyn StateMachine {
        match self {
            NodeCore::Peer(peer) => peer.as_ref(),
            NodeCore::Seed(seed) => seed.as_ref(),
            NodeCore::Other(machine) => machine.as_ref(),
        }
    }

    pub(crate) fn machine_mut(&mut self) -> &mut dyn StateMachine {
        match self {
            NodeCore::Peer(peer) => peer.as_mut(),
            NodeCore::Seed(seed) => seed.as_mut(),
            NodeCore::Other(machine) => machine.as_mut(),
        }
    }
}
