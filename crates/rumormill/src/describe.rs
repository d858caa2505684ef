//! One line of English for each event.
//!
//! Names are safe to print by their type; all other text from outside (reasons, addresses) is
//! escaped.

use rumormill_proto::{Event, Name, PeerId};
use rumormill_units::count::counted;

use crate::publish::UnconfirmedMessages;

/// Describes an event in one line, without its time and without the name of the node.
///
/// ```
/// use rumormill::{Event, describe};
/// let line = describe(&Event::Joined { registrations: 2, quorum: 2 });
/// assert_eq!(line, "joined the network: registered at 2 seeds (2 needed)");
/// ```
#[must_use]
pub fn describe(event: &Event) -> String {
    peer_and_seeds(event)
        .or_else(|| membership_and_overlay(event))
        .or_else(|| liveness_and_messages(event))
        .or_else(|| seed(event))
        .unwrap_or_else(|| every_node(event))
}

fn peer_and_seeds(event: &Event) -> Option<String> {
    Some(match event {
        Event::Registered { seed, seed_id, known } => {
            format!(
                "registered at seed {} ({seed_id}), which knows {}",
                escaped(seed),
                counted(*known, "peer")
            )
        }
        Event::Joined { registrations, quorum } => {
            format!(
                "joined the network: registered at {} ({quorum} needed)",
                counted(*registrations, "seed")
            )
        }
        Event::SeedLost { seed, why, retry_ms } => {
            format!(
                "no link to seed {}: {}; next try in {retry_ms} ms",
                escaped(seed),
                escaped(why)
            )
        }
        Event::SeedRefused { seed, why } => {
            format!("refused seed {}: {}", escaped(seed), escaped(why))
        }
        Event::SeedsShareIdentity { seed, other, id } => {
            let other = other.as_deref().unwrap_or("this seed");
            format!(
                "{} and {} have the same identity ({id}): one of these seeds was copied, or both \
                 names resolve to one seed; it counts once. Give each seed its own data directory",
                escaped(seed),
                escaped(other)
            )
        }
        Event::LoopbackAdvertised { seed, addresses } => format!(
            "seed {} is on another host and refuses the registration: this peer advertises {}, \
             which no other host can reach; set --advertise, or --listen with another address",
            escaped(seed),
            addresses.iter().map(|a| a.0.to_string()).collect::<Vec<_>>().join(", ")
        ),
        Event::AddressChanged { from, to } => {
            format!("the address of this host changed from {from} to {to}: {to} is announced")
        }
        Event::SeedMoved { seed } => {
            format!("the name of seed {} has other addresses now: dialling them", escaped(seed))
        }
        Event::Degraded { registrations, quorum } => format!(
            "degraded: registered at {}, {quorum} needed; gossip continues, but no peer can \
             join here or be declared dead",
            counted(*registrations, "seed")
        ),
        Event::Restored { registrations } => {
            format!("restored: registered at {} again", counted(*registrations, "seed"))
        }
        _ => return None,
    })
}

fn membership_and_overlay(event: &Event) -> Option<String> {
    Some(match event {
        Event::MemberJoined { id, name, address, incarnation } => match address {
            Some(a) => {
                format!("{name} ({id}) is in the network at {}, incarnation {incarnation}", a.0)
            }
            None => format!("{name} ({id}) is in the network, incarnation {incarnation}"),
        },
        Event::MemberExpired { id, name } => {
            format!("{name} ({id}) is not in the network any more: no seed knows it")
        }
        Event::MemberLeft { id, name } => format!("{name} ({id}) left the network"),
        Event::MemberDead { id, name, incarnation, witnesses, seeds } => format!(
            "{} is dead (incarnation {incarnation}), reported by {}, agreed by {}",
            name_and_id(name.as_ref(), id),
            ids(witnesses),
            ids(seeds)
        ),
        Event::NeighbourUp { id, name, degree, target } => {
            format!("{name} ({id}) is a neighbour now, one of {degree}; {target} wanted")
        }
        Event::NeighbourDown { id, name, why, degree } => {
            format!("{name} ({id}) is no neighbour any more: {why}; {degree} left")
        }
        Event::RequestRefused { peer, by_this_node, reason } => {
            if *by_this_node {
                format!("refused {peer} as a neighbour: {reason}")
            } else {
                format!("refused by {peer} as a neighbour: {reason}")
            }
        }
        Event::Throttled { peer, request } => {
            format!("{peer} asks for more than it may ({request}): the excess is refused")
        }
        _ => return None,
    })
}

fn liveness_and_messages(event: &Event) -> Option<String> {
    Some(match event {
        Event::Suspected { id, name, incarnation } => {
            format!(
                "no answer from {name} ({id}), incarnation {incarnation}: suspected, sending \
                 indirect probes"
            )
        }
        Event::SuspicionCleared { id, by } if id == by => format!("{id} is alive: it answered"),
        Event::SuspicionCleared { id, by } => format!("{id} is alive, confirmed by {by}"),
        Event::Reported { id, name, incarnation } => {
            format!("reported {name} ({id}), incarnation {incarnation}, to the seeds as dead")
        }
        Event::SelfDoubt { failing, links } => format!(
            "{failing} of {links} links fail together: this node may be partitioned itself, and \
             reports no death"
        ),
        Event::Refuted { incarnation } => {
            format!("suspected to be dead: refuted with incarnation {incarnation}")
        }
        Event::StreamMoved { from, to, messages } => format!(
            "epoch {from} was used before: {messages} messages were published as epoch {to} instead"
        ),
        Event::StreamConflict { epoch, from, to } => format!(
            "another process published messages {from} to {} with this node's key in epoch {epoch}",
            to - 1
        ),
        Event::Gap { publisher, epoch, from, to } => format!(
            "messages {from} to {} of {publisher}, epoch {epoch}, are lost: no neighbour has them",
            to.saturating_sub(1)
        ),
        Event::CaughtUp => {
            "caught up: all messages that neighbours retained are delivered".to_owned()
        }
        Event::Fetched { id, found: true } => format!("got message {id}"),
        Event::Fetched { id, found: false } => format!("no neighbour asked has message {id}"),
        _ => return None,
    })
}

fn seed(event: &Event) -> Option<String> {
    Some(match event {
        Event::PeerRegistered { id, name, address, incarnation, updated } => {
            let what = if *updated { "updated" } else { "registered" };
            match address {
                Some(a) => format!("{what} {name} ({id}) at {}, incarnation {incarnation}", a.0),
                None => format!("{what} {name} ({id}), incarnation {incarnation}"),
            }
        }
        Event::PeerDegree { id, name, degree } => format!("{name} ({id}) has degree {degree}"),
        Event::RegistrationRefused { id, reason } => {
            format!("refused to register {id}: {reason}")
        }
        Event::PeerExpired { id, name } => {
            format!("{name} ({id}) has not refreshed its registration: expired until it does")
        }
        Event::PeerLeft { id, name } => format!("removed {name} ({id}), which left"),
        Event::DeathReported { id, name, reporter, reports, needed } => {
            format!("{reporter} reports {name} ({id}) as dead: {reports} of {needed} reports")
        }
        Event::AccusationRefuted { id, name } => {
            format!("{name} ({id}) answers: reported as dead, but alive")
        }
        Event::Voted { id, name, witnesses } => {
            format!("voted that {name} ({id}) is dead, reported by {}", ids(witnesses))
        }
        Event::PeerRemoved { id, name, incarnation, witnesses, seeds } => format!(
            "removed {} (incarnation {incarnation}) as dead, reported by {}, agreed by {}",
            name_and_id(name.as_ref(), id),
            ids(witnesses),
            ids(seeds)
        ),
        Event::SeedLinked { seed, id } => format!("linked with seed {} ({id})", escaped(seed)),
        Event::Synced { peers: n } => {
            format!("registry compared with the other seeds: {}", counted(*n, "peer"))
        }
        _ => return None,
    })
}

fn every_node(event: &Event) -> String {
    match event {
        Event::FrameRefused { peer, why } => format!("refused a frame of {peer}: {}", escaped(why)),
        Event::LinkClosed { peer, reason } => format!("closed the link with {peer}: {reason}"),
        Event::DuplicateIdentity { id, name, address, stops } => {
            let at = address.map_or_else(String::new, |a| format!(" at {}", a.0));
            let what = if *stops {
                "started earlier; this one ends"
            } else {
                "runs as well; the one that started later ends"
            };
            format!(
                "duplicate identity: another process with the identity {id}, {name}{at}, {what}. A \
                 data directory was copied: give each node its own"
            )
        }
        &Event::LeftUnconfirmed { epoch, from, to, others, earlier } => {
            let what = UnconfirmedMessages { epoch, from, to, others, earlier };
            format!("leaves, and no other node that stays is known to hold {what}")
        }
        Event::Left { acknowledged: true } => "left the network".to_owned(),
        Event::Left { acknowledged: false } => {
            "left the network, but no majority of the seeds has acknowledged it: other nodes may \
             declare this node dead"
                .to_owned()
        }
        // An event that this function does not know yet; its debug form escapes all text.
        other => format!("{other:?}"),
    }
}

fn name_and_id(name: Option<&Name>, id: &PeerId) -> String {
    name.map_or_else(|| id.short(), |name| format!("{name} ({id})"))
}

fn ids(list: &[PeerId]) -> String {
    if list.is_empty() {
        return "none".to_owned();
    }
    let list: Vec<String> = list.iter().map(|id| id.short()).collect();
    list.join(", ")
}

/// Escapes text from outside: one line, and no control character reaches a terminal.
fn escaped(text: &str) -> String {
    text.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

#[cfg(test)]
mod tests {
    use rumormill_proto::{CloseReason, LinkEnd, MessageId, RefuseReason};

    use super::*;

    fn sample_events() -> Vec<Event> {
        let id = PeerId::from_bytes([0xab; 32]);
        let name = Name::new("peer-3").unwrap();
        let seed = "127.0.0.1:7000".to_owned();
        let why = "it \u{1b}[2J said".to_owned();
        let message = MessageId { publisher: id, epoch: 1, sequence: 2 };
        vec![
            Event::Registered { seed: seed.clone(), seed_id: id, known: 1 },
            Event::Joined { registrations: 2, quorum: 2 },
            Event::SeedLost { seed: seed.clone(), why: why.clone(), retry_ms: 250 },
            Event::SeedRefused { seed: seed.clone(), why: why.clone() },
            Event::SeedsShareIdentity { seed: seed.clone(), other: Some(why.clone()), id },
            Event::LoopbackAdvertised { seed: seed.clone(), addresses: vec![] },
            Event::AddressChanged {
                from: "192.0.2.1".parse().unwrap(),
                to: "192.0.2.2".parse().unwrap(),
            },
            Event::SeedMoved { seed: seed.clone() },
            Event::DuplicateIdentity { id, name: name.clone(), address: None, stops: true },
            Event::DuplicateIdentity { id, name: name.clone(), address: None, stops: false },
            Event::Degraded { registrations: 1, quorum: 2 },
            Event::Restored { registrations: 2 },
            Event::MemberJoined { id, name: name.clone(), address: None, incarnation: 1 },
            Event::MemberExpired { id, name: name.clone() },
            Event::MemberLeft { id, name: name.clone() },
            Event::MemberDead {
                id,
                name: None,
                incarnation: 1,
                witnesses: vec![id, id],
                seeds: vec![],
            },
            Event::NeighbourUp { id, name: name.clone(), degree: 1, target: 3 },
            Event::NeighbourDown { id, name: name.clone(), why: LinkEnd::Lost, degree: 0 },
            Event::RequestRefused { peer: id, by_this_node: true, reason: RefuseReason::Full },
            Event::Throttled { peer: id, request: "Pull" },
            Event::Suspected { id, name: name.clone(), incarnation: 1 },
            Event::SuspicionCleared { id, by: id },
            Event::Reported { id, name: name.clone(), incarnation: 1 },
            Event::SelfDoubt { failing: 3, links: 4 },
            Event::Refuted { incarnation: 2 },
            Event::Gap { publisher: id, epoch: 1, from: 4, to: 7 },
            Event::CaughtUp,
            Event::Fetched { id: message, found: false },
            Event::PeerRegistered {
                id,
                name: name.clone(),
                address: None,
                incarnation: 1,
                updated: true,
            },
            Event::PeerDegree { id, name: name.clone(), degree: 4 },
            Event::RegistrationRefused { id, reason: RefuseReason::Stale },
            Event::PeerExpired { id, name: name.clone() },
            Event::PeerLeft { id, name: name.clone() },
            Event::DeathReported { id, name: name.clone(), reporter: id, reports: 1, needed: 2 },
            Event::AccusationRefuted { id, name: name.clone() },
            Event::Voted { id, name: name.clone(), witnesses: vec![id] },
            Event::PeerRemoved {
                id,
                name: Some(name),
                incarnation: 1,
                witnesses: vec![id],
                seeds: vec![id],
            },
            Event::SeedLinked { seed, id },
            Event::Synced { peers: 20 },
            Event::FrameRefused { peer: id, why },
            Event::LinkClosed { peer: id, reason: CloseReason::TooSlow },
            Event::LeftUnconfirmed { epoch: 1, from: 3, to: 5, others: 0, earlier: 0 },
            Event::LeftUnconfirmed { epoch: 1, from: 5, to: 5, others: 2, earlier: 0 },
            Event::LeftUnconfirmed { epoch: 1, from: 5, to: 5, others: 0, earlier: 1 },
            Event::Left { acknowledged: true },
            Event::Left { acknowledged: false },
        ]
    }

    #[test]
    fn every_event_is_described_in_one_line_without_control_characters() {
        for event in sample_events() {
            let line = describe(&event);
            assert!(!line.chars().any(char::is_control), "{line:?}");
            assert!(!line.contains(" { "), "no description for {line}");
            assert!(!line.ends_with('.'), "{line}");
        }
    }

    #[test]
    fn range_of_messages_is_described_with_its_last_sequence_number() {
        let id = PeerId::from_bytes([0xab; 32]);
        let line = describe(&Event::Gap { publisher: id, epoch: 1, from: 4, to: 7 });
        assert_eq!(line, "messages 4 to 6 of abababab, epoch 1, are lost: no neighbour has them");
    }
}
