//! Many hosts: each node in a network namespace of its own, joined by a bridge (F1), and the faults
//! that only a network has: a cut cable between two live peers, a host that loses its power, half
//! of the hosts cut off from the other half.
//!
//! The test needs root, `ip` and `nft`; without them it is skipped.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::hosts::Hosts;
use support::{Tool, has_tools};

const SEEDS: usize = 3;
const PEERS: usize = 6;
const CONFIG: &str = "config.txt";

/// Waits until a condition holds, or fails the test with its description.
fn wait(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < end, "not within {within:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// Hosts, each with a node.
struct Lab {
    hosts: Hosts,
    nodes: Vec<Option<Child>>,
}

impl Lab {
    fn new() -> Self {
        let hosts = Hosts::new("10.77.0", SEEDS + PEERS);
        let seeds: Vec<String> = (0..SEEDS).map(|s| format!("{}:7000", hosts.address(s))).collect();
        std::fs::write(hosts.path(CONFIG), seeds.join("\n")).unwrap();
        Lab { nodes: (0..hosts.len()).map(|_| None).collect(), hosts }
    }

    fn rumor(&self, host: usize, args: &[&str]) -> Command {
        self.hosts.rumor(host, &name(host), args)
    }

    fn start(&mut self, host: usize) {
        let (name, address) = (name(host), self.hosts.address(host));
        let args: Vec<&str> = if host < SEEDS {
            vec!["seed", "--config", CONFIG, "--host", &address, "--name", &name]
        } else {
            vec!["peer", "--config", CONFIG, "--name", &name]
        };
        let mut c = self.rumor(host, &args);
        c.stdout(self.hosts.log(&name)).stderr(self.hosts.log(&name));
        self.nodes[host] = Some(c.spawn().unwrap());
    }

    /// The answer of a node to a command.
    fn ask(&self, host: usize, args: &[&str]) -> Option<Value> {
        let out = self.rumor(host, args).output().unwrap();
        out.status.success().then(|| serde_json::from_slice(&out.stdout).unwrap())
    }

    fn peers(&self) -> std::ops::Range<usize> {
        SEEDS..self.hosts.len()
    }

    /// The neighbours of every peer, by name.
    fn overlay(&self) -> BTreeMap<String, BTreeSet<String>> {
        let names = |v: Value| {
            let list = v["neighbours"].as_array().or(v.as_array()).cloned().unwrap_or_default();
            list.iter().map(|n| n["name"].as_str().unwrap().to_owned()).collect()
        };
        self.peers()
            .filter_map(|p| {
                let of = self.ask(p, &["neighbours", "--json"])?;
                Some((name(p), names(of)))
            })
            .collect()
    }

    /// Members alive in a node's view, by name.
    fn alive(&self, host: usize) -> BTreeSet<String> {
        let Some(v) = self.ask(host, &["members", "--json"]) else { return BTreeSet::new() };
        let list = v["members"].as_array().or(v.as_array()).cloned().unwrap_or_default();
        let alive = list.iter().filter(|m| m["state"] == "alive");
        alive.map(|m| m["name"].as_str().unwrap().to_owned()).collect()
    }

    fn drop_between(&self, a: usize, b: usize) {
        let other = self.hosts.address(b);
        let nft = |words: &[&str]| self.hosts.tool(a, &[&["nft"][..], words].concat());
        nft(&["add", "table", "inet", "cut"]);
        for (chain, side) in [("input", "saddr"), ("output", "daddr")] {
            let hook = format!("{{ type filter hook {chain} priority 0 ; }}");
            nft(&["add", "chain", "inet", "cut", chain, &hook]);
            nft(&["add", "rule", "inet", "cut", chain, "ip", side, &other, "drop"]);
        }
    }

    fn mend(&self, host: usize) {
        self.hosts.tool(host, &["nft", "flush", "ruleset"]);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for node in self.nodes.iter_mut().flatten() {
            let _ = node.kill();
            let _ = node.wait();
        }
        if std::thread::panicking() {
            self.hosts.print_logs((0..self.hosts.len()).map(name));
        }
    }
}

fn name(host: usize) -> String {
    if host < SEEDS { format!("seed-{host}") } else { format!("host-{host}") }
}

/// Whether every peer can reach every other one over the given edges.
fn is_one_component(overlay: &BTreeMap<String, BTreeSet<String>>) -> bool {
    let Some(start) = overlay.keys().next() else { return false };
    let (mut seen, mut todo) = (BTreeSet::from([start]), vec![start]);
    while let Some(at) = todo.pop() {
        for next in overlay.get(at).into_iter().flatten() {
            if overlay.contains_key(next) && seen.insert(next) {
                todo.push(next);
            }
        }
    }
    seen.len() == overlay.len()
}

#[test]
fn network_of_many_hosts_survives_cut_cables_partition_and_power_loss() {
    if !has_tools(&[Tool::NetworkNamespaces, Tool::PacketFilter]) {
        return;
    }
    let mut lab = Lab::new();
    for host in 0..lab.hosts.len() {
        lab.start(host);
    }
    let s = Duration::from_secs;
    let names: BTreeSet<String> = lab.peers().map(name).collect();
    wait("every host sees every peer", s(60), || (0..SEEDS + PEERS).all(|h| lab.alive(h) == names));
    wait("the overlay is one component", s(30), || {
        let overlay = lab.overlay();
        overlay.len() == PEERS && is_one_component(&overlay)
    });

    // A message crosses all hosts.
    let sent = lab.ask(SEEDS, &["send", "--json", "hello from another host"]).unwrap();
    let id = sent["id"].as_str().unwrap().to_owned();
    wait("the message is on every host", s(20), || {
        lab.peers().all(|p| lab.ask(p, &["get", &id, "--json"]).is_some())
    });

    // The cable between two live neighbours is cut: both run on, and no peer is removed.
    let overlay = lab.overlay();
    let index = |of: &str| (0..lab.hosts.len()).find(|h| name(*h) == of).unwrap();
    let (a, b) = overlay
        .iter()
        .find_map(|(name, around)| Some((index(name), index(around.first()?))))
        .unwrap();
    lab.drop_between(a, b);
    wait("the two ends let go of each other", s(30), || {
        let now = lab.overlay();
        !now[&name(a)].contains(&name(b)) && !now[&name(b)].contains(&name(a))
    });
    // Longer than any report is kept: a peer that was declared dead for it would be removed by now.
    let calm = Instant::now();
    wait("20 s pass with all peers alive", s(20), || {
        for h in 0..SEEDS {
            assert_eq!(lab.alive(h), names, "a peer was removed because of a cut cable");
        }
        calm.elapsed() > s(6)
    });
    lab.mend(a);

    // Half of the peers cannot reach the others and the seeds for a while.
    let cut: Vec<usize> = (SEEDS + PEERS / 2..SEEDS + PEERS).collect();
    for host in &cut {
        lab.hosts.port(*host, &["nomaster"]);
    }
    let near: BTreeSet<String> =
        names.iter().filter(|n| !cut.contains(&index(n))).cloned().collect();
    wait("the seeds agree that the far half is gone", s(60), || {
        (0..SEEDS).all(|h| lab.alive(h) == near)
    });
    for host in &cut {
        lab.hosts.port(*host, &["master", "br0"]);
    }
    wait("all are back without a restart", s(90), || {
        (0..SEEDS + PEERS).all(|h| lab.alive(h) == names)
    });
    wait("the overlay is one component again", s(60), || {
        let overlay = lab.overlay();
        overlay.len() == PEERS && is_one_component(&overlay)
    });

    // A host loses its power: its links end without a reset or a Leave.
    let dark = SEEDS + PEERS - 1;
    lab.hosts.port(dark, &["down"]);
    let left: BTreeSet<String> = names.iter().filter(|n| **n != name(dark)).cloned().collect();
    wait("it is removed everywhere, and no other peer is", s(60), || {
        (0..SEEDS + PEERS - 1).all(|h| lab.alive(h) == left)
    });
}
