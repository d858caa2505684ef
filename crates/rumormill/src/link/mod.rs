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

use rumormill_proto::{CloseReason, Event, LinkDown, LinkId, LinkInfo};
use tokio::time::timeout;
use tokio_rustls::TlsStream;

pub(crate) use queue::{LinkQueue, Pushed};

use self::duplex::Duplex;
use self::reader::{Reader, ReaderEnd};
use self::writer::WriterEnd;
use crate::net::{Arrival, Net};
use crate::transport::Socket;

/// After a failed write: how long the reader may still look for the remote's close reason, which
/// may be in the receive buffer.
const LAST_WORD: Duration = Duration::from_millis(250);

/// How a link ended.
struct End {
    why: LinkDown,
    /// The error in the remote's last frame, if that ended the link.
    refusal: Option<String>,
    /// Whether the transport closed the link rather than the core: then no event reports it yet.
    untold: bool,
}

impl End {
    const fn of(why: LinkDown) -> Self {
        End { why, refusal: None, untold: false }
    }

    const fn by_transport(reason: CloseReason, refusal: Option<String>) -> Self {
        End { why: LinkDown::Local(reason), refusal, untold: true }
    }
}

/// Runs a link until it ends, and reports its beginning and its end to the driver.
pub(crate) async fn run(net: &Arc<Net>, stream: TlsStream<Socket>, info: LinkInfo) {
    let link = net.next_link();
    let peer = info.remote;
    let queue = Arc::new(LinkQueue::new(&net.tuning));
    net.tally.links_opened.one();
    net.tell(Arrival::Up { link, info: Box::new(info), queue: queue.clone() }).await;
    let flush = net.tuning.close_flush;
    let given_up = async { End::of(LinkDown::Local(queue.closed_for(flush).await)) };
    let end = net.wall.govern(peer, converse(net, link, stream, &queue), given_up).await;
    queue.end();
    match end.why {
        LinkDown::Closed(_) => &net.tally.links_closed_remote,
        LinkDown::Lost => &net.tally.links_lost,
        LinkDown::Local(_) => &net.tally.links_closed_local,
    }
    .one();
    if end.why == LinkDown::Local(CloseReason::TooSlow) {
        net.tally.links_too_slow.one();
    }
    if let Some(why) = end.refusal {
        net.tell(Arrival::Tell(Event::FrameRefused { peer, why })).await;
    }
    if let LinkDown::Local(reason) = end.why
        && end.untold
    {
        net.tell(Arrival::Tell(Event::LinkClosed { peer, reason })).await;
    }
    net.tell(Arrival::Down { link, why: end.why }).await;
}

async fn converse(
    net: &Arc<Net>,
    link: LinkId,
    stream: TlsStream<Socket>,
    queue: &Arc<LinkQueue>,
) -> End {
    let stream = Duplex::new(stream);
    let reader = Reader { net, link, queue, stream: &stream };
    let mut reader = std::pin::pin!(reader.run());
    let mut writer = std::pin::pin!(writer::run(net, queue, &stream));
    let flush = net.tuning.close_flush;
    let end = tokio::select! {
        end = &mut reader => match end {
            ReaderEnd::Closed(reason) => End::of(LinkDown::Closed(reason)),
            ReaderEnd::Lost => End::of(LinkDown::Lost),
            ReaderEnd::Refused(why) if queue.closing().is_none() => {
                queue.close(CloseReason::ProtocolViolation);
                let _ = timeout(flush, &mut writer).await;
                return End::by_transport(CloseReason::ProtocolViolation, Some(why));
            }
            ReaderEnd::Refused(_) => End::of(LinkDown::Lost),
        },
        end = &mut writer => match end {
            // Waits until the remote has closed as well, or its time is over. If this end closed
            // with unread bytes, the kernel would reset the connection, and the close reason would
            // be lost.
            WriterEnd::Closed(reason) => {
                let _ = timeout(flush, &mut reader).await;
                End::of(LinkDown::Local(reason))
            }
            WriterEnd::Stalled => End::by_transport(CloseReason::TooSlow, None),
            WriterEnd::Lost => match timeout(LAST_WORD, &mut reader).await {
                Ok(ReaderEnd::Closed(reason)) => End::of(LinkDown::Closed(reason)),
                _ => End::of(LinkDown::Lost),
            },
        },
        reason = queue.closed_for(flush) => End::of(LinkDown::Local(reason)),
    };
    // A link that the core has closed ends by this node's reason, whatever arrived first.
    match queue.closing() {
        Some(reason) => End::of(LinkDown::Local(reason)),
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
