//! The slowest message when a peer fails while messages flow, in many worlds:
//!
//! ```text
//! cargo run --release -p rumormill-sim --example repair -- 40 32 [FIRST SEED]
//! ```
//!
//! One peer, or all peers in turn, publish 20 messages a second. The victim is the peer with the
//! most children in the publisher's tree. It is killed, so its links break at once, or frozen, so
//! its links stay up.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;
use std::collections::BTreeMap;

use rumormill_proto::{Config, PeerId};
use rumormill_sim::checkers::at_rest;
use rumormill_sim::{NodeId, World, WorldConfig};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn s(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    freeze: bool,
    all: bool,
}

const fn case(name: &'static str, freeze: bool, all: bool) -> Case {
    Case { name, freeze, all }
}

const CASES: [Case; 4] = [
    case("killed, one publishes", false, false),
    case("killed, all publish", false, true),
    case("frozen, one publishes", true, false),
    case("frozen, all publish", true, true),
];

fn children(w: &World, node: NodeId, publisher: PeerId) -> usize {
    let trees = w.peer_snapshot(node).map(|p| p.trees).unwrap_or_default();
    trees.iter().find(|t| t.publisher == publisher).map_or(0, |t| t.children.len())
}

/// The longest delay of a message, the copies per peer after the fault, and the number of missing
/// deliveries.
fn run(case: Case, seed: u64, n: usize) -> (Duration, f64, usize) {
    let config = Config::lan().build().unwrap();
    let mut w = World::new(WorldConfig { fast: true, ..WorldConfig::new(seed, config) });
    w.add_seeds(3);
    let peers = w.add_peers(n);
    assert!(w.run_until(s(60), |w| at_rest(&w.observe()).is_empty()), "seed {seed}: no rest");
    for _ in 0..3 {
        for p in &peers {
            w.publish(*p, "t", b"growing").unwrap();
        }
        w.run_for(s(1));
    }
    let publisher = peers[0];
    let id = w.id(publisher);
    let victim = *peers[1..].iter().max_by_key(|p| children(&w, **p, id)).unwrap();
    let counter = |w: &World, name| {
        let of = |p: &NodeId| w.peer_snapshot(*p).map_or(0, |s| s.counters.get(name));
        peers.iter().filter(|p| **p != victim).map(of).sum::<u64>()
    };
    let mut published = BTreeMap::new();
    let mut before = (0, 0);
    for round in 0..160 {
        if round == 40 {
            before = (counter(&w, "messages_received"), counter(&w, "messages_duplicate"));
            if case.freeze { w.freeze(victim) } else { w.crash(victim) }
        }
        let turn = peers[round % n];
        let node = if case.all && turn != victim { turn } else { publisher };
        published.insert(w.publish(node, "t", b"tick").unwrap(), w.now());
        w.run_for(ms(50));
    }
    w.run_for(s(10));
    let arrivals = w.deliveries().iter().filter(|a| a.node != victim);
    let mut delays: Vec<(Duration, u64, NodeId)> = arrivals
        .filter_map(|a| Some((a.at.since(*published.get(&a.id)?), a.id.sequence, a.node)))
        .collect();
    let missing = (published.len() * (n - 1)).saturating_sub(delays.len());
    delays.sort_unstable();
    let received = counter(&w, "messages_received") - before.0;
    let duplicate = counter(&w, "messages_duplicate") - before.1;
    if std::env::args().nth(4).is_some() {
        let late: Vec<_> = delays.iter().rev().take(12).collect();
        println!("  seed {seed} {}: {late:?}", case.name);
    }
    (delays.last().unwrap().0, 1.0 + duplicate as f64 / received as f64, missing)
}

fn main() {
    let number =
        |n: usize, or: usize| std::env::args().nth(n).map_or(or, |a| a.parse().expect("a number"));
    let (worlds, n, first) = (number(1, 40), number(2, 32), number(3, 1));
    for case in CASES {
        let mut all: Vec<(Duration, u64)> = Vec::new();
        let (mut copies, mut missing) = (0.0, 0);
        for seed in first as u64..(first + worlds) as u64 {
            let (slowest, c, m) = run(case, seed, n);
            all.push((slowest, seed));
            copies += c / worlds as f64;
            missing += m;
        }
        all.sort_unstable();
        let over = all.iter().filter(|a| a.0 > ms(300)).count();
        let worst: Vec<String> = all
            .iter()
            .rev()
            .take(4)
            .map(|(d, s)| format!("{} ms (seed {s})", d.as_millis()))
            .collect();
        println!(
            "{:28} median {:>4} ms, over 300 ms in {over} of {worlds}, copies {copies:.2}, \
             missing {missing}, worst {}",
            case.name,
            all[all.len() / 2].0.as_millis(),
            worst.join(", ")
        );
    }
}
