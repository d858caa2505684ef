//! Single attacks, each with the effect that it must not have. A remote in these tests has a valid
//! key and signs any content with it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "attacks/membership.rs"]
mod membership;
#[path = "attacks/pulls.rs"]
mod pulls;
mod support;
#[path = "attacks/trees.rs"]
mod trees;

use rumormill_proto::wire::{Gossip, PeerRequest, PeerRequestKind, SummaryEntry, ack_token};
use rumormill_proto::{Batch, Config, Identity, LinkId};

use support::rig::{Rig, VICTIM};
use support::statements::{adjacency, identity, signed_record};

fn lan() -> Config {
    Config::lan().build().unwrap()
}

fn victim() -> Identity {
    identity(VICTIM)
}

/// A joined peer with some of the peers 1 to 5 as neighbours, and the link of the first.
fn with_neighbours(n: u8) -> (Rig, LinkId) {
    let mut rig = Rig::peer(lan());
    rig.join(n);
    let first = identity(1).id();
    let found = rig.as_peer().snapshot(rig.now).neighbours.into_iter().find(|v| v.id == first);
    let link = found.expect("peer 1 is a neighbour").link;
    (rig, link)
}

fn request(requester: u8, kind: PeerRequestKind) -> PeerRequest {
    let me = identity(requester);
    PeerRequest {
        record: signed_record(&me, 1, 1),
        kind,
        neighbours: Vec::new(),
        adjacency: adjacency(&me, victim().id(), 1),
    }
}

/// A batch as the parent in the tree sends it.
fn gossip(batch: Batch) -> Gossip {
    Gossip { hops: 1, explores: false, receipt: false, pulled: false, age_ms: 0, batch }
}

fn count_sent(rig: &Rig, name: &str) -> usize {
    rig.sent.iter().filter(|(_, f)| f.name() == name).count()
}

/// An identity that no other node knows.
fn unknown_identity(n: u32) -> Identity {
    let mut secret = [88; 32];
    secret[..4].copy_from_slice(&n.to_be_bytes());
    Identity::from_secret(&secret)
}

/// The link of the neighbour with this identity number.
fn link_of(rig: &Rig, number: u8) -> LinkId {
    let id = identity(number).id();
    let found = rig.as_peer().snapshot(rig.now).neighbours.into_iter().find(|v| v.id == id);
    found.expect("a neighbour").link
}

/// The tokens by which Graft and Prune name the publishers.
fn tokens_of(publishers: &[&Identity]) -> Vec<u64> {
    publishers.iter().map(|p| ack_token(&p.id())).collect()
}

fn counter(rig: &Rig, name: &str) -> u64 {
    rig.as_peer().snapshot(rig.now).counters.get(name)
}

fn entry(publisher: &Identity, next: u64, oldest_retained: u64) -> SummaryEntry {
    SummaryEntry { publisher: publisher.id(), epoch: 1, next, gaps: Vec::new(), oldest_retained }
}
