//! What the driver needs of a state machine.

use std::time::Duration;

use rumormill_proto::{Delivery, Input, Output, Peer, Seed, Time};

/// A state machine that is fed and drained.
pub(crate) trait Core: Send + 'static {
    /// Takes in what happened.
    fn handle(&mut self, now: Time, input: Input);
    /// The next thing to do, if any.
    fn poll_output(&mut self) -> Option<Output>;
    /// When to call `handle` with `Input::Timeout` at the latest.
    fn poll_timeout(&self) -> Option<Time>;
    /// Begins to leave, to be done within a time; `true` if `Event::Left` will tell when it is.
    fn leave(&mut self, now: Time, within: Duration) -> bool;
    /// What an earlier life delivered; answers once.
    fn take_restored(&mut self) -> Vec<Delivery> {
        Vec::new()
    }
    /// What is made durable as delivered is what [`Input::Consumed`] says, from now on.
    fn follow_consumer(&mut self) {}
    /// Whether batches of this node wait to be written: see [`Peer::hold_back`].
    fn hold_back(&mut self, _hold: bool) {}
    /// Whether something may be published now.
    fn has_room(&self) -> bool {
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

    fn hold_back(&mut self, hold: bool) {
        Peer::hold_back(self, hold);
    }

    fn has_room(&self) -> bool {
        self.room() > 0
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

    /// A seed sends no Leave: peers find another, and its registry stays on disk.
    fn leave(&mut self, now: Time, _within: Duration) -> bool {
        self.stop(now);
        false
    }
}
