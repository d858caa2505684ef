//! A valid observation built by hand, in which tests of the checkers plant violations: three seeds
//! (n0 to n2) and three peers in a ring (n3 to n5).

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use rumormill_proto::snapshot::{
    MemberState, MemberView, NeighbourView, PeerSnapshot, PeerState, SeedSnapshot, SeedView,
};
use rumormill_proto::{Config, Counters, Identity, LinkId, MessageId, Name, PeerId, Role, Time};

use crate::graph::Graph;
use crate::ledger::{
    Arrival, BatchCopy, Departure, GapReport, Impairment, ImpairmentKind, Join, Ledger,
    Publication, Removal,
};
use crate::node::{NodeId, NodeStatus};
use crate::observation::{NodeObservation, Observation, grace, settle};

const SEEDS: u8 = 3;
const PEERS: u8 = 3;

pub(super) fn id(n: u8) -> PeerId {
    Identity::from_secret(&[n + 1; 32]).id()
}

fn second(s: u64) -> Time {
    Time::ZERO + Duration::from_secs(s)
}

pub(super) fn graph(edges: &[(u32, u32)], isolated: &[u32]) -> Graph {
    let mut listed: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
    for &(a, b) in edges {
        listed.entry(NodeId(a)).or_default().insert(NodeId(b));
        listed.entry(NodeId(b)).or_default().insert(NodeId(a));
    }
    for &n in isolated {
        listed.entry(NodeId(n)).or_default();
    }
    Graph::new(&listed)
}

fn member(n: u8) -> MemberView {
    MemberView {
        id: id(n),
        name: None,
        addresses: Vec::new(),
        state: MemberState::Alive,
        incarnation: 1,
        degree: 2,
        target: 3,
        participates: true,
        witnesses: Vec::new(),
        seeds: Vec::new(),
    }
}

fn neighbour(n: u8) -> NeighbourView {
    NeighbourView {
        id: id(n),
        name: Name::new(format!("p{n}")).unwrap(),
        address: rumormill_proto::Address("10.1.0.1:7000".parse().unwrap()),
        link: LinkId(0),
        dialed: true,
        since: Duration::ZERO,
        heard: Duration::ZERO,
        last_reply: None,
        reply_delay: None,
        smoothed_delay: None,
        misses: 0,
        suspect: false,
        degree: 2,
        target: 3,
    }
}

fn peers() -> impl Iterator<Item = u8> {
    SEEDS..SEEDS + PEERS
}

fn peer(n: u8) -> PeerSnapshot {
    PeerSnapshot {
        id: id(n),
        name: Name::new(format!("p{n}")).unwrap(),
        state: PeerState::Joined,
        incarnation: 1,
        epoch: 1,
        addresses: Vec::new(),
        target: 3,
        neighbours: peers().filter(|&m| m != n).map(neighbour).collect(),
        seed_quorum: 2,
        seeds: (0..SEEDS)
            .map(|s| SeedView {
                address: format!("10.0.0.{s}:7000"),
                id: Some(id(s)),
                connected: true,
                registered: true,
                chosen: true,
                reply_delay: None,
                problem: None,
            })
            .collect(),
        alive: 3,
        network_size: 3,
        published: 0,
        retained_messages: 1,
        retained_bytes: 100,
        unacknowledged_bytes: 0,
        window_bytes: 1 << 20,
        trees: Vec::new(),
        links: 5,
        store_problem: None,
        counters: Counters::default(),
    }
}

fn seed(n: u8) -> SeedSnapshot {
    SeedSnapshot {
        id: id(n),
        address: None,
        synced: true,
        seed_quorum: 2,
        seeds: Vec::new(),
        alive: 3,
        connected_peers: 3,
        entries: 3,
        cases: 0,
        links: 5,
        store_problem: None,
        counters: Counters::default(),
    }
}

fn node(n: u8) -> NodeObservation {
    let is_seed = n < SEEDS;
    NodeObservation {
        node: NodeId(u32::from(n)),
        id: id(n),
        role: if is_seed { Role::Seed } else { Role::Peer },
        config: Config::lan().build().unwrap(),
        status: NodeStatus::Running,
        started_at: Time::ZERO,
        uptime: Duration::from_secs(60),
        peer: (!is_seed).then(|| peer(n)),
        publishers: Vec::new(),
        seed: is_seed.then(|| seed(n)),
        registry: if is_seed { peers().map(member).collect() } else { Vec::new() },
        linked: peers().filter(|&m| !is_seed && m != n).map(|m| NodeId(u32::from(m))).collect(),
    }
}

/// An observation without violations: one message of n3, delivered at n3, n4 and n5.
pub(super) fn valid() -> Observation {
    let message = MessageId { publisher: id(3), epoch: 1, sequence: 0 };
    let arrival = |node: u32| Arrival {
        at: second(2),
        node: NodeId(node),
        process: 1,
        id: message,
        from: (node != 3).then(|| id(3)),
        hops: u16::from(node != 3),
        age: Duration::ZERO,
    };
    let published = Publication {
        at: second(2),
        node: NodeId(3),
        id: message,
        bytes: 100,
        connected: [3, 4, 5].map(NodeId).to_vec(),
    };
    let config = Config::lan().build().unwrap();
    Observation {
        adversaries: std::collections::BTreeSet::new(),
        now: second(60),
        seeds: usize::from(SEEDS),
        nodes: (0..SEEDS + PEERS).map(node).collect(),
        graph: graph(&[(3, 4), (4, 5), (3, 5)], &[]),
        ledger: Ledger {
            publications: vec![published],
            arrivals: [3, 4, 5].map(arrival).to_vec(),
            ..Ledger::default()
        },
        quiet_since: Time::ZERO,
        grace: grace(&config),
        settle: settle(&config),
    }
}

/// Adds an impairment of a node of [`valid`].
pub(super) fn impair(
    observation: &mut Observation,
    node: NodeId,
    kind: ImpairmentKind,
    from: Time,
    until: Option<Time>,
) {
    let of = observation.nodes.iter().find(|n| n.node == node).unwrap();
    let (id, incarnation) = (of.id, of.peer.as_ref().map(|p| p.incarnation));
    let i = Impairment { node, id, incarnation, kind, from, until, needed: 2 };
    observation.ledger.impairments.push(i);
}

/// n3 left a second after it had published.
pub(super) fn with_departure() -> Observation {
    let mut observation = valid();
    let node = NodeId(3);
    impair(&mut observation, node, ImpairmentKind::Left, second(3), None);
    observation.ledger.departures.push(Departure {
        at: second(3),
        node,
        since: Time::ZERO,
        acknowledged: true,
        unconfirmed: None,
        others: 0,
        connected: vec![NodeId(4), NodeId(5)],
    });
    if let Some(n) = observation.nodes.iter_mut().find(|n| n.node == node) {
        n.status = NodeStatus::Left;
        n.peer = None;
    }
    observation
}

/// n5 was dead for a second and was rightly removed by two of three seeds.
pub(super) fn with_removal() -> Observation {
    let mut observation = valid();
    impair(&mut observation, NodeId(5), ImpairmentKind::Dead, second(5), Some(second(6)));
    observation.ledger.removals.push(Removal {
        at: second(7),
        observer: NodeId(0),
        subject: id(5),
        incarnation: 1,
        witnesses: vec![id(3), id(4)],
        seeds: vec![id(0), id(1)],
    });
    observation
}

fn message(sequence: u64) -> MessageId {
    MessageId { publisher: id(3), epoch: 1, sequence }
}

/// Adds deliveries of messages of n3 at a node, one after the other.
pub(super) fn deliver(observation: &mut Observation, node: u32, numbers: &[u64]) {
    let from = (node != 3).then(|| id(3));
    observation.ledger.arrivals.extend(numbers.iter().map(|n| Arrival {
        at: second(3),
        node: NodeId(node),
        process: 1,
        id: message(*n),
        from,
        hops: 1,
        age: Duration::ZERO,
    }));
}

/// Adds a join: the peer was registered at `registered` seconds, reported at `at` seconds that it
/// has joined, and knew these peers then.
pub(super) fn join(
    observation: &mut Observation,
    node: u32,
    registered: u64,
    at: u64,
    known: &[u8],
) {
    let own = u8::try_from(node).unwrap();
    let mut known: Vec<PeerId> = known.iter().map(|n| id(*n)).collect();
    known.sort_unstable();
    observation.ledger.joins.push(Join {
        at: second(at),
        node: NodeId(node),
        id: id(own),
        registered: second(registered),
        known,
    });
}

/// Adds a gap with messages of n3 at a node.
pub(super) fn gap(observation: &mut Observation, node: u32, from: u64, to: u64) {
    let after = observation.ledger.arrivals.len();
    let (at, first) = (second(3), message(from));
    observation.ledger.gaps.push(GapReport {
        at,
        node: NodeId(node),
        process: 1,
        first,
        to,
        after,
        holder: None,
    });
}

/// Adds a copy of a batch of n3 at a node.
pub(super) fn copy(observation: &mut Observation, node: u32) {
    let (at, batch) = (second(2), message(0));
    observation.ledger.copies.push(BatchCopy {
        at,
        node: NodeId(node),
        process: 1,
        batch,
        pulled: false,
        bytes: 100,
    });
}
