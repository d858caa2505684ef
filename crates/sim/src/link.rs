//! Virtual connections: each has two ends, and each end holds the items that wait to be sent.

use core::net::SocketAddr;
use std::collections::VecDeque;

use bytes::Bytes;
use rumormill_proto::link_queue::{LinkQueue, QueueItem};
use rumormill_proto::wire::Frame;
use rumormill_proto::{Class, CloseReason, DialId, LinkId, PeerId, Time};

use crate::node::NodeId;

/// A frame in transit: encoded, or the frame itself in a fast world.
#[derive(Debug)]
pub(crate) enum SentFrame {
    Bytes(Bytes),
    Frame(Frame),
}

impl QueueItem for SentFrame {
    /// A frame that is not encoded counts as its batch and a small header, or as a small frame.
    fn size(&self) -> usize {
        match self {
            SentFrame::Bytes(b) => b.len(),
            SentFrame::Frame(Frame::Gossip(g)) => g.batch.wire().len() + 16,
            SentFrame::Frame(_) => 256,
        }
    }
}

/// An item that crosses a connection; items of one direction keep their order.
#[derive(Debug)]
pub(crate) enum LinkItem {
    /// The sender's Hello; the link is up at the receiver.
    Hello,
    Frame(SentFrame, Class),
    /// The sender closed the link; no further items follow.
    Closed(CloseReason),
    /// The sender's process has ended, or does not know this connection.
    Reset,
}

impl LinkItem {
    pub(crate) fn size(&self) -> usize {
        match self {
            LinkItem::Frame(sent, _) => sent.size(),
            _ => 0,
        }
    }

    /// Whether it may overtake items sent before it: liveness frames and Hello.
    pub(crate) const fn is_urgent(&self) -> bool {
        matches!(self, LinkItem::Hello | LinkItem::Frame(_, Class::Liveness))
    }
}

/// State of one end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndState {
    /// Not up yet; the process does not know of it.
    Connecting,
    Up,
    /// Ended, or failed before it came up.
    Down,
}

/// One end of a connection, and the direction away from it.
#[derive(Debug)]
pub(crate) struct LinkEndpoint {
    pub(crate) node: NodeId,
    /// Its index in the list of the ends at its node.
    index_at_node: u32,
    /// The port that the other end sees; the IP address is the node's.
    pub(crate) port: u16,
    pub(crate) state: EndState,
    /// When the last item sent arrives; later items must not overtake it.
    pub(crate) last_arrival: Time,
    /// When the last urgent item sent arrives; urgent items may overtake the others.
    pub(crate) last_urgent: Time,
    buffers: Option<Box<EndBuffers>>,
}

/// State of an end that only disturbed links need; it is allocated on first use to save memory.
#[derive(Debug, Default)]
pub(crate) struct EndBuffers {
    /// Frames that the path or the receiver does not accept now.
    pub(crate) held: LinkQueue<SentFrame>,
    /// Since when sent data has been unacknowledged.
    pub(crate) unacked_since: Option<Time>,
    /// Bytes that arrived here and that the frozen process has not read.
    pub(crate) unread: usize,
    /// When there is room on the line, if this end waits for it.
    pub(crate) awaits_line: Option<Time>,
}

impl LinkEndpoint {
    const fn new(node: NodeId, port: u16) -> Self {
        LinkEndpoint {
            node,
            index_at_node: 0,
            port,
            state: EndState::Connecting,
            last_arrival: Time::ZERO,
            last_urgent: Time::ZERO,
            buffers: None,
        }
    }

    /// Ends this end. Held frames are lost.
    fn end(&mut self) {
        self.state = EndState::Down;
        if let Some(w) = &mut self.buffers {
            w.held.end();
        }
        self.clear_unacked();
    }

    /// The buffers of this end, allocated if needed.
    pub(crate) fn buffers(&mut self) -> &mut EndBuffers {
        self.buffers.get_or_insert_default()
    }

    /// Whether frames are held.
    pub(crate) fn has_held_frames(&self) -> bool {
        self.buffers.as_ref().is_some_and(|w| !w.held.is_empty())
    }

    pub(crate) fn awaits_line(&self) -> Option<Time> {
        self.buffers.as_ref().and_then(|w| w.awaits_line)
    }

    pub(crate) fn unacked_since(&self) -> Option<Time> {
        self.buffers.as_ref().and_then(|w| w.unacked_since)
    }

    /// Everything sent has been acknowledged.
    pub(crate) fn clear_unacked(&mut self) {
        if let Some(w) = &mut self.buffers {
            w.unacked_since = None;
        }
    }

    pub(crate) fn unread(&self) -> usize {
        self.buffers.as_ref().map_or(0, |w| w.unread)
    }

    /// The process has read everything that arrived.
    pub(crate) fn clear_unread(&mut self) {
        if let Some(w) = &mut self.buffers {
            w.unread = 0;
        }
    }
}

/// The dial for which a connection was made.
#[derive(Debug, Clone)]
pub(crate) struct DialAttempt {
    pub(crate) dial: DialId,
    pub(crate) expected: Option<PeerId>,
    /// Addresses not tried yet, in the order of the dial.
    pub(crate) further: VecDeque<SocketAddr>,
    /// When the dial times out.
    pub(crate) deadline: Time,
}

/// A connection. The link number of the dialer's end is even, that of the acceptor's end odd.
#[derive(Debug)]
struct Connection {
    number: u64,
    ends: [LinkEndpoint; 2],
    /// The dial, until it has become a link or has failed.
    attempt: Option<Box<DialAttempt>>,
}

const fn connection_of(link: LinkId) -> u64 {
    link.0 / 2
}

const fn side(link: LinkId) -> usize {
    (link.0 % 2) as usize
}

/// The other end of the same connection.
pub(crate) const fn other(link: LinkId) -> LinkId {
    LinkId(link.0 ^ 1)
}

/// Whether this is the dialer's end.
pub(crate) const fn is_dialer(link: LinkId) -> bool {
    link.0.is_multiple_of(2)
}

/// Slot number of a connection that has ended.
const NO_SLOT: u32 = u32::MAX;

/// All connections of a world. Connection numbers are never reused; slots in memory are.
#[derive(Debug, Default)]
pub(crate) struct Links {
    connections: Vec<Connection>,
    /// The slot in `connections` of each connection, by number.
    slots: Vec<u32>,
    free_slots: Vec<u32>,
    by_node: Vec<Vec<LinkId>>,
}

impl Links {
    /// Starts a new connection and returns the dialer's end.
    pub(crate) fn connect(
        &mut self,
        dialer: (NodeId, u16),
        acceptor: (NodeId, u16),
        attempt: DialAttempt,
    ) -> LinkId {
        let number = self.slots.len() as u64;
        let link = LinkId(number * 2);
        let mut ends =
            [LinkEndpoint::new(dialer.0, dialer.1), LinkEndpoint::new(acceptor.0, acceptor.1)];
        for (end, id) in ends.iter_mut().zip([link, other(link)]) {
            let node = end.node.0 as usize;
            if self.by_node.len() <= node {
                self.by_node.resize_with(node + 1, Vec::new);
            }
            end.index_at_node = u32::try_from(self.by_node[node].len()).unwrap_or(NO_SLOT);
            self.by_node[node].push(id);
        }
        let connection = Connection { number, ends, attempt: Some(Box::new(attempt)) };
        if let Some(slot) = self.free_slots.pop() {
            self.connections[slot as usize] = connection;
            self.slots.push(slot);
        } else {
            self.slots.push(u32::try_from(self.connections.len()).unwrap_or(NO_SLOT));
            self.connections.push(connection);
        }
        link
    }

    fn get(&self, link: LinkId) -> Option<&Connection> {
        let slot = *self.slots.get(usize::try_from(connection_of(link)).ok()?)?;
        self.connections.get(slot as usize)
    }

    fn get_mut(&mut self, link: LinkId) -> Option<&mut Connection> {
        let slot = *self.slots.get(usize::try_from(connection_of(link)).ok()?)?;
        self.connections.get_mut(slot as usize)
    }

    pub(crate) fn attempt(&self, link: LinkId) -> Option<&DialAttempt> {
        self.get(link)?.attempt.as_deref()
    }

    /// Takes the dial, which has become a link or has failed.
    pub(crate) fn take_attempt(&mut self, link: LinkId) -> Option<DialAttempt> {
        self.get_mut(link)?.attempt.take().map(|a| *a)
    }

    pub(crate) fn end(&self, link: LinkId) -> Option<&LinkEndpoint> {
        self.get(link)?.ends.get(side(link))
    }

    pub(crate) fn end_mut(&mut self, link: LinkId) -> Option<&mut LinkEndpoint> {
        self.get_mut(link)?.ends.get_mut(side(link))
    }

    /// Ends this end; removes the connection when both ends are down.
    pub(crate) fn finish(&mut self, link: LinkId) {
        let Some(c) = self.get_mut(link) else { return };
        if let Some(end) = c.ends.get_mut(side(link)) {
            end.end();
        }
        if c.ends.iter().all(|e| e.state == EndState::Down) {
            c.attempt = None;
            let ends = [&c.ends[0], &c.ends[1]].map(|e| (e.node, e.index_at_node));
            for (node, index) in ends {
                self.remove_end(node, index);
            }
            if let Some(slot) = self.slots.get_mut(connection_of(link) as usize) {
                self.free_slots.push(core::mem::replace(slot, NO_SLOT));
            }
        }
    }

    /// Removes an end from the list of its node; the last end of the list moves to its index.
    fn remove_end(&mut self, node: NodeId, index: u32) {
        let Some(ends) = self.by_node.get_mut(node.0 as usize) else { return };
        ends.swap_remove(index as usize);
        if let Some(&moved) = ends.get(index as usize)
            && let Some(end) = self.end_mut(moved)
        {
            end.index_at_node = index;
        }
    }

    /// The ends at a node that are not down, ascending.
    pub(crate) fn ends_at(&self, node: NodeId) -> Vec<LinkId> {
        let ends = self.by_node.get(node.0 as usize).into_iter().flatten().copied();
        let is_up = |l: &LinkId| self.end(*l).is_some_and(|e| e.state != EndState::Down);
        let mut ends: Vec<LinkId> = ends.filter(is_up).collect();
        ends.sort_unstable();
        ends
    }

    /// The first link from one node to another that is up at both ends.
    pub(crate) fn between(&self, from: NodeId, to: NodeId) -> Option<LinkId> {
        let all = self.ends_at(from);
        all.into_iter().find(|&l| self.remote_node(l) == Some(to))
    }

    /// The remote nodes of all links of a node that are up at both ends, once for each link,
    /// ascending.
    pub(crate) fn linked_nodes(&self, node: NodeId) -> Vec<NodeId> {
        let ends = self.by_node.get(node.0 as usize).into_iter().flatten();
        let mut nodes: Vec<NodeId> = ends.filter_map(|l| self.remote_node(*l)).collect();
        nodes.sort_unstable();
        nodes
    }

    /// The node at the other end of a link, if the link is up at both ends.
    fn remote_node(&self, link: LinkId) -> Option<NodeId> {
        let up = |l: LinkId| self.end(l).filter(|e| e.state == EndState::Up);
        up(link)?;
        up(other(link)).map(|e| e.node)
    }

    /// All ends that are not down, ascending.
    pub(crate) fn all(&self) -> Vec<LinkId> {
        let mut all = Vec::new();
        for c in &self.connections {
            let ends = c.ends.iter().zip([LinkId(c.number * 2), LinkId(c.number * 2 + 1)]);
            all.extend(ends.filter(|(e, _)| e.state != EndState::Down).map(|(_, l)| l));
        }
        all.sort_unstable();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_connection_frees_its_slot_and_not_its_number() {
        let mut links = Links::default();
        let connect = |links: &mut Links, from: u32, to: u32| {
            let (dial, expected, further) = (DialId(0), None, VecDeque::new());
            let attempt = DialAttempt { dial, expected, further, deadline: Time::ZERO };
            links.connect((NodeId(from), 1), (NodeId(to), 2), attempt)
        };
        let first: Vec<LinkId> = (1..5).map(|n| connect(&mut links, n, 0)).collect();
        assert_eq!(first, [0, 2, 4, 6].map(LinkId));
        for end in [LinkId(2), LinkId(3)] {
            links.finish(end);
        }
        assert!(links.end(LinkId(2)).is_none() && links.end(LinkId(3)).is_none());
        assert_eq!(links.ends_at(NodeId(0)), [1, 5, 7].map(LinkId));
        assert_eq!(links.ends_at(NodeId(2)), []);
        assert_eq!(connect(&mut links, 2, 0), LinkId(8));
        assert_eq!(links.connections.len(), 4);
        links.finish(LinkId(1));
        assert_eq!(links.ends_at(NodeId(0)), [5, 7, 9].map(LinkId));
        assert_eq!(links.ends_at(NodeId(1)), [LinkId(0)], "the other end is still up");
        assert_eq!(links.all(), [0, 4, 5, 6, 7, 8, 9].map(LinkId));
        links.finish(LinkId(0));
        assert_eq!(links.all(), [4, 5, 6, 7, 8, 9].map(LinkId));
    }
}
