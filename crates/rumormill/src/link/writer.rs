//! The writing half of a link.

use std::sync::Arc;
use std::time::Duration;

use rumormill_proto::wire::{self, Close};
use rumormill_proto::{Class, CloseReason};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::queue::{LinkQueue, Next};
use crate::counters::Tally;
use crate::net::Net;

/// Frames are gathered up to this size before they are written: one TLS record, and no more
/// encryption and system calls than needed.
const RECORD: usize = 16 * 1024;
/// A frame of this size is not worth copying beside others.
const LARGE: usize = 8 * 1024;
/// What an idle link keeps of its write buffer.
const IDLE_BUFFER: usize = 2 * 1024;

/// How the writing half ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriterEnd {
    /// All written, the goodbye last.
    Closed(CloseReason),
    /// The remote takes nothing any more.
    Stalled,
    /// The connection failed.
    Lost,
}

/// Writes what is queued until the link is closed.
pub(crate) async fn run<W>(net: &Arc<Net>, queue: &LinkQueue, mut stream: W) -> WriterEnd
where
    W: AsyncWrite + Unpin,
{
    let stall = net.tuning.write_stall;
    let mut buffer = Vec::new();
    loop {
        match queue.next() {
            Next::Frame(class, frame) => {
                count(&net.tally, class, frame.len());
                // The order must hold: what was gathered before goes first.
                if frame.len() >= LARGE || buffer.len() + frame.len() > RECORD {
                    if let Err(end) = write(&mut stream, &buffer, stall).await {
                        return end;
                    }
                    buffer.clear();
                }
                if frame.len() < LARGE {
                    buffer.extend_from_slice(&frame);
                } else if let Err(end) = write(&mut stream, &frame, stall).await {
                    return end;
                }
            }
            Next::Wait => {
                if let Err(end) = write(&mut stream, &buffer, stall).await {
                    return end;
                }
                buffer.clear();
                buffer.shrink_to(IDLE_BUFFER);
                if let Err(end) = within(stall, stream.flush()).await {
                    return end;
                }
                queue.changed().await;
            }
            Next::Close(reason) => {
                let goodbye = wire::encode(&Close { reason }.into());
                count(&net.tally, Class::Control, goodbye.len());
                buffer.extend_from_slice(&goodbye);
                if let Err(end) = write(&mut stream, &buffer, stall).await {
                    return end;
                }
                if let Err(end) = within(stall, stream.flush()).await {
                    return end;
                }
                // The frame is out; whether TLS's own goodbye follows changes nothing.
                let _ = within(stall, stream.shutdown()).await;
                return WriterEnd::Closed(reason);
            }
        }
    }
}

fn count(tally: &Tally, class: Class, bytes: usize) {
    tally.frames_out.one();
    match class {
        Class::Control => &tally.bytes_out_control,
        Class::Announce => &tally.bytes_out_announce,
        Class::Payload => &tally.bytes_out_payload,
    }
    .add(bytes as u64);
}

/// Writes all of it; the deadline is for progress, not for the whole.
async fn write<W>(stream: &mut W, mut bytes: &[u8], stall: Duration) -> Result<(), WriterEnd>
where
    W: AsyncWrite + Unpin,
{
    while !bytes.is_empty() {
        match within(stall, stream.write(bytes)).await? {
            0 => return Err(WriterEnd::Lost),
            n => bytes = bytes.get(n..).unwrap_or_default(),
        }
    }
    Ok(())
}

async fn within<T>(
    stall: Duration,
    io: impl Future<Output = std::io::Result<T>>,
) -> Result<T, WriterEnd> {
    match timeout(stall, io).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) => Err(WriterEnd::Lost),
        Err(_) => Err(WriterEnd::Stalled),
    }
}
