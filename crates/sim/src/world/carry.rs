//! Carrying items over links: delays, what waits while a path or a receiver takes nothing, what
//! comes when it does again, and the end of a link.

use rumormill_proto::limits::{
    MAX_FRAME, QUEUE_ANNOUNCE, QUEUE_CONTROL, QUEUE_HISTORY, QUEUE_LIVENESS, QUEUE_PAYLOAD,
};
use rumormill_proto::wire::{self, Frame, Verified};
use rumormill_proto::{Class, CloseReason, Input, LinkDown, LinkId, Time};

use super::line::URGENT_WAIT;
use super::{Happening, World};
use crate::disk;
use crate::ledger::{BatchCopy, Fault};
use crate::link::{End, EndState, Item, Packet, other};
use crate::network::RETRANSMIT;
use crate::node::{NodeId, NodeStatus};
use crate::trace::Step;

/// Bytes a kernel takes for a process that does not read.
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

    /// A core sends a frame.
    pub(super) fn send(&mut self, node: NodeId, link: LinkId, frame: Frame, class: Class) {
        if !self.node(node).open_links.contains(&link) {
            self.seam_fault(node, format!("sent {} on a link that is not up", frame.name()));
            return;
        }
        if !matches!(class, Class::Liveness | Class::Control | Class::Last) && self.network.skips()
        {
            self.ledger.queue_drops += 1;
            return;
        }
        let packet = if self.config.fast {
            Packet::Frame(frame)
        } else {
            Packet::Bytes(wire::encode(&frame).to_bytes())
        };
        self.transmit(link, Item::Frame(packet, class));
    }

    /// Puts an item onto the way from this end to the other.
    pub(super) fn transmit(&mut self, from: LinkId, item: Item) {
        let Some((here, there)) = self.ends_of(from) else { return };
        let forward = self.is_blocked(here, there);
        let back = self.is_blocked(there, here);
        let (Some(near), Some(far)) = (self.links.end(from), self.links.end(other(from))) else {
            return;
        };
        let (waiting, gone) = (near.holds(), far.state == EndState::Down);
        if near.state == EndState::Down {
            return;
        }
        let full = self.frozen > 0
            && far.unread() >= RECEIVE_BUFFER
            && self.node(there).status == NodeStatus::Frozen;
        match item {
            Item::Frame(packet, class) => {
                if forward || back {
                    self.mark_unacked(from);
                }
                // The window of a link is for the others.
                let urgent = class == Class::Liveness && self.is_limited(here, there);
                let full = full || (!urgent && self.line_is_full(here, there));
                if forward || (waiting && !urgent) || full {
                    self.hold(from, packet, class);
                    if !forward {
                        self.await_line(from);
                    }
                } else if gone {
                    self.answer_reset(from);
                } else {
                    self.put_on_wire(from, Item::Frame(packet, class));
                }
            }
            // What waits cannot be overtaken, and will not be flushed in time: the connection is
            // torn down instead.
            Item::Closed(_) if waiting && !forward => self.put_on_wire(from, Item::Reset),
            item if !forward && !gone => self.put_on_wire(from, item),
            _ => {}
        }
    }

    fn put_on_wire(&mut self, from: LinkId, item: Item) {
        let Some((here, there)) = self.ends_of(from) else { return };
        let way = self.network.delay(here, there);
        let limited = self.is_limited(here, there);
        let at = self.over_the_line(here, there, item.size(), way);
        let now = self.now;
        let Some(near) = self.links.end_mut(from) else { return };
        let at = if limited && item.is_urgent() {
            near.last_urgent = near.last_urgent.max(at.min(now + way + URGENT_WAIT));
            near.last_arrival = near.last_arrival.max(near.last_urgent);
            near.last_urgent
        } else {
            near.last_arrival = near.last_arrival.max(at);
            if item.is_urgent() {
                near.last_urgent = near.last_arrival;
            }
            near.last_arrival
        };
        self.queue.push(at, Happening::Arrive { link: other(from), item });
    }

    /// The host at the other end knows nothing of this connection any more and says so.
    fn answer_reset(&mut self, from: LinkId) {
        let Some((here, there)) = self.ends_of(from) else { return };
        let at = self.now + self.network.delay(here, there) + self.network.delay(there, here);
        let Some(far) = self.links.end_mut(other(from)) else { return };
        far.last_arrival = far.last_arrival.max(at);
        let at = far.last_arrival;
        self.queue.push(at, Happening::Arrive { link: from, item: Item::Reset });
    }

    // ---- waiting ----------------------------------------------------------------------------

    /// Keeps a frame until it can go, within the bounds of the driver's queues.
    fn hold(&mut self, link: LinkId, packet: Packet, class: Class) {
        let Some((here, _)) = self.ends_of(link) else { return };
        let size = packet.size();
        let Some(end) = self.links.end_mut(link).map(End::waiting) else { return };
        let held = end.held_bytes.entry(class).or_default();
        let limit = match class {
            Class::Liveness => QUEUE_LIVENESS,
            Class::Control | Class::Last => QUEUE_CONTROL,
            Class::Announce => QUEUE_ANNOUNCE,
            Class::Payload => QUEUE_PAYLOAD,
            Class::History => QUEUE_HISTORY,
        };
        if *held + size <= limit {
            *held += size;
            let fills = class == Class::Payload && *held > QUEUE_PAYLOAD / 2 && !end.congested;
            end.congested |= fills;
            end.held.push_back(Item::Frame(packet, class));
            if fills {
                let life = self.node(here).life;
                self.queue.push(self.now, Happening::Congested { node: here, life, link });
            }
            return;
        }
        match class {
            Class::Control | Class::Last => self.close(here, link, CloseReason::TooSlow),
            Class::Payload | Class::History => self.ledger.queue_drops += 1,
            Class::Liveness | Class::Announce => {
                let oldest = end.held.iter().position(|i| i.class() == class);
                if let Some(item) = oldest.and_then(|at| end.held.remove(at)) {
                    *held = held.saturating_sub(item.size()) + size;
                    end.held.push_back(Item::Frame(packet, class));
                }
                self.ledger.queue_drops += 1;
            }
        }
    }

    fn mark_unacked(&mut self, link: LinkId) {
        let now = self.now;
        let Some(end) = self.links.end_mut(link) else { return };
        if end.unacked_since().is_none() {
            end.waiting().unacked_since = Some(now);
            let at = now + self.config.user_timeout;
            self.queue.push(at, Happening::UserTimeout { link, since: now });
        }
    }

    pub(super) fn user_timeout(&mut self, link: LinkId, since: Time) {
        let Some(end) = self.links.end(link) else { return };
        if end.unacked_since() != Some(since) {
            return;
        }
        let node = end.node;
        let life = self.node(node).life;
        self.links.finish(link);
        let why = LinkDown::Lost;
        self.queue.push(self.now, Happening::LinkEnded { node, life, link, why });
    }

    /// A partition, a cut or a host changed: what waits on paths that are open now is sent again at
    /// its next retransmission.
    pub(super) fn path_changed(&mut self) {
        for link in self.links.all() {
            let Some((here, there)) = self.ends_of(link) else { continue };
            let apart = self.is_apart(here, there);
            let Some(end) = self.links.end_mut(link) else { continue };
            let Some(since) = end.unacked_since().filter(|_| !apart) else { continue };
            if !end.holds() {
                end.acknowledged();
                continue;
            }
            let mut at = since;
            let mut wait = RETRANSMIT;
            while at < self.now {
                at += wait;
                wait *= 2;
            }
            self.queue.push(at, Happening::Retry { link });
        }
        self.note_cut_off();
        self.note_parts();
    }

    /// What a frozen process left unread is read now: senders that waited for room go on.
    pub(super) fn room_again(&mut self, node: NodeId) {
        for link in self.links.ends_at(node) {
            if let Some(end) = self.links.end_mut(link) {
                end.read_all();
            }
            let back = other(link);
            if self.links.end(back).is_some_and(End::holds) {
                self.queue.push(self.now, Happening::Retry { link: back });
            }
        }
    }

    pub(super) fn retry(&mut self, link: LinkId) {
        let Some((here, there)) = self.ends_of(link) else { return };
        if self.is_apart(here, there) {
            return;
        }
        let Some(end) = self.links.end_mut(link) else { return };
        end.acknowledged();
        for item in end.take_held() {
            self.transmit(link, item);
        }
    }

    /// Counts what arrives at a frozen process against its kernel's buffer.
    pub(super) fn note_unread(&mut self, happening: &Happening) {
        if let Happening::Arrive { link, item } = happening
            && let Some(end) = self.links.end_mut(*link)
        {
            end.waiting().unread += item.size();
        }
    }

    // ---- receiving --------------------------------------------------------------------------

    pub(super) fn arrive(&mut self, link: LinkId, item: Item) {
        let Some(end) = self.links.end(link) else { return };
        let (node, state) = (end.node, end.state);
        match (item, state) {
            (_, EndState::Down) => {}
            (Item::Up, EndState::Connecting) => self.hello(link),
            (Item::Frame(packet, _), EndState::Up) => self.receive(node, link, packet),
            (Item::Closed(reason), EndState::Up) => self.goodbye(node, link, reason),
            (Item::Reset, _) => self.reset(link),
            // An end that is not up has been sent nothing but a Hello or a reset.
            (Item::Closed(_), EndState::Connecting) => self.reset(link),
            (Item::Up, EndState::Up) | (Item::Frame(..), EndState::Connecting) => {}
        }
    }

    fn receive(&mut self, node: NodeId, link: LinkId, packet: Packet) {
        self.ledger.frames += 1;
        let bytes = match &packet {
            Packet::Bytes(b) => b.len() as u64,
            Packet::Frame(_) => 0,
        };
        self.ledger.bytes += bytes;
        match self.open(node, packet) {
            Ok(frame) => {
                if let Frame::Close(close) = &*frame {
                    let reason = close.reason;
                    self.goodbye(node, link, reason);
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
                    self.ledger.wire_faults.push(Fault { at, node, what });
                }
                self.close(node, link, CloseReason::ProtocolViolation);
            }
        }
    }

    /// Whether an adversary is at the other end.
    fn is_from_adversary(&self, link: LinkId) -> bool {
        self.ends_of(link).is_some_and(|(_, there)| self.node(there).is_adversary)
    }

    /// Writes down that a peer got a copy of a batch.
    fn note_copy(&mut self, node: NodeId, gossip: &wire::Gossip) {
        let (batch, pulled) = (disk::name(&gossip.batch), gossip.pulled);
        self.figures.copy(batch, pulled);
        if !self.is_judged() {
            return;
        }
        let bytes = gossip.batch.wire().len() as u64;
        let (at, life) = (self.now, self.node(node).life);
        self.ledger.copies.push(BatchCopy { at, node, life, batch, pulled, bytes });
    }

    /// Bytes to a frame whose signatures hold.
    fn open(&self, node: NodeId, packet: Packet) -> Result<Verified<Frame>, String> {
        let bytes = match packet {
            Packet::Frame(frame) => return Ok(wire::trust_without_checking(frame)),
            Packet::Bytes(bytes) => bytes,
        };
        let (prefix, body) = bytes.split_first_chunk::<4>().ok_or("a frame with no length")?;
        let header = wire::header(*prefix, MAX_FRAME).map_err(|e| e.to_string())?;
        if header.length != body.len() {
            return Err(format!("a length of {} before {} bytes", header.length, body.len()));
        }
        let body = bytes.slice_ref(body);
        let frame = wire::decode_shared(&body).map_err(|e| e.to_string())?;
        self.node(node).verifier.get_or_init(Box::default).verify(frame).map_err(|e| e.to_string())
    }

    fn goodbye(&mut self, node: NodeId, link: LinkId, reason: CloseReason) {
        self.links.finish(link);
        self.link_down(node, link, LinkDown::Closed(reason));
    }

    /// This end closes the link: the other one gets what was sent, then the reason.
    pub(super) fn close(&mut self, node: NodeId, link: LinkId, reason: CloseReason) {
        if !self.node(node).open_links.contains(&link) {
            self.seam_fault(node, format!("closed a link that is not up ({reason})"));
            return;
        }
        if self.links.end(link).is_none_or(|e| e.state != EndState::Up) {
            // It ended by itself; the process is about to hear of it.
            return;
        }
        self.transmit(link, Item::Closed(reason));
        self.links.finish(link);
        let life = self.node(node).life;
        let why = LinkDown::Local(reason);
        self.queue.push(self.now, Happening::LinkEnded { node, life, link, why });
    }
}
