//! Who becomes a neighbour: there has to be room, the identity has to hold, and there is one link
//! between two (P3).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use core::time::Duration;

use rumormill_proto::signed::Signed;
use rumormill_proto::wire::{
    Frame, MembersChanged, Neighbourhood, PeerReply, PeerRequest, PeerRequestKind,
};
use rumormill_proto::{
    CloseReason, Config, DialError, DialId, DialTarget, Identity, Input, LinkDown, LinkId, Record,
    RefuseReason, Role,
};

use support::hostile::honest_answer;
use support::rig::{Rig, VICTIM};
use support::script::Script;
use support::statements::{address, adjacency, identity, record, signed_record};

fn request(of: &Identity, incarnation: u64) -> PeerRequest {
    PeerRequest {
        record: signed_record(of, incarnation, incarnation),
        want: PeerRequestKind::Place,
        neighbours: Vec::new(),
        adjacency: adjacency(of, identity(VICTIM).id(), incarnation),
    }
}

/// Asks on a link, and gives the reason of the refusal, if it is one.
fn ask(rig: &mut Rig, link: LinkId, request: PeerRequest) -> Option<RefuseReason> {
    rig.sent.clear();
    rig.receive(link, request);
    let replies = rig.sent.iter().filter(|(to, _)| *to == link);
    let reply = replies.into_iter().find_map(|(_, f)| match f {
        Frame::PeerReply(reply) => Some(reply.clone()),
        _ => None,
    });
    match *reply.expect("there is an answer") {
        PeerReply::Reject(r) => Some(r.reason),
        _ => None,
    }
}

fn neighbours(rig: &Rig) -> Vec<LinkId> {
    rig.as_peer().snapshot(rig.now).neighbours.iter().map(|n| n.link).collect()
}

#[test]
fn one_more_than_there_is_room_for_is_refused() {
    let mut rig = Rig::peer(Config::lan().max_degree(Some(2)).build().unwrap());
    rig.join(0);
    let mut answers = Vec::new();
    for who in 1..=5 {
        let link = rig.link_up(who, Role::Peer, None);
        answers.push(ask(&mut rig, link, request(&identity(who), 1)));
    }
    let taken = answers.iter().filter(|a| a.is_none()).count();
    assert!((2..=3).contains(&taken), "two, and one more for who has too few: {answers:?}");
    assert!(answers[taken..].iter().all(|a| *a == Some(RefuseReason::Full)), "{answers:?}");
    assert_eq!(neighbours(&rig).len(), taken);
}

#[test]
fn whose_record_or_word_is_anothers_is_refused() {
    let mut rig = Rig::peer(Config::lan().build().unwrap());
    rig.join(0);
    let (one, two) = (identity(1), identity(2));
    let forged = [
        request(&two, 1),
        PeerRequest { record: signed_record(&two, 1, 1), ..request(&one, 1) },
        PeerRequest { adjacency: adjacency(&two, identity(VICTIM).id(), 1), ..request(&one, 1) },
        // It said so to somebody else, or in another life.
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
fn there_is_one_link_between_two() {
    let mut rig = Rig::peer(Config::lan().build().unwrap());
    rig.join(0);
    let first = rig.link_up(1, Role::Peer, None);
    assert_eq!(ask(&mut rig, first, request(&identity(1), 1)), None);
    let second = rig.link_up(1, Role::Peer, None);
    let again = ask(&mut rig, second, request(&identity(1), 1));
    assert_eq!(again, Some(RefuseReason::AlreadyNeighbours));
    assert_eq!(neighbours(&rig), [first]);
    // In a new life the old link is of the past.
    let third = rig.link_up(1, Role::Peer, None);
    assert_eq!(ask(&mut rig, third, request(&identity(1), 2)), None);
    assert_eq!(neighbours(&rig), [third]);
    assert!(!rig.links.contains_key(&first), "it is closed");
}

/// Its id is smaller than that of the node under test: where both ask, its request stands.
const SMALLER: u8 = 8;

/// Goes on until that peer is dialled; nobody else answers.
fn dial_to_smaller(rig: &mut Rig) -> DialId {
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
    panic!("it is not dialled");
}

/// A node that has dialled a peer, and whose neighbour that peer has become by its own request.
fn crossed() -> (Rig, LinkId, DialId) {
    let mut rig = Rig::peer(Config::lan().build().unwrap());
    rig.join(0);
    let seed = rig.links.iter().find(|(_, r)| r.role == Role::Seed).map(|(id, _)| *id).unwrap();
    let joined = vec![signed_record(&identity(SMALLER), 1, 0)];
    let (left, dead) = (Vec::new(), Vec::new());
    rig.receive(seed, MembersChanged { joined, left, dead, alive: 8, participating: 8 });
    let dial = dial_to_smaller(&mut rig);
    let link = rig.link_up(SMALLER, Role::Peer, None);
    assert_eq!(ask(&mut rig, link, request(&identity(SMALLER), 1)), None);
    assert_eq!(neighbours(&rig), [link]);
    (rig, link, dial)
}

#[test]
fn link_of_a_request_that_gave_way_is_closed_when_it_is_up() {
    let (mut rig, link, dial) = crossed();
    let own = rig.link_up(SMALLER, Role::Peer, Some(dial));
    assert!(!rig.links.contains_key(&own), "nobody needs it");
    assert_eq!(neighbours(&rig), [link]);
}

#[test]
fn dial_that_was_given_up_does_not_end_a_later_request() {
    let (mut rig, link, old) = crossed();
    rig.link_down(link, LinkDown::Closed(CloseReason::HandedOver));
    let new = dial_to_smaller(&mut rig);
    rig.handle(Input::DialFailed { dial: old, why: DialError::Refused });
    rig.sent.clear();
    let link = rig.link_up(SMALLER, Role::Peer, Some(new));
    assert!(rig.sent.iter().any(|(to, f)| *to == link && matches!(f, Frame::PeerRequest(_))));
}

#[test]
fn neighbour_that_refuted_its_death_is_reported_by_its_new_number() {
    let mut rig = Rig::peer(Config::lan().build().unwrap());
    rig.join(1);
    assert_eq!(neighbours(&rig).len(), 1);
    let seed = rig.links.iter().find(|(_, r)| r.role == Role::Seed).map(|(id, _)| *id).unwrap();
    // The same process: cut off from the seeds, it was declared dead, and its link here has held.
    let joined = vec![signed_record(&identity(1), 2, 0)];
    let (left, dead) = (Vec::new(), Vec::new());
    rig.receive(seed, MembersChanged { joined, left, dead, alive: 8, participating: 8 });
    // Then it stops; everybody else answers.
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
            let Some(remote) = rig.links.get(&link).copied().filter(|r| r.who != 1) else {
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
    assert_eq!(reported, Some(2), "seeds take no report about an earlier number");
}

#[test]
fn member_without_an_address_is_not_asked_again_at_once() {
    let mut rig = Rig::peer(Config::lan().build().unwrap());
    rig.join(0);
    let seed = rig.links.iter().find(|(_, r)| r.role == Role::Seed).map(|(id, _)| *id).unwrap();
    let hidden = Record { addresses: Vec::new(), ..record(&identity(SMALLER), 1, 0) };
    let joined = vec![Signed::sign(hidden, &identity(SMALLER))];
    let (left, dead) = (Vec::new(), Vec::new());
    rig.receive(seed, MembersChanged { joined, left, dead, alive: 8, participating: 8 });
    let end = rig.now + Duration::from_secs(10);
    while rig.now < end {
        for (dial, _) in std::mem::take(&mut rig.dials) {
            rig.handle(Input::DialFailed { dial, why: DialError::Refused });
        }
        rig.next_deadline();
    }
    let asked = rig.as_peer().snapshot(rig.now).counters.get("requests_without_address");
    assert!((1..=3).contains(&asked), "{asked} times in ten seconds");
}

/// A node whose only neighbour has vanished without a word: it asks another neighbour of that one,
/// whom it dials.
fn asks_about_a_suspect() -> (Rig, DialId) {
    let mut rig = Rig::peer(Config::lan().build().unwrap());
    rig.join(0);
    let lost = rig.link_up(1, Role::Peer, None);
    assert_eq!(ask(&mut rig, lost, request(&identity(1), 1)), None);
    let neighbours = [(identity(2).id(), address(7002))].into();
    rig.receive(lost, Neighbourhood { neighbours, degree: 2, target: 3 });
    rig.dials.clear();
    rig.link_down(lost, LinkDown::Lost);
    let helper =
        |to: &DialTarget| matches!(to, DialTarget::Peer { id, .. } if *id == identity(2).id());
    let dial = rig.dials.iter().find(|(_, to)| helper(to)).map(|(dial, _)| *dial);
    (rig, dial.expect("it asks the other one"))
}

fn questions(rig: &Rig, link: LinkId) -> usize {
    let asks = |f: &Frame| matches!(f, Frame::ProbeRequest(f) if f.subject == identity(1).id());
    rig.sent.iter().filter(|(to, f)| *to == link && asks(f)).count()
}

#[test]
fn peer_that_was_asked_and_becomes_a_neighbour_has_one_link() {
    let (mut rig, dial) = asks_about_a_suspect();
    let asked = rig.link_up(2, Role::Peer, Some(dial));
    assert_eq!(questions(&rig, asked), 1);
    let link = rig.link_up(2, Role::Peer, None);
    assert_eq!(ask(&mut rig, link, request(&identity(2), 1)), None);
    assert!(!rig.links.contains_key(&asked), "the other one is enough");
    assert_eq!(questions(&rig, link), 1, "the answer would have come over the link that is closed");
    // It becomes one while it is dialled.
    let (mut rig, dial) = asks_about_a_suspect();
    let link = rig.link_up(2, Role::Peer, None);
    assert_eq!(ask(&mut rig, link, request(&identity(2), 1)), None);
    let asked = rig.link_up(2, Role::Peer, Some(dial));
    assert!(!rig.links.contains_key(&asked) && questions(&rig, link) == 1);
}
