//! Faults of hosts: copied data directories, and changed addresses.

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;

use rumormill_proto::{DialError, LinkEnd};

use super::{World, node_address};
use crate::ledger::ImpairmentKind;
use crate::link::is_dialer;
use crate::node::{NodeId, NodeKind, NodeStatus};

impl World {
    /// Starts a second process with the identity of a peer or a seed and a copy of its disk on
    /// another host, as a cloned machine or a copied data directory does. A copy of a seed listens
    /// at the address of the configured seed `at`, whose process must have ended. No promise
    /// applies to a copy, and the checkers skip it.
    ///
    /// Returns `None` if the node is neither a peer nor a seed.
    pub fn add_copy(&mut self, of: NodeId, at: Option<NodeId>) -> Option<NodeId> {
        let address = match at {
            Some(at) => {
                debug_assert!(
                    self.status(at) != NodeStatus::Running,
                    "two processes must not listen at one address"
                );
                self.node(at).address
            }
            None => node_address(self.nodes.len()),
        };
        let original = self.node(of);
        let (identity, config) = (original.identity.clone(), Arc::clone(&original.config));
        let disk = original.disk.clone();
        let kind = match &original.kind {
            NodeKind::Peer { name, advertise, seeds } => NodeKind::Peer {
                name: name.clone(),
                advertise: advertise.clone(),
                seeds: Arc::clone(seeds),
            },
            NodeKind::Seed { seeds, .. } => {
                let own_index = seeds.iter().position(|s| s.host_port == address.to_string());
                NodeKind::Seed { seeds: Arc::clone(seeds), own_index }
            }
            NodeKind::Machine { .. } => return None,
        };
        let copy = self.add_with_identity(identity, kind, config, address, Duration::ZERO);
        let n = self.node_mut(copy);
        (n.disk, n.is_copy) = (disk, true);
        self.run_to(self.now);
        Some(copy)
    }

    /// Gives a host another address: its connections are lost at both ends, and no process listens
    /// at the old address any more. Its process continues and is not notified.
    pub fn move_host(&mut self, node: NodeId) -> SocketAddr {
        // The new address is outside the ranges from which added nodes get their addresses.
        let old = self.node(node).address;
        let mut new = old;
        loop {
            let std::net::IpAddr::V4(ip) = new.ip() else { return old };
            new.set_ip(core::net::Ipv4Addr::from_bits(ip.to_bits() ^ (1 << 31)).into());
            if !self.listeners.contains_key(&new) {
                break;
            }
            let std::net::IpAddr::V4(ip) = new.ip() else { return old };
            new.set_ip(
                core::net::Ipv4Addr::from_bits(ip.to_bits().wrapping_add(0x0100_0000)).into(),
            );
        }
        self.note_impairment(node, ImpairmentKind::Moved);
        self.ledger.end_impairment(node, ImpairmentKind::Moved, self.now);
        self.listeners.remove(&old);
        self.listeners.insert(new, node);
        self.node_mut(node).address = new;
        for link in self.links.ends_at(node) {
            if is_dialer(link) && self.is_connecting(link) {
                // Every dial must end in a link or a failure.
                self.fail_dial(link, DialError::Refused);
            } else {
                self.abandon(link);
                self.link_down(node, link, LinkEnd::Lost);
            }
        }
        new
    }
}
