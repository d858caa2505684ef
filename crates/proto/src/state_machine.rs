//! What a driver needs of a state machine, so that one driver runs peers, seeds and the machines of
//! tests.

use core::time::Duration;

use crate::identity::PeerId;
use crate::io::{Input, Output};
use crate::message::Delivery;
use crate::peer::Peer;
use crate::seed::Seed;
use crate::time::Time;

/// A state machine that a driver feeds with inputs and drains of outputs: [`Peer`], [`Seed`], or a
/// machine of a test.
///
/// The required methods are those of every machine. The others have the meaning of the methods of
/// [`Peer`] with the same names; a machine that publishes and delivers nothing leaves them as they
/// are.
pub trait StateMachine {
    /// The id of the node that it runs in.
    fn id(&self) -> PeerId;
    /// Handles an input. `now` must not be earlier than in any earlier call.
    fn handle(&mut self, now: Time, input: Input);
    /// The next output, if any. To be drained after every call that changes something.
    fn poll_output(&mut self) -> Option<Output>;
    /// The latest time of the next call of `handle` with [`Input::Timeout`]; `None` if nothing is
    /// due. Valid until the next call that changes something.
    fn poll_timeout(&self) -> Option<Time>;

    /// Begins to leave, and finishes within a time. Returns whether
    /// [`Event::Left`](crate::Event::Left) reports the end; if not, the driver closes the links
    /// after the outputs of this call.
    fn leave(&mut self, _now: Time, _within: Duration) -> bool {
        false
    }
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

impl StateMachine for Peer {
    fn id(&self) -> PeerId {
        Peer::id(self)
    }

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

impl StateMachine for Seed {
    fn id(&self) -> PeerId {
        Seed::id(self)
    }

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
