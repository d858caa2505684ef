//! What an application, or an adversary, does at a node.

use core::time::Duration;

use rumormill_proto::wire::Frame;
use rumormill_proto::{Class, LinkId, MessageId, PublishError};

use super::World;
use crate::ledger::Publication;
use crate::machine::Core;
use crate::node::{NodeId, NodeStatus};
use crate::trace::Step;

/// How long a peer may take to leave, as in the library.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// Why a command could not be given. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The node is not a peer whose process runs.
    #[error("{0} is not a running peer (it is {1:?})")]
    NotRunning(NodeId, NodeStatus),
    /// The peer refused it.
    #[error("{0}: {1}")]
    Refused(NodeId, PublishError),
    /// There is no link to speak on.
    #[error("there is no link from {0} to {1}")]
    NoLink(NodeId, NodeId),
}

impl World {
    /// Publishes a message at a peer.
    ///
    /// # Errors
    /// The peer does not run, or refuses the message.
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

    /// Publishes messages at a peer at one moment; they go out packed into batches.
    ///
    /// # Errors
    /// The peer does not run, or refuses a message; those before it are published.
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

    /// Publishes a message and asks for its receipts; they show in
    /// [`Ledger::receipts`](crate::ledger::Ledger).
    ///
    /// # Errors
    /// The peer does not run, or refuses the message.
    pub fn publish_awaited(
        &mut self,
        node: NodeId,
        topic: &str,
        payload: &[u8],
    ) -> Result<MessageId, CommandError> {
        let connected = self.connected(node);
        let now = self.now;
        let peer = self.running_peer(node)?;
        let id = peer.publish(now, topic, payload).map_err(|e| CommandError::Refused(node, e))?;
        let waits = peer.want_receipt(now, id);
        if !waits {
            self.seam_fault(node, format!("no receipt for message {}", id.sequence));
        }
        let bytes = payload.len() as u64;
        self.note_publication(Publication { at: now, node, id, bytes, connected });
        self.trace.step(now, node, Step::Command, id.sequence);
        self.drain(node);
        Ok(id)
    }

    /// The nodes that a path leads to, if that is written down.
    fn connected(&self, node: NodeId) -> Vec<NodeId> {
        if self.is_judged() {
            self.graph().reachable(node).into_iter().collect()
        } else {
            Vec::new()
        }
    }

    fn note_publication(&mut self, publication: Publication) {
        self.figures.published(publication.id, publication.at);
        self.ledger.publications.push(publication);
    }

    /// Asks for receipts of a message that was published before.
    ///
    /// # Errors
    /// The peer does not run.
    pub fn want_receipt(&mut self, node: NodeId, id: MessageId) -> Result<bool, CommandError> {
        let now = self.now;
        let waits = self.running_peer(node)?.want_receipt(now, id);
        self.trace.step(now, node, Step::Command, id.sequence);
        self.drain(node);
        Ok(waits)
    }

    /// Asks a peer to have what it published so far confirmed by another node; says up to which number.
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

    /// Asks a peer for a message (P8); the answer shows in [`Ledger::fetches`](crate::ledger::Ledger).
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

    /// Lets a peer leave in an orderly way, within the library's default time; its process ends when it has told
    /// `Event::Left`.
    ///
    /// # Errors
    /// The peer does not run.
    pub fn leave(&mut self, node: NodeId) -> Result<(), CommandError> {
        self.leave_within(node, LEAVE_WITHIN)
    }

    /// As [`leave`](World::leave), within another time.
    ///
    /// # Errors
    /// The peer does not run.
    pub fn leave_within(&mut self, node: NodeId, within: Duration) -> Result<(), CommandError> {
        let now = self.now;
        self.running_peer(node)?.leave(now, within);
        if self.is_judged() {
            self.ledger.exits.push((node, now));
        }
        self.trace.step(now, node, Step::Command, 0);
        self.drain(node);
        Ok(())
    }

    /// Sends any frame in a node's name over its link to another node, behind the back of its
    /// core. Without a link there is an error: an adversary has to connect like anybody else.
    ///
    /// # Errors
    /// There is no link between the two.
    pub fn inject(&mut self, from: NodeId, to: NodeId, frame: Frame) -> Result<(), CommandError> {
        let link = self.link_between(from, to).ok_or(CommandError::NoLink(from, to))?;
        self.send(from, link, frame, Class::Control);
        Ok(())
    }

    /// The link that is up from one node to another; the first one, if there are several.
    #[must_use]
    pub fn link_between(&self, from: NodeId, to: NodeId) -> Option<LinkId> {
        self.links.between(from, to)
    }

    fn running_peer(&mut self, node: NodeId) -> Result<&mut rumormill_proto::Peer, CommandError> {
        let status = self.node(node).status;
        match &mut self.node_mut(node).core {
            Some(Core::Peer(peer)) if status == NodeStatus::Running => Ok(peer),
            _ => Err(CommandError::NotRunning(node, status)),
        }
    }
}
