//! Transport of items over links: delays, frames held while a path is blocked or a receiver is
//! full, retransmission, and the end of a link.

use core::time::Duration;

use rumormill_proto::limits::MAX_FRAME;
use rumormill_proto::link_queue::EnqueueOutcome;
use rumormill_proto::wire::{self, Frame, Verified};
use rumormill_proto::{Class, CloseReason, Input, LinkEnd, LinkId, Time};

use super::line::{TURN, URGENT_WAIT};
use super::{SimEvent, World};
use crate::disk;
use crate::ledger::{BatchCopy, ContractViolation};
use crate::link::{EndState, LinkEndpoint, LinkItem, SentFrame, other};
use crate::network::RETRANSMIT;
use crate::node::{NodeId, NodeStatus};
use crate::trace::Step;

/// Bytes that a kernel buffers for a process that does not read.
const RECEIVE_BUFFER: usize = 256 * 1024;

impl World {
    pub(super) fn is_blocked(&self, from: NodeId, to: NodeId) -> bool {
        if self.hosts_down == 0 && self.network.is_whole() {
            return false;
        }
        let down = |n: NodeId| self.node(n).status == NodeStatus::HostDown;
        self.network.is_blocked(from, to) || down(from) || down(to)
    }

    pub(super) fn is_apart(&self, a: NodeId, b: NodeId) -> bool {
        self.is_blocked(a, b) || self.is_blocked(b, a)
    }

    // ---- sending ----------------------------------------------------------------------------

    /// Sends a frame of a core.
    pub(super) fn send(&mut self, node: NodeId, link: LinkId, frame: Frame, class: Class) {
        if !self.node(node).open_links.contains(&link) {
            self.note_seam_violation(
                node,
                format!("sent {} on a link that is not up", frame.name()),
            );
            return;
        }
        let may_drop = !matches!(class, Class::Liveness | Class::Control | Class::Last);
        if may_drop && self.network.drops_next_frame() {
            self.ledger.queue_drops += 1;
            return;
        }
        let sent = if self.config.fast {
            SentFrame::Frame(frame)
        } else {
            SentFrame::Bytes(wire::encode(&frame).to_bytes())
        };
        self.transmit(link, LinkItem::Frame(sent, class));
    }

    /// Sends an item from this end to the other one, or holds it.
    pub(super) fn transmit(&mut self, from: LinkId, item: LinkItem) {
        let Some((here, there)) = self.ends_of(from) else { return };
        let forward = self.is_blocked(here, there);
        let back = self.is_blocked(there, here);
        let (Some(near), Some(far)) = (self.links.end(from), self.links.end(other(from))) else {
            return;
        };
        let (has_held, far_is_down) = (near.has_held_frames(), far.state == EndState::Down);
        if near.state == EndState::Down {
            return;
        }
        match item {
            LinkItem::Frame(sent, class) => {
                if forward || back {
                    self.mark_unacked(from);
                }
                // Urgent frames do not wait for the send window of the link.
                let urgent = class == Class::Liveness && self.is_limited(here, there);
                let full =
                    self.receiver_is_full(from) || (!urgent && self.line_is_full(here, there));
                if forward || (has_held && !urgent) || full {
                    self.hold(from, sent, class);
                    if !forward {
                        self.wait_for_line(from, Duration::ZERO);
                    }
                } else {
                    self.schedule_frame(from, sent, class);
                }
            }
            // Held frames cannot be overtaken and would not be flushed in time, so the connection
            // is reset instead.
            LinkItem::Closed(_) if has_held && !forward => {
                self.schedule_arrival(from, LinkItem::Reset);
            }
            item if !forward && !far_is_down => self.schedule_arrival(from, item),
            _ => {}
        }
    }

    /// Whether the process at the other end is frozen, and the buffer of its kernel is full.
    fn receiver_is_full(&self, from: LinkId) -> bool {
        let is_frozen = |n: NodeId| self.node(n).status == NodeStatus::Frozen;
        self.frozen > 0
            && self
                .links
                .end(other(from))
                .is_some_and(|far| far.unread() >= RECEIVE_BUFFER && is_frozen(far.node))
    }

    /// Schedules the arrival of a frame at the other end, or the reset if that end is gone.
    fn schedule_frame(&mut self, from: LinkId, sent: SentFrame, class: Class) {
        if self.links.end(other(from)).is_none_or(|far| far.state == EndState::Down) {
            self.schedule_reset(from);
        } else {
            self.schedule_arrival(from, LinkItem::Frame(sent, class));
        }
    }

    /// Schedules the arrival of an item at the other end.
    fn schedule_arrival(&mut self, from: LinkId, item: LinkItem) {
        let Some((here, there)) = self.ends_of(from) else { return };
        let delay = self.network.delay(here, there);
        let limited = self.is_limited(here, there);
        let at = self.transmission_end(here, there, item.size(), delay);
        let now = self.now;
        let Some(near) = self.links.end_mut(from) else { return };
        let at = if limited && item.is_urgent() {
            near.last_urgent = near.last_urgent.max(at.min(now + delay + URGENT_WAIT));
            near.last_arrival = near.last_arrival.max(near.last_urgent);
            near.last_urgent
        } else {
            near.last_arrival = near.last_arrival.max(at);
            if item.is_urgent() {
                near.last_urgent = near.last_arrival;
            }
            near.last_arrival
        };
        self.queue.push(at, SimEvent::Arrive { link: other(from), item });
    }

    /// Schedules the reset with which the remote host answers a frame of a connection that it does
    /// not know any more.
    fn schedule_reset(&mut self, from: LinkId) {
        let Some((here, there)) = self.ends_of(from) else { return };
        let at = self.now + self.network.delay(here, there) + self.network.delay(there, here);
        let Some(far) = self.links.end_mut(other(from)) else { return };
        far.last_arrival = far.last_arrival.max(at);
        let at = far.last_arrival;
        self.queue.push(at, SimEvent::Arrive { link: from, item: LinkItem::Reset });
    }

    // ---- holding ----------------------------------------------------------------------------

    /// Holds a frame in the queue of the link until it can be sent.
    fn hold(&mut self, link: LinkId, sent: SentFrame, class: Class) {
        let Some(end) = self.links.end_mut(link) else { return };
        let here = end.node;
        match end.buffers().held.enqueue(class, sent) {
            EnqueueOutcome::Queued => {}
            EnqueueOutcome::Congested => {
                let process = self.node(here).process;
                self.queue.push(self.now, SimEvent::Congested { node: here, process, link });
            }
            EnqueueOutcome::Dropped { items, .. } => self.ledger.queue_drops += items,
            EnqueueOutcome::Overflow => {
                self.ledger.queue_drops += 1;
                self.close(here, link, CloseReason::TooSlow);
            }
        }
    }

    /// Sends held frames, in the order of the link's queue, while the line and the receiver accept
    /// them. Otherwise the link waits again.
    pub(super) fn send_held(&mut self, link: LinkId) {
        let Some((here, there)) = self.ends_of(link) else { return };
        let mut has_sent = false;
        while !self.receiver_is_full(link) {
            let line_is_full = self.line_is_full(here, there);
            let Some(end) = self.links.end_mut(link).filter(|end| end.has_held_frames()) else {
                return;
            };
            let held = &mut end.buffers().held;
            // Urgent frames do not wait for the line.
            let urgent = held.dequeue_urgent().map(|sent| (Class::Liveness, sent));
            let next = urgent.or_else(|| if line_is_full { None } else { held.dequeue() });
            let Some((class, sent)) = next else { break };
            self.schedule_frame(link, sent, class);
            has_sent = true;
        }
        // A link that has sent something continues after the other links that wait for the line.
        self.wait_for_line(link, if has_sent { TURN } else { Duration::ZERO });
    }

    pub(super) fn mark_unacked(&mut self, link: LinkId) {
        let now = self.now;
        let Some(end) = self.links.end_mut(link) else { return };
        if end.unacked_since().is_none() {
            end.buffers().unacked_since = Some(now);
            let at = now + self.config.user_timeout;
            self.queue.push(at, SimEvent::UserTimeout { link, since: now });
        }
    }

    pub(super) fn user_timeout(&mut self, link: LinkId, since: Time) {
        let Some(end) = self.links.end(link) else { return };
        if end.unacked_since() != Some(since) {
            return;
        }
        let node = end.node;
        let process = self.node(node).process;
        self.links.finish(link);
        let why = LinkEnd::Lost;
        self.queue.push(self.now, SimEvent::LinkEnded { node, process, link, why });
    }

    /// Handles a change of a partition, a cut path or a host: held data on paths that are open now
    /// is sent at its next retransmission.
    pub(super) fn path_changed(&mut self) {
        for link in self.links.all() {
            let Some((here, there)) = self.ends_of(link) else { continue };
            let apart = self.is_apart(here, there);
            let Some(end) = self.links.end_mut(link) else { continue };
            let Some(since) = end.unacked_since().filter(|_| !apart) else { continue };
            if !end.has_held_frames() {
                end.clear_unacked();
                continue;
            }
            // TCP retransmits at doubling intervals since the first unacknowledged data; the next
            // retransmission from now on gets through.
            let mut at = since;
            let mut wait = RETRANSMIT;
            while at < self.now {
                at += wait;
                wait *= 2;
            }
            self.queue.push(at, SimEvent::Retry { link });
        }
        self.note_unreachable_peers();
        self.note_parts();
    }

    /// Empties the receive buffers of a thawed process: senders that waited for room continue.
    pub(super) fn resume_senders(&mut self, node: NodeId) {
        for link in self.links.ends_at(node) {
            if let Some(end) = self.links.end_mut(link) {
                end.clear_unread();
            }
            let back = other(link);
            if self.links.end(back).is_some_and(LinkEndpoint::has_held_frames) {
                self.queue.push(self.now, SimEvent::Retry { link: back });
            }
        }
    }

    pub(super) fn retry(&mut self, link: LinkId) {
        let Some((here, there)) = self.ends_of(link) else { return };
        if self.is_apart(here, there) {
            return;
        }
        let Some(end) = self.links.end_mut(link) else { return };
        end.clear_unacked();
        self.send_held(link);
    }

    /// Counts an arrival at a frozen process against the receive buffer of its kernel.
    pub(super) fn note_unread(&mut self, event: &SimEvent) {
        if let SimEvent::Arrive { link, item } = event
            && let Some(end) = self.links.end_mut(*link)
        {
            end.buffers().unread += item.size();
        }
    }

    // ---- receiving --------------------------------------------------------------------------

    pub(super) fn arrive(&mut self, link: LinkId, item: LinkItem) {
        let Some(end) = self.links.end(link) else { return };
        let (node, state) = (end.node, end.state);
        match (item, state) {
            (_, EndState::Down) => {}
            (LinkItem::Hello, EndState::Connecting) => self.hello(link),
            (LinkItem::Frame(sent, _), EndState::Up) => self.receive(node, link, sent),
            (LinkItem::Closed(reason), EndState::Up) => self.closed_by_remote(node, link, reason),
            (LinkItem::Reset, _) => self.reset(link),
            // The other end sends only a Hello or a reset before this end is up.
            (LinkItem::Closed(_), EndState::Connecting) => self.reset(link),
            (LinkItem::Hello, EndState::Up) | (LinkItem::Frame(..), EndState::Connecting) => {}
        }
    }

    fn receive(&mut self, node: NodeId, link: LinkId, sent: SentFrame) {
        self.ledger.frames += 1;
        let bytes = match &sent {
            SentFrame::Bytes(b) => b.len() as u64,
            SentFrame::Frame(_) => 0,
        };
        self.ledger.bytes += bytes;
        match self.decode(node, sent) {
            Ok(frame) => {
                if let Frame::Close(close) = &*frame {
                    let reason = close.reason;
                    self.closed_by_remote(node, link, reason);
                } else {
                    if let Frame::Gossip(gossip) = &*frame {
                        self.ledger.batch_bytes += bytes;
                        self.note_copy(node, gossip);
                    }
                    let number = u64::from(frame.number());
                    self.feed(node, Step::Frame, number, Input::Frame { link, frame });
                }
            }
            Err(what) => {
                let at = self.now;
                if self.is_from_adversary(link) {
                    self.ledger.refused += 1;
                } else {
                    self.ledger.wire_violations.push(ContractViolation { at, node, what });
                }
                self.close(node, link, CloseReason::ProtocolViolation);
            }
        }
    }

    /// Whether the node at the other end is an adversary.
    fn is_from_adversary(&self, link: LinkId) -> bool {
        self.ends_of(link).is_some_and(|(_, there)| self.node(there).is_adversary)
    }

    /// Records that a peer received a copy of a batch.
    fn note_copy(&mut self, node: NodeId, gossip: &wire::Gossip) {
        let (batch, pulled) = (disk::batch_id(&gossip.batch), gossip.pulled);
        self.figures.copy(batch, pulled);
        if !self.keeps_ledger() {
            return;
        }
        let bytes = gossip.batch.wire().len() as u64;
        let (at, process) = (self.now, self.node(node).process);
        self.ledger.copies.push(BatchCopy { at, node, process, batch, pulled, bytes });
    }

    /// Decodes a frame and verifies its signatures.
    fn decode(&self, node: NodeId, sent: SentFrame) -> Result<Verified<Frame>, String> {
        let bytes = match sent {
            SentFrame::Frame(frame) => return Ok(wire::trust_without_checking(frame)),
            SentFrame::Bytes(bytes) => bytes,
        };
        let (prefix, body) = bytes.split_first_chunk::<4>().ok_or("a frame without a length")?;
        let header = wire::header(*prefix, MAX_FRAME).map_err(|e| e.to_string())?;
        if header.length != body.len() {
            return Err(format!("frame length {} with {} bytes", header.length, body.len()));
        }
        let body = bytes.slice_ref(body);
        let frame = wire::decode_shared(&body).map_err(|e| e.to_string())?;
        self.node(node).verifier.get_or_init(Box::default).verify(frame).map_err(|e| e.to_string())
    }

    /// The other end has closed the link.
    fn closed_by_remote(&mut self, node: NodeId, link: LinkId, reason: CloseReason) {
        self.links.finish(link);
        self.link_down(node, link, LinkEnd::Closed(reason));
    }

    /// Closes the link from this end: the other end gets everything sent before, then the reason.
    pub(super) fn close(&mut self, node: NodeId, link: LinkId, reason: CloseReason) {
        if !self.node(node).open_links.contains(&link) {
            self.note_seam_violation(node, format!("closed a link that is not up ({reason})"));
            return;
        }
        if self.links.end(link).is_none_or(|e| e.state != EndState::Up) {
            // The link has ended already; the process is about to get `LinkDown`.
            return;
        }
        self.transmit(link, LinkItem::Closed(reason));
        self.links.finish(link);
        let process = self.node(node).process;
        let why = LinkEnd::Local(reason);
        self.queue.push(self.now, SimEvent::LinkEnded { node, process, link, why });
    }
}
