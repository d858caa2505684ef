//! The commands of the application.

use super::{Peer, PublishError};
use crate::broadcast::Broadcast;
use crate::message::{Delivery, MessageId};
use crate::time::Time;

impl Peer {
    /// Publishes a message: it is stored, delivered to this node's own subscribers, and sent to
    /// every member. All messages that are published before the outputs are drained are sent as one
    /// batch.
    ///
    /// # Errors
    /// No message was published; the error has the reason. [`PublishError::Busy`] passes when the
    /// network has caught up; see [`Peer::available_window`].
    pub fn publish(
        &mut self,
        now: Time,
        topic: &str,
        payload: &[u8],
    ) -> Result<MessageId, PublishError> {
        self.begin(now);
        self.with_broadcast(|b, cx| b.publish(cx, topic, payload))
    }

    /// Bytes that may be published now; 0 if the network has to catch up first. A larger message is
    /// accepted while this is above 0.
    #[must_use]
    pub fn available_window(&self) -> u64 {
        self.broadcast.available_window()
    }

    /// Whether some full batches wait for the outputs to be drained. A loop that publishes should
    /// drain them then, but not much earlier, because batches that wait together are signed
    /// together.
    #[must_use]
    pub fn has_full_batches(&self) -> bool {
        self.broadcast.has_full_batches()
    }

    /// Sets whether the caller still writes earlier batches of this peer. While it does, newly
    /// published messages wait and are packed into the next batches (for at most
    /// [`MAX_BATCH_DELAY`](crate::limits::MAX_BATCH_DELAY)): the larger the load, the fewer and
    /// larger the batches, as with Nagle's algorithm (RFC 896) on a connection, and a message at
    /// rest is sent at once. If the caller never calls this, each message is sent at once.
    pub fn set_writer_busy(&mut self, busy: bool) {
        self.with_broadcast(|b, _| b.set_writer_busy(busy));
    }

    /// Asks the neighbours to confirm everything published so far. Returns the end of that in the
    /// present stream; [`Output::Confirmed`](crate::Output::Confirmed) follows whenever more is
    /// confirmed, until all of it is. A peer without a neighbour asks as soon as it has one.
    pub fn flush(&mut self, now: Time) -> u64 {
        self.begin(now);
        self.with_broadcast(Broadcast::flush)
    }

    /// The end of the part of the present stream that another node is known to hold.
    #[must_use]
    pub fn confirmed_end(&self) -> u64 {
        self.broadcast.confirmed_end()
    }

    /// The number of messages of the present stream that no other node is known to hold.
    #[must_use]
    pub fn unconfirmed_messages(&self) -> u64 {
        self.broadcast.unconfirmed_messages()
    }

    /// Requests receipts of a message of this peer's present stream:
    /// [`Output::Receipt`](crate::Output::Receipt) follows whenever more members hold it, until all
    /// that count do. If requested before the outputs are drained, relays do not gather its
    /// acknowledgements. Returns `false` if too many are pending, or the message is another
    /// publisher's.
    pub fn request_receipt(&mut self, now: Time, id: MessageId) -> bool {
        self.begin(now);
        self.with_broadcast(|b, cx| b.request_receipt(cx, id))
    }

    /// Stops waiting for a receipt.
    pub fn cancel_receipt(&mut self, id: &MessageId) {
        self.with_broadcast(|b, _| b.cancel_receipt(id));
    }

    /// Requests a message (getData). [`Output::Fetched`](crate::Output::Fetched) follows: at once
    /// if it is retained here or too many fetches are running, else when a neighbour has answered
    /// or none did in time.
    pub fn fetch(&mut self, now: Time, id: MessageId) {
        self.begin(now);
        self.with_broadcast(|b, cx| b.fetch(cx, id));
    }

    /// From now on a message counts as delivered, for the next process, when
    /// [`Input::Consumed`](crate::Input::Consumed) reports it, and not when it was handed to the
    /// driver. To be called before the first [`Peer::handle`].
    pub fn follow_consumer(&mut self) {
        self.broadcast.follow_consumer();
    }

    /// Takes the deliveries of an earlier process whose batches are still retained, for subscribers
    /// that want them again. Empty after the first call.
    pub fn take_restored(&mut self) -> Vec<Delivery> {
        self.broadcast.take_restored()
    }
}
