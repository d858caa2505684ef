//! One or more consecutive messages of one publisher, signed once: the unit on the wire.
//!
//! The cost of a frame and a system call is paid per batch, and that of a signature per group of
//! queued batches, so it falls as load grows; a message that is published alone is a batch of one
//! and is sent at once. All nodes forward, retain and deliver the bytes that the publisher signed:
//! a batch and its messages are handles on them, and nothing is copied or encoded again.

mod builder;
mod layout;
mod proof;

use core::fmt;
use core::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

pub(crate) use self::builder::{BatchBuilder, seal_group};
use self::proof::Proof;
use crate::identity::{PeerId, Signature};
use crate::limits::{MAX_BATCH, MAX_BATCH_MESSAGES, MAX_PAYLOAD, MAX_TOPIC};
use crate::message::{Message, StreamId};
use crate::signed::digest;
use crate::time::WallTime;

/// Separates a batch's signature from those of other statements.
const BATCH_DOMAIN: &str = "rumor/1 batch";

/// Bytes of a message in a batch beside its topic and payload, at most.
const MESSAGE_OVERHEAD: usize = 20;

/// The leaf of a batch in the hash tree of batches that are signed together.
fn leaf(body: &[u8]) -> proof::Hash {
    digest(BATCH_DOMAIN, body)
}

/// A batch with its publisher's signature. A clone is another handle on the same bytes.
///
/// A value of this type does not prove its signature; only a [`Verified`](crate::wire::Verified)
/// frame does.
#[derive(Clone)]
pub struct Batch(Arc<Inner>);

struct Inner {
    head: Head,
    /// Body, signature and proof, in their wire form.
    wire: Bytes,
    content: Content,
    signature: Signature,
    /// `None` for a batch that was signed alone.
    proof: Option<Box<Proof>>,
}

/// Positions in the wire form.
struct Content {
    /// The body.
    body: Range<usize>,
    /// The messages in it.
    at: Range<usize>,
}

/// The signed part without the messages.
#[derive(Clone, Copy, Encode, Decode)]
#[cbor(map)]
struct Head {
    #[n(0)]
    publisher: PeerId,
    #[n(1)]
    epoch: u64,
    #[n(2)]
    first: u64,
    #[n(3)]
    count: u32,
    #[n(4)]
    published_at: u64,
    /// Only in the first batch of a stream.
    #[n(5)]
    previous: Option<PreviousStream>,
}

/// The stream before a publisher's present one, as far as the publisher durably knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PreviousStream {
    /// Its epoch: lower than that of the stream that follows.
    #[n(0)]
    pub epoch: u64,
    /// The number after its last message.
    #[n(1)]
    pub next: u64,
}

impl Batch {
    /// The publisher.
    #[must_use]
    pub fn publisher(&self) -> PeerId {
        self.0.head.publisher
    }

    /// The epoch of its stream.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.0.head.epoch
    }

    /// The stream of the batch.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        StreamId { publisher: self.0.head.publisher, epoch: self.0.head.epoch }
    }

    /// Number of its first message.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.0.head.first
    }

    /// The number after its last message.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.0.head.first + u64::from(self.0.head.count)
    }

    /// Number of messages; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.0.head.count as usize
    }

    /// The stream of the same publisher before this one; only the first batch of a stream names it.
    #[must_use]
    pub fn previous(&self) -> Option<PreviousStream> {
        self.0.head.previous
    }

    /// When the first message was published, by the publisher's clock. Displayed, never trusted.
    #[must_use]
    pub fn published_at(&self) -> WallTime {
        WallTime(self.0.head.published_at)
    }

    /// Body and signature (and the proof between them, where several batches share one signature)
    /// as they are sent and stored.
    #[must_use]
    pub fn wire(&self) -> &Bytes {
        &self.0.wire
    }

    /// Bytes it takes in memory, for the retention limits.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.wire.len() + 256
    }

    /// Its messages, in order.
    #[must_use]
    pub fn messages(&self) -> Messages {
        self.messages_in(self.0.head.first, self.end())
    }

    /// Its messages with numbers of at least `from` and below `to`, in order.
    #[must_use]
    pub fn messages_in(&self, from: u64, to: u64) -> Messages {
        let (at, next) = (self.0.content.at.start, self.0.head.first);
        let mut all = Messages { batch: self.clone(), at, next, end: to.min(self.end()) };
        all.skip_to(from);
        all
    }

    /// The message with this number, if the batch has it.
    #[must_use]
    pub fn message(&self, sequence: u64) -> Option<Message> {
        self.messages_in(sequence, sequence.saturating_add(1)).next()
    }

    /// The hash that is signed: of the body, or of a group of batches with this one. It takes a
    /// pass over the whole batch.
    #[must_use]
    pub(crate) fn digest(&self) -> [u8; 32] {
        let body = self.0.wire.get(self.0.content.body.clone()).unwrap_or_default();
        let leaf = leaf(body);
        self.0.proof.as_ref().map_or(leaf, |proof| proof.root(leaf))
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.0.signature
    }

    /// Whether the publisher signed these bytes.
    #[must_use]
    pub fn signature_is_valid(&self) -> bool {
        self.0.signature.verify(&self.0.head.publisher, &self.digest())
    }

    /// The bytes at a position that [`Messages`] found, as a handle on the batch's memory.
    pub(crate) fn slice(&self, range: Range<usize>) -> Bytes {
        self.0.wire.slice(range)
    }

    /// The messages in their wire form, one after the other.
    pub(crate) fn content(&self) -> &[u8] {
        self.0.wire.get(self.0.content.at.clone()).unwrap_or_default()
    }

    /// The bytes at a position that [`Messages`] found.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.0.wire.get(range).unwrap_or_default()
    }

    /// Parses the wire form, sharing its memory, without checking the signature.
    ///
    /// # Errors
    /// The bytes are not one batch.
    pub fn from_wire(wire: Bytes) -> Result<Self, decode::Error> {
        let mut d = Decoder::new(&wire);
        let parts = d.array()?;
        if !matches!(parts, Some(2 | 4)) {
            return Err(decode::Error::message("a batch is an array of two or four"));
        }
        let body = d.bytes()?;
        let body = offset(&wire, body);
        let signature: Signature = d.decode()?;
        let proof = if parts == Some(4) { Proof::decode(&mut d)? } else { Proof::default() };
        if d.position() != wire.len() {
            return Err(decode::Error::message("bytes after the batch"));
        }
        // Unknown fields of a newer version may follow the two known parts.
        let signed = wire.get(body.clone()).unwrap_or_default();
        let mut d = Decoder::new(signed);
        if d.array()?.is_none_or(|n| n < 2) {
            return Err(decode::Error::message(
                "the body of a batch is an array of head and content",
            ));
        }
        let head: Head = d.decode()?;
        let content = d.bytes()?;
        check(&head, content)?;
        let content = Content { body, at: offset(&wire, content) };
        Ok(Batch::assemble(head, wire, content, signature, proof))
    }

    fn assemble(
        head: Head,
        wire: Bytes,
        content: Content,
        signature: Signature,
        proof: Proof,
    ) -> Self {
        let proof = (!proof.is_empty()).then(|| Box::new(proof));
        Batch(Arc::new(Inner { head, wire, content, signature, proof }))
    }
}

/// The position of a part of `whole`.
fn offset(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start + part.len()
}

/// Checks the bounds of a batch and of every message in it.
fn check(head: &Head, content: &[u8]) -> Result<(), decode::Error> {
    let refuse = |why| Err(decode::Error::message(why));
    if head.count == 0 || head.count as usize > MAX_BATCH_MESSAGES {
        return refuse("the number of messages in a batch is out of range");
    }
    if head.first.checked_add(u64::from(head.count)).is_none_or(|end| end == u64::MAX) {
        return refuse("a message number is out of range");
    }
    if head.previous.is_some_and(|p| head.first > 0 || p.epoch >= head.epoch || p.next == u64::MAX)
    {
        return refuse("the first batch of a stream names an earlier one, and no other batch does");
    }
    if content.len() > MAX_BATCH && head.count > 1 {
        return refuse("a batch is too long");
    }
    let mut at = 0;
    for _ in 0..head.count {
        let Some(place) = layout::message(content, &mut at) else {
            return refuse("a message in a batch is an array of time, topic and payload");
        };
        if place.topic.len() > MAX_TOPIC {
            return refuse("a topic is too long");
        }
        if place.payload.len() > MAX_PAYLOAD {
            return refuse("a payload is too long");
        }
        if core::str::from_utf8(content.get(place.topic).unwrap_or_default()).is_err() {
            return refuse("a topic is not UTF-8");
        }
    }
    if at != content.len() {
        return refuse("bytes after the last message of a batch");
    }
    Ok(())
}

/// The messages of a batch.
#[derive(Debug, Clone)]
pub struct Messages {
    batch: Batch,
    at: usize,
    next: u64,
    /// The number after the last one.
    end: u64,
}

impl Messages {
    /// Skips the messages before a number.
    fn skip_to(&mut self, number: u64) {
        while self.next < number && self.place().is_some() {}
    }

    /// The next message: its number, time, and the positions of topic and payload.
    fn place(&mut self) -> Option<(u64, u64, Range<usize>, Range<usize>)> {
        if self.next >= self.end {
            return None;
        }
        // The batch was checked when it was parsed.
        let place = layout::message(&self.batch.0.wire, &mut self.at)?;
        let sequence = self.next;
        self.next += 1;
        let published_at = self.batch.0.head.published_at.saturating_add(place.after);
        Some((sequence, published_at, place.topic, place.payload))
    }
}

impl Iterator for Messages {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        let (sequence, published_at, topic, payload) = self.place()?;
        Some(Message::new(self.batch.clone(), sequence, published_at, topic, payload))
    }
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.wire == other.0.wire
    }
}

impl Eq for Batch {}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("publisher", &self.0.head.publisher)
            .field("epoch", &self.0.head.epoch)
            .field("numbers", &(self.0.head.first..self.end()))
            .field("bytes", &self.0.wire.len())
            .finish()
    }
}

impl<C> Encode<C> for Batch {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.writer_mut().write_all(&self.0.wire).map_err(encode::Error::write)
    }
}

impl<'b, C> Decode<'b, C> for Batch {
    /// Copies the bytes; [`Batch::from_wire`] does not.
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let start = d.position();
        d.skip()?;
        let wire = d.input().get(start..d.position()).unwrap_or_default();
        // "Unknown variant" makes the decoder of an optional field skip one value and continue, but
        // the batch has been read to its end already: it would skip the field behind it.
        Batch::from_wire(Bytes::copy_from_slice(wire))
            .map_err(|e| decode::Error::message(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::limits::MAX_GROUP;
    use crate::message::MessageId;

    fn batch(payloads: &[&[u8]]) -> Batch {
        let me = Identity::from_secret(&[3; 32]);
        let first = MessageId { publisher: me.id(), epoch: 4, sequence: 10 };
        let mut b = BatchBuilder::new(first, WallTime(1000));
        for (n, p) in payloads.iter().enumerate() {
            assert!(b.fits("t", p));
            b.push(WallTime(1000 + n as u64), "t", p);
        }
        b.seal(&me)
    }

    #[test]
    fn only_the_first_batch_names_an_earlier_stream() {
        let me = Identity::from_secret(&[3; 32]);
        let read = |sequence, epoch, next| {
            let first = MessageId { publisher: me.id(), epoch: 4, sequence };
            let mut b = BatchBuilder::new(first, WallTime(0));
            b.follow(Some(PreviousStream { epoch, next }));
            b.push(WallTime(0), "t", b"x");
            let batch = Batch::from_wire(b.seal(&me).wire().clone()).ok()?;
            assert!(batch.signature_is_valid());
            batch.previous()
        };
        assert_eq!(read(0, 3, 7), Some(PreviousStream { epoch: 3, next: 7 }));
        assert_eq!(read(0, 4, 7), None, "its own epoch");
        assert_eq!(read(1, 3, 7), None, "not the first batch");
        assert_eq!(read(0, 3, u64::MAX), None);
    }

    #[test]
    fn batch_survives_the_wire_and_a_changed_byte_invalidates_its_signature() {
        let b = batch(&[b"one", b"", b"three"]);
        let back = Batch::from_wire(b.wire().clone()).unwrap();
        assert_eq!(back, b);
        assert!(back.signature_is_valid());
        assert_eq!((back.first(), back.end(), back.len()), (10, 13, 3));
        let read = |b: &Batch| -> Vec<(u64, u64, Vec<u8>)> {
            b.messages()
                .map(|m| (m.id().sequence, m.published_at().0, m.payload().to_vec()))
                .collect()
        };
        assert_eq!(read(&back), read(&b));
        assert_eq!(read(&back)[2], (12, 1002, b"three".to_vec()));
        assert_eq!(back.message(12).unwrap().payload(), b"three");
        assert!(back.message(13).is_none() && back.message(9).is_none());
        let mut bad = b.wire().to_vec();
        let at = bad.windows(5).position(|w| w == b"three").unwrap();
        bad[at] ^= 1;
        assert!(!Batch::from_wire(bad.into()).unwrap().signature_is_valid());
    }

    #[test]
    fn batches_of_a_group_verify_one_by_one_and_only_with_their_own_proof() {
        let me = Identity::from_secret(&[3; 32]);
        let builder = |sequence| {
            let first = MessageId { publisher: me.id(), epoch: 4, sequence };
            let mut b = BatchBuilder::new(first, WallTime(1000));
            b.push(WallTime(1000), "t", &[7; 500]);
            b
        };
        for n in [2, 3, 8, MAX_GROUP as u64] {
            let group = seal_group((0..n).map(builder), &me);
            assert!(group.iter().all(|b| b.signature() == group[0].signature()));
            assert!(group.iter().all(|b| b.digest() == group[0].digest()));
            let alone = builder(0).seal(&me);
            for b in &group {
                let back = Batch::from_wire(b.wire().clone()).unwrap();
                assert!(back == *b && back.signature_is_valid());
                assert_eq!(back.messages().next().unwrap().payload(), [7; 500]);
                assert!(b.wire().len() <= alone.wire().len() + 6 * 32 + 8);
                for at in (0..b.wire().len()).step_by(7) {
                    let mut bad = b.wire().to_vec();
                    bad[at] ^= 1;
                    let holds = Batch::from_wire(bad.into()).is_ok_and(|b| b.signature_is_valid());
                    assert!(!holds, "byte {at} of {n}");
                }
            }
        }
    }

    #[test]
    fn incomplete_or_longer_bytes_are_no_batch() {
        let whole = batch(&[b"one", b"two"]).wire().to_vec();
        for cut in 0..whole.len() {
            assert!(Batch::from_wire(Bytes::copy_from_slice(&whole[..cut])).is_err(), "{cut}");
        }
        let mut longer = whole;
        longer.push(0);
        assert!(Batch::from_wire(longer.into()).is_err());
    }

    #[test]
    fn batch_is_bounded_but_one_message_always_fits() {
        let me = Identity::from_secret(&[3; 32]);
        let first = MessageId { publisher: me.id(), epoch: 4, sequence: 0 };
        let mut b = BatchBuilder::new(first, WallTime(0));
        let large = vec![7; MAX_PAYLOAD];
        assert!(b.fits("", &large));
        b.push(WallTime(0), "", &large);
        assert!(!b.fits("", b""));
        let sealed = b.seal(&me);
        assert_eq!(Batch::from_wire(sealed.wire().clone()).unwrap(), sealed);
        let mut b = BatchBuilder::new(first, WallTime(0));
        while b.fits("t", &[0; 100]) {
            b.push(WallTime(0), "t", &[0; 100]);
        }
        let sealed = b.seal(&me);
        assert!(sealed.wire().len() <= MAX_BATCH + 256);
        assert!(Batch::from_wire(sealed.wire().clone()).is_ok());
    }
}
