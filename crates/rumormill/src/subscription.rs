//! What applications listen to.

use rumormill_proto::Delivery;

use crate::driver::Stamped;
use crate::fanout::{Got, Receiver};

/// Something for a subscriber to messages.
#[derive(Debug, Clone)]
pub enum Received {
    /// A message.
    Message(Delivery),
    /// The subscriber was slow, and so many messages were pushed out before it got them. The node
    /// has them, as long as it keeps them: see [`Node::messages`](crate::Node::messages).
    Lagged(u64),
}

/// Something for a listener to events.
#[derive(Debug, Clone, PartialEq)]
pub enum Observed {
    /// An event.
    Event(Stamped),
    /// The listener was slow, and missed so many events.
    Lagged(u64),
}

/// The messages of a node, from the moment it was asked for.
///
/// It holds at most 4,096 messages or 16 MiB for a reader that is slow; then the oldest go, and
/// the reader is told. The node never waits for it.
#[derive(Debug)]
pub struct Subscription(pub(crate) Receiver<Delivery>);

impl Subscription {
    /// The next message; `None` when the node has ended. Cancelling it loses nothing.
    pub async fn recv(&mut self) -> Option<Received> {
        self.0.recv().await.map(received)
    }

    /// The next message if one is there.
    pub fn try_recv(&mut self) -> Option<Received> {
        self.0.try_recv().map(received)
    }
}

/// The events of a node, from the moment it was asked for; bounded as a [`Subscription`].
#[derive(Debug)]
pub struct Events(pub(crate) Receiver<Stamped>);

impl Events {
    /// The next event; `None` when the node has ended. Cancelling it loses nothing.
    pub async fn recv(&mut self) -> Option<Observed> {
        self.0.recv().await.map(observed)
    }

    /// The next event if one is there.
    pub fn try_recv(&mut self) -> Option<Observed> {
        self.0.try_recv().map(observed)
    }
}

fn received(got: Got<Delivery>) -> Received {
    match got {
        Got::Item(delivery) => Received::Message(delivery),
        Got::Missed(n) => Received::Lagged(n),
    }
}

fn observed(got: Got<Stamped>) -> Observed {
    match got {
        Got::Item(stamped) => Observed::Event(stamped),
        Got::Missed(n) => Observed::Lagged(n),
    }
}
