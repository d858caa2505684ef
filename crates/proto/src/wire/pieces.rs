//! Large frames in pieces, so that a more urgent frame need not wait for the end of one (section
//! 2.1 of docs/PROTOCOL.md).
//!
//! The two highest bits of a length prefix tell the kind of unit that follows. Between the pieces
//! of one frame there may be whole frames, but no pieces of another.

use super::codec::DecodeError;
use crate::limits::MAX_FRAME;

/// Bit of a prefix of the first piece of a frame.
const FIRST: u32 = 1 << 30;
/// Bit of a prefix of a further piece.
const NEXT: u32 = 1 << 31;
/// Bytes in front of the first piece: the length of the whole frame.
pub const TOTAL_LENGTH_BYTES: usize = 4;

/// The unit that follows a length prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A whole frame of this many bytes.
    Frame(usize),
    /// The length of a frame in pieces (four bytes), and its first piece: this many bytes in all.
    First(usize),
    /// This many further bytes of the frame in pieces.
    Next(usize),
}

impl Unit {
    /// Bytes that follow the prefix.
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Unit::Frame(n) | Unit::First(n) | Unit::Next(n) => n,
        }
    }

    /// Whether nothing follows. A reader refuses such a unit.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The prefix.
    #[must_use]
    pub fn prefix(self) -> [u8; 4] {
        let length = u32::try_from(self.len()).unwrap_or(u32::MAX);
        let bits = match self {
            Unit::Frame(_) => 0,
            Unit::First(_) => FIRST,
            Unit::Next(_) => NEXT,
        };
        (length | bits).to_be_bytes()
    }
}

/// Reads a prefix on an established link, before anything is allocated.
///
/// # Errors
/// [`DecodeError::TooLong`]: more than [`MAX_FRAME`] bytes. The link cannot be used any more.
pub fn unit(prefix: [u8; 4]) -> Result<Unit, DecodeError> {
    let word = u32::from_be_bytes(prefix);
    let length = |bits: u32| {
        let length = usize::try_from(word & !bits).unwrap_or(usize::MAX);
        if length > MAX_FRAME {
            return Err(DecodeError::TooLong { length, limit: MAX_FRAME });
        }
        Ok(length)
    };
    match (word & NEXT != 0, word & FIRST != 0) {
        (false, false) | (true, true) => length(0).map(Unit::Frame),
        (false, true) => length(FIRST).map(Unit::First),
        (true, false) => length(NEXT).map(Unit::Next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_tells_the_unit_and_its_bounded_length() {
        for unit_ in [Unit::Frame(0), Unit::Frame(MAX_FRAME), Unit::First(5), Unit::Next(70_000)] {
            assert_eq!(unit(unit_.prefix()), Ok(unit_));
        }
        for too_long in [Unit::Frame(MAX_FRAME + 1), Unit::First(MAX_FRAME + 1)] {
            assert!(matches!(unit(too_long.prefix()), Err(DecodeError::TooLong { .. })));
        }
        let both = u32::MAX.to_be_bytes();
        assert!(matches!(unit(both), Err(DecodeError::TooLong { length, .. }) if length > 1 << 31));
    }
}
