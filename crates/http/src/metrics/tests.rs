//! The table of metrics against what is counted, and what is written about them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::families::FAMILIES;
use super::gauges::{BUILD, DELAY, GAUGES, SEED};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// The names that the core counts: what stands in quotes right behind `count(` or `add(`.
fn counted_by_the_core() -> BTreeSet<String> {
    let mut files = Vec::new();
    rust_files(&root().join("crates/proto/src"), &mut files);
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        for call in [".count(", ".add("] {
            for rest in text.split(call).skip(1) {
                if let Some(name) = rest.trim_start().strip_prefix('"') {
                    names.insert(name.split('"').next().unwrap().to_owned());
                }
            }
        }
    }
    names
}

fn counted_by_the_transport() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("crates/rumormill/src/counters.rs")).unwrap();
    let list = text.split("define_counters! {").nth(1).unwrap().split('}').next().unwrap();
    let lines = list.lines().map(str::trim).filter(|l| !l.starts_with("///") && !l.is_empty());
    lines.map(|l| l.trim_end_matches(',').to_owned()).collect()
}

#[test]
fn every_counter_is_in_one_metric() {
    let mut shown = BTreeSet::new();
    for (_, counter) in FAMILIES.iter().flat_map(|f| f.of.counters()) {
        assert!(shown.insert(counter.to_owned()), "{counter} is in two metrics");
    }
    let counted: BTreeSet<String> =
        counted_by_the_core().union(&counted_by_the_transport()).cloned().collect();
    assert!(counted.len() > 100, "the search finds too few: {}", counted.len());
    let hidden: Vec<_> = counted.difference(&shown).collect();
    assert!(hidden.is_empty(), "counted, but in no metric: {hidden:?}");
    let made_up: Vec<_> = shown.difference(&counted).collect();
    assert!(made_up.is_empty(), "in a metric, but counted nowhere: {made_up:?}");
}

/// Names as Prometheus wants them: without the prefix, and what the encoder appends.
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
        let values: Vec<&str> = f.of.counters().filter_map(|(value, _)| value).collect();
        let label =
            f.of.label().map_or_else(String::new, |l| format!("{l}: {}", values.join(", ")));
        (format!("{}_total", f.name), "counter", label, f.help)
    }));
    all
}

#[test]
fn names_and_helps_are_as_prometheus_wants_them() {
    let mut seen = BTreeSet::new();
    for (name, _, _, help) in names() {
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        assert!(!help.ends_with('.') && !help.is_empty(), "{name}: {help}");
        assert!(seen.insert(name.clone()), "{name} twice");
    }
}

/// Run with RUMORMILL_WRITE=1 to write it.
#[test]
fn the_documented_table_is_what_is_served() {
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
    assert_eq!(fs::read_to_string(&path).unwrap(), wanted, "write it anew with RUMORMILL_WRITE=1");
}

/// Every metric that a dashboard or an alert asks for is one that there is.
#[test]
fn dashboard_and_alerts_ask_for_what_there_is() {
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
