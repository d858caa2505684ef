//! Single attacks that were found, each with what it must not achieve. A remote in these tests has
//! valid keys and signs what it likes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use core::time::Duration;

use minicbor::bytes::ByteArray;
use rumormill_proto::limits::{MAX_FRAME, MAX_PAYLOAD, QUEUE_PAYLOAD};
use rumormill_proto::overlay::target::max_target;
use rumormill_proto::registry::Entry;
use rumormill_proto::wire::{
    Accused, Entries, Frame, PeerRequest, Pull, Range, RegisterRefused, Registered, Rewire,
    Summary, SummaryEntry, Want, encode,
};
use rumormill_proto::{Config, Identity, LinkId, RefuseReason, Role, wire};

use support::rig::{Rig, VICTIM, empty_digest};
use support::statements::{adjacency, certificate, identity, message, signed_record};

fn lan() -> Config {
    Config::lan().build().unwrap()
}

fn victim() -> Identity {
    identity(VICTIM)
}

/// A joined peer with some of the peers 1 to 5 as neighbours, and the link of the first.
fn with_neighbours(n: u8) -> (Rig, LinkId) {
    let mut rig = Rig::peer(lan());
    rig.join(n);
    let first = identity(1).id();
    let found = rig.as_peer().snapshot(rig.now).neighbours.into_iter().find(|v| v.id == first);
    let link = found.expect("peer 1 is a neighbour").link;
    (rig, link)
}

fn request(who: u8, want: Want) -> PeerRequest {
    let me = identity(who);
    PeerRequest {
        record: signed_record(&me, 1, 1),
        want,
        neighbours: Vec::new(),
        adjacency: adjacency(&me, victim().id(), 1),
    }
}

fn count_sent(rig: &Rig, name: &str) -> usize {
    rig.sent.iter().filter(|(_, f)| f.name() == name).count()
}

/// The peer asks others to be its neighbours, and gets a request for an answer, on the same link.
/// Where both ask, the request of the smaller id stands, so for some of them it gives way.
#[test]
fn a_request_in_place_of_an_answer() {
    let mut rig = Rig::peer(lan());
    rig.join(0);
    let mut met = 0;
    for _ in 0..40 {
        rig.next_deadline();
        while let Some((dial, _)) = rig.dials.first().cloned() {
            rig.answer_dial(dial, None);
        }
        let asked = |f: &Frame| matches!(f, Frame::PeerRequest(_));
        let Some((link, _)) = rig.sent.iter().rfind(|(_, f)| asked(f)).cloned() else { continue };
        rig.sent.clear();
        let Some(remote) = rig.links.get(&link).copied() else { continue };
        rig.receive(link, request(remote.who, Want::Overflow));
        rig.check();
        met += 1;
    }
    assert!(met > 0, "it asks nobody");
}

/// A neighbour whose word is from a later life than its record, and which then falls silent. A
/// report with that word is malformed, and seeds close the link on which one comes.
#[test]
fn a_word_from_another_life_makes_no_neighbour() {
    let mut rig = Rig::peer(lan());
    rig.join(0);
    let link = rig.link_up(1, Role::Peer, None);
    let me = identity(1);
    let r =
        PeerRequest { adjacency: adjacency(&me, victim().id(), 9), ..request(1, Want::Overflow) };
    rig.receive(link, r);
    assert!(rig.as_peer().snapshot(rig.now).neighbours.is_empty(), "it was accepted");
}

/// One neighbour says, as often as it likes, that a publisher has published everything there can
/// be. What the publisher really publishes must still arrive.
#[test]
fn a_neighbour_cannot_silence_a_publisher() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = identity(5);
    rig.receive(link, wire::Gossip { message: message(&publisher, 1, 0, b"a"), hops: 1 });
    for hash in 0..40 {
        let entry = SummaryEntry {
            publisher: publisher.id(),
            incarnation: 1,
            next: u64::MAX,
            gaps: Vec::new(),
        };
        rig.receive(link, Summary { hash, entries: Some(vec![entry]) });
        // As long as it takes; the peer may well wait between its attempts.
        rig.pass(Duration::from_secs(20));
    }
    let next = message(&publisher, 1, 1, b"b");
    rig.receive(link, wire::Gossip { message: next.clone(), hops: 1 });
    assert!(rig.deliveries.contains_key(&next.id), "its next message counts as a repeat");
}

/// Nor may it cut up gaps into more pieces than a summary may name.
#[test]
fn gaps_stay_within_their_bound() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = identity(5);
    for i in 0..256 {
        let m = message(&publisher, 1, 10 * i, b"a");
        rig.receive(link, wire::Gossip { message: m, hops: 1 });
    }
    // It lacks the end of each gap and the start of the next one, and claims what is between.
    let gaps: Vec<(u64, u64)> = (0..255).map(|i| (10 * i + 5, 10 * i + 13)).collect();
    let entry = SummaryEntry { publisher: publisher.id(), incarnation: 1, next: 2560, gaps };
    for hash in 0..40 {
        assert!(rig.receive(link, Summary { hash, entries: Some(vec![entry.clone()]) }));
        rig.pass(Duration::from_secs(20));
    }
    // A question by hash alone is answered with everything; the rig checks that it is well formed.
    rig.receive(link, Summary { hash: 77, entries: None });
}

/// A publisher with very many lives and gaps in each must not make the summary longer than a frame.
#[test]
fn a_summary_fits_a_frame() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = identity(5);
    for incarnation in 0..2_000u64 {
        for i in 0..40 {
            let m = message(&publisher, incarnation << 32, (1 << 40) + 2 * i, b"");
            rig.receive(link, wire::Gossip { message: m, hops: 1 });
        }
        rig.sent.clear();
    }
    rig.receive(link, Summary { hash: 77, entries: None });
    let longest = rig.sent.iter().map(|(_, f)| encode(f).len()).max().unwrap();
    assert!(longest <= MAX_FRAME);
}

/// Two peers that lack what the other cannot supply any more must not ask each other for ever.
#[test]
fn a_comparison_comes_to_an_end() {
    let (mut rig, link) = with_neighbours(1);
    for n in [2, 3] {
        rig.receive(link, wire::Gossip { message: message(&identity(n), 1, 0, b"a"), hops: 1 });
    }
    rig.sent.clear();
    // The neighbour has seen what it does not keep any more, and lacks the rest. It answers as an
    // honest one does: with its entries, whenever it is asked by hash.
    let entry =
        SummaryEntry { publisher: identity(5).id(), incarnation: 1, next: 3, gaps: Vec::new() };
    let all = Summary { hash: 1, entries: Some(vec![entry]) };
    rig.receive(link, all.clone());
    let mut rounds = 0;
    while let Some((_, frame)) = rig.sent.pop_back() {
        if matches!(&frame, Frame::Summary(f) if f.entries.is_none()) {
            rounds += 1;
            assert!(rounds < 20, "it asks again and again, as fast as the answers come");
            rig.sent.clear();
            rig.receive(link, all.clone());
        }
    }
    assert!(rig.events.get("gap").copied().unwrap_or(0) <= 1, "the same gap is told again");
}

/// A neighbour sends the peer off to link with very many others, at addresses of its choice.
#[test]
fn a_neighbour_cannot_make_it_dial_without_end() {
    let (mut rig, link) = with_neighbours(1);
    let before = rig.dials.len();
    let known = rig.as_peer().members(rig.now).len();
    for n in 0..2_000u16 {
        let mut secret = [77; 32];
        secret[..2].copy_from_slice(&n.to_be_bytes());
        let stranger = Identity::from_secret(&secret);
        let in_place_of = identity(1).id();
        rig.receive(link, Rewire { to: signed_record(&stranger, 1, 0), in_place_of });
    }
    let dials = rig.dials.len() - before;
    assert!(dials <= 64, "{dials} dials at once");
    let learned = rig.as_peer().members(rig.now).len() - known;
    assert!(learned <= 64, "{learned} peers that nobody but this neighbour has seen");
}

/// One seed of three must not be able to use up a peer's incarnations.
#[test]
fn one_seed_cannot_end_a_peers_lives() {
    let mut rig = Rig::peer(lan());
    rig.join(1);
    let seed = *rig.links.iter().find(|(_, r)| r.role == Role::Seed).unwrap().0;
    for reason in [RefuseReason::Stale, RefuseReason::DeclaredDead] {
        rig.receive(
            seed,
            RegisterRefused {
                reason,
                known_incarnation: u64::MAX,
                certificate: Some(certificate(
                    &[identity(11)],
                    victim().id(),
                    u64::MAX,
                    &[identity(1).id()],
                )),
                known_sequence: u64::MAX,
                nonce: ByteArray::from([0; 16]),
            },
        );
    }
    let now = rig.as_peer().snapshot(rig.now).incarnation;
    assert!(now < 1 << 62, "its incarnation is {now}: there is none left to refute with");
}

/// A certificate that a majority did sign, in a refusal that names another incarnation or is about
/// somebody else.
#[test]
fn a_refusal_is_held_against_its_own_certificate() {
    for subject in [victim().id(), identity(3).id()] {
        let mut rig = Rig::peer(lan());
        rig.join(1);
        let seeds: Vec<LinkId> =
            rig.links.iter().filter(|(_, r)| r.role == Role::Seed).map(|(l, _)| *l).collect();
        let voters: Vec<Identity> =
            rig.links.values().filter(|r| r.role == Role::Seed).map(|r| identity(r.who)).collect();
        rig.receive(
            seeds[0],
            RegisterRefused {
                reason: RefuseReason::DeclaredDead,
                known_incarnation: 1 << 40,
                certificate: Some(certificate(&voters, subject, 1, &[identity(1).id()])),
                known_sequence: 0,
                nonce: ByteArray::from([0; 16]),
            },
        );
        let now = rig.as_peer().snapshot(rig.now).incarnation;
        assert!(now <= 2, "incarnation {now} on a certificate for 1");
    }
}

/// Somebody who merely says that it is a seed accuses the peer again and again.
#[test]
fn a_stranger_that_says_it_is_a_seed_is_not_one() {
    let (mut rig, _) = with_neighbours(1);
    let link = rig.link_up(6, Role::Seed, None);
    rig.sent.clear();
    for _ in 0..50 {
        rig.receive(link, Accused { incarnation: 1, certificate: None });
    }
    assert_eq!(count_sent(&rig, "Register"), 0, "each accusation is passed on to the seeds");
}

/// One seed says that the network is as large as can be. The target must stay one that the honest
/// seeds accept.
#[test]
fn one_seed_cannot_inflate_the_network() {
    let mut rig = Rig::peer(lan());
    rig.join(0);
    let seed = *rig.links.iter().find(|(_, r)| r.role == Role::Seed).unwrap().0;
    let before = rig.as_peer().snapshot(rig.now);
    let lie = Registered {
        incarnation: 1,
        sequence: 1,
        alive: u32::MAX,
        nonce: ByteArray::from([5; 16]),
        seeds: Vec::new(),
        synced: true,
    };
    rig.receive(seed, lie);
    let after = rig.as_peer().snapshot(rig.now);
    assert!(after.network_size < 1000, "{} peers, on one seed's word", after.network_size);
    assert!(after.target <= before.target.max(max_target(28)), "target {}", after.target);
}

/// A short question must not be answered with half a gigabyte.
#[test]
fn a_pull_is_bounded_in_bytes() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = identity(5);
    let m = message(&publisher, 1, 0, &vec![7; MAX_PAYLOAD]);
    rig.receive(link, wire::Gossip { message: m, hops: 1 });
    let range = Range { publisher: publisher.id(), incarnation: 1, from: 0, to: 1 };
    rig.sent.clear();
    rig.receive(link, Pull { ranges: vec![range; 1024] });
    // The rig remembers the last 64 frames.
    let sent = count_sent(&rig, "Gossip") * MAX_PAYLOAD;
    assert!(sent <= QUEUE_PAYLOAD, "{} MiB for one question", sent >> 20);
}

/// An entry whose certificate is of an earlier life than its record: the hash that registries are
/// compared by must stay that of what is in the table.
#[test]
fn an_entry_with_an_outdated_certificate_leaves_the_hash_right() {
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
        want: Vec::new(),
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

/// Somebody who merely says that it is a seed does not hold a seed's links for ever.
#[test]
fn an_unknown_seed_does_not_keep_its_link() {
    let mut rig = Rig::seed(lan());
    let link = rig.link_up(6, Role::Seed, None);
    for _ in 0..400 {
        rig.next_deadline();
    }
    assert!(!rig.links.contains_key(&link), "after {}", rig.now);
}

/// After its goodbye a peer sends nothing and keeps no link, whenever it is called.
#[test]
fn nothing_comes_after_the_goodbye() {
    let (mut rig, _) = with_neighbours(2);
    let now = rig.now;
    rig.as_peer_mut().leave(now);
    rig.drain();
    rig.pass(Duration::from_secs(2));
    rig.timeout();
    assert!(rig.links.is_empty());
    rig.pass(Duration::from_secs(60));
    rig.sent.clear();
    rig.timeout();
    assert!(rig.sent.is_empty());
    rig.link_up(3, Role::Peer, None);
    assert!(rig.links.is_empty(), "a link that nobody will ever close");
}

/// An honest seed never has to send more than fits a frame: whole buckets of well-witnessed deaths.
#[test]
fn a_bucket_full_of_deaths_fits_its_frames() {
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
        let who = Identity::from_secret(&secret);
        let certificate = certificate(&voters, who.id(), 1, &witnesses);
        Entry { record: signed_record(&who, 1, 0), certificate: Some(certificate) }
    };
    for part in 0..3 {
        let entries = (part * 200..(part + 1) * 200).map(dead).collect();
        let nonce = ByteArray::from([0; 16]);
        let f = Entries { entries, want: Vec::new(), nonce, compared: true, synced: true };
        assert!(rig.receive(link, f));
    }
    rig.receive(link, empty_digest());
}
