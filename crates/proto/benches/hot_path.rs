//! The cost of a batch in one peer, step by step.
//!
//! `cargo bench -p rumormill-proto` runs all benchmarks; a name selects one.

// A benchmark may panic where a program must not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use core::hint::black_box;
use core::net::SocketAddr;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rumormill_proto::failure::Adjacency;
use rumormill_proto::limits::VERIFIED_CACHE;
use rumormill_proto::signed::Signed;
use rumormill_proto::wire::{
    self, Frame, Gossip, Graft, PeerReply, PeerRequest, PeerRequestKind, Verifier, ack_token,
    trust_without_checking,
};
use rumormill_proto::{
    Address, Batch, Config, Identity, Input, LinkId, LinkInfo, Output, Peer, PeerSetup, Presence,
    Record, Role, SignedRecord, Time, WallTime,
};

const NOW: Time = Time::from_micros(1_000_000);

fn identity(n: u8) -> Identity {
    Identity::from_secret(&[n; 32])
}

fn address() -> SocketAddr {
    "127.0.0.1:7000".parse().unwrap()
}

fn peer(n: u8) -> Peer {
    let setup = PeerSetup {
        config: Config::lan().retention_bytes(4 << 20).build().unwrap().into(),
        identity: identity(n),
        name: format!("peer-{n}").parse().unwrap(),
        addresses: vec![Address(address())],
        seeds: [].into(),
        incarnation: 1,
        // The peers are anchors, so that the target degree has a slot for each.
        anchors: (2..6).map(record).collect(),
        retained: Vec::new(),
        delivered_marks: Vec::new(),
        closed_up_to: vec![],
        rng_seed: [n; 32],
    };
    let mut peer = Peer::new(setup, NOW);
    peer.handle(NOW, Input::WallClock(WallTime(1_700_000_000_000_000)));
    drain(&mut peer);
    peer
}

fn record(number: u8) -> SignedRecord {
    let me = identity(number);
    let record = Record {
        id: me.id(),
        name: format!("peer-{number}").parse().unwrap(),
        addresses: vec![Address(address())],
        incarnation: 1,
        sequence: 1,
        presence: Presence::Alive,
        degree: 0,
        target: 3,
        process: 1,
        other_process: None,
        participates: false,
    };
    Signed::sign(record, &me)
}

fn drain(peer: &mut Peer) -> Vec<Output> {
    std::iter::from_fn(|| peer.poll_output()).collect()
}

/// Makes the peer `number` a neighbour of `peer` on the given link.
fn add_neighbour(peer: &mut Peer, number: u8, link: u64) {
    let (me, link) = (identity(number), LinkId(link));
    let info = LinkInfo {
        remote: me.id(),
        role: Role::Peer,
        dial: None,
        remote_address: address(),
        observed: None,
        local_address: None,
        same_process: false,
    };
    peer.handle(NOW, Input::LinkUp { link, info });
    let adjacency = Adjacency { subject: me.id(), neighbour: peer.id(), incarnation: 1 };
    let request = PeerRequest {
        record: record(number),
        kind: PeerRequestKind::Overflow,
        neighbours: Vec::new(),
        adjacency: Signed::sign(adjacency, &me),
    };
    feed(peer, link, request);
    let answer = drain(peer).into_iter().find_map(|o| match o {
        Output::Send { frame: Frame::PeerReply(r), .. } => Some(*r),
        _ => None,
    });
    assert!(matches!(answer, Some(PeerReply::Accept(_))), "{answer:?}");
}

fn feed(peer: &mut Peer, link: LinkId, frame: impl Into<Frame>) {
    let frame = trust_without_checking(frame.into());
    peer.handle(NOW, Input::Frame { link, frame });
}

/// A peer on the tree of peer 2, which is its parent; two other neighbours have grafted.
fn peer_on_a_tree(first: &Batch) -> Peer {
    let mut peer = peer(1);
    for n in 2..5 {
        add_neighbour(&mut peer, n, u64::from(n));
    }
    feed(&mut peer, LinkId(2), gossip(first.clone()));
    for link in [3, 4] {
        let publishers = vec![ack_token(&identity(2).id())];
        feed(&mut peer, LinkId(link), Graft { publishers, have: Vec::new() });
    }
    drain(&mut peer);
    peer
}

/// Batches of one publisher, as its peer packs and signs them.
fn batches(messages: usize, payload: usize, count: usize) -> Vec<Batch> {
    let mut publisher = peer(2);
    let body = vec![7; payload];
    let mut all = Vec::new();
    for _ in 0..count {
        for _ in 0..messages {
            publisher.publish(NOW, "t", &body).unwrap();
        }
        all.extend(drain(&mut publisher).into_iter().filter_map(|o| match o {
            Output::Deliver(d) => Some(d.batch),
            _ => None,
        }));
    }
    all
}

fn gossip(batch: Batch) -> Gossip {
    Gossip { hops: 1, explores: false, receipt: false, pulled: false, age_ms: 0, batch }
}

/// Bodies of frames, as a link receives them.
fn frames(batches: &[Batch]) -> Vec<Bytes> {
    let whole = batches.iter().map(|b| wire::encode(&gossip(b.clone()).into()).to_bytes());
    whole.map(|b| b.slice(4..)).collect()
}

const SIZES: [(&str, usize, usize); 3] =
    [("one of 256 B", 1, 256), ("200 of 256 B", 200, 256), ("one of 64 KiB", 1, 64 * 1024)];

fn steps(c: &mut Criterion) {
    for (name, messages, payload) in SIZES {
        let batches = batches(messages, payload, 1);
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(messages as u64));
        let body = vec![7; payload];
        group.bench_function("pack and sign", |b| {
            b.iter_batched_ref(
                || peer(2),
                |p| {
                    for _ in 0..messages {
                        p.publish(NOW, "t", &body).unwrap();
                    }
                    drain(p)
                },
                BatchSize::SmallInput,
            );
        });
        let bodies = frames(&batches);
        group.bench_function("decode", |b| {
            b.iter(|| wire::decode_shared(black_box(&bodies[0])).unwrap());
        });
        let frame = wire::decode_shared(&bodies[0]).unwrap();
        group.bench_function("verify", |b| {
            b.iter_batched(
                || frame.clone(),
                |f| match f {
                    Frame::Gossip(g) => black_box(g.batch.signature_is_valid()),
                    _ => unreachable!(),
                },
                BatchSize::SmallInput,
            );
        });
        group.bench_function("read every message", |b| {
            b.iter(|| batches[0].messages().map(|m| m.payload().len()).sum::<usize>());
        });
        group.bench_function("encode to forward", |b| {
            b.iter(|| wire::encode(black_box(&frame)));
        });
        group.finish();
    }
}

/// Checks of new statements of one signer: before its key has a table, the check that makes the
/// table, and with it.
fn signer(c: &mut Criterion) {
    // More than a verifier remembers, so that each check in turn is a new one.
    let count = u16::try_from(VERIFIED_CACHE + 100).unwrap();
    let records: Vec<SignedRecord> = (0..count)
        .map(|incarnation| {
            let record = Record { incarnation: incarnation.into(), ..record(2).body().clone() };
            Signed::sign(record, &identity(2))
        })
        .collect();
    let after = |checks: usize| {
        let verifier = Verifier::new();
        records.iter().take(checks).for_each(|r| verifier.signed(r).unwrap());
        verifier
    };
    let mut group = c.benchmark_group("check of a record");
    for (name, checks) in [("without a table", 1), ("makes a table", 63)] {
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                || after(checks),
                |verifier| verifier.signed(&records[checks]).unwrap(),
                BatchSize::SmallInput,
            );
        });
    }
    let verifier = after(count.into());
    let mut each = records.iter().cycle();
    group.bench_function("with a table", |b| {
        b.iter(|| verifier.signed(each.next().unwrap()).unwrap());
    });
    group.finish();
}

fn core(c: &mut Criterion) {
    let mut group = c.benchmark_group("core");
    let mut many = batches(1, 16, 2001);
    let first = many.remove(0);
    group.throughput(Throughput::Elements(many.len() as u64));
    group.bench_function("take in, forward to two, deliver", |b| {
        b.iter_batched(
            || (peer_on_a_tree(&first), many.clone()),
            |(mut p, many)| {
                for batch in many {
                    feed(&mut p, LinkId(2), gossip(batch));
                    drain(&mut p);
                }
                p
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("repeat", |b| {
        let mut p = peer_on_a_tree(&first);
        for batch in &many {
            feed(&mut p, LinkId(2), gossip(batch.clone()));
        }
        drain(&mut p);
        b.iter(|| {
            for batch in &many {
                feed(&mut p, LinkId(2), gossip(batch.clone()));
                drain(&mut p);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, steps, signer, core);
criterion_main!(benches);
