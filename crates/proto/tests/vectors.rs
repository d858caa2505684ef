//! The test vectors of docs/PROTOCOL.md, made by this implementation. The page must contain exactly
//! these.
//!
//! `RUMORMILL_WRITE=1 cargo test -p rumormill-proto --test vectors` writes them into the page; a
//! change to one of them is a change of the protocol.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use data_encoding::HEXLOWER;
use minicbor::bytes::ByteArray;
use rumormill_proto::overlay::target::{rank, target_degree};
use rumormill_proto::registry::Entry;
use rumormill_proto::wire::{
    Accept, Accused, Ack, AckEntry, Announce, Appoint, Census, Close, Confirm, Confirmed, Data,
    Entries, Frame, GetData, Gossip, Graft, Hello, Holder, Leave, LostPeer, MembersChanged,
    Neighbourhood, PeerList, PeerReply, PeerRequest, PeerRequestKind, Permit, Ping, Pong, Position,
    PositionRead, ProbeReply, ProbeRequest, Prune, Pull, Pulled, Range, Register, RegisterRefused,
    Registered, Reject, Report, Rewire, SeedName, StreamMark, Summary, SummaryEntry, Testify,
    Verdict, Verifier, Votes, ack_token, encode,
};
use rumormill_proto::{
    Address, CloseReason, Config, Identity, Input, LinkId, LinkInfo, MessageId, Name, Output, Peer,
    PeerSetup, RefuseReason, Role, Time,
};

use support::statements::{
    BATCH, BATCH_GROUP, PUBLISHED_AT, address, adjacency, appointment, batch, batch_body, cbor,
    census, certificate, content, digest, first_of, group, identity, message, message_after,
    record, report, signed_record, testimony, vote,
};

const BEGIN: &str = "<!-- vectors: begin -->";
const END: &str = "<!-- vectors: end -->";
/// Hexadecimal characters on a line.
const WIDTH: usize = 88;

#[derive(Default)]
struct Page(String);

impl Page {
    fn title(&mut self, title: &str) {
        let _ = write!(self.0, "\n### {title}\n\n");
    }

    fn text(&mut self, text: &str) {
        let _ = write!(self.0, "{text}\n\n");
    }

    /// A block of named values in hexadecimal.
    fn block(&mut self, values: &[(&str, Vec<u8>)]) {
        self.0.push_str("```text\n");
        for (name, bytes) in values {
            let hex = HEXLOWER.encode(bytes);
            let _ = writeln!(self.0, "{name}");
            let lines = hex.as_bytes().chunks(WIDTH);
            for line in lines {
                let _ = writeln!(self.0, "  {}", std::str::from_utf8(line).unwrap());
            }
        }
        self.0.push_str("```\n");
    }

    fn frame(&mut self, says: &str, frame: impl Into<Frame>) {
        let frame = frame.into();
        let bytes = encode(&frame).to_bytes();
        Verifier::new().verify(frame.clone()).expect("vectors hold");
        let name = format!("{} {}: {says}", frame.number(), frame.name());
        self.0.truncate(self.0.trim_end_matches("```\n").len());
        let hex = HEXLOWER.encode(&bytes);
        let _ = writeln!(self.0, "{name}");
        for line in hex.as_bytes().chunks(WIDTH) {
            let _ = writeln!(self.0, "  {}", std::str::from_utf8(line).unwrap());
        }
        self.0.push_str("```\n");
    }

    fn open(&mut self) {
        self.0.push_str("```text\n```\n");
    }
}

/// Peers 1, 2 and 3, seeds 11 and 12: each the identity whose secret is 32 times that byte.
fn ids() -> [Identity; 5] {
    [1, 2, 3, 11, 12].map(identity)
}

fn signed(page: &mut Page) {
    let [one, two, _, eleven, twelve] = ids();
    page.title("Identities");
    page.text("Secret, public key. The secret of identity `n` is 32 times the byte `n`.");
    let pairs = [("1", &one), ("2", &two), ("11", &eleven), ("12", &twelve)];
    let values: Vec<(String, Vec<u8>)> =
        pairs.iter().map(|(n, i)| (format!("id of {n}"), i.id().as_bytes().to_vec())).collect();
    page.block(&values.iter().map(|(n, v)| (n.as_str(), v.clone())).collect::<Vec<_>>());

    page.title("Signed statements");
    page.text(
        "The record of peer 1: name `anna`, address 127.0.0.1:7001, incarnation 3, sequence 4, \
         alive, degree 2, target 3, process 1.",
    );
    let r = record(&one, 3, 4);
    let body = cbor(&r);
    let hash = digest("rumor/1 record", &body);
    let s = signed_record(&one, 3, 4);
    assert_eq!(one.sign(&hash), *s.signature());
    page.block(&[
        ("body", body),
        ("what is signed", hash.to_vec()),
        ("signature", s.signature().as_bytes().to_vec()),
        ("statement", s.to_bytes()),
    ]);
    page.text(
        "\nThe others in their signed form, all in incarnation 3 of peer 1: that peer 2 is a \
         neighbour of peer 1, peer 2's report of peer 1's death, seed 11's appointment of peer 3, \
         its testimony, seed 11's vote with peers 2 and 3 as witnesses, peer 1's census \
         (round 4, until 6, no names). The batch is peer 1's: numbers 5 and 6, published at \
         1 700 000 000 s, topic `topic`, payloads `hello` and `world`.",
    );
    let three = identity(3);
    let b = the_batch(&one);
    let body =
        batch_body(&first_of(&b), 2, &content(&[(0, "topic", b"hello"), (0, "topic", b"world")]));
    assert_eq!(b.published_at().0, PUBLISHED_AT);
    assert_eq!(one.sign(&digest(BATCH, &body)), *b.signature());
    page.block(&[
        ("adjacency", adjacency(&one, two.id(), 3).to_bytes()),
        ("death report", report(&two, &one, 3).to_bytes()),
        ("appointment", appointment(&eleven, three.id(), one.id(), 3).to_bytes()),
        ("testimony", testimony(&three, &eleven, one.id(), 3).to_bytes()),
        ("vote", vote(&eleven, one.id(), 3, vec![two.id(), three.id()]).to_bytes()),
        ("census body", census(&one, 3, 4, 6).to_bytes()),
        ("body of the batch", body),
        ("batch", b.wire().to_vec()),
    ]);
    page.text(
        "\nPeer 1's numbers 7 and 8 with the payloads `hello` and `world`, a batch each, under one \
         signature:",
    );
    let bodies = [(7, b"hello"), (8, b"world")].map(|(sequence, payload)| {
        let id = MessageId { sequence, ..first_of(&b) };
        batch_body(&id, 1, &content(&[(0, "topic", payload)]))
    });
    let leaves = bodies.each_ref().map(|body| digest(BATCH, body));
    let root = digest(BATCH_GROUP, &leaves.concat());
    let [left, right] = group(&one, bodies.each_ref().map(Vec::as_slice));
    assert!(left.signature_is_valid() && right.signature_is_valid());
    page.block(&[
        ("hash of the first", leaves[0].to_vec()),
        ("hash of the second", leaves[1].to_vec()),
        ("what is signed", root.to_vec()),
        ("the first batch", left.wire().to_vec()),
        ("the second batch", right.wire().to_vec()),
    ]);
    page.text(
        "\nPeer 1's first message in epoch 4, payload `first`; its stream follows the one of epoch 3, \
         which ends before number 9:",
    );
    page.block(&[("batch", message_after(&one, 4, (3, 9)).wire().to_vec())]);
    page.text("\nA certificate of seeds 11 and 12 (not signed itself):");
    let c = certificate(&[eleven, twelve], one.id(), 3, &[two.id(), three.id()]);
    page.block(&[("certificate", cbor(&c))]);
}

/// The messages 5 and 6 of peer 1.
fn the_batch(one: &Identity) -> rumormill_proto::Batch {
    batch(one, 3, 5, &[b"hello", b"world"])
}

fn link_frames(page: &mut Page) {
    page.title("Frames");
    page.text("With their length prefix. Nonces of 16 bytes are 16 times 5.");
    page.open();
    let v6 = Address(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 7000).into());
    page.frame(
        "version 1, a seed, sees the other at [2001:db8::1]:7000, no proof, process 1000",
        Hello {
            version: 1,
            role: Role::Seed,
            observed: Some(v6),
            network_proof: None,
            process: 1000,
        },
    );
    page.frame(
        "version 1, a peer, 127.0.0.1:9000, proof of 32 times 7, process 1000",
        Hello {
            version: 1,
            role: Role::Peer,
            observed: Some(address(9000)),
            network_proof: Some(ByteArray::from([7; 32])),
            process: 1000,
        },
    );
    page.frame("the link was idle", Close { reason: CloseReason::Idle });
    page.frame("nonce 1000", Ping { nonce: 1000 });
    page.frame("nonce 1000", Pong { nonce: 1000 });
    page.frame("after 16 384 bytes", Position { bytes: 16_384 });
    page.frame("all of them", PositionRead { bytes: 16_384 });
}

fn registration_frames(page: &mut Page) {
    let [one, two, three, eleven, twelve] = ids();
    let r = signed_record(&one, 3, 4);
    let nonce = ByteArray::from([5; 16]);
    let c = || certificate(&[identity(11), identity(12)], one.id(), 3, &[two.id(), three.id()]);
    page.frame("peer 1", Register { record: r.clone() });
    let name =
        |host_port: &str, i: &Identity| SeedName { host_port: host_port.to_owned(), id: i.id() };
    page.frame(
        "incarnation 3, sequence 4, 20 alive, seeds 11 (a:7000) and 12 (b:7000), synced",
        Registered {
            incarnation: 3,
            sequence: 4,
            alive: 20,
            participating: 18,
            nonce,
            seeds: vec![name("a:7000", &eleven), name("b:7000", &twelve)],
            synced: true,
        },
    );
    page.frame(
        "declared dead in incarnation 3, sequence 4",
        RegisterRefused {
            reason: RefuseReason::DeclaredDead,
            record: Some(signed_record(&one, 3, 4)),
            certificate: Some(c()),
            nonce,
        },
    );
    page.frame("", Frame::GetPeerList);
    page.frame(
        "peer 1, 20 alive, synced, the last part",
        PeerList { records: vec![r], alive: 20, participating: 18, synced: true, last: true },
    );
    page.frame(
        "peer 2 joined, nobody left, peer 1 died, 19 alive",
        MembersChanged {
            joined: vec![signed_record(&two, 1, 0)],
            left: Vec::new(),
            dead: vec![c()],
            alive: 19,
            participating: 19,
        },
    );
    let mut goodbye = record(&one, 3, 5);
    goodbye.presence = rumormill_proto::Presence::Left;
    let record = rumormill_proto::signed::Signed::sign(goodbye, &one);
    page.frame("peer 1, sequence 5", Leave { record });
}

fn overlay_frames(page: &mut Page) {
    let [one, two, three, ..] = ids();
    let r = signed_record(&one, 3, 4);
    let request = |want| PeerRequest {
        record: r.clone(),
        want,
        neighbours: vec![three.id()],
        adjacency: adjacency(&one, two.id(), 3),
    };
    page.frame("peer 1 asks peer 2 for a place", request(PeerRequestKind::Place));
    page.frame("for the place of peer 3", request(PeerRequestKind::Replace(three.id())));
    page.frame(
        "for an exchange, giving peer 3",
        request(PeerRequestKind::Mix { give: three.id() }),
    );
    page.frame(
        "to give up peer 3, both being over",
        request(PeerRequestKind::Shed { give: three.id() }),
    );
    let two_says = signed_record(&two, 1, 0);
    page.frame(
        "yes, and peer 3 goes over",
        PeerReply::Accept(Accept {
            record: two_says.clone(),
            adjacency: adjacency(&two, one.id(), 1),
            then: Some(signed_record(&three, 1, 0)),
        }),
    );
    page.frame(
        "no, it is full",
        PeerReply::Reject(Reject { reason: RefuseReason::Full, record: two_says, take: None }),
    );
    page.frame("peer 3 may", Permit { peer: three.id() });
    page.frame(
        "link with peer 3 in the place of peer 2",
        Rewire { to: signed_record(&three, 1, 0), in_place_of: two.id() },
    );
    page.frame(
        "peer 2 at 127.0.0.1:7002, degree 1, target 3",
        Neighbourhood { neighbours: vec![(two.id(), address(7002))].into(), degree: 1, target: 3 },
    );
}

fn message_frames(page: &mut Page) {
    let [one, two, three, ..] = ids();
    let b = the_batch(&one);
    let id = first_of(&b);
    let gossip = |hops, explores, receipt, pulled| {
        let (age_ms, batch) = (if pulled { 1500 } else { 0 }, b.clone());
        Gossip { hops, explores, receipt, pulled, age_ms, batch }
    };
    page.frame("the batch above, over its second link", gossip(2, false, false, false));
    page.frame("over all links, a receipt is waited for", gossip(1, true, true, false));
    page.frame("for an answer to a pull, 1.5 s old", gossip(3, false, false, true));
    page.frame("the first message of the batch above", GetData { id });
    page.frame("here it is", Data { id, batch: Some(b.clone()), age_ms: Some(5) });
    page.frame("not here", Data { id, batch: None, age_ms: None });
    let gaps = vec![(1, 2), (4, 7)];
    let publisher = one.id();
    let e = SummaryEntry { publisher, epoch: 3, next: 9, gaps, floor: 0 };
    let these = |of: &[&Identity]| of.iter().map(|i| ack_token(&i.id())).collect();
    page.frame(
        "the batches of peers 1 and 2, with what was received of peer 1: all below 9 but 1 and 4 to 6",
        Graft { publishers: these(&[&one, &two]), have: vec![e.clone()] },
    );
    page.frame(
        "the batches of peer 3, nothing was missed",
        Graft { publishers: these(&[&three]), have: Vec::new() },
    );
    page.frame("the batches of peer 1", Prune { publishers: these(&[&one]) });
    let range = Range { publisher, epoch: 3, from: 4, to: 7 };
    page.frame("numbers 4 to 6 of peer 1", Announce { ranges: vec![range] });
    let sum = ack_token(&two.id()).wrapping_add(ack_token(&three.id()));
    page.frame(
        "peers 2 and 3 hold all of peer 1 below 7, the one of them that keeps up all below 9",
        Ack {
            entries: vec![AckEntry {
                publisher,
                epoch: 3,
                paced: 9,
                left: 1,
                patient: 7,
                held: 7,
                peers: 2,
                sum,
                holders: None,
            }],
            congested: false,
        },
    );
    let alone = AckEntry {
        publisher,
        epoch: 3,
        paced: 9,
        left: 0,
        patient: 9,
        held: 9,
        peers: 1,
        sum: ack_token(&two.id()),
        holders: None,
    };
    page.frame(
        "peer 2, which nobody is behind, holds all of peer 1 below 9, and a queue fills",
        Ack { entries: vec![alone], congested: true },
    );
    let holder = |of: &Identity, held| Holder { token: ack_token(&of.id()), held };
    page.frame(
        "peer 2 holds all of peer 1 below 9, peer 3 all below 7, and these are their names",
        Ack {
            entries: vec![AckEntry {
                publisher,
                epoch: 3,
                paced: 7,
                left: 0,
                patient: 7,
                held: 7,
                peers: 2,
                sum,
                holders: Some(vec![holder(&two, 9), holder(&three, 7)]),
            }],
            congested: false,
        },
    );
    page.frame("the one above", Census { body: census(&one, 3, 4, 6) });
    page.frame("hash 258 only", Summary { hash: 258, entries: None });
    page.frame(
        "hash 258, peer 1: all below 9 but 1 and 4 to 6",
        Summary { hash: 258, entries: Some(vec![e]) },
    );
    let e = SummaryEntry { publisher, epoch: 3, next: 9, gaps: vec![(4, 7)], floor: 3 };
    page.frame(
        "the same, and nothing below 3 can be had",
        Summary { hash: 258, entries: Some(vec![e]) },
    );
    page.frame("numbers 4 to 6 of peer 1", Pull { ranges: vec![range], nonce: 1 });
    page.frame("it was 2 batches", Pulled { batches: 2, refused: false, nonce: 1 });
    page.frame("refused", Pulled { batches: 0, refused: true, nonce: 1 });
    page.frame("numbers 4 to 6 of peer 1", Confirm { streams: vec![range] });
    let mark = StreamMark { publisher, epoch: 3, next: 6 };
    page.frame("of these all below 6", Confirmed { streams: vec![mark], leaving: false });
}

fn death_frames(page: &mut Page) {
    let [one, two, three, eleven, _] = ids();
    page.frame("peer 1 in incarnation 3", ProbeRequest { subject: one.id(), incarnation: 3 });
    page.frame("peer 1 is silent", ProbeReply { subject: one.id(), verdict: Verdict::Silent });
    page.frame("the report above", Report { report: report(&two, &one, 3) });
    page.frame("incarnation 3, no certificate", Accused { incarnation: 3, certificate: None });
    page.frame(
        "the appointment above",
        Appoint {
            appointment: appointment(&eleven, three.id(), one.id(), 3),
            record: signed_record(&one, 3, 4),
        },
    );
    page.frame(
        "the testimony above",
        Testify { testimony: testimony(&three, &eleven, one.id(), 3) },
    );
    page.frame(
        "the report, the vote and the testimony above; an earlier vote on peer 2 withdrawn; peer 3 lost",
        Votes {
            reports: vec![report(&two, &one, 3)],
            vote: Some(vote(&eleven, one.id(), 3, vec![two.id(), three.id()])),
            testimonies: vec![testimony(&three, &eleven, one.id(), 3)],
            withdrawn: Some(two.id()),
            lost: Some(LostPeer { subject: three.id(), incarnation: 5 }),
        },
    );
    page.frame(
        "peer 1, alive; wants bucket 138; ends a comparison; synced",
        Entries {
            entries: vec![Entry::new(signed_record(&one, 3, 4))],
            want: vec![138],
            nonce: ByteArray::from([5; 16]),
            compared: true,
            synced: true,
        },
    );
}

/// Hashes that all implementations must agree on.
fn hashes(page: &mut Page) {
    let [one, two, three, ..] = ids();
    page.title("Hashes");
    page.text("The network proof of section 3.2, for a key of 32 times 1 and an exporter value of 32 times 9:");
    let proof = |side: &[u8]| {
        let mut h = blake3::Hasher::new_keyed(&[1; 32]);
        h.update(&[9; 32]).update(side);
        h.finalize().as_bytes().to_vec()
    };
    page.block(&[("of the dialer", proof(b"dialer")), ("of the listener", proof(b"listener"))]);

    page.text("\nRanks and targets of section 6.5, with a nonce of 16 times 5:");
    page.0.push_str("```text\n");
    for (n, i) in [(1, &one), (2, &two), (3, &three)] {
        let at = rank(&i.id(), &[5; 16]);
        let targets: Vec<String> = [2, 20, 200, 10_000]
            .map(|size| format!("{} of {size}", target_degree(at, size, None)))
            .into();
        let _ = writeln!(page.0, "peer {n}: rank {at:.12}, target {}", targets.join(", "));
    }
    page.0.push_str("```\n");

    let entry = Entry::new(signed_record(&one, 3, 4));
    page.text(&format!(
        "\nThe bucket of section 9.2 that peer 1 is in, and its hash if it is alone there with the \
         record above: bucket {}, hash {:#018x}.",
        one.id().as_bytes()[0],
        entry.fingerprint()
    ));
    page.text(&format!(
        "The hash of section 7.7 of who has of peer 1, epoch 3, the numbers 0 and 2: {:#018x}.",
        summary_hash()
    ));
    let order = |id: &Identity| {
        let mut h = blake3::Hasher::new();
        h.update(b"rumor/1 heal\0").update(one.id().as_bytes()).update(id.id().as_bytes());
        h.finalize().as_bytes().to_vec()
    };
    page.text("The keys of section 6.4 that order peers 2 and 3 after the death of peer 1:");
    page.block(&[("of peer 2", order(&two)), ("of peer 3", order(&three))]);
}

/// What a peer says of its message list, held against the formula in the page.
fn summary_hash() -> u64 {
    let one = identity(1);
    let setup = PeerSetup {
        config: Config::lan().build().unwrap().into(),
        identity: identity(20),
        name: Name::new("twenty").unwrap(),
        addresses: vec![address(7020)],
        seeds: [].into(),
        incarnation: 1,
        anchors: Vec::new(),
        kept: [0, 2].map(|n| message(&one, 3, n, b"x")).into(),
        delivered: Vec::new(),
        compacted: vec![],
        rng_seed: [0; 32],
    };
    let mut peer = Peer::new(setup, Time::ZERO);
    let asker = identity(2);
    let info = LinkInfo {
        remote: asker.id(),
        role: Role::Peer,
        dial: None,
        remote_address: address(7002).0,
        observed: None,
        local_address: None,
        same_process: false,
    };
    peer.handle(Time::ZERO, Input::LinkUp { link: LinkId(1), info });
    let request = PeerRequest {
        record: signed_record(&asker, 1, 0),
        want: PeerRequestKind::Overflow,
        neighbours: Vec::new(),
        adjacency: adjacency(&asker, peer.id(), 1),
    };
    let frame = Verifier::new().verify(request.into()).unwrap();
    peer.handle(Time::ZERO, Input::Frame { link: LinkId(1), frame });
    let mut told = None;
    while let Some(output) = peer.poll_output() {
        if let Output::Send { frame: Frame::Summary(f), .. } = output {
            told = Some(f.hash);
        }
    }
    let mut h = blake3::Hasher::new();
    h.update(one.id().as_bytes());
    for n in [3u64, 3, 1, 2] {
        h.update(&n.to_le_bytes());
    }
    let by_formula = u64::from_le_bytes(h.finalize().as_bytes()[..8].try_into().unwrap());
    assert_eq!(told, Some(by_formula));
    by_formula
}

fn vectors() -> String {
    let mut page = Page::default();
    signed(&mut page);
    link_frames(&mut page);
    registration_frames(&mut page);
    overlay_frames(&mut page);
    message_frames(&mut page);
    death_frames(&mut page);
    hashes(&mut page);
    page.0
}

#[test]
fn the_page_has_these_vectors() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/PROTOCOL.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the mark that begins the vectors");
    let (found, after) = rest.split_once(END).expect("the mark that ends the vectors");
    let expected = format!("\n{}\n", vectors());
    if std::env::var_os("RUMORMILL_WRITE").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    assert!(
        found == expected,
        "docs/PROTOCOL.md does not have the vectors of this implementation; the top of \
         vectors.rs says how to write them"
    );
}
