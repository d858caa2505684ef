//! The peers above their target degree after peers joined one after the other:
//!
//! ```text
//! cargo run --release -p rumormill-sim --example surplus -- 5
//! ```
//!
//! The argument is the number of worlds. Each has 300 peers that join within 30 s.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;

use rumormill_proto::Config;
use rumormill_sim::{World, WorldConfig};

const PEERS: usize = 300;
/// Seconds after the last peer has joined.
const LOOKS: [u64; 5] = [0, 30, 60, 90, 300];

/// The peers with surplus neighbours, and the sum of all distances between degree and target.
fn surplus(w: &World) -> (usize, usize) {
    let (mut above, mut distance) = (0, 0);
    for p in w.live_peers() {
        let view = w.peer_snapshot(p).unwrap();
        let target = usize::from(view.target);
        above += usize::from(view.neighbours.len() > target);
        distance += view.neighbours.len().abs_diff(target);
    }
    (above, distance)
}

fn main() {
    let worlds: u64 = std::env::args().nth(1).map_or(5, |n| n.parse().expect("a number"));
    for seed in 1..=worlds {
        let config =
            WorldConfig { fast: true, ..WorldConfig::new(seed, Config::lan().build().unwrap()) };
        let mut w = World::new(config);
        w.add_seeds(3);
        let joins = Duration::from_secs(30);
        w.add_peers_over(PEERS, joins);
        w.run_for(joins);
        let mut before = 0;
        let mut line = format!("seed {seed}:");
        for at in LOOKS {
            w.run_for(Duration::from_secs(at - before));
            before = at;
            let (above, distance) = surplus(&w);
            let share = above as f64 * 100.0 / PEERS as f64;
            line += &format!("  {at} s: {share:.1} % above, {distance} edge ends off;");
        }
        println!("{line}");
    }
}
