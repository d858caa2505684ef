//! Signed statements built from bytes, as another implementation would build them.

use std::sync::OnceLock;

use bytes::Bytes;
use minicbor::{Encode, Encoder};
use rumormill_proto::failure::{Adjacency, Appointment, Certificate, DeathReport, Testimony, Vote};
use rumormill_proto::record::{Presence, Record};
use rumormill_proto::signed::{Signed, Statement};
use rumormill_proto::wire::{CensusBody, Encoded};
use rumormill_proto::{Address, Batch, Identity, MessageId, Name, PeerId, SignedRecord, StreamId};

/// The identity whose secret is 32 times the byte `n`. Each is computed once, because a fuzzer
/// needs them often.
pub fn identity(n: u8) -> Identity {
    static ALL: [OnceLock<Identity>; 256] = [const { OnceLock::new() }; 256];
    ALL[usize::from(n)].get_or_init(|| Identity::from_secret(&[n; 32])).clone()
}

/// An address on the loopback interface.
pub fn address(port: u16) -> Address {
    Address(([127, 0, 0, 1], port).into())
}

/// A statement over bytes that this version need not be able to encode.
pub fn sign_bytes<T: Statement>(body: &[u8], signer: &Identity) -> Vec<u8> {
    sign_as(T::DOMAIN, body, signer)
}

/// The hash of a body, which is signed.
pub fn digest(domain: &str, body: &[u8]) -> [u8; 32] {
    blake3::derive_key(domain, body)
}

/// Signs the body in any domain.
pub fn sign_as(domain: &str, body: &[u8], signer: &Identity) -> Vec<u8> {
    let signature = signer.sign(&digest(domain, body));
    let mut e = Encoder::new(Vec::new());
    e.array(2).unwrap().bytes(body).unwrap().bytes(signature.as_bytes()).unwrap();
    e.into_writer()
}

/// The encoding of one value.
pub fn cbor(value: &impl Encode<()>) -> Vec<u8> {
    minicbor::to_vec(value).unwrap()
}

/// The time at which all messages here were published, by the publisher's clock.
pub const PUBLISHED_AT: u64 = 1_700_000_000_000_000;

/// The domain of batches.
pub const BATCH: &str = "rumor/1 batch";

/// The domain of inner nodes over batches that are signed together.
pub const BATCH_GROUP: &str = "rumor/1 batch group";

/// The encoded messages of a batch: microseconds after its time, topic and payload of each.
pub fn content(messages: &[(u64, &str, &[u8])]) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    for (after, topic, payload) in messages {
        e.array(3).unwrap().u64(*after).unwrap();
        e.str(topic).unwrap().bytes(payload).unwrap();
    }
    e.into_writer()
}

/// The encoded body of a batch that begins with the message `first` and claims `count` messages.
pub fn batch_body(first: &MessageId, count: u32, content: &[u8]) -> Vec<u8> {
    body_after(first, None, count, content)
}

/// The encoded body of a batch that also names the stream before its own, by its epoch and the
/// number after its last message.
pub fn body_after(
    first: &MessageId,
    previous: Option<(u64, u64)>,
    count: u32,
    content: &[u8],
) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    e.array(2).unwrap().map(5 + u64::from(previous.is_some())).unwrap();
    e.u8(0).unwrap().encode(first.publisher).unwrap();
    e.u8(1).unwrap().u64(first.epoch).unwrap();
    e.u8(2).unwrap().u64(first.sequence).unwrap();
    e.u8(3).unwrap().u32(count).unwrap();
    e.u8(4).unwrap().u64(PUBLISHED_AT).unwrap();
    if let Some((epoch, next)) = previous {
        e.u8(5).unwrap().map(2).unwrap().u8(0).unwrap().u64(epoch).unwrap();
        e.u8(1).unwrap().u64(next).unwrap();
    }
    e.bytes(content).unwrap();
    e.into_writer()
}

/// A signed batch. It must be within the limits.
pub fn batch(publisher: &Identity, epoch: u64, first: u64, payloads: &[&[u8]]) -> Batch {
    let id = MessageId { publisher: publisher.id(), epoch, sequence: first };
    let messages: Vec<_> = payloads.iter().map(|p| (0, "topic", *p)).collect();
    let body = batch_body(&id, u32::try_from(payloads.len()).unwrap(), &content(&messages));
    Batch::from_wire(sign_as(BATCH, &body, publisher).into()).unwrap()
}

/// The first message of a stream, which names the stream before it.
pub fn message_after(publisher: &Identity, epoch: u64, previous: (u64, u64)) -> Batch {
    let id = MessageId { publisher: publisher.id(), epoch, sequence: 0 };
    let body = body_after(&id, Some(previous), 1, &content(&[(0, "topic", b"first")]));
    Batch::from_wire(sign_as(BATCH, &body, publisher).into()).unwrap()
}

/// Two batches under one signature.
pub fn group(publisher: &Identity, bodies: [&[u8]; 2]) -> [Batch; 2] {
    group_wire(publisher, bodies).map(|wire| Batch::from_wire(wire.into()).unwrap())
}

/// The wire form of each batch of a group of two: its body, the signature, and the side and the
/// hash of its sibling.
pub fn group_wire(publisher: &Identity, bodies: [&[u8]; 2]) -> [Vec<u8>; 2] {
    let leaves = bodies.map(|body| digest(BATCH, body));
    let signature = publisher.sign(&digest(BATCH_GROUP, &leaves.concat()));
    [0, 1].map(|at| {
        let mut e = Encoder::new(Vec::new());
        e.array(4).unwrap().bytes(bodies[at]).unwrap().bytes(signature.as_bytes()).unwrap();
        e.u8(u8::try_from(at).unwrap()).unwrap().bytes(&leaves[1 - at]).unwrap();
        e.into_writer()
    })
}

/// A batch of one message.
pub fn message(publisher: &Identity, epoch: u64, sequence: u64, payload: &[u8]) -> Batch {
    batch(publisher, epoch, sequence, &[payload])
}

/// The id of the first message of a batch.
pub fn first_of(batch: &Batch) -> MessageId {
    let StreamId { publisher, epoch } = batch.stream();
    MessageId { publisher, epoch, sequence: batch.first() }
}

/// A publisher's census.
pub fn census(publisher: &Identity, epoch: u64, round: u64, until: u64) -> Signed<CensusBody> {
    let id = publisher.id();
    let body = CensusBody { publisher: id, epoch, round, until, wants_names: false };
    Signed::sign(body, publisher)
}

/// A record of a live peer.
pub fn record(owner: &Identity, incarnation: u64, sequence: u64) -> Record {
    Record {
        id: owner.id(),
        name: Name::new("anna").unwrap(),
        addresses: vec![address(7001)],
        incarnation,
        sequence,
        presence: Presence::Alive,
        degree: 2,
        target: 3,
        process: 1,
        other_process: None,
        participates: false,
    }
}

/// A signed record of a live peer.
pub fn signed_record(owner: &Identity, incarnation: u64, sequence: u64) -> SignedRecord {
    Signed::sign(record(owner, incarnation, sequence), owner)
}

/// The statement of `subject` that `neighbour` is its neighbour.
pub fn adjacency(subject: &Identity, neighbour: PeerId, incarnation: u64) -> Signed<Adjacency> {
    Signed::sign(Adjacency { subject: subject.id(), neighbour, incarnation }, subject)
}

/// A death report of a neighbour, with the adjacency that the accused signed.
pub fn report(reporter: &Identity, subject: &Identity, incarnation: u64) -> Signed<DeathReport> {
    let report = DeathReport {
        reporter: reporter.id(),
        subject: subject.id(),
        incarnation,
        adjacency: adjacency(subject, reporter.id(), incarnation),
    };
    Signed::sign(report, reporter)
}

/// A seed's appointment of a witness for a subject.
pub fn appointment(
    seed: &Identity,
    witness: PeerId,
    subject: PeerId,
    incarnation: u64,
) -> Signed<Appointment> {
    Signed::sign(Appointment { seed: seed.id(), witness, subject, incarnation }, seed)
}

/// The testimony of an appointed witness.
pub fn testimony(
    witness: &Identity,
    seed: &Identity,
    subject: PeerId,
    incarnation: u64,
) -> Signed<Testimony> {
    let appointment = appointment(seed, witness.id(), subject, incarnation);
    Signed::sign(Testimony { witness: witness.id(), appointment }, witness)
}

/// A seed's vote.
pub fn vote(
    seed: &Identity,
    subject: PeerId,
    incarnation: u64,
    mut witnesses: Vec<PeerId>,
) -> Signed<Vote> {
    witnesses.sort_unstable();
    witnesses.dedup();
    Signed::sign(Vote { seed: seed.id(), subject, incarnation, witnesses }, seed)
}

/// A certificate with one vote of each seed.
pub fn certificate(
    seeds: &[Identity],
    subject: PeerId,
    incarnation: u64,
    witnesses: &[PeerId],
) -> Certificate {
    let mut votes: Vec<_> =
        seeds.iter().map(|s| vote(s, subject, incarnation, witnesses.to_vec())).collect();
    votes.sort_by_key(|v| v.seed);
    votes.dedup_by_key(|v| v.seed);
    Certificate::new(votes).unwrap()
}

/// A frame without its length prefix, built from the type's number and the encoded body.
pub fn frame_body(number: u16, body: &[u8]) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    e.array(2).unwrap().u16(number).unwrap();
    let mut v = e.into_writer();
    v.extend_from_slice(body);
    v
}

/// An encoded frame without its length prefix, which must be correct.
pub fn without_prefix(encoded: &Encoded) -> Bytes {
    let encoded = encoded.to_bytes();
    let prefix = *encoded.first_chunk::<4>().unwrap();
    assert_eq!(u32::from_be_bytes(prefix) as usize, encoded.len() - 4);
    encoded.slice(4..)
}
