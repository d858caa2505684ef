//! `rumor up` from start to summary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;

use serde_json::Value;
use support::{Running, free_port, until};

/// Short, and with everything in it.
const SHORT: [&str; 8] =
    ["--messages", "2", "--every", "1s", "--after", "500ms", "--json", "--peers"];

fn check(summary: &Value, peers: u64) {
    assert_eq!(summary["peers"], peers);
    assert_eq!(summary["components"], 1, "{summary:#}");
    assert_eq!(summary["delivered_fraction"], 1.0, "{summary:#}");
    assert_eq!(summary["deliveries"], summary["deliveries_expected"]);
    assert_eq!(summary["false_deaths"], 0);
    assert_eq!(summary["errors"], 0, "{summary:#}");
    assert_eq!(summary["delivered_twice"], 0);
    let quorum = summary["seed_quorum"].as_u64().unwrap();
    assert!(summary["registrations_per_peer_min"].as_u64().unwrap() >= quorum, "{summary:#}");
    for figures in ["latency_ms", "last_delivery_ms"] {
        let (p50, max) = (&summary[figures]["p50"], &summary[figures]["max"]);
        assert!(p50.as_f64().unwrap() > 0.0 && max.as_f64() >= p50.as_f64(), "{summary:#}");
    }
}

#[test]
fn run_in_one_process_delivers_every_message() {
    let place = support::new_place();
    let mut args = vec!["up"];
    args.extend(SHORT);
    args.push("8");
    let ran = place.run(&args).ok();
    let summary = ran.json();
    check(&summary, 8);
    assert_eq!((summary["seeds"].as_u64(), summary["seed_quorum"].as_u64()), (Some(3), Some(2)));
    assert_eq!(summary["published"], 16);
    assert_eq!(summary["deliveries_expected"], 16 * 7);
    assert_eq!(summary["degrees"].as_array().unwrap().len(), 8);
    assert!(ran.err.contains("all peers have joined"), "{}", ran.err);

    let read = |path: &str| fs::read_to_string(place.path().join("logs").join(path)).unwrap();
    assert!(read("peers/peer-1.log").contains(" joined the network: registered at"));
    assert!(read("seeds/seed-1.log").contains(" registered peer-"));
    let messages = read("peers/peer-1.messages.log");
    assert_eq!(messages.lines().count(), 14);
    let shape = |line: &str| -> String {
        line.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect()
    };
    for line in messages.lines() {
        let expected = "[0000-00-00 00->00.00]:000.0.0.0: Message 0 [Hello from peer-0]";
        assert_eq!(shape(line), expected, "{line}");
        assert!(line.contains("]:127.0.0.1: Message "), "{line}");
    }
    let degrees = read("seeds/seed-1.degrees.log");
    assert!(degrees.lines().count() > 0);
    for line in degrees.lines() {
        let (time, rest) = line.split_once(' ').unwrap();
        let (id, degree) = rest.split_once("=>").unwrap();
        assert!(time.ends_with('Z') && id.len() == 64 && degree.parse::<u16>().is_ok(), "{line}");
    }
}

#[test]
fn only_killed_and_stopped_peers_are_removed() {
    let place = support::new_place();
    let mut args = vec!["up", "--processes", "--kill", "1@2s", "--stop", "1@3s"];
    args.extend(SHORT);
    args.push("7");
    let summary = place.run(&args).ok().json();
    check(&summary, 7);
    let deaths = summary["deaths"].as_array().unwrap();
    let brief: Vec<_> = deaths.iter().map(|d| (d["peer"].as_str().unwrap(), &d["how"])).collect();
    assert_eq!(brief, [("peer-7", &Value::from("kill")), ("peer-6", &Value::from("stop"))]);
    // Every change of the membership is in the logs of the seeds.
    let log = fs::read_to_string(place.path().join("logs/seeds/seed-1.log")).unwrap();
    for what in
        [" registered peer-7 (", " removed peer-7 (", " removed peer-6 (", " as dead, reported by "]
    {
        assert!(log.contains(what), "{what}:\n{log}");
    }
    for death in deaths {
        assert!(death["witnesses"].as_array().unwrap().len() >= 2, "{death:#}");
        assert!(death["removed_ms"].as_f64() >= death["detected_ms"].as_f64(), "{death:#}");
    }
    // No control file is left.
    assert_eq!(fs::read_dir(place.run_dir()).unwrap().count(), 0);
}

/// 32 processes publish 20 messages a second in all, and one of them gets a fault meanwhile. The
/// delay of the slowest message is measured, not tested, because the machine may be busy.
fn all_messages_arrive_despite_a_fault(how: &str) {
    let place = support::new_place();
    let fault = [how, "1@6s"];
    let load = ["--peers", "32", "--every", "1600ms", "--messages", "6", "--after", "1s"];
    let mut args = vec!["up", "--processes", "--no-log", "--json"];
    args.extend(fault);
    args.extend(load);
    let summary = place.run(&args).json();
    assert_eq!(summary["deliveries"], summary["deliveries_expected"], "{summary:#}");
    assert_eq!(summary["delivered_twice"], 0);
    let deaths = summary["deaths"].as_array().unwrap();
    assert_eq!(deaths.len(), 1, "{summary:#}");
    assert_eq!(deaths[0]["how"], how.trim_start_matches('-'));
    // The victim publishes nothing in its last second; all others have published all their
    // messages.
    let published = summary["published"].as_u64().unwrap();
    assert!((31 * 6..=32 * 6).contains(&published), "{published}");
}

#[test]
fn all_messages_arrive_when_one_of_32_peers_is_killed() {
    all_messages_arrive_despite_a_fault("--kill");
}

#[test]
fn all_messages_arrive_when_one_of_32_peers_is_stopped() {
    all_messages_arrive_despite_a_fault("--stop");
}

#[test]
fn seeds_listen_at_the_addresses_of_the_file() {
    let place = support::new_place();
    let ports = [free_port(), free_port()];
    let text = format!("127.0.0.1:{}\nlocalhost:{}\n", ports[0], ports[1]);
    let config = place.write("config.txt", &text);
    for more in [&[][..], &["--processes"]] {
        let mut args = vec!["up", "--config", &config];
        args.extend(more);
        args.extend(SHORT);
        args.push("3");
        let summary = place.run(&args).ok().json();
        check(&summary, 3);
        assert_eq!(summary["seeds"], 2);
    }
}

#[test]
fn summary_is_text_without_json_and_payloads_have_their_size() {
    let place = support::new_place();
    let ran = place
        .run(&[
            "up",
            "--peers",
            "3",
            "--seeds",
            "1",
            "--messages",
            "1",
            "--every",
            "100ms",
            "--after",
            "0",
            "--payload",
            "5000",
            "--no-log",
        ])
        .ok();
    for part in
        ["3 peers and 1 seed in", "one component", "3 published, 6 of 6", "all messages arrived"]
    {
        assert!(ran.out.contains(part), "no {part:?} in {ran:#?}");
    }
    assert!(!ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'), "{ran:#?}");
    assert!(!place.path().join("logs").exists());
}

/// The state of a process, as `R` (running), `T` (stopped) or `Z` (zombie); `None` if it is gone.
fn state(pid: u64) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The state follows the name of the program, which is in parentheses and can contain anything.
    stat.rsplit_once(") ")?.1.chars().next()
}

#[test]
fn children_end_when_their_parent_is_killed() {
    let place = support::new_place();
    let args =
        ["up", "--processes", "--peers", "3", "--seeds", "1", "--for", "1h", "--stop", "1@1s"];
    let mut up = Running::spawn(place.command(&args));
    let pids = || -> Vec<u64> {
        let Ok(files) = fs::read_dir(place.run_dir()) else { return Vec::new() };
        files
            .filter_map(|f| fs::read_to_string(f.unwrap().path()).ok())
            .filter_map(|text| serde_json::from_str::<Value>(&text).ok()?["pid"].as_u64())
            .collect()
    };
    until("all nodes run", || pids().len() == 4);
    let children = pids();
    until("one is stopped", || children.iter().any(|&pid| state(pid) == Some('T')));
    up.child.kill().unwrap();
    up.wait();
    until("no child is left", || {
        children.iter().all(|&pid| matches!(state(pid), None | Some('Z')))
    });
}

/// P2, over real sockets.
#[test]
fn degrees_of_many_peers_follow_the_power_law() {
    let place = support::new_place();
    let args = ["up", "--peers", "150", "--messages", "0", "--for", "20s", "--no-log", "--json"];
    let summary = place.run(&args).ok().json();
    assert_eq!((&summary["components"], &summary["errors"]), (&1.into(), &0.into()));
    let fit = &summary["degrees_fit"];
    let alpha = fit["bounded_alpha"].as_f64().unwrap();
    // Target degrees are drawn from a law with exponent 2.6, anew in every run. The fit gives its
    // standard error.
    let error = fit["bounded_alpha_error"].as_f64().unwrap();
    assert!(error < 0.4 && (alpha - 2.6).abs() < 4.0 * error, "{fit:#}");
    let degrees = summary["degrees"].as_array().unwrap();
    let degrees: Vec<u64> = degrees.iter().map(|d| d.as_u64().unwrap()).collect();
    let median = degrees[degrees.len() / 2];
    assert!(degrees[degrees.len() - 1] >= 4 * median, "there are hubs: {degrees:?}");
}
