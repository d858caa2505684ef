//! The table of metrics, compared with the counters of the code and with the documentation.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::families::FAMILIES;
use super::gauges::{BUILD, DELAY, GAUGES, SEED};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The counters that a file of the code defines.
fn counters_of(file: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(file)).unwrap();
    let list = text.split("define_counters! {").nth(1).unwrap().split("\n}").next().unwrap();
    let lines = list.lines().map(str::trim).filter(|l| !l.starts_with("///") && !l.is_empty());
    lines.map(|l| l.trim_end_matches(',').to_owned()).collect()
}

#[test]
fn every_counter_is_in_one_metric() {
    let mut shown = BTreeSet::new();
    for (_, counter) in FAMILIES.iter().flat_map(|f| f.source.counters()) {
        assert!(shown.insert(counter.to_owned()), "{counter} is in two metrics");
    }
    let mut counted = counters_of("crates/proto/src/counters.rs");
    counted.append(&mut counters_of("crates/rumormill/src/counters.rs"));
    assert!(counted.len() > 150, "the search finds too few: {}", counted.len());
    let hidden: Vec<_> = counted.difference(&shown).collect();
    assert!(hidden.is_empty(), "counted, but in no metric: {hidden:?}");
    let made_up: Vec<_> = shown.difference(&counted).collect();
    assert!(made_up.is_empty(), "in a metric, but counted nowhere: {made_up:?}");
}

/// The names of all metrics without the prefix, with the suffix that the encoder appends.
fn names() -> Vec<(String, &'static str, String, &'static str)> {
    let (name, label, help) = BUILD;
    let mut all = vec![(format!("{name}_info"), "info", label.to_owned(), help)];
    all.extend(GAUGES.iter().map(|g| {
        let unit = g.unit.as_ref().map_or_else(String::new, |u| format!("_{}", u.as_str()));
        (format!("{}{unit}", g.name), "gauge", String::new(), g.help)
    }));
    let (name, label, help) = SEED;
    all.push((name.to_owned(), "gauge", label.to_owned(), help));
    all.push((format!("{}_seconds", DELAY.0), "histogram", "le".to_owned(), DELAY.1));
    all.extend(FAMILIES.iter().map(|f| {
        let values: Vec<&str> = f.source.counters().filter_map(|(value, _)| value).collect();
        let label =
            f.source.label().map_or_else(String::new, |l| format!("{l}: {}", values.join(", ")));
        (format!("{}_total", f.name), "counter", label, f.help)
    }));
    all
}

#[test]
fn names_and_helps_follow_the_rules_of_prometheus() {
    let mut seen = BTreeSet::new();
    for (name, _, _, help) in names() {
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        assert!(!help.ends_with('.') && !help.is_empty(), "{name}: {help}");
        assert!(seen.insert(name.clone()), "{name} twice");
    }
}

/// `RUMORMILL_WRITE=1` writes the table.
#[test]
fn documented_table_matches_the_served_metrics() {
    let path = root().join("docs/METRICS.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("<!-- table -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- end of table -->").unwrap();
    let mut table = "| metric | kind | labels | what |\n|---|---|---|---|\n".to_owned();
    for (name, kind, label, help) in names() {
        table += &format!("| `rumormill_{name}` | {kind} | {label} | {help} |\n");
    }
    let wanted = format!("{before}<!-- table -->\n{table}<!-- end of table -->{after}");
    if std::env::var_os("RUMORMILL_WRITE").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        wanted,
        "RUMORMILL_WRITE=1 writes the table anew"
    );
}

/// Dashboards and alerts use only metrics that exist.
#[test]
fn dashboard_and_alerts_use_only_existing_metrics() {
    let mut there: BTreeSet<String> =
        names().into_iter().map(|(name, ..)| format!("rumormill_{name}")).collect();
    for part in ["bucket", "sum", "count"] {
        there.insert(format!("rumormill_{}_seconds_{part}", DELAY.0));
    }
    for file in ["monitoring/grafana.json", "monitoring/alerts.yml"] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let asked: BTreeSet<&str> =
            text.split(|c| !is_name(c)).filter(|w| w.starts_with("rumormill_")).collect();
        assert!(asked.len() > 5, "{file} asks for {asked:?}");
        for name in asked {
            assert!(there.contains(name), "{file} asks for {name}, which is not there");
        }
    }
}
