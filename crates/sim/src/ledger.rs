//! What a world writes down as it runs, for tests and checkers.

use core::time::Duration;
use std::collections::BTreeMap;

use rumormill_proto::snapshot::Receipt;
use rumormill_proto::{DeliveredMark, MessageId, PeerId, StreamId, Time};

use crate::node::NodeId;

/// A message that an application published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// When.
    pub at: Time,
    /// Where.
    pub node: NodeId,
    /// The message.
    pub id: MessageId,
    /// Bytes of its payload.
    pub bytes: u64,
    /// The nodes that a path of the overlay led to at that time, the publisher included; not
    /// filled in a world that keeps figures only.
    pub connected: Vec<NodeId>,
}

/// A peer that left in an orderly way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// When it had left.
    pub at: Time,
    /// Which.
    pub node: NodeId,
    /// Since when its process had run.
    pub since: Time,
    /// Whether a majority of the seeds has acknowledged it.
    pub acknowledged: bool,
    /// The first of the messages, and the number after the last, that it said no other node is known to hold.
    pub unconfirmed: Option<(u64, u64)>,
    /// Publishers that have left, and whose messages it said no other node is known to hold.
    pub others: u32,
    /// The nodes that a path of the overlay led to at that time from a peer that held the last message it
    /// had published.
    pub connected: Vec<NodeId>,
}

/// A message that reached an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// When.
    pub at: Time,
    /// Where.
    pub node: NodeId,
    /// The how-manieth start of the node's process: a new process may be told again.
    pub life: u32,
    /// The message.
    pub id: MessageId,
    /// The neighbour it came from; `None` at its publisher.
    pub from: Option<PeerId>,
    /// Links it crossed.
    pub hops: u16,
    /// For how long it had existed, as the node says; `Duration::MAX` for what an earlier process kept.
    pub age: Duration,
}

/// Messages that an application was told it will not get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapTold {
    /// When.
    pub at: Time,
    /// Where.
    pub node: NodeId,
    /// The how-manieth start of the node's process.
    pub life: u32,
    /// The first missing message.
    pub first: MessageId,
    /// The number after the last missing one.
    pub to: u64,
    /// How many [`Arrival`]s had been written down before it, at all nodes.
    pub after: usize,
    /// A running peer that a path of open links led to, and that had the first missing message.
    pub holder: Option<NodeId>,
}

impl GapTold {
    /// Whether a message is among the missing ones.
    #[must_use]
    pub fn covers(&self, id: &MessageId) -> bool {
        self.first.stream() == id.stream() && (self.first.sequence..self.to).contains(&id.sequence)
    }
}

/// How far a process found on its disk, at its start, that messages were delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// When.
    pub at: Time,
    /// Where.
    pub node: NodeId,
    /// The how-manieth start of the node's process.
    pub life: u32,
    /// What it found.
    pub marks: Vec<DeliveredMark>,
    /// Streams up to which it found all of their publisher to be over.
    pub compacted: Vec<StreamId>,
    /// How far it found the streams of its own earlier processes.
    pub own: Vec<DeliveredMark>,
    /// What its consumer had acknowledged to all processes before, if it has one.
    pub consumed: Option<Vec<DeliveredMark>>,
}

impl Resume {
    /// Whether it found a stream to be over, and kept nothing else of it.
    #[must_use]
    pub fn is_over(&self, stream: StreamId) -> bool {
        let mut all = self.compacted.iter();
        all.any(|c| c.publisher == stream.publisher && stream.epoch <= c.epoch)
    }
}

/// A peer that said that it has joined, and whom it knew then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// When.
    pub at: Time,
    /// Which peer.
    pub node: NodeId,
    /// Its id.
    pub id: PeerId,
    /// When a majority of the seeds had acknowledged its registration.
    pub registered: Time,
    /// The members that it listed as alive when it said so, ascending.
    pub known: Vec<PeerId>,
}

/// A copy of a batch that reached a peer, needed or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchCopy {
    /// When.
    pub at: Time,
    /// Where.
    pub node: NodeId,
    /// The how-manieth start of the node's process.
    pub life: u32,
    /// The first message of the batch.
    pub batch: MessageId,
    /// Whether it was asked for.
    pub pulled: bool,
    /// Bytes of the batch.
    pub bytes: u64,
}

/// What a publisher was told of who holds a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptTold {
    /// When.
    pub at: Time,
    /// The publisher.
    pub node: NodeId,
    /// What it was told.
    pub receipt: Receipt,
    /// The nodes that had the message at that time, running or frozen.
    pub holders: Vec<NodeId>,
    /// The peers that ran at that time.
    pub live: Vec<NodeId>,
    /// The peers, running or frozen, that the receipt has to count: the publisher knew that they live and
    /// participate, and they had had a neighbour when the message was published.
    pub owed: Vec<NodeId>,
}

/// The answer to a request for a message (P8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchAnswer {
    /// When.
    pub at: Time,
    /// Where.
    pub node: NodeId,
    /// What was asked for.
    pub id: MessageId,
    /// Whether the message came.
    pub found: bool,
}

/// A removal by certificate, as one node told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// When.
    pub at: Time,
    /// Who told it: a seed or a peer.
    pub observer: NodeId,
    /// Who was removed.
    pub subject: PeerId,
    /// The incarnation that died.
    pub incarnation: u64,
    /// The neighbours that reported it.
    pub witnesses: Vec<PeerId>,
    /// The seeds that agreed.
    pub seeds: Vec<PeerId>,
}

/// What was wrong with a node for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Its process was killed, or its host went down.
    Dead,
    /// The address of its host changed: nobody finds it until it has said so.
    Moved,
    /// Its process was stopped.
    Frozen,
    /// So many seeds could not reach it that a majority could find it dead in good faith.
    CutOff,
    /// Its line is so slow that a sign of life may come too late.
    Slow,
    /// It left.
    Left,
}

/// A time in which a node may rightly be found dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impairment {
    /// The node.
    pub node: NodeId,
    /// Its key, which a copy of it has as well.
    pub id: PeerId,
    /// The incarnation that its process had when it began, if it was a peer's.
    pub incarnation: Option<u64>,
    /// What was wrong.
    pub trouble: Trouble,
    /// From when.
    pub from: Time,
    /// Until when; `None` while it lasts.
    pub until: Option<Time>,
    /// Death reports needed at the time it began, by the degree that the node had or any live
    /// seed held for its degree, whichever needs fewer. 0 in a world that keeps figures only.
    pub needed: usize,
}

/// The parts of the network between which nothing passes, from some time on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// Since when.
    pub from: Time,
    /// The part that each running peer is in.
    pub of: BTreeMap<NodeId, usize>,
}

/// Something that a node did against the contract of the seam, or a frame that an honest node does
/// not send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// When.
    pub at: Time,
    /// Which node noticed (bad frames) or did it (misuse of the seam).
    pub node: NodeId,
    /// What.
    pub what: String,
}

/// Everything a world wrote down. A world that keeps [`Figures`](crate::Figures) only writes down
/// publications, troubles and faults here.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Messages published, in order.
    pub publications: Vec<Publication>,
    /// Messages that reached an application, in order.
    pub arrivals: Vec<Arrival>,
    /// Gaps that applications were told, in order.
    pub gaps: Vec<GapTold>,
    /// Where processes went on that began with a disk, in order.
    pub resumes: Vec<Resume>,
    /// Peers that have joined, in order.
    pub joins: Vec<Join>,
    /// When peers began to leave, in order.
    pub exits: Vec<(NodeId, Time)>,
    /// When nodes came back without what they had stored, or with an older copy of it, in order.
    pub disks_lost: Vec<(NodeId, Time)>,
    /// Copies of batches that reached peers, in order.
    pub copies: Vec<BatchCopy>,
    /// What publishers were told of their receipts, in order.
    pub receipts: Vec<ReceiptTold>,
    /// Answers to requests for a message, in order.
    pub fetches: Vec<FetchAnswer>,
    /// Removals, in order: the first word of each, and every seed's. What other peers repeat says
    /// nothing new, and there are as many of them as peers.
    pub removals: Vec<Removal>,
    /// Orderly exits of peers, in order.
    pub departures: Vec<Departure>,
    /// Troubles, in order of their beginning.
    pub impairments: Vec<Impairment>,
    /// When packets were lost, or messages left out of full queues: from, and until.
    pub losses: Vec<(Time, Option<Time>)>,
    /// The parts that the network fell into, whenever that changed; not filled in a world that keeps figures only.
    pub parts: Vec<Parts>,
    /// A wall clock was set: what a node kept over its restart may be taken for older than it is.
    pub clock_was_set: bool,
    /// Misuse of the seam.
    pub seam_faults: Vec<Fault>,
    /// Frames whose form or signature did not hold.
    pub wire_faults: Vec<Fault>,
    /// Frames of adversaries whose form or signature did not hold.
    pub refused: u64,
    /// Announcements and payloads that did not fit into a link's queue.
    pub queue_drops: u64,
    /// Frames handled.
    pub frames: u64,
    /// Bytes of the frames handled; 0 in a fast world, which does not encode.
    pub bytes: u64,
    /// Those of the frames among them that carry a batch.
    pub batch_bytes: u64,
}

impl Ledger {
    /// Ends the open troubles of one kind at a node.
    pub(crate) fn end_trouble(&mut self, node: NodeId, trouble: Trouble, at: Time) {
        for i in &mut self.impairments {
            if i.node == node && i.trouble == trouble && i.until.is_none() {
                i.until = Some(at);
            }
        }
    }

    /// What a process published since `since` under one epoch has another one now. Its own subscribers are
    /// handed it again.
    pub(crate) fn move_stream(&mut self, node: NodeId, stream: StreamId, to: u64, since: Time) {
        let moved = |p: &&mut Publication| p.id.stream() == stream && p.at >= since;
        self.publications.iter_mut().filter(moved).for_each(|p| p.id.epoch = to);
        let own = |a: &Arrival| a.node == node && a.id.stream() == stream && a.at >= since;
        self.arrivals.retain(|a| !own(a) || a.from.is_some());
    }

    /// Whether a trouble of this kind lasts at a node.
    #[must_use]
    pub fn is_in_trouble(&self, node: NodeId, trouble: Trouble) -> bool {
        self.impairments.iter().any(|i| i.node == node && i.trouble == trouble && i.until.is_none())
    }
}
