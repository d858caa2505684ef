//! The event stream of a node.

use crate::driver::TimestampedEvent;
use crate::fanout::{FanoutItem, FanoutReceiver};

/// An element of the event stream.
#[derive(Debug, Clone, PartialEq)]
pub enum EventItem {
    /// An event.
    Event(TimestampedEvent),
    /// The receiver was slow, and missed this many events.
    Lagged(u64),
}

/// The events of a node, from the creation of this stream on.
///
/// It holds at most 4,096 events or 16 MiB for a slow receiver; beyond that the oldest events are
/// dropped, and the receiver learns how many. The node never waits for it.
#[derive(Debug)]
pub struct Events(pub(crate) FanoutReceiver<TimestampedEvent>);

impl Events {
    /// The next event; `None` when the node has ended. Cancel safe.
    pub async fn recv(&mut self) -> Option<EventItem> {
        self.0.recv().await.map(to_event_item)
    }

    /// The next event, if one is there.
    pub fn try_recv(&mut self) -> Option<EventItem> {
        self.0.try_recv().map(to_event_item)
    }
}

fn to_event_item(item: FanoutItem<TimestampedEvent>) -> EventItem {
    match item {
        FanoutItem::Item(timestamped) => EventItem::Event(timestamped),
        FanoutItem::Missed(n) => EventItem::Lagged(n),
    }
}
