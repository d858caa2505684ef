//! Starts a network in virtual time, lets it settle, and prints its state:
//!
//! ```text
//! cargo run --release -p rumormill-sim --example settle -- --peers 200
//! ```

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// The wall clock measures the speed of the simulation, which does not depend on it.
#![allow(clippy::disallowed_types)]

use core::time::Duration;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use rumormill_proto::{Config, Event, Preset};
use rumormill_sim::{World, WorldConfig, checkers};

const USAGE: &str = "usage: settle [--peers N] [--seeds N] [--for SECONDS] [--seed NUMBER] \
                     [--preset classic|lan|wan] [--loss PART] [--fast]";

struct Arguments {
    peers: usize,
    seeds: usize,
    time: u64,
    seed: u64,
    preset: Preset,
    loss: f64,
    fast: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut a = Arguments {
        peers: 50,
        seeds: 3,
        time: 60,
        seed: 1,
        preset: Preset::Lan,
        loss: 0.0,
        fast: false,
    };
    fn number<T: std::str::FromStr>(flag: &str, value: Option<String>) -> Result<T, String> {
        let value = value.ok_or_else(|| format!("{flag} needs a value"))?;
        value.parse().map_err(|_| format!("{flag} cannot be {value:?}"))
    }
    let mut words = std::env::args().skip(1);
    while let Some(flag) = words.next() {
        match flag.as_str() {
            "--peers" => a.peers = number(&flag, words.next())?,
            "--seeds" => a.seeds = number(&flag, words.next())?,
            "--for" => a.time = number(&flag, words.next())?,
            "--seed" => a.seed = number(&flag, words.next())?,
            "--preset" => a.preset = number(&flag, words.next())?,
            "--loss" => a.loss = number(&flag, words.next())?,
            "--fast" => a.fast = true,
            other => return Err(format!("unknown argument {other:?}")),
        }
    }
    Ok(a)
}

fn main() -> ExitCode {
    let a = match arguments() {
        Ok(a) => a,
        Err(e) => {
            eprintln!("settle: {e}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let node = Config::of(a.preset).build().expect("a preset is valid");
    let config = WorldConfig {
        loss: a.loss,
        fast: a.fast,
        unsigned: a.fast,
        ..WorldConfig::new(a.seed, node)
    };
    let mut world = World::new(config);
    let seeds = world.add_seeds(a.seeds);
    let peers = world.add_peers(a.peers);
    let clock = Instant::now();
    let half = Duration::from_secs(a.time) / 2;
    world.run_for(half);
    for &p in peers.iter().take(10) {
        world.publish(p, "settle", b"hello").expect("the peer runs");
    }
    world.run_for(half);
    report(&world, &seeds, &peers, clock.elapsed());
    let found = checkers::at_rest(&world.observe());
    for v in &found {
        println!("VIOLATED {v}");
    }
    ExitCode::from(u8::from(!found.is_empty()))
}

fn report(
    world: &World,
    seeds: &[rumormill_sim::NodeId],
    peers: &[rumormill_sim::NodeId],
    real: Duration,
) {
    let graph = world.graph();
    let components = graph.components();
    println!("time           {} in {:.2} s", world.now(), real.as_secs_f64());
    println!(
        "inputs         {} ({:.0} a second), {} frames, {} bytes",
        world.steps(),
        world.steps() as f64 / real.as_secs_f64(),
        world.ledger().frames,
        world.ledger().bytes
    );
    println!("edges          {}, components {}", graph.edges(), components.len());
    println!("degrees");
    let histogram = graph.histogram();
    let most = histogram.values().copied().max().unwrap_or(1);
    for (degree, n) in &histogram {
        println!("  {degree:>4} {n:>5} {}", "#".repeat((n * 50).div_ceil(most)));
    }
    println!("registrations per peer");
    let mut registrations: BTreeMap<usize, usize> = BTreeMap::new();
    for &p in peers {
        let Some(view) = world.peer_snapshot(p) else { continue };
        *registrations.entry(view.seeds.iter().filter(|s| s.registered).count()).or_default() += 1;
    }
    for (n, count) in registrations {
        println!("  {n:>4} {count:>5}");
    }
    for &seed in seeds {
        if let Some(view) = world.seed_snapshot(seed) {
            println!(
                "seed {seed}: {} alive, {} entries, {} links",
                view.alive, view.entries, view.links
            );
        }
    }
    println!("events");
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for (_, event) in world.nodes().flat_map(|n| world.events(n)) {
        *kinds.entry(kind(event)).or_default() += 1;
    }
    for (name, n) in kinds {
        println!("  {n:>7} {name}");
    }
    let trace: String = world.trace_hash().iter().take(8).map(|b| format!("{b:02x}")).collect();
    println!("trace          {trace}");
}

/// The name of an event without its fields.
fn kind(event: &Event) -> String {
    let text = format!("{event:?}");
    text.chars().take_while(|c| c.is_alphanumeric()).collect()
}
