//! The layout of the messages of a batch.
//!
//! Every message of every batch is parsed twice: when the batch arrives, to check its bounds, and
//! when it is delivered. With small messages the general decoder took a tenth of a loaded node's
//! time for that; so the four heads of a message (RFC 8949, section 3) are parsed here.

use core::ops::Range;

/// Major types of CBOR.
const UNSIGNED: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;

/// The position of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MessageLayout {
    /// Microseconds after the batch's time.
    pub(super) after: u64,
    /// Its topic, which is not known to be UTF-8.
    pub(super) topic: Range<usize>,
    pub(super) payload: Range<usize>,
}

/// Parses the message at `at`, and moves `at` behind it; `None` if there is no message.
#[inline]
pub(super) fn message(bytes: &[u8], at: &mut usize) -> Option<MessageLayout> {
    if head(bytes, at, ARRAY)? != 3 {
        return None;
    }
    let after = head(bytes, at, UNSIGNED)?;
    let topic = string(bytes, at, TEXT)?;
    let payload = string(bytes, at, BYTES)?;
    Some(MessageLayout { after, topic, payload })
}

/// A string of definite length.
#[inline]
fn string(bytes: &[u8], at: &mut usize, major: u8) -> Option<Range<usize>> {
    let length = usize::try_from(head(bytes, at, major)?).ok()?;
    let start = *at;
    let end = start.checked_add(length).filter(|end| *end <= bytes.len())?;
    *at = end;
    Some(start..end)
}

/// The value in the head of a data item of the given major type.
#[inline]
fn head(bytes: &[u8], at: &mut usize, major: u8) -> Option<u64> {
    let first = *bytes.get(*at)?;
    if first >> 5 != major {
        return None;
    }
    let rest = bytes.get(*at + 1..)?;
    let (value, width) = match first & 0x1f {
        small @ 0..=23 => (u64::from(small), 0),
        24 => (u64::from(*rest.first()?), 1),
        25 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 2),
        26 => (u64::from(u32::from_be_bytes(*rest.first_chunk()?)), 4),
        27 => (u64::from_be_bytes(*rest.first_chunk()?), 8),
        _ => return None,
    };
    *at += 1 + width;
    Some(value)
}

#[cfg(test)]
mod tests {
    use minicbor::{Decoder, Encoder};
    use proptest::prelude::*;

    use super::*;

    /// The same parsed by the general decoder.
    fn by_decoder(bytes: &[u8]) -> Option<(u64, Vec<u8>, Vec<u8>, usize)> {
        let mut d = Decoder::new(bytes);
        if d.array().ok()? != Some(3) {
            return None;
        }
        let after = d.u64().ok()?;
        let topic = d.str().ok()?.as_bytes().to_vec();
        let payload = d.bytes().ok()?.to_vec();
        Some((after, topic, payload, d.position()))
    }

    fn by_layout(bytes: &[u8]) -> Option<(u64, Vec<u8>, Vec<u8>, usize)> {
        let mut at = 0;
        let place = message(bytes, &mut at)?;
        let topic = bytes[place.topic].to_vec();
        std::str::from_utf8(&topic).ok()?;
        Some((place.after, topic, bytes[place.payload].to_vec(), at))
    }

    proptest! {
        #[test]
        fn layout_agrees_with_the_general_decoder_on_messages(
            after: u64,
            topic in "\\PC{0,40}",
            payload in proptest::collection::vec(any::<u8>(), 0..300),
            cut in 0usize..20,
            flip in any::<(prop::sample::Index, u8)>(),
        ) {
            let mut bytes = Vec::new();
            let mut e = Encoder::new(&mut bytes);
            e.array(3).unwrap().u64(after).unwrap().str(&topic).unwrap().bytes(&payload).unwrap();
            bytes.extend_from_slice(b"what follows");
            prop_assert_eq!(by_layout(&bytes), by_decoder(&bytes));
            prop_assert!(by_layout(&bytes).is_some());
            let mut other = bytes.clone();
            other[flip.0.index(bytes.len())] ^= flip.1;
            prop_assert_eq!(by_layout(&other), by_decoder(&other));
            let short = &bytes[..bytes.len().saturating_sub(12 + cut)];
            prop_assert_eq!(by_layout(short), by_decoder(short));
        }

        #[test]
        fn layout_agrees_with_the_general_decoder_on_any_bytes(
            bytes in proptest::collection::vec(any::<u8>(), 0..60)
        ) {
            prop_assert_eq!(by_layout(&bytes), by_decoder(&bytes));
            let behind = [&[0x83], &bytes[..]].concat();
            prop_assert_eq!(by_layout(&behind), by_decoder(&behind));
        }
    }
}
