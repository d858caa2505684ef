//! Conversions from the types of the library to those of the API.

use core::time::Duration;
use std::collections::BTreeMap;

use rumormill::proto::snapshot;
use rumormill::proto::{Counters, PeerId};
use serde::Serialize;
use serde_json::Value;

use super::lines::{
    MemberLine, MessageLine, NeighbourLine, PeerStatus, PublisherLine, SeedLine, SeedStatus,
};

/// Milliseconds with three decimals.
fn ms(d: Duration) -> f64 {
    (d.as_secs_f64() * 1e6).round() / 1e3
}

fn seconds(d: Duration) -> f64 {
    (d.as_secs_f64() * 1e3).round() / 1e3
}

/// The snake-case word that an enum serialises as.
pub(crate) fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(s)) => s,
        _ => String::new(),
    }
}

fn counters(c: &Counters) -> BTreeMap<String, u64> {
    c.iter().map(|(name, n)| (name.to_owned(), n)).collect()
}

/// The data of a node that its snapshot does not have.
#[derive(Debug, Clone)]
pub(crate) struct NodeContext {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) uptime: Duration,
}

impl PeerStatus {
    pub(crate) fn of(s: &snapshot::PeerSnapshot, context: NodeContext) -> Self {
        PeerStatus {
            name: context.name,
            id: s.id.to_hex(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: context.address,
            addresses: s.addresses.iter().map(|a| a.0.to_string()).collect(),
            state: word(s.state),
            incarnation: s.incarnation,
            epoch: s.epoch,
            uptime_s: seconds(context.uptime),
            degree: s.neighbours.len(),
            target: s.target,
            registrations: s.seeds.iter().filter(|v| v.registered).count(),
            seed_quorum: s.seed_quorum,
            seeds: s.seeds.iter().map(SeedLine::from).collect(),
            alive: s.alive,
            network_size: s.network_size,
            published: s.published,
            retained_messages: s.retained_messages,
            retained_bytes: s.retained_bytes,
            links: s.links,
            store_problem: s.store_problem.clone(),
            counters: counters(&s.counters),
        }
    }
}

impl SeedStatus {
    pub(crate) fn of(s: &snapshot::SeedSnapshot, context: NodeContext) -> Self {
        SeedStatus {
            name: context.name,
            id: s.id.to_hex(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: context.address,
            configured: s.address.clone(),
            uptime_s: seconds(context.uptime),
            synced: s.synced,
            seed_quorum: s.seed_quorum,
            seeds: s.seeds.iter().map(SeedLine::from).collect(),
            alive: s.alive,
            connected_peers: s.connected_peers,
            entries: s.entries,
            cases: s.cases,
            links: s.links,
            store_problem: s.store_problem.clone(),
            counters: counters(&s.counters),
        }
    }
}

impl From<&snapshot::SeedView> for SeedLine {
    fn from(v: &snapshot::SeedView) -> Self {
        SeedLine {
            address: v.address.clone(),
            id: v.id.map(PeerId::to_hex),
            connected: v.connected,
            registered: v.registered,
            reply_delay_ms: v.reply_delay.map(ms),
            problem: v.problem.clone(),
        }
    }
}

impl From<&snapshot::OtherSeedView> for SeedLine {
    fn from(v: &snapshot::OtherSeedView) -> Self {
        SeedLine {
            address: v.address.clone(),
            id: v.id.map(PeerId::to_hex),
            connected: v.connected,
            registered: v.compared,
            reply_delay_ms: None,
            problem: v.problem.clone(),
        }
    }
}

impl From<&snapshot::MemberView> for MemberLine {
    fn from(v: &snapshot::MemberView) -> Self {
        let hex = |ids: &[PeerId]| ids.iter().map(|i| i.to_hex()).collect();
        MemberLine {
            id: v.id.to_hex(),
            name: v.name.as_ref().map(ToString::to_string),
            state: word(v.state),
            addresses: v.addresses.iter().map(|a| a.0.to_string()).collect(),
            incarnation: v.incarnation,
            degree: v.degree,
            target: v.target,
            participates: v.participates,
            witnesses: hex(&v.witnesses),
            seeds: hex(&v.seeds),
        }
    }
}

impl From<&snapshot::NeighbourView> for NeighbourLine {
    fn from(v: &snapshot::NeighbourView) -> Self {
        NeighbourLine {
            id: v.id.to_hex(),
            name: v.name.to_string(),
            address: v.address.0.to_string(),
            dialed: v.dialed,
            since_s: seconds(v.since),
            heard_s: seconds(v.heard),
            last_reply_s: v.last_reply.map(seconds),
            reply_delay_ms: v.reply_delay.map(ms),
            smoothed_delay_ms: v.smoothed_delay.map(ms),
            misses: v.misses,
            suspect: v.suspect,
            degree: v.degree,
            target: v.target,
        }
    }
}

impl From<&snapshot::RetainedMessage> for MessageLine {
    fn from(v: &snapshot::RetainedMessage) -> Self {
        MessageLine {
            id: v.id.to_string(),
            publisher: v.id.publisher.to_hex(),
            name: v.name.as_ref().map(ToString::to_string),
            sequence: v.id.sequence,
            topic: v.topic.clone(),
            bytes: v.bytes,
            published_us: v.published_at,
            received_us: v.received_at,
            hops: v.hops,
            duplicates: v.duplicates,
        }
    }
}

impl From<&snapshot::PublisherView> for PublisherLine {
    fn from(v: &snapshot::PublisherView) -> Self {
        PublisherLine {
            publisher: v.publisher.to_hex(),
            epoch: v.epoch,
            high_water: v.high_water,
            gaps: v.gaps.clone(),
            received: v.received,
        }
    }
}
