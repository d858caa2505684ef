//! The reading half of a link: bytes to verified frames.

use std::sync::Arc;

use rumormill_proto::limits::MAX_FRAME;
use rumormill_proto::wire::{self, Frame, Verified};
use rumormill_proto::{CloseReason, LinkId};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::queue::LinkQueue;
use crate::counters::Tally;
use crate::net::{Arrival, Net};

/// What is set aside for a frame on its sender's word alone; beyond it, memory follows the bytes
/// that really came.
const ON_TRUST: usize = 4 * 1024;
/// A frame above this size takes a share of the memory for large frames until the driver has it,
/// and is checked on the blocking pool: it may hold hundreds of signatures.
const LARGE: usize = 32 * 1024;

/// How the reading half ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReaderEnd {
    /// The remote said goodbye.
    Closed(CloseReason),
    /// It ended without a word.
    Lost,
    /// The remote sent what it may not.
    Refused(String),
}

/// The reading half of one link.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    pub(crate) net: Arc<Net>,
    pub(crate) link: LinkId,
    pub(crate) queue: Arc<LinkQueue>,
    pub(crate) stream: R,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads until the link ends.
    pub(crate) async fn run(mut self) -> ReaderEnd {
        let mut body = Vec::new();
        loop {
            match self.one_frame(&mut body).await {
                Ok(()) => {}
                Err(end) => return end,
            }
            body.clear();
            body.shrink_to(ON_TRUST);
        }
    }

    async fn one_frame(&mut self, body: &mut Vec<u8>) -> Result<(), ReaderEnd> {
        let net = self.net.clone();
        self.read_body(body).await?;
        let frame = wire::decode(body).map_err(|e| {
            net.tally.frames_malformed.one();
            ReaderEnd::Refused(e.to_string())
        })?;
        count(&net.tally, &frame, body.len() + 4);
        match frame {
            Frame::Close(close) => return Err(ReaderEnd::Closed(close.reason)),
            Frame::Hello(_) => {
                net.tally.frames_out_of_place.one();
                return Err(ReaderEnd::Refused("a second Hello".to_owned()));
            }
            _ => {}
        }
        let frame = self.verify(frame, body.len()).await?;
        if self.queue.closing().is_some() {
            // The core has closed this link; it hears nothing of it any more but its end.
            return Ok(());
        }
        let _room = match u32::try_from(body.len()) {
            Ok(bytes) if body.len() > LARGE => {
                net.large.clone().acquire_many_owned(bytes).await.ok()
            }
            _ => None,
        };
        let news = Arrival::Frame { link: self.link, frame, _room };
        net.inputs.send(news).await.map_err(|_| ReaderEnd::Lost)
    }

    async fn read_body(&mut self, body: &mut Vec<u8>) -> Result<(), ReaderEnd> {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix).await.map_err(|_| ReaderEnd::Lost)?;
        let length = wire::header(prefix, MAX_FRAME)
            .map_err(|e| {
                self.net.tally.frames_too_long.one();
                ReaderEnd::Refused(e.to_string())
            })?
            .length;
        body.reserve(length.min(ON_TRUST));
        let mut rest = (&mut self.stream).take(length as u64);
        rest.read_to_end(body).await.map_err(|_| ReaderEnd::Lost)?;
        if body.len() < length { Err(ReaderEnd::Lost) } else { Ok(()) }
    }

    async fn verify(&self, frame: Frame, bytes: usize) -> Result<Verified<Frame>, ReaderEnd> {
        let verifier = self.net.verifier.clone();
        let result = if bytes <= LARGE {
            verifier.verify(frame)
        } else {
            // It fails only when the runtime shuts down, and the link with it.
            tokio::task::spawn_blocking(move || verifier.verify(frame))
                .await
                .map_err(|_| ReaderEnd::Lost)?
        };
        result.map_err(|e| {
            self.net.tally.frames_bad_signature.one();
            ReaderEnd::Refused(e.to_string())
        })
    }
}

fn count(tally: &Tally, frame: &Frame, bytes: usize) {
    tally.frames_in.one();
    match frame {
        Frame::Gossip(_) | Frame::Data(_) => &tally.bytes_in_payload,
        Frame::Summary(_) => &tally.bytes_in_announce,
        _ => &tally.bytes_in_control,
    }
    .add(bytes as u64);
}
