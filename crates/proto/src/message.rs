//! What applications publish.

use core::fmt;
use core::str::FromStr;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use serde::{Serialize, Serializer};

use crate::identity::{Identity, PeerId};
use crate::limits::{MAX_PAYLOAD, MAX_TOPIC};
use crate::signed::{Signed, Statement};
use crate::time::WallTime;

/// The name of a message: who published it, in which life, and the how-manieth it was.
///
/// Text form: `<64 hex characters>/<incarnation>/<sequence>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(map)]
pub struct MessageId {
    /// Who published it.
    #[n(0)]
    pub publisher: PeerId,
    /// In which incarnation.
    #[n(1)]
    pub incarnation: u64,
    /// Counted from 0 in each incarnation.
    #[n(2)]
    pub sequence: u64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.publisher.to_hex(), self.incarnation, self.sequence)
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// A text that is not a [`MessageId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message id is PEER/INCARNATION/SEQUENCE (64 hexadecimal characters and two numbers)")]
pub struct ParseMessageIdError;

impl FromStr for MessageId {
    type Err = ParseMessageIdError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let mut parts = s.split('/');
        let mut next = || parts.next().ok_or(ParseMessageIdError);
        let publisher = next()?.parse().map_err(|_| ParseMessageIdError)?;
        let incarnation = next()?.parse().map_err(|_| ParseMessageIdError)?;
        let sequence = next()?.parse().map_err(|_| ParseMessageIdError)?;
        match parts.next() {
            None => Ok(MessageId { publisher, incarnation, sequence }),
            Some(_) => Err(ParseMessageIdError),
        }
    }
}

/// The signed part of a message.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MessageBody {
    /// Its name; the publisher in it is the signer.
    #[n(0)]
    pub id: MessageId,
    /// The publisher's wall clock when it published, Unix microseconds. Shown, never trusted.
    #[n(1)]
    pub published_at: u64,
    /// What it is about; at most [`MAX_TOPIC`] bytes, may be empty.
    #[n(2)]
    pub topic: String,
    /// The content; at most [`MAX_PAYLOAD`] bytes.
    #[n(3)]
    payload: ByteVec,
}

impl Statement for MessageBody {
    const DOMAIN: &'static str = "rumor/1 message";

    fn signer(&self) -> PeerId {
        self.id.publisher
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.payload.len() > MAX_PAYLOAD {
            return Err("a payload is too long");
        }
        if self.id.sequence == u64::MAX {
            return Err("a message number is out of range");
        }
        if self.topic.len() > MAX_TOPIC {
            return Err("a topic is too long");
        }
        Ok(())
    }
}

impl MessageBody {
    /// The content.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// When it was published, by the publisher's clock.
    #[must_use]
    pub const fn published_at(&self) -> WallTime {
        WallTime(self.published_at)
    }
}

/// A message with its publisher's signature.
pub type Message = Signed<MessageBody>;

impl Message {
    /// Makes and signs a message. The caller has checked the limits.
    #[must_use]
    pub(crate) fn publish(
        identity: &Identity,
        incarnation: u64,
        sequence: u64,
        published_at: WallTime,
        topic: &str,
        payload: &[u8],
    ) -> Self {
        let id = MessageId { publisher: identity.id(), incarnation, sequence };
        let payload = ByteVec::from(payload.to_vec());
        let body =
            MessageBody { id, published_at: published_at.0, topic: topic.to_owned(), payload };
        Signed::sign(body, identity)
    }

    /// Bytes this message takes in memory, for the retention limits.
    #[must_use]
    pub fn size(&self) -> usize {
        // The body is held encoded and decoded.
        self.body_bytes().len() * 2 + 160
    }
}

/// One message as it is handed to the application.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// The neighbour it came from first; `None` for one's own.
    pub from: Option<PeerId>,
    /// Links it crossed to get here; 0 for one's own.
    pub hops: u16,
    /// When it arrived, by this node's wall clock.
    pub received_at: WallTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_text_round_trip() {
        let id = MessageId {
            publisher: Identity::from_secret(&[3; 32]).id(),
            incarnation: 4,
            sequence: 5,
        };
        assert_eq!(id.to_string().parse::<MessageId>().unwrap(), id);
        assert!("x/1/2".parse::<MessageId>().is_err());
        assert!(format!("{id}/6").parse::<MessageId>().is_err());
    }

    #[test]
    fn a_message_survives_the_wire_and_a_changed_byte_does_not() {
        let me = Identity::from_secret(&[3; 32]);
        let m = Message::publish(&me, 1, 0, WallTime(5), "t", b"hello");
        let bytes = m.to_bytes();
        let back = Message::from_bytes(&bytes).unwrap();
        assert_eq!(back, m);
        assert!(back.signature_is_valid());
        let mut bad = bytes.clone();
        let at = bytes.windows(5).position(|w| w == b"hello").unwrap();
        bad[at] ^= 1;
        assert!(!Message::from_bytes(&bad).unwrap().signature_is_valid());
    }
}
