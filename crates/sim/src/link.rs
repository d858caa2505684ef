//! Virtual connections: two ends, each with what it sent and could not get across.

use core::net::SocketAddr;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use rumormill_proto::wire::Frame;
use rumormill_proto::{Class, CloseReason, DialId, LinkId, PeerId, Time};

use crate::node::NodeId;

/// A frame on its way: the bytes, or the frame itself in a fast world.
#[derive(Debug)]
pub(crate) enum Packet {
    Bytes(Bytes),
    Frame(Frame),
}

impl Packet {
    /// Bytes it takes in a queue. A frame that was never encoded counts as a small one and its
    /// batch.
    pub(crate) fn size(&self) -> usize {
        match self {
            Packet::Bytes(b) => b.len(),
            Packet::Frame(Frame::Gossip(g)) => g.batch.wire().len() + 16,
            Packet::Frame(_) => 256,
        }
    }
}

/// What crosses a connection, in order.
#[derive(Debug)]
pub(crate) enum Item {
    /// The sender's Hello: the link is up at the receiver.
    Up,
    Frame(Packet, Class),
    /// The sender said goodbye; nothing follows.
    Closed(CloseReason),
    /// The sender's process is gone, or knows of no such connection.
    Reset,
}

impl Item {
    pub(crate) fn size(&self) -> usize {
        match self {
            Item::Frame(packet, _) => packet.size(),
            _ => 0,
        }
    }

    /// Whether it need not wait for what was sent before it: probes, and that a link is up.
    pub(crate) const fn is_urgent(&self) -> bool {
        matches!(self, Item::Up | Item::Frame(_, Class::Liveness))
    }

    /// How urgent it is.
    pub(crate) const fn class(&self) -> Class {
        match self {
            Item::Frame(_, class) => *class,
            _ => Class::Control,
        }
    }
}

/// Where an end is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndState {
    /// Not yet up; the process has heard nothing of it.
    Connecting,
    Up,
    /// Ended, or never came up.
    Down,
}

/// One end of a connection, and the direction away from it.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) node: NodeId,
    /// Its place among the ends at its node.
    place: u32,
    /// The port at which the other end sees it; the address is its node's.
    pub(crate) port: u16,
    pub(crate) state: EndState,
    /// When the last item sent arrives; nothing sent later may overtake it.
    pub(crate) last_arrival: Time,
    /// The same of what is urgent, which may overtake everything else.
    pub(crate) last_urgent: Time,
    waiting: Option<Box<Waiting>>,
}

/// What most ends have never anything of.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Items that the path or the receiver does not take now.
    pub(crate) held: VecDeque<Item>,
    /// Bytes held, by class.
    pub(crate) held_bytes: BTreeMap<Class, usize>,
    /// The core was told that the payload queue fills.
    pub(crate) congested: bool,
    /// Since when something sent stands without an acknowledgement.
    pub(crate) unacked_since: Option<Time>,
    /// Bytes that arrived here and that the frozen process has not read.
    pub(crate) unread: usize,
    /// When there will be room on its line, if it waits for that.
    pub(crate) awaits_line: Option<Time>,
}

impl End {
    const fn new(node: NodeId, port: u16) -> Self {
        End {
            node,
            place: 0,
            port,
            state: EndState::Connecting,
            last_arrival: Time::ZERO,
            last_urgent: Time::ZERO,
            waiting: None,
        }
    }

    /// Ends it. What was held is gone.
    fn end(&mut self) {
        self.state = EndState::Down;
        self.take_held();
        self.acknowledged();
    }

    pub(crate) fn take_held(&mut self) -> VecDeque<Item> {
        let Some(w) = &mut self.waiting else { return VecDeque::new() };
        w.held_bytes.clear();
        w.congested = false;
        core::mem::take(&mut w.held)
    }

    /// What waits at this end, to be changed.
    pub(crate) fn waiting(&mut self) -> &mut Waiting {
        self.waiting.get_or_insert_default()
    }

    /// Whether items are held.
    pub(crate) fn holds(&self) -> bool {
        self.waiting.as_ref().is_some_and(|w| !w.held.is_empty())
    }

    pub(crate) fn awaits_line(&self) -> Option<Time> {
        self.waiting.as_ref().and_then(|w| w.awaits_line)
    }

    pub(crate) fn unacked_since(&self) -> Option<Time> {
        self.waiting.as_ref().and_then(|w| w.unacked_since)
    }

    /// Nothing that was sent stands without an acknowledgement any more.
    pub(crate) fn acknowledged(&mut self) {
        if let Some(w) = &mut self.waiting {
            w.unacked_since = None;
        }
    }

    pub(crate) fn unread(&self) -> usize {
        self.waiting.as_ref().map_or(0, |w| w.unread)
    }

    /// Everything that arrived was read.
    pub(crate) fn read_all(&mut self) {
        if let Some(w) = &mut self.waiting {
            w.unread = 0;
        }
    }
}

/// The dial a connection was made for.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) dial: DialId,
    pub(crate) expected: Option<PeerId>,
    /// Addresses not tried yet, best first.
    pub(crate) further: VecDeque<SocketAddr>,
    /// When it fails if nothing came of it.
    pub(crate) deadline: Time,
}

/// A connection. The dialer's end is even, the acceptor's odd.
#[derive(Debug)]
struct Connection {
    number: u64,
    ends: [End; 2],
    /// The dial, until it has led to a link.
    attempt: Option<Box<Attempt>>,
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

/// Whether the end is the one that dialled.
pub(crate) const fn is_dialer(link: LinkId) -> bool {
    link.0.is_multiple_of(2)
}

/// Where a connection is that is no more.
const GONE: u32 = u32::MAX;

/// All connections of the world. Their numbers are never used again, their places in memory are.
#[derive(Debug, Default)]
pub(crate) struct Links {
    connections: Vec<Connection>,
    /// By number, where in `connections` each is.
    places: Vec<u32>,
    free: Vec<u32>,
    by_node: Vec<Vec<LinkId>>,
}

impl Links {
    /// A new connection in its beginnings; gives the dialer's end.
    pub(crate) fn connect(
        &mut self,
        dialer: (NodeId, u16),
        acceptor: (NodeId, u16),
        attempt: Attempt,
    ) -> LinkId {
        let number = self.places.len() as u64;
        let link = LinkId(number * 2);
        let mut ends = [End::new(dialer.0, dialer.1), End::new(acceptor.0, acceptor.1)];
        for (end, id) in ends.iter_mut().zip([link, other(link)]) {
            let node = end.node.0 as usize;
            if self.by_node.len() <= node {
                self.by_node.resize_with(node + 1, Vec::new);
            }
            end.place = u32::try_from(self.by_node[node].len()).unwrap_or(GONE);
            self.by_node[node].push(id);
        }
        let connection = Connection { number, ends, attempt: Some(Box::new(attempt)) };
        if let Some(place) = self.free.pop() {
            self.connections[place as usize] = connection;
            self.places.push(place);
        } else {
            self.places.push(u32::try_from(self.connections.len()).unwrap_or(GONE));
            self.connections.push(connection);
        }
        link
    }

    fn get(&self, link: LinkId) -> Option<&Connection> {
        let place = *self.places.get(usize::try_from(connection_of(link)).ok()?)?;
        self.connections.get(place as usize)
    }

    fn get_mut(&mut self, link: LinkId) -> Option<&mut Connection> {
        let place = *self.places.get(usize::try_from(connection_of(link)).ok()?)?;
        self.connections.get_mut(place as usize)
    }

    pub(crate) fn attempt(&self, link: LinkId) -> Option<&Attempt> {
        self.get(link)?.attempt.as_deref()
    }

    /// The dial has led to a link, or has failed.
    pub(crate) fn take_attempt(&mut self, link: LinkId) -> Option<Attempt> {
        self.get_mut(link)?.attempt.take().map(|a| *a)
    }

    pub(crate) fn end(&self, link: LinkId) -> Option<&End> {
        self.get(link)?.ends.get(side(link))
    }

    pub(crate) fn end_mut(&mut self, link: LinkId) -> Option<&mut End> {
        self.get_mut(link)?.ends.get_mut(side(link))
    }

    /// Ends this end; forgets the connection when both ends are down.
    pub(crate) fn finish(&mut self, link: LinkId) {
        let Some(c) = self.get_mut(link) else { return };
        if let Some(end) = c.ends.get_mut(side(link)) {
            end.end();
        }
        if c.ends.iter().all(|e| e.state == EndState::Down) {
            c.attempt = None;
            let at = [(c.ends[0].node, c.ends[0].place), (c.ends[1].node, c.ends[1].place)];
            for (node, place) in at {
                self.leave(node, place);
            }
            if let Some(place) = self.places.get_mut(connection_of(link) as usize) {
                self.free.push(core::mem::replace(place, GONE));
            }
        }
    }

    /// Takes an end out of those at its node; the last of them takes its place.
    fn leave(&mut self, node: NodeId, place: u32) {
        let Some(ends) = self.by_node.get_mut(node.0 as usize) else { return };
        ends.swap_remove(place as usize);
        if let Some(&moved) = ends.get(place as usize)
            && let Some(end) = self.end_mut(moved)
        {
            end.place = place;
        }
    }

    /// The ends at one node that are not down, ascending.
    pub(crate) fn ends_at(&self, node: NodeId) -> Vec<LinkId> {
        let ends = self.by_node.get(node.0 as usize).into_iter().flatten().copied();
        let is_up = |l: &LinkId| self.end(*l).is_some_and(|e| e.state != EndState::Down);
        let mut ends: Vec<LinkId> = ends.filter(is_up).collect();
        ends.sort_unstable();
        ends
    }

    /// The first link up from one node to another.
    pub(crate) fn between(&self, from: NodeId, to: NodeId) -> Option<LinkId> {
        let all = self.ends_at(from);
        all.into_iter().find(|&l| self.open_to(l) == Some(to))
    }

    /// The nodes that links from one node lead to which are up at both ends, once for each, ascending.
    pub(crate) fn open_from(&self, node: NodeId) -> Vec<NodeId> {
        let ends = self.by_node.get(node.0 as usize).into_iter().flatten();
        let mut nodes: Vec<NodeId> = ends.filter_map(|l| self.open_to(*l)).collect();
        nodes.sort_unstable();
        nodes
    }

    /// The node at the other end of a link, if it is up at both.
    fn open_to(&self, link: LinkId) -> Option<NodeId> {
        let up = |l: LinkId| self.end(l).filter(|e| e.state == EndState::Up);
        up(link)?;
        up(other(link)).map(|e| e.node)
    }

    /// Every end that is not down, ascending.
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
    fn numbers_are_new_and_memory_is_used_again() {
        let mut links = Links::default();
        let connect = |links: &mut Links, from: u32, to: u32| {
            let (dial, expected, further) = (DialId(0), None, VecDeque::new());
            let attempt = Attempt { dial, expected, further, deadline: Time::ZERO };
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
        assert_eq!(links.ends_at(NodeId(1)), [LinkId(0)], "the other end stands");
        assert_eq!(links.all(), [0, 4, 5, 6, 7, 8, 9].map(LinkId));
        links.finish(LinkId(0));
        assert_eq!(links.all(), [4, 5, 6, 7, 8, 9].map(LinkId));
    }
}
