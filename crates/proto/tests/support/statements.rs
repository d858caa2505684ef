//! Signed statements made by hand, as another implementation would make them.

use std::sync::OnceLock;

use bytes::Bytes;
use minicbor::{Encode, Encoder};
use rumormill_proto::death::{Adjacency, Appointment, Certificate, DeathReport, Testimony, Vote};
use rumormill_proto::message::MessageBody;
use rumormill_proto::record::{Presence, Record};
use rumormill_proto::signed::{Signed, Statement};
use rumormill_proto::{Address, Identity, Message, MessageId, Name, PeerId, SignedRecord};

/// The identity whose secret is 32 times the byte `n`. Each is computed once, because a fuzzer asks
/// for them all the time.
pub fn identity(n: u8) -> Identity {
    static ALL: [OnceLock<Identity>; 256] = [const { OnceLock::new() }; 256];
    ALL[usize::from(n)].get_or_init(|| Identity::from_secret(&[n; 32])).clone()
}

/// An address on the loopback interface.
pub fn address(port: u16) -> Address {
    Address(([127, 0, 0, 1], port).into())
}

/// A statement over bytes that need not be what this version would write.
pub fn sign_bytes<T: Statement>(body: &[u8], signer: &Identity) -> Vec<u8> {
    let mut input = T::DOMAIN.as_bytes().to_vec();
    input.push(0);
    input.extend_from_slice(body);
    let signature = signer.sign(&input);
    let mut e = Encoder::new(Vec::new());
    e.array(2).unwrap().bytes(body).unwrap().bytes(signature.as_bytes()).unwrap();
    e.into_writer()
}

/// The encoding of one value.
pub fn cbor(value: &impl Encode<()>) -> Vec<u8> {
    minicbor::to_vec(value).unwrap()
}

/// The encoded body of a message.
pub fn message_body(id: &MessageId, published_at: u64, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    e.map(4).unwrap();
    e.u8(0).unwrap().encode(id).unwrap();
    e.u8(1).unwrap().u64(published_at).unwrap();
    e.u8(2).unwrap().str(topic).unwrap();
    e.u8(3).unwrap().bytes(payload).unwrap();
    e.into_writer()
}

/// A message, signed. The name in `id` must be the publisher's; sizes must be within the limits.
pub fn message(publisher: &Identity, incarnation: u64, sequence: u64, payload: &[u8]) -> Message {
    let id = MessageId { publisher: publisher.id(), incarnation, sequence };
    let body = message_body(&id, 1_700_000_000_000_000, "topic", payload);
    Message::from_bytes(&sign_bytes::<MessageBody>(&body, publisher)).unwrap()
}

/// A plain record.
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
    }
}

/// A plain record, signed.
pub fn signed_record(owner: &Identity, incarnation: u64, sequence: u64) -> SignedRecord {
    Signed::sign(record(owner, incarnation, sequence), owner)
}

/// "`neighbour` is my neighbour."
pub fn adjacency(subject: &Identity, neighbour: PeerId, incarnation: u64) -> Signed<Adjacency> {
    Signed::sign(Adjacency { subject: subject.id(), neighbour, incarnation }, subject)
}

/// A report by a neighbour, with the word of the accused that it is one.
pub fn report(reporter: &Identity, subject: &Identity, incarnation: u64) -> Signed<DeathReport> {
    let report = DeathReport {
        reporter: reporter.id(),
        subject: subject.id(),
        incarnation,
        adjacency: adjacency(subject, reporter.id(), incarnation),
    };
    Signed::sign(report, reporter)
}

/// A seed's word that it asked a witness to look after somebody.
pub fn appointment(
    seed: &Identity,
    witness: PeerId,
    subject: PeerId,
    incarnation: u64,
) -> Signed<Appointment> {
    Signed::sign(Appointment { seed: seed.id(), witness, subject, incarnation }, seed)
}

/// What an appointed witness found.
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

/// Votes put together; each seed votes once.
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

/// A frame's body (what follows the length prefix) made by hand: the number, and the body as it is.
pub fn frame_body(number: u16, body: &[u8]) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    e.array(2).unwrap().u16(number).unwrap();
    let mut v = e.into_writer();
    v.extend_from_slice(body);
    v
}

/// What follows the length prefix of an encoded frame, after the prefix was held against it.
pub fn without_prefix(encoded: &Bytes) -> Bytes {
    let prefix = *encoded.first_chunk::<4>().unwrap();
    assert_eq!(u32::from_be_bytes(prefix) as usize, encoded.len() - 4);
    encoded.slice(4..)
}
