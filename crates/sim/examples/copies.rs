//! Copies of each batch that peers receive, with several publishers at once, in virtual time:
//!
//! ```text
//! cargo run --release -p rumormill-sim --example copies -- 200 20
//! ```

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;
use std::collections::BTreeMap;

use rumormill_proto::{BroadcastMode, Config, Counters};
use rumormill_sim::{World, WorldConfig};

const NAMES: [&str; 14] = [
    "messages_published",
    "messages_received",
    "messages_delivered",
    "messages_duplicate",
    "batches_forwarded",
    "batches_pulled",
    "batches_caught_up",
    "pulls",
    "grafts",
    "prunes",
    "gaps",
    "receipts_complete",
    "censuses",
    "acks_unknown",
];

fn sum(world: &World, peers: &[rumormill_sim::NodeId]) -> BTreeMap<&'static str, u64> {
    let mut all = Counters::default();
    for p in peers {
        if let Some(s) = world.peer_snapshot(*p) {
            all.merge(&s.counters);
        }
    }
    NAMES.iter().map(|n| (*n, all.get(n))).collect()
}

fn main() {
    let number =
        |n: usize, or: usize| std::env::args().nth(n).map_or(or, |a| a.parse().expect("a number"));
    let (n, publishers, flood) = (number(1, 200), number(2, 20), number(3, 0) == 1);
    let seed = number(4, 1) as u64;
    let mode = if flood { BroadcastMode::Flood } else { BroadcastMode::Trees };
    let config = Config::lan().broadcast(mode).build().unwrap();
    let mut world = World::new(WorldConfig::new(seed, config));
    world.add_seeds(3);
    let peers = world.add_peers(n);
    world.run_for(Duration::from_secs(40));
    let before = sum(&world, &peers);
    for round in 0..200 {
        for p in peers.iter().take(publishers) {
            world.publish(*p, "t", format!("{round}").as_bytes()).unwrap();
        }
        world.run_for(Duration::from_millis(50));
    }
    world.run_for(Duration::from_secs(10));
    let after = sum(&world, &peers);
    for name in NAMES {
        println!("{name:24} {:>10}", after[name] - before[name]);
    }
    let d = |name| (after[name] - before[name]) as f64;
    let copies = 1.0 + d("messages_duplicate") / d("messages_received");
    println!("copies per peer and message: {copies:.4}");
    let expected = (publishers * 200 * n) as f64;
    println!("delivered: {} of {expected}", d("messages_delivered"));
    let s = world.peer_snapshot(peers[0]).unwrap();
    for t in &s.trees {
        println!("{t:?}");
    }
}
