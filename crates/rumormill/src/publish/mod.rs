//! Publishing: directly into the core, or in order of arrival when the send window is full.

mod handover;
mod receipts;

use rumormill_proto::{MessageId, Peer};
use tokio::task::yield_now;

pub(crate) use handover::Handover;
pub use handover::{LeaveError, UnconfirmedMessages};
pub(crate) use receipts::PendingReceipts;
pub use receipts::{ReceiptError, ReceiptLost, Receipts};

use crate::driver::SharedCore;
use crate::error::{PublishError, StoppedError};
use crate::handle::Handle;

/// The reasons for which the core refuses a message.
type CoreRefusal = rumormill_proto::PublishError;

/// The id of a published message, and its receipts if they were requested.
type PublishedMessage = (MessageId, Option<Receipts>);

/// The result of one attempt to publish.
enum PublishAttempt {
    Done(Result<PublishedMessage, PublishError>),
    /// The send window is full.
    WindowFull,
    /// Whole batches wait to be signed.
    BatchesPending,
    /// Another task holds the lock of the core.
    CoreBusy,
}

/// Whether a publisher in a loop yields to the driver and to other tasks. It yields after it has
/// filled some batches; if it yielded more often, batches would be only as large as its turns are
/// long.
#[derive(Clone, Copy)]
enum YieldPolicy {
    /// The publisher yields if whole batches wait to be signed.
    Yield,
    /// The publisher has yielded already, or waits in turn, and publishes at once.
    Continue,
}

/// A message to be published.
#[derive(Clone, Copy)]
pub(crate) struct PublishRequest<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) receipt: bool,
}

impl Handle<Peer> {
    /// Publishes as soon as the send window admits the message. If cancelled, nothing was
    /// published.
    pub(crate) async fn publish(
        &self,
        request: PublishRequest<'_>,
    ) -> Result<PublishedMessage, PublishError> {
        self.gate().wait_while_frozen().await;
        let shared_core = self.shared_core();
        let mut policy = YieldPolicy::Yield;
        if !shared_core.has_blocked_publisher() {
            loop {
                match self.attempt(request, policy) {
                    PublishAttempt::Done(result) => return Self::yield_on_error(result).await,
                    PublishAttempt::WindowFull => break,
                    PublishAttempt::BatchesPending => {
                        yield_now().await;
                        policy = YieldPolicy::Continue;
                    }
                    PublishAttempt::CoreBusy => yield_now().await,
                }
            }
        }
        // The semaphore is never closed.
        let _turn = shared_core.publish_turn.acquire().await.map_err(|_| StoppedError)?;
        loop {
            let opened = shared_core.window_opened.notified();
            self.gate().wait_while_frozen().await;
            match self.attempt(request, YieldPolicy::Continue) {
                PublishAttempt::Done(result) => return Self::yield_on_error(result).await,
                PublishAttempt::WindowFull => opened.await,
                PublishAttempt::BatchesPending | PublishAttempt::CoreBusy => yield_now().await,
            }
        }
    }

    /// Yields after an error, so that a caller that retries at once does not starve other tasks.
    async fn yield_on_error(
        result: Result<PublishedMessage, PublishError>,
    ) -> Result<PublishedMessage, PublishError> {
        if result.is_err() {
            yield_now().await;
        }
        result
    }

    /// Publishes if the send window admits the message now and no other publisher waits for it.
    pub(crate) fn try_publish(
        &self,
        request: PublishRequest<'_>,
    ) -> Result<PublishedMessage, PublishError> {
        let shared_core = self.shared_core();
        if self.gate().is_frozen() || shared_core.has_blocked_publisher() {
            return Err(CoreRefusal::Busy.into());
        }
        let result = shared_core.with(|peer, now| self.publish_now(peer, now, request));
        result.unwrap_or_else(|| Err(StoppedError.into()))
    }

    fn attempt(&self, request: PublishRequest<'_>, policy: YieldPolicy) -> PublishAttempt {
        let publish_now = |peer: &mut Peer, now| match policy {
            YieldPolicy::Yield if peer.has_full_batches() => PublishAttempt::BatchesPending,
            _ => match self.publish_now(peer, now, request) {
                Err(PublishError::Refused(CoreRefusal::Busy)) => PublishAttempt::WindowFull,
                result => PublishAttempt::Done(result),
            },
        };
        match self.shared_core().try_with(publish_now) {
            Err(_) => PublishAttempt::CoreBusy,
            Ok(None) => PublishAttempt::Done(Err(StoppedError.into())),
            Ok(Some(attempt)) => attempt,
        }
    }

    fn publish_now(
        &self,
        peer: &mut Peer,
        now: rumormill_proto::Time,
        request: PublishRequest<'_>,
    ) -> Result<PublishedMessage, PublishError> {
        let PublishRequest { topic, payload, receipt } = request;
        if receipt && self.receipts().is_full() {
            return Err(ReceiptError::TooMany.into());
        }
        let id = peer.publish(now, topic, payload)?;
        let receipts = if receipt {
            // In the same step, so that the batch of this message already asks for
            // acknowledgements.
            Some(Receipts::open(self.shared_core(), self.receipts(), peer, now, id)?)
        } else {
            None
        };
        self.shared_core().wake.notify_one();
        Ok((id, receipts))
    }

    /// Receipts of a message that was published before.
    pub(crate) fn receipt(&self, id: MessageId) -> Result<Receipts, ReceiptError> {
        let shared_core = self.shared_core();
        let open =
            |peer: &mut Peer, now| Receipts::open(shared_core, self.receipts(), peer, now, id);
        let receipts = shared_core.with(open).unwrap_or_else(|| Err(StoppedError.into()))?;
        shared_core.wake.notify_one();
        Ok(receipts)
    }
}

/// The part of the core that [`Receipts`] need.
pub(crate) type SharedPeer = SharedCore<Peer>;
