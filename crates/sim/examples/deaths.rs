//! Time until all seeds have removed a dead peer, in many worlds:
//!
//! ```text
//! cargo run --release -p rumormill-sim --example deaths -- 20 20 [FIRST SEED]
//! ```
//!
//! The arguments are the numbers of worlds and peers. A peer is killed or stopped, or its host
//! loses power. The peer has neighbours, or only the seeds can detect its death, because it dies
//! right after it has registered.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;

use rumormill_proto::Config;
use rumormill_sim::checkers::at_rest;
use rumormill_sim::{NodeId, World, WorldConfig};

const fn s(n: u64) -> Duration {
    Duration::from_secs(n)
}

type Fault = fn(&mut World, NodeId);
const FAULTS: [(&str, Fault); 3] =
    [("killed", World::crash), ("stopped", World::freeze), ("without power", World::power_off)];

/// A new peer that a majority of the seeds has registered, and that has no neighbour yet.
fn newcomer(w: &mut World, seeds: &[NodeId]) -> NodeId {
    let p = w.add_peers(1)[0];
    let id = w.id(p);
    for _ in 0..20_000 {
        let knows = |&&s: &&NodeId| w.members(s).iter().any(|m| m.id == id);
        if seeds.iter().filter(knows).count() > seeds.len() / 2 {
            break;
        }
        w.run_for(Duration::from_micros(100));
    }
    assert_eq!(w.graph().neighbours(p).count(), 0, "it has a neighbour");
    p
}

/// The time until the last seed has removed the peer.
fn run(config: Config, seed: u64, peers: usize, alone: bool, fault: Fault) -> Option<Duration> {
    let mut w = World::new(WorldConfig::new(seed, config));
    let seeds = w.add_seeds(3);
    let peers = w.add_peers(peers);
    assert!(w.run_until(s(120), |w| at_rest(&w.observe()).is_empty()), "seed {seed}: no rest");
    // Each world uses another moment between two pings.
    w.run_for(s(3) + Duration::from_millis(seed * 677 % 13_000));
    let victim = if alone { newcomer(&mut w, &seeds) } else { peers[seed as usize % peers.len()] };
    let (died, id) = (w.now(), w.id(victim));
    fault(&mut w, victim);
    let removal = |w: &World, s: &NodeId| {
        let removals = &w.ledger().removals;
        removals.iter().find(|r| r.observer == *s && r.subject == id).map(|r| r.at)
    };
    w.run_until(s(300), |w| seeds.iter().all(|s| removal(w, s).is_some()));
    let last = seeds.iter().map(|s| removal(&w, s)).collect::<Option<Vec<_>>>()?;
    last.into_iter().max().map(|at| at.since(died))
}

fn main() {
    let arguments: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let argument = |at: usize, or: u64| arguments.get(at).copied().unwrap_or(or);
    let (worlds, peers, first) = (argument(0, 20), argument(1, 20), argument(2, 0));
    let presets = [("lan", Config::lan()), ("wan", Config::wan()), ("classic", Config::classic())];
    for (preset, config) in presets {
        let config = config.build().unwrap();
        for alone in [false, true] {
            for (name, fault) in FAULTS {
                let run = |n| run(config.clone(), first + n, peers as usize, alone, fault);
                let mut times: Vec<_> = (0..worlds).map(run).collect();
                times.sort_by_key(|t| t.unwrap_or(Duration::MAX));
                let ms = |t: Option<&Option<Duration>>| match t.copied().flatten() {
                    Some(t) => format!("{} ms", t.as_millis()),
                    None => "never".to_owned(),
                };
                let by = if alone { "seeds only" } else { "neighbours" };
                let (median, worst) = (ms(times.get(times.len() / 2)), ms(times.last()));
                println!("{preset:8} {name:14} {by:11} median {median:>9} worst {worst:>9}");
            }
        }
    }
}
