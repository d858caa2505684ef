//! The cost of trees: copies of each message that a peer receives, grafts and prunes.
//!
//! ```text
//! cargo run --release -p rumormill-sim --example copies -- [PEERS] [SEEDS] [trees|flood] [CASE]
//! ```
//!
//! CASE is part of the name of the cases to run. Twenty publishers send 5 messages a second each
//! for a minute: in a network at rest, in one that changes, and in one that loses packets. In
//! further cases all peers publish once a minute. The column "all" includes the floods with which
//! the first messages build their trees; the column "later" starts after the first fifth of the
//! time.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use rumormill_proto::{BroadcastMode, Config, Counters};
use rumormill_sim::checkers::at_rest;
use rumormill_sim::{Latency, NodeId, World, WorldConfig};

const STEP: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, PartialEq)]
struct Case {
    name: &'static str,
    /// Interval between two edge swaps in the network.
    swap_every: Duration,
    /// Number of steps after which a hub is killed.
    kill_every: Option<u32>,
    loss: f64,
    /// Number of publishers; all peers if it is the number of peers.
    publishers: usize,
    /// Steps of [`STEP`] from one message of a publisher to the next.
    steps: usize,
    rounds: usize,
}

const REST: Case = Case {
    name: "at rest",
    swap_every: Duration::from_secs(86_400),
    kill_every: None,
    loss: 0.0,
    publishers: 20,
    steps: 1,
    rounds: 300,
};

fn cases(peers: usize) -> [Case; 6] {
    let swap_every = Duration::from_secs(3);
    let all_publish = Case { publishers: peers, steps: 300, rounds: 5, ..REST };
    [
        REST,
        Case { name: "an edge swapped every 3 s", swap_every, ..REST },
        Case { name: "and a hub killed every 5 s", swap_every, kill_every: Some(25), ..REST },
        Case { name: "1 % of packets lost", loss: 0.01, ..REST },
        Case { name: "all peers, once a minute", ..all_publish },
        Case { name: "the same, an edge swapped every 3 s", swap_every, ..all_publish },
    ]
}

struct Sum {
    received: u64,
    duplicate: u64,
    grafts: u64,
    prunes: u64,
}

/// The counters of each live peer.
type PeerCounters = BTreeMap<NodeId, Counters>;

fn counters(w: &World) -> PeerCounters {
    let of = |p: NodeId| Some((p, w.peer_snapshot(p)?.counters));
    w.live_peers().into_iter().filter_map(of).collect()
}

/// The sums over some peers.
fn sum(of: &PeerCounters, peers: &BTreeSet<NodeId>) -> Sum {
    let mut all = Counters::default();
    for (_, counters) in of.iter().filter(|(p, _)| peers.contains(p)) {
        all.merge(counters);
    }
    Sum {
        received: all.get("messages_received"),
        duplicate: all.get("messages_duplicate"),
        grafts: all.get("grafts"),
        prunes: all.get("prunes"),
    }
}

fn copies(from: &Sum, to: &Sum) -> f64 {
    1.0 + (to.duplicate - from.duplicate) as f64 / (to.received - from.received) as f64
}

/// The live peer with the most neighbours that is not a publisher.
fn hub(w: &World, peers: &[NodeId], publishers: &BTreeSet<NodeId>) -> NodeId {
    let live: BTreeSet<NodeId> = w.live_peers().into_iter().collect();
    let others = peers.iter().filter(|p| live.contains(p) && !publishers.contains(p));
    *others.max_by_key(|p| w.peer_snapshot(**p).map_or(0, |s| s.neighbours.len())).unwrap()
}

struct Row {
    all: f64,
    later: f64,
    /// Median and longest time to the last peer, in milliseconds.
    last: (f64, f64),
    missed: usize,
    grafts: u64,
    prunes: u64,
    /// Bytes of frames that carry a batch, and of all others, for each delivery.
    bytes: (f64, f64),
}

fn run(case: Case, seed: u64, n: usize, mode: BroadcastMode) -> Row {
    let config = Config::lan().broadcast(mode).swap_interval(case.swap_every).build().unwrap();
    let latency = Latency::Uniform { min: Duration::from_millis(1), max: Duration::from_millis(2) };
    let mut w = World::new(WorldConfig { latency, ..WorldConfig::new(seed, config) });
    w.add_seeds(3);
    let peers = w.add_peers(n);
    assert!(w.run_until(Duration::from_secs(120), |w| at_rest(&w.observe()).is_empty()));
    if case.swap_every != REST.swap_every {
        // All peers have begun to swap edges.
        w.run_for(Duration::from_secs(2 * 3) * n as u32);
    }
    w.set_loss(case.loss);
    let publishers: Vec<NodeId> = peers.iter().copied().take(case.publishers).collect();
    let spared: BTreeSet<NodeId> =
        if case.publishers == n { BTreeSet::new() } else { publishers.iter().copied().collect() };
    let mut published = Vec::new();
    let before = counters(&w);
    let sent = |w: &World| (w.ledger().batch_bytes, w.ledger().bytes - w.ledger().batch_bytes);
    let sent_before = sent(&w);
    let mut first = PeerCounters::new();
    let steps = case.steps * case.rounds;
    for step in 0..steps {
        if step == steps / 5 {
            first = counters(&w);
        }
        for (i, p) in
            publishers.iter().enumerate().filter(|(i, _)| i % case.steps == step % case.steps)
        {
            if let Ok(id) = w.publish(*p, "t", i.to_string().as_bytes()) {
                published.push((id, w.now()));
            }
        }
        if case.kill_every.is_some_and(|every| step as u32 % every == every - 1) {
            let hub = hub(&w, &peers, &spared);
            w.crash(hub);
        }
        w.run_for(STEP);
    }
    w.run_for(Duration::from_secs(10));
    let sent_after = sent(&w);
    let live: BTreeSet<NodeId> = w.live_peers().into_iter().collect();
    let mut arrived = BTreeMap::new();
    for a in w.deliveries().iter().filter(|a| live.contains(&a.node)) {
        let of = arrived.entry(a.id).or_insert((0usize, a.at));
        *of = (of.0 + 1, of.1.max(a.at));
    }
    let mut last: Vec<f64> = published
        .iter()
        .filter_map(|(id, at)| Some(arrived.get(id)?.1.since(*at).as_secs_f64() * 1e3))
        .collect();
    last.sort_by(f64::total_cmp);
    let expected = published.len() * live.len();
    let delivered: usize =
        published.iter().filter_map(|(id, _)| arrived.get(id)).map(|a| a.0).sum();
    // The counters of killed peers are not available at the end.
    let [before, first, after] = [before, first, counters(&w)].map(|of| sum(&of, &live));
    Row {
        all: copies(&before, &after),
        later: copies(&first, &after),
        last: (last[last.len() / 2], *last.last().unwrap()),
        missed: expected - delivered,
        grafts: after.grafts - before.grafts,
        prunes: after.prunes - before.prunes,
        bytes: (
            (sent_after.0 - sent_before.0) as f64 / delivered as f64,
            (sent_after.1 - sent_before.1) as f64 / delivered as f64,
        ),
    }
}

fn main() {
    let argument = |n: usize| std::env::args().nth(n);
    let number = |n: usize, or: usize| argument(n).map_or(or, |a| a.parse().expect("a number"));
    let (n, seeds) = (number(1, 200), number(2, 1));
    let mode = match argument(3).as_deref() {
        None | Some("trees") => BroadcastMode::Trees,
        Some("flood") => BroadcastMode::Flood,
        Some(other) => panic!("{other} is neither trees nor flood"),
    };
    println!(
        "{n} peers                             all copies    later  last ms: median, worst  missed  grafts  prunes  bytes a delivery: batches, others"
    );
    let named = argument(4).unwrap_or_default();
    for case in cases(n).into_iter().filter(|c| c.name.contains(&named)) {
        for seed in 1..=seeds as u64 {
            let r = run(case, seed, n, mode);
            println!(
                "{:38} {:7.4}  {:7.4}  {:14.1} {:8.1}  {:6}  {:6}  {:6}  {:25.0} {:7.0}",
                case.name,
                r.all,
                r.later,
                r.last.0,
                r.last.1,
                r.missed,
                r.grafts,
                r.prunes,
                r.bytes.0,
                r.bytes.1
            );
        }
    }
}
