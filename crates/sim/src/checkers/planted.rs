//! A sound world made by hand, for the tests of the checkers to plant faults in: three seeds
//! (n0 to n2) and three peers in a ring (n3 to n5).

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use rumormill_proto::snapshot::{
    MemberState, MemberView, NeighbourView, PeerSnapshot, PeerState, SeedSnapshot, SeedView,
};
use rumormill_proto::{Config, Counters, Identity, LinkId, MessageId, Name, PeerId, Role, Time};

use crate::graph::Graph;
use crate::ledger::{
    Arrival, BatchCopy, Departure, GapTold, Impairment, Join, Ledger, Publication, Removal, Trouble,
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

pub(super) fn graph(edges: &[(u32, u32)], lone: &[u32]) -> Graph {
    let mut said: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
    for &(a, b) in edges {
        said.entry(NodeId(a)).or_default().insert(NodeId(b));
        said.entry(NodeId(b)).or_default().insert(NodeId(a));
    }
    for &n in lone {
        said.entry(NodeId(n)).or_default();
    }
    Graph::new(&said)
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
        held_messages: 1,
        held_bytes: 100,
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
        life_since: Time::ZERO,
        lived: Duration::from_secs(60),
        peer: (!is_seed).then(|| peer(n)),
        publishers: Vec::new(),
        seed: is_seed.then(|| seed(n)),
        registry: if is_seed { peers().map(member).collect() } else { Vec::new() },
        linked: peers().filter(|&m| !is_seed && m != n).map(|m| NodeId(u32::from(m))).collect(),
    }
}

/// Nothing is wrong: one message of n3 at n3, n4 and n5.
pub(super) fn sound() -> Observation {
    let message = MessageId { publisher: id(3), epoch: 1, sequence: 0 };
    let arrival = |node: u32| Arrival {
        at: second(2),
        node: NodeId(node),
        life: 1,
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
        strangers: std::collections::BTreeSet::new(),
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

/// Something was wrong with a node of [`sound`].
pub(super) fn trouble(
    seen: &mut Observation,
    node: NodeId,
    trouble: Trouble,
    from: Time,
    until: Option<Time>,
) {
    let of = seen.nodes.iter().find(|n| n.node == node).unwrap();
    let (id, incarnation) = (of.id, of.peer.as_ref().map(|p| p.incarnation));
    let i = Impairment { node, id, incarnation, trouble, from, until, needed: 2 };
    seen.ledger.impairments.push(i);
}

/// n3 left a second after it had published.
pub(super) fn with_departure() -> Observation {
    let mut seen = sound();
    let node = NodeId(3);
    trouble(&mut seen, node, Trouble::Left, second(3), None);
    seen.ledger.departures.push(Departure {
        at: second(3),
        node,
        since: Time::ZERO,
        acknowledged: true,
        unconfirmed: None,
        others: 0,
        connected: vec![NodeId(4), NodeId(5)],
    });
    if let Some(n) = seen.nodes.iter_mut().find(|n| n.node == node) {
        n.status = NodeStatus::Left;
        n.peer = None;
    }
    seen
}

/// n5 was dead for a second and was justly removed by two of three seeds.
pub(super) fn with_removal() -> Observation {
    let mut seen = sound();
    trouble(&mut seen, NodeId(5), Trouble::Dead, second(5), Some(second(6)));
    seen.ledger.removals.push(Removal {
        at: second(7),
        observer: NodeId(0),
        subject: id(5),
        incarnation: 1,
        witnesses: vec![id(3), id(4)],
        seeds: vec![id(0), id(1)],
    });
    seen
}

fn message(sequence: u64) -> MessageId {
    MessageId { publisher: id(3), epoch: 1, sequence }
}

/// Messages of n3 reach a node, one after the other.
pub(super) fn deliver(seen: &mut Observation, node: u32, numbers: &[u64]) {
    let from = (node != 3).then(|| id(3));
    seen.ledger.arrivals.extend(numbers.iter().map(|n| Arrival {
        at: second(3),
        node: NodeId(node),
        life: 1,
        id: message(*n),
        from,
        hops: 1,
        age: Duration::ZERO,
    }));
}

/// A peer that was registered at one second says at another one that it has joined, and knows these.
pub(super) fn join(seen: &mut Observation, node: u32, registered: u64, at: u64, known: &[u8]) {
    let own = u8::try_from(node).unwrap();
    let mut known: Vec<PeerId> = known.iter().map(|n| id(*n)).collect();
    known.sort_unstable();
    seen.ledger.joins.push(Join {
        at: second(at),
        node: NodeId(node),
        id: id(own),
        registered: second(registered),
        known,
    });
}

/// A node is told that messages of n3 will not come.
pub(super) fn gap(seen: &mut Observation, node: u32, from: u64, to: u64) {
    let after = seen.ledger.arrivals.len();
    let (at, first) = (second(3), message(from));
    seen.ledger.gaps.push(GapTold {
        at,
        node: NodeId(node),
        life: 1,
        first,
        to,
        after,
        holder: None,
    });
}

/// A copy of a batch of n3 comes to a node.
pub(super) fn copy(seen: &mut Observation, node: u32) {
    let (at, batch) = (second(2), message(0));
    seen.ledger.copies.push(BatchCopy {
        at,
        node: NodeId(node),
        life: 1,
        batch,
        pulled: false,
        bytes: 100,
    });
}
