//! The messages of applications.

use core::fmt;
use core::ops::Range;
use core::str::FromStr;
use core::time::Duration;

use bytes::Bytes;
use minicbor::{Decode, Encode};
use serde::{Serialize, Serializer};

use crate::batch::{Batch, Messages};
use crate::identity::PeerId;
use crate::time::WallTime;

/// The messages that one process of a publisher published, numbered from 0.
///
/// Streams of one publisher are delivered in the order of their epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct StreamId {
    /// The publisher.
    pub publisher: PeerId,
    /// The number of the process, fixed at its start and higher than those of all earlier processes
    /// of this publisher. A refutation does not change it.
    pub epoch: u64,
}

/// The id of a message: its stream and its sequence number.
///
/// Text form: `<64 hex characters>/<epoch>/<sequence>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(map)]
pub struct MessageId {
    /// The publisher.
    #[n(0)]
    pub publisher: PeerId,
    /// The epoch of its stream.
    #[n(1)]
    pub epoch: u64,
    /// Counted from 0 in each stream.
    #[n(2)]
    pub sequence: u64,
}

impl StreamId {
    /// The id of a message of the stream.
    pub(crate) const fn message(self, sequence: u64) -> MessageId {
        MessageId { publisher: self.publisher, epoch: self.epoch, sequence }
    }
}

impl MessageId {
    /// The stream of the message.
    #[must_use]
    pub const fn stream(&self) -> StreamId {
        StreamId { publisher: self.publisher, epoch: self.epoch }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.publisher.to_hex(), self.epoch, self.sequence)
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// A text that is not a [`MessageId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message id is PEER/EPOCH/SEQUENCE (64 hexadecimal characters and two numbers)")]
pub struct ParseMessageIdError;

impl FromStr for MessageId {
    type Err = ParseMessageIdError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let mut parts = s.split('/');
        let mut next = || parts.next().ok_or(ParseMessageIdError);
        let publisher = next()?.parse().map_err(|_| ParseMessageIdError)?;
        let epoch = next()?.parse().map_err(|_| ParseMessageIdError)?;
        let sequence = next()?.parse().map_err(|_| ParseMessageIdError)?;
        match parts.next() {
            None => Ok(MessageId { publisher, epoch, sequence }),
            Some(_) => Err(ParseMessageIdError),
        }
    }
}

/// One message: a handle on its position in its [`Batch`].
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    batch: Batch,
    sequence: u64,
    published_at: u64,
    topic: Range<usize>,
    payload: Range<usize>,
}

impl Message {
    pub(crate) const fn new(
        batch: Batch,
        sequence: u64,
        published_at: u64,
        topic: Range<usize>,
        payload: Range<usize>,
    ) -> Self {
        Message { batch, sequence, published_at, topic, payload }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.batch.stream().message(self.sequence)
    }

    /// Its topic; at most [`MAX_TOPIC`](crate::limits::MAX_TOPIC) bytes, may be empty.
    #[must_use]
    pub fn topic(&self) -> &str {
        // The topic was checked to be UTF-8 when the batch was read.
        core::str::from_utf8(self.batch.bytes(self.topic.clone())).unwrap_or_default()
    }

    /// The content; at most [`MAX_PAYLOAD`](crate::limits::MAX_PAYLOAD) bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.batch.bytes(self.payload.clone())
    }

    /// The content as a handle on the batch's memory, which lives as long as the handle.
    #[must_use]
    pub fn payload_bytes(&self) -> Bytes {
        self.batch.slice(self.payload.clone())
    }

    /// When it was published, by the publisher's clock. Displayed, never trusted.
    #[must_use]
    pub const fn published_at(&self) -> WallTime {
        WallTime(self.published_at)
    }

    /// The batch that holds it, with the publisher's signature.
    #[must_use]
    pub const fn batch(&self) -> &Batch {
        &self.batch
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id())
            .field("topic", &self.topic())
            .field("bytes", &self.payload.len())
            .finish()
    }
}

/// Consecutive messages of one batch as they are delivered to the application: in the publisher's
/// order, each number once.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The batch.
    pub batch: Batch,
    /// Number of the first message in it that is delivered here; the others were before.
    pub from: u64,
    /// The number after the last delivered message: the end of the batch, unless an earlier process
    /// had delivered only a part of it.
    pub to: u64,
    /// The neighbour that sent it first; `None` for an own batch, and for one that an earlier
    /// process retained.
    pub neighbour: Option<PeerId>,
    /// Number of links it crossed; 0 for an own batch.
    pub hops: u16,
    /// When it arrived, by this node's wall clock.
    pub received_at: WallTime,
    /// The least age of the messages: since they arrived here, and for how long the neighbours that
    /// passed them on had them before. Measured by each node's monotonic clock; time in queues is
    /// not counted. `Duration::MAX` for messages that an earlier process retained.
    pub age: Duration,
}

impl Delivery {
    /// The delivered messages, in order.
    #[must_use]
    pub fn messages(&self) -> Messages {
        self.batch.messages_in(self.from, self.to)
    }

    /// The number of delivered messages.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    #[test]
    fn id_text_round_trip() {
        let id =
            MessageId { publisher: Identity::from_secret(&[3; 32]).id(), epoch: 4, sequence: 5 };
        assert_eq!(id.to_string().parse::<MessageId>().unwrap(), id);
        assert!("x/1/2".parse::<MessageId>().is_err());
        assert!(format!("{id}/6").parse::<MessageId>().is_err());
    }
}
