//! Virtual connections: two ends, each with what it sent and could not get across.

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

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
    /// The address the other end sees it at.
    pub(crate) address: SocketAddr,
    pub(crate) state: EndState,
    /// When the last item sent arrives; nothing sent later may overtake it.
    pub(crate) last_arrival: Time,
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
    /// It will be told when there is room on its line.
    pub(crate) awaits_line: bool,
}

impl End {
    const fn new(node: NodeId, address: SocketAddr) -> Self {
        End {
            node,
            address,
            state: EndState::Connecting,
            last_arrival: Time::ZERO,
            held: VecDeque::new(),
            held_bytes: BTreeMap::new(),
            congested: false,
            unacked_since: None,
            unread: 0,
            awaits_line: false,
        }
    }

    /// Ends it. What was held is gone.
    pub(crate) fn end(&mut self) {
        self.state = EndState::Down;
        self.take_held();
        self.unacked_since = None;
    }

    pub(crate) fn take_held(&mut self) -> VecDeque<Item> {
        self.held_bytes.clear();
        self.congested = false;
        core::mem::take(&mut self.held)
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
pub(crate) struct Connection {
    ends: [End; 2],
    pub(crate) attempt: Attempt,
}

const fn connection_of(link: LinkId) -> u64 {
    link.0 / 2
}

/// The other end of the same connection.
pub(crate) const fn other(link: LinkId) -> LinkId {
    LinkId(link.0 ^ 1)
}

/// Whether the end is the one that dialled.
pub(crate) const fn is_dialer(link: LinkId) -> bool {
    link.0.is_multiple_of(2)
}

/// All connections of the world.
#[derive(Debug, Default)]
pub(crate) struct Links {
    connections: BTreeMap<u64, Connection>,
    by_node: BTreeMap<NodeId, BTreeSet<u64>>,
    made: u64,
}

impl Links {
    /// A new connection in its beginnings; gives the dialer's end.
    pub(crate) fn connect(
        &mut self,
        dialer: (NodeId, SocketAddr),
        acceptor: (NodeId, SocketAddr),
        attempt: Attempt,
    ) -> LinkId {
        let number = self.made;
        self.made += 1;
        let ends = [End::new(dialer.0, dialer.1), End::new(acceptor.0, acceptor.1)];
        self.connections.insert(number, Connection { ends, attempt });
        for node in [dialer.0, acceptor.0] {
            self.by_node.entry(node).or_default().insert(number);
        }
        LinkId(number * 2)
    }

    pub(crate) fn attempt(&self, link: LinkId) -> Option<&Attempt> {
        self.connections.get(&connection_of(link)).map(|c| &c.attempt)
    }

    pub(crate) fn end(&self, link: LinkId) -> Option<&End> {
        let c = self.connections.get(&connection_of(link))?;
        c.ends.get((link.0 % 2) as usize)
    }

    pub(crate) fn end_mut(&mut self, link: LinkId) -> Option<&mut End> {
        let c = self.connections.get_mut(&connection_of(link))?;
        c.ends.get_mut((link.0 % 2) as usize)
    }

    /// Ends this end; forgets the connection when both ends are down.
    pub(crate) fn finish(&mut self, link: LinkId) {
        let Some(c) = self.connections.get_mut(&connection_of(link)) else { return };
        if let Some(end) = c.ends.get_mut((link.0 % 2) as usize) {
            end.end();
        }
        if c.ends.iter().all(|e| e.state == EndState::Down) {
            for node in [c.ends[0].node, c.ends[1].node] {
                if let Some(set) = self.by_node.get_mut(&node) {
                    set.remove(&connection_of(link));
                }
            }
            self.connections.remove(&connection_of(link));
        }
    }

    /// The ends at one node that are not down, ascending.
    pub(crate) fn ends_at(&self, node: NodeId) -> Vec<LinkId> {
        let numbers = self.by_node.get(&node).into_iter().flatten();
        numbers
            .flat_map(|&n| [LinkId(n * 2), LinkId(n * 2 + 1)])
            .filter(|&l| self.end(l).is_some_and(|e| e.node == node && e.state != EndState::Down))
            .collect()
    }

    /// The first link up from one node to another.
    pub(crate) fn between(&self, from: NodeId, to: NodeId) -> Option<LinkId> {
        let up = |l: LinkId| self.end(l).is_some_and(|e| e.state == EndState::Up);
        let at = |l: LinkId| self.end(l).map(|e| e.node);
        let all = self.ends_at(from);
        all.into_iter().find(|&l| up(l) && up(other(l)) && at(other(l)) == Some(to))
    }

    /// Every end that is not down, ascending.
    pub(crate) fn all(&self) -> Vec<LinkId> {
        let ends = self
            .connections
            .iter()
            .flat_map(|(&n, c)| [(LinkId(n * 2), &c.ends[0]), (LinkId(n * 2 + 1), &c.ends[1])]);
        ends.filter(|(_, e)| e.state != EndState::Down).map(|(l, _)| l).collect()
    }
}
