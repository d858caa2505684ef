//! Commands of an application at a node, and frames that a test injects for an adversary.

use core::time::Duration;

use rumormill_proto::wire::Frame;
use rumormill_proto::{Class, LinkId, MessageId, PublishError};

use super::World;
use crate::ledger::Publication;
use crate::machine::NodeCore;
use crate::node::{NodeId, NodeStatus};
use crate::trace::Step;

/// How long a peer may take to leave: the library's default.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// Why a command failed. The world is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The node is not a peer whose process runs.
    #[error("{0} is not a running peer (it is {1:?})")]
    NotRunning(NodeId, NodeStatus),
    /// The peer refused the message.
    #[error("{0}: {1}")]
    Refused(NodeId, PublishError),
    /// There is no link between the nodes.
    #[error("there is no link from {0} to {1}")]
    NoLink(NodeId, NodeId),
}

impl World {
    /// Publishes a message at a peer.
    ///
    /// # Errors
    /// The peer does not run, or it refuses the message.
    pub fn publish(
        &mut self,
        node: NodeId,
        topic: &str,
        payload: &[u8],
    ) -> Result<MessageId, CommandError> {
        let connected = self.connected(node);
        let now = self.now;
        let published = self.running_peer(node)?.publish(now, topic, payload);
        let id = published.map_err(|e| CommandError::Refused(node, e))?;
        let bytes = payload.len() as u64;
        self.note_publication(Publication { at: now, node, id, bytes, connected });
        self.trace.step(now, node, Step::Command, id.sequence);
        self.drain(node);
        Ok(id)
    }

    /// Publishes messages at a peer at one moment; the peer packs them into batches.
    ///
    /// # Errors
    /// The peer does not run, or it refuses a message; the messages before it are published.
    pub fn publish_all(
        &mut self,
        node: NodeId,
        topic: &str,
        payloads: &[&[u8]],
    ) -> Result<Vec<MessageId>, CommandError> {
        let connected = self.connected(node);
        let mut ids = Vec::new();
        let mut refused = None;
        for payload in payloads {
            let now = self.now;
            match self.running_peer(node)?.publish(now, topic, payload) {
                Ok(id) => {
                    let connected = connected.clone();
                    let bytes = payload.len() as u64;
                    self.note_publication(Publication { at: now, node, id, bytes, connected });
                    self.trace.step(now, node, Step::Command, id.sequence);
                    ids.push(id);
                }
                Err(e) => {
                    refused = Some(CommandError::Refused(node, e));
                    break;
                }
            }
        }
        self.drain(node);
        refused.map_or(Ok(ids), Err)
    }

    /// Publishes a message and requests its delivery receipt; the updates are recorded in
    /// [`Ledger::receipts`](crate::ledger::Ledger).
    ///
    /// # Errors
    /// The peer does not run, or it refuses the message.
    pub fn publish_with_receipt(
        &mut self,
        node: NodeId,
        topic: &str,
        payload: &[u8],
    ) -> Result<MessageId, CommandError> {
        let connected = self.connected(node);
        let now = self.now;
        let peer = self.running_peer(node)?;
        let id = peer.publish(now, topic, payload).map_err(|e| CommandError::Refused(node, e))?;
        let is_accepted = peer.request_receipt(now, id);
        if !is_accepted {
            self.note_seam_violation(node, format!("no receipt for message {}", id.sequence));
        }
        let bytes = payload.len() as u64;
        self.note_publication(Publication { at: now, node, id, bytes, connected });
        self.trace.step(now, node, Step::Command, id.sequence);
        self.drain(node);
        Ok(id)
    }

    /// The nodes that a path of the overlay connects with this one, if the world keeps a ledger.
    fn connected(&self, node: NodeId) -> Vec<NodeId> {
        if self.keeps_ledger() {
            self.graph().reachable(node).into_iter().collect()
        } else {
            Vec::new()
        }
    }

    fn note_publication(&mut self, publication: Publication) {
        self.figures.published(publication.id, publication.at);
        self.ledger.publications.push(publication);
    }

    /// Requests the delivery receipt of a message that was published before. Returns whether the
    /// peer accepted the request.
    ///
    /// # Errors
    /// The peer does not run.
    pub fn request_receipt(&mut self, node: NodeId, id: MessageId) -> Result<bool, CommandError> {
        let now = self.now;
        let is_accepted = self.running_peer(node)?.request_receipt(now, id);
        self.trace.step(now, node, Step::Command, id.sequence);
        self.drain(node);
        Ok(is_accepted)
    }

    /// Asks a peer to get everything that it has published so far confirmed by another node.
    /// Returns the sequence number after the last message concerned.
    ///
    /// # Errors
    /// The peer does not run.
    pub fn flush(&mut self, node: NodeId) -> Result<u64, CommandError> {
        let now = self.now;
        let until = self.running_peer(node)?.flush(now);
        self.trace.step(now, node, Step::Command, until);
        self.drain(node);
        Ok(until)
    }

    /// Fetches a message at a peer (P8); the answer is recorded in
    /// [`Ledger::fetches`](crate::ledger::Ledger).
    ///
    /// # Errors
    /// The peer does not run.
    pub fn fetch(&mut self, node: NodeId, id: MessageId) -> Result<(), CommandError> {
        let now = self.now;
        self.running_peer(node)?.fetch(now, id);
        self.trace.step(now, node, Step::Command, id.sequence);
        self.drain(node);
        Ok(())
    }

    /// Lets a peer leave in an orderly way, within the library's default time. Its process ends
    /// with `Event::Left`.
    ///
    /// # Errors
    /// The peer does not run.
    pub fn leave(&mut self, node: NodeId) -> Result<(), CommandError> {
        self.leave_within(node, LEAVE_WITHIN)
    }

    /// As [`leave`](World::leave), with another time limit.
    ///
    /// # Errors
    /// The peer does not run.
    pub fn leave_within(&mut self, node: NodeId, within: Duration) -> Result<(), CommandError> {
        let now = self.now;
        self.running_peer(node)?.leave(now, within);
        if self.keeps_ledger() {
            self.ledger.exits.push((node, now));
        }
        self.trace.step(now, node, Step::Command, 0);
        self.drain(node);
        Ok(())
    }

    /// Sends a frame over a node's link to another node without its core. An adversary needs a link
    /// for this, like any other node.
    ///
    /// # Errors
    /// There is no link between the two nodes.
    pub fn inject(&mut self, from: NodeId, to: NodeId, frame: Frame) -> Result<(), CommandError> {
        let link = self.link_between(from, to).ok_or(CommandError::NoLink(from, to))?;
        self.send(from, link, frame, Class::Control);
        Ok(())
    }

    /// The link from one node to another that is up; the first one if there are several.
    #[must_use]
    pub fn link_between(&self, from: NodeId, to: NodeId) -> Option<LinkId> {
        self.links.between(from, to)
    }

    fn running_peer(&mut self, node: NodeId) -> Result<&mut rumormill_proto::Peer, CommandError> {
        let status = self.node(node).status;
        match &mut self.node_mut(node).core {
            Some(NodeCore::Peer(peer)) if status == NodeStatus::Running => Ok(peer),
            _ => Err(CommandError::NotRunning(node, status)),
        }
    }
}
