//! The writing half of a link.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::IoSlice;
use std::time::Duration;

use rumormill_proto::wire::{self, Close, Encoded};
use rumormill_proto::{Class, CloseReason};
use tokio::time::{Instant, timeout, timeout_at};

use super::duplex::Duplex;
use super::queue::{DequeueOutcome, SharedLinkQueue};
use crate::context::NodeContext;
use crate::counters::TransportCounters;

/// The writer takes frames up to this size from the queue and writes them together: several TLS
/// records with one system call. On a slow link the window allows less (see
/// [`SendWindow`](super::pace::SendWindow)).
pub(super) const MAX_BURST: usize = 128 * 1024;
/// The most slices passed to TLS at once.
const MAX_SLICES: usize = 128;

/// How the writing half ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriterEnd {
    /// All frames are written; the close reason was the last one.
    Closed(CloseReason),
    /// The remote reads nothing more.
    Stalled,
    /// The connection failed.
    Lost,
}

/// Writes what is queued until the link is closed.
pub(crate) async fn run(
    context: &NodeContext,
    queue: &SharedLinkQueue,
    stream: &Duplex,
) -> WriterEnd {
    let stall = context.tuning.write_stall;
    let mut burst = Burst::default();
    loop {
        let add = |class, frame| burst.add(&context.counters, class, frame);
        let step = match queue.take(MAX_BURST, Instant::now(), add) {
            DequeueOutcome::Frames => {
                if context.own_batches.has_waiting() && queue.has_taken_own_payloads() {
                    // While this burst is encrypted and written, the publisher packs the next
                    // batches.
                    context.own_batches.mark_taken();
                }
                burst.write(stream, stall).await
            }
            DequeueOutcome::Empty => {
                let flushed = with_stall_timeout(stall, poll_fn(|cx| stream.poll_flush(cx))).await;
                if flushed.is_ok() {
                    queue.changed().await;
                }
                flushed
            }
            DequeueOutcome::WindowClosed(until) => {
                let flushed = with_stall_timeout(stall, poll_fn(|cx| stream.poll_flush(cx))).await;
                match flushed {
                    Ok(()) => {
                        timeout_at(until, queue.changed()).await.map_err(|_| WriterEnd::Stalled)
                    }
                    lost => lost,
                }
            }
            DequeueOutcome::Close(reason) => {
                let close = wire::encode(&Close { reason }.into());
                burst.add(&context.counters, Class::Control, close);
                return match write_last(&mut burst, stream, stall).await {
                    Ok(()) => WriterEnd::Closed(reason),
                    Err(end) => end,
                };
            }
        };
        if let Err(end) = step {
            return end;
        }
    }
}

/// Writes the last burst and shuts the connection down.
async fn write_last(burst: &mut Burst, stream: &Duplex, stall: Duration) -> Result<(), WriterEnd> {
    burst.write(stream, stall).await?;
    with_stall_timeout(stall, poll_fn(|cx| stream.poll_flush(cx))).await?;
    // The frame is out. The TLS close alert adds nothing to it, so its failure is ignored.
    let _ = with_stall_timeout(stall, poll_fn(|cx| stream.poll_shutdown(cx))).await;
    Ok(())
}

/// Frames that are written together without being copied.
#[derive(Debug, Default)]
struct Burst {
    frames: VecDeque<Encoded>,
    /// Bytes of the first frame that are already written.
    written: usize,
}

impl Burst {
    fn add(&mut self, counters: &TransportCounters, class: Class, frame: Encoded) {
        counters.frames_out.increment();
        match class {
            Class::Liveness => &counters.bytes_out_liveness,
            Class::Control | Class::Last => &counters.bytes_out_control,
            Class::Announce => &counters.bytes_out_announce,
            Class::Payload => &counters.bytes_out_payload,
            Class::History => &counters.bytes_out_history,
        }
        .add(frame.len() as u64);
        self.frames.push_back(frame);
    }

    /// Writes all frames. The timeout applies to each write that makes progress, not to the whole.
    async fn write(&mut self, stream: &Duplex, stall: Duration) -> Result<(), WriterEnd> {
        while !self.frames.is_empty() {
            let written = poll_fn(|cx| stream.poll_write(cx, &self.slices()));
            match with_stall_timeout(stall, written).await? {
                0 => return Err(WriterEnd::Lost),
                n => self.advance(n),
            }
        }
        self.frames.shrink_to(4);
        Ok(())
    }

    fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut skip = self.written;
        let mut slices = Vec::with_capacity((2 * self.frames.len()).min(MAX_SLICES));
        for part in self.frames.iter().flat_map(|f| [&f.head, &f.tail]) {
            let rest = part.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(part.len());
            if !rest.is_empty() {
                slices.push(IoSlice::new(rest));
            }
            if slices.len() == MAX_SLICES {
                break;
            }
        }
        slices
    }

    fn advance(&mut self, n: usize) {
        self.written += n;
        while let Some(first) = self.frames.front()
            && first.len() <= self.written
        {
            self.written -= first.len();
            self.frames.pop_front();
        }
    }
}

async fn with_stall_timeout<T>(
    stall: Duration,
    io: impl Future<Output = std::io::Result<T>>,
) -> Result<T, WriterEnd> {
    match timeout(stall, io).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) => Err(WriterEnd::Lost),
        Err(_) => Err(WriterEnd::Stalled),
    }
}
