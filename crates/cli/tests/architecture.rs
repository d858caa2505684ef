//! The arrows between the crates, as ARCHITECTURE.md draws them, read from `cargo metadata`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Normal dependencies (not dev or build) of every crate of the workspace.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let metadata: Value = serde_json::from_slice(&out.stdout).unwrap();
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|p| {
            let normal = p["dependencies"].as_array().unwrap().iter();
            let normal = normal.filter(|d| d["kind"].is_null()).map(|d| text(&d["name"]));
            (text(&p["name"]), normal.collect())
        })
        .collect()
}

#[test]
fn dependencies_point_towards_the_core() {
    let deps = dependencies();
    let ours = |of: &str| -> BTreeSet<&str> {
        let all = deps[of].iter().map(String::as_str);
        all.filter(|d| d.starts_with("rumormill")).collect()
    };
    assert_eq!(ours("rumormill-proto"), BTreeSet::new());
    for leaf in ["rumormill-analysis", "rumormill-units"] {
        assert_eq!(ours(leaf), BTreeSet::new());
    }
    let below = BTreeSet::from(["rumormill-analysis", "rumormill-proto", "rumormill-units"]);
    assert_eq!(ours("rumormill-sim"), below);
    assert_eq!(ours("rumormill"), BTreeSet::from(["rumormill-proto", "rumormill-units"]));
    let plot = BTreeSet::from(["rumormill-analysis", "rumormill-units"]);
    assert!(ours("rumormill-plot").is_subset(&plot));
    let http = BTreeSet::from(["rumormill", "rumormill-analysis", "rumormill-proto"]);
    assert!(ours("rumormill-http").is_subset(&http));
    let terminal = BTreeSet::from(["rumormill", "rumormill-http"]);
    assert!(ours("rumormill-terminal").is_subset(&terminal));
    let launch =
        BTreeSet::from(["rumormill", "rumormill-http", "rumormill-terminal", "rumormill-units"]);
    assert!(ours("rumormill-launch").is_subset(&launch));
    assert!(!ours("rumormill-lab").contains("rumormill-cli"));
}

/// Every crate of the workspace that a crate contains, directly or through another one.
fn contained(of: &str, dependencies: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![of.to_owned()];
    while let Some(name) = open.pop() {
        let direct = dependencies.get(&name).into_iter().flatten();
        open.extend(direct.filter(|d| found.insert((*d).clone())).cloned());
    }
    found
}

#[test]
fn node_program_contains_no_simulator_and_no_plotting_library() {
    let dependencies = dependencies();
    let contained = contained("rumormill-cli", &dependencies);
    for absent in ["rumormill-sim", "rumormill-plot", "plotters", "resvg", "dejavu"] {
        assert!(!contained.contains(absent), "rumor contains {absent}; it belongs into rumor-lab");
    }
    assert!(contained.contains("rumormill-proto"), "{contained:?}");
}

/// A library that opens sockets, spawns threads or reads clocks has no business in the core.
#[test]
fn core_depends_on_no_crate_that_opens_sockets_or_reads_clocks() {
    let allowed = BTreeSet::from([
        "blake3",
        "bytes",
        "curve25519-dalek",
        "data-encoding",
        "ed25519-dalek",
        "minicbor",
        "rand",
        "rand_chacha",
        "serde",
        "sha2",
        "thiserror",
    ]);
    for dependency in &dependencies()["rumormill-proto"] {
        assert!(
            allowed.contains(dependency.as_str()),
            "rumormill-proto depends on {dependency}: is it pure? Then add it here and give the \
             reason in ARCHITECTURE.md"
        );
    }
}

/// Every dependency of the workspace has its reason in ARCHITECTURE.md.
#[test]
fn every_dependency_has_a_reason_in_the_architecture_page() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let page = std::fs::read_to_string(format!("{root}/ARCHITECTURE.md")).unwrap();
    for (name, dependencies) in dependencies() {
        for d in dependencies.iter().filter(|d| !d.starts_with("rumormill")) {
            assert!(page.contains(&format!("`{d}`")), "{name} uses {d}, without a reason given");
        }
    }
}
