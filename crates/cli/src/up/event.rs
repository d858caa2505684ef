//! The events of a run: what nodes report, in this process and in others alike, and what the user
//! asks for at the page.

use rumormill::proto::MessageId;
use serde::Deserialize;
use serde_json::Value;

use super::options::Fault;

/// An event of a node that matters to a run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum ObserverEvent {
    /// The peer is registered at a quorum of the seeds.
    Joined,
    /// The peer has one neighbour more.
    NeighbourUp { degree: u16 },
    /// The peer has one neighbour less.
    NeighbourDown { degree: u16 },
    /// The peer reported to the seeds that another peer is dead.
    Reported { id: String },
    /// The peer learned from a certificate that another peer is dead.
    MemberDead { id: String, witnesses: Vec<String> },
    /// The seed removed a peer by certificate.
    PeerRemoved { id: String, witnesses: Vec<String> },
    /// Messages that the peer cannot get any more.
    Gap { publisher: String, from: u64, to: u64 },
    /// The peer itself has left the network.
    Left,
    /// Any other event.
    #[serde(other)]
    Other,
}

impl ObserverEvent {
    /// Reads the JSON form of an event, in which nodes of this process and of others give it.
    pub(crate) fn of(event: &Value) -> Self {
        ObserverEvent::deserialize(event).unwrap_or(ObserverEvent::Other)
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

#[cfg(test)]
mod tests {
    use rumormill::proto::{Event, LinkEnd, Name, PeerId};

    use super::*;

    #[test]
    fn events_are_read_from_the_json_of_nodes() {
        let id = PeerId::from_bytes([7; 32]);
        let name = Name::new("a").unwrap();
        let read = |e: &Event| ObserverEvent::of(&serde_json::to_value(e).unwrap());
        let joined = Event::Joined { registrations: 2, quorum: 2 };
        assert_eq!(read(&joined), ObserverEvent::Joined);
        let why = LinkEnd::Lost;
        assert_eq!(
            read(&Event::NeighbourDown { id, name: name.clone(), why, degree: 3 }),
            ObserverEvent::NeighbourDown { degree: 3 }
        );
        assert_eq!(
            read(&Event::Reported { id, name: name.clone(), incarnation: 1 }),
            ObserverEvent::Reported { id: id.to_hex() }
        );
        let (witnesses, seeds) = (vec![id], vec![]);
        let removed = Event::PeerRemoved { id, name: Some(name), incarnation: 1, witnesses, seeds };
        assert_eq!(
            read(&removed),
            ObserverEvent::PeerRemoved { id: id.to_hex(), witnesses: vec![id.to_hex()] }
        );
        assert_eq!(read(&Event::Left { acknowledged: true }), ObserverEvent::Left);
        assert_eq!(read(&Event::Synced { peers: 1 }), ObserverEvent::Other);
    }
}
