//! False deaths in a network that loses packets, and the time until a killed peer is removed there:
//!
//! ```text
//! cargo run --release -p rumormill-sim --example lossy -- 20 60 3
//! ```
//!
//! The arguments are the numbers of peers, of seconds and of worlds.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;

use rumormill_proto::Config;
use rumormill_sim::{World, WorldConfig, checkers};

fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<u64>().expect("a number"));
    let peers = usize::try_from(args.next().unwrap_or(20)).unwrap();
    let (seconds, worlds) = (args.next().unwrap_or(60), args.next().unwrap_or(3));
    for (name, config) in
        [("lan", Config::lan()), ("wan", Config::wan()), ("classic", Config::classic())]
    {
        for loss in [0.2, 0.25, 0.3, 0.4] {
            let (mut false_deaths, mut removals) = (0, Vec::new());
            for seed in 0..worlds {
                let config = config.clone().build().unwrap();
                let mut w =
                    World::new(WorldConfig { fast: true, ..WorldConfig::new(seed, config) });
                w.add_seeds(3);
                let all = w.add_peers(peers);
                w.run_for(Duration::from_secs(20));
                w.set_loss(loss);
                w.run_for(Duration::from_secs(seconds));
                let observation = w.observe();
                let removed: std::collections::BTreeSet<_> =
                    checkers::death::false_deaths(&observation)
                        .iter()
                        .map(|r| (r.subject, r.incarnation))
                        .collect();
                false_deaths += removed.len();
                let (victim, died) = (all[0], w.now());
                let id = w.id(victim);
                w.crash(victim);
                w.run_until(Duration::from_secs(120), |w| {
                    w.ledger().removals.iter().any(|r| r.subject == id && r.at >= died)
                });
                removals.push(w.now().since(died).as_millis());
            }
            println!(
                "{name} loss {loss}: {false_deaths} false deaths in {worlds} x {seconds} s, killed peer removed after {removals:?} ms"
            );
        }
    }
}
