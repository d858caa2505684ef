//! From a dial to a link: listener, key, Hello in both directions.

use core::net::SocketAddr;
use std::collections::VecDeque;

use rumormill_proto::{DialError, DialId, DialTarget, Input, LinkDown, LinkId, LinkInfo};

use super::{Happening, World};
use crate::link::{Attempt, EndState, Item, is_dialer, other};
use crate::node::{NodeId, NodeStatus};
use crate::trace::Step;

impl World {
    pub(super) fn dial(&mut self, node: NodeId, dial: DialId, to: DialTarget) {
        let (expected, further): (_, VecDeque<SocketAddr>) = match to {
            DialTarget::Seed(seed) => (seed.pin, seed.host_port.parse().into_iter().collect()),
            DialTarget::Peer { id, addresses } => {
                (Some(id), addresses.into_iter().map(|a| a.0).collect())
            }
        };
        let deadline = self.now + self.config.dial_timeout;
        let attempt = Attempt { dial, expected, further, deadline };
        self.next_attempt(node, attempt, DialError::Refused);
    }

    /// Tries the next address; `last` is why the one before it failed.
    fn next_attempt(&mut self, node: NodeId, mut attempt: Attempt, last: DialError) {
        while let Some(address) = attempt.further.pop_front() {
            if let Some(&target) = self.listeners.get(&address) {
                self.begin(node, target, attempt);
                return;
            }
        }
        let life = self.node(node).life;
        let at = self.now + self.network.delay(node, node);
        let dial = attempt.dial;
        self.queue.push(at, Happening::DialFailed { node, life, dial, why: last });
    }

    fn begin(&mut self, node: NodeId, target: NodeId, attempt: Attempt) {
        let deadline = attempt.deadline;
        let from = self.node_mut(node).dial_from();
        let to = self.node(target).address.port();
        let link = self.links.connect((node, from), (target, to), attempt);
        self.queue.push(deadline, Happening::DialDeadline { link });
        if !self.is_blocked(node, target) {
            let at = self.now + self.network.delay_syn(node, target);
            self.queue.push(at, Happening::Syn { link });
        }
    }

    /// The kernel of the acceptor's host answers, whatever its process does.
    pub(super) fn syn(&mut self, link: LinkId) {
        let Some((dialer, acceptor)) = self.ends_of(link) else { return };
        match self.node(acceptor).status {
            NodeStatus::HostDown => {}
            NodeStatus::Running | NodeStatus::Frozen => {
                self.queue.push(self.now, Happening::Accept { link });
            }
            NodeStatus::Waiting | NodeStatus::Killed | NodeStatus::Left => {
                if !self.is_blocked(acceptor, dialer) {
                    let at = self.now + self.network.delay(acceptor, dialer);
                    self.queue.push(at, Happening::Refused { link });
                }
            }
        }
    }

    /// The acceptor's process takes the connection and shows its key.
    pub(super) fn accept(&mut self, link: LinkId) {
        let Some((dialer, acceptor)) = self.ends_of(link) else { return };
        if !self.is_connecting(link) || !self.is_connecting(other(link)) {
            return;
        }
        if self.is_apart(dialer, acceptor) {
            return;
        }
        // SYN-ACK, the client's first flight, the server's.
        let mut at = self.now + self.network.delay_syn(acceptor, dialer);
        for (from, to) in [(dialer, acceptor), (acceptor, dialer)] {
            at += self.network.delay(from, to);
        }
        self.queue.push(at, Happening::ServerFlight { link });
    }

    /// The dialer sees who answered, and says Hello if it is the right one.
    pub(super) fn server_flight(&mut self, link: LinkId) {
        let Some((_, acceptor)) = self.ends_of(link) else { return };
        if !self.is_connecting(link) {
            return;
        }
        let expected = self.links.attempt(link).and_then(|a| a.expected);
        if expected.is_some_and(|id| id != self.id(acceptor)) {
            self.fail_dial(link, DialError::WrongIdentity);
        } else {
            self.transmit(link, Item::Up);
        }
    }

    /// The other side's Hello is here. The acceptor answers with its own.
    pub(super) fn hello(&mut self, link: LinkId) {
        let Some((here, there)) = self.ends_of(link) else { return };
        let dialer = is_dialer(link);
        if let Some(end) = self.links.end_mut(link) {
            end.state = EndState::Up;
        }
        if !dialer {
            self.transmit(link, Item::Up);
        }
        let address = |l: LinkId| {
            let end = self.links.end(l)?;
            Some(SocketAddr::new(self.node(end.node).address.ip(), end.port))
        };
        let (Some(own), Some(remote_address)) = (address(link), address(other(link))) else {
            return;
        };
        let attempt = if dialer { self.links.take_attempt(link) } else { None };
        let info = LinkInfo {
            remote: self.id(there),
            role: self.node(there).role(),
            dial: attempt.map(|a| a.dial),
            remote_address,
            observed: Some(own),
            local_address: Some(own),
            same_process: here == there,
        };
        self.node_mut(here).open_links.insert(link);
        self.feed(here, Step::LinkUp, link.0, Input::LinkUp { link, info });
    }

    /// A dial fails, or goes on with the next address.
    pub(super) fn fail_dial(&mut self, link: LinkId, why: DialError) {
        let Some((dialer, _)) = self.ends_of(link) else { return };
        if !self.is_connecting(link) {
            return;
        }
        let Some(attempt) = self.links.take_attempt(link) else { return };
        self.abandon(link);
        if why != DialError::TimedOut && !attempt.further.is_empty() {
            self.next_attempt(dialer, attempt, why);
        } else {
            let dial = attempt.dial;
            self.feed(dialer, Step::DialFailed, dial.0, Input::DialFailed { dial, why });
        }
    }

    /// This end vanishes with its process or its purpose; the other one hears of it if a packet
    /// can get there.
    pub(super) fn abandon(&mut self, link: LinkId) {
        let Some((here, there)) = self.ends_of(link) else { return };
        if self.is_blocked(here, there) {
            if self.is_connecting(other(link)) && !is_dialer(other(link)) {
                self.links.finish(other(link));
            }
        } else {
            self.transmit(link, Item::Reset);
        }
        self.links.finish(link);
    }

    /// The other end is gone without a word.
    pub(super) fn reset(&mut self, link: LinkId) {
        let Some((here, _)) = self.ends_of(link) else { return };
        match self.links.end(link).map(|e| e.state) {
            Some(EndState::Connecting) if is_dialer(link) => {
                self.fail_dial(link, DialError::Refused);
            }
            Some(EndState::Up) => {
                self.links.finish(link);
                self.link_down(here, link, LinkDown::Lost);
            }
            _ => self.links.finish(link),
        }
    }

    pub(super) fn is_connecting(&self, link: LinkId) -> bool {
        self.links.end(link).is_some_and(|e| e.state == EndState::Connecting)
    }

    /// The nodes at this end and at the other one.
    pub(super) fn ends_of(&self, link: LinkId) -> Option<(NodeId, NodeId)> {
        Some((self.links.end(link)?.node, self.links.end(other(link))?.node))
    }
}
