//! `rumor-lab sim`: scenarios, campaigns and their reports.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::PathBuf;

use rumormill_testing::{Place, Ran};
use serde_json::Value;
use support::new_place;

const SMALL: &str = r#"
name = "small"
about = "A dozen peers talk"
peers = 12
keys = "fast"
for = "10s"

[[load]]
publishers = 3
rate = 10
"#;

fn file(place: &Place, name: &str, text: &str) -> PathBuf {
    PathBuf::from(place.write(name, text))
}

fn sim(place: &Place, args: &[&str]) -> Ran {
    let mut all = vec!["sim"];
    all.extend(args);
    place.run(&all)
}

fn lines(ran: &Ran) -> Vec<Value> {
    ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn same_seed_gives_the_same_run_in_another_process() {
    let place = new_place();
    let path = file(&place, "small.toml", SMALL);
    let run = |seed: &str| sim(&place, &[path.to_str().unwrap(), "--seed", seed, "--json"]).json();
    let (mut a, mut b) = (run("5"), run("5"));
    for field in ["wall_seconds", "events_per_second", "bytes_per_peer"] {
        assert!(a[field].as_f64().is_some(), "{field}: {a:#}");
        a[field].take();
        b[field].take();
    }
    assert_eq!(a, b);
    assert_ne!(run("6")["trace_hash"], a["trace_hash"]);
    for field in ["components", "degrees_fit", "promises", "events", "propagation", "graph"] {
        assert!(a.get(field).is_some(), "{field}");
    }
    assert_eq!((&a["components"], &a["passed"]), (&1.into(), &true.into()));
    assert_eq!(a["messages"]["delivered_fraction"], 1.0);
}

#[test]
fn built_in_scenarios_are_listed_printed_and_read_back() {
    let place = new_place();
    let list = sim(&place, &["--list"]);
    assert_eq!(list.code, 0);
    for name in ["join", "chaos", "churn", "partition", "liar"] {
        assert!(list.out.lines().any(|l| l.starts_with(name)), "{name}: {}", list.out);
    }
    let shown = sim(&place, &["--show", "join"]);
    assert!(shown.out.starts_with("name = \"join\""), "{shown:#?}");
    let path = file(&place, "join.toml", &shown.out);
    let few = |args: &[&str]| {
        let mut all = args.to_vec();
        all.extend(["--peers", "8", "--json"]);
        sim(&place, &all).json()["trace_hash"].clone()
    };
    assert_eq!(few(&[path.to_str().unwrap()]), few(&["--builtin", "join"]));
}

#[test]
fn errors_in_scenarios_are_reported_with_their_place() {
    let place = new_place();
    let bad = file(&place, "bad.toml", "name = \"x\"\npeers = 12\npreset = \"lna\"\n");
    let ran = sim(&place, &[bad.to_str().unwrap()]);
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert!(ran.err.contains("line 3") && ran.err.contains("unknown preset"), "{ran:#?}");
    let none = sim(&place, &["no-such.toml"]);
    assert!(none.code == 3 && none.err.contains("no-such.toml"), "{none:#?}");
    let unknown = sim(&place, &["--builtin", "nope"]);
    assert!(unknown.code == 3 && unknown.err.contains("--list"), "{unknown:#?}");
    assert_eq!(sim(&place, &[]).code, 2);
    let set = sim(&place, &["--builtin", "join", "--set", "network.loss=2"]);
    assert!(set.code == 3 && set.err.contains("network.loss is 2"), "{set:#?}");
    assert_eq!(sim(&place, &["--builtin", "join", "--shard", "8/8"]).code, 2);
}

#[test]
fn failed_run_names_the_command_that_repeats_it() {
    let place = new_place();
    let path = file(&place, "hard.toml", &(SMALL.to_owned() + "\n[expect]\ncopies-max = 0.1\n"));
    let path = path.to_str().unwrap();
    let ran = sim(&place, &[path, "--seed", "9", "--set", "load.0.rate=20"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.err.contains("copies per peer is"), "{ran:#?}");
    let again = format!("again: rumor-lab sim {path} --set load.0.rate=20 --seed 9");
    assert!(ran.err.contains(&again), "{ran:#?}");
}

#[test]
fn shards_are_merged_to_the_whole_campaign() {
    let place = new_place();
    let path = file(&place, "small.toml", SMALL);
    let path = path.to_str().unwrap();
    let sweep = ["--sweep", "network.loss=0,0.02", "--seeds", "3", "--json", "--replicates", "0"];
    let mut parts = Vec::new();
    for i in 0..2 {
        let shard = format!("{i}/2");
        let mut args = vec![path, "--shard", &shard];
        args.extend(sweep);
        let ran = sim(&place, &args);
        assert_eq!((ran.code, lines(&ran).len()), (0, 3), "{ran:#?}");
        parts.push(file(&place, &format!("part-{i}.jsonl"), &ran.out));
    }
    let [a, b] = [&parts[0], &parts[1]].map(|p| p.to_str().unwrap());
    let all = place.path().join("all.jsonl");
    // A part that is named twice counts once.
    let merged = sim(&place, &["merge", a, b, a, "--json", "--out", all.to_str().unwrap()]);
    assert_eq!(merged.code, 0, "{merged:#?}");
    let nothing = file(&place, "nothing.jsonl", "");
    let nothing = nothing.to_str().unwrap();
    assert_eq!(sim(&place, &["merge", a, nothing]).code, 0);
    let empty = sim(&place, &["merge", nothing]);
    assert!(empty.code == 3 && empty.err.contains("no report in"), "{empty:#?}");
    let summaries = lines(&merged);
    assert_eq!(summaries.len(), 2, "one for each value");
    for s in &summaries {
        assert_eq!((&s["runs"], &s["passed"]), (&3.into(), &3.into()), "{s:#}");
    }
    assert_eq!(std::fs::read_to_string(all).unwrap().lines().count(), 6);
}

#[test]
fn two_reports_are_compared() {
    let place = new_place();
    let path = file(&place, "small.toml", SMALL);
    let report = |seed: &str, name: &str| {
        let ran = sim(&place, &[path.to_str().unwrap(), "--seed", seed, "--json"]);
        file(&place, name, &ran.out).to_str().unwrap().to_owned()
    };
    let (a, b) = (report("1", "a.json"), report("2", "b.json"));
    let same = sim(&place, &["compare", &a, &a]);
    assert!(same.code == 0 && same.out.contains("the traces are equal"), "{same:#?}");
    let ran = sim(&place, &["compare", &a, &b, "--json"]);
    let changes = ran.json();
    assert!(changes.as_array().unwrap().iter().any(|c| c["what"] == "events"), "{changes:#}");
    let bad = sim(&place, &["compare", &a, path.to_str().unwrap()]);
    assert!(bad.code == 3 && bad.err.contains("small.toml"), "{bad:#?}");
}
