//! Publishing: into the core at once, or after those who waited before for room.

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

type Refused = rumormill_proto::PublishError;

/// A message that was taken, with its receipts if they were wanted.
type Taken = (MessageId, Option<Receipts>);

/// What came of an attempt.
enum Attempt {
    Done(Result<Taken, PublishError>),
    /// There is no room now.
    Busy,
    /// Whole batches wait to be signed.
    Full,
    /// Somebody else is at the core.
    Occupied,
}

/// Whether a publisher in a loop lets the driver and others have their turn. It does so when it has
/// filled some batches; if it did so more often, they would be as small as its turns are short.
#[derive(Clone, Copy)]
enum Manners {
    Polite,
    /// It has let them.
    Resolute,
}

/// What is to be published.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) receipt: bool,
}

impl Handle<Peer> {
    /// Publishes as soon as there is room. Cancelled, it has published nothing.
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
        // It is never closed.
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

    /// Whoever goes on after an error without a pause lets others have their turn.
    async fn done(result: Result<Taken, PublishError>) -> Result<Taken, PublishError> {
        if result.is_err() {
            yield_now().await;
        }
        result
    }

    /// Publishes if there is room now and nobody waits for it.
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
            // In the same step: nobody gathers acknowledgements of what is waited for.
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

/// What [`Receipts`] need of the core.
pub(crate) type PeerSeat = Seat<Peer>;
