//! Publishing: directly into the core, or in order of arrival when the send window is full.

mod handover;
mod receipts;

use rumormill_proto::{MessageId, Peer};
use tokio::task::yield_now;

pub(crate) use handover::Handover;
pub use handover::{LeaveError, Unconfirmed};
pub(crate) use receipts::ReceiptBook;
pub use receipts::{ReceiptError, ReceiptLost, Receipts};

use crate::driver::Seat;
use crate::error::{PublishError, Stopped};
use crate::handle::Handle;

/// The reasons for which the core refuses a message.
type Refused = rumormill_proto::PublishError;

/// The id of a published message, and its receipts if they were requested.
type Taken = (MessageId, Option<Receipts>);

/// The result of one attempt to publish.
enum Attempt {
    Done(Result<Taken, PublishError>),
    /// The send window is full.
    Busy,
    /// Whole batches wait to be signed.
    Full,
    /// Another task holds the lock of the core.
    Occupied,
}

/// Whether a publisher in a loop yields to the driver and to other tasks. It yields after it has
/// filled some batches; if it yielded more often, batches would be only as large as its turns are
/// long.
#[derive(Clone, Copy)]
enum Manners {
    Polite,
    /// The publisher has yielded already.
    Resolute,
}

/// A message to be published.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) receipt: bool,
}

impl Handle<Peer> {
    /// Publishes as soon as the send window admits the message. If cancelled, nothing was
    /// published.
    pub(crate) async fn publish(&self, request: Request<'_>) -> Result<Taken, PublishError> {
        self.gate().running().await;
        let seat = self.seat();
        let mut manners = Manners::Polite;
        if !seat.is_awaited() {
            loop {
                match self.attempt(request, manners) {
                    Attempt::Done(result) => return Self::done(result).await,
                    Attempt::Busy => break,
                    Attempt::Full => {
                        yield_now().await;
                        manners = Manners::Resolute;
                    }
                    Attempt::Occupied => yield_now().await,
                }
            }
        }
        // The semaphore is never closed.
        let _turn = seat.turn.acquire().await.map_err(|_| Stopped)?;
        loop {
            let room = seat.room.notified();
            self.gate().running().await;
            match self.attempt(request, Manners::Resolute) {
                Attempt::Done(result) => return Self::done(result).await,
                Attempt::Busy => room.await,
                Attempt::Full | Attempt::Occupied => yield_now().await,
            }
        }
    }

    /// Yields after an error, so that a caller that retries at once does not starve other tasks.
    async fn done(result: Result<Taken, PublishError>) -> Result<Taken, PublishError> {
        if result.is_err() {
            yield_now().await;
        }
        result
    }

    /// Publishes if the send window admits the message now and no other publisher waits for it.
    pub(crate) fn try_publish(&self, request: Request<'_>) -> Result<Taken, PublishError> {
        let seat = self.seat();
        if self.gate().is_frozen() || seat.is_awaited() {
            return Err(Refused::Busy.into());
        }
        let result = seat.with(|peer, now| self.put(peer, now, request));
        result.unwrap_or_else(|| Err(Stopped.into()))
    }

    fn attempt(&self, request: Request<'_>, manners: Manners) -> Attempt {
        let put = |peer: &mut Peer, now| match manners {
            Manners::Polite if peer.has_a_turnful() => Attempt::Full,
            _ => match self.put(peer, now, request) {
                Err(PublishError::Refused(Refused::Busy)) => Attempt::Busy,
                result => Attempt::Done(result),
            },
        };
        match self.seat().try_with(put) {
            Err(_) => Attempt::Occupied,
            Ok(None) => Attempt::Done(Err(Stopped.into())),
            Ok(Some(attempt)) => attempt,
        }
    }

    fn put(
        &self,
        peer: &mut Peer,
        now: rumormill_proto::Time,
        request: Request<'_>,
    ) -> Result<Taken, PublishError> {
        let Request { topic, payload, receipt } = request;
        if receipt && self.receipts().is_full() {
            return Err(ReceiptError::TooMany.into());
        }
        let id = peer.publish(now, topic, payload)?;
        let receipts = if receipt {
            // In the same step, so that the batch of this message already asks for
            // acknowledgements.
            Some(Receipts::open(self.seat(), self.receipts(), peer, now, id)?)
        } else {
            None
        };
        self.seat().poke.notify_one();
        Ok((id, receipts))
    }

    /// Receipts of a message that was published before.
    pub(crate) fn receipt(&self, id: MessageId) -> Result<Receipts, ReceiptError> {
        let seat = self.seat();
        let open = |peer: &mut Peer, now| Receipts::open(seat, self.receipts(), peer, now, id);
        let receipts = seat.with(open).unwrap_or_else(|| Err(Stopped.into()))?;
        seat.poke.notify_one();
        Ok(receipts)
    }
}

/// The part of the core that [`Receipts`] need.
pub(crate) type PeerSeat = Seat<Peer>;
