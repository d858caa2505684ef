//! Registration at a seed: what a seed acknowledges, what it refuses, and what it sends to the
//! registered peers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use core::time::Duration;
use std::collections::BTreeSet;

use minicbor::bytes::ByteArray;
use rumormill_proto::limits::{MAX_SEED_LINKS, PARKING_THRESHOLD};
use rumormill_proto::registry::Entry;
use rumormill_proto::signed::Signed;
use rumormill_proto::snapshot::{MemberState, MemberView, PeerState};
use rumormill_proto::wire::{
    Digest, Entries, Frame, Gossip, Leave, PeerList, Register, RegisterAck, RegisterReject,
    Verifier,
};
use rumormill_proto::{
    CloseReason, Config, DialId, DialTarget, Identity, Input, LinkEnd, LinkId, LinkInfo, Output,
    Presence, Record, RefuseReason, Role, Seed, SeedAddress, SeedSetup,
};

use support::rig::{Node, Rig, VICTIM};
use support::statements::{identity, message, record, signed_record};

fn lan() -> Config {
    Config::lan().build().unwrap()
}

fn members(rig: &Rig) -> Vec<MemberView> {
    match &rig.node {
        Node::Seed(seed) => seed.members(),
        Node::Peer(peer) => peer.members(),
    }
}

/// How many frames of a type were sent on a link, of the last 64 frames.
fn sent(rig: &Rig, link: LinkId, name: &str) -> usize {
    rig.sent.iter().filter(|(to, f)| *to == link && f.name() == name).count()
}

fn register(rig: &mut Rig, link: LinkId, number: u8, incarnation: u64, sequence: u64) {
    let record = signed_record(&identity(number), incarnation, sequence);
    assert!(rig.receive(link, Register { record }));
}

fn complete_writes(rig: &mut Rig) {
    for ticket in core::mem::take(&mut rig.stored) {
        rig.handle(Input::Stored { ticket });
    }
}

#[test]
fn repeated_registration_updates_the_entry() {
    let mut rig = Rig::seed(lan());
    let link = rig.link_up(1, Role::Peer, None);
    register(&mut rig, link, 1, 1, 1);
    complete_writes(&mut rig);
    assert_eq!(members(&rig).len(), 1);
    let mut newer = record(&identity(1), 1, 2);
    newer.degree = 3;
    let newer = rumormill_proto::signed::Signed::sign(newer, &identity(1));
    assert!(rig.receive(link, Register { record: newer }));
    register(&mut rig, link, 1, 2, 0);
    complete_writes(&mut rig);
    let all = members(&rig);
    assert_eq!(
        (all.len(), all[0].incarnation, all[0].state),
        (1, 2, MemberState::Alive),
        "{all:?}"
    );
}

#[test]
fn seed_acknowledges_only_stored_registrations_also_after_a_failed_write() {
    let mut rig = Rig::seed(lan());
    let link = rig.link_up(1, Role::Peer, None);
    register(&mut rig, link, 1, 1, 1);
    assert_eq!(sent(&rig, link, "RegisterAck"), 0);
    // A failed write is not acknowledged, and the same record is written again when it returns.
    for ticket in core::mem::take(&mut rig.stored) {
        rig.handle(Input::StoreFailed { ticket });
    }
    assert_eq!(sent(&rig, link, "RegisterAck"), 0);
    register(&mut rig, link, 1, 1, 1);
    assert_eq!(rig.stored.len(), 1, "the record is written again");
    assert_eq!(sent(&rig, link, "RegisterAck"), 0);
    complete_writes(&mut rig);
    assert_eq!(sent(&rig, link, "RegisterAck"), 1);
    // A record that is stored already is acknowledged without a write.
    register(&mut rig, link, 1, 1, 1);
    assert_eq!((rig.stored.len(), sent(&rig, link, "RegisterAck")), (0, 2));
}

/// S6: a seed serves membership only.
#[test]
fn seed_refuses_gossip() {
    let mut rig = Rig::seed(lan());
    let links: Vec<LinkId> = (1..=2).map(|n| rig.link_up(n, Role::Peer, None)).collect();
    for (number, link) in (1..).zip(&links) {
        register(&mut rig, *link, number, 1, 1);
    }
    complete_writes(&mut rig);
    let batch = message(&identity(1), 1, 0, b"not for a seed");
    let gossip =
        Gossip { hops: 0, explores: false, receipt: false, pulled: false, age_ms: 0, batch };
    rig.receive(links[0], gossip);
    assert_eq!(rig.total("Gossip").0, 0);
    assert!(!rig.links.contains_key(&links[0]), "gossip to a seed violates the protocol");
    assert!(rig.links.contains_key(&links[1]));
}

/// Brings up a link from the remote address `from`.
fn link_from(rig: &mut Rig, number: u8, role: Role, dial: Option<DialId>, from: &str) -> LinkId {
    let link = LinkId(1_000 + u64::from(number));
    rig.dials.retain(|(d, _)| Some(*d) != dial);
    rig.links.insert(link, support::rig::Remote { number, role });
    let info = LinkInfo {
        remote: identity(number).id(),
        role,
        dial,
        remote_address: from.parse().unwrap(),
        observed: None,
        local_address: None,
        same_process: false,
    };
    rig.handle(Input::LinkUp { link, info });
    link
}

/// No other host could reach such a peer. A peer on the seed's host, and one with a further
/// address, are registered.
#[test]
fn registration_with_loopback_addresses_only_is_refused_from_another_host() {
    let mut rig = Rig::seed(lan());
    let elsewhere = link_from(&mut rig, 1, Role::Peer, None, "192.0.2.1:40000");
    register(&mut rig, elsewhere, 1, 1, 1);
    complete_writes(&mut rig);
    assert_eq!((sent(&rig, elsewhere, "RegisterReject"), members(&rig).len()), (1, 0));
    let here = link_from(&mut rig, 2, Role::Peer, None, "127.0.0.1:40000");
    register(&mut rig, here, 2, 1, 1);
    complete_writes(&mut rig);
    let mut reachable = record(&identity(1), 1, 2);
    reachable.addresses.push(rumormill_proto::Address("192.0.2.1:7001".parse().unwrap()));
    rig.receive(elsewhere, Register { record: Signed::sign(reachable, &identity(1)) });
    complete_writes(&mut rig);
    assert_eq!(members(&rig).len(), 2);
    // Leave needs no address.
    let left_record = Record { presence: Presence::Left, ..record(&identity(1), 1, 3) };
    rig.receive(elsewhere, Leave { record: Signed::sign(left_record, &identity(1)) });
    complete_writes(&mut rig);
    assert_eq!(sent(&rig, elsewhere, "RegisterReject"), 1);
}

/// The peers whose records a seed has sent on a link, and the last number of live peers that it has
/// sent there.
fn listed_on(rig: &Rig, link: LinkId) -> (Vec<u8>, Option<u32>) {
    let (mut peers, mut alive) = (BTreeSet::new(), None);
    let number = |id| (1..VICTIM).find(|n| identity(*n).id() == id).unwrap();
    for (_, frame) in rig.sent.iter().filter(|(to, _)| *to == link) {
        match frame {
            Frame::PeerList(f) => {
                peers.extend(f.records.iter().map(|r| number(r.id)));
                alive = Some(f.alive);
            }
            Frame::MembershipUpdate(f) => {
                peers.extend(f.joined.iter().map(|r| number(r.id)));
                alive = Some(f.alive);
            }
            Frame::RegisterAck(f) => alive = Some(f.alive),
            Frame::Entries(f) => peers.extend(f.entries.iter().map(|e| number(e.record.id))),
            _ => {}
        }
    }
    (peers.into_iter().collect(), alive)
}

#[test]
fn record_with_loopback_addresses_only_is_sent_only_to_its_own_host() {
    let mut rig = Rig::seed(lan());
    let dial = |rig: &Rig, at: usize| Some(rig.dials[at].0);
    let (near, far) = (dial(&rig, 0), dial(&rig, 1));
    let near = link_from(&mut rig, 11, Role::Seed, near, "127.0.0.1:7001");
    let far = link_from(&mut rig, 12, Role::Seed, far, "192.0.2.12:7001");
    let local = link_from(&mut rig, 1, Role::Peer, None, "127.0.0.1:40000");
    register(&mut rig, local, 1, 1, 1);
    let other_local = link_from(&mut rig, 2, Role::Peer, None, "127.0.0.1:40001");
    register(&mut rig, other_local, 2, 1, 1);
    let remote = link_from(&mut rig, 3, Role::Peer, None, "192.0.2.3:40000");
    let mut reachable = record(&identity(3), 1, 1);
    reachable.addresses = vec![rumormill_proto::Address("192.0.2.3:7001".parse().unwrap())];
    rig.receive(remote, Register { record: Signed::sign(reachable, &identity(3)) });
    complete_writes(&mut rig);
    rig.pass(Duration::from_secs(1));
    rig.timeout();
    for link in [local, remote] {
        rig.receive(link, Frame::GetPeerList);
    }
    rig.receive(
        far,
        Digest { buckets: vec![1; 256], nonce: ByteArray::from([0; 16]), synced: true },
    );
    assert_eq!(listed_on(&rig, local), (vec![1, 2, 3], Some(3)));
    assert_eq!(listed_on(&rig, other_local).1, Some(3));
    assert_eq!(
        listed_on(&rig, remote),
        (vec![3], Some(1)),
        "only peers that are listed are counted"
    );
    assert_eq!(listed_on(&rig, near).0, [1, 2, 3]);
    assert_eq!(listed_on(&rig, far).0, [3]);
}

/// A copy of this seed dials it again and again; it dials a copy of another seed again and again.
#[test]
fn shared_identity_of_seeds_is_reported_once() {
    let mut rig = Rig::seed(lan());
    for _ in 0..5 {
        let info = LinkInfo {
            remote: identity(VICTIM).id(),
            role: Role::Seed,
            dial: None,
            remote_address: "192.0.2.9:40000".parse().unwrap(),
            observed: None,
            local_address: None,
            same_process: false,
        };
        let link = LinkId(2_000);
        rig.links.insert(link, support::rig::Remote { number: VICTIM, role: Role::Seed });
        rig.handle(Input::LinkUp { link, info });
        rig.pass(Duration::from_secs(1));
        rig.timeout();
    }
    assert_eq!(rig.events.get("seeds_share_identity"), Some(&1), "dialled by a copy of this seed");
    // Seed 11 answers at the address of seed 12 as well.
    let dial = |rig: &Rig, port: &str| {
        let is_it = |to: &DialTarget| matches!(to, DialTarget::Seed(seed) if seed.host_port == format!("seed{port}:7000"));
        rig.dials.iter().find(|(_, to)| is_it(to)).map(|(d, _)| *d)
    };
    let first = dial(&rig, "11").unwrap();
    rig.link_up(11, Role::Seed, Some(first));
    for _ in 0..100 {
        if let Some(again) = dial(&rig, "12") {
            rig.link_up(11, Role::Seed, Some(again));
        }
        rig.pass(Duration::from_millis(200));
        rig.timeout();
    }
    assert_eq!(rig.events.get("seeds_share_identity"), Some(&2), "reported once for each address");
}

/// Each of two processes with one identity is shown the record of the other one. The link of the
/// first process stays up for this.
#[test]
fn processes_with_one_identity_are_shown_each_others_records() {
    let mut rig = Rig::seed(lan());
    let links = [1, 1].map(|n| rig.link_up(n, Role::Peer, None));
    let record_of = |process, other_process, incarnation| {
        Signed::sign(
            Record { process, other_process, ..record(&identity(1), incarnation, 0) },
            &identity(1),
        )
    };
    rig.receive(links[0], Register { record: record_of(10, None, 1) });
    complete_writes(&mut rig);
    rig.receive(links[1], Register { record: record_of(20, None, 2) });
    complete_writes(&mut rig);
    assert_eq!(
        sent(&rig, links[0], "RegisterReject"),
        1,
        "the earlier process is shown the later one"
    );
    assert!(rig.links.contains_key(&links[0]), "and keeps its link");
    assert_eq!(rig.events.get("duplicate_identity"), None, "an earlier record is no proof");
    rig.receive(links[0], Register { record: record_of(10, Some(20), 3) });
    complete_writes(&mut rig);
    assert_eq!(sent(&rig, links[1], "RegisterReject"), 1);
    assert_eq!(sent(&rig, links[0], "RegisterAck"), 2, "the earlier process is registered again");
    let Node::Seed(seed) = &rig.node else { panic!("not a seed") };
    assert_eq!(seed.snapshot(rig.now).counters.get("duplicate_identities"), 1);
    assert_eq!(members(&rig)[0].incarnation, 3);
}

/// A seed with more links than `PARKING_THRESHOLD` closes a link after the acknowledgement and the
/// list, in whichever order they are sent: on a second visit the record is known and acknowledged
/// at once, before the peer requests the list.
#[test]
fn seed_above_its_link_limit_closes_links_after_acknowledgement_and_list() {
    let mut rig = Rig::seed(lan());
    let Node::Seed(seed) = &mut rig.node else { panic!("not a seed") };
    let (now, mut next) = (rig.now, 1_000_000);
    let mut up = |seed: &mut rumormill_proto::Seed, remote| {
        next += 1;
        let link = LinkId(next);
        let remote_address = "127.0.0.1:1".parse().unwrap();
        let info = LinkInfo {
            remote,
            role: Role::Peer,
            dial: None,
            remote_address,
            observed: None,
            local_address: None,
            same_process: false,
        };
        seed.handle(now, Input::LinkUp { link, info });
        link
    };
    for n in 0..PARKING_THRESHOLD as u32 {
        let mut id = [0xee; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        up(seed, rumormill_proto::PeerId::from_bytes(id));
    }
    let peer = identity(1);
    let verifier = Verifier::new();
    for visit in 0..3 {
        let link = up(seed, peer.id());
        let register = Register { record: signed_record(&peer, 1, 1) };
        for frame in [register.into(), Frame::GetPeerList] {
            let frame = verifier.verify(frame).unwrap();
            seed.handle(now, Input::Frame { link, frame });
        }
        let mut ended = None;
        while let Some(output) = seed.poll_output() {
            match output {
                Output::Store { ticket, .. } => seed.handle(now, Input::Stored { ticket }),
                Output::Close { link: which, reason } if which == link => ended = Some(reason),
                _ => {}
            }
        }
        assert_eq!(ended, Some(CloseReason::Done), "visit {visit}");
        seed.handle(now, Input::LinkDown { link, why: LinkEnd::Local(CloseReason::Done) });
    }
}

/// An empty seed requests all buckets; each answer fits the queue of a link.
#[test]
fn large_registry_is_sent_in_parts() {
    let mut rig = Rig::seed(lan());
    while let Some((dial, _)) = rig.dials.first().cloned() {
        rig.answer_dial(dial, None);
    }
    let link = *rig.links.keys().next().unwrap();
    let ask = |entries, requested_buckets| Entries {
        entries,
        requested_buckets,
        nonce: ByteArray::from([0; 16]),
        compared: true,
        synced: true,
    };
    for part in 0..30u16 {
        let entry_of = |n: u16| {
            let mut secret = [66; 32];
            secret[..2].copy_from_slice(&n.to_be_bytes());
            Entry::new(signed_record(&Identity::from_secret(&secret), 1, 0))
        };
        let entries = (part * 400..(part + 1) * 400).map(entry_of).collect();
        assert!(rig.receive(link, ask(entries, Vec::new())));
    }
    let before = rig.total("Entries").1;
    assert!(rig.receive(link, ask(Vec::new(), (0..=255).collect())));
    let bytes = rig.total("Entries").1 - before;
    assert!((1_000_000..1_500_000).contains(&bytes), "{bytes} bytes for one request");
}

/// A joining peer does not wait for a seed that cannot write, where other seeds can.
#[test]
fn seed_that_does_not_acknowledge_is_replaced() {
    let mut rig = Rig::peer(lan());
    let answer = |rig: &mut Rig, mute: u8| {
        while let Some((dial, _)) = rig.dials.first().cloned() {
            rig.answer_dial(dial, None);
        }
        while let Some((link, frame)) = rig.sent.pop_front() {
            let Some(remote) = rig.links.get(&link).copied() else { continue };
            let answer: Frame = match frame {
                Frame::Register(f) if remote.number != mute => RegisterAck {
                    incarnation: f.record.incarnation,
                    sequence: f.record.sequence,
                    alive: 1,
                    participating: 1,
                    nonce: ByteArray::from([5; 16]),
                    seeds: Vec::new(),
                    synced: true,
                }
                .into(),
                Frame::GetPeerList => PeerList {
                    records: Vec::new(),
                    alive: 1,
                    participating: 1,
                    synced: true,
                    last: true,
                }
                .into(),
                Frame::Ping(f) => rumormill_proto::wire::Pong { nonce: f.nonce }.into(),
                _ => continue,
            };
            rig.receive(link, answer);
        }
    };
    // In the second run, one of the two chosen seeds does not acknowledge.
    answer(&mut rig, 0);
    let chosen: Vec<u8> = rig.links.values().map(|r| r.number).collect();
    assert_eq!(chosen.len(), 2, "a majority of three");
    let mut rig = Rig::peer(lan());
    let from = rig.now;
    while rig.now.since(from) < Duration::from_secs(20) {
        answer(&mut rig, chosen[0]);
        rig.next_deadline();
    }
    let view = rig.as_peer().snapshot(rig.now);
    let registered = view.seeds.iter().filter(|s| s.registered).count();
    assert_eq!((registered, rig.links.len()), (2, 3), "{:?}", view.state);
    assert_eq!(view.counters.get("registrations_overdue"), 1);
}

fn acknowledgement(incarnation: u64, sequence: u64) -> RegisterAck {
    let nonce = ByteArray::from([5; 16]);
    RegisterAck {
        incarnation,
        sequence,
        alive: 1,
        participating: 1,
        nonce,
        seeds: Vec::new(),
        synced: true,
    }
}

#[test]
fn acknowledgement_of_an_earlier_record_does_not_complete_leave() {
    let mut rig = Rig::peer(lan());
    rig.join(0);
    let now = rig.now;
    rig.sent.clear();
    rig.as_peer_mut().leave(now, Duration::from_secs(2));
    rig.drain();
    let mut leaves = Vec::new();
    for (link, frame) in rig.sent.drain(..) {
        if let Frame::Leave(leave) = frame {
            leaves.push((link, leave.record.incarnation, leave.record.sequence));
        }
    }
    assert!(leaves.len() >= 2, "{leaves:?}");
    let left = |rig: &Rig| rig.as_peer().state() == PeerState::Left;
    for &(link, incarnation, sequence) in &leaves {
        rig.receive(link, acknowledgement(incarnation, sequence - 1));
    }
    assert!(!left(&rig), "acknowledgements of an earlier record");
    let (link, incarnation, sequence) = leaves[0];
    rig.receive(link, acknowledgement(incarnation, sequence));
    assert!(!left(&rig), "one of two is no majority");
    let (link, ..) = leaves[1];
    rig.receive(link, acknowledgement(incarnation, sequence));
    assert!(left(&rig));
}

#[test]
fn stopping_seed_pushes_gathered_changes() {
    let mut rig = Rig::seed(lan());
    let first = rig.link_up(1, Role::Peer, None);
    register(&mut rig, first, 1, 1, 2);
    complete_writes(&mut rig);
    rig.pass(Duration::from_secs(1));
    rig.timeout();
    let second = rig.link_up(2, Role::Peer, None);
    register(&mut rig, second, 2, 1, 2);
    complete_writes(&mut rig);
    let before = sent(&rig, first, "MembershipUpdate");
    let now = rig.now;
    match &mut rig.node {
        Node::Seed(seed) => seed.stop(now),
        Node::Peer(_) => panic!("a peer"),
    }
    rig.drain();
    assert_eq!(sent(&rig, first, "MembershipUpdate"), before + 1);
}

#[test]
fn leave_is_accepted_with_any_target_degree() {
    let mut rig = Rig::seed(lan());
    // A seed without other seeds is synced at once, so it checks target degrees.
    let alone = SeedSetup {
        config: lan(),
        identity: identity(VICTIM),
        seeds: vec![SeedAddress { host_port: "alone:7000".to_owned(), pin: None }],
        own_index: Some(0),
        entries: Vec::new(),
        nonce: None,
        rng_seed: [7; 32],
    };
    rig.node = Node::Seed(Box::new(Seed::new(alone, rig.now)));
    rig.drain();
    rig.timeout();
    let link = rig.link_up(1, Role::Peer, None);
    let too_high = |presence, sequence| {
        let record = Record { presence, target: 1024, ..record(&identity(1), 1, sequence) };
        Signed::sign(record, &identity(1))
    };
    rig.receive(link, Register { record: too_high(Presence::Alive, 1) });
    let refused = sent(&rig, link, "RegisterReject");
    register(&mut rig, link, 1, 1, 2);
    complete_writes(&mut rig);
    rig.receive(link, Leave { record: too_high(Presence::Left, 3) });
    complete_writes(&mut rig);
    assert_eq!((refused, sent(&rig, link, "RegisterReject")), (1, 1));
    assert_eq!(members(&rig)[0].state, MemberState::Left);
}

/// The link to another seed comes up when the seed has as many links as it may have.
#[test]
fn seed_without_room_for_a_link_to_another_seed_dials_it_again() {
    let mut rig = Rig::seed(lan());
    while rig.links.len() < MAX_SEED_LINKS {
        rig.link_up(4, Role::Peer, None);
    }
    let dialled = rig.dials.len();
    assert!(dialled > 0, "it dials the other seeds");
    while let Some((dial, _)) = rig.dials.first().cloned() {
        rig.answer_dial(dial, None);
    }
    for link in rig.links.keys().copied().collect::<Vec<_>>() {
        rig.link_down(link, LinkEnd::Lost);
    }
    let end = rig.now + Duration::from_secs(30);
    while rig.dials.len() < dialled && rig.deadline().is_some_and(|at| at < end) {
        rig.next_deadline();
    }
    assert_eq!(rig.dials.len(), dialled);
}

/// Another process with this peer's identity shows up while this one hands its messages over.
#[test]
fn process_that_ends_as_a_duplicate_while_draining_reports_its_unconfirmed_messages() {
    let mut rig = Rig::peer(lan());
    rig.join(1);
    let now = rig.now;
    rig.as_peer_mut().publish(now, "topic", b"unconfirmed").unwrap();
    rig.as_peer_mut().leave(now, Duration::from_secs(10));
    rig.drain();
    assert_eq!(rig.as_peer().state(), PeerState::Leaving);
    let own = rig.stolen_records.last().unwrap().clone();
    let other = Record {
        process: own.process - 1,
        other_process: Some(own.process),
        incarnation: own.incarnation + 1,
        ..Record::clone(&own)
    };
    let seed = rig.links.iter().find(|(_, r)| r.role == Role::Seed).map(|(link, _)| *link);
    rig.receive(
        seed.unwrap(),
        RegisterReject {
            reason: RefuseReason::DuplicateIdentity,
            record: Some(Signed::sign(other, &identity(VICTIM))),
            certificate: None,
            nonce: ByteArray::from([0; 16]),
        },
    );
    assert_eq!(rig.events.get("duplicate_identity"), Some(&1));
    assert_eq!(rig.events.get("left_unconfirmed"), Some(&1));
    assert_eq!(rig.as_peer().state(), PeerState::Left);
    let view = rig.as_peer().snapshot(rig.now);
    assert!(rig.links.is_empty() && view.neighbours.is_empty());
}
