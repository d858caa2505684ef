//! The outputs of a state machine, gathered until the driver drains them.

use std::collections::VecDeque;

use crate::counters::CoreCounters;
use crate::event::{CloseReason, Event};
use crate::io::{Class, DialId, DialTarget, LinkId, Output, StoreOp, StoreTicket};
use crate::message::StreamId;
use crate::time::{Time, WallTime};
use crate::wire::Frame;

/// Outputs, counters, and the time of the current call.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    now: Time,
    wall_offset: i64,
    /// The oldest output, most often the only one: a call with one output allocates nothing.
    first: Option<Output>,
    queue: VecDeque<Output>,
    /// The stream that is watched, and whether a batch of it was sent.
    watched: Option<(StreamId, bool)>,
    next_dial: u64,
    next_ticket: u64,
    pub(crate) counters: CoreCounters,
}

impl Effects {
    pub(crate) fn begin_call(&mut self, now: Time) {
        debug_assert!(now >= self.now, "time ran backwards");
        self.now = self.now.max(now);
    }

    pub(crate) const fn now(&self) -> Time {
        self.now
    }

    pub(crate) fn set_wall_clock(&mut self, wall: WallTime) {
        let wall = i64::try_from(wall.0).unwrap_or(i64::MAX);
        self.wall_offset =
            wall.saturating_sub(i64::try_from(self.now.as_micros()).unwrap_or(i64::MAX));
    }

    pub(crate) fn wall_clock(&self) -> WallTime {
        WallTime(self.now.as_micros().saturating_add_signed(self.wall_offset))
    }

    pub(crate) fn send(&mut self, link: LinkId, frame: impl Into<Frame>) {
        let frame = frame.into();
        let class = if frame.is_liveness() { Class::Liveness } else { Class::Control };
        self.send_as(link, frame, class);
    }

    pub(crate) fn send_as(&mut self, link: LinkId, frame: impl Into<Frame>, class: Class) {
        let frame = frame.into();
        if let Some((stream, sent)) = &mut self.watched {
            *sent |= frame.batch().is_some_and(|b| b.stream() == *stream);
        }
        self.output(Output::Send { link, frame, class });
    }

    /// From now on, record whether a batch of this stream is sent.
    pub(crate) const fn watch_stream(&mut self, stream: StreamId) {
        self.watched = Some((stream, false));
    }

    /// Whether a batch of the watched stream was sent.
    pub(crate) fn has_sent_watched(&self) -> bool {
        self.watched.is_some_and(|(_, sent)| sent)
    }

    pub(crate) fn close(&mut self, link: LinkId, reason: CloseReason) {
        self.output(Output::Close { link, reason });
    }

    pub(crate) fn dial(&mut self, to: DialTarget) -> DialId {
        self.next_dial += 1;
        let dial = DialId(self.next_dial);
        self.counters.dials += 1;
        self.output(Output::Dial { dial, to });
        dial
    }

    pub(crate) fn store(&mut self, ops: Vec<StoreOp>) -> StoreTicket {
        self.next_ticket += 1;
        let ticket = StoreTicket(self.next_ticket);
        self.output(Output::Store { ticket, ops });
        ticket
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.output(Output::Event(event));
    }

    pub(crate) fn output(&mut self, output: Output) {
        if self.first.is_none() && self.queue.is_empty() {
            self.first = Some(output);
        } else {
            self.queue.push_back(output);
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Output> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let output = self.queue.pop_front();
        if output.is_none() && self.queue.capacity() > 0 {
            self.queue = VecDeque::new();
        }
        output
    }
}
