//! The reading half of a link: bytes to verified frames.

use std::future::poll_fn;
use std::sync::Arc;

use rumormill_proto::wire::{DecodeError, Frame, Verified};
use rumormill_proto::{CloseReason, LinkId};
use tokio::time::Instant;

use super::duplex::Duplex;
use super::frames::FrameAssembler;
use super::queue::SharedLinkQueue;
use crate::context::{DriverInput, NodeContext};
use crate::counters::TransportCounters;

/// The signatures of a frame above this size are verified on the blocking pool.
const MAX_INLINE_VERIFY: usize = 32 * 1024;

/// How the reading half ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReaderEnd {
    /// The remote closed the link with a reason.
    Closed(CloseReason),
    /// The connection ended without a close reason.
    Lost,
    /// The remote sent a frame that the protocol does not allow.
    Refused(String),
}

/// The reading half of one link.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) context: &'a Arc<NodeContext>,
    pub(crate) link: LinkId,
    pub(crate) queue: &'a SharedLinkQueue,
    pub(crate) stream: &'a Duplex,
}

impl Reader<'_> {
    /// Reads until the link ends.
    pub(crate) async fn run(self) -> ReaderEnd {
        let mut frames = FrameAssembler::default();
        loop {
            let fed = poll_fn(|cx| self.stream.poll_chunk(cx, |bytes| frames.feed(bytes))).await;
            let Ok(Some(fed)) = fed else { return ReaderEnd::Lost };
            while let Some((frame, size)) = frames.next() {
                if let Err(end) = self.handle_frame(frame, size).await {
                    return end;
                }
            }
            if let Err(e) = fed {
                return self.refuse(&e);
            }
        }
    }

    fn refuse(&self, e: &DecodeError) -> ReaderEnd {
        match e {
            DecodeError::TooLong { .. } => &self.context.counters.frames_too_long,
            DecodeError::Malformed(_) => &self.context.counters.frames_malformed,
        }
        .increment();
        ReaderEnd::Refused(e.to_string())
    }

    async fn handle_frame(&self, frame: Frame, size: usize) -> Result<(), ReaderEnd> {
        let context = self.context;
        count_frame(&context.counters, &frame, size);
        match frame {
            Frame::Close(close) => return Err(ReaderEnd::Closed(close.reason)),
            Frame::Hello(_) => {
                context.counters.frames_out_of_place.increment();
                return Err(ReaderEnd::Refused("a second Hello".to_owned()));
            }
            // All frames before it are with the driver, or have their place in its inbox.
            Frame::Position(f) => {
                self.queue.report_read(f.bytes);
                return Ok(());
            }
            Frame::PositionAck(f) => {
                self.queue.record_read(f.bytes, Instant::now(), self.context.lateness.get());
                return Ok(());
            }
            _ => {}
        }
        let frame = self.verify(frame, size).await?;
        if self.queue.closing().is_some() {
            // The core has closed this link: it hears no more of it except its end.
            return Ok(());
        }
        let input = DriverInput::Frame { link: self.link, frame };
        context.inbox.push_frame(self.link, input, size).await;
        Ok(())
    }

    async fn verify(&self, frame: Frame, size: usize) -> Result<Verified<Frame>, ReaderEnd> {
        let verifier = &self.context.verifier;
        let one_signature = matches!(frame, Frame::Gossip(_) | Frame::Data(_));
        let result = if one_signature || size <= MAX_INLINE_VERIFY {
            verifier.verify(frame)
        } else {
            // The frame may hold hundreds of signatures.
            let verifier = verifier.clone();
            // This fails only when the runtime shuts down, and the link with it.
            tokio::task::spawn_blocking(move || verifier.verify(frame))
                .await
                .map_err(|_| ReaderEnd::Lost)?
        };
        result.map_err(|e| {
            self.context.counters.frames_bad_signature.increment();
            ReaderEnd::Refused(e.to_string())
        })
    }
}

fn count_frame(counters: &TransportCounters, frame: &Frame, size: usize) {
    counters.frames_in.increment();
    match frame {
        Frame::Gossip(g) if g.pulled => &counters.bytes_in_history,
        Frame::PullEnd(_) => &counters.bytes_in_history,
        Frame::Gossip(_) | Frame::Data(_) => &counters.bytes_in_payload,
        Frame::Announce(_) | Frame::Ack(_) | Frame::Census(_) => &counters.bytes_in_announce,
        frame if frame.is_liveness() => &counters.bytes_in_liveness,
        _ => &counters.bytes_in_control,
    }
    .add(size as u64);
}
