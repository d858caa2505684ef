//! Delivery receipts: which peers hold a message.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rumormill_proto::limits::MAX_RECEIPTS;
use rumormill_proto::snapshot::Receipt;
use rumormill_proto::{MessageId, Peer, Time};
use tokio::sync::watch;

use super::SharedPeer;
use crate::error::StoppedError;

/// Why there are no receipts of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// Receipts exist only for messages in the current stream of this node.
    #[error("{0} is not a message in the current stream of this node")]
    NotOwn(MessageId),
    /// Too many receipts are pending.
    #[error(
        "receipts of {MAX_RECEIPTS} messages are pending, which is the limit: wait for some \
             of them first, or drop them"
    )]
    TooMany,
    /// The node has ended.
    #[error(transparent)]
    Stopped(#[from] StoppedError),
}

/// No further update comes for a message: the node has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no further receipt for {id}: the node has stopped")]
pub struct ReceiptLost {
    /// The message.
    pub id: MessageId,
}

type Sender = watch::Sender<Option<Receipt>>;

/// The receipts that callers wait for.
#[derive(Debug, Default)]
pub(crate) struct PendingReceipts(Mutex<BTreeMap<MessageId, Sender>>);

impl PendingReceipts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<MessageId, Sender>> {
        // Nothing in here panics halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.lock().len() >= MAX_RECEIPTS
    }

    /// Passes on a new count for a message.
    pub(crate) fn update(&self, receipt: Receipt) {
        let mut pending = self.lock();
        if receipt.complete {
            if let Some(sender) = pending.remove(&receipt.id) {
                sender.send_replace(Some(receipt));
            }
        } else if let Some(sender) = pending.get(&receipt.id) {
            sender.send_replace(Some(receipt));
        }
    }

    /// Renames the receipts of a stream whose epoch has changed; sequence numbers stay.
    pub(crate) fn move_stream(&self, from: u64, to: u64) {
        let mut pending = self.lock();
        let all = std::mem::take(&mut *pending).into_iter();
        *pending = all
            .map(|(id, sender)| match id.epoch == from {
                true => (MessageId { epoch: to, ..id }, sender),
                false => (id, sender),
            })
            .collect();
    }

    /// Ends all receipts, because the node has ended.
    pub(crate) fn close(&self) {
        self.lock().clear();
    }
}

/// The spread of a message: an update whenever more peers hold it, until all live peers that
/// participate do.
///
/// A peer participates once it has had a neighbour since its process started. No receipt is
/// complete before this node has joined, or while it reaches no seed; a node without seeds is a
/// network of one peer. [`Receipt::missing`] names the peers that are not known to hold the
/// message. A peer that dies or leaves in the meantime is no longer counted, and the receipt says
/// why ([`Receipt::departed`]). Dropping this cancels the receipt.
///
/// ```
/// use rumormill::Node;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let node = Node::builder().listen("127.0.0.1:0".parse()?).start().await?;
/// let (id, receipts) = node.publish_with_receipt("greetings", "hello").await?;
/// let receipt = receipts.wait().await?;
/// assert_eq!((receipt.id, receipt.held, receipt.live), (id, 1, 1));
/// # Ok(()) }
/// ```
pub struct Receipts {
    id: MessageId,
    /// `None` after the last update.
    updates: Option<watch::Receiver<Option<Receipt>>>,
    pending: Arc<PendingReceipts>,
    shared_core: Arc<SharedPeer>,
}

impl Receipts {
    /// Asks the core to track a message.
    pub(super) fn open(
        shared_core: &Arc<SharedPeer>,
        pending: &Arc<PendingReceipts>,
        peer: &mut Peer,
        now: Time,
        id: MessageId,
    ) -> Result<Self, ReceiptError> {
        let mut waiting = pending.lock();
        let updates = if let Some(sender) = waiting.get(&id) {
            sender.subscribe()
        } else if waiting.len() >= MAX_RECEIPTS {
            return Err(ReceiptError::TooMany);
        } else if peer.request_receipt(now, id) {
            waiting.entry(id).or_insert_with(|| Sender::new(None)).subscribe()
        } else {
            return Err(ReceiptError::NotOwn(id));
        };
        drop(waiting);
        Ok(Receipts {
            id,
            updates: Some(updates),
            pending: pending.clone(),
            shared_core: shared_core.clone(),
        })
    }

    /// The message.
    #[must_use]
    pub const fn id(&self) -> MessageId {
        self.id
    }

    /// The newest count, once it differs from the last one returned here. The complete count is the
    /// last; after it, and when the node has ended, `None`. Cancel safe.
    pub async fn next(&mut self) -> Option<Receipt> {
        let updates = self.updates.as_mut()?;
        let mut receipt = None;
        while receipt.is_none() && updates.changed().await.is_ok() {
            receipt = updates.borrow_and_update().clone();
        }
        if receipt.as_ref().is_none_or(|r| r.complete) {
            self.updates = None;
        }
        receipt
    }

    /// Waits until all live peers hold the message.
    ///
    /// # Errors
    /// The node has ended.
    pub async fn wait(mut self) -> Result<Receipt, ReceiptLost> {
        while let Some(receipt) = self.next().await {
            if receipt.complete {
                return Ok(receipt);
            }
        }
        Err(ReceiptLost { id: self.id })
    }
}

impl Drop for Receipts {
    fn drop(&mut self) {
        // The last of several receipts for one message sees a receiver count of 0.
        self.updates = None;
        self.shared_core.with(|peer, _| {
            let mut waiting = self.pending.lock();
            if waiting.get(&self.id).is_some_and(|sender| sender.receiver_count() == 0) {
                waiting.remove(&self.id);
                peer.cancel_receipt(&self.id);
            }
        });
    }
}

impl fmt::Debug for Receipts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipts").field("id", &self.id).finish_non_exhaustive()
    }
}
