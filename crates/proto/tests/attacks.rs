//! Single attacks that were found, each with what it must not achieve. A remote in these tests has
//! valid keys and signs what it likes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use core::time::Duration;

use minicbor::bytes::ByteArray;
use rumormill_proto::limits::{
    ANSWER_BURST, ANSWER_RATE, DATA_RATE, MAX_FRAME, MAX_GRAFTED, MAX_PAYLOAD, MAX_PULL_BATCHES,
    MAX_TREES, QUEUE_PAYLOAD, REQUEST_BURST,
};
use rumormill_proto::overlay::target::max_target;
use rumormill_proto::registry::Entry;
use rumormill_proto::signed::Signed;
use rumormill_proto::snapshot::MemberState;
use rumormill_proto::wire::{
    Accused, Ack, AckEntry, Announce, Appoint, Census, CensusBody, Data, Entries, Frame, GetData,
    Gossip, Graft, MembersChanged, PeerRequest, PeerRequestKind, Pong, ProbeRequest, Prune, Pull,
    Pulled, Range, RegisterRefused, Registered, Rewire, Summary, SummaryEntry, ack_token, encode,
};
use rumormill_proto::{
    Batch, Config, DialError, Identity, Input, LinkDown, LinkId, MessageId, PeerId, Presence,
    Record, RefuseReason, Role, SignedRecord, wire,
};

use support::rig::{Rig, VICTIM, empty_digest};
use support::statements::{
    adjacency, appointment, batch, census, certificate, first_of, identity, message, record,
    signed_record,
};

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

fn request(who: u8, want: PeerRequestKind) -> PeerRequest {
    let me = identity(who);
    PeerRequest {
        record: signed_record(&me, 1, 1),
        want,
        neighbours: Vec::new(),
        adjacency: adjacency(&me, victim().id(), 1),
    }
}

/// A batch as it comes along a tree.
fn gossip(batch: Batch) -> Gossip {
    Gossip { hops: 1, explores: false, receipt: false, pulled: false, age_ms: 0, batch }
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
        rig.receive(link, request(remote.who, PeerRequestKind::Overflow));
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
    let r = PeerRequest {
        adjacency: adjacency(&me, victim().id(), 9),
        ..request(1, PeerRequestKind::Overflow)
    };
    rig.receive(link, r);
    assert!(rig.as_peer().snapshot(rig.now).neighbours.is_empty(), "it was accepted");
}

/// One neighbour says, as often as it likes, that a publisher has published everything there can
/// be. What the publisher really publishes must still arrive.
#[test]
fn a_neighbour_cannot_silence_a_publisher() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = identity(5);
    rig.receive(link, gossip(message(&publisher, 1, 0, b"a")));
    for hash in 0..40 {
        let entry = SummaryEntry {
            publisher: publisher.id(),
            epoch: 1,
            next: u64::MAX,
            gaps: Vec::new(),
            floor: 0,
        };
        rig.receive(link, Summary { hash, entries: Some(vec![entry]) });
        // As long as it takes; the peer may well wait between its attempts.
        rig.pass(Duration::from_secs(20));
    }
    let next = message(&publisher, 1, 1, b"b");
    rig.receive(link, gossip(next.clone()));
    assert!(rig.deliveries.contains_key(&first_of(&next)), "its next message counts as a repeat");
}

/// Nor may it cut up gaps into more pieces than a summary may name.
#[test]
fn gaps_stay_within_their_bound() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = identity(5);
    for i in 0..256 {
        rig.receive(link, gossip(message(&publisher, 1, 10 * i, b"a")));
    }
    // It lacks the end of each gap and the start of the next one, and claims what is between.
    let gaps: Vec<(u64, u64)> = (0..255).map(|i| (10 * i + 5, 10 * i + 13)).collect();
    let publisher = publisher.id();
    let entry = SummaryEntry { publisher, epoch: 1, next: 2560, gaps, floor: 0 };
    for hash in 0..40 {
        assert!(rig.receive(link, Summary { hash, entries: Some(vec![entry.clone()]) }));
        rig.pass(Duration::from_secs(20));
    }
    // A question by hash alone is answered with everything; the rig checks that it is well formed.
    rig.receive(link, Summary { hash: 77, entries: None });
}

/// A publisher with very many streams and gaps in each must not make the summary longer than a
/// frame.
#[test]
fn a_summary_fits_a_frame() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = identity(5);
    for epoch in 0..700u64 {
        for i in 0..40 {
            let m = message(&publisher, epoch << 32, (1 << 40) + 2 * i, b"");
            rig.receive(link, gossip(m));
        }
        rig.sent.clear();
    }
    rig.receive(link, Summary { hash: 77, entries: None });
    let longest = rig.sent.iter().map(|(_, f)| encode(f).len()).max().unwrap();
    assert!(longest <= MAX_FRAME);
}

/// Two peers that lack what the other cannot supply any more must not ask each other for ever; and
/// who is compared with learns what it lacks.
#[test]
fn a_comparison_comes_to_an_end() {
    let (mut rig, link) = with_neighbours(1);
    for n in [2, 3] {
        rig.receive(link, gossip(message(&identity(n), 1, 0, b"a")));
    }
    rig.pass(Duration::from_secs(1));
    rig.sent.clear();
    // The neighbour has seen what it does not keep any more, and lacks the rest. It answers as an
    // honest one does: with its entries, whenever it is asked by hash.
    let publisher = identity(5).id();
    let entry = SummaryEntry { publisher, epoch: 1, next: 3, gaps: Vec::new(), floor: 0 };
    let all = Summary { hash: 1, entries: Some(vec![entry]) };
    rig.receive(link, all.clone());
    let (mut rounds, mut told) = (0, Vec::new());
    while let Some((_, frame)) = rig.sent.pop_front() {
        match frame {
            Frame::Announce(f) => {
                told.extend(f.ranges.iter().map(|r| (r.publisher, r.from, r.to)));
                // It hears nothing of it, and answers once more.
                rig.receive(link, all.clone());
            }
            Frame::Summary(f) if f.entries.is_none() => {
                rounds += 1;
                assert!(rounds < 20, "it asks again and again, as fast as the answers come");
                rig.receive(link, all.clone());
            }
            _ => {}
        }
    }
    let mut lacking = [2, 3].map(|n| (identity(n).id(), 0, 1));
    lacking.sort_unstable();
    assert_eq!(told, lacking, "once");
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

#[test]
fn nobody_says_goodbye_for_another() {
    let mut rig = Rig::peer(lan());
    rig.join(2);
    let seed = *rig.links.iter().find(|(_, r)| r.role == Role::Seed).unwrap().0;
    let present = signed_record(&identity(1), 1, 2);
    let state = |rig: &Rig| {
        let members = rig.as_peer().members(rig.now);
        members.iter().find(|m| m.id == present.id).map(|m| m.state)
    };
    assert_eq!(state(&rig), Some(MemberState::Alive));
    let left = vec![present.clone()];
    rig.receive(
        seed,
        MembersChanged { joined: vec![], left, dead: vec![], alive: 2, participating: 2 },
    );
    assert_eq!(state(&rig), Some(MemberState::Alive));
    assert_eq!(rig.as_peer().snapshot(rig.now).counters.get("goodbyes_unproved"), 1);
    // Its own word.
    let goodbye = Record { presence: Presence::Left, sequence: 3, ..record(&identity(1), 1, 3) };
    let left = vec![Signed::sign(goodbye, &identity(1))];
    rig.receive(
        seed,
        MembersChanged { joined: vec![], left, dead: vec![], alive: 2, participating: 2 },
    );
    assert_eq!(state(&rig), Some(MemberState::Left));
}

/// One seed of three must not be able to use up a peer's incarnations.
#[test]
fn one_seed_cannot_end_a_peers_lives() {
    let mut rig = Rig::peer(lan());
    rig.join(1);
    let seed = *rig.links.iter().find(|(_, r)| r.role == Role::Seed).unwrap().0;
    let before = rig.as_peer().snapshot(rig.now).incarnation;
    let stale = |record| RegisterRefused {
        reason: RefuseReason::Stale,
        record,
        certificate: None,
        nonce: ByteArray::from([0; 16]),
    };
    let of = |who: &Identity, incarnation| signed_record(who, incarnation, u64::MAX);
    for _ in 0..10 {
        rig.receive(seed, stale(None));
        rig.receive(seed, stale(Some(of(&identity(3), u64::MAX))));
        rig.receive(seed, stale(Some(of(&victim(), before - 1))));
        // Its present record proves nothing.
        rig.pass(Duration::from_secs(1));
        rig.timeout();
        let newest = |r: &&SignedRecord| (r.incarnation, r.sequence);
        let present = rig.stolen_records.iter().max_by_key(newest).unwrap().clone();
        rig.receive(seed, stale(Some(present)));
    }
    assert_eq!(rig.as_peer().snapshot(rig.now).incarnation, before);
    let one_vote = certificate(&[identity(11)], victim().id(), u64::MAX, &[identity(1).id()]);
    let dead = RegisterRefused {
        reason: RefuseReason::DeclaredDead,
        record: None,
        certificate: Some(one_vote),
        nonce: ByteArray::from([0; 16]),
    };
    rig.receive(seed, dead);
    assert_eq!(rig.as_peer().snapshot(rig.now).incarnation, before);
    // What it signed itself, in a life that it does not remember, it has to believe.
    rig.receive(seed, stale(Some(of(&victim(), before + 6))));
    assert_eq!(rig.as_peer().snapshot(rig.now).incarnation, before + 7);
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
                record: None,
                certificate: Some(certificate(&voters, subject, 1, &[identity(1).id()])),
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
        participating: u32::MAX,
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
    rig.receive(link, gossip(m));
    let range = Range { publisher: publisher.id(), epoch: 1, from: 0, to: 1 };
    rig.sent.clear();
    rig.receive(link, Pull { ranges: vec![range; 1024], nonce: 1 });
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

// ---- broadcast -----------------------------------------------------------------------------

/// Somebody that nobody else has heard of.
fn stranger(n: u32) -> Identity {
    let mut secret = [88; 32];
    secret[..4].copy_from_slice(&n.to_be_bytes());
    Identity::from_secret(&secret)
}

/// The link of a neighbour.
fn link_of(rig: &Rig, who: u8) -> LinkId {
    let id = identity(who).id();
    let found = rig.as_peer().snapshot(rig.now).neighbours.into_iter().find(|v| v.id == id);
    found.expect("a neighbour").link
}

/// The neighbour that brings a publisher's batches.
fn parent(rig: &Rig, of: &Identity) -> Option<PeerId> {
    let trees = rig.as_peer().snapshot(rig.now).trees;
    trees.iter().find(|t| t.publisher == of.id())?.parent
}

/// These publishers, as grafts and prunes name them.
fn of(publishers: &[&Identity]) -> Vec<u64> {
    publishers.iter().map(|p| ack_token(&p.id())).collect()
}

fn counter(rig: &Rig, name: &str) -> u64 {
    rig.as_peer().snapshot(rig.now).counters.get(name)
}

fn entry(who: &Identity, next: u64, floor: u64) -> SummaryEntry {
    SummaryEntry { publisher: who.id(), epoch: 1, next, gaps: Vec::new(), floor }
}

fn range(who: &Identity, from: u64, to: u64) -> Range {
    Range { publisher: who.id(), epoch: 1, from, to }
}

/// Everything of everybody is announced, most of it made up. What is real must still be asked for
/// and come.
#[test]
fn announcements_of_everything_there_can_be() {
    let (mut rig, link) = with_neighbours(2);
    let honest = link_of(&rig, 2);
    for round in 0..30 {
        let ranges = (0..1024).map(|n| range(&stranger(round * 1024 + n), 0, u64::MAX)).collect();
        assert!(rig.receive(link, Announce { ranges }));
        rig.pass(Duration::from_millis(100));
        rig.timeout();
    }
    let publisher = identity(5);
    rig.receive(honest, Announce { ranges: vec![range(&publisher, 0, 1)] });
    rig.sent.clear();
    let mut asked = false;
    let from = rig.now;
    while rig.now.since(from) < Duration::from_secs(10) {
        rig.next_deadline();
        let mut sent = core::mem::take(&mut rig.sent).into_iter();
        asked |= sent.any(|(to, f)| {
            let named = |p: &Pull| p.ranges.iter().any(|r| r.publisher == publisher.id());
            to == honest && matches!(&f, Frame::Pull(p) if named(p))
        });
    }
    assert!(asked, "what a neighbour really has is never asked for");
    assert_eq!(counter(&rig, "gaps"), 0, "what nobody has sent is no gap");
    rig.check();
}

/// A neighbour says that it has as much as there can be, again and again, and has nothing.
#[test]
fn what_is_claimed_and_never_comes_is_not_asked_for_all_the_time() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = identity(5);
    rig.receive(link, gossip(message(&publisher, 1, 0, b"a")));
    let before = rig.total("Pull").0;
    let mut answered = before;
    for hash in 0..600 {
        // Ten minutes: a claim a second, and an answer of nothing to each question.
        let entries = Some(vec![entry(&publisher, u64::MAX, 0)]);
        rig.receive(link, Summary { hash, entries });
        rig.receive(link, Announce { ranges: vec![range(&publisher, 0, u64::MAX)] });
        rig.pass(Duration::from_secs(1));
        rig.timeout();
        while rig.total("Pull").0 > answered {
            answered += 1;
            assert!(answered - before < 10_000, "it asks as fast as it is answered");
            let nonce = last_pull(&rig);
            rig.receive(link, Pulled { batches: 0, refused: false, nonce });
        }
    }
    let pulls = rig.total("Pull").0 - before;
    assert!(pulls <= 1800, "{pulls} questions in ten minutes");
}

/// It comes back from behind a cut. Neighbours that come after the first one may keep what that has
/// let go.
#[test]
fn first_neighbour_alone_makes_no_gap_before_others_had_time_to_come() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = identity(5);
    rig.receive(link, gossip(message(&publisher, 1, 0, b"a")));
    rig.receive(link, gossip(message(&publisher, 1, 29, b"b")));
    let entries = Some(vec![entry(&publisher, 30, 13)]);
    rig.receive(link, Summary { hash: 1, entries });
    let pass = |rig: &mut Rig, seconds: u64| {
        for _ in 0..seconds * 10 {
            rig.pass(Duration::from_millis(100));
            rig.timeout();
            let nonce = |f| if let Frame::Ping(p) = f { Some(p.nonce) } else { None };
            let pings: Vec<u64> =
                rig.sent.drain(..).filter_map(|(to, f)| nonce(f).filter(|_| to == link)).collect();
            for nonce in pings {
                rig.receive(link, Pong { nonce });
            }
        }
    };
    pass(&mut rig, 8);
    assert_eq!(counter(&rig, "gaps"), 0, "on the word of one");
    pass(&mut rig, 8);
    assert!(counter(&rig, "gaps") > 0, "there is no other");
}

/// What the answer to the last pull repeats.
fn last_pull(rig: &Rig) -> u64 {
    let nonce = |f: &Frame| if let Frame::Pull(p) = f { Some(p.nonce) } else { None };
    rig.sent.iter().rev().find_map(|(_, f)| nonce(f)).unwrap()
}

/// "I have sent it", without having sent anything.
#[test]
fn an_answer_without_content_does_not_turn_in_circles() {
    let (mut rig, link) = with_neighbours(3);
    let publisher = identity(5);
    rig.receive(link, gossip(message(&publisher, 1, 0, b"a")));
    rig.receive(link, gossip(message(&publisher, 1, 9, b"b")));
    rig.receive(link, Announce { ranges: vec![range(&publisher, 0, 10)] });
    let before = rig.total("Pull").0;
    let mut answered = before;
    let from = rig.now;
    while rig.now.since(from) < Duration::from_secs(2) {
        rig.next_deadline();
        while rig.total("Pull").0 > answered {
            answered += 1;
            assert!(answered - before < 30, "{} questions in no time", answered - before);
            let nonce = last_pull(&rig);
            rig.receive(link, Pulled { batches: 1, refused: false, nonce });
        }
    }
    assert_eq!(counter(&rig, "gaps"), 0, "given up within two seconds");
}

/// The floor that one neighbour names must not hide what another one brings.
#[test]
fn a_false_floor_hides_nothing() {
    for floor in [1, 1 << 40, u64::MAX - 1] {
        let (mut rig, link) = with_neighbours(2);
        let honest = link_of(&rig, 2);
        let publisher = identity(5);
        let entries = Some(vec![entry(&publisher, u64::MAX - 1, floor)]);
        rig.receive(link, Summary { hash: 1, entries });
        for n in 0..5 {
            rig.receive(honest, gossip(message(&publisher, 1, n, b"x")));
        }
        rig.pass(Duration::from_secs(3));
        rig.timeout();
        assert_eq!(rig.deliveries.len(), 5, "with a floor of {floor}");
    }
}

/// The same, when something else came before the first message.
#[test]
fn a_false_floor_hides_nothing_that_came_late() {
    let (mut rig, link) = with_neighbours(2);
    let honest = link_of(&rig, 2);
    let publisher = identity(5);
    rig.receive(honest, gossip(message(&publisher, 1, 3, b"x")));
    let entries = Some(vec![entry(&publisher, 4, 3)]);
    rig.receive(link, Summary { hash: 1, entries });
    for n in [0, 1, 2, 4] {
        rig.receive(honest, gossip(message(&publisher, 1, n, b"x")));
    }
    rig.pass(Duration::from_secs(60));
    for _ in 0..60 {
        rig.next_deadline();
    }
    // All of it, or word of what is missing.
    let told = counter(&rig, "messages_missed");
    assert_eq!(rig.deliveries.len() as u64 + told, 5, "{told} told as missing");
}

/// Two contents for one number, and batches that overlap in every way: each number once, in order.
#[test]
fn a_publisher_that_contradicts_itself() {
    let (mut rig, link) = with_neighbours(3);
    let other = link_of(&rig, 2);
    let publisher = identity(5);
    let parts: [(u64, usize); 12] = [
        (0, 1),
        (0, 3),
        (2, 2),
        (1, 1),
        (7, 1),
        (3, 8),
        (5, 1),
        (6, 3),
        (4, 20),
        (0, 30),
        (29, 9),
        (12, 1),
    ];
    for round in 0..6u64 {
        for (i, (first, n)) in parts.into_iter().enumerate() {
            let payload = [i as u8, round as u8];
            let b = batch(&publisher, 1, round * 35 + first, &vec![payload.as_slice(); n]);
            rig.receive(if i % 2 == 0 { link } else { other }, gossip(b));
            rig.check();
        }
    }
    // The rig holds the deliveries against order and gaps; in the end nothing is left open.
    let delivered = rig.deliveries.len() as u64;
    assert_eq!(delivered + counter(&rig, "messages_missed"), 5 * 35 + 38);
    assert!(delivered > 150, "{delivered}");
}

/// Every batch of a publisher says that it explores: it goes over the tree and not over all links.
#[test]
fn batches_that_explore_are_not_followed_as_fast_as_they_come() {
    let (mut rig, link) = with_neighbours(4);
    let publisher = identity(1);
    rig.receive(link, gossip(message(&publisher, 1, 0, b"x")));
    for who in [2, 3] {
        let other = link_of(&rig, who);
        rig.receive(other, Prune { publishers: of(&[&publisher]) });
    }
    rig.pass(Duration::from_secs(10));
    let before = rig.total("Gossip").0;
    for n in 1..=1000 {
        let explores = Gossip { explores: true, ..gossip(message(&publisher, 1, n, b"x")) };
        rig.receive(link, explores);
        rig.pass(Duration::from_millis(1));
        rig.timeout();
    }
    let sent = rig.total("Gossip").0 - before;
    // All of them to the one neighbour that gets them, and one to the two that do not.
    assert_eq!(sent, 1000 + 2);
}

/// Batches that are old, as their sender says, of somebody unknown, and that explore: they flood
/// nothing.
#[test]
fn old_batches_are_not_flooded_though_they_explore() {
    let (mut rig, link) = with_neighbours(4);
    let publisher = identity(1);
    let old = |n| {
        let batch = gossip(message(&publisher, 1, n, b"x"));
        Gossip { explores: true, age_ms: 10_000, ..batch }
    };
    let before = rig.total("Gossip").0;
    for n in 0..100 {
        rig.receive(link, old(n));
    }
    assert_eq!(rig.total("Gossip").0 - before, 0, "of somebody unknown");
    rig.pass(Duration::from_secs(1));
    rig.timeout();
    assert!(rig.total("Announce").0 > 0, "who lacks them asks");
    rig.receive(link, gossip(message(&publisher, 1, 100, b"x")));
    for who in [2, 3] {
        let other = link_of(&rig, who);
        rig.receive(other, Prune { publishers: of(&[&publisher]) });
    }
    let before = rig.total("Gossip").0;
    for n in 101..201 {
        rig.receive(link, old(n));
    }
    assert_eq!(rig.total("Gossip").0 - before, 100, "to the one neighbour that gets them");
}

/// A witness that cannot reach the accused says so, and goes on to take it for what the seeds say
/// it is.
#[test]
fn an_appointed_witness_holds_nobody_for_a_suspect() {
    let (mut rig, _) = with_neighbours(1);
    let (seed, who) = rig
        .links
        .iter()
        .find(|(_, r)| r.role == Role::Seed)
        .map(|(link, r)| (*link, identity(r.who)))
        .unwrap();
    let accused = identity(5);
    let appointment = appointment(&who, victim().id(), accused.id(), 1);
    rig.receive(seed, Appoint { appointment, record: signed_record(&accused, 1, 0) });
    for _ in 0..40 {
        for (dial, _) in core::mem::take(&mut rig.dials) {
            rig.handle(Input::DialFailed { dial, why: DialError::TimedOut });
        }
        rig.next_deadline();
        rig.cooperate(&mut support::script::Script::new(&[]));
    }
    assert_eq!(counter(&rig, "testimonies"), 1);
    let members = rig.as_peer().members(rig.now);
    let found = members.iter().find(|m| m.id == accused.id()).expect("a member");
    assert_eq!(found.state, MemberState::Alive);
}

/// Publishers by the thousand, each with a tree: what is known of trees stays bounded, and the next
/// publisher is heard.
#[test]
fn trees_without_end() {
    let (mut rig, link) = with_neighbours(3);
    for n in 0..MAX_TREES as u32 + 500 {
        rig.receive(link, gossip(message(&stranger(n), 1, 0, b"x")));
    }
    let trees = rig.as_peer().snapshot(rig.now).trees.len();
    assert!((MAX_TREES / 2..=MAX_TREES).contains(&trees), "{trees} trees");
    rig.receive(link, gossip(message(&identity(5), 1, 0, b"x")));
    assert!(rig.deliveries.contains_key(&first_of(&message(&identity(5), 1, 0, b"x"))));
    // The way of all of them is lost, and a neighbour comes: no frame names more than it may.
    rig.sent.clear();
    rig.link_down(link, LinkDown::Lost);
    let named = |rig: &Rig, on| {
        let of = |(to, f): &(LinkId, Frame)| match f {
            Frame::Graft(g) if *to == on => g.publishers.len(),
            _ => 0,
        };
        rig.sent.iter().map(of).sum::<usize>()
    };
    assert_eq!([2, 3].map(|who| named(&rig, link_of(&rig, who))), [trees + 1; 2]);
    rig.sent.clear();
    let link = rig.link_up(4, Role::Peer, None);
    rig.receive(link, request(4, PeerRequestKind::Overflow));
    assert_eq!(named(&rig, link), trees + 1);
    rig.check();
}

/// More than may be named is malformed.
#[test]
fn grafts_and_prunes_name_at_most_so_many() {
    let (mut rig, link) = with_neighbours(2);
    for (n, taken) in [(MAX_GRAFTED, true), (MAX_GRAFTED + 1, false)] {
        let publishers = vec![7; n];
        let graft = Graft { publishers: publishers.clone(), have: Vec::new() };
        assert_eq!(rig.receive(link, graft), taken);
        assert_eq!(rig.receive(link, Prune { publishers }), taken);
    }
}

/// A neighbour that wants no batches gets announcements only, and everybody else gets what they got
/// before.
#[test]
fn prunes_are_for_the_one_who_asks() {
    let (mut rig, link) = with_neighbours(4);
    let publisher = identity(1);
    let [two, three] = [2, 3].map(|who| link_of(&rig, who));
    rig.receive(link, gossip(message(&publisher, 1, 0, b"x")));
    for _ in 0..1000 {
        rig.receive(two, Prune { publishers: of(&[&publisher]) });
    }
    rig.pass(Duration::from_secs(1));
    rig.timeout();
    rig.sent.clear();
    rig.receive(link, gossip(message(&publisher, 1, 1, b"x")));
    rig.pass(Duration::from_secs(1));
    rig.timeout();
    let got = |rig: &Rig, link, name: &str| {
        rig.sent.iter().filter(|(to, f)| *to == link && f.name() == name).count()
    };
    assert_eq!((got(&rig, two, "Gossip"), got(&rig, two, "Announce")), (0, 1));
    assert_eq!((got(&rig, three, "Gossip"), got(&rig, three, "Announce")), (1, 0));
    // What it publishes itself is heard as before, and it may change its mind.
    rig.receive(two, gossip(message(&identity(2), 1, 0, b"x")));
    assert!(rig.deliveries.contains_key(&first_of(&message(&identity(2), 1, 0, b"x"))));
    rig.receive(two, Graft { publishers: of(&[&publisher]), have: Vec::new() });
    rig.sent.clear();
    rig.receive(link, gossip(message(&publisher, 1, 2, b"x")));
    assert_eq!(got(&rig, two, "Gossip"), 1);
    // The one that brings the batches does not want any from here either.
    rig.receive(link, Prune { publishers: of(&[&publisher]) });
    rig.receive(link, gossip(message(&publisher, 1, 3, b"x")));
    assert_eq!(got(&rig, two, "Gossip"), 2);
}

/// The neighbour that brings a publisher's batches says again and again that it gets none itself.
#[test]
fn grafts_of_a_parent_are_passed_on_once() {
    let (mut rig, link) = with_neighbours(4);
    let publisher = identity(5);
    rig.receive(link, gossip(message(&publisher, 1, 0, b"x")));
    let before = rig.total("Graft").0;
    for _ in 0..1000 {
        rig.receive(link, Graft { publishers: of(&[&publisher]), have: Vec::new() });
    }
    let grafts = rig.total("Graft").0 - before;
    assert_eq!(grafts, 4, "one over each link");
    rig.receive(link_of(&rig, 2), gossip(message(&publisher, 1, 1, b"x")));
    assert_eq!(parent(&rig, &publisher), Some(identity(2).id()));
    assert_eq!(rig.total("Graft").0 - before, 5, "the new parent is told");
    rig.receive(link, Graft { publishers: of(&[&publisher]), have: Vec::new() });
    assert_eq!(rig.total("Graft").0 - before, 5, "it is not the parent any more");
}

/// Grafts and prunes of publishers that nobody has heard of leave nothing behind, and one graft
/// after the other with a wish for everything is answered within bounds.
#[test]
fn grafts_by_the_thousand() {
    let (mut rig, link) = with_neighbours(2);
    let publisher = identity(5);
    for n in 0..40 {
        let payloads = [&[7u8; 1000][..]; 50];
        rig.receive(link_of(&rig, 2), gossip(batch(&publisher, 1, n * 50, &payloads)));
    }
    for n in 0..1000 {
        let publishers = (0..100).map(|i| n * 100 + i).collect::<Vec<u64>>();
        rig.receive(link, Graft { publishers: publishers.clone(), have: Vec::new() });
        rig.receive(link, Prune { publishers });
    }
    let trees = rig.as_peer().snapshot(rig.now).trees.len();
    assert_eq!(trees, 1);
    for _ in 0..100 {
        let before = rig.total("Gossip").1;
        let have = vec![entry(&publisher, 1, 0)];
        rig.receive(link, Graft { publishers: of(&[&publisher]), have });
        let bytes = rig.total("Gossip").1 - before;
        // What does not fit into the link's queue is left out there.
        assert!(bytes <= QUEUE_PAYLOAD as u64 / 4, "{} KiB for one small question", bytes >> 10);
    }
}

/// One question for the same thing a thousand times is answered once.
#[test]
fn pulls_by_the_thousand() {
    let (mut rig, link) = with_neighbours(2);
    let publisher = identity(5);
    for n in 0..40 {
        let payloads = [&[7u8; 1000][..]; 50];
        rig.receive(link_of(&rig, 2), gossip(batch(&publisher, 1, n * 50, &payloads)));
    }
    for _ in 0..100 {
        let before = rig.total("Gossip").1;
        rig.receive(link, Pull { ranges: vec![range(&publisher, 0, 2000); 1024], nonce: 1 });
        let bytes = rig.total("Gossip").1 - before;
        assert!(bytes <= QUEUE_PAYLOAD as u64 / 4, "{} KiB for one small question", bytes >> 10);
    }
}

/// Small batches: it is their number that costs.
#[test]
fn short_questions_for_small_batches() {
    let (mut rig, link) = with_neighbours(2);
    let publisher = identity(5);
    for n in 0..2000 {
        rig.receive(link_of(&rig, 2), gossip(message(&publisher, 1, n, b"x")));
    }
    let before = rig.total("Gossip").0;
    rig.receive(link, Pull { ranges: vec![range(&publisher, 0, 2000)], nonce: 1 });
    let sent = rig.total("Gossip").0 - before;
    assert!((1..=u64::from(MAX_PULL_BATCHES)).contains(&sent), "{sent} batches for one question");
    let before = rig.total("Gossip").0;
    let have = vec![entry(&publisher, 1, 0)];
    rig.receive(link, Graft { publishers: of(&[&publisher]), have });
    let sent = rig.total("Gossip").0 - before;
    assert!(sent <= u64::from(MAX_PULL_BATCHES), "{sent} batches for one question");
}

/// One neighbour pulls as fast as it can: 54 bytes a request, a megabyte an answer.
#[test]
fn pulls_beyond_the_quota_are_refused_and_honest_catch_up_is_not() {
    let (mut rig, link) = with_neighbours(2);
    let publisher = identity(5);
    rig.receive(link_of(&rig, 2), gossip(message(&publisher, 1, 0, &vec![7; MAX_PAYLOAD])));
    let pull = || Pull { ranges: vec![range(&publisher, 0, 1)], nonce: 1 };
    let retention = lan().retention_bytes() / MAX_PAYLOAD as u64;
    for _ in 0..2 * retention {
        rig.receive(link, pull());
    }
    assert_eq!(counter(&rig, "requests_throttled"), 0, "twice all that is kept");
    let started = rig.now;
    for _ in 0..5000 {
        rig.receive(link, pull());
        rig.pass(Duration::from_micros(200));
    }
    let seconds = rig.now.since(started).as_secs_f64();
    let bytes = rig.total("Gossip").1 as f64;
    let allowed = ANSWER_BURST as f64 + seconds * ANSWER_RATE as f64 + 2.0 * MAX_PAYLOAD as f64;
    assert!(bytes <= allowed, "{bytes} bytes, {allowed} allowed");
    let refused = counter(&rig, "requests_throttled");
    assert!(refused > 4000, "{refused}");
    let last = rig.sent.iter().rev().find_map(|(to, f)| match f {
        Frame::Pulled(f) if *to == link => Some(f.clone()),
        _ => None,
    });
    assert!(last.is_some_and(|f| f.refused), "it is told that it was refused");

    // Another neighbour is answered as before, and this one again later.
    let other = link_of(&rig, 2);
    let answers = |rig: &mut Rig, link| {
        let before = rig.total("Gossip").0;
        rig.receive(link, pull());
        rig.total("Gossip").0 - before
    };
    assert_eq!(answers(&mut rig, other), 1);
    rig.pass(Duration::from_secs(3));
    assert_eq!(answers(&mut rig, link), 1);
    let told = rig.events.get("throttled");
    assert_eq!(told, Some(&1), "{:?}", rig.events);
}

/// A graft that asks for everything brings some payload.
#[test]
fn payload_that_grafts_bring_counts_against_the_quota_of_the_link() {
    const SIZE: usize = 60_000;
    let (mut rig, link) = with_neighbours(2);
    let publisher = identity(5);
    rig.receive(link_of(&rig, 2), gossip(message(&publisher, 1, 0, &vec![7; SIZE])));
    let graft = || Graft { publishers: of(&[&publisher]), have: vec![entry(&publisher, 0, 0)] };
    let before = rig.total("Gossip").1;
    for _ in 0..3 * ANSWER_BURST / SIZE as u64 {
        rig.receive(link, graft());
    }
    let bytes = rig.total("Gossip").1 - before;
    assert!(bytes >= SIZE as u64, "it brings something at first: {bytes} bytes");
    let allowed = ANSWER_BURST + 2 * SIZE as u64;
    assert!(bytes <= allowed, "{bytes} bytes, {allowed} allowed");
    assert!(counter(&rig, "requests_throttled") > 0);
}

/// All neighbours of whoever grafts would send it the same.
#[test]
fn what_is_large_is_announced_to_whoever_grafts() {
    let (mut rig, link) = with_neighbours(2);
    let publisher = identity(5);
    for (n, size) in [(0, 10), (1, MAX_PAYLOAD), (2, 10)] {
        rig.receive(link_of(&rig, 2), gossip(message(&publisher, 1, n, &vec![7; size])));
    }
    rig.sent.clear();
    let have = vec![entry(&publisher, 0, 0)];
    rig.receive(link, Graft { publishers: of(&[&publisher]), have });
    let to_it = rig.sent.iter().filter(|(to, _)| *to == link);
    let told: Vec<String> = to_it
        .filter_map(|(_, f)| match f {
            Frame::Gossip(g) => Some(format!("sent {}", g.batch.first())),
            Frame::Announce(a) => {
                Some(format!("announced {}-{}", a.ranges[0].from, a.ranges[0].to))
            }
            _ => None,
        })
        .collect();
    assert_eq!(told, ["sent 0", "announced 1-3"]);
}

/// Every kind of request, without end.
#[test]
fn requests_of_every_kind_are_bounded_by_count() {
    let publisher = identity(5);
    let id = MessageId { publisher: publisher.id(), epoch: 1, sequence: 0 };
    let kinds: Vec<Frame> = vec![
        Pull { ranges: vec![], nonce: 1 }.into(),
        GetData { id }.into(),
        Summary { hash: 1, entries: None }.into(),
        Graft { publishers: of(&[&publisher]), have: vec![entry(&publisher, 0, 0)] }.into(),
        ProbeRequest { subject: publisher.id(), incarnation: 1 }.into(),
    ];
    for frame in kinds {
        let (mut rig, link) = with_neighbours(2);
        for _ in 0..3 * REQUEST_BURST {
            rig.receive(link, frame.clone());
        }
        let refused = counter(&rig, "requests_throttled");
        assert!(refused >= u64::from(2 * REQUEST_BURST) - 1, "{}: {refused}", frame.name());
        rig.check();
    }
}

/// P8: who is asked for a message that it has gives it, to neighbours, and to none of them all the
/// time.
#[test]
fn a_message_is_given_to_who_asks_for_it_by_name() {
    let (mut rig, link) = with_neighbours(2);
    let publisher = identity(5);
    let large = message(&publisher, 1, 0, &vec![7; MAX_PAYLOAD]);
    let id = first_of(&large);
    rig.receive(link_of(&rig, 2), gossip(large.clone()));
    let ask = |rig: &mut Rig, link, id| {
        rig.sent.clear();
        rig.receive(link, GetData { id });
        let data = rig.sent.iter().find_map(|(to, f)| match f {
            Frame::Data(d) if *to == link => Some(d.batch.clone()),
            _ => None,
        });
        data.expect("an answer")
    };
    assert_eq!(ask(&mut rig, link, id), Some(large));
    let unknown = MessageId { sequence: 7, ..id };
    assert_eq!(ask(&mut rig, link, unknown), None);
    let stranger = rig.link_up(6, Role::Peer, None);
    assert_eq!(ask(&mut rig, stranger, id), None, "it is no neighbour");
    let given = (0..1000).filter(|_| ask(&mut rig, link, id).is_some()).count();
    assert!(given * MAX_PAYLOAD <= 2 * DATA_RATE, "{given} MiB at once for short questions");
    assert!(counter(&rig, "data_refused") > 900);
    rig.pass(Duration::from_secs(3));
    assert!(ask(&mut rig, link, id).is_some());
}

/// Acknowledgements of what was never sent, in numbers that do not exist.
#[test]
fn absurd_acknowledgements() {
    let (mut rig, link) = with_neighbours(3);
    let me = victim();
    let now = rig.now;
    let id = rig.as_peer_mut().publish(now, "t", b"x").unwrap();
    assert!(rig.as_peer_mut().want_receipt(now, id));
    rig.drain();
    let numbers = [0, 1, 2, u64::MAX - 1, u64::MAX];
    for publisher in [me.id(), identity(5).id()] {
        for epoch in [0, 1, 2, u64::MAX] {
            for held in numbers {
                for paced in numbers {
                    for peers in [0, 1, 5, u32::MAX] {
                        let sum = held ^ paced;
                        let (left, patient) = (peers / 2, held.min(paced));
                        let e = AckEntry {
                            publisher,
                            epoch,
                            paced,
                            left,
                            patient,
                            held,
                            peers,
                            sum,
                            holders: None,
                        };
                        let entries = vec![e; 3];
                        rig.receive(link, Ack { entries, congested: peers == 5 });
                    }
                }
            }
        }
        rig.next_deadline();
    }
    rig.check();
    let view = rig.as_peer().snapshot(rig.now);
    assert!(view.window_bytes <= 4 << 20 && view.window_bytes >= 64 << 10, "{}", view.window_bytes);
    // It still publishes.
    let now = rig.now;
    assert!(rig.as_peer_mut().publish(now, "t", b"y").is_ok());
    rig.drain();
    rig.check();
}

/// A neighbour that says all the time that its queue fills slows a publisher down, and does not
/// stop it.
#[test]
fn congestion_without_end_does_not_stop_a_publisher() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = victim().id();
    let (mut published, mut came) = (0, 0);
    for _ in 0..300 {
        let now = rig.now;
        while published < 8 << 20 && rig.as_peer_mut().publish(now, "t", &[7; 1000]).is_ok() {
            published += 1000;
        }
        rig.drain();
        let ends = rig.sent.drain(..).filter_map(|(_, f)| match f {
            Frame::Gossip(g) => Some(g.batch.end()),
            _ => None,
        });
        came = ends.fold(came, u64::max);
        let (epoch, paced, left, patient, held, peers, sum) =
            (1, came, 0, came, came, 1, ack_token(&identity(1).id()));
        let e =
            AckEntry { publisher, epoch, paced, left, patient, held, peers, sum, holders: None };
        rig.receive(link, Ack { entries: vec![e], congested: true });
        rig.pass(Duration::from_millis(100));
        rig.timeout();
    }
    assert!(published >= 8 << 20, "{published} bytes in 30 s");
}

/// A publisher asks everybody to be counted all the time.
#[test]
fn censuses_are_not_passed_on_as_fast_as_they_come() {
    let (mut rig, link) = with_neighbours(4);
    let publisher = identity(1);
    rig.receive(link, gossip(message(&publisher, 1, 0, b"x")));
    let before = (rig.total("Census").0, rig.total("Ack").0);
    for round in 0..1000 {
        rig.receive(link, Census { body: census(&publisher, 1, round, u64::MAX) });
        rig.pass(Duration::from_millis(1));
        rig.timeout();
    }
    let censuses = rig.total("Census").0 - before.0;
    let acks = rig.total("Ack").0 - before.1;
    assert!(censuses <= 3 * 50 && acks <= 1000, "{censuses} passed on, {acks} answers in a second");
}

/// In a large network no receipt goes by names, whatever a publisher asks for.
#[test]
fn relay_tells_no_names_of_holders_in_a_large_network() {
    for (size, tells) in [(10, true), (2000, false)] {
        let (mut rig, link) = with_neighbours(4);
        let seeds: Vec<LinkId> =
            rig.links.iter().filter(|(_, r)| r.role == Role::Seed).map(|(id, _)| *id).collect();
        for seed in seeds {
            let said = Registered {
                incarnation: 1,
                sequence: 1,
                alive: size,
                participating: size,
                nonce: ByteArray::from([5; 16]),
                seeds: Vec::new(),
                synced: true,
            };
            rig.receive(seed, said);
        }
        assert_eq!(rig.as_peer().snapshot(rig.now).network_size, size);
        let publisher = identity(1);
        rig.receive(link, gossip(message(&publisher, 1, 0, b"x")));
        let asked = CensusBody { names: true, ..census(&publisher, 1, 1, 1).body().clone() };
        rig.receive(link, Census { body: Signed::sign(asked, &publisher) });
        for _ in 0..20 {
            rig.pass(Duration::from_millis(50));
            rig.timeout();
        }
        let names = rig.sent.iter().any(|(_, f)| {
            matches!(f, Frame::Ack(ack) if ack.entries.iter().any(|e| e.holders.is_some()))
        });
        assert_eq!(names, tells, "{size} peers");
    }
}

/// Censuses of publishers that nobody has heard of leave nothing behind.
#[test]
fn censuses_of_nobody() {
    let (mut rig, link) = with_neighbours(3);
    for n in 0..5000 {
        rig.receive(link, Census { body: census(&stranger(n), 1, n.into(), u64::MAX) });
    }
    for _ in 0..50 {
        rig.next_deadline();
    }
    rig.check();
}

/// An answer to a question for a message that holds another one.
#[test]
fn data_that_does_not_hold_what_was_asked_for() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = identity(5);
    let id = MessageId { publisher: publisher.id(), epoch: 1, sequence: 7 };
    let now = rig.now;
    rig.as_peer_mut().fetch(now, id);
    rig.drain();
    rig.receive(link, Data { id, batch: Some(message(&publisher, 1, 8, b"x")), age_ms: Some(5) });
    rig.receive(link, Data { id, batch: Some(message(&identity(4), 1, 7, b"x")), age_ms: Some(5) });
    rig.receive(link, Data { id, batch: Some(message(&publisher, 2, 7, b"x")), age_ms: Some(5) });
    assert!(rig.deliveries.is_empty());
    let fetched = |rig: &Rig| rig.events.get("fetched").copied().unwrap_or(0);
    assert_eq!(fetched(&rig), 0, "that was not it");
    rig.receive(
        link,
        Data { id, batch: Some(batch(&publisher, 1, 5, &[&b"x"[..]; 4])), age_ms: Some(5) },
    );
    assert_eq!(fetched(&rig), 1);
    rig.check();
}

/// Publishers without number, each with a message that is not its first.
#[test]
fn streams_without_number() {
    let (mut rig, link) = with_neighbours(2);
    for n in 0..3000 {
        rig.receive(link, gossip(message(&stranger(n), 1, 5, b"x")));
        if n % 100 == 0 {
            rig.pass(Duration::from_millis(50));
            rig.timeout();
        }
    }
    rig.pass(Duration::from_secs(5));
    for _ in 0..100 {
        rig.next_deadline();
    }
    rig.check();
    // A known one is heard in between.
    rig.receive(link, gossip(message(&identity(5), 1, 0, b"x")));
    assert!(rig.deliveries.contains_key(&first_of(&message(&identity(5), 1, 0, b"x"))));
}

/// Claims are not signed. What one neighbour says of publishers that nobody has heard of must not
/// be taken for something received, and not be told to others.
#[test]
fn claims_about_nobody_are_not_passed_on() {
    let (mut rig, link) = with_neighbours(2);
    let mut entries: Vec<SummaryEntry> = (0..4000)
        .map(|n| SummaryEntry {
            publisher: stranger(n).id(),
            epoch: 1,
            next: 9,
            gaps: Vec::new(),
            floor: if n % 2 == 0 { 9 } else { 3 },
        })
        .collect();
    entries.sort_by_key(|e| e.publisher);
    rig.receive(link, Summary { hash: 1, entries: Some(entries) });
    for _ in 0..50 {
        rig.next_deadline();
    }
    let known = rig.as_peer().publishers().len();
    assert_eq!(known, 0, "{known} publishers, on one neighbour's word");
    let other = link_of(&rig, 2);
    rig.sent.clear();
    rig.receive(other, Summary { hash: 2, entries: None });
    let told = rig.sent.iter().find_map(|(_, f)| match f {
        Frame::Summary(s) => Some(s.entries.as_deref().unwrap_or_default().len()),
        _ => None,
    });
    assert_eq!(told, Some(0), "made-up publishers are told to others");
}
