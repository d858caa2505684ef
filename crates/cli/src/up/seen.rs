//! The events that a run looks at, from nodes in this process and in others alike.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use rumormill::proto::snapshot::{PeerSnapshot, SeedSnapshot};
use rumormill::proto::{Counters, MessageId, PeerId};
use serde::Deserialize;
use serde_json::Value;

use super::plan::Fault;

/// An event that matters to a run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Seen {
    /// Registered at a quorum of the seeds.
    Joined,
    /// Neighbours changed.
    NeighbourUp { degree: u16 },
    /// Neighbours changed.
    NeighbourDown { degree: u16 },
    /// A peer told the seeds that another one is dead.
    Reported { id: String },
    /// A peer learned that another one is dead by certificate.
    MemberDead { id: String, witnesses: Vec<String> },
    /// A seed removed a peer by certificate.
    PeerRemoved { id: String, witnesses: Vec<String> },
    /// A message is lost for good.
    Gap { publisher: String, from: u64, to: u64 },
    /// The node itself has said goodbye.
    Left,
    /// Anything else.
    #[serde(other)]
    Other,
}

impl Seen {
    /// Reads the JSON form of an event, which nodes in this process have as well.
    pub(crate) fn of(event: &Value) -> Self {
        Seen::deserialize(event).unwrap_or(Seen::Other)
    }
}

/// Something that happened in a node of the run.
#[derive(Debug)]
pub(crate) enum Sight {
    /// An event of the node with this number.
    Event { node: usize, at_us: u64, seen: Seen },
    /// A peer received a message.
    Received { peer: usize, id: MessageId, published_us: u64, received_us: u64 },
    /// This program was too slow to see everything: the figures are not whole.
    Lagged { node: usize, missing: u64 },
    /// Messages that a peer says it will not get.
    Gap { node: usize, missing: u64 },
    /// A publishing came to this.
    Published { peer: usize, at_us: u64, result: Result<MessageId, String> },
    /// Somebody wants this done.
    Wish(Wish),
    /// A peer was added, or why not.
    Added(Result<usize, String>),
    /// A node ended, or cannot be observed any more, without being asked to.
    Ended { node: usize, how: String },
}

/// What people want to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To the node with this number, as a fault of the plan.
    Strike(usize, Fault),
    /// Let a stopped one go on.
    Thaw(usize),
    /// Start a further peer.
    Add,
    /// Cut the peers in two halves, or (`false`) make them one network again.
    Cut(bool),
}

/// A node of the run.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) id: PeerId,
}

/// All nodes of a run by number: peers first, then seeds, then peers that were added since.
#[derive(Debug, Default)]
pub(crate) struct Members(RwLock<Vec<Member>>);

impl Members {
    /// Adds one; says its number.
    pub(crate) fn add(&self, member: Member) -> usize {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.push(member);
        all.len() - 1
    }

    pub(crate) fn get(&self, number: usize) -> Option<Member> {
        self.all().get(number).cloned()
    }

    pub(crate) fn number(&self, id: PeerId) -> Option<usize> {
        self.all().iter().position(|m| m.id == id)
    }

    /// All there are now.
    pub(crate) fn all(&self) -> RwLockReadGuard<'_, Vec<Member>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a node is asked at the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// Ids of its neighbours.
    pub(crate) neighbours: Vec<String>,
    /// Seeds that hold its registration.
    pub(crate) registrations: usize,
    /// Registrations needed.
    pub(crate) seed_quorum: u32,
    /// Its counters.
    pub(crate) counters: BTreeMap<String, u64>,
}

impl Facts {
    pub(crate) fn of_peer(s: &PeerSnapshot) -> Self {
        Facts {
            neighbours: s.neighbours.iter().map(|n| n.id.to_hex()).collect(),
            registrations: s.seeds.iter().filter(|v| v.registered).count(),
            seed_quorum: s.seed_quorum,
            counters: counters(&s.counters),
        }
    }

    pub(crate) fn of_seed(s: &SeedSnapshot) -> Self {
        Facts { seed_quorum: s.seed_quorum, counters: counters(&s.counters), ..Facts::default() }
    }
}

fn counters(counters: &Counters) -> BTreeMap<String, u64> {
    counters.iter().map(|(name, n)| (name.to_owned(), n)).collect()
}

#[cfg(test)]
mod tests {
    use rumormill::proto::{Event, LinkDown, Name};

    use super::*;

    #[test]
    fn events_are_read_as_nodes_write_them() {
        let id = PeerId::from_bytes([7; 32]);
        let name = Name::new("a").unwrap();
        let seen = |e: &Event| Seen::of(&serde_json::to_value(e).unwrap());
        assert_eq!(seen(&Event::Joined { registrations: 2, quorum: 2 }), Seen::Joined);
        let why = LinkDown::Lost;
        assert_eq!(
            seen(&Event::NeighbourDown { id, name: name.clone(), why, degree: 3 }),
            Seen::NeighbourDown { degree: 3 }
        );
        assert_eq!(
            seen(&Event::Reported { id, name: name.clone(), incarnation: 1 }),
            Seen::Reported { id: id.to_hex() }
        );
        let (witnesses, seeds) = (vec![id], vec![]);
        let removed = Event::PeerRemoved { id, name: Some(name), incarnation: 1, witnesses, seeds };
        assert_eq!(
            seen(&removed),
            Seen::PeerRemoved { id: id.to_hex(), witnesses: vec![id.to_hex()] }
        );
        assert_eq!(seen(&Event::Left { acknowledged: true }), Seen::Left);
        assert_eq!(seen(&Event::Synced { peers: 1 }), Seen::Other);
    }
}
