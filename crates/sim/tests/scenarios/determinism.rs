//! The real cores run the same for the same random seed, in this process and in another one.

use std::process::Command;

use rumormill_sim::{DiskFate, Latency};

use crate::common::{Net, lan, ms, s, world_config};

/// Set in the second process, which prints the trace hash and ends.
const CHILD: &str = "RUMORMILL_SIM_PRINT_TRACE";

fn run(seed: u64, fast: bool) -> String {
    let mut config = world_config(seed, lan());
    config.latency = Latency::Uniform { min: ms(1), max: ms(20) };
    config.loss = 0.01;
    config.fast = fast;
    let mut net = Net::new(config, 3, 15);
    net.world.run_for(s(5));
    net.publish_at_all_peers();
    net.world.crash(net.peers[3]);
    net.world.freeze(net.peers[5]);
    net.world.partition(&net.peers[..7], &net.peers[7..]);
    net.world.run_for(s(8));
    net.world.heal();
    net.world.thaw(net.peers[5]);
    net.world.restart(net.peers[3], DiskFate::Kept);
    net.world.run_for(s(8));
    net.world.trace_hash().iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn random_seed_determines_the_trace() {
    assert_eq!(run(1, false), run(1, false));
    assert_ne!(run(1, false), run(2, false));
}

#[test]
fn encoding_does_not_change_the_trace() {
    assert_eq!(run(4, false), run(4, true));
}

#[test]
fn second_process_has_the_same_trace() {
    if std::env::var_os(CHILD).is_some() {
        println!("trace={}", run(3, false));
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "determinism::second_process_has_the_same_trace", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let other = text.split("trace=").nth(1).and_then(|t| t.split_whitespace().next());
    assert_eq!(other, Some(run(3, false).as_str()), "{text}");
}
