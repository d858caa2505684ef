//! The answers of the control API: nodes, members, messages, events.

use std::collections::BTreeMap;

use rumormill::proto::snapshot::{MemberState, MissingMember, Receipt};
use rumormill::proto::{Message, PeerId, WallTime};
use rumormill::{Gap, ReceivedMessage};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// One line of `GET /v1/nodes`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeLine {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// `peer` or `seed`.
    pub role: String,
    /// Where it listens.
    pub address: String,
}

/// `GET /v1/nodes/{node}/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Status {
    /// Of a peer.
    Peer(PeerStatus),
    /// Of a seed.
    Seed(SeedStatus),
}

/// The state of a peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PeerStatus {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// The process that runs it.
    pub pid: u32,
    /// The version of Rumormill that it runs; empty if unknown.
    #[serde(default)]
    pub version: String,
    /// Where it listens.
    pub address: String,
    /// Where others can reach it.
    pub addresses: Vec<String>,
    /// `joining`, `joined`, `degraded`, `leaving` or `left`.
    pub state: String,
    /// Its incarnation.
    pub incarnation: u64,
    /// The epoch of the stream that it publishes.
    pub epoch: u64,
    /// Seconds since it started here.
    pub uptime_s: f64,
    /// Neighbours now.
    pub degree: usize,
    /// Target number of neighbours.
    pub target: u16,
    /// Seeds that hold its registration.
    pub registrations: usize,
    /// Registrations needed.
    pub seed_quorum: u32,
    /// The seeds, in configured order.
    pub seeds: Vec<SeedLine>,
    /// Members alive in its view, itself included.
    pub alive: u32,
    /// Peers in the network as the seeds say.
    pub network_size: u32,
    /// Messages it published since it started.
    pub published: u64,
    /// Messages held now.
    pub retained_messages: u64,
    /// Bytes they take.
    pub retained_bytes: u64,
    /// Links of all kinds.
    pub links: u32,
    /// Why nothing can be written to its data directory at the moment; absent while writing works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_problem: Option<String>,
    /// Counters by name.
    pub counters: BTreeMap<String, u64>,
}

/// The state of a seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SeedStatus {
    /// Its name on this machine.
    pub name: String,
    /// Its id.
    pub id: String,
    /// The process that runs it.
    pub pid: u32,
    /// The version of Rumormill that it runs; empty if unknown.
    #[serde(default)]
    pub version: String,
    /// Where it listens.
    pub address: String,
    /// Its `HOST:PORT` in the configuration, if it has one there.
    pub configured: Option<String>,
    /// Seconds since it started here.
    pub uptime_s: f64,
    /// Whether it answers for the network.
    pub synced: bool,
    /// Votes needed for a certificate.
    pub seed_quorum: u32,
    /// The other seeds.
    pub seeds: Vec<SeedLine>,
    /// Peers alive in the registry.
    pub alive: u32,
    /// Peers whose registration it holds a link to.
    pub connected_peers: u32,
    /// Entries of any state.
    pub entries: u32,
    /// Death cases open.
    pub cases: u32,
    /// Links of all kinds.
    pub links: u32,
    /// Why nothing can be written to its data directory at the moment; absent while writing works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_problem: Option<String>,
    /// Counters by name.
    pub counters: BTreeMap<String, u64>,
}

/// A seed as a node sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SeedLine {
    /// Its `HOST:PORT`.
    pub address: String,
    /// Its id, once known.
    pub id: Option<String>,
    /// Whether a link is up.
    pub connected: bool,
    /// At a peer: whether the registration there holds. At a seed: whether the registries were
    /// compared since it started.
    pub registered: bool,
    /// Delay of its last liveness reply.
    pub reply_delay_ms: Option<f64>,
    /// Why it is not used, if it was reached and cannot be.
    pub problem: Option<String>,
}

/// A member in one node's view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MemberLine {
    /// Its id.
    pub id: String,
    /// Its name, if known.
    pub name: Option<String>,
    /// `alive`, `suspect`, `dead`, `left` or `expired`.
    pub state: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Its incarnation.
    pub incarnation: u64,
    /// Its degree, as last known.
    pub degree: u16,
    /// Its target degree, as last known.
    pub target: u16,
    /// Whether it has had a neighbour since its process started: delivery receipts wait for such
    /// members only.
    pub participates: bool,
    /// For a dead peer: the neighbours that reported it.
    pub witnesses: Vec<String>,
    /// For a dead peer: the seeds that agreed.
    pub seeds: Vec<String>,
}

/// A neighbour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NeighbourLine {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its address on this link.
    pub address: String,
    /// Whether this node dialled the link.
    pub dialed: bool,
    /// Seconds the two have been neighbours.
    pub since_s: f64,
    /// Seconds since the last frame from it.
    pub heard_s: f64,
    /// Seconds since the last liveness reply.
    pub last_reply_s: Option<f64>,
    /// Delay of the last liveness reply.
    pub reply_delay_ms: Option<f64>,
    /// Smoothed delay.
    pub smoothed_delay_ms: Option<f64>,
    /// Consecutive misses.
    pub misses: u32,
    /// Whether it is suspected.
    pub suspect: bool,
    /// Its degree, as it last said.
    pub degree: u16,
    /// Its target degree, as it last said.
    pub target: u16,
}

/// A message still held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MessageLine {
    /// Its id: `PUBLISHER/EPOCH/SEQUENCE`.
    pub id: String,
    /// Its publisher.
    pub publisher: String,
    /// The publisher's name, if known.
    pub name: Option<String>,
    /// Its sequence number.
    pub sequence: u64,
    /// Its topic.
    pub topic: String,
    /// Its length.
    pub bytes: usize,
    /// When it was published, by its publisher's clock.
    pub published_us: u64,
    /// When it arrived, by this node's clock.
    pub received_us: u64,
    /// Links it crossed.
    pub hops: u16,
    /// Number of duplicates received.
    #[serde(default)]
    pub duplicates: u32,
}

/// The message list of one publisher, in figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PublisherLine {
    /// The publisher.
    pub publisher: String,
    /// Its epoch.
    pub epoch: u64,
    /// All sequence numbers below this one were received.
    pub high_water: u64,
    /// Missing ranges above it: first, one after the last.
    #[schema(value_type = Vec<[u64; 2]>)]
    pub gaps: Vec<(u64, u64)>,
    /// Messages received.
    pub received: u64,
}

/// The content of a message: `text` if it is UTF-8, otherwise `payload_base64`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Content {
    /// The payload as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The payload in base64 (RFC 4648, section 4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
}

impl Content {
    /// The JSON form of a payload.
    #[must_use]
    pub fn of(payload: &[u8]) -> Self {
        match core::str::from_utf8(payload) {
            Ok(text) => Content { text: Some(text.to_owned()), payload_base64: None },
            Err(_) => {
                let encoded = data_encoding::BASE64.encode(payload);
                Content { text: None, payload_base64: Some(encoded) }
            }
        }
    }

    /// The payload; `None` if there is neither or both, or the base64 is wrong.
    #[must_use]
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match (&self.text, &self.payload_base64) {
            (Some(text), None) => Some(text.clone().into_bytes()),
            (None, Some(encoded)) => data_encoding::BASE64.decode(encoded.as_bytes()).ok(),
            _ => None,
        }
    }
}

/// The answer to [`Publish`](super::Publish).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Published {
    /// The id of the message.
    pub id: String,
    /// The delivery receipt, if the request waited for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptLine>,
}

/// A delivery receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReceiptLine {
    /// Peers that count and are known to hold it, the publisher included.
    pub held: u32,
    /// Peers that count: live members that have had a neighbour since their processes started.
    pub live: u32,
    /// All that count hold it, and the publisher has joined and knows the members.
    pub complete: bool,
    /// Peers that count and are not known to hold it; `null` while their names are not known:
    /// before the publisher has joined, in the first two seconds or so, and in a network of more
    /// than 1024 peers.
    pub missing: Option<Vec<MissingLine>>,
    /// Microseconds between the publishing and this answer.
    pub after_us: u64,
    /// Peers that left the count since it was published.
    pub departed: Vec<DepartedLine>,
}

/// A live peer that is not known to hold a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MissingLine {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `alive`, or `suspect` if the publisher suspects it of being dead.
    pub state: String,
    /// For how long the publisher has suspected it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspected_ms: Option<u64>,
}

/// A peer that does not count for a receipt any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DepartedLine {
    /// Its id.
    pub id: String,
    /// Its name, if known.
    pub name: Option<String>,
    /// `dead` by certificate, or `left`.
    pub state: String,
    /// For a dead peer: the neighbours that reported it.
    pub witnesses: Vec<String>,
    /// For a dead peer: the seeds that agreed.
    pub seeds: Vec<String>,
}

impl ReceiptLine {
    /// The JSON form of a receipt that came `after` the publishing, at a time of the publisher's
    /// clock.
    #[must_use]
    pub fn of(receipt: &Receipt, after: core::time::Duration, now: WallTime) -> Self {
        let missing = |m: &MissingMember| MissingLine {
            id: m.id.to_hex(),
            name: m.name.to_string(),
            state: if m.state == MemberState::Suspect { "suspect" } else { "alive" }.to_owned(),
            suspected_ms: m.suspected_since.map(|since| now.0.saturating_sub(since) / 1000),
        };
        let hex = |ids: &[PeerId]| ids.iter().map(|id| id.to_hex()).collect();
        let departed = receipt.departed.iter().map(|d| DepartedLine {
            id: d.id.to_hex(),
            name: d.name.as_ref().map(ToString::to_string),
            state: if d.state == MemberState::Dead { "dead" } else { "left" }.to_owned(),
            witnesses: hex(&d.witnesses),
            seeds: hex(&d.seeds),
        });
        ReceiptLine {
            held: receipt.held,
            live: receipt.live,
            complete: receipt.complete,
            missing: receipt.missing.as_ref().map(|m| m.iter().map(missing).collect()),
            after_us: u64::try_from(after.as_micros()).unwrap_or(u64::MAX),
            departed: departed.collect(),
        }
    }
}

/// A message with its content: `GET …/messages/{id}`, and each item of `GET …/tail`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FullMessage {
    /// Its id: `PUBLISHER/EPOCH/SEQUENCE`.
    pub id: String,
    /// Its publisher.
    pub publisher: String,
    /// The publisher's name, if known.
    pub name: Option<String>,
    /// Its sequence number.
    pub sequence: u64,
    /// Its topic.
    pub topic: String,
    /// Its length.
    pub bytes: usize,
    /// When it was published, by its publisher's clock.
    pub published_us: u64,
    /// The neighbour it came from first; absent for the node's own, and for one that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// When it arrived, by this node's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_us: Option<u64>,
    /// Links it crossed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hops: Option<u16>,
    /// The content; empty if the request asked for none.
    #[serde(flatten)]
    pub content: Content,
}

impl FullMessage {
    /// The JSON form of a message.
    #[must_use]
    pub fn of(message: &Message, name: Option<String>, with_content: bool) -> Self {
        let (id, payload) = (message.id(), message.payload());
        FullMessage {
            id: id.to_string(),
            publisher: id.publisher.to_hex(),
            name,
            sequence: id.sequence,
            topic: message.topic().to_owned(),
            bytes: payload.len(),
            published_us: message.published_at().0,
            from: None,
            received_us: None,
            hops: None,
            content: if with_content { Content::of(payload) } else { Content::default() },
        }
    }

    /// The JSON form of a message as it was delivered.
    #[must_use]
    pub fn delivered(incoming: &ReceivedMessage, name: Option<String>, with_content: bool) -> Self {
        FullMessage {
            from: incoming.neighbour.map(PeerId::to_hex),
            received_us: Some(incoming.received_at.0),
            hops: Some(incoming.hops),
            ..Self::of(&incoming.message, name, with_content)
        }
    }
}

/// Each item of `GET …/events`: the event's own fields (`event` names its kind) and the time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventLine {
    /// When it happened, by the node's clock.
    pub at_us: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Value,
}

impl EventLine {
    /// The JSON form of an event.
    #[must_use]
    pub fn of(at: WallTime, event: &rumormill::proto::Event) -> Self {
        EventLine { at_us: at.0, event: serde_json::to_value(event).unwrap_or(Value::Null) }
    }
}

/// An item of `GET …/tail` (`event: gap`): messages that do not arrive, in their place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GapLine {
    /// The publisher.
    pub publisher: String,
    /// Its epoch.
    pub epoch: u64,
    /// The first missing sequence number.
    pub from: u64,
    /// The sequence number after the last missing one.
    pub to: u64,
    /// `not_received`: the node has not received them; `not_retained`: it has evicted them.
    pub reason: String,
}

impl From<&Gap> for GapLine {
    fn from(g: &Gap) -> Self {
        let reason = match g.reason {
            rumormill::GapReason::NotReceived => "not_received",
            rumormill::GapReason::NotRetained => "not_retained",
        };
        GapLine {
            publisher: g.publisher.to_hex(),
            epoch: g.epoch,
            from: g.from,
            to: g.to,
            reason: reason.to_owned(),
        }
    }
}

/// An item of a stream (`event: lagged`) in the place of those that were not read in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lagged {
    /// The number of missing items.
    pub missing: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_text_for_utf8_and_base64_otherwise() {
        assert_eq!(Content::of(b"hi").text.as_deref(), Some("hi"));
        let binary = Content::of(&[0xff, 0]);
        assert_eq!(binary.text, None);
        assert_eq!(binary.bytes(), Some(vec![0xff, 0]));
        assert_eq!(Content::default().bytes(), None);
        let both = Content { text: Some(String::new()), payload_base64: Some(String::new()) };
        assert_eq!(both.bytes(), None);
    }
}
