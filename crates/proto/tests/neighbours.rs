//! Requests to become a neighbour: they need a free slot and a matching identity, and two
//! neighbours have one link (P3).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use core::time::Duration;

use rumormill_proto::limits::MAX_PEER_LINKS;
use rumormill_proto::signed::Signed;
use rumormill_proto::snapshot::MemberState;
use rumormill_proto::wire::{
    Frame, MembershipUpdate, Neighbourhood, PeerReply, PeerRequest, PeerRequestKind,
};
use rumormill_proto::{
    CloseReason, Config, DialError, DialId, DialTarget, Identity, Input, LinkEnd, LinkId, Record,
    RefuseReason, Role,
};

use support::hostile::honest_answer;
use support::rig::{Rig, VICTIM};
use support::script::Script;
use support::statements::{address, adjacency, identity, record, signed_record};

fn request(requester: &Identity, incarnation: u64) -> PeerRequest {
    PeerRequest {
        record: signed_record(requester, incarnation, incarnation),
        kind: PeerRequestKind::FreeSlot,
        neighbours: Vec::new(),
        adjacency: adjacency(requester, identity(VICTIM).id(), incarnation),
    }
}

/// Sends a request on a link, and returns the reason of the refusal, if the reply is one.
fn ask(rig: &mut Rig, link: LinkId, request: PeerRequest) -> Option<RefuseReason> {
    rig.sent.clear();
    rig.receive(link, request);
    let replies = rig.sent.iter().filter(|(to, _)| *to == link);
    let reply = replies.into_iter().find_map(|(_, f)| match f {
        Frame::PeerReply(reply) => Some(reply.clone()),
        _ => None,
    });
    match *reply.expect("a reply") {
        PeerReply::Reject(r) => Some(r.reason),
        _ => None,
    }
}

fn neighbours(rig: &Rig) -> Vec<LinkId> {
    rig.as_peer().snapshot(rig.now).neighbours.iter().map(|n| n.link).collect()
}

#[test]
fn request_above_the_target_degree_is_refused() {
    let mut rig = Rig::peer(Config::lan().max_degree(Some(2)).build().unwrap());
    rig.join(0);
    let mut answers = Vec::new();
    for number in 1..=5 {
        let link = rig.link_up(number, Role::Peer, None);
        answers.push(ask(&mut rig, link, request(&identity(number), 1)));
    }
    let accepted = answers.iter().filter(|a| a.is_none()).count();
    assert!(
        (2..=3).contains(&accepted),
        "two, and one more for a requester of low degree: {answers:?}"
    );
    assert!(answers[accepted..].iter().all(|a| *a == Some(RefuseReason::Full)), "{answers:?}");
    assert_eq!(neighbours(&rig).len(), accepted);
}

#[test]
fn request_with_a_record_or_adjacency_of_another_peer_is_refused() {
    let mut rig = Rig::peer(Config::lan().build().unwrap());
    rig.join(0);
    let (one, two) = (identity(1), identity(2));
    let forged = [
        request(&two, 1),
        PeerRequest { record: signed_record(&two, 1, 1), ..request(&one, 1) },
        PeerRequest { adjacency: adjacency(&two, identity(VICTIM).id(), 1), ..request(&one, 1) },
        // The adjacency is about another neighbour, or of another incarnation.
        PeerRequest { adjacency: adjacency(&one, two.id(), 1), ..request(&one, 1) },
        PeerRequest { adjacency: adjacency(&one, identity(VICTIM).id(), 2), ..request(&one, 1) },
    ];
    for (n, forged) in forged.into_iter().enumerate() {
        let link = rig.link_up(1, Role::Peer, None);
        assert_eq!(ask(&mut rig, link, forged), Some(RefuseReason::WrongIdentity), "number {n}");
        assert!(neighbours(&rig).is_empty());
    }
    let link = rig.link_up(1, Role::Peer, None);
    assert_eq!(ask(&mut rig, link, request(&one, 1)), None);
}

#[test]
fn two_neighbours_have_one_link() {
    let mut rig = Rig::peer(Config::lan().build().unwrap());
    rig.join(0);
    let first = rig.link_up(1, Role::Peer, None);
    assert_eq!(ask(&mut rig, first, request(&identity(1), 1)), None);
    let second = rig.link_up(1, Role::Peer, None);
    let again = ask(&mut rig, second, request(&identity(1), 1));
    assert_eq!(again, Some(RefuseReason::AlreadyNeighbours));
    assert_eq!(neighbours(&rig), [first]);
    // A request in a new incarnation replaces the old link.
    let third = rig.link_up(1, Role::Peer, None);
    assert_eq!(ask(&mut rig, third, request(&identity(1), 2)), None);
    assert_eq!(neighbours(&rig), [third]);
    assert!(!rig.links.contains_key(&first), "the old link is closed");
}

/// The id of this peer is smaller than that of the node under test: where both request, the request
/// of this peer stands.
const SMALLER: u8 = 8;

/// Runs until the peer `SMALLER` is dialled; all other dials fail.
fn dial_to_smaller_id(rig: &mut Rig) -> DialId {
    let id = identity(SMALLER).id();
    assert!(id < identity(VICTIM).id());
    for _ in 0..1_000 {
        for (dial, to) in std::mem::take(&mut rig.dials) {
            match to {
                DialTarget::Peer { id: dialled, .. } if dialled == id => return dial,
                _ => rig.handle(Input::DialFailed { dial, why: DialError::Refused }),
            }
        }
        rig.next_deadline();
    }
    panic!("the peer is not dialled");
}

/// A node that has dialled a peer, and has meanwhile accepted the request of that peer.
fn crossed_requests() -> (Rig, LinkId, DialId) {
    let mut rig = Rig::peer(Config::lan().build().unwrap());
    rig.join(0);
    let seed = rig.links.iter().find(|(_, r)| r.role == Role::Seed).map(|(id, _)| *id).unwrap();
    let joined = vec![signed_record(&identity(SMALLER), 1, 0)];
    let (left, dead) = (Vec::new(), Vec::new());
    rig.receive(seed, MembershipUpdate { joined, left, dead, alive: 8, participating: 8 });
    let dial = dial_to_smaller_id(&mut rig);
    let link = rig.link_up(SMALLER, Role::Peer, None);
    assert_eq!(ask(&mut rig, link, request(&identity(SMALLER), 1)), None);
    assert_eq!(neighbours(&rig), [link]);
    (rig, link, dial)
}

#[test]
fn link_of_a_request_that_gave_way_is_closed_when_it_is_up() {
    let (mut rig, link, dial) = crossed_requests();
    let own = rig.link_up(SMALLER, Role::Peer, Some(dial));
    assert!(!rig.links.contains_key(&own), "the second link is of no use");
    assert_eq!(neighbours(&rig), [link]);
}

#[test]
fn dial_that_was_given_up_does_not_end_a_later_request() {
    let (mut rig, link, old) = crossed_requests();
    rig.link_down(link, LinkEnd::Closed(CloseReason::EdgeTransferred));
    let new = dial_to_smaller_id(&mut rig);
    rig.handle(Input::DialFailed { dial: old, why: DialError::Refused });
    rig.sent.clear();
    let link = rig.link_up(SMALLER, Role::Peer, Some(new));
    assert!(rig.sent.iter().any(|(to, f)| *to == link && matches!(f, Frame::PeerRequest(_))));
}

#[test]
fn neighbour_that_refuted_its_death_is_reported_in_its_new_incarnation() {
    let mut rig = Rig::peer(Config::lan().build().unwrap());
    rig.join(1);
    assert_eq!(neighbours(&rig).len(), 1);
    let seed = rig.links.iter().find(|(_, r)| r.role == Role::Seed).map(|(id, _)| *id).unwrap();
    // The same process was partitioned from the seeds and declared dead; its link here stayed up.
    let joined = vec![signed_record(&identity(1), 2, 0)];
    let (left, dead) = (Vec::new(), Vec::new());
    rig.receive(seed, MembershipUpdate { joined, left, dead, alive: 8, participating: 8 });
    // Then it stops; all other remotes answer.
    let mut reported = None;
    for _ in 0..1_000 {
        rig.next_deadline();
        for (dial, to) in std::mem::take(&mut rig.dials) {
            if !matches!(to, DialTarget::Peer { id, .. } if id == identity(1).id()) {
                rig.dials.push((dial, to));
                rig.answer_dial(dial, None);
            }
        }
        for (link, frame) in std::mem::take(&mut rig.sent) {
            if let Frame::Report(report) = &frame {
                reported = Some(report.report.incarnation);
            }
            let Some(remote) = rig.links.get(&link).copied().filter(|r| r.number != 1) else {
                continue;
            };
            if let Some(answer) = honest_answer(&mut Script::new(&[]), remote, &frame) {
                rig.receive(link, answer);
            }
        }
        if reported.is_some() {
            break;
        }
    }
    assert_eq!(reported, Some(2), "seeds refuse a report about an earlier incarnation");
}

#[test]
fn member_without_an_address_is_not_asked_again_at_once() {
    let mut rig = Rig::peer(Config::lan().build().unwrap());
    rig.join(0);
    let seed = rig.links.iter().find(|(_, r)| r.role == Role::Seed).map(|(id, _)| *id).unwrap();
    let hidden = Record { addresses: Vec::new(), ..record(&identity(SMALLER), 1, 0) };
    let joined = vec![Signed::sign(hidden, &identity(SMALLER))];
    let (left, dead) = (Vec::new(), Vec::new());
    rig.receive(seed, MembershipUpdate { joined, left, dead, alive: 8, participating: 8 });
    let end = rig.now + Duration::from_secs(10);
    while rig.now < end {
        for (dial, _) in std::mem::take(&mut rig.dials) {
            rig.handle(Input::DialFailed { dial, why: DialError::Refused });
        }
        rig.next_deadline();
    }
    let requests = rig.as_peer().snapshot(rig.now).counters.get("requests_without_address");
    assert!((1..=3).contains(&requests), "{requests} requests in ten seconds");
}

/// A node whose only neighbour has vanished: it dials another neighbour of the suspect for an
/// indirect probe.
fn peer_with_a_suspect() -> (Rig, DialId) {
    let mut rig = Rig::peer(Config::lan().build().unwrap());
    rig.join(0);
    let lost = rig.link_up(1, Role::Peer, None);
    assert_eq!(ask(&mut rig, lost, request(&identity(1), 1)), None);
    let neighbours = [(identity(2).id(), address(7002))].into();
    rig.receive(lost, Neighbourhood { neighbours, degree: 2, target: 3 });
    rig.dials.clear();
    rig.link_down(lost, LinkEnd::Lost);
    let helper =
        |to: &DialTarget| matches!(to, DialTarget::Peer { id, .. } if *id == identity(2).id());
    let dial = rig.dials.iter().find(|(_, to)| helper(to)).map(|(dial, _)| *dial);
    (rig, dial.expect("the other neighbour of the suspect is dialled"))
}

fn probe_requests(rig: &Rig, link: LinkId) -> usize {
    let asks = |f: &Frame| matches!(f, Frame::ProbeRequest(f) if f.subject == identity(1).id());
    rig.sent.iter().filter(|(to, f)| *to == link && asks(f)).count()
}

#[test]
fn probed_helper_that_becomes_a_neighbour_has_one_link() {
    let (mut rig, dial) = peer_with_a_suspect();
    let probe_link = rig.link_up(2, Role::Peer, Some(dial));
    assert_eq!(probe_requests(&rig, probe_link), 1);
    let link = rig.link_up(2, Role::Peer, None);
    assert_eq!(ask(&mut rig, link, request(&identity(2), 1)), None);
    assert!(!rig.links.contains_key(&probe_link), "one link is enough");
    assert_eq!(
        probe_requests(&rig, link),
        1,
        "the question is repeated because its link is closed"
    );
    // The helper becomes a neighbour while it is dialled.
    let (mut rig, dial) = peer_with_a_suspect();
    let link = rig.link_up(2, Role::Peer, None);
    assert_eq!(ask(&mut rig, link, request(&identity(2), 1)), None);
    let probe_link = rig.link_up(2, Role::Peer, Some(dial));
    assert!(!rig.links.contains_key(&probe_link) && probe_requests(&rig, link) == 1);
}

#[test]
fn handshake_of_a_suspect_clears_the_suspicion_also_without_room_for_the_link() {
    let (mut rig, _) = peer_with_a_suspect();
    assert!(is_suspect(&rig, 1));
    while rig.links.len() < MAX_PEER_LINKS {
        rig.link_up(3, Role::Peer, None);
    }
    let link = rig.link_up(1, Role::Peer, None);
    assert!(!rig.links.contains_key(&link), "there is no room for it");
    assert!(!is_suspect(&rig, 1));
}

fn is_suspect(rig: &Rig, number: u8) -> bool {
    let members = rig.as_peer().members();
    members.iter().any(|m| m.id == identity(number).id() && m.state == MemberState::Suspect)
}
