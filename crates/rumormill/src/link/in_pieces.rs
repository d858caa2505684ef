//! A large frame that the writer sends in pieces.

use bytes::Bytes;
use rumormill_proto::Class;
use rumormill_proto::wire::{Encoded, TOTAL_LENGTH_BYTES, Unit};

/// Bytes of the length prefix.
const LENGTH_PREFIX: usize = 4;

/// A frame of which the first piece is written or is about to be written.
#[derive(Debug)]
pub(super) struct SplitFrame {
    pub(super) class: Class,
    frame: Encoded,
    /// Bytes of its body that are written.
    written: usize,
}

impl SplitFrame {
    pub(super) const fn new(class: Class, frame: Encoded) -> Self {
        SplitFrame { class, frame, written: 0 }
    }

    fn body(&self) -> usize {
        self.frame.len() - LENGTH_PREFIX
    }

    pub(super) fn is_done(&self) -> bool {
        self.written == self.body()
    }

    /// The next piece: at most `most` bytes of the frame, and at least one.
    pub(super) fn next(&mut self, most: usize) -> Encoded {
        let rest = self.body() - self.written;
        // The first piece is never the whole body: a frame in pieces has at least two.
        let bytes = if self.written == 0 { rest - 1 } else { rest }.min(most.max(1));
        let mut head = Vec::new();
        if self.written == 0 {
            head.extend_from_slice(&Unit::First(TOTAL_LENGTH_BYTES + bytes).prefix());
            head.extend_from_slice(&u32::try_from(self.body()).unwrap_or(u32::MAX).to_be_bytes());
        } else {
            head.extend_from_slice(&Unit::Next(bytes).prefix());
        }
        let (from, to) = (LENGTH_PREFIX + self.written, LENGTH_PREFIX + self.written + bytes);
        let in_head = self.frame.head.len();
        head.extend_from_slice(&self.frame.head[from.min(in_head)..to.min(in_head)]);
        let tail = self.frame.tail.slice(from.saturating_sub(in_head)..to.saturating_sub(in_head));
        self.written += bytes;
        Encoded { head: Bytes::from(head), tail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::frames::FrameAssembler;
    use rumormill_proto::wire::{self, Frame, Ping, PositionAck};

    #[test]
    fn frame_in_pieces_of_any_size_is_read_as_the_same_frame() {
        let frame = super::super::tests::bulky();
        let encoded = wire::encode(&frame);
        let split = Encoded { head: encoded.head.slice(..9), tail: encoded.head.slice(9..) };
        for form in [encoded.clone(), split] {
            for most in [1, 3, 100, encoded.len() / 2, encoded.len(), 1 << 20] {
                let mut pieces = SplitFrame::new(Class::Control, form.clone());
                let mut frames = FrameAssembler::default();
                while !pieces.is_done() {
                    frames.feed(&pieces.next(most).to_bytes()).unwrap();
                    frames.feed(&wire::encode(&Ping { nonce: 7 }.into()).to_bytes()).unwrap();
                }
                let mut got: Vec<Frame> =
                    std::iter::from_fn(|| frames.next()).map(|f| f.0).collect();
                let large =
                    got.iter().position(|f| *f == frame).expect("the large frame is among them");
                got.remove(large);
                assert!(got.iter().all(|f| matches!(f, Frame::Ping(_))) && !got.is_empty());
            }
        }
        let small = wire::encode(&PositionAck { bytes: 1 }.into());
        let mut pieces = SplitFrame::new(Class::Control, small);
        while !pieces.is_done() {
            pieces.next(usize::MAX);
        }
    }
}
