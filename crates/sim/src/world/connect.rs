//! The steps from a dial to a link: SYN, accept, key exchange, Hello in both directions.

use core::net::SocketAddr;
use std::collections::VecDeque;

use rumormill_proto::{DialError, DialId, DialTarget, Input, LinkEnd, LinkId, LinkInfo};

use super::{SimEvent, World};
use crate::link::{DialAttempt, EndState, LinkItem, is_dialer, other};
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
        let attempt = DialAttempt { dial, expected, further, deadline };
        self.next_attempt(node, attempt, DialError::Refused);
    }

    /// Tries the next address; `last_error` is why the one before it failed.
    fn next_attempt(&mut self, node: NodeId, mut attempt: DialAttempt, last_error: DialError) {
        while let Some(address) = attempt.further.pop_front() {
            if let Some(&target) = self.listeners.get(&address) {
                self.send_syn(node, target, attempt);
                return;
            }
        }
        let process = self.node(node).process;
        let at = self.now + self.network.delay(node, node);
        let dial = attempt.dial;
        self.queue.push(at, SimEvent::DialFailed { node, process, dial, why: last_error });
    }

    fn send_syn(&mut self, node: NodeId, target: NodeId, attempt: DialAttempt) {
        let deadline = attempt.deadline;
        let from = self.node_mut(node).dial_from();
        let to = self.node(target).address.port();
        let link = self.links.connect((node, from), (target, to), attempt);
        self.queue.push(deadline, SimEvent::DialDeadline { link });
        if !self.is_blocked(node, target) {
            let at = self.now + self.network.delay_syn(node, target);
            self.queue.push(at, SimEvent::Syn { link });
        }
    }

    /// The SYN arrives: the kernel of the acceptor's host answers, whatever its process does.
    pub(super) fn syn(&mut self, link: LinkId) {
        let Some((dialer, acceptor)) = self.ends_of(link) else { return };
        match self.node(acceptor).status {
            NodeStatus::HostDown => {}
            NodeStatus::Running | NodeStatus::Frozen => {
                self.queue.push(self.now, SimEvent::Accept { link });
            }
            NodeStatus::Waiting | NodeStatus::Killed | NodeStatus::Left => {
                if !self.is_blocked(acceptor, dialer) {
                    let at = self.now + self.network.delay(acceptor, dialer);
                    self.queue.push(at, SimEvent::Refused { link });
                }
            }
        }
    }

    /// The acceptor's process accepts the connection and sends its key.
    pub(super) fn accept(&mut self, link: LinkId) {
        let Some((dialer, acceptor)) = self.ends_of(link) else { return };
        if !self.is_connecting(link) || !self.is_connecting(other(link)) {
            return;
        }
        if self.is_apart(dialer, acceptor) {
            return;
        }
        // SYN-ACK, then the first TLS flight of the client and that of the server.
        let mut at = self.now + self.network.delay_syn(acceptor, dialer);
        for (from, to) in [(dialer, acceptor), (acceptor, dialer)] {
            at += self.network.delay(from, to);
        }
        self.queue.push(at, SimEvent::ServerFlight { link });
    }

    /// The acceptor's key arrives: the dialer sends Hello if the key is the expected one.
    pub(super) fn server_flight(&mut self, link: LinkId) {
        let Some((_, acceptor)) = self.ends_of(link) else { return };
        if !self.is_connecting(link) {
            return;
        }
        let expected = self.links.attempt(link).and_then(|a| a.expected);
        if expected.is_some_and(|id| id != self.id(acceptor)) {
            self.fail_dial(link, DialError::WrongIdentity);
        } else {
            self.transmit(link, LinkItem::Hello);
        }
    }

    /// The Hello of the other end arrives: this end is up. The acceptor answers with its own Hello.
    pub(super) fn hello(&mut self, link: LinkId) {
        let Some((here, there)) = self.ends_of(link) else { return };
        let dialer = is_dialer(link);
        if let Some(end) = self.links.end_mut(link) {
            end.state = EndState::Up;
        }
        if !dialer {
            self.transmit(link, LinkItem::Hello);
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

    /// Fails a dial, or continues it with the next address.
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

    /// Ends this end because its process or its dial has ended; the other end gets a reset if the
    /// path is open.
    pub(super) fn abandon(&mut self, link: LinkId) {
        let Some((here, there)) = self.ends_of(link) else { return };
        if self.is_blocked(here, there) {
            if self.is_connecting(other(link)) && !is_dialer(other(link)) {
                self.links.finish(other(link));
            }
        } else {
            self.transmit(link, LinkItem::Reset);
        }
        self.links.finish(link);
    }

    /// A reset arrives: the other end does not exist any more.
    pub(super) fn reset(&mut self, link: LinkId) {
        let Some((here, _)) = self.ends_of(link) else { return };
        match self.links.end(link).map(|e| e.state) {
            Some(EndState::Connecting) if is_dialer(link) => {
                self.fail_dial(link, DialError::Refused);
            }
            Some(EndState::Up) => {
                self.links.finish(link);
                self.link_down(here, link, LinkEnd::Lost);
            }
            _ => self.links.finish(link),
        }
    }

    pub(super) fn is_connecting(&self, link: LinkId) -> bool {
        self.links.end(link).is_some_and(|e| e.state == EndState::Connecting)
    }

    /// The nodes at this end and at the other end.
    pub(super) fn ends_of(&self, link: LinkId) -> Option<(NodeId, NodeId)> {
        Some((self.links.end(link)?.node, self.links.end(other(link))?.node))
    }
}
