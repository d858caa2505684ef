//! Lines of limited bandwidth: a node sends and receives so many bytes a second, over all its links.
//!
//! What a line has not carried yet stands in the buffers of the kernel, up to a quarter of a second
//! of it; the rest waits in the queues of the links, where probes go first, then control. Large frames
//! are written in pieces, so a probe waits for no more than what is in the buffers.

use core::time::Duration;

use rumormill_proto::{LinkId, Time};

use super::{Happening, World};
use crate::ledger::Trouble;
use crate::link::other;
use crate::node::{Node, NodeId};

/// Bytes of headers of a packet: IP, TCP, a TLS record.
const HEADERS: usize = 80;
/// Least bytes that are under way on a line, however slow it is: the least windows of a few links.
const LEAST_BUFFER: u64 = 4 * 1024;
/// The longest that a probe waits for what is under way before it.
pub(super) const URGENT_WAIT: Duration = Duration::from_millis(250);
/// A link that has just sent something goes on so much later than those that wait.
const TURN: Duration = Duration::from_micros(1);
/// A line slower than this, in bytes a second, is a trouble in itself: it does not carry the probes and
/// answers of all its links in time.
const SLOW: u64 = 8 * 1024;

/// One direction of a node's line.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lane {
    /// When it has carried everything it was given.
    free_at: Time,
}

impl Lane {
    /// Carries so many bytes at this rate, from `from` on; says when the last one is through.
    fn carry(&mut self, from: Time, bytes: usize, rate: u64) -> Time {
        let time = (bytes as u64).saturating_mul(1_000_000) / rate.max(1);
        self.free_at = self.free_at.max(from) + Duration::from_micros(time);
        self.free_at
    }

    /// From now on it carries what it has been given at another rate; at once if there is none.
    fn change_rate(&mut self, now: Time, from: Option<u64>, to: Option<u64>) {
        let backlog = from.map_or(0, |rate| self.backlog(now, rate));
        self.free_at = now;
        if let Some(rate) = to {
            self.carry(now, usize::try_from(backlog).unwrap_or(usize::MAX), rate);
        }
    }

    /// Bytes that it has been given and not carried yet.
    fn backlog(&self, now: Time, rate: u64) -> u64 {
        let micros = u64::try_from(self.free_at.since(now).as_micros()).unwrap_or(u64::MAX);
        micros.saturating_mul(rate) / 1_000_000
    }
}

/// What the buffers of a line take.
const fn buffer(rate: u64) -> u64 {
    let quarter = rate / 4;
    if quarter > LEAST_BUFFER { quarter } else { LEAST_BUFFER }
}

impl World {
    /// Gives a node a line of so many bytes a second each way; `None` takes the limit away. What is
    /// on its way keeps its time; what waits goes by the new rate.
    pub fn set_bandwidth(&mut self, node: NodeId, rate: Option<u64>) {
        let was = self.node(node).line;
        self.change_line(node, |n| n.line = rate.map(|r| r.max(1)));
        let slow = |r: Option<u64>| r.is_some_and(|r| r < SLOW);
        match (slow(was), slow(rate)) {
            (false, true) => self.trouble(node, Trouble::Slow),
            (true, false) => self.ledger.end_trouble(node, Trouble::Slow, self.now),
            _ => {}
        }
    }

    /// Gives a node an uplink of so many bytes a second, and leaves what it receives as it is; `None`
    /// takes the limit away. What is on its way keeps its time; what waits goes by the new rate.
    pub fn set_uplink(&mut self, node: NodeId, rate: Option<u64>) {
        self.change_line(node, |n| n.uplink = rate.map(|r| r.max(1)));
    }

    fn change_line(&mut self, node: NodeId, change: impl FnOnce(&mut Node)) {
        self.disturb();
        let now = self.now;
        let n = self.node_mut(node);
        let (up, down) = (n.up_rate(), n.line);
        change(n);
        n.up.change_rate(now, up, n.up_rate());
        n.down.change_rate(now, down, n.line);
        for near in self.links.ends_at(node) {
            for link in [near, other(near)] {
                if self.links.end(link).is_some_and(|end| end.awaits_line().is_some()) {
                    self.wake_at(link, now);
                }
            }
        }
    }

    /// When something that is sent now, and needs so long on the way, has arrived in full.
    pub(super) fn over_the_line(
        &mut self,
        from: NodeId,
        to: NodeId,
        bytes: usize,
        way: Duration,
    ) -> Time {
        let bytes = bytes + HEADERS;
        let (now, sender) = (self.now, self.node_mut(from));
        let sent = sender.up_rate().map_or(now, |rate| sender.up.carry(now, bytes, rate));
        let (there, receiver) = (sent + way, self.node_mut(to));
        receiver.line.map_or(there, |rate| receiver.down.carry(there, bytes, rate))
    }

    /// Whether the way from one node to another has a line of limited bandwidth.
    pub(super) fn is_limited(&self, from: NodeId, to: NodeId) -> bool {
        self.node(from).up_rate().is_some() || self.node(to).line.is_some()
    }

    /// Whether the buffers on the way from one node to another take nothing more now.
    pub(super) fn line_is_full(&self, from: NodeId, to: NodeId) -> bool {
        self.line_drains_at(from, to).is_some()
    }

    /// When the buffers on the way are half empty; `None` if they are not full.
    fn line_drains_at(&self, from: NodeId, to: NodeId) -> Option<Time> {
        let full = |rate: Option<u64>, lane: Lane| {
            let rate = rate.filter(|r| lane.backlog(self.now, *r) >= buffer(*r))?;
            let half = buffer(rate).saturating_mul(500_000) / rate;
            let carries = lane.free_at.since(self.now);
            Some(self.now + carries.saturating_sub(Duration::from_micros(half)))
        };
        let (a, b) = (self.node(from), self.node(to));
        full(a.up_rate(), a.up).max(full(b.line, b.down))
    }

    /// A link waits for its line: it goes on when there is room.
    pub(super) fn await_line(&mut self, link: LinkId) {
        let Some((here, there)) = self.ends_of(link) else { return };
        let Some(at) = self.line_drains_at(here, there) else { return };
        let Some(end) = self.links.end_mut(link) else { return };
        if end.awaits_line().is_none() {
            self.wake_at(link, at);
        }
    }

    /// It goes on then, not when it was to go on before.
    fn wake_at(&mut self, link: LinkId, at: Time) {
        let Some(end) = self.links.end_mut(link) else { return };
        end.waiting().awaits_line = Some(at);
        self.queue.push(at, Happening::LineFree { link });
    }

    /// There is room on the line: what waits goes on, in the order of its class.
    pub(super) fn line_free(&mut self, link: LinkId) {
        let Some((here, there)) = self.ends_of(link) else { return };
        let Some(end) = self.links.end_mut(link) else { return };
        if end.awaits_line() != Some(self.now) {
            return;
        }
        end.waiting().awaits_line = None;
        if self.is_apart(here, there) {
            return;
        }
        let Some(end) = self.links.end_mut(link) else { return };
        let mut held = Vec::from(end.take_held());
        held.sort_by_key(crate::link::Item::class);
        let mut held = held.into_iter();
        if let Some(first) = held.next() {
            self.transmit(link, first);
        }
        if let Some(at) = self.line_drains_at(here, there)
            && held.len() > 0
            && self.links.end(link).is_some_and(|end| end.awaits_line().is_none())
        {
            // It has had its turn: of those that wait for the same line, the others come first.
            self.wake_at(link, at + TURN);
        }
        for item in held {
            self.transmit(link, item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_carries_one_thing_after_the_other() {
        let mut lane = Lane::default();
        let at = |ms: u64| Time::from_micros(ms * 1000);
        assert_eq!(lane.carry(at(0), 1000, 1000), at(1000));
        assert_eq!(lane.carry(at(0), 500, 1000), at(1500));
        assert_eq!(lane.backlog(at(500), 1000), 1000);
        assert_eq!(lane.carry(at(9000), 1000, 1000), at(10_000), "it was idle");
        assert_eq!(lane.backlog(at(20_000), 1000), 0);
    }

    #[test]
    fn lane_carries_its_backlog_at_the_new_rate() {
        let mut lane = Lane::default();
        let at = |ms: u64| Time::from_micros(ms * 1000);
        lane.carry(at(0), 10_000, 1000);
        lane.change_rate(at(2000), Some(1000), Some(4000));
        assert_eq!(lane.carry(at(2000), 0, 4000), at(4000), "8000 bytes are left");
        lane.change_rate(at(3000), Some(4000), None);
        assert_eq!(lane.carry(at(3000), 0, 4000), at(3000));
        lane.change_rate(at(5000), None, Some(1000));
        assert_eq!(lane.backlog(at(5000), 1000), 0);
    }
}
