//! What status commands, views and checkers read.

use core::time::Duration;
use std::sync::Arc;

use serde::Serialize;

use crate::event::Counters;
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::message::MessageId;
use crate::name::Name;
use crate::record::Address;

/// Where a peer is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// Not yet registered at a quorum of the seeds.
    Joining,
    /// Registered at a quorum.
    Joined,
    /// Was registered, and cannot reach a quorum now.
    Degraded,
    /// Saying goodbye.
    Leaving,
    /// Has said goodbye.
    Left,
}

/// Health of a member in one node's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// Taken to be alive.
    Alive,
    /// This node got no sign of life from it; no verdict yet.
    Suspect,
    /// Dead by certificate.
    Dead,
    /// Said goodbye.
    Left,
    /// Its lease ran out (seeds only).
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
    /// How long ago the last sign of life came.
    pub heard: Duration,
    /// How long ago the last liveness reply came.
    pub last_reply: Option<Duration>,
    /// Delay of the last liveness reply.
    pub reply_delay: Option<Duration>,
    /// Smoothed delay (RFC 6298, section 2).
    pub smoothed_delay: Option<Duration>,
    /// Consecutive misses.
    pub misses: u32,
    /// Whether it is suspected.
    pub suspect: bool,
    /// Its degree, as it last said.
    pub degree: u16,
    /// Its target degree, as it last said.
    pub target: u16,
}

/// A seed as a peer sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeedView {
    /// Its `HOST:PORT`.
    pub address: String,
    /// Its id, once known.
    pub id: Option<PeerId>,
    /// Whether a link is up.
    pub connected: bool,
    /// Whether the registration there holds.
    pub registered: bool,
    /// Whether this peer wants to be registered there.
    pub chosen: bool,
    /// Delay of the last liveness reply.
    pub reply_delay: Option<Duration>,
    /// Why the seed is not used, if it was reached and cannot be.
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
    /// Whether it has had a neighbour since its process started: delivery receipts wait for such members
    /// only.
    pub participates: bool,
    /// For the dead: who reported it.
    pub witnesses: Vec<PeerId>,
    /// For the dead: the seeds that agreed.
    pub seeds: Vec<PeerId>,
}

/// The message list in figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublisherView {
    /// The publisher.
    pub publisher: PeerId,
    /// The epoch of the stream.
    pub epoch: u64,
    /// All numbers below this one were received.
    pub high_water: u64,
    /// Missing ranges above it: first, one after the last.
    pub gaps: Vec<(u64, u64)>,
    /// Messages received.
    pub received: u64,
}

/// A peer's place in the broadcast tree of one publisher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TreeView {
    /// The publisher, which is the root.
    pub publisher: PeerId,
    /// The neighbour that brings its batches; none at the publisher, and while the way to it is lost.
    pub parent: Option<PeerId>,
    /// The neighbours that get them from this peer.
    pub children: Vec<PeerId>,
}

/// Who holds a message, as its publisher is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The message.
    pub id: MessageId,
    /// Peers that count and are known to hold it, the publisher included.
    pub held: u32,
    /// Peers that count: the publisher, and the live members that participate (have had a neighbour since
    /// their processes started). Until the publisher itself has had a neighbour, all live members count.
    pub live: u32,
    /// All that count hold it, and the publisher has joined and knows the members.
    pub complete: bool,
    /// Peers that count and are not known to hold it, `live - held` of them. `None` while it is not
    /// known which ones they are: before the publisher has joined, until names have been asked for (a
    /// receipt that stays open for longer than a second asks), and in a network of more than
    /// [`WHOLE_LIST`](crate::limits::WHOLE_LIST) peers.
    #[serde(serialize_with = "serialize_missing")]
    pub missing: Option<Arc<[MissingMember]>>,
    /// Peers that left the count since it was published, and why.
    pub departed: Vec<Departed>,
}

impl Receipt {
    /// The ids of [`missing`](Receipt::missing); `None` while it is not known which ones they are.
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
pub struct Departed {
    /// Who.
    pub id: PeerId,
    /// Its name, if known.
    pub name: Option<Name>,
    /// Dead by certificate, or left by its own word.
    pub state: MemberState,
    /// For the dead: who reported it.
    pub witnesses: Vec<PeerId>,
    /// For the dead: the seeds that agreed.
    pub seeds: Vec<PeerId>,
}

/// A message still held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldMessage {
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
    /// Links it crossed.
    pub hops: u16,
    /// How many times it came again.
    pub duplicates: u32,
}

/// Everything about a peer.
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
    /// Where others can reach it.
    pub addresses: Vec<Address>,
    /// Neighbours wanted.
    pub target: u16,
    /// Neighbours, by id.
    pub neighbours: Vec<NeighbourView>,
    /// Registrations needed.
    pub seed_quorum: u32,
    /// The seeds, in configured order.
    pub seeds: Vec<SeedView>,
    /// Alive members in its view, itself included.
    pub alive: u32,
    /// Peers in the network as the seeds say.
    pub network_size: u32,
    /// Messages published since it started.
    pub published: u64,
    /// Messages held now.
    pub held_messages: u64,
    /// Bytes they take.
    pub held_bytes: u64,
    /// Bytes published that are not acknowledged yet.
    pub unacknowledged_bytes: u64,
    /// How many may be.
    pub window_bytes: u64,
    /// The broadcast trees it is on.
    pub trees: Vec<TreeView>,
    /// Links of all kinds.
    pub links: u32,
    /// Why nothing can be made durable at the moment; `None` while the store works, or where there is
    /// none. The core does not know: the driver fills it in.
    pub store_problem: Option<String>,
    /// Counters.
    pub counters: Counters,
}

/// Another seed as a seed sees it.
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
    /// Why the seed is not used, if it was reached and cannot be.
    pub problem: Option<String>,
}

/// Everything about a seed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeedSnapshot {
    /// Its id.
    pub id: PeerId,
    /// Its own `HOST:PORT` in the configuration, if it has one there.
    pub address: Option<String>,
    /// Whether it answers for the network.
    pub synced: bool,
    /// Votes needed.
    pub seed_quorum: u32,
    /// The other seeds.
    pub seeds: Vec<OtherSeedView>,
    /// Peers alive in the registry.
    pub alive: u32,
    /// Peers whose registration this seed holds a link to.
    pub connected_peers: u32,
    /// Entries of any state.
    pub entries: u32,
    /// Death cases open.
    pub cases: u32,
    /// Links of all kinds.
    pub links: u32,
    /// Why nothing can be made durable at the moment; `None` while the store works, or where there is
    /// none. The core does not know: the driver fills it in.
    pub store_problem: Option<String>,
    /// Counters.
    pub counters: Counters,
}
