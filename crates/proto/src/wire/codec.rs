//! Length-prefixed CBOR: a frame is four bytes of length (big endian, of the rest), then a CBOR
//! array of the type's number and the body.

use bytes::Bytes;
use minicbor::Decoder;

use super::broadcast::Gossip;
use super::frame::Frame;
use crate::limits::MAX_FRAME;

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The length prefix is above the limit.
    #[error("a frame of {length} bytes, at most {limit} are allowed here")]
    TooLong {
        /// The length in the prefix.
        length: usize,
        /// The highest allowed length.
        limit: usize,
    },
    /// The body is not valid CBOR of this frame.
    #[error("malformed frame: {0}")]
    Malformed(String),
}

/// The length prefix of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Number of bytes that follow.
    pub length: usize,
}

/// Reads the length prefix and checks it against `limit`, before anything is allocated.
///
/// # Errors
/// [`DecodeError::TooLong`]; the link cannot be used any more, because its framing is lost.
pub fn header(prefix: [u8; 4], limit: usize) -> Result<Header, DecodeError> {
    let length = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
    if length > limit {
        return Err(DecodeError::TooLong { length, limit });
    }
    Ok(Header { length })
}

/// Number of the frame whose payload is not copied.
const GOSSIP: u16 = 30;

/// Reads the body of one frame (the part after the length prefix).
///
/// # Errors
/// [`DecodeError::Malformed`] with the reason. Unknown types and fields are not errors.
pub fn decode(body: &[u8]) -> Result<Frame, DecodeError> {
    decode_with(body, Bytes::copy_from_slice)
}

/// [`decode`], but a batch in it shares the memory of `body` instead of being copied.
///
/// # Errors
/// The errors of [`decode`].
pub fn decode_shared(body: &Bytes) -> Result<Frame, DecodeError> {
    decode_with(body, |part| body.slice_ref(part))
}

fn decode_with<'b>(body: &'b [u8], take: impl Fn(&'b [u8]) -> Bytes) -> Result<Frame, DecodeError> {
    let malformed = |e: minicbor::decode::Error| DecodeError::Malformed(e.to_string());
    let mut d = Decoder::new(body);
    if d.array().map_err(malformed)? != Some(2) {
        return Err(DecodeError::Malformed("a frame is an array of two".to_owned()));
    }
    let number = d.u16().map_err(malformed)?;
    let frame = if number == GOSSIP {
        Gossip::decode_with(&mut d, take).map(Frame::from)
    } else {
        Frame::decode_body(number, &mut d)
    };
    let frame = frame.map_err(malformed)?;
    if d.position() != body.len() {
        return Err(DecodeError::Malformed(format!("bytes after the end of {}", frame.name())));
    }
    frame.check().map_err(|e| DecodeError::Malformed(e.to_owned()))?;
    Ok(frame)
}

/// A frame in its wire form, in two parts, so that a batch is written without copying it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The length prefix and the part that belongs to this frame alone.
    pub head: Bytes,
    /// The batch, if there is one; else empty.
    pub tail: Bytes,
}

impl Encoded {
    /// Bytes in all.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a frame is never empty")]
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Both parts in one piece.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        if self.tail.is_empty() {
            return self.head.clone();
        }
        [self.head.as_ref(), self.tail.as_ref()].concat().into()
    }
}

/// Writes a frame with its length prefix.
#[must_use]
pub fn encode(frame: &Frame) -> Encoded {
    let mut v = vec![0u8; 4];
    v.reserve(64);
    let mut e = minicbor::Encoder::new(&mut v);
    // Writing into a Vec cannot fail: its error type is Infallible.
    let _ = e.array(2).and_then(|e| e.u16(frame.number()));
    let tail = match frame {
        Frame::Gossip(g) => {
            let _ = g.encode_head(&mut e);
            g.batch.wire().clone()
        }
        other => {
            let _ = other.encode_body(&mut e);
            Bytes::new()
        }
    };
    let length = v.len() - 4 + tail.len();
    debug_assert!(length <= MAX_FRAME, "{} of {length} bytes", frame.name());
    let prefix = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(head) = v.first_chunk_mut::<4>() {
        *head = prefix;
    }
    Encoded { head: v.into(), tail }
}
