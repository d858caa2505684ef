//! Single attacks, each with the effect that it must not have. A remote in these tests has a valid
//! key and signs any content with it.

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

fn request(requester: u8, want: PeerRequestKind) -> PeerRequest {
    let me = identity(requester);
    PeerRequest {
        record: signed_record(&me, 1, 1),
        want,
        neighbours: Vec::new(),
        adjacency: adjacency(&me, victim().id(), 1),
    }
}

/// A batch as the parent in the tree sends it.
fn gossip(batch: Batch) -> Gossip {
    Gossip { hops: 1, explores: false, receipt: false, pulled: false, age_ms: 0, batch }
}

fn count_sent(rig: &Rig, name: &str) -> usize {
    rig.sent.iter().filter(|(_, f)| f.name() == name).count()
}

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

/// One neighbour claims again and again that a publisher has published every possible sequence
/// number. The messages that the publisher does publish must still be delivered.
#[test]
fn false_summaries_do_not_hide_later_messages_of_a_publisher() {
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
        // The peer may wait between its attempts to pull.
        rig.pass(Duration::from_secs(20));
    }
    let next = message(&publisher, 1, 1, b"b");
    rig.receive(link, gossip(next.clone()));
    assert!(
        rig.deliveries.contains_key(&first_of(&next)),
        "the next message counts as a duplicate"
    );
}

/// A neighbour must not be able to split gaps into more parts than a Summary may name.
#[test]
fn gaps_from_summaries_stay_within_their_bound() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = identity(5);
    for i in 0..256 {
        rig.receive(link, gossip(message(&publisher, 1, 10 * i, b"a")));
    }
    // The neighbour lacks the end of each gap and the start of the next one, and claims the
    // numbers between them.
    let gaps: Vec<(u64, u64)> = (0..255).map(|i| (10 * i + 5, 10 * i + 13)).collect();
    let publisher = publisher.id();
    let entry = SummaryEntry { publisher, epoch: 1, next: 2560, gaps, floor: 0 };
    for hash in 0..40 {
        assert!(rig.receive(link, Summary { hash, entries: Some(vec![entry.clone()]) }));
        rig.pass(Duration::from_secs(20));
    }
    // A Summary without entries is answered with all entries; the rig checks that they are valid.
    rig.receive(link, Summary { hash: 77, entries: None });
}

/// A publisher with very many streams, and gaps in each of them, must not make the Summary longer
/// than a frame.
#[test]
fn summary_of_many_streams_fits_a_frame() {
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

/// Two peers that lack messages which the other one has evicted must not ask each other for ever.
/// The other side of the comparison learns what it lacks.
#[test]
fn comparison_of_message_lists_ends() {
    let (mut rig, link) = with_neighbours(1);
    for n in [2, 3] {
        rig.receive(link, gossip(message(&identity(n), 1, 0, b"a")));
    }
    rig.pass(Duration::from_secs(1));
    rig.sent.clear();
    // The neighbour has evicted the messages of peer 5 and lacks the others. It answers as an
    // honest neighbour does: with its entries, to each Summary without entries.
    let publisher = identity(5).id();
    let entry = SummaryEntry { publisher, epoch: 1, next: 3, gaps: Vec::new(), floor: 0 };
    let all = Summary { hash: 1, entries: Some(vec![entry]) };
    rig.receive(link, all.clone());
    let (mut rounds, mut announced) = (0, Vec::new());
    while let Some((_, frame)) = rig.sent.pop_front() {
        match frame {
            Frame::Announce(f) => {
                announced.extend(f.ranges.iter().map(|r| (r.publisher, r.from, r.to)));
                // The neighbour ignores the announcement and answers once more.
                rig.receive(link, all.clone());
            }
            Frame::Summary(f) if f.entries.is_none() => {
                rounds += 1;
                assert!(rounds < 20, "the peer asks again after every answer");
                rig.receive(link, all.clone());
            }
            _ => {}
        }
    }
    let mut lacking = [2, 3].map(|n| (identity(n).id(), 0, 1));
    lacking.sort_unstable();
    assert_eq!(announced, lacking, "announced once");
    assert!(rig.events.get("gap").copied().unwrap_or(0) <= 1, "the same gap is reported twice");
}

/// A neighbour tells the peer to link with very many others, at addresses that it has chosen.
#[test]
fn rewire_requests_cause_a_bounded_number_of_dials() {
    let (mut rig, link) = with_neighbours(1);
    let before = rig.dials.len();
    let known = rig.as_peer().members(rig.now).len();
    for n in 0..2_000u16 {
        let mut secret = [77; 32];
        secret[..2].copy_from_slice(&n.to_be_bytes());
        let unknown_identity = Identity::from_secret(&secret);
        let in_place_of = identity(1).id();
        rig.receive(link, Rewire { to: signed_record(&unknown_identity, 1, 0), in_place_of });
    }
    let dials = rig.dials.len() - before;
    assert!(dials <= 64, "{dials} dials at once");
    let learned = rig.as_peer().members(rig.now).len() - known;
    assert!(learned <= 64, "{learned} peers that only this neighbour has named");
}

#[test]
fn peer_is_left_only_by_its_own_signed_record() {
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
    // The record that peer 1 itself signed is a proof.
    let left_record =
        Record { presence: Presence::Left, sequence: 3, ..record(&identity(1), 1, 3) };
    let left = vec![Signed::sign(left_record, &identity(1))];
    rig.receive(
        seed,
        MembersChanged { joined: vec![], left, dead: vec![], alive: 2, participating: 2 },
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
    let stale = |record| RegisterRefused {
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
    let dead = RegisterRefused {
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
            RegisterRefused {
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
        rig.receive(link, Accused { incarnation: 1, certificate: None });
    }
    assert_eq!(count_sent(&rig, "Register"), 0, "the accusation leads to registrations");
}

/// One seed claims the largest possible network. The target degree must stay one that the honest
/// seeds accept.
#[test]
fn one_seed_cannot_inflate_the_network_size() {
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
    assert!(after.network_size < 1000, "{} peers, as one seed claims", after.network_size);
    assert!(after.target <= before.target.max(max_target(28)), "target {}", after.target);
}

/// A short Pull must not be answered with half a gigabyte.
#[test]
fn answer_to_a_pull_is_bounded_in_bytes() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = identity(5);
    let m = message(&publisher, 1, 0, &vec![7; MAX_PAYLOAD]);
    rig.receive(link, gossip(m));
    let range = Range { publisher: publisher.id(), epoch: 1, from: 0, to: 1 };
    rig.sent.clear();
    rig.receive(link, Pull { ranges: vec![range; 1024], nonce: 1 });
    // The rig keeps the last 64 frames.
    let sent = count_sent(&rig, "Gossip") * MAX_PAYLOAD;
    assert!(sent <= QUEUE_PAYLOAD, "{} MiB for one Pull", sent >> 20);
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
        let f = Entries { entries, want: Vec::new(), nonce, compared: true, synced: true };
        assert!(rig.receive(link, f));
    }
    rig.receive(link, empty_digest());
}

// ---- broadcast -----------------------------------------------------------------------------

/// An identity that no other node knows.
fn unknown_identity(n: u32) -> Identity {
    let mut secret = [88; 32];
    secret[..4].copy_from_slice(&n.to_be_bytes());
    Identity::from_secret(&secret)
}

/// The link of the neighbour with this identity number.
fn link_of(rig: &Rig, number: u8) -> LinkId {
    let id = identity(number).id();
    let found = rig.as_peer().snapshot(rig.now).neighbours.into_iter().find(|v| v.id == id);
    found.expect("a neighbour").link
}

/// The parent for a publisher.
fn parent(rig: &Rig, publisher: &Identity) -> Option<PeerId> {
    let trees = rig.as_peer().snapshot(rig.now).trees;
    trees.iter().find(|t| t.publisher == publisher.id())?.parent
}

/// The tokens by which Graft and Prune name the publishers.
fn tokens_of(publishers: &[&Identity]) -> Vec<u64> {
    publishers.iter().map(|p| ack_token(&p.id())).collect()
}

fn counter(rig: &Rig, name: &str) -> u64 {
    rig.as_peer().snapshot(rig.now).counters.get(name)
}

fn entry(publisher: &Identity, next: u64, floor: u64) -> SummaryEntry {
    SummaryEntry { publisher: publisher.id(), epoch: 1, next, gaps: Vec::new(), floor }
}

fn range(publisher: &Identity, from: u64, to: u64) -> Range {
    Range { publisher: publisher.id(), epoch: 1, from, to }
}

/// A neighbour announces ranges of 30 000 invented publishers. A real range that another neighbour
/// announces must still be pulled.
#[test]
fn invented_announcements_do_not_hide_real_ones() {
    let (mut rig, link) = with_neighbours(2);
    let honest = link_of(&rig, 2);
    for round in 0..30 {
        let ranges =
            (0..1024).map(|n| range(&unknown_identity(round * 1024 + n), 0, u64::MAX)).collect();
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
    assert!(asked, "the real range is never pulled");
    assert_eq!(counter(&rig, "gaps"), 0, "an invented range is no gap");
    rig.check();
}

/// A neighbour claims every possible sequence number again and again, and has nothing.
#[test]
fn claimed_range_that_never_arrives_is_pulled_at_a_bounded_rate() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = identity(5);
    rig.receive(link, gossip(message(&publisher, 1, 0, b"a")));
    let before = rig.total("Pull").0;
    let mut answered = before;
    for hash in 0..600 {
        // Ten minutes with a claim each second, and an empty answer to each Pull.
        let entries = Some(vec![entry(&publisher, u64::MAX, 0)]);
        rig.receive(link, Summary { hash, entries });
        rig.receive(link, Announce { ranges: vec![range(&publisher, 0, u64::MAX)] });
        rig.pass(Duration::from_secs(1));
        rig.timeout();
        while rig.total("Pull").0 > answered {
            answered += 1;
            assert!(answered - before < 10_000, "a Pull follows every answer");
            let nonce = last_pull(&rig);
            rig.receive(link, Pulled { batches: 0, refused: false, nonce });
        }
    }
    let pulls = rig.total("Pull").0 - before;
    assert!(pulls <= 1800, "{pulls} pulls in ten minutes");
}

/// The peer returns from a partition. Neighbours that connect after the first one may still retain
/// messages that the first one has evicted.
#[test]
fn first_neighbour_alone_causes_no_gap_before_others_can_connect() {
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
    assert_eq!(counter(&rig, "gaps"), 0, "one neighbour alone");
    pass(&mut rig, 8);
    assert!(counter(&rig, "gaps") > 0, "no other neighbour has connected");
}

/// The nonce of the last Pull, which its answer has to repeat.
fn last_pull(rig: &Rig) -> u64 {
    let nonce = |f: &Frame| if let Frame::Pull(p) = f { Some(p.nonce) } else { None };
    rig.sent.iter().rev().find_map(|(_, f)| nonce(f)).unwrap()
}

/// A neighbour answers each Pull with a Pulled that counts one batch, and has sent none.
#[test]
fn empty_answers_cause_no_pull_loop() {
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
            assert!(answered - before < 30, "{} pulls within two seconds", answered - before);
            let nonce = last_pull(&rig);
            rig.receive(link, Pulled { batches: 1, refused: false, nonce });
        }
    }
    assert_eq!(counter(&rig, "gaps"), 0, "given up within two seconds");
}

/// A false floor in one neighbour's Summary must not hide the messages that another one sends.
#[test]
fn false_floor_hides_no_messages() {
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

/// The same where a later message arrives before the first one.
#[test]
fn false_floor_hides_no_late_messages() {
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
    // Each message is delivered or reported as missed.
    let missed = counter(&rig, "messages_missed");
    assert_eq!(rig.deliveries.len() as u64 + missed, 5, "{missed} reported as missed");
}

/// A publisher signs two contents for one number, and batches that overlap in every way.
#[test]
fn contradicting_batches_deliver_each_number_once_in_order() {
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
    // The rig checks the order of deliveries and gaps; at the end no number is pending.
    let delivered = rig.deliveries.len() as u64;
    assert_eq!(delivered + counter(&rig, "messages_missed"), 5 * 35 + 38);
    assert!(delivered > 150, "{delivered}");
}

/// Every batch of a publisher has the flag to explore. Most of them follow the tree all the same.
#[test]
fn exploring_batches_are_followed_at_a_bounded_rate() {
    let (mut rig, link) = with_neighbours(4);
    let publisher = identity(1);
    rig.receive(link, gossip(message(&publisher, 1, 0, b"x")));
    for number in [2, 3] {
        let other = link_of(&rig, number);
        rig.receive(other, Prune { publishers: tokens_of(&[&publisher]) });
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
    // All of them to the one child, and one of them to the two lazy neighbours.
    assert_eq!(sent, 1000 + 2);
}

/// Batches with a high age and the flag to explore are not sent to all neighbours, neither of an
/// unknown publisher nor of a known one.
#[test]
fn old_exploring_batches_are_not_flooded() {
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
    assert_eq!(rig.total("Gossip").0 - before, 0, "of an unknown publisher");
    rig.pass(Duration::from_secs(1));
    rig.timeout();
    assert!(rig.total("Announce").0 > 0, "they are announced");
    rig.receive(link, gossip(message(&publisher, 1, 100, b"x")));
    for number in [2, 3] {
        let other = link_of(&rig, number);
        rig.receive(other, Prune { publishers: tokens_of(&[&publisher]) });
    }
    let before = rig.total("Gossip").0;
    for n in 101..201 {
        rig.receive(link, old(n));
    }
    assert_eq!(rig.total("Gossip").0 - before, 100, "to the one child");
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
        rig.cooperate(&mut support::script::Script::new(&[]));
    }
    assert_eq!(counter(&rig, "testimonies"), 1);
    let members = rig.as_peer().members(rig.now);
    let found = members.iter().find(|m| m.id == accused.id()).expect("a member");
    assert_eq!(found.state, MemberState::Alive);
}

/// With thousands of publishers the number of trees stays bounded, and messages of the next
/// publisher are delivered.
#[test]
fn number_of_trees_is_bounded() {
    let (mut rig, link) = with_neighbours(3);
    for n in 0..MAX_TREES as u32 + 500 {
        rig.receive(link, gossip(message(&unknown_identity(n), 1, 0, b"x")));
    }
    let trees = rig.as_peer().snapshot(rig.now).trees.len();
    assert!((MAX_TREES / 2..=MAX_TREES).contains(&trees), "{trees} trees");
    rig.receive(link, gossip(message(&identity(5), 1, 0, b"x")));
    assert!(rig.deliveries.contains_key(&first_of(&message(&identity(5), 1, 0, b"x"))));
    // The parent of all trees is lost, and a new neighbour connects: no Graft exceeds its limit.
    rig.sent.clear();
    rig.link_down(link, LinkDown::Lost);
    let named = |rig: &Rig, on| {
        let publishers = |(to, f): &(LinkId, Frame)| match f {
            Frame::Graft(g) if *to == on => g.publishers.len(),
            _ => 0,
        };
        rig.sent.iter().map(publishers).sum::<usize>()
    };
    assert_eq!([2, 3].map(|number| named(&rig, link_of(&rig, number))), [trees + 1; 2]);
    rig.sent.clear();
    let link = rig.link_up(4, Role::Peer, None);
    rig.receive(link, request(4, PeerRequestKind::Overflow));
    assert_eq!(named(&rig, link), trees + 1);
    rig.check();
}

/// A Graft or Prune that names more publishers than the limit is malformed.
#[test]
fn grafts_and_prunes_with_too_many_publishers_are_refused() {
    let (mut rig, link) = with_neighbours(2);
    for (n, accepted) in [(MAX_GRAFTED, true), (MAX_GRAFTED + 1, false)] {
        let publishers = vec![7; n];
        let graft = Graft { publishers: publishers.clone(), have: Vec::new() };
        assert_eq!(rig.receive(link, graft), accepted);
        assert_eq!(rig.receive(link, Prune { publishers }), accepted);
    }
}

/// A neighbour that prunes gets announcements only; all other neighbours get the same as before.
#[test]
fn prune_affects_only_its_sender() {
    let (mut rig, link) = with_neighbours(4);
    let publisher = identity(1);
    let [two, three] = [2, 3].map(|number| link_of(&rig, number));
    rig.receive(link, gossip(message(&publisher, 1, 0, b"x")));
    for _ in 0..1000 {
        rig.receive(two, Prune { publishers: tokens_of(&[&publisher]) });
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
    // Its own messages are delivered as before, and a Graft makes it a child again.
    rig.receive(two, gossip(message(&identity(2), 1, 0, b"x")));
    assert!(rig.deliveries.contains_key(&first_of(&message(&identity(2), 1, 0, b"x"))));
    rig.receive(two, Graft { publishers: tokens_of(&[&publisher]), have: Vec::new() });
    rig.sent.clear();
    rig.receive(link, gossip(message(&publisher, 1, 2, b"x")));
    assert_eq!(got(&rig, two, "Gossip"), 1);
    // A Prune of the parent changes nothing for the others.
    rig.receive(link, Prune { publishers: tokens_of(&[&publisher]) });
    rig.receive(link, gossip(message(&publisher, 1, 3, b"x")));
    assert_eq!(got(&rig, two, "Gossip"), 2);
}

/// The parent for a publisher grafts again and again.
#[test]
fn repeated_grafts_of_a_parent_are_answered_once() {
    let (mut rig, link) = with_neighbours(4);
    let publisher = identity(5);
    rig.receive(link, gossip(message(&publisher, 1, 0, b"x")));
    let before = rig.total("Graft").0;
    for _ in 0..1000 {
        rig.receive(link, Graft { publishers: tokens_of(&[&publisher]), have: Vec::new() });
    }
    let grafts = rig.total("Graft").0 - before;
    assert_eq!(grafts, 4, "one over each link");
    rig.receive(link_of(&rig, 2), gossip(message(&publisher, 1, 1, b"x")));
    assert_eq!(parent(&rig, &publisher), Some(identity(2).id()));
    assert_eq!(rig.total("Graft").0 - before, 5, "the new parent gets a Graft");
    rig.receive(link, Graft { publishers: tokens_of(&[&publisher]), have: Vec::new() });
    assert_eq!(rig.total("Graft").0 - before, 5, "the sender is not the parent any more");
}

/// Grafts and prunes of unknown publishers leave no state, and repeated grafts that ask for all
/// messages are answered within bounds.
#[test]
fn many_grafts_have_bounded_state_and_answers() {
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
        rig.receive(link, Graft { publishers: tokens_of(&[&publisher]), have });
        let bytes = rig.total("Gossip").1 - before;
        // Batches that do not fit into the queue of the link are left out.
        assert!(bytes <= QUEUE_PAYLOAD as u64 / 4, "{} KiB for one short frame", bytes >> 10);
    }
}

/// A Pull that names the same range a thousand times is answered once.
#[test]
fn repeated_ranges_in_a_pull_are_answered_once() {
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
        assert!(bytes <= QUEUE_PAYLOAD as u64 / 4, "{} KiB for one short frame", bytes >> 10);
    }
}

/// Small batches cost by their number and not by their bytes.
#[test]
fn number_of_small_batches_per_answer_is_bounded() {
    let (mut rig, link) = with_neighbours(2);
    let publisher = identity(5);
    for n in 0..2000 {
        rig.receive(link_of(&rig, 2), gossip(message(&publisher, 1, n, b"x")));
    }
    let before = rig.total("Gossip").0;
    rig.receive(link, Pull { ranges: vec![range(&publisher, 0, 2000)], nonce: 1 });
    let sent = rig.total("Gossip").0 - before;
    assert!((1..=u64::from(MAX_PULL_BATCHES)).contains(&sent), "{sent} batches for one Pull");
    let before = rig.total("Gossip").0;
    let have = vec![entry(&publisher, 1, 0)];
    rig.receive(link, Graft { publishers: tokens_of(&[&publisher]), have });
    let sent = rig.total("Gossip").0 - before;
    assert!(sent <= u64::from(MAX_PULL_BATCHES), "{sent} batches for one Graft");
}

/// One neighbour pulls as fast as it can: a request has 54 bytes, an answer a megabyte.
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
    assert_eq!(counter(&rig, "requests_throttled"), 0, "twice everything that is retained");
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
    assert!(last.is_some_and(|f| f.refused), "the answer says that it was refused");

    // Another neighbour is answered as before, and the first one again later.
    let other = link_of(&rig, 2);
    let answers = |rig: &mut Rig, link| {
        let before = rig.total("Gossip").0;
        rig.receive(link, pull());
        rig.total("Gossip").0 - before
    };
    assert_eq!(answers(&mut rig, other), 1);
    rig.pass(Duration::from_secs(3));
    assert_eq!(answers(&mut rig, link), 1);
    let reported = rig.events.get("throttled");
    assert_eq!(reported, Some(&1), "{:?}", rig.events);
}

/// A Graft that asks for everything is answered with some payload.
#[test]
fn payload_sent_for_grafts_counts_against_the_quota_of_the_link() {
    const SIZE: usize = 60_000;
    let (mut rig, link) = with_neighbours(2);
    let publisher = identity(5);
    rig.receive(link_of(&rig, 2), gossip(message(&publisher, 1, 0, &vec![7; SIZE])));
    let graft =
        || Graft { publishers: tokens_of(&[&publisher]), have: vec![entry(&publisher, 0, 0)] };
    let before = rig.total("Gossip").1;
    for _ in 0..3 * ANSWER_BURST / SIZE as u64 {
        rig.receive(link, graft());
    }
    let bytes = rig.total("Gossip").1 - before;
    assert!(bytes >= SIZE as u64, "the first grafts are answered with payload: {bytes} bytes");
    let allowed = ANSWER_BURST + 2 * SIZE as u64;
    assert!(bytes <= allowed, "{bytes} bytes, {allowed} allowed");
    assert!(counter(&rig, "requests_throttled") > 0);
}

/// Otherwise all neighbours of the peer that grafts would send it the same large batch.
#[test]
fn large_batches_are_announced_to_a_neighbour_that_grafts() {
    let (mut rig, link) = with_neighbours(2);
    let publisher = identity(5);
    for (n, size) in [(0, 10), (1, MAX_PAYLOAD), (2, 10)] {
        rig.receive(link_of(&rig, 2), gossip(message(&publisher, 1, n, &vec![7; size])));
    }
    rig.sent.clear();
    let have = vec![entry(&publisher, 0, 0)];
    rig.receive(link, Graft { publishers: tokens_of(&[&publisher]), have });
    let answers = rig.sent.iter().filter(|(to, _)| *to == link);
    let contents: Vec<String> = answers
        .filter_map(|(_, f)| match f {
            Frame::Gossip(g) => Some(format!("sent {}", g.batch.first())),
            Frame::Announce(a) => {
                Some(format!("announced {}-{}", a.ranges[0].from, a.ranges[0].to))
            }
            _ => None,
        })
        .collect();
    assert_eq!(contents, ["sent 0", "announced 1-3"]);
}

/// A neighbour repeats each kind of request without a pause.
#[test]
fn requests_of_every_kind_are_bounded_by_count() {
    let publisher = identity(5);
    let id = MessageId { publisher: publisher.id(), epoch: 1, sequence: 0 };
    let kinds: Vec<Frame> = vec![
        Pull { ranges: vec![], nonce: 1 }.into(),
        GetData { id }.into(),
        Summary { hash: 1, entries: None }.into(),
        Graft { publishers: tokens_of(&[&publisher]), have: vec![entry(&publisher, 0, 0)] }.into(),
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

/// P8: a peer answers GetData of a neighbour with the message, at a bounded rate for each
/// neighbour.
#[test]
fn fetch_is_answered_for_neighbours_at_a_bounded_rate() {
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
    let unknown_identity = rig.link_up(6, Role::Peer, None);
    assert_eq!(ask(&mut rig, unknown_identity, id), None, "the requester is no neighbour");
    let given = (0..1000).filter(|_| ask(&mut rig, link, id).is_some()).count();
    assert!(given * MAX_PAYLOAD <= 2 * DATA_RATE, "{given} MiB at once for short requests");
    assert!(counter(&rig, "data_refused") > 900);
    rig.pass(Duration::from_secs(3));
    assert!(ask(&mut rig, link, id).is_some());
}

/// Acknowledgements of messages that were never sent, with all combinations of extreme values.
#[test]
fn absurd_acknowledgements_do_not_stop_a_publisher() {
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
    // The peer can still publish.
    let now = rig.now;
    assert!(rig.as_peer_mut().publish(now, "t", b"y").is_ok());
    rig.drain();
    rig.check();
}

/// A neighbour that always reports congestion slows a publisher down, and does not stop it.
#[test]
fn permanent_congestion_does_not_stop_a_publisher() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = victim().id();
    let (mut published, mut received) = (0, 0);
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
        received = ends.fold(received, u64::max);
        let (epoch, paced, left, patient, held, peers, sum) =
            (1, received, 0, received, received, 1, ack_token(&identity(1).id()));
        let e =
            AckEntry { publisher, epoch, paced, left, patient, held, peers, sum, holders: None };
        rig.receive(link, Ack { entries: vec![e], congested: true });
        rig.pass(Duration::from_millis(100));
        rig.timeout();
    }
    assert!(published >= 8 << 20, "{published} bytes in 30 s");
}

/// A publisher sends a census every millisecond.
#[test]
fn censuses_are_forwarded_at_a_bounded_rate() {
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

/// In a large network a peer does not name itself as a holder, even if the publisher asks for
/// names.
#[test]
fn relay_sends_no_names_of_holders_in_a_large_network() {
    for (size, has_names) in [(10, true), (2000, false)] {
        let (mut rig, link) = with_neighbours(4);
        let seeds: Vec<LinkId> =
            rig.links.iter().filter(|(_, r)| r.role == Role::Seed).map(|(id, _)| *id).collect();
        for seed in seeds {
            let answer = Registered {
                incarnation: 1,
                sequence: 1,
                alive: size,
                participating: size,
                nonce: ByteArray::from([5; 16]),
                seeds: Vec::new(),
                synced: true,
            };
            rig.receive(seed, answer);
        }
        assert_eq!(rig.as_peer().snapshot(rig.now).network_size, size);
        let publisher = identity(1);
        rig.receive(link, gossip(message(&publisher, 1, 0, b"x")));
        let body = CensusBody { names: true, ..census(&publisher, 1, 1, 1).body().clone() };
        rig.receive(link, Census { body: Signed::sign(body, &publisher) });
        for _ in 0..20 {
            rig.pass(Duration::from_millis(50));
            rig.timeout();
        }
        let names = rig.sent.iter().any(|(_, f)| {
            matches!(f, Frame::Ack(ack) if ack.entries.iter().any(|e| e.holders.is_some()))
        });
        assert_eq!(names, has_names, "{size} peers");
    }
}

/// Censuses of unknown publishers leave no state.
#[test]
fn censuses_of_unknown_publishers_leave_no_state() {
    let (mut rig, link) = with_neighbours(3);
    for n in 0..5000 {
        rig.receive(link, Census { body: census(&unknown_identity(n), 1, n.into(), u64::MAX) });
    }
    for _ in 0..50 {
        rig.next_deadline();
    }
    rig.check();
}

/// A neighbour answers GetData with batches that do not hold the message.
#[test]
fn data_without_the_requested_message_is_ignored() {
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
    assert_eq!(fetched(&rig), 0, "the answers do not hold the message");
    rig.receive(
        link,
        Data { id, batch: Some(batch(&publisher, 1, 5, &[&b"x"[..]; 4])), age_ms: Some(5) },
    );
    assert_eq!(fetched(&rig), 1);
    rig.check();
}

/// Thousands of publishers, each with a message that is not the first of its stream.
#[test]
fn many_streams_without_their_start_are_handled() {
    let (mut rig, link) = with_neighbours(2);
    for n in 0..3000 {
        rig.receive(link, gossip(message(&unknown_identity(n), 1, 5, b"x")));
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
    // A message of a known publisher is delivered all the same.
    rig.receive(link, gossip(message(&identity(5), 1, 0, b"x")));
    assert!(rig.deliveries.contains_key(&first_of(&message(&identity(5), 1, 0, b"x"))));
}

/// Claims are not signed. A claim of one neighbour about unknown publishers must not count as
/// received, and must not appear in the Summary to others.
#[test]
fn claims_about_unknown_publishers_are_not_passed_on() {
    let (mut rig, link) = with_neighbours(2);
    let mut entries: Vec<SummaryEntry> = (0..4000)
        .map(|n| SummaryEntry {
            publisher: unknown_identity(n).id(),
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
    assert_eq!(known, 0, "{known} publishers, as one neighbour claims");
    let other = link_of(&rig, 2);
    rig.sent.clear();
    rig.receive(other, Summary { hash: 2, entries: None });
    let entries = rig.sent.iter().find_map(|(_, f)| match f {
        Frame::Summary(s) => Some(s.entries.as_deref().unwrap_or_default().len()),
        _ => None,
    });
    assert_eq!(entries, Some(0), "invented publishers are in the Summary");
}
