//! One link: everything between Hello and the end of a connection.
//!
//! A link is one task with two halves. The reader checks, decodes and verifies, so that the driver
//! receives only frames with valid signatures. The writer empties the link's queues. The half that
//! ends first decides how the link ends; the driver is told once.

mod buffer;
mod duplex;
mod frames;
mod in_pieces;
mod pace;
mod queue;
mod reader;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use rumormill_proto::{CloseReason, Event, LinkEnd, LinkId, LinkInfo};
use tokio::time::timeout;
use tokio_rustls::TlsStream;

pub(crate) use queue::SharedLinkQueue;

use self::duplex::Duplex;
use self::reader::{Reader, ReaderEnd};
use self::writer::WriterEnd;
use crate::context::{DriverInput, NodeContext};
use crate::transport::Socket;

/// After a failed write: how long the reader may still look for the remote's close reason, which
/// may be in the receive buffer.
const CLOSE_REASON_WAIT: Duration = Duration::from_millis(250);

/// How a link ended.
struct LinkResult {
    why: LinkEnd,
    /// The error in the remote's last frame, if that ended the link.
    refusal: Option<String>,
    /// Whether the transport closed the link rather than the core: then no event reports it yet.
    needs_event: bool,
}

impl LinkResult {
    const fn new(why: LinkEnd) -> Self {
        LinkResult { why, refusal: None, needs_event: false }
    }

    const fn by_transport(reason: CloseReason, refusal: Option<String>) -> Self {
        LinkResult { why: LinkEnd::Local(reason), refusal, needs_event: true }
    }
}

/// Runs a link until it ends, and reports its beginning and its end to the driver.
pub(crate) async fn run(context: &Arc<NodeContext>, stream: TlsStream<Socket>, info: LinkInfo) {
    let link = context.next_link();
    let peer = info.remote;
    let queue = Arc::new(SharedLinkQueue::new(&context.tuning));
    context.counters.links_opened.increment();
    context
        .send_input(DriverInput::LinkUp { link, info: Box::new(info), queue: queue.clone() })
        .await;
    let flush = context.tuning.close_flush;
    let closed_by_core = async { LinkResult::new(LinkEnd::Local(queue.closed_since(flush).await)) };
    let end = context
        .partition
        .run(peer, run_halves(context, link, stream, &queue), closed_by_core)
        .await;
    queue.end();
    match end.why {
        LinkEnd::Closed(_) => &context.counters.links_closed_remote,
        LinkEnd::Lost => &context.counters.links_lost,
        LinkEnd::Local(_) => &context.counters.links_closed_local,
    }
    .increment();
    if end.why == LinkEnd::Local(CloseReason::TooSlow) {
        context.counters.links_too_slow.increment();
    }
    if let Some(why) = end.refusal {
        context.send_input(DriverInput::Event(Event::FrameRefused { peer, why })).await;
    }
    if let LinkEnd::Local(reason) = end.why
        && end.needs_event
    {
        context.send_input(DriverInput::Event(Event::LinkClosed { peer, reason })).await;
    }
    context.send_input(DriverInput::LinkDown { link, why: end.why }).await;
}

async fn run_halves(
    context: &Arc<NodeContext>,
    link: LinkId,
    stream: TlsStream<Socket>,
    queue: &Arc<SharedLinkQueue>,
) -> LinkResult {
    let stream = Duplex::new(stream);
    let reader = Reader { context, link, queue, stream: &stream };
    let mut reader = std::pin::pin!(reader.run());
    let mut writer = std::pin::pin!(writer::run(context, queue, &stream));
    let flush = context.tuning.close_flush;
    let end = tokio::select! {
        end = &mut reader => match end {
            ReaderEnd::Closed(reason) => LinkResult::new(LinkEnd::Closed(reason)),
            ReaderEnd::Lost => LinkResult::new(LinkEnd::Lost),
            ReaderEnd::Refused(why) if queue.closing().is_none() => {
                queue.close(CloseReason::ProtocolViolation);
                let _ = timeout(flush, &mut writer).await;
                return LinkResult::by_transport(CloseReason::ProtocolViolation, Some(why));
            }
            ReaderEnd::Refused(_) => LinkResult::new(LinkEnd::Lost),
        },
        end = &mut writer => match end {
            // Waits until the remote has closed as well, or its time is over. If this end closed
            // with unread bytes, the kernel would reset the connection, and the close reason would
            // be lost.
            WriterEnd::Closed(reason) => {
                let _ = timeout(flush, &mut reader).await;
                LinkResult::new(LinkEnd::Local(reason))
            }
            WriterEnd::Stalled => LinkResult::by_transport(CloseReason::TooSlow, None),
            WriterEnd::Lost => match timeout(CLOSE_REASON_WAIT, &mut reader).await {
                Ok(ReaderEnd::Closed(reason)) => LinkResult::new(LinkEnd::Closed(reason)),
                _ => LinkResult::new(LinkEnd::Lost),
            },
        },
        reason = queue.closed_since(flush) => LinkResult::new(LinkEnd::Local(reason)),
    };
    // A link that the core has closed ends by this node's reason, whatever arrived first.
    match queue.closing() {
        Some(reason) => LinkResult::new(LinkEnd::Local(reason)),
        None => end,
    }
}

#[cfg(test)]
mod tests {
    use rumormill_proto::Address;
    use rumormill_proto::wire::{Frame, Neighbourhood};

    use crate::tests::identity;

    /// A frame of about 11 KiB.
    pub(super) fn bulky() -> Frame {
        let address = Address("192.0.2.1:7000".parse().unwrap());
        let neighbours = vec![(identity(1).id(), address); 256];
        Neighbourhood { neighbours: neighbours.into(), degree: 256, target: 256 }.into()
    }
}
