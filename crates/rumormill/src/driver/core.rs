//! The interface of a state machine to the driver.

use std::time::Duration;

use rumormill_proto::{Delivery, Input, Output, Peer, Seed, Time};

/// A state machine that the driver feeds with inputs and drains of outputs.
pub(crate) trait Core: Send + 'static {
    /// Processes an input.
    fn handle(&mut self, now: Time, input: Input);
    /// The next output, if any.
    fn poll_output(&mut self) -> Option<Output>;
    /// The latest time of the next call of `handle` with `Input::Timeout`.
    fn poll_timeout(&self) -> Option<Time>;
    /// Begins to leave, and finishes within a time. Returns `true` if `Event::Left` reports the
    /// end.
    fn leave(&mut self, now: Time, within: Duration) -> bool;
    /// The deliveries of an earlier process; returns them once.
    fn take_restored(&mut self) -> Vec<Delivery> {
        Vec::new()
    }
    /// From now on, only [`Input::Consumed`] makes messages durable as delivered.
    fn follow_consumer(&mut self) {}
    /// Whether batches of this node are still waiting for a writer: see [`Peer::set_writer_busy`].
    fn set_writer_busy(&mut self, _busy: bool) {}
    /// Whether the send window admits another message now.
    fn can_publish(&self) -> bool {
        false
    }
}

impl Core for Peer {
    fn handle(&mut self, now: Time, input: Input) {
        Peer::handle(self, now, input);
    }

    fn poll_output(&mut self) -> Option<Output> {
        Peer::poll_output(self)
    }

    fn poll_timeout(&self) -> Option<Time> {
        Peer::poll_timeout(self)
    }

    fn leave(&mut self, now: Time, within: Duration) -> bool {
        Peer::leave(self, now, within);
        true
    }

    fn take_restored(&mut self) -> Vec<Delivery> {
        Peer::take_restored(self)
    }

    fn follow_consumer(&mut self) {
        Peer::follow_consumer(self);
    }

    fn set_writer_busy(&mut self, busy: bool) {
        Peer::set_writer_busy(self, busy);
    }

    fn can_publish(&self) -> bool {
        self.available_window() > 0
    }
}

impl Core for Seed {
    fn handle(&mut self, now: Time, input: Input) {
        Seed::handle(self, now, input);
    }

    fn poll_output(&mut self) -> Option<Output> {
        Seed::poll_output(self)
    }

    fn poll_timeout(&self) -> Option<Time> {
        Seed::poll_timeout(self)
    }

    /// A seed sends no Leave: its peers dial another seed, and its registry stays on disk.
    fn leave(&mut self, now: Time, _within: Duration) -> bool {
        self.stop(now);
        false
    }
}
