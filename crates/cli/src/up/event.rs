//! The events of a run: what nodes report, in this process and in others alike, and what the user
//! asks for at the page.

use rumormill::proto::{Event, MessageId, PeerId};

use super::options::Fault;

/// An event of a node that matters to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ObserverEvent {
    /// The peer is registered at a quorum of the seeds.
    Joined,
    /// The peer has one neighbour more.
    NeighbourUp { degree: u16 },
    /// The peer has one neighbour less.
    NeighbourDown { degree: u16 },
    /// The peer reported to the seeds that another peer is dead.
    Reported { id: PeerId },
    /// The peer learned from a certificate that another peer is dead.
    MemberDead { id: PeerId, witnesses: Vec<PeerId> },
    /// The seed removed a peer by certificate.
    PeerRemoved { id: PeerId, witnesses: Vec<PeerId> },
    /// Messages that the peer cannot get any more.
    Gap { publisher: PeerId, from: u64, to: u64 },
    /// The peer itself has left the network.
    Left,
}

impl ObserverEvent {
    /// The event of a node in this process; `None` if it does not matter to a run.
    pub(crate) fn of(event: Event) -> Option<Self> {
        Some(match event {
            Event::Joined { .. } => ObserverEvent::Joined,
            Event::NeighbourUp { degree, .. } => ObserverEvent::NeighbourUp { degree },
            Event::NeighbourDown { degree, .. } => ObserverEvent::NeighbourDown { degree },
            Event::Reported { id, .. } => ObserverEvent::Reported { id },
            Event::MemberDead { id, witnesses, .. } => ObserverEvent::MemberDead { id, witnesses },
            Event::PeerRemoved { id, witnesses, .. } => {
                ObserverEvent::PeerRemoved { id, witnesses }
            }
            Event::Gap { publisher, from, to, .. } => ObserverEvent::Gap { publisher, from, to },
            Event::Left { .. } => ObserverEvent::Left,
            _ => return None,
        })
    }
}

/// An event of a run. Nodes are given by number.
#[derive(Debug)]
pub(crate) enum RunEvent {
    /// A node reports an event.
    Observed { node: usize, at_us: u64, event: ObserverEvent },
    /// A peer received a message.
    Received { peer: usize, id: MessageId, published_us: u64, received_us: u64 },
    /// This program was too slow to read all events of a node: the figures are incomplete.
    Lagged { node: usize, missing: u64 },
    /// A subscriber of a peer was told that messages are missing.
    Gap { node: usize, missing: u64 },
    /// A peer has published a message, or failed to.
    Published { peer: usize, at_us: u64, result: Result<MessageId, String> },
    /// The user asks for something at the page.
    Requested(OperatorRequest),
    /// A peer was added, or could not be.
    Added(Result<usize, String>),
    /// A node ended, or cannot be observed any more.
    Ended { node: usize, how: String },
}

/// A request of the user at the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OperatorRequest {
    /// A fault for the node with this number.
    InjectFault(usize, Fault),
    /// The end of a stop.
    Resume(usize),
    /// A further peer.
    AddPeer,
    /// A partition of the peers into two halves, or (`false`) its end.
    Partition(bool),
}
