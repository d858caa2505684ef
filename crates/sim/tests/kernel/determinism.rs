//! The same random seed gives the same run, in this process and in another one.

use std::process::Command;

use rumormill_proto::Config;
use rumormill_sim::{Latency, World, WorldConfig};

use crate::script::{AT_START, MS, close, dial, listener, ping, scripted_node};

/// Set in the second process, which prints the trace hash and ends.
const CHILD: &str = "RUMORMILL_SIM_PRINT_TRACE";

/// A run with losses, a partition, a crash and a restart.
fn run(seed: u64) -> String {
    let mut config = WorldConfig::new(seed, Config::lan().build().unwrap());
    config.latency = Latency::Uniform { min: MS, max: 50 * MS };
    config.loss = 0.1;
    let mut w = World::new(config);
    let (b, _) = listener(&mut w);
    let (c, _) = listener(&mut w);
    let mut script = vec![(AT_START, dial(0, &w, b)), (MS, dial(1, &w, c))];
    for n in 0..100 {
        script.push((1000 * MS + 10 * MS * n, ping(u64::from(n % 2) * 2, u64::from(n))));
    }
    script.push((30_000 * MS, close(0)));
    let (a, _) = scripted_node(&mut w, script);
    w.run_for(1500 * MS);
    w.partition(&[a], &[b]);
    w.run_for(700 * MS);
    w.crash(c);
    w.heal();
    w.run_for(100 * MS);
    w.restart(c, rumormill_sim::DiskFate::Kept);
    w.run_for(60_000 * MS);
    w.trace_hash().iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn random_seed_determines_the_trace() {
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn second_process_has_the_same_trace() {
    if std::env::var_os(CHILD).is_some() {
        println!("trace={}", run(3));
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "determinism::second_process_has_the_same_trace", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let other = text.split("trace=").nth(1).and_then(|t| t.split_whitespace().next());
    assert_eq!(other, Some(run(3).as_str()), "{text}");
}
