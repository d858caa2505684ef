//! Assembles frames from the chunks in which bytes arrive.

use std::collections::VecDeque;

use rumormill_proto::limits::MAX_FRAME;
use rumormill_proto::wire::{self, DecodeError, Frame, TOTAL_LENGTH_BYTES, Unit};

use super::buffer::Buffer;

/// Bytes of the length prefix.
const LENGTH_PREFIX: usize = 4;
/// Bytes reserved for a frame because of its length prefix alone. Beyond that, the reservation is
/// limited to [`RESERVE_FACTOR`] times the bytes that have arrived, so that a prefix alone reserves
/// little memory.
const UNVERIFIED_RESERVE: usize = 4 * 1024;
/// See [`UNVERIFIED_RESERVE`].
const RESERVE_FACTOR: usize = 8;

/// Assembles frames.
///
/// A frame that arrived in one chunk is decoded in place, and its batch is copied, so that a
/// retained batch keeps only its own bytes in memory. A frame that arrived in several chunks is
/// gathered in memory of its own size, which its batch then shares.
#[derive(Debug, Default)]
pub(super) struct FrameAssembler {
    partial: Buffer,
    /// A frame that the remote sends in pieces, and its length.
    in_pieces: Option<(Buffer, usize)>,
    whole: VecDeque<(Frame, usize)>,
}

impl FrameAssembler {
    /// The next complete frame, and its size with the length prefix.
    pub(super) fn next(&mut self) -> Option<(Frame, usize)> {
        let next = self.whole.pop_front();
        if next.is_none() && self.whole.capacity() > 16 {
            self.whole = VecDeque::new();
        }
        next
    }

    /// Processes the next bytes. After an error, nothing more can be read from the link; the frames
    /// before it are complete.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), DecodeError> {
        while !bytes.is_empty() {
            bytes = if self.partial.bytes().is_empty() {
                self.start_frame(bytes)?
            } else {
                self.continue_frame(bytes)?
            };
        }
        Ok(())
    }

    /// Starts a frame; returns the bytes behind it.
    fn start_frame<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        if let Some(prefix) = bytes.first_chunk::<LENGTH_PREFIX>() {
            let unit = wire::unit(*prefix)?;
            let size = LENGTH_PREFIX + unit.len();
            if let Some((whole, rest)) = bytes.split_at_checked(size) {
                let body = whole.get(LENGTH_PREFIX..).unwrap_or_default();
                match unit {
                    Unit::Frame(_) => self.whole.push_back((wire::decode(body)?, size)),
                    piece => self.add_piece(piece, body)?,
                }
                return Ok(rest);
            }
            self.partial.reserve(size, reservation(size, bytes.len()));
        }
        self.partial.extend(bytes);
        Ok(&[])
    }

    /// Continues a frame; returns the bytes behind it.
    fn continue_frame<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        let missing = LENGTH_PREFIX.saturating_sub(self.partial.bytes().len()).min(bytes.len());
        let (prefix, bytes) = bytes.split_at(missing);
        self.partial.extend(prefix);
        let Some(prefix) = self.partial.bytes().first_chunk::<LENGTH_PREFIX>() else {
            return Ok(bytes);
        };
        let unit = wire::unit(*prefix)?;
        let size = LENGTH_PREFIX + unit.len();
        let missing = size.saturating_sub(self.partial.bytes().len()).min(bytes.len());
        let (now, rest) = bytes.split_at(missing);
        let have = self.partial.bytes().len() + now.len();
        if have > self.partial.capacity() {
            self.partial.reserve(size, reservation(size, have));
        }
        self.partial.extend(now);
        if have == size {
            let body = self.partial.finish().slice(LENGTH_PREFIX..);
            match unit {
                Unit::Frame(_) => self.whole.push_back((wire::decode_shared(&body)?, size)),
                piece => self.add_piece(piece, &body)?,
            }
        }
        Ok(rest)
    }

    /// Adds a piece of a frame.
    fn add_piece(&mut self, unit: Unit, body: &[u8]) -> Result<(), DecodeError> {
        let malformed = |what: &str| Err(DecodeError::Malformed(what.to_owned()));
        let (mut buffer, total, part) = match (unit, self.in_pieces.take()) {
            (Unit::First(_), None) => {
                let Some((total, part)) = body.split_first_chunk::<TOTAL_LENGTH_BYTES>() else {
                    return malformed("a first piece without a length");
                };
                (Buffer::default(), wire::header(*total, MAX_FRAME)?.length, part)
            }
            (Unit::Next(_), Some((buffer, total))) => (buffer, total, body),
            (Unit::Next(_), None) => return malformed("a piece of no frame"),
            _ => return malformed("a frame within the pieces of another"),
        };
        let have = buffer.bytes().len() + part.len();
        if part.is_empty() || have > total {
            return malformed("a piece that is empty, or goes beyond its frame");
        }
        if have > buffer.capacity() {
            buffer.reserve(total, reservation(total, have));
        }
        buffer.extend(part);
        if have == total {
            self.whole.push_back((wire::decode_shared(&buffer.finish())?, LENGTH_PREFIX + total));
        } else {
            self.in_pieces = Some((buffer, total));
        }
        Ok(())
    }
}

/// The bytes to reserve for a frame of which `have` bytes have arrived.
fn reservation(size: usize, have: usize) -> usize {
    size.min(UNVERIFIED_RESERVE.max(have.saturating_mul(RESERVE_FACTOR)))
}

#[cfg(test)]
mod tests {
    use rumormill_proto::wire::Ping;

    use super::*;

    #[test]
    fn frames_are_the_same_for_every_chunk_size() {
        let mut bytes = Vec::new();
        for nonce in 0..20 {
            bytes.extend_from_slice(&wire::encode(&Ping { nonce }.into()).to_bytes());
            bytes.extend_from_slice(&wire::encode(&Frame::Unknown(999)).to_bytes());
        }
        let mut all_at_once = FrameAssembler::default();
        all_at_once.feed(&bytes).unwrap();
        let expected: Vec<_> = std::iter::from_fn(|| all_at_once.next()).collect();
        assert_eq!(expected.len(), 40);
        assert_eq!(expected.iter().map(|(_, size)| size).sum::<usize>(), bytes.len());
        for piece in 1..bytes.len() {
            let mut frames = FrameAssembler::default();
            bytes.chunks(piece).for_each(|p| frames.feed(p).unwrap());
            let got: Vec<_> = std::iter::from_fn(|| frames.next()).collect();
            assert_eq!(got, expected, "in chunks of {piece}");
            assert!(frames.partial.bytes().is_empty());
        }
    }

    #[test]
    fn reserved_memory_is_bounded_by_bytes_received() {
        let mut frames = FrameAssembler::default();
        let prefix = u32::try_from(MAX_FRAME).unwrap().to_be_bytes();
        frames.feed(&prefix).unwrap();
        assert!(frames.partial.capacity() <= UNVERIFIED_RESERVE);
        for _ in 0..20 {
            frames.feed(&[0; 1000]).unwrap();
            assert!(
                frames.partial.capacity()
                    <= UNVERIFIED_RESERVE.max(RESERVE_FACTOR * frames.partial.bytes().len())
            );
        }
        let too_long = (MAX_FRAME as u32 + 1).to_be_bytes();
        assert!(matches!(
            FrameAssembler::default().feed(&too_long),
            Err(DecodeError::TooLong { .. })
        ));
    }

    #[test]
    fn pieces_out_of_place_are_refused() {
        let unit = |unit: Unit, body: &[u8]| [&unit.prefix()[..], body].concat();
        let total = |n: u32, rest: &[u8]| [&n.to_be_bytes()[..], rest].concat();
        let first = unit(Unit::First(6), &total(9, &[1, 2]));
        let refused = |bytes: &[Vec<u8>]| {
            let mut frames = FrameAssembler::default();
            frames.feed(&bytes.concat()).unwrap_err().to_string()
        };
        assert!(refused(&[unit(Unit::Next(2), &[1, 2])]).contains("no frame"));
        assert!(refused(&[first.clone(), first.clone()]).contains("within"));
        assert!(refused(&[first.clone(), unit(Unit::Next(0), &[])]).contains("empty"));
        assert!(refused(&[first, unit(Unit::Next(8), &[0; 8])]).contains("beyond"));
        assert!(refused(&[unit(Unit::First(4), &total(9, &[]))]).contains("empty"));
        assert!(refused(&[unit(Unit::First(2), &[1, 2])]).contains("without a length"));
        let huge = u32::try_from(MAX_FRAME).unwrap() + 1;
        assert!(refused(&[unit(Unit::First(6), &total(huge, &[1, 2]))]).contains("at most"));
    }

    #[test]
    fn frames_before_malformed_bytes_are_complete() {
        let mut bytes = wire::encode(&Ping { nonce: 1 }.into()).to_bytes().to_vec();
        bytes.extend_from_slice(&[0, 0, 0, 3, 1, 2, 3]);
        let mut frames = FrameAssembler::default();
        assert!(frames.feed(&bytes).is_err());
        assert!(matches!(frames.next(), Some((Frame::Ping(_), _))));
        assert!(frames.next().is_none());
    }
}
