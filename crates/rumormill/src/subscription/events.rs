//! The event stream of a node.

use crate::driver::Stamped;
use crate::fanout::{Got, Receiver};

/// An element of the event stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Observed {
    /// An event.
    Event(Stamped),
    /// The receiver was slow, and missed this many events.
    Lagged(u64),
}

/// The events of a node, from the creation of this stream on.
///
/// It holds at most 4,096 events or 16 MiB for a slow receiver; beyond that the oldest events are
/// dropped, and the receiver learns how many. The node never waits for it.
#[derive(Debug)]
pub struct Events(pub(crate) Receiver<Stamped>);

impl Events {
    /// The next event; `None` when the node has ended. Cancel safe.
    pub async fn recv(&mut self) -> Option<Observed> {
        self.0.recv().await.map(observed)
    }

    /// The next event, if one is there.
    pub fn try_recv(&mut self) -> Option<Observed> {
        self.0.try_recv().map(observed)
    }
}

fn observed(got: Got<Stamped>) -> Observed {
    match got {
        Got::Item(stamped) => Observed::Event(stamped),
        Got::Missed(n) => Observed::Lagged(n),
    }
}
