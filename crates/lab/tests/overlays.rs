//! `rumor-lab sim overlays`: a comparison of rules for choosing neighbours.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;

use serde_json::Value;
use support::new_place;

#[test]
fn every_rule_prints_its_figures_and_a_seed_repeats_them() {
    let place = new_place();
    let args = ["sim", "overlays", "--peers", "300", "--replicates", "5", "--json"];
    let ran = place.run(&args).ok();
    assert_eq!(ran.out, place.run(&args).ok().out);
    assert!(ran.err.is_empty(), "{ran:#?}");
    let lines: Vec<Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rules: Vec<&str> = lines.iter().map(|l| l["rule"].as_str().unwrap()).collect();
    let expected = [
        "top-half",
        "top-half-3",
        "capacity",
        "capacity-1",
        "preferential",
        "preferential-repair",
        "law",
    ];
    assert_eq!(rules, expected);
    for l in &lines {
        assert_eq!((l["peers"].as_u64(), l["turnover"].as_u64()), (Some(300), Some(0)), "{l}");
        assert_eq!(l["graph"]["nodes"], 300);
        assert_eq!(l["robustness"].as_array().unwrap().len(), 2);
        let numbers =
            ["mean_degree", "largest_component", "left_after_failures", "left_after_attack"];
        for name in numbers {
            assert!(l[name].is_f64(), "{name}: {l}");
        }
        for (name, part) in
            [("load", "busiest"), ("distances", "mean_path"), ("degrees_fit", "bounded_p")]
        {
            assert!(l[name][part].is_f64(), "{name}: {l}");
        }
    }
    // Without departures there is nothing to repair.
    assert_eq!(lines[4]["degrees"], lines[5]["degrees"]);
}

#[test]
fn table_shows_rules_and_runs_and_files_can_be_drawn() {
    let place = new_place();
    let sim = ["sim", "--builtin", "join", "--peers", "60", "--set", "keys=fast", "--json"];
    place.write("real.json", &place.run(&sim).ok().out);
    let args = [
        "sim",
        "overlays",
        "--peers",
        "60",
        "--turnover",
        "100",
        "--rule",
        "law",
        "--rule",
        "capacity-1",
        "--rule",
        "law",
        "--report",
        "real.json",
        "--replicates",
        "0",
        "--out",
        "to",
    ];
    let ran = place.run(&args).ok();
    for fragment in ["60 peers, 100 % of them replaced", "BUSIEST SENDS", "simulated join"] {
        assert!(ran.out.contains(fragment), "no {fragment:?} in {ran:#?}");
    }
    assert!(!ran.out.contains("top-half"), "{ran:#?}");
    let mut files: Vec<String> = fs::read_dir(place.path().join("to"))
        .unwrap()
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let expected = ["capacity-1_60_100_1.json", "law_60_100_1.json", "simulated-join_60_0_1.json"];
    assert_eq!(files, expected);
    for kind in ["degrees", "graph", "robustness"] {
        place.run(&["plot", kind, "to/law_60_100_1.json", "-o", "x.svg"]).ok();
        let svg = fs::read_to_string(place.path().join("x.svg")).unwrap();
        assert!(svg.contains("law, after 100 % turnover"), "{kind}");
    }
}

#[test]
fn unusable_arguments_and_reports_are_refused() {
    let place = new_place();
    let bad = place.write("bad.json", "{\"peers\": 4}");
    let sim = ["sim", "--builtin", "join", "--peers", "5", "--set", "keys=fast", "--json"];
    let mut run: Value = serde_json::from_str(&place.run(&sim).ok().out).unwrap();
    run["graph"]["nodes"] = Value::from(4_000_000_000u64);
    let huge = place.write("huge.json", &run.to_string());
    run["graph"] = serde_json::json!({ "nodes": 2, "edges": [[0, 7]] });
    let hole = place.write("hole.json", &run.to_string());
    run["graph"] = Value::Null;
    let none = place.write("none.json", &run.to_string());
    let file = place.write("file", "");
    let table: &[(&[&str], i32, &[&str])] = &[
        (&["--peers", "1"], 2, &["1 is not in 2..=10000"]),
        (&["--peers", "10001"], 2, &["10001 is not in 2..=10000"]),
        (&["--peers", "-3"], 2, &["unexpected argument"]),
        (&["--turnover", "1001"], 2, &["1001 is not in 0..=1000"]),
        (&["--turnover", "half"], 2, &["invalid digit"]),
        (&["--rule", "scale\u{1b}free"], 2, &["no such rule", "preferential-repair"]),
        (&["--seed", "18446744073709551616"], 2, &["--seed"]),
        (&["--report", "missing.json"], 3, &["cannot read missing.json"]),
        (&["--report", &bad], 3, &["bad.json", "not a report of one run"]),
        (&["--report", &huge], 3, &["huge.json", "4000000000 peers"]),
        (&["--report", &hole], 3, &["hole.json", "an edge names node 7"]),
        (&["--report", &none], 3, &["none.json", "does not list its links"]),
        (&["--peers", "9", "--rule", "law", "--out", &file], 1, &["cannot make"]),
    ];
    for (args, code, fragments) in table {
        let ran = place.run(&[&["sim", "overlays"], *args].concat());
        assert_eq!(ran.code, *code, "{ran:#?}");
        for fragment in *fragments {
            assert!(ran.err.contains(fragment), "no {fragment:?} in {ran:#?}");
        }
        assert!(ran.out.is_empty() && !ran.err.contains("panicked"), "{ran:#?}");
        assert!(!ran.err.contains('\u{1b}'), "{ran:#?}");
    }
}
