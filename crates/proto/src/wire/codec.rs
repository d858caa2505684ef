//! Length-prefixed CBOR: a frame is four bytes of length (big endian, of what follows), then a
//! CBOR array of the type's number and the body.

use bytes::Bytes;
use minicbor::Decoder;

use super::frame::Frame;
use crate::limits::MAX_FRAME;

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The length prefix is above the limit.
    #[error("a frame of {length} bytes, at most {limit} are allowed here")]
    TooLong {
        /// What the prefix says.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The body is not the CBOR it should be.
    #[error("malformed frame: {0}")]
    Malformed(String),
}

/// The length prefix of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes that follow.
    pub length: usize,
}

/// Reads the length prefix and holds it against `limit`, before anything is allocated.
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

/// Reads the body of one frame (what follows the length prefix).
///
/// # Errors
/// [`DecodeError::Malformed`] says what is wrong. Unknown types and fields are not errors.
pub fn decode(body: &[u8]) -> Result<Frame, DecodeError> {
    let malformed = |e: minicbor::decode::Error| DecodeError::Malformed(e.to_string());
    let mut d = Decoder::new(body);
    if d.array().map_err(malformed)? != Some(2) {
        return Err(DecodeError::Malformed("a frame is an array of two".to_owned()));
    }
    let number = d.u16().map_err(malformed)?;
    let frame = Frame::decode_body(number, &mut d).map_err(malformed)?;
    if d.position() != body.len() {
        return Err(DecodeError::Malformed(format!("bytes after the end of {}", frame.name())));
    }
    frame.check().map_err(|e| DecodeError::Malformed(e.to_owned()))?;
    Ok(frame)
}

/// Writes a frame with its length prefix.
#[must_use]
pub fn encode(frame: &Frame) -> Bytes {
    let mut v = vec![0u8; 4];
    v.reserve(128);
    let mut e = minicbor::Encoder::new(&mut v);
    // Writing into a Vec cannot fail: its error type is Infallible.
    let _ = e.array(2).and_then(|e| e.u16(frame.number()));
    let _ = frame.encode_body(&mut e);
    let length = v.len() - 4;
    debug_assert!(length <= MAX_FRAME, "{} of {length} bytes", frame.name());
    let prefix = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(head) = v.first_chunk_mut::<4>() {
        *head = prefix;
    }
    v.into()
}
