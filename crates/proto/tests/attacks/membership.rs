//! Attacks on membership, the overlay and the seeds.

use core::time::Duration;

use minicbor::bytes::ByteArray;
use rumormill_proto::overlay::target::max_target;
use rumormill_proto::registry::Entry;
use rumormill_proto::signed::Signed;
use rumormill_proto::snapshot::MemberState;
use rumormill_proto::wire::{
    Accusation, Appoint, Entries, Frame, MembershipUpdate, PeerRequest, PeerRequestKind, Redirect,
    RegisterAck, RegisterReject,
};
use rumormill_proto::{
    DialError, Identity, Input, LinkId, Presence, Record, RefuseReason, Role, SignedRecord, wire,
};

use super::{count_sent, counter, lan, request, victim, with_neighbours};
use crate::support::rig::{Rig, VICTIM, empty_digest};
use crate::support::statements::{
    adjacency, appointment, certificate, identity, record, signed_record,
};

/// The peer sends a PeerRequest and receives a PeerRequest instead of a reply on the same link.
/// Where both ends request, the request of the smaller id stands, so for some remotes the peer's
/// own request gives way.
#[test]
fn request_in_place_of_an_answer_is_handled() {
    let mut rig = Rig::peer(lan());
    rig.join(0);
    let mut answered = 0;
    for _ in 0..40 {
        rig.next_deadline();
        while let Some((dial, _)) = rig.dials.first().cloned() {
            rig.answer_dial(dial, None);
        }
        let is_request = |f: &Frame| matches!(f, Frame::PeerRequest(_));
        let Some((link, _)) = rig.sent.iter().rfind(|(_, f)| is_request(f)).cloned() else {
            continue;
        };
        rig.sent.clear();
        let Some(remote) = rig.links.get(&link).copied() else { continue };
        rig.receive(link, request(remote.number, PeerRequestKind::Overflow));
        rig.check();
        answered += 1;
    }
    assert!(answered > 0, "the peer sends no request");
}

/// The requester's adjacency is of a later incarnation than its record. A death report with such an
/// adjacency is malformed, and seeds close the link of its reporter.
#[test]
fn adjacency_of_another_incarnation_makes_no_neighbour() {
    let mut rig = Rig::peer(lan());
    rig.join(0);
    let link = rig.link_up(1, Role::Peer, None);
    let me = identity(1);
    let r = PeerRequest {
        adjacency: adjacency(&me, victim().id(), 9),
        ..request(1, PeerRequestKind::Overflow)
    };
    rig.receive(link, r);
    assert!(rig.as_peer().snapshot(rig.now).neighbours.is_empty(), "the request was accepted");
}

/// A neighbour tells the peer to link with very many others, at addresses that it has chosen.
#[test]
fn redirects_cause_a_bounded_number_of_dials() {
    let (mut rig, link) = with_neighbours(1);
    let before = rig.dials.len();
    let known = rig.as_peer().members().len();
    for n in 0..2_000u16 {
        let mut secret = [77; 32];
        secret[..2].copy_from_slice(&n.to_be_bytes());
        let unknown_identity = Identity::from_secret(&secret);
        let in_place_of = identity(1).id();
        rig.receive(link, Redirect { to: signed_record(&unknown_identity, 1, 0), in_place_of });
    }
    let dials = rig.dials.len() - before;
    assert!(dials <= 64, "{dials} dials at once");
    let learned = rig.as_peer().members().len() - known;
    assert!(learned <= 64, "{learned} peers that only this neighbour has named");
}

#[test]
fn peer_is_left_only_by_its_own_signed_record() {
    let mut rig = Rig::peer(lan());
    rig.join(2);
    let seed = *rig.links.iter().find(|(_, r)| r.role == Role::Seed).unwrap().0;
    let present = signed_record(&identity(1), 1, 2);
    let state = |rig: &Rig| {
        let members = rig.as_peer().members();
        members.iter().find(|m| m.id == present.id).map(|m| m.state)
    };
    assert_eq!(state(&rig), Some(MemberState::Alive));
    let left = vec![present.clone()];
    rig.receive(
        seed,
        MembershipUpdate { joined: vec![], left, dead: vec![], alive: 2, participating: 2 },
    );
    assert_eq!(state(&rig), Some(MemberState::Alive));
    assert_eq!(rig.as_peer().snapshot(rig.now).counters.get("leaves_unproved"), 1);
    // The record that peer 1 itself signed is a proof.
    let left_record =
        Record { presence: Presence::Left, sequence: 3, ..record(&identity(1), 1, 3) };
    let left = vec![Signed::sign(left_record, &identity(1))];
    rig.receive(
        seed,
        MembershipUpdate { joined: vec![], left, dead: vec![], alive: 2, participating: 2 },
    );
    assert_eq!(state(&rig), Some(MemberState::Left));
}

/// One seed of three must not be able to make a peer use up its incarnations.
#[test]
fn one_seed_cannot_use_up_incarnations() {
    let mut rig = Rig::peer(lan());
    rig.join(1);
    let seed = *rig.links.iter().find(|(_, r)| r.role == Role::Seed).unwrap().0;
    let before = rig.as_peer().snapshot(rig.now).incarnation;
    let stale = |record| RegisterReject {
        reason: RefuseReason::Stale,
        record,
        certificate: None,
        nonce: ByteArray::from([0; 16]),
    };
    let newest_of =
        |identity: &Identity, incarnation| signed_record(identity, incarnation, u64::MAX);
    for _ in 0..10 {
        rig.receive(seed, stale(None));
        rig.receive(seed, stale(Some(newest_of(&identity(3), u64::MAX))));
        rig.receive(seed, stale(Some(newest_of(&victim(), before - 1))));
        // The present record of the peer proves nothing.
        rig.pass(Duration::from_secs(1));
        rig.timeout();
        let newest = |r: &&SignedRecord| (r.incarnation, r.sequence);
        let present = rig.stolen_records.iter().max_by_key(newest).unwrap().clone();
        rig.receive(seed, stale(Some(present)));
    }
    assert_eq!(rig.as_peer().snapshot(rig.now).incarnation, before);
    let one_vote = certificate(&[identity(11)], victim().id(), u64::MAX, &[identity(1).id()]);
    let dead = RegisterReject {
        reason: RefuseReason::DeclaredDead,
        record: None,
        certificate: Some(one_vote),
        nonce: ByteArray::from([0; 16]),
    };
    rig.receive(seed, dead);
    assert_eq!(rig.as_peer().snapshot(rig.now).incarnation, before);
    // A record that the peer itself signed, in an incarnation that it does not remember, counts.
    rig.receive(seed, stale(Some(newest_of(&victim(), before + 6))));
    assert_eq!(rig.as_peer().snapshot(rig.now).incarnation, before + 7);
}

/// A refusal carries a certificate that a majority signed, for an earlier incarnation or for
/// another peer.
#[test]
fn refusal_needs_a_certificate_for_this_peer_and_incarnation() {
    for subject in [victim().id(), identity(3).id()] {
        let mut rig = Rig::peer(lan());
        rig.join(1);
        let seeds: Vec<LinkId> =
            rig.links.iter().filter(|(_, r)| r.role == Role::Seed).map(|(l, _)| *l).collect();
        let voters: Vec<Identity> = rig
            .links
            .values()
            .filter(|r| r.role == Role::Seed)
            .map(|r| identity(r.number))
            .collect();
        rig.receive(
            seeds[0],
            RegisterReject {
                reason: RefuseReason::DeclaredDead,
                record: None,
                certificate: Some(certificate(&voters, subject, 1, &[identity(1).id()])),
                nonce: ByteArray::from([0; 16]),
            },
        );
        let now = rig.as_peer().snapshot(rig.now).incarnation;
        assert!(now <= 2, "incarnation {now} after a certificate for 1");
    }
}

/// A node that claims to be a seed, with a key that is not one of a seed, accuses the peer.
#[test]
fn accusation_of_an_unproved_seed_is_ignored() {
    let (mut rig, _) = with_neighbours(1);
    let link = rig.link_up(6, Role::Seed, None);
    rig.sent.clear();
    for _ in 0..50 {
        rig.receive(link, Accusation { incarnation: 1, certificate: None });
    }
    assert_eq!(count_sent(&rig, "Register"), 0, "the accusation leads to registrations");
}

/// A proved seed repeats accusations that mean nothing, before the accusation of an honest seed
/// arrives.
#[test]
fn meaningless_accusations_of_one_seed_do_not_delay_the_answer_to_another() {
    let (mut rig, _) = with_neighbours(1);
    let is_seed = |link: &&LinkId| rig.links.get(link).is_some_and(|r| r.role == Role::Seed);
    let seeds: Vec<LinkId> = rig.links.keys().filter(is_seed).copied().collect();
    let incarnation = rig.as_peer().snapshot(rig.now).incarnation;
    rig.sent.clear();
    rig.receive(seeds[0], Accusation { incarnation: incarnation + 7, certificate: None });
    assert_eq!(count_sent(&rig, "Register"), 0);
    rig.receive(seeds[1], Accusation { incarnation, certificate: None });
    assert!(count_sent(&rig, "Register") > 0, "the honest accusation is answered at once");
}

/// One seed claims the largest possible network. The target degree must stay one that the honest
/// seeds accept.
#[test]
fn one_seed_cannot_inflate_the_network_size() {
    let mut rig = Rig::peer(lan());
    rig.join(0);
    let seed = *rig.links.iter().find(|(_, r)| r.role == Role::Seed).unwrap().0;
    let before = rig.as_peer().snapshot(rig.now);
    let lie = RegisterAck {
        incarnation: 1,
        sequence: 1,
        alive: u32::MAX,
        participating: u32::MAX,
        nonce: ByteArray::from([5; 16]),
        seeds: Vec::new(),
        synced: true,
    };
    rig.receive(seed, lie);
    let after = rig.as_peer().snapshot(rig.now);
    assert!(after.network_size < 1000, "{} peers, as one seed claims", after.network_size);
    assert!(after.target <= before.target.max(max_target(28)), "target {}", after.target);
}

/// The certificate of an entry is of an earlier incarnation than its record. The bucket's hash must
/// stay the hash of what is in the registry.
#[test]
fn entry_with_an_outdated_certificate_keeps_the_bucket_hash_correct() {
    let mut rig = Rig::seed(lan());
    while let Some((dial, _)) = rig.dials.first().cloned() {
        rig.answer_dial(dial, None);
    }
    let link = *rig.links.keys().next().unwrap();
    let voters: Vec<Identity> = (11..=13).map(identity).collect();
    let record = signed_record(&identity(1), 5, 0);
    let outdated = certificate(&voters, record.id, 3, &[identity(2).id()]);
    let entries = |certificate| Entries {
        entries: vec![Entry { record: record.clone(), certificate }],
        requested_buckets: Vec::new(),
        nonce: ByteArray::from([0; 16]),
        compared: false,
        synced: true,
    };
    rig.receive(link, entries(Some(outdated)));
    rig.receive(link, entries(None));
    rig.sent.clear();
    while !rig.sent.iter().any(|(_, f)| matches!(f, Frame::Digest(_))) {
        rig.receive(link, wire::Ping { nonce: 0 });
        rig.next_deadline();
    }
    let digest = rig.sent.iter().find_map(|(_, f)| match f {
        Frame::Digest(d) => Some(d.buckets.clone()),
        _ => None,
    });
    let bucket = usize::from(record.id.as_bytes()[0]);
    assert_eq!(digest.unwrap()[bucket], Entry::new(record).fingerprint());
}

/// A node that claims to be a seed must not occupy a link of a seed for ever.
#[test]
fn link_of_an_unproved_seed_is_closed() {
    let mut rig = Rig::seed(lan());
    let link = rig.link_up(6, Role::Seed, None);
    for _ in 0..400 {
        rig.next_deadline();
    }
    assert!(!rig.links.contains_key(&link), "after {}", rig.now);
}

/// A peer that has left sends nothing and keeps no link, whenever it is called.
#[test]
fn peer_sends_nothing_and_keeps_no_link_after_leaving() {
    let (mut rig, _) = with_neighbours(2);
    let now = rig.now;
    rig.as_peer_mut().leave(now, Duration::from_secs(2));
    rig.drain();
    rig.pass(Duration::from_secs(2));
    rig.timeout();
    assert!(rig.links.is_empty());
    rig.pass(Duration::from_secs(60));
    rig.sent.clear();
    rig.timeout();
    assert!(rig.sent.is_empty());
    rig.link_up(3, Role::Peer, None);
    assert!(rig.links.is_empty(), "a link that would stay for ever");
}

/// A bucket full of certificates with the most witnesses allowed is sent in frames within the
/// limit.
#[test]
fn bucket_full_of_certificates_fits_its_frames() {
    let mut rig = Rig::seed(lan());
    while let Some((dial, _)) = rig.dials.first().cloned() {
        rig.answer_dial(dial, None);
    }
    let link = *rig.links.keys().next().unwrap();
    let voters: Vec<Identity> = (11..=13).chain([VICTIM]).map(identity).collect();
    let witnesses: Vec<_> = (100..132).map(|n| identity(n).id()).collect();
    let dead = |n: u16| {
        let mut secret = [55; 32];
        secret[..2].copy_from_slice(&n.to_be_bytes());
        let dead = Identity::from_secret(&secret);
        let certificate = certificate(&voters, dead.id(), 1, &witnesses);
        Entry { record: signed_record(&dead, 1, 0), certificate: Some(certificate) }
    };
    for part in 0..3 {
        let entries = (part * 200..(part + 1) * 200).map(dead).collect();
        let nonce = ByteArray::from([0; 16]);
        let f =
            Entries { entries, requested_buckets: Vec::new(), nonce, compared: true, synced: true };
        assert!(rig.receive(link, f));
    }
    rig.receive(link, empty_digest());
}

/// A witness that cannot reach the accused testifies, and shows the accused in the state that the
/// seeds report.
#[test]
fn appointed_witness_does_not_suspect_the_subject() {
    let (mut rig, _) = with_neighbours(1);
    let (link, seed) = rig
        .links
        .iter()
        .find(|(_, r)| r.role == Role::Seed)
        .map(|(link, r)| (*link, identity(r.number)))
        .unwrap();
    let accused = identity(5);
    let appointment = appointment(&seed, victim().id(), accused.id(), 1);
    rig.receive(link, Appoint { appointment, record: signed_record(&accused, 1, 0) });
    for _ in 0..40 {
        for (dial, _) in core::mem::take(&mut rig.dials) {
            rig.handle(Input::DialFailed { dial, why: DialError::TimedOut });
        }
        rig.next_deadline();
        rig.cooperate(&mut crate::support::script::Script::new(&[]));
    }
    assert_eq!(counter(&rig, "testimonies"), 1);
    let members = rig.as_peer().members();
    let found = members.iter().find(|m| m.id == accused.id()).expect("a member");
    assert_eq!(found.state, MemberState::Alive);
}
