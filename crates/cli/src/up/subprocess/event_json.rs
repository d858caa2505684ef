//! The JSON form of events, in which a node in another process gives them.

use rumormill::proto::PeerId;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::up::event::ObserverEvent;

/// The JSON form of the events that matter to a run.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum EventJson {
    Joined,
    NeighbourUp { degree: u16 },
    NeighbourDown { degree: u16 },
    Reported { id: Id },
    MemberDead { id: Id, witnesses: Vec<Id> },
    PeerRemoved { id: Id, witnesses: Vec<Id> },
    Gap { publisher: Id, from: u64, to: u64 },
    Left,
}

/// An id in hexadecimal.
struct Id(PeerId);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        String::deserialize(json)?.parse().map(Id).map_err(D::Error::custom)
    }
}

/// Reads an event; `None` if it does not matter to a run.
pub(super) fn read(event: &Value) -> Option<ObserverEvent> {
    let ids = |ids: Vec<Id>| ids.into_iter().map(|id| id.0).collect();
    Some(match EventJson::deserialize(event).ok()? {
        EventJson::Joined => ObserverEvent::Joined,
        EventJson::NeighbourUp { degree } => ObserverEvent::NeighbourUp { degree },
        EventJson::NeighbourDown { degree } => ObserverEvent::NeighbourDown { degree },
        EventJson::Reported { id } => ObserverEvent::Reported { id: id.0 },
        EventJson::MemberDead { id, witnesses } => {
            ObserverEvent::MemberDead { id: id.0, witnesses: ids(witnesses) }
        }
        EventJson::PeerRemoved { id, witnesses } => {
            ObserverEvent::PeerRemoved { id: id.0, witnesses: ids(witnesses) }
        }
        EventJson::Gap { publisher, from, to } => {
            ObserverEvent::Gap { publisher: publisher.0, from, to }
        }
        EventJson::Left => ObserverEvent::Left,
    })
}

#[cfg(test)]
mod tests {
    use rumormill::proto::{Event, LinkEnd, Name};

    use super::*;

    /// Every event that matters, and one that does not: a name that changes in the JSON form would
    /// be lost here without an error.
    #[test]
    fn event_from_another_process_is_the_same_as_one_of_this_process() {
        let id = PeerId::from_bytes([7; 32]);
        let name = Name::new("a").unwrap();
        let (incarnation, witnesses, seeds) = (1, vec![id], vec![]);
        let dead = (witnesses.clone(), seeds.clone());
        let all = [
            Event::Joined { registrations: 2, quorum: 2 },
            Event::NeighbourUp { id, name: name.clone(), degree: 4, target: 4 },
            Event::NeighbourDown { id, name: name.clone(), why: LinkEnd::Lost, degree: 3 },
            Event::Reported { id, name: name.clone(), incarnation },
            Event::PeerRemoved { id, name: Some(name.clone()), incarnation, witnesses, seeds },
            Event::MemberDead {
                id,
                name: Some(name),
                incarnation,
                witnesses: dead.0,
                seeds: dead.1,
            },
            Event::Gap { publisher: id, epoch: 1, from: 3, to: 5 },
            Event::Left { acknowledged: true },
        ];
        for event in all {
            let json = serde_json::to_value(&event).unwrap();
            let read = read(&json);
            assert!(read.is_some(), "{json}");
            assert_eq!(read, ObserverEvent::of(event));
        }
        let other = Event::Synced { peers: 1 };
        assert_eq!(read(&serde_json::to_value(&other).unwrap()), None);
        assert_eq!(ObserverEvent::of(other), None);
    }
}
