//! Packing messages into batches, and signing them.

use minicbor::Encoder;

use super::proof::{self, Proof};
use super::{Batch, Content, Head, MESSAGE_OVERHEAD, PreviousStream, leaf};
use crate::identity::{Identity, Signature};
use crate::limits::{MAX_BATCH, MAX_BATCH_MESSAGES, MAX_GROUP};
use crate::message::{MessageId, StreamId};
use crate::time::WallTime;

/// Space before the content for the parts that are known only when the batch is full: at most three
/// headers of 5 bytes, two arrays and a head of 100 bytes.
const HEAD_SPACE: usize = 128;
/// Bytes after the content: the signature, and the proof.
const TAIL_SPACE: usize = 72 + 200;

/// Gathers messages into a batch.
#[derive(Debug)]
pub(crate) struct BatchBuilder {
    first: MessageId,
    count: u32,
    published_at: WallTime,
    previous: Option<PreviousStream>,
    /// [`HEAD_SPACE`] bytes of space, and the content: the signed and sent bytes are made in place.
    bytes: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch that begins with the sequence number in `first`.
    pub(crate) const fn new(first: MessageId, published_at: WallTime) -> Self {
        BatchBuilder { first, count: 0, published_at, previous: None, bytes: Vec::new() }
    }

    /// Names the stream before this one; only for the first batch of a stream.
    pub(crate) const fn follow(&mut self, previous: Option<PreviousStream>) {
        self.previous = previous;
    }

    /// The messages of a batch, to be signed as part of the stream with another epoch.
    pub(crate) fn with_epoch(batch: &Batch, epoch: u64) -> Self {
        let StreamId { publisher, .. } = batch.stream();
        let content = batch.content();
        let mut bytes = Vec::with_capacity(HEAD_SPACE + content.len() + TAIL_SPACE);
        bytes.resize(HEAD_SPACE, 0);
        bytes.extend_from_slice(content);
        BatchBuilder {
            first: MessageId { publisher, epoch, sequence: batch.first() },
            count: u32::try_from(batch.len()).unwrap_or(u32::MAX),
            published_at: batch.published_at(),
            previous: batch.previous(),
            bytes,
        }
    }

    /// Moves unsigned messages to the stream with another epoch.
    pub(crate) const fn set_epoch(&mut self, epoch: u64) {
        self.first.epoch = epoch;
    }

    fn content(&self) -> usize {
        self.bytes.len().saturating_sub(HEAD_SPACE)
    }

    /// Whether one more message of this size keeps the batch within its bounds. The first one
    /// always fits.
    pub(crate) fn fits(&self, topic: &str, payload: &[u8]) -> bool {
        let more = topic.len() + payload.len() + MESSAGE_OVERHEAD;
        self.count == 0
            || (self.content() + more <= MAX_BATCH && (self.count as usize) < MAX_BATCH_MESSAGES)
    }

    /// Adds a message and returns its id. The caller has checked the limits.
    pub(crate) fn push(&mut self, at: WallTime, topic: &str, payload: &[u8]) -> MessageId {
        let after = at.0.saturating_sub(self.published_at.0);
        let more = topic.len() + payload.len() + MESSAGE_OVERHEAD;
        if self.bytes.is_empty() {
            self.bytes.reserve_exact(HEAD_SPACE + more + TAIL_SPACE);
            self.bytes.resize(HEAD_SPACE, 0);
        }
        self.bytes.reserve(more);
        let mut e = Encoder::new(&mut self.bytes);
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

    /// Signs the batch alone.
    #[cfg(test)]
    pub(crate) fn seal(self, identity: &Identity) -> Batch {
        seal_group(vec![self], identity).pop().unwrap()
    }

    fn head(&self) -> Head {
        let MessageId { publisher, epoch, sequence: first } = self.first;
        let (count, published_at, previous) = (self.count, self.published_at.0, self.previous);
        Head { publisher, epoch, first, count, published_at, previous }
    }

    /// Writes the parts before the content.
    fn close(mut self) -> UnsignedBatch {
        let head = self.head();
        let content = self.content();
        let mut inner = Vec::with_capacity(HEAD_SPACE);
        let mut e = Encoder::new(&mut inner);
        let _ = e.array(2).and_then(|e| e.encode(head)).and_then(|e| e.bytes_len(content as u64));
        let body = inner.len() + content;
        let mut outer = Vec::with_capacity(8);
        // The array around it is written when it is known whether there is a proof.
        let _ = Encoder::new(&mut outer).bytes_len(body as u64);
        let start = HEAD_SPACE - inner.len();
        let outer_start = start - outer.len();
        put(&mut self.bytes, start, &inner);
        put(&mut self.bytes, outer_start, &outer);
        let leaf = leaf(self.bytes.get(start..).unwrap_or_default());
        UnsignedBatch { head, bytes: self.bytes, start: outer_start, body: start, leaf }
    }
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + what.len()) {
        place.copy_from_slice(what);
    }
}

/// A complete batch without its signature.
struct UnsignedBatch {
    head: Head,
    bytes: Vec<u8>,
    /// Offset of the byte string with the body.
    start: usize,
    /// Offset of the body, which ends with the bytes.
    body: usize,
    leaf: proof::Hash,
}

impl UnsignedBatch {
    fn sign(self, signature: Signature, proof: Proof) -> Batch {
        let UnsignedBatch { head, mut bytes, start, body, .. } = self;
        let end = bytes.len();
        let mut e = Encoder::new(&mut bytes);
        let _ = e.encode(signature);
        let array = if proof.is_empty() {
            2
        } else {
            proof.encode(&mut e);
            4
        };
        let start = start - 1;
        put(&mut bytes, start, &[0x80 | array]);
        if bytes.capacity() - bytes.len() > bytes.len() / 8 {
            // The batch may be retained for long.
            bytes.shrink_to_fit();
        }
        let content =
            Content { body: body - start..end - start, at: HEAD_SPACE - start..end - start };
        let wire = bytes::Bytes::from(bytes).slice(start..);
        Batch::assemble(head, wire, content, signature, proof)
    }
}

/// Signs all batches with one signature. At most [`MAX_GROUP`].
pub(crate) fn seal_group(
    builders: impl IntoIterator<Item = BatchBuilder>,
    identity: &Identity,
) -> Vec<Batch> {
    let closed: Vec<UnsignedBatch> = builders.into_iter().map(BatchBuilder::close).collect();
    debug_assert!(closed.len() <= MAX_GROUP, "more than one signature can hold");
    let leaves: Vec<proof::Hash> = closed.iter().map(|c| c.leaf).collect();
    let (root, proofs) = proof::group(&leaves);
    let signature = identity.sign(&root);
    closed.into_iter().zip(proofs).map(|(c, proof)| c.sign(signature, proof)).collect()
}
