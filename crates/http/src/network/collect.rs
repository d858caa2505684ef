//! Polling the served nodes for their state, and combining their answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rumormill::proto::snapshot::{MemberState, MemberView, PeerSnapshot, PeerState, SeedSnapshot};
use rumormill::proto::{Counters, PeerId};
use tokio::task::JoinHandle;

use super::view::{NetworkView, PeerDot, Scope, SeedDot};
use crate::nodes::{Handle, ServedNode};
use crate::view::word;

/// The last state of a node.
#[derive(Debug, Clone)]
enum NodeSnapshot {
    Peer(Box<PeerSnapshot>),
    Seed(Box<SeedSnapshot>),
}

/// The answer of a node; with the members from the node that is asked for them. `None` if it has
/// stopped.
type Answer = Option<(NodeSnapshot, Option<Vec<MemberView>>)>;

/// The poll of one node: the request under way, and the last answer.
#[derive(Debug, Default)]
struct NodePoll {
    underway: Option<JoinHandle<Answer>>,
    snapshot: Option<NodeSnapshot>,
    members: Option<Vec<MemberView>>,
    /// Rounds without an answer.
    silent: u32,
}

/// Rounds without an answer after which a node counts as frozen.
const FROZEN_AFTER_ROUNDS: u32 = 3;

/// The combined answers of all nodes.
#[derive(Debug, Default)]
pub(super) struct CollectedNetwork {
    pub(super) view: NetworkView,
    /// Counters of each node that answered.
    pub(super) counters: BTreeMap<PeerId, Counters>,
    /// The smallest free part of a publisher's window.
    pub(super) headroom: Option<f64>,
}

/// Polls the nodes in rounds. A node that does not answer delays no other node, and gets no second
/// request.
#[derive(Debug, Default)]
pub(super) struct Collector {
    asked: HashMap<PeerId, NodePoll>,
    /// When each dead peer was first seen as dead.
    found: BTreeMap<PeerId, u64>,
}

impl Collector {
    /// Takes the answers of the last round, and sends the requests of the next one.
    pub(super) async fn round(
        &mut self,
        nodes: &[Arc<ServedNode>],
        now_us: u64,
    ) -> CollectedNetwork {
        let here: BTreeSet<PeerId> = nodes.iter().map(|n| n.id).collect();
        self.asked.retain(|id, _| here.contains(id));
        let member_source = member_source(nodes);
        for node in nodes {
            let asked = self.asked.entry(node.id).or_default();
            asked.take_answer().await;
            if asked.underway.is_none() {
                let members = Some(node.id) == member_source;
                asked.underway = Some(tokio::spawn(ask(node.handle.clone(), members)));
            }
        }
        self.combine(nodes, member_source, now_us)
    }

    fn combine(
        &mut self,
        nodes: &[Arc<ServedNode>],
        member_source: Option<PeerId>,
        now_us: u64,
    ) -> CollectedNetwork {
        let mut all = CollectedNetwork::default();
        let mut dots: BTreeMap<PeerId, PeerDot> = BTreeMap::new();
        let members = member_source.and_then(|id| self.asked.get(&id)?.members.clone());
        for m in members.iter().flatten() {
            dots.insert(m.id, self.member(m, now_us));
        }
        let names = dots.values().map(|d| (d.id.clone(), d.name.clone())).collect();
        dots.values_mut().for_each(|d| replace_ids_by_names(&mut d.witnesses, &names));
        let (mut ends, mut suspects) = (BTreeMap::new(), BTreeSet::new());
        for node in nodes {
            let Some(asked) = self.asked.get(&node.id) else { continue };
            match &asked.snapshot {
                Some(NodeSnapshot::Peer(s)) => {
                    let dot = dots.entry(s.id).or_default();
                    peer_here(dot, s, node, asked.silent >= FROZEN_AFTER_ROUNDS);
                    suspects.extend(s.neighbours.iter().filter(|n| n.suspect).map(|n| n.id));
                    links_of(s, &mut ends);
                    all.headroom = least(all.headroom, headroom(s));
                    all.counters.insert(s.id, s.counters.clone());
                }
                Some(NodeSnapshot::Seed(s)) => {
                    all.view.seeds.push(seed_here(s, node, asked.silent >= FROZEN_AFTER_ROUNDS));
                    all.counters.insert(s.id, s.counters.clone());
                }
                None => {}
            }
        }
        // A neighbour that is missing from the member list is shown as well.
        for &(a, b) in ends.keys() {
            for id in [a, b] {
                dots.entry(id).or_insert_with(|| unknown_peer(id));
            }
        }
        for id in suspects {
            if let Some(d) = dots.get_mut(&id).filter(|d| d.state == "alive") {
                "suspect".clone_into(&mut d.state);
            }
        }
        let number: BTreeMap<PeerId, u32> = dots.keys().copied().zip(0..).collect();
        all.view.links =
            ends.iter().map(|((a, b), trees)| (number[a], number[b], *trees)).collect();
        all.view.peers = dots.into_values().collect();
        all.view.at_us = now_us;
        all.view.scope = scope(nodes);
        if all.view.seeds.is_empty() {
            all.view.seeds = self.seeds_of_a_peer(nodes);
        }
        let seeds = all.view.seeds.iter();
        let names = seeds.filter_map(|s| Some((s.id.clone()?, s.name.clone()))).collect();
        all.view.peers.iter_mut().for_each(|d| replace_ids_by_names(&mut d.seeds, &names));
        all
    }

    fn member(&mut self, m: &MemberView, now_us: u64) -> PeerDot {
        let dead = m.state == MemberState::Dead;
        let found_us = dead.then(|| *self.found.entry(m.id).or_insert(now_us));
        if !dead {
            self.found.remove(&m.id);
        }
        PeerDot {
            id: m.id.to_hex(),
            name: m.name.as_ref().map_or_else(|| m.id.short(), ToString::to_string),
            state: word(m.state),
            degree: if m.state == MemberState::Alive { u32::from(m.degree) } else { 0 },
            target: m.target,
            incarnation: m.incarnation,
            address: m.addresses.first().map(|a| a.0.to_string()).unwrap_or_default(),
            witnesses: m.witnesses.iter().map(|w| w.to_hex()).collect(),
            seeds: m.seeds.iter().map(|s| s.to_hex()).collect(),
            found_us,
            ..PeerDot::default()
        }
    }

    /// The seeds in the view of a peer, for a server that serves no seed.
    fn seeds_of_a_peer(&self, nodes: &[Arc<ServedNode>]) -> Vec<SeedDot> {
        let snapshot = nodes.iter().find_map(|n| self.asked.get(&n.id)?.snapshot.as_ref());
        let Some(NodeSnapshot::Peer(s)) = snapshot else { return Vec::new() };
        let dot = |v: &rumormill::proto::snapshot::SeedView| SeedDot {
            id: v.id.map(PeerId::to_hex),
            name: v.address.clone(),
            address: v.address.clone(),
            here: false,
            connected: v.connected,
            synced: v.registered,
            alive: None,
        };
        s.seeds.iter().map(dot).collect()
    }
}

/// Replaces ids by names, or by their first characters if they have no name.
fn replace_ids_by_names(ids: &mut [String], names: &BTreeMap<String, String>) {
    for id in ids {
        match names.get(id) {
            Some(name) => id.clone_from(name),
            None => id.truncate(8),
        }
    }
}

impl Drop for NodePoll {
    fn drop(&mut self) {
        if let Some(underway) = &self.underway {
            underway.abort();
        }
    }
}

impl NodePoll {
    async fn take_answer(&mut self) {
        if self.underway.as_ref().is_some_and(|u| !u.is_finished()) {
            self.silent = self.silent.saturating_add(1);
            return;
        }
        let Some(underway) = self.underway.take() else { return };
        self.silent = 0;
        if let Ok(Some((snapshot, members))) = underway.await {
            self.snapshot = Some(snapshot);
            if members.is_some() {
                self.members = members;
            }
        }
    }
}

async fn ask(handle: Handle, members: bool) -> Answer {
    match handle {
        Handle::Peer(node) => {
            let snapshot = NodeSnapshot::Peer(Box::new(node.snapshot().await.ok()?));
            Some((snapshot, if members { Some(node.members().await.ok()?) } else { None }))
        }
        Handle::Seed(node) => {
            let snapshot = NodeSnapshot::Seed(Box::new(node.snapshot().await.ok()?));
            Some((snapshot, if members { Some(node.members().await.ok()?) } else { None }))
        }
    }
}

/// The node that is asked for the members: a seed if there is one, otherwise a peer.
fn member_source(nodes: &[Arc<ServedNode>]) -> Option<PeerId> {
    let seed = nodes.iter().find(|n| matches!(n.handle, Handle::Seed(_)));
    seed.or_else(|| nodes.first()).map(|n| n.id)
}

fn scope(nodes: &[Arc<ServedNode>]) -> Scope {
    let peers = nodes.iter().filter(|n| matches!(n.handle, Handle::Peer(_))).count();
    match (nodes.len(), peers) {
        (1, 1) => Scope::Peer,
        (_, 0) => Scope::Seed,
        _ => Scope::Network,
    }
}

fn peer_here(dot: &mut PeerDot, s: &PeerSnapshot, node: &ServedNode, frozen: bool) {
    let state = match s.state {
        _ if frozen => "frozen".to_owned(),
        PeerState::Joined => "alive".to_owned(),
        other => word(other),
    };
    let delays: Vec<f64> =
        s.neighbours.iter().filter_map(|n| Some(n.smoothed_delay?.as_secs_f64() * 1e3)).collect();
    #[allow(clippy::cast_precision_loss)] // At most some hundred neighbours.
    let mean = (!delays.is_empty()).then(|| delays.iter().sum::<f64>() / delays.len() as f64);
    // The verdict of the seeds counts, also for a peer that still runs.
    if dot.state != "dead" {
        dot.state = state;
    }
    dot.id = s.id.to_hex();
    dot.name = s.name.to_string();
    dot.here = true;
    dot.degree = u32::try_from(s.neighbours.len()).unwrap_or(u32::MAX);
    dot.target = s.target;
    dot.incarnation = s.incarnation;
    dot.address = node.handle.local_addr().to_string();
    dot.rtt_ms = mean.map(|ms| (ms * 1e3).round() / 1e3);
}

fn seed_here(s: &SeedSnapshot, node: &ServedNode, frozen: bool) -> SeedDot {
    let address = node.handle.local_addr().to_string();
    SeedDot {
        id: Some(s.id.to_hex()),
        name: node.name.clone(),
        address: s.address.clone().unwrap_or(address),
        here: true,
        connected: !frozen,
        synced: s.synced,
        alive: Some(s.alive),
    }
}

fn unknown_peer(id: PeerId) -> PeerDot {
    let state = "alive".to_owned();
    PeerDot { id: id.to_hex(), name: id.short(), state, ..PeerDot::default() }
}

/// Adds the links of a peer, each with the number of trees in which it leads to the parent of one
/// end.
fn links_of(s: &PeerSnapshot, ends: &mut BTreeMap<(PeerId, PeerId), u32>) {
    let mut trees: BTreeMap<PeerId, u32> = BTreeMap::new();
    for parent in s.trees.iter().filter_map(|t| t.parent) {
        *trees.entry(parent).or_default() += 1;
    }
    for n in &s.neighbours {
        let at_this_end = trees.get(&n.id).copied().unwrap_or(0);
        *ends.entry((s.id.min(n.id), s.id.max(n.id))).or_default() += at_this_end;
    }
}

#[allow(clippy::cast_precision_loss)] // Windows are some megabytes.
fn headroom(s: &PeerSnapshot) -> Option<f64> {
    let free = s.window_bytes.saturating_sub(s.unacknowledged_bytes);
    (s.published > 0 && s.window_bytes > 0).then(|| free as f64 / s.window_bytes as f64)
}

fn least(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
