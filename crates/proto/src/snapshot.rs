//! The state of nodes for status commands, views and checkers.

use core::time::Duration;
use std::sync::Arc;

use serde::Serialize;

use crate::identity::PeerId;
use crate::io::LinkId;
use crate::message::MessageId;
use crate::name::Name;
use crate::record::Address;
use crate::small::VecMap;

/// The state of a peer in its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// Not yet registered at a quorum of the seeds.
    Joining,
    /// Registered at a quorum.
    Joined,
    /// It was registered at a quorum, and cannot reach one now.
    Degraded,
    /// It is leaving.
    Leaving,
    /// It has left.
    Left,
}

/// The state of a member in one node's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// Assumed to be alive.
    Alive,
    /// This node got no sign of life from it; no verdict yet.
    Suspect,
    /// Dead by certificate.
    Dead,
    /// It has left.
    Left,
    /// Its lease has expired (seeds only).
    Expired,
}

/// A neighbour.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NeighbourView {
    /// Its id.
    pub id: PeerId,
    /// Its name.
    pub name: Name,
    /// Its address on this link.
    pub address: Address,
    /// The link.
    pub link: LinkId,
    /// Whether this node made the connection.
    pub dialed: bool,
    /// How long the two have been neighbours.
    pub since: Duration,
    /// How long ago the last sign of life arrived.
    pub heard: Duration,
    /// How long ago the last liveness reply arrived.
    pub last_reply: Option<Duration>,
    /// Delay of the last liveness reply.
    pub reply_delay: Option<Duration>,
    /// Smoothed delay (RFC 6298, section 2).
    pub smoothed_delay: Option<Duration>,
    /// Consecutive misses.
    pub misses: u32,
    /// Whether it is suspected.
    pub suspect: bool,
    /// Its degree, as it last reported.
    pub degree: u16,
    /// Its target degree, as it last reported.
    pub target: u16,
}

/// A seed in a peer's view.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeedView {
    /// Its `HOST:PORT`.
    pub address: String,
    /// Its id, once known.
    pub id: Option<PeerId>,
    /// Whether a link is up.
    pub connected: bool,
    /// Whether the registration there is valid.
    pub registered: bool,
    /// Whether this peer wants to be registered there.
    pub chosen: bool,
    /// Delay of the last liveness reply.
    pub reply_delay: Option<Duration>,
    /// Why the seed is not used, if it was reached and cannot be used.
    pub problem: Option<String>,
}

/// A member in one node's view.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemberView {
    /// Its id.
    pub id: PeerId,
    /// Its name, if known.
    pub name: Option<Name>,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// Its state.
    pub state: MemberState,
    /// Its incarnation.
    pub incarnation: u64,
    /// Its degree, as last known.
    pub degree: u16,
    /// Its target degree, as last known.
    pub target: u16,
    /// Whether it has had a neighbour since its process started: delivery receipts wait only for
    /// such members.
    pub participates: bool,
    /// For the dead: the witnesses.
    pub witnesses: Vec<PeerId>,
    /// For the dead: the seeds that voted.
    pub seeds: Vec<PeerId>,
}

/// One stream of the message list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublisherView {
    /// The publisher.
    pub publisher: PeerId,
    /// The epoch of the stream.
    pub epoch: u64,
    /// All numbers below this one were received.
    pub high_water: u64,
    /// Missing ranges above it: first number, and the number after the last.
    pub gaps: Vec<(u64, u64)>,
    /// Messages received.
    pub received: u64,
}

/// A peer's position in the broadcast tree of one publisher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TreeView {
    /// The publisher, which is the root.
    pub publisher: PeerId,
    /// The neighbour that sends its batches; `None` at the publisher, and while the publisher is
    /// orphaned at this peer.
    pub parent: Option<PeerId>,
    /// The neighbours that get them from this peer.
    pub children: Vec<PeerId>,
}

/// The delivery receipt of a message: how many and which members hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The message.
    pub id: MessageId,
    /// Number of peers that count and are known to hold it, the publisher included.
    pub held: u32,
    /// Number of peers that count: the publisher, and the live members that participate (have had a
    /// neighbour since their processes started). Until the publisher itself has had a neighbour,
    /// all live members count.
    pub live: u32,
    /// All that count hold it, and the publisher has joined and knows the members.
    pub complete: bool,
    /// The peers that count and are not known to hold it, `live - held` of them. `None` while they
    /// are not known by name: before the publisher has joined, until a census has asked for names
    /// (for a receipt that stays open for longer than a second), and in a network of more than
    /// [`FULL_LIST_LIMIT`](crate::limits::FULL_LIST_LIMIT) peers.
    #[serde(serialize_with = "serialize_missing")]
    pub missing: Option<Arc<[MissingMember]>>,
    /// Peers that stopped counting since the receipt was requested, and why.
    pub departed: Vec<DepartedMember>,
}

impl Receipt {
    /// The ids of [`missing`](Receipt::missing); `None` while they are not known.
    #[must_use]
    pub fn missing(&self) -> Option<Vec<PeerId>> {
        Some(self.missing.as_ref()?.iter().map(|m| m.id).collect())
    }
}

fn serialize_missing<S: serde::Serializer>(
    missing: &Option<Arc<[MissingMember]>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    missing.as_deref().serialize(serializer)
}

/// A live member that is not known to hold a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingMember {
    /// Its id.
    pub id: PeerId,
    /// Its name.
    pub name: Name,
    /// `Alive`, or `Suspect` if the publisher suspects it of being dead.
    pub state: MemberState,
    /// Since when the publisher suspects it, by the publisher's clock (Unix microseconds).
    pub suspected_since: Option<u64>,
}

/// A peer that does not count for a receipt any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DepartedMember {
    /// Its id.
    pub id: PeerId,
    /// Its name, if known.
    pub name: Option<Name>,
    /// Dead by certificate, or left.
    pub state: MemberState,
    /// For the dead: the witnesses.
    pub witnesses: Vec<PeerId>,
    /// For the dead: the seeds that voted.
    pub seeds: Vec<PeerId>,
}

/// A retained message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RetainedMessage {
    /// Its id.
    pub id: MessageId,
    /// The publisher's name, if known.
    pub name: Option<Name>,
    /// Its topic.
    pub topic: String,
    /// Its length.
    pub bytes: usize,
    /// When it was published, by its publisher's clock (Unix microseconds).
    pub published_at: u64,
    /// When it arrived, by this node's clock (Unix microseconds).
    pub received_at: u64,
    /// Number of links it crossed.
    pub hops: u16,
    /// How often it arrived again.
    pub duplicates: u32,
}

/// The state of a peer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PeerSnapshot {
    /// Its id.
    pub id: PeerId,
    /// Its name.
    pub name: Name,
    /// Its state.
    pub state: PeerState,
    /// Its incarnation.
    pub incarnation: u64,
    /// The epoch of the stream that it publishes.
    pub epoch: u64,
    /// The addresses that it announces.
    pub addresses: Vec<Address>,
    /// Its target degree.
    pub target: u16,
    /// Neighbours, by id.
    pub neighbours: Vec<NeighbourView>,
    /// Number of registrations needed.
    pub seed_quorum: u32,
    /// The seeds, in configured order.
    pub seeds: Vec<SeedView>,
    /// Number of live members in its view, itself included.
    pub alive: u32,
    /// Number of peers in the network as the seeds report.
    pub network_size: u32,
    /// Number of messages published since it started.
    pub published: u64,
    /// Number of messages retained now.
    pub retained_messages: u64,
    /// Bytes that they take.
    pub retained_bytes: u64,
    /// Bytes published that are not acknowledged yet.
    pub unacknowledged_bytes: u64,
    /// The send window: how many may be unacknowledged.
    pub window_bytes: u64,
    /// Its positions in broadcast trees.
    pub trees: Vec<TreeView>,
    /// Number of links of all kinds.
    pub links: u32,
    /// Why nothing can be made durable at the moment; `None` while the store works, or if there is
    /// none. The core does not know it: the driver sets it.
    pub store_problem: Option<String>,
    /// Counters.
    pub counters: Counters,
}

/// Another seed in a seed's view.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OtherSeedView {
    /// Its `HOST:PORT`.
    pub address: String,
    /// Its id, once known.
    pub id: Option<PeerId>,
    /// Whether the link to it is up.
    pub connected: bool,
    /// Whether the registries were compared since this seed started.
    pub compared: bool,
    /// Why the seed is not used, if it was reached and cannot be used.
    pub problem: Option<String>,
}

/// The state of a seed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeedSnapshot {
    /// Its id.
    pub id: PeerId,
    /// Its own `HOST:PORT` in the configuration, if it has one there.
    pub address: Option<String>,
    /// Whether it answers for the network.
    pub synced: bool,
    /// Number of votes needed.
    pub seed_quorum: u32,
    /// The other seeds.
    pub seeds: Vec<OtherSeedView>,
    /// Number of live peers in the registry.
    pub alive: u32,
    /// Number of peers whose registration link is up.
    pub connected_peers: u32,
    /// Number of entries in any state.
    pub entries: u32,
    /// Number of open death cases.
    pub cases: u32,
    /// Number of links of all kinds.
    pub links: u32,
    /// Why nothing can be made durable at the moment; `None` while the store works, or if there is
    /// none. The core does not know it: the driver sets it.
    pub store_problem: Option<String>,
    /// Counters.
    pub counters: Counters,
}

/// Counters by name; the names are those of the metrics without prefix and suffix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Counters(VecMap<&'static str, u64>);

impl Counters {
    /// Counts `n`.
    pub fn add(&mut self, name: &'static str, n: u64) {
        let c = self.0.get_or_insert(name, || 0);
        *c = c.saturating_add(n);
    }

    /// One counter's value.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.iter().find(|(n, _)| **n == name).map_or(0, |(_, count)| *count)
    }

    /// All counters, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(k, v)| (*k, *v))
    }

    /// Adds another set to this one.
    pub fn merge(&mut self, other: &Counters) {
        for (name, n) in other.iter() {
            self.add(name, n);
        }
    }
}
