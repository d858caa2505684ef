//! What the driver needs of a state machine.

use rumormill_proto::{Input, Output, Peer, Seed, Time};

/// A state machine that is fed and drained.
pub(crate) trait Core: Send + 'static {
    /// Takes in what happened.
    fn handle(&mut self, now: Time, input: Input);
    /// The next thing to do, if any.
    fn poll_output(&mut self) -> Option<Output>;
    /// When to call `handle` with `Input::Timeout` at the latest.
    fn poll_timeout(&self) -> Option<Time>;
    /// Begins to leave; `true` if `Event::Left` will tell when it is done.
    fn say_goodbye(&mut self, now: Time) -> bool;
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

    fn say_goodbye(&mut self, now: Time) -> bool {
        self.leave(now);
        true
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

    /// A seed has nobody to say goodbye to: peers find another, and its registry stays on disk.
    fn say_goodbye(&mut self, _now: Time) -> bool {
        false
    }
}
