//! One or more consecutive messages of one publisher, signed once: the unit on the wire.
//!
//! The cost of a signature, a frame and a system call is paid for a batch, so it falls as load
//! grows; a message that comes alone is a batch of one and waits for nobody. The bytes that its
//! publisher signed are what everybody forwards, keeps and hands out: a batch and its messages are
//! handles on them, and nothing is copied or encoded again on the way.

use core::fmt;
use core::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::identity::{Identity, PeerId, Signature};
use crate::limits::{MAX_BATCH, MAX_BATCH_MESSAGES, MAX_PAYLOAD, MAX_TOPIC};
use crate::message::{Message, MessageId};
use crate::signed::digest;
use crate::time::WallTime;

/// Separates a batch's signature from those of other statements.
const DOMAIN: &str = "rumor/1 batch";

/// Bytes of a message in a batch beside its topic and payload, at most.
const MESSAGE_OVERHEAD: usize = 20;

/// A batch with its publisher's signature. A clone is another handle on the same bytes.
///
/// Having one says nothing about the signature; only a
/// [`Verified`](crate::wire::Verified) frame does.
#[derive(Clone)]
pub struct Batch(Arc<Inner>);

struct Inner {
    publisher: PeerId,
    incarnation: u64,
    first: u64,
    count: u32,
    published_at: u64,
    /// Body and signature in their wire form.
    wire: Bytes,
    /// Where the signed body is in it.
    body: Range<usize>,
    /// Where the messages are in it.
    content: Range<usize>,
    signature: Signature,
}

/// The signed part without the messages.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Head {
    #[n(0)]
    publisher: PeerId,
    #[n(1)]
    incarnation: u64,
    #[n(2)]
    first: u64,
    #[n(3)]
    count: u32,
    #[n(4)]
    published_at: u64,
}

impl Batch {
    /// Who published it.
    #[must_use]
    pub fn publisher(&self) -> PeerId {
        self.0.publisher
    }

    /// In which incarnation.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.0.incarnation
    }

    /// The publisher's stream that it belongs to.
    pub(crate) fn stream(&self) -> (PeerId, u64) {
        (self.0.publisher, self.0.incarnation)
    }

    /// Number of its first message.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.0.first
    }

    /// The number after its last message.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.0.first + u64::from(self.0.count)
    }

    /// How many messages; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.0.count as usize
    }

    /// When the first message was published, by the publisher's clock. Shown, never trusted.
    #[must_use]
    pub fn published_at(&self) -> WallTime {
        WallTime(self.0.published_at)
    }

    /// Body and signature as they go over the wire and into a store.
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
        Messages { batch: self.clone(), at: self.0.content.start, next: self.0.first }
    }

    /// The message with this number, if it is in here.
    #[must_use]
    pub fn message(&self, sequence: u64) -> Option<Message> {
        let skip = usize::try_from(sequence.checked_sub(self.0.first)?).ok()?;
        self.messages().nth(skip)
    }

    /// What was signed. It takes a pass over all of the batch.
    #[must_use]
    pub(crate) fn digest(&self) -> [u8; 32] {
        digest(DOMAIN, self.0.wire.get(self.0.body.clone()).unwrap_or_default())
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.0.signature
    }

    /// Whether the publisher signed these bytes.
    #[must_use]
    pub fn signature_is_valid(&self) -> bool {
        self.0.signature.verify(&self.0.publisher, &self.digest())
    }

    /// The bytes at a place that [`Messages`] found, as a handle on the batch's memory.
    pub(crate) fn slice(&self, range: Range<usize>) -> Bytes {
        self.0.wire.slice(range)
    }

    /// The bytes at a place that [`Messages`] found.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.0.wire.get(range).unwrap_or_default()
    }

    /// Takes the wire form, sharing its memory, without checking the signature.
    ///
    /// # Errors
    /// The bytes are not one batch.
    pub fn from_wire(wire: Bytes) -> Result<Self, decode::Error> {
        let mut d = Decoder::new(&wire);
        if d.array()? != Some(2) {
            return Err(decode::Error::message("a batch is an array of two"));
        }
        let body = d.bytes()?;
        let body = offset(&wire, body);
        let signature: Signature = d.decode()?;
        if d.position() != wire.len() {
            return Err(decode::Error::message("bytes after the batch"));
        }
        // An unknown field of a newer version may stand behind the two parts that are known here.
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
        let content = offset(&wire, content);
        let Head { publisher, incarnation, first, count, published_at } = head;
        Ok(Batch(Arc::new(Inner {
            publisher,
            incarnation,
            first,
            count,
            published_at,
            body,
            content,
            signature,
            wire,
        })))
    }
}

/// Where a part of `whole` is in it.
fn offset(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start + part.len()
}

/// Holds a batch against its bounds, and every message in it.
fn check(head: &Head, content: &[u8]) -> Result<(), decode::Error> {
    let refuse = |why| Err(decode::Error::message(why));
    if head.count == 0 || head.count as usize > MAX_BATCH_MESSAGES {
        return refuse("the number of messages in a batch is out of range");
    }
    if head.first.checked_add(u64::from(head.count)).is_none_or(|end| end == u64::MAX) {
        return refuse("a message number is out of range");
    }
    if content.len() > MAX_BATCH && head.count > 1 {
        return refuse("a batch is too long");
    }
    let mut d = Decoder::new(content);
    for _ in 0..head.count {
        let (_, topic, payload) = one(&mut d)?;
        if topic.len() > MAX_TOPIC {
            return refuse("a topic is too long");
        }
        if payload.len() > MAX_PAYLOAD {
            return refuse("a payload is too long");
        }
    }
    if d.position() != content.len() {
        return refuse("bytes after the last message of a batch");
    }
    Ok(())
}

/// Reads one message: microseconds after the batch's time, topic, payload.
fn one<'b>(d: &mut Decoder<'b>) -> Result<(u64, &'b str, &'b [u8]), decode::Error> {
    if d.array()? != Some(3) {
        return Err(decode::Error::message("a message in a batch is an array of three"));
    }
    Ok((d.u64()?, d.str()?, d.bytes()?))
}

/// The messages of a batch.
#[derive(Debug, Clone)]
pub struct Messages {
    batch: Batch,
    at: usize,
    next: u64,
}

impl Messages {
    /// Leaves out the next `n`.
    pub(crate) fn skip_numbers(&mut self, n: u64) {
        for _ in 0..n {
            if self.place().is_none() {
                return;
            }
        }
    }

    /// The next message: its number, time, and where topic and payload are.
    fn place(&mut self) -> Option<(u64, u64, Range<usize>, Range<usize>)> {
        if self.next >= self.batch.end() {
            return None;
        }
        let whole = &self.batch.0.wire;
        let mut d = Decoder::new(whole);
        d.set_position(self.at);
        // It was checked when the batch was read.
        let (after, topic, payload) = one(&mut d).ok()?;
        let places = (offset(whole, topic.as_bytes()), offset(whole, payload));
        self.at = d.position();
        let sequence = self.next;
        self.next += 1;
        let published_at = self.batch.0.published_at.saturating_add(after);
        Some((sequence, published_at, places.0, places.1))
    }
}

impl Iterator for Messages {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        let (sequence, published_at, topic, payload) = self.place()?;
        Some(Message::new(self.batch.clone(), sequence, published_at, topic, payload))
    }

    fn nth(&mut self, n: usize) -> Option<Message> {
        for _ in 0..n {
            self.place()?;
        }
        self.next()
    }
}

/// Gathers messages into a batch.
#[derive(Debug)]
pub(crate) struct BatchBuilder {
    first: MessageId,
    count: u32,
    published_at: WallTime,
    content: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch that begins with the number in `first`.
    pub(crate) const fn new(first: MessageId, published_at: WallTime) -> Self {
        BatchBuilder { first, count: 0, published_at, content: Vec::new() }
    }

    /// Whether one more message of this size keeps the batch within its bounds. The first one
    /// always fits.
    pub(crate) fn fits(&self, topic: &str, payload: &[u8]) -> bool {
        let more = topic.len() + payload.len() + MESSAGE_OVERHEAD;
        self.count == 0
            || (self.content.len() + more <= MAX_BATCH
                && (self.count as usize) < MAX_BATCH_MESSAGES)
    }

    /// Adds a message; says its name. The caller has checked the limits.
    pub(crate) fn push(&mut self, at: WallTime, topic: &str, payload: &[u8]) -> MessageId {
        let after = at.0.saturating_sub(self.published_at.0);
        self.content.reserve(topic.len() + payload.len() + MESSAGE_OVERHEAD);
        let mut e = Encoder::new(&mut self.content);
        // Writing into a Vec cannot fail: its error type is Infallible.
        let _ = e
            .array(3)
            .and_then(|e| e.u64(after))
            .and_then(|e| e.str(topic))
            .and_then(|e| e.bytes(payload));
        let id = MessageId { sequence: self.first.sequence + u64::from(self.count), ..self.first };
        self.count += 1;
        id
    }

    /// Signs it.
    pub(crate) fn seal(self, identity: &Identity) -> Batch {
        let MessageId { publisher, incarnation, sequence: first } = self.first;
        let (count, published_at) = (self.count, self.published_at.0);
        let head = Head { publisher, incarnation, first, count, published_at };
        let mut body = Vec::with_capacity(self.content.len() + 80);
        let mut e = Encoder::new(&mut body);
        let _ = e.array(2).and_then(|e| e.encode(&head)).and_then(|e| e.bytes(&self.content));
        let content = body.len() - self.content.len()..body.len();
        let signature = identity.sign(&digest(DOMAIN, &body));
        let mut wire = Vec::with_capacity(body.len() + 80);
        let mut e = Encoder::new(&mut wire);
        let _ = e.array(2).and_then(|e| e.bytes(&body));
        let start = wire.len() - body.len();
        let mut e = Encoder::new(&mut wire);
        let _ = e.encode(signature);
        Batch(Arc::new(Inner {
            publisher,
            incarnation,
            first,
            count,
            published_at,
            wire: wire.into(),
            content: content.start + start..content.end + start,
            body: start..start + body.len(),
            signature,
        }))
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
            .field("publisher", &self.0.publisher)
            .field("incarnation", &self.0.incarnation)
            .field("numbers", &(self.0.first..self.end()))
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
        // "Unknown variant" makes the decoder of an optional field skip one value and go on, but the
        // batch has been read to its end already: it would skip the field behind it.
        Batch::from_wire(Bytes::copy_from_slice(wire))
            .map_err(|e| decode::Error::message(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(payloads: &[&[u8]]) -> Batch {
        let me = Identity::from_secret(&[3; 32]);
        let first = MessageId { publisher: me.id(), incarnation: 4, sequence: 10 };
        let mut b = BatchBuilder::new(first, WallTime(1000));
        for (n, p) in payloads.iter().enumerate() {
            assert!(b.fits("t", p));
            b.push(WallTime(1000 + n as u64), "t", p);
        }
        b.seal(&me)
    }

    #[test]
    fn it_survives_the_wire_and_a_changed_byte_does_not() {
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
    fn what_is_not_a_batch_is_refused() {
        let whole = batch(&[b"one", b"two"]).wire().to_vec();
        for cut in 0..whole.len() {
            assert!(Batch::from_wire(Bytes::copy_from_slice(&whole[..cut])).is_err(), "{cut}");
        }
        let mut longer = whole;
        longer.push(0);
        assert!(Batch::from_wire(longer.into()).is_err());
    }

    #[test]
    fn it_is_bounded_but_one_message_always_fits() {
        let me = Identity::from_secret(&[3; 32]);
        let first = MessageId { publisher: me.id(), incarnation: 4, sequence: 0 };
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
