//! What the application asks of a peer.

use super::{Peer, PublishError};
use crate::message::{Delivery, MessageId};
use crate::time::Time;

impl Peer {
    /// Publishes a message: it is stored, delivered to this node's own subscribers, and sent to every
    /// member. All that is published before the outputs are drained goes out as one batch.
    ///
    /// # Errors
    /// Nothing was published; the error says why. [`PublishError::Busy`] passes when the network
    /// has caught up; see [`Peer::room`].
    pub fn publish(
        &mut self,
        now: Time,
        topic: &str,
        payload: &[u8],
    ) -> Result<MessageId, PublishError> {
        self.begin(now);
        self.with_broadcast(|b, cx| b.publish(cx, topic, payload))
    }

    /// Bytes that may be published now; 0 if the network has to catch up first. A message that is
    /// larger than what is left is taken all the same.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.broadcast.room()
    }

    /// Whether some whole batches wait for the outputs to be drained. A loop that publishes should drain them
    /// then, but not much earlier, as batches that wait together are signed together.
    #[must_use]
    pub fn has_a_turnful(&self) -> bool {
        self.broadcast.has_a_turnful()
    }

    /// Whether batches of this peer still wait to be written by the caller. While they do, what is
    /// published meanwhile is held back and packed into the next ones (for at most
    /// [`HOLD_AT_MOST`](crate::limits::HOLD_AT_MOST)): so the larger the load, the fewer and larger
    /// the batches, as with Nagle's algorithm (RFC 896) on a connection, and what is published at
    /// rest waits for nobody. A caller that never says so has each message go out at once.
    pub fn hold_back(&mut self, hold: bool) {
        self.deadline.set(None);
        self.broadcast.hold_back(hold);
    }

    /// Asks the neighbours to confirm what was published so far. Says up to which number of the present
    /// stream that is; [`Output::Confirmed`] follows whenever more is confirmed, until all of it is. A peer without
    /// a neighbour asks as soon as it has one.
    pub fn flush(&mut self, now: Time) -> u64 {
        self.begin(now);
        self.with_broadcast(|b, cx| b.flush(cx))
    }

    /// Up to which number of the present stream another node is known to hold what this peer published.
    #[must_use]
    pub fn confirmed(&self) -> u64 {
        self.broadcast.confirmed()
    }

    /// How many messages of the present stream no other node is known to hold.
    #[must_use]
    pub fn unconfirmed_messages(&self) -> u64 {
        self.broadcast.unconfirmed_messages()
    }

    /// Asks for receipts of a message of this peer's present stream: [`Output::Receipt`] follows whenever
    /// more members hold it, until all that count do. Asked for before the outputs are drained, relays
    /// do not gather its acknowledgements. `false` if too many are pending, or the message is another
    /// publisher's.
    pub fn want_receipt(&mut self, now: Time, id: MessageId) -> bool {
        self.begin(now);
        self.with_broadcast(|b, cx| b.want_receipt(cx, id))
    }

    /// The application does not wait for this receipt any more.
    pub fn forget_receipt(&mut self, id: &MessageId) {
        self.broadcast.forget_receipt(id);
        self.deadline.set(None);
    }

    /// Asks for a message (getData). [`Output::Fetched`] follows: at once if it is held here or too
    /// many are being looked for, else when a neighbour has answered or none did in time.
    pub fn fetch(&mut self, now: Time, id: MessageId) {
        self.begin(now);
        self.with_broadcast(|b, cx| b.fetch(cx, id));
    }

    /// From now on a message counts as delivered, for the next life, when [`Input::Consumed`] says so, and
    /// no longer when it was handed to the driver. Call it before the first [`Peer::handle`].
    pub fn follow_consumer(&mut self) {
        self.broadcast.follow_consumer();
    }

    /// What an earlier life delivered of what is still kept, for subscribers that want it again.
    /// Answers once.
    pub fn take_restored(&mut self) -> Vec<Delivery> {
        self.broadcast.take_restored()
    }
}
