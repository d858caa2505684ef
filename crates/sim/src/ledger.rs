//! The ledger: events of a run that a world records for tests and checkers.

use core::time::Duration;
use std::collections::BTreeMap;

use rumormill_proto::snapshot::Receipt;
use rumormill_proto::{DeliveredMark, MessageId, PeerId, StreamId, Time};

use crate::node::NodeId;

/// A message that an application published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// When it was published.
    pub at: Time,
    /// The publisher.
    pub node: NodeId,
    /// The message.
    pub id: MessageId,
    /// Bytes of its payload.
    pub bytes: u64,
    /// The nodes that a path of the overlay connected with the publisher at that time, the
    /// publisher included; empty in a world that records figures only.
    pub connected: Vec<NodeId>,
}

/// A peer that left in an orderly way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// When its process ended.
    pub at: Time,
    /// The peer.
    pub node: NodeId,
    /// When its process had started.
    pub since: Time,
    /// Whether a majority of the seeds had acknowledged the exit.
    pub acknowledged: bool,
    /// The messages that it reported as not known to be held by another node: the first sequence
    /// number and the one after the last.
    pub unconfirmed: Option<(u64, u64)>,
    /// Number of publishers that have left and whose messages it reported as not known to be held
    /// by another node.
    pub others: u32,
    /// The nodes that a path of the overlay connected at that time with a holder of the last
    /// message that the peer had published.
    pub connected: Vec<NodeId>,
}

/// A delivery of a message to an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// When it was delivered.
    pub at: Time,
    /// The node that delivered it.
    pub node: NodeId,
    /// Number of the node's process; a new process may deliver messages again.
    pub process: u32,
    /// The message.
    pub id: MessageId,
    /// The neighbour that sent it; `None` at its publisher.
    pub from: Option<PeerId>,
    /// Number of links that it crossed.
    pub hops: u16,
    /// Age of the message by the node's estimate; `Duration::MAX` for a message that an earlier
    /// process stored.
    pub age: Duration,
}

/// A gap reported to an application: messages that it will not get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapReport {
    /// When it was reported.
    pub at: Time,
    /// The node that reported it.
    pub node: NodeId,
    /// Number of the node's process.
    pub process: u32,
    /// The first missing message.
    pub first: MessageId,
    /// The sequence number after the last missing message.
    pub to: u64,
    /// Number of [`Arrival`]s in the ledger before it, of all nodes.
    pub after: usize,
    /// A running peer that had the first missing message and that an unblocked path of the overlay
    /// connected with the node.
    pub holder: Option<NodeId>,
}

impl GapReport {
    /// Whether the gap contains a message.
    #[must_use]
    pub fn covers(&self, id: &MessageId) -> bool {
        self.first.stream() == id.stream() && (self.first.sequence..self.to).contains(&id.sequence)
    }
}

/// The delivery state that a process found on its disk when it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// When it started.
    pub at: Time,
    /// The node.
    pub node: NodeId,
    /// Number of the node's process.
    pub process: u32,
    /// The delivery mark of each stream.
    pub marks: Vec<DeliveredMark>,
    /// For each publisher the last of its streams that has ended; all earlier ones have ended too.
    pub closed_up_to: Vec<StreamId>,
    /// The ends of the streams that earlier processes of this peer published.
    pub own: Vec<DeliveredMark>,
    /// The marks that its consumer had acknowledged to earlier processes, if it has a consumer.
    pub consumed: Option<Vec<DeliveredMark>>,
}

impl Resume {
    /// Whether a stream is marked as ended, with nothing else stored of it.
    #[must_use]
    pub fn is_over(&self, stream: StreamId) -> bool {
        let mut all = self.closed_up_to.iter();
        all.any(|c| c.publisher == stream.publisher && stream.epoch <= c.epoch)
    }
}

/// A peer reported that it has joined; records the members that it knew then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// When it reported it.
    pub at: Time,
    /// The peer.
    pub node: NodeId,
    /// Its id.
    pub id: PeerId,
    /// When a majority of the seeds had acknowledged its registration.
    pub registered: Time,
    /// The members that it listed as alive or suspected then, ascending.
    pub known: Vec<PeerId>,
}

/// A copy of a batch that a peer received, possibly a duplicate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchCopy {
    /// When it arrived.
    pub at: Time,
    /// The receiver.
    pub node: NodeId,
    /// Number of the node's process.
    pub process: u32,
    /// The first message of the batch.
    pub batch: MessageId,
    /// Whether it answered a pull.
    pub pulled: bool,
    /// Bytes of the batch.
    pub bytes: u64,
}

/// An update of a delivery receipt at a publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptUpdate {
    /// When the publisher got it.
    pub at: Time,
    /// The publisher.
    pub node: NodeId,
    /// The receipt.
    pub receipt: Receipt,
    /// The nodes that held the message at that time, running or frozen.
    pub holders: Vec<NodeId>,
    /// The peers whose process ran at that time.
    pub live: Vec<NodeId>,
    /// The peers, running or frozen, that the receipt must count: the publisher listed them as live
    /// and participating, and they had had a neighbour when the message was published.
    pub owed: Vec<NodeId>,
}

/// The answer to a fetch (P8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchAnswer {
    /// When the application got it.
    pub at: Time,
    /// The node that fetched.
    pub node: NodeId,
    /// The message that was requested.
    pub id: MessageId,
    /// Whether the message was found.
    pub found: bool,
}

/// A removal by certificate, as one node reported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// When the node reported it.
    pub at: Time,
    /// The node that reported it: a seed or a peer.
    pub observer: NodeId,
    /// The removed peer.
    pub subject: PeerId,
    /// The incarnation that was removed.
    pub incarnation: u64,
    /// The witnesses that the certificate names.
    pub witnesses: Vec<PeerId>,
    /// The seeds whose votes the certificate contains.
    pub seeds: Vec<PeerId>,
}

/// Kind of an [`Impairment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImpairmentKind {
    /// The process was killed, or the host lost power.
    Dead,
    /// The address of the host changed: other nodes cannot reach it until it has announced the new
    /// one.
    Moved,
    /// The process was stopped.
    Frozen,
    /// A majority of the seeds could not reach the node, so it could rightly vote for its death.
    Unreachable,
    /// The line is so slow that a sign of life may arrive too late.
    Slow,
    /// The peer left.
    Left,
}

/// A period in which a node may rightly be declared dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impairment {
    /// The node.
    pub node: NodeId,
    /// Its key, which copies of the node share.
    pub id: PeerId,
    /// The incarnation of its process at the beginning, if the node is a peer.
    pub incarnation: Option<u64>,
    /// The kind.
    pub kind: ImpairmentKind,
    /// Beginning.
    pub from: Time,
    /// End; `None` while it lasts.
    pub until: Option<Time>,
    /// Death reports needed for a removal at the beginning: computed from the node's degree and
    /// from the degree that each live seed stored, whichever needs fewer. 0 in a world that records
    /// figures only.
    pub needed: usize,
}

/// The parts of a partitioned network, from some time on. No packets pass between parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkParts {
    /// Beginning.
    pub from: Time,
    /// The part that contains each running peer.
    pub part_of: BTreeMap<NodeId, usize>,
}

/// A node used the seam against its contract, or a node received a frame that honest nodes do not
/// send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractViolation {
    /// When it happened.
    pub at: Time,
    /// The node that received the invalid frame, or that misused the seam.
    pub node: NodeId,
    /// Description.
    pub what: String,
}

/// Everything that a world recorded. A world that records [`Figures`](crate::Figures) only has
/// publications, impairments and contract violations here.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Published messages, in order.
    pub publications: Vec<Publication>,
    /// Deliveries to applications, in order.
    pub arrivals: Vec<Arrival>,
    /// Gaps reported to applications, in order.
    pub gaps: Vec<GapReport>,
    /// Starts of processes with the delivery state on their disks, in order.
    pub resumes: Vec<Resume>,
    /// Peers that joined, in order.
    pub joins: Vec<Join>,
    /// When peers began to leave, in order.
    pub exits: Vec<(NodeId, Time)>,
    /// When nodes started again with an empty disk or an older copy of it, in order.
    pub disks_lost: Vec<(NodeId, Time)>,
    /// Copies of batches received by peers, in order.
    pub copies: Vec<BatchCopy>,
    /// Updates of delivery receipts, in order.
    pub receipts: Vec<ReceiptUpdate>,
    /// Answers to fetches, in order.
    pub fetches: Vec<FetchAnswer>,
    /// Removals, in order: the first report of each, and every report of a seed. Later reports of
    /// peers add no information, and there is one for every peer.
    pub removals: Vec<Removal>,
    /// Orderly exits of peers, in order.
    pub departures: Vec<Departure>,
    /// Impairments, by their beginning.
    pub impairments: Vec<Impairment>,
    /// Periods in which packets were lost or full queues dropped frames: beginning and end.
    pub losses: Vec<(Time, Option<Time>)>,
    /// The parts of the network after each change; empty in a world that records figures only.
    pub parts: Vec<NetworkParts>,
    /// Whether a wall clock was set: a node may then overestimate the age of messages that it
    /// stored before a restart.
    pub clock_was_set: bool,
    /// Violations of the seam's contract.
    pub seam_violations: Vec<ContractViolation>,
    /// Frames of honest nodes that could not be decoded or had an invalid signature.
    pub wire_violations: Vec<ContractViolation>,
    /// Frames of adversaries that could not be decoded or had an invalid signature.
    pub refused: u64,
    /// Announcements and payloads dropped because a link's queue was full.
    pub queue_drops: u64,
    /// Frames handled.
    pub frames: u64,
    /// Bytes of the frames handled; 0 in a fast world, which does not encode.
    pub bytes: u64,
    /// Bytes among them of frames that carry a batch.
    pub batch_bytes: u64,
}

impl Ledger {
    /// Ends the lasting impairments of one kind at a node.
    pub(crate) fn end_impairment(&mut self, node: NodeId, kind: ImpairmentKind, at: Time) {
        for i in &mut self.impairments {
            if i.node == node && i.kind == kind && i.until.is_none() {
                i.until = Some(at);
            }
        }
    }

    /// Moves the messages that a node published in `stream` since `since` to the epoch `to`. The
    /// node delivers them to its own subscribers again.
    pub(crate) fn move_stream(&mut self, node: NodeId, stream: StreamId, to: u64, since: Time) {
        let moved = |p: &&mut Publication| p.id.stream() == stream && p.at >= since;
        self.publications.iter_mut().filter(moved).for_each(|p| p.id.epoch = to);
        let own = |a: &Arrival| a.node == node && a.id.stream() == stream && a.at >= since;
        self.arrivals.retain(|a| !own(a) || a.from.is_some());
    }

    /// Whether an impairment of this kind lasts at a node.
    #[must_use]
    pub fn is_impaired(&self, node: NodeId, kind: ImpairmentKind) -> bool {
        self.impairments.iter().any(|i| i.node == node && i.kind == kind && i.until.is_none())
    }
}
