//! Lines: the network access of a node, with a limited bandwidth that all its links share.
//!
//! Data that a line has not transmitted yet is in the buffers of the kernel, up to a quarter of a
//! second of it. The rest waits in the queues of the links (`rumormill_proto::link_queue`). Large
//! frames are written in pieces, so a probe waits only for the data in the buffers.

use core::time::Duration;

use rumormill_proto::{LinkId, Time};

use super::{SimEvent, World};
use crate::ledger::ImpairmentKind;
use crate::link::other;
use crate::node::{Node, NodeId};

/// Bytes of packet headers: IP, TCP, a TLS record.
const HEADERS: usize = 80;
/// Smallest buffer of a line, in bytes, however slow it is: the smallest windows of a few links.
const LEAST_BUFFER: u64 = 4 * 1024;
/// The longest time for which a probe waits for data sent before it.
pub(super) const URGENT_WAIT: Duration = Duration::from_millis(250);
/// How much later than the waiting links a link continues that has just sent something.
pub(super) const TURN: Duration = Duration::from_micros(1);
/// A line slower than this, in bytes a second, counts as an impairment: it cannot transmit the
/// probes and answers of all its links in time.
const SLOW: u64 = 8 * 1024;

/// One direction of a node's line: uplink or downlink.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LineDirection {
    /// When it has transmitted everything in its buffers.
    free_at: Time,
}

impl LineDirection {
    /// Transmits `bytes` at this rate, from `from` on; returns when the last byte is transmitted.
    fn transmit(&mut self, from: Time, bytes: usize, rate: u64) -> Time {
        let time = (bytes as u64).saturating_mul(1_000_000) / rate.max(1);
        self.free_at = self.free_at.max(from) + Duration::from_micros(time);
        self.free_at
    }

    /// Transmits the backlog at another rate from now on; at once if there is no limit.
    fn change_rate(&mut self, now: Time, from: Option<u64>, to: Option<u64>) {
        let backlog = from.map_or(0, |rate| self.backlog(now, rate));
        self.free_at = now;
        if let Some(rate) = to {
            self.transmit(now, usize::try_from(backlog).unwrap_or(usize::MAX), rate);
        }
    }

    /// Bytes in the buffers that are not transmitted yet.
    fn backlog(&self, now: Time, rate: u64) -> u64 {
        let micros = u64::try_from(self.free_at.since(now).as_micros()).unwrap_or(u64::MAX);
        micros.saturating_mul(rate) / 1_000_000
    }
}

/// Size of the buffers of a line with this rate, in bytes.
const fn buffer_size(rate: u64) -> u64 {
    let quarter = rate / 4;
    if quarter > LEAST_BUFFER { quarter } else { LEAST_BUFFER }
}

impl World {
    /// Sets the bytes a second of a node's line in each direction; `None` removes the limit. Items
    /// in transit keep their arrival time; waiting items are sent at the new rate.
    pub fn set_bandwidth(&mut self, node: NodeId, rate: Option<u64>) {
        let old_rate = self.node(node).line;
        self.change_line(node, |n| n.line = rate.map(|r| r.max(1)));
        let is_slow = |r: Option<u64>| r.is_some_and(|r| r < SLOW);
        match (is_slow(old_rate), is_slow(rate)) {
            (false, true) => self.note_impairment(node, ImpairmentKind::Slow),
            (true, false) => self.ledger.end_impairment(node, ImpairmentKind::Slow, self.now),
            _ => {}
        }
    }

    /// Sets the bytes a second of a node's uplink and leaves its downlink unchanged; `None` removes
    /// the limit. Items in transit keep their arrival time; waiting items are sent at the new rate.
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

    /// When an item of this size that is sent now has arrived completely, with this network delay.
    pub(super) fn transmission_end(
        &mut self,
        from: NodeId,
        to: NodeId,
        bytes: usize,
        delay: Duration,
    ) -> Time {
        let bytes = bytes + HEADERS;
        let (now, sender) = (self.now, self.node_mut(from));
        let sent = sender.up_rate().map_or(now, |rate| sender.up.transmit(now, bytes, rate));
        let (arrival, receiver) = (sent + delay, self.node_mut(to));
        receiver.line.map_or(arrival, |rate| receiver.down.transmit(arrival, bytes, rate))
    }

    /// Whether the path from one node to another has a line of limited bandwidth.
    pub(super) fn is_limited(&self, from: NodeId, to: NodeId) -> bool {
        self.node(from).up_rate().is_some() || self.node(to).line.is_some()
    }

    /// Whether the buffers on the path from one node to another are full.
    pub(super) fn line_is_full(&self, from: NodeId, to: NodeId) -> bool {
        self.line_drains_at(from, to).is_some()
    }

    /// When the buffers on the path are half empty; `None` if they are not full now.
    fn line_drains_at(&self, from: NodeId, to: NodeId) -> Option<Time> {
        let half_empty_at = |rate: Option<u64>, direction: LineDirection| {
            let rate = rate.filter(|r| direction.backlog(self.now, *r) >= buffer_size(*r))?;
            let half = buffer_size(rate).saturating_mul(500_000) / rate;
            let remaining = direction.free_at.since(self.now);
            Some(self.now + remaining.saturating_sub(Duration::from_micros(half)))
        };
        let (a, b) = (self.node(from), self.node(to));
        half_empty_at(a.up_rate(), a.up).max(half_empty_at(b.line, b.down))
    }

    /// Lets a link wait for its line, if that is full; it continues when there is room, and `turn`
    /// later than that.
    pub(super) fn wait_for_line(&mut self, link: LinkId, turn: Duration) {
        let Some((here, there)) = self.ends_of(link) else { return };
        let Some(at) = self.line_drains_at(here, there) else { return };
        let Some(end) = self.links.end_mut(link) else { return };
        if end.awaits_line().is_none() {
            self.wake_at(link, at + turn);
        }
    }

    /// Lets a waiting link continue at this time, which replaces an earlier one.
    fn wake_at(&mut self, link: LinkId, at: Time) {
        let Some(end) = self.links.end_mut(link) else { return };
        end.buffers().awaits_line = Some(at);
        self.queue.push(at, SimEvent::LineFree { link });
    }

    /// There is room on the line of a link: its held frames are sent.
    pub(super) fn line_free(&mut self, link: LinkId) {
        let Some((here, there)) = self.ends_of(link) else { return };
        let Some(end) = self.links.end_mut(link) else { return };
        if end.awaits_line() != Some(self.now) {
            return;
        }
        end.buffers().awaits_line = None;
        if self.is_apart(here, there) {
            // What the line transmits now is lost; its retransmission continues the link.
            self.mark_unacked(link);
            return;
        }
        self.send_held(link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_transmits_items_one_after_the_other() {
        let mut direction = LineDirection::default();
        let at = |ms: u64| Time::from_micros(ms * 1000);
        assert_eq!(direction.transmit(at(0), 1000, 1000), at(1000));
        assert_eq!(direction.transmit(at(0), 500, 1000), at(1500));
        assert_eq!(direction.backlog(at(500), 1000), 1000);
        assert_eq!(direction.transmit(at(9000), 1000, 1000), at(10_000), "it was idle");
        assert_eq!(direction.backlog(at(20_000), 1000), 0);
    }

    #[test]
    fn line_transmits_its_backlog_at_the_new_rate() {
        let mut direction = LineDirection::default();
        let at = |ms: u64| Time::from_micros(ms * 1000);
        direction.transmit(at(0), 10_000, 1000);
        direction.change_rate(at(2000), Some(1000), Some(4000));
        assert_eq!(direction.transmit(at(2000), 0, 4000), at(4000), "8000 bytes are left");
        direction.change_rate(at(3000), Some(4000), None);
        assert_eq!(direction.transmit(at(3000), 0, 4000), at(3000));
        direction.change_rate(at(5000), None, Some(1000));
        assert_eq!(direction.backlog(at(5000), 1000), 0);
    }
}
