//! Limits on counts: a frame at the limit decodes, one above it does not.

use minicbor::bytes::ByteArray;
use rumormill_proto::failure::{Certificate, Vote};
use rumormill_proto::limits::{
    FULL_LIST_LIMIT, MAX_ACK_STREAMS, MAX_BATCH, MAX_BATCH_MESSAGES, MAX_GAPS,
    MAX_GRAFT_PUBLISHERS, MAX_HOST_PORT, MAX_NEIGHBOURHOOD, MAX_PAYLOAD, MAX_PULL_RANGES,
    MAX_RECORDS_PER_FRAME, MAX_REPORTS, MAX_REQUEST_NEIGHBOURS, MAX_SEEDS, MAX_SUMMARY_STREAMS,
    MAX_TARGET, MAX_TOPIC,
};
use rumormill_proto::record::Record;
use rumormill_proto::registry::Entry;
use rumormill_proto::signed::Signed;
use rumormill_proto::wire::{
    Accusation, Ack, AckEntry, Announce, Digest, Entries, Frame, Graft, Holder, MembershipUpdate,
    Neighbourhood, PeerList, PeerRequest, PeerRequestKind, Prune, Pull, Range, RegisterAck,
    SeedName, Summary, SummaryEntry, Verifier, Votes, decode, encode,
};
use rumormill_proto::{Batch, MessageId, PeerId, SignedRecord};

use crate::support::statements::{
    BATCH, address, adjacency, batch_body, cbor, certificate, content, group, identity, record,
    report, sign_as, sign_bytes, signed_record, vote,
};

fn id(n: usize) -> PeerId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
    PeerId::from_bytes(bytes)
}

fn bytes_of(frame: impl Into<Frame>) -> Vec<u8> {
    encode(&frame.into()).to_bytes()[4..].to_vec()
}

/// `make(n)` returns a frame with `n` elements; a frame with `limit` elements decodes, one with
/// one more does not.
#[track_caller]
fn bounded<T: Into<Frame>>(limit: usize, make: impl Fn(usize) -> T) {
    let try_it = |n| decode(&bytes_of(make(n)));
    assert!(try_it(limit).is_ok(), "{:?}", try_it(limit));
    assert!(try_it(limit + 1).is_err(), "{}", limit + 1);
}

#[test]
fn seeds_are_bounded() {
    let registered = |n, length: usize| RegisterAck {
        incarnation: 1,
        sequence: 1,
        alive: 1,
        participating: 1,
        nonce: ByteArray::from([0; 16]),
        seeds: vec![SeedName { host_port: "h".repeat(length), id: id(1) }; n],
        synced: true,
    };
    bounded(MAX_SEEDS, |n| registered(n, 9));
    bounded(MAX_HOST_PORT, |n| registered(1, n));
}

#[test]
fn records_and_entries_are_bounded() {
    let r = signed_record(&identity(1), 1, 1);
    bounded(MAX_RECORDS_PER_FRAME, |n| PeerList {
        records: vec![r.clone(); n],
        alive: 1,
        participating: 1,
        synced: true,
        last: true,
    });
    let c = certificate(&[identity(3)], r.id, 1, &[id(9)]);
    for which in 0..3 {
        let only = |at, n| if which == at { n } else { 0 };
        bounded(MAX_RECORDS_PER_FRAME, |n| MembershipUpdate {
            joined: vec![r.clone(); only(0, n)],
            left: vec![r.clone(); only(1, n)],
            dead: vec![c.clone(); only(2, n)],
            alive: 1,
            participating: 1,
        });
    }
    let entries = |entries, want| Entries {
        entries: vec![Entry::new(r.clone()); entries],
        requested_buckets: vec![0; want],
        nonce: ByteArray::from([0; 16]),
        compared: true,
        synced: true,
    };
    bounded(MAX_RECORDS_PER_FRAME, |n| entries(n, 0));
    bounded(256, |n| entries(0, n));
}

#[test]
fn digest_has_exactly_256_buckets() {
    let digest = |n| {
        let nonce = ByteArray::from([0; 16]);
        let f = Frame::from(Digest { buckets: vec![0; n], nonce, synced: true });
        decode(&bytes_of(f)).is_ok()
    };
    assert_eq!([0, 255, 256, 257].map(digest), [false, false, true, false]);
}

#[test]
fn listed_neighbours_are_bounded() {
    let me = identity(1);
    bounded(MAX_REQUEST_NEIGHBOURS, |n| PeerRequest {
        record: signed_record(&me, 1, 1),
        kind: PeerRequestKind::FreeSlot,
        neighbours: (0..n).map(id).collect(),
        adjacency: adjacency(&me, id(7), 1),
    });
    bounded(MAX_NEIGHBOURHOOD, |n| Neighbourhood {
        neighbours: (0..n).map(|n| (id(n), address(1))).collect(),
        degree: 1,
        target: 1,
    });
}

#[test]
fn publishers_gaps_and_ranges_are_bounded() {
    let entry = |n, gaps: usize| SummaryEntry {
        publisher: id(n),
        epoch: 1,
        next: u64::MAX,
        gaps: (0..gaps as u64).map(|g| (2 * g, 2 * g + 1)).collect(),
        oldest_retained: 0,
    };
    let summary =
        |n, gaps| Summary { hash: 0, entries: Some((0..n).map(|i| entry(i, gaps)).collect()) };
    bounded(MAX_SUMMARY_STREAMS, |n| summary(n, 0));
    bounded(MAX_GAPS, |n| summary(1, n));
    let graft = |n, gaps| {
        let have = (0..n).map(|i| entry(i, gaps)).collect();
        Graft { publishers: vec![1], have }
    };
    bounded(MAX_SUMMARY_STREAMS, |n| graft(n, 0));
    bounded(MAX_GAPS, |n| graft(1, n));
    let tokens = |n| vec![u64::MAX; n];
    bounded(MAX_GRAFT_PUBLISHERS, |n| Graft { publishers: tokens(n), have: Vec::new() });
    bounded(MAX_GRAFT_PUBLISHERS, |n| Prune { publishers: tokens(n) });
    let range = Range { publisher: id(1), epoch: 1, from: 1, to: 2 };
    bounded(MAX_PULL_RANGES, |n| Pull { ranges: vec![range; n], nonce: 1 });
    bounded(MAX_PULL_RANGES, |n| Announce { ranges: vec![range; n] });
    let (publisher, epoch) = (id(1), 1);
    let (paced, lagging_peers, long_paced, held, peers, sum) = (1, 1, 1, 1, 1, 1);
    let e = AckEntry {
        publisher,
        epoch,
        paced,
        lagging_peers,
        long_paced,
        held,
        peers,
        sum,
        holders: None,
    };
    bounded(MAX_ACK_STREAMS, |n| Ack { entries: vec![e.clone(); n], congested: false });
    let names = |n| Some(vec![Holder { token: 1, held: 2 }; n]);
    bounded(FULL_LIST_LIMIT, |n| {
        let e = AckEntry { holders: names(n), ..e.clone() };
        Ack { entries: vec![e], congested: false }
    });
}

#[test]
fn reports_and_witnesses_are_bounded() {
    let r = report(&identity(1), &identity(2), 1);
    let v = vote(&identity(3), id(1), 1, vec![id(2)]);
    bounded(MAX_REPORTS, |n| Votes {
        reports: vec![r.clone(); n],
        vote: Some(v.clone()),
        testimonies: Vec::new(),
        withdrawn: None,
        lost: None,
    });
    let on = |witnesses: Vec<PeerId>| {
        let v = Vote { seed: identity(3).id(), subject: id(1), incarnation: 1, witnesses };
        Signed::<Vote>::from_bytes(&sign_bytes::<Vote>(&cbor(&v), &identity(3))).is_ok()
    };
    let ascending = |n| (0..n).map(id).collect::<Vec<_>>();
    assert!(on(ascending(1)) && on(ascending(MAX_REPORTS)));
    assert!(!on(Vec::new()) && !on(ascending(MAX_REPORTS + 1)));
    assert!(!on(vec![id(2), id(1)]) && !on(vec![id(1), id(1)]));
}

/// Any node can assemble a certificate, so the verifier checks its form.
#[test]
fn certificate_has_distinct_ordered_votes_of_at_most_all_seeds() {
    let takes = |votes: Vec<Signed<Vote>>| {
        let certificate: Certificate =
            minicbor::decode(&[&[0xa1, 0][..], &cbor(&votes)].concat()).unwrap();
        let f = Accusation { incarnation: 1, certificate: Some(certificate) };
        let f = decode(&bytes_of(f)).unwrap();
        Verifier::new().verify(f).is_ok()
    };
    let mut all: Vec<_> =
        (0..=MAX_SEEDS as u8).map(|n| vote(&identity(n), id(1), 1, vec![id(2)])).collect();
    all.sort_by_key(|v| v.seed);
    assert!(!takes(all.clone()), "more votes than seeds");
    all.pop();
    assert!(takes(all.clone()));
    assert!(takes(all[..1].to_vec()));
    assert!(!takes(Vec::new()));
    assert!(!takes(vec![all[1].clone(), all[0].clone()]), "out of order");
    assert!(!takes(vec![all[0].clone(), all[0].clone()]), "one seed twice");
    for other in
        [vote(&identity(99), id(1), 2, vec![id(2)]), vote(&identity(99), id(3), 1, vec![id(2)])]
    {
        let mut mixed = vec![all[0].clone(), other];
        mixed.sort_by_key(|v| v.seed);
        assert!(!takes(mixed), "votes on different deaths");
    }
}

#[test]
fn record_fields_are_bounded() {
    let me = identity(1);
    let takes = |change: &dyn Fn(&mut Record)| {
        let mut r = record(&me, 1, 1);
        change(&mut r);
        SignedRecord::from_bytes(&sign_bytes::<Record>(&cbor(&r), &me)).is_ok()
    };
    assert!(takes(&|r| r.addresses = vec![address(1); 4]));
    assert!(!takes(&|r| r.addresses = vec![address(1); 5]));
    assert!(takes(&|r| r.target = MAX_TARGET));
    assert!(!takes(&|r| r.target = MAX_TARGET + 1));
    assert!(takes(&|r| r.degree = 2 * MAX_TARGET));
    assert!(!takes(&|r| r.degree = 2 * MAX_TARGET + 1));
    // `Name` refuses an invalid name, so its bytes replace "anna" in an encoded record.
    let named = |name: &[u8]| {
        let body = cbor(&record(&me, 1, 1));
        let at = body.windows(4).position(|w| w == b"anna").unwrap();
        let mut head = vec![0x78, u8::try_from(name.len()).unwrap()];
        head.extend_from_slice(name);
        let body = [&body[..at - 1], &head, &body[at + 4..]].concat();
        SignedRecord::from_bytes(&sign_bytes::<Record>(&body, &me)).is_ok()
    };
    assert!(named(b"bert") && named("x".repeat(64).as_bytes()));
    for bad in
        ["x".repeat(65).as_bytes(), b"", b" a", b"a\x1b[2J", b"\xff\xfe", "a\u{202e}".as_bytes()]
    {
        assert!(!named(bad), "{bad:?}");
    }
}

/// Whether a batch decodes that claims `count` messages from `first` on.
fn takes(first: u64, count: u32, content: &[u8]) -> bool {
    let me = identity(1);
    let id = MessageId { publisher: me.id(), epoch: 1, sequence: first };
    let wire = sign_as(BATCH, &batch_body(&id, count, content), &me);
    Batch::from_wire(wire.into()).is_ok()
}

#[test]
fn message_fields_are_bounded() {
    let one = |first, topic: usize, payload: usize| {
        takes(first, 1, &content(&[(0, &"t".repeat(topic), &vec![0; payload])]))
    };
    assert!(one(u64::MAX - 2, MAX_TOPIC, MAX_PAYLOAD));
    assert!(!one(u64::MAX - 1, 0, 0) && !one(u64::MAX, 0, 0));
    assert!(!one(0, MAX_TOPIC + 1, 0));
    assert!(!one(0, 0, MAX_PAYLOAD + 1));
}

#[test]
fn messages_in_a_batch_are_bounded_and_counted() {
    let messages = |n: usize| content(&vec![(0, "", &b""[..]); n]);
    let as_many = |n: usize| takes(0, u32::try_from(n).unwrap(), &messages(n));
    assert!(!as_many(0) && as_many(1) && as_many(MAX_BATCH_MESSAGES));
    assert!(!as_many(MAX_BATCH_MESSAGES + 1));
    // More or fewer messages than the count, and extreme counts.
    assert!(!takes(0, 2, &messages(1)) && !takes(0, 1, &messages(2)));
    assert!(!takes(0, u32::MAX, &messages(1)) && !takes(0, 0, &messages(0)));
    // The sequence numbers reach their end.
    assert!(takes(u64::MAX - 4, 3, &messages(3)));
    assert!(!takes(u64::MAX - 3, 3, &messages(3)) && !takes(u64::MAX - 1, 3, &messages(3)));
    // The limit on the bytes of several messages is lower than that of one message.
    let long = |n: usize, bytes: usize| {
        let payload = vec![0; bytes];
        takes(0, u32::try_from(n).unwrap(), &content(&vec![(0, "", &payload[..]); n]))
    };
    assert!(long(1, MAX_PAYLOAD) && !long(2, MAX_BATCH / 2) && long(2, MAX_BATCH / 2 - 16));
    // The time of a message may be far from that of its batch.
    assert!(takes(0, 1, &content(&[(u64::MAX, "", b"")])));
}

#[test]
fn malformed_batch_is_refused() {
    let me = identity(1);
    let id = MessageId { publisher: me.id(), epoch: 1, sequence: 0 };
    let body = batch_body(&id, 1, &content(&[(0, "t", b"x")]));
    let signed = |body: &[u8]| Batch::from_wire(sign_as(BATCH, body, &me).into());
    assert!(signed(&body).unwrap().signature_is_valid());
    // A further element, as a newer version may encode it, is skipped and forwarded.
    let mut more = body.clone();
    more[0] = 0x83;
    more.extend_from_slice(&[0x63, b'n', b'e', b'w']);
    let newer = signed(&more).unwrap();
    assert!(newer.signature_is_valid());
    assert_eq!(newer.wire()[..], sign_as(BATCH, &more, &me)[..]);
    assert_eq!(newer.messages().count(), 1);
    // A body of another form is refused.
    for bad in [&body[1..], &body[..body.len() - 1], &[0x82], &[0x80], &[0xa0], &[], &[0xf6]] {
        assert!(signed(bad).is_err(), "{bad:02x?}");
    }
    let mut wire = sign_as(BATCH, &body, &me);
    wire.push(0);
    assert!(Batch::from_wire(wire.into()).is_err(), "bytes behind the batch");
    // The signature of another identity, or in another domain, is not valid.
    let by = |domain, number: u8| {
        Batch::from_wire(sign_as(domain, &body, &identity(number)).into()).unwrap()
    };
    assert!(!by(BATCH, 2).signature_is_valid());
    assert!(!by("rumor/1 record", 1).signature_is_valid());
}

#[test]
fn malformed_batch_proof_is_refused() {
    let me = identity(1);
    let body = |sequence| {
        let id = MessageId { publisher: me.id(), epoch: 1, sequence };
        batch_body(&id, 1, &content(&[(0, "t", b"x")]))
    };
    let bodies = [body(0), body(1)];
    let both = group(&me, bodies.each_ref().map(Vec::as_slice));
    assert!(both.iter().all(rumormill_proto::Batch::signature_is_valid));
    let [left, right] = both.map(|b| b.wire().to_vec());
    // The left batch with the path of the right one.
    let at = left.len() - 35;
    let mixed = [&left[..at], &right[right.len() - 35..]].concat();
    assert!(!Batch::from_wire(mixed.into()).unwrap().signature_is_valid());
    // The left batch without a path.
    let mut cut = left[..at].to_vec();
    cut[0] = 0x82;
    assert!(!Batch::from_wire(cut.into()).unwrap().signature_is_valid());
    // Paths of an invalid form.
    let with = |sides: u8, siblings: &[u8]| {
        let mut wire = left[..at].to_vec();
        let mut e = minicbor::Encoder::new(&mut wire);
        e.u8(sides).unwrap().bytes(siblings).unwrap();
        Batch::from_wire(wire.into()).is_ok()
    };
    assert!(with(0, &[0; 32]) && with(63, &[0; 192]));
    assert!(!with(0, &[]) && !with(0, &[0; 33]) && !with(0, &[0; 224]) && !with(2, &[0; 32]));
    for parts in [0x80, 0x81, 0x83, 0x85] {
        let mut other = left.clone();
        other[0] = parts;
        assert!(Batch::from_wire(other.into()).is_err());
    }
}

/// A publisher that is named twice would count as two vain pulls.
#[test]
fn summary_with_a_repeated_publisher_is_refused() {
    let entry = |n| SummaryEntry {
        publisher: id(n),
        epoch: 1,
        next: 9,
        gaps: Vec::new(),
        oldest_retained: 0,
    };
    let takes = |entries: Vec<SummaryEntry>| {
        let f = Summary { hash: 0, entries: Some(entries) };
        decode(&bytes_of(f)).is_ok()
    };
    assert!(takes(vec![entry(1), entry(2)]));
    assert!(!takes(vec![entry(1), entry(1)]));
    assert!(!takes(vec![entry(2), entry(1)]));
}

#[test]
fn impossible_gaps_and_ranges_are_refused() {
    let has = |gaps: &[(u64, u64)], next, oldest_retained| {
        let gaps = gaps.to_vec();
        let e = SummaryEntry { publisher: id(1), epoch: 1, next, gaps, oldest_retained };
        let taken = decode(&bytes_of(Summary { hash: 0, entries: Some(vec![e.clone()]) })).is_ok();
        let publishers = vec![1];
        let graft = decode(&bytes_of(Graft { publishers, have: vec![e] })).is_ok();
        assert_eq!(taken, graft);
        taken
    };
    assert!(has(&[(0, 1), (2, 3)], 4, 0));
    for bad in [&[(1, 1)][..], &[(2, 1)], &[(0, 2), (1, 3)], &[(0, 1), (1, 2)], &[(3, 9)]] {
        assert!(!has(bad, 4, 0), "{bad:?}");
    }
    assert!(has(&[(2, 3)], 4, 2) && has(&[], 4, 4) && has(&[], u64::MAX, u64::MAX));
    assert!(!has(&[(2, 3)], 4, 3), "a gap below the oldest retained");
    assert!(!has(&[], 4, 5), "an oldest retained number above the next number");
    for (from, to) in [(1, 1), (2, 1), (u64::MAX, 0)] {
        let ranges = vec![Range { publisher: id(1), epoch: 1, from, to }];
        assert!(decode(&bytes_of(Pull { ranges: ranges.clone(), nonce: 1 })).is_err());
        assert!(decode(&bytes_of(Announce { ranges })).is_err());
    }
}
