//! Events, as a listener gets them.

use crate::driver::Stamped;
use crate::fanout::{Got, Receiver};

/// Something for a listener to events.
#[derive(Debug, Clone, PartialEq)]
pub enum Observed {
    /// An event.
    Event(Stamped),
    /// The listener was slow, and missed so many events.
    Lagged(u64),
}

/// The events of a node, from the moment it was asked for.
///
/// It holds at most 4,096 events or 16 MiB for a listener that is slow; then the oldest go, and
/// the listener is told. The node never waits for it.
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

fn observed(got: Got<Stamped>) -> Observed {
    match got {
        Got::Item(stamped) => Observed::Event(stamped),
        Got::Missed(n) => Observed::Lagged(n),
    }
}
