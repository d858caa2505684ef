//! Many hosts: each node in a network namespace of its own, joined by a bridge (F1), and the faults
//! that only a network has: a cut cable between two live peers, a host that loses its power, half of
//! the hosts cut off from the other half.
//!
//! It needs root, `ip` and `nft`; where one is missing it says so and does nothing.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const SEEDS: usize = 3;
const PEERS: usize = 6;

fn quiet(program: &str, args: &[&str]) -> bool {
    let mut c = Command::new(program);
    c.args(args).stdout(Stdio::null()).stderr(Stdio::null());
    c.status().is_ok_and(|s| s.success())
}

fn ip(args: &[&str]) {
    let out = Command::new("ip").args(args).output().unwrap();
    assert!(out.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// Waits until something holds; says what did not if it never does.
fn wait(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < end, "not within {within:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// A host: a namespace with one network card, and the node that runs on it.
struct Host {
    namespace: String,
    address: String,
    name: String,
    node: Option<Child>,
}

/// Hosts on one switch.
struct Lab {
    dir: TempDir,
    switch: String,
    hosts: Vec<Host>,
}

impl Lab {
    fn new() -> Self {
        let tag = std::process::id() % 100_000;
        let switch = format!("rm{tag}s");
        ip(&["netns", "add", &switch]);
        let mut lab = Lab { dir: tempfile::tempdir().unwrap(), switch, hosts: Vec::new() };
        let switch = lab.switch.clone();
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &switch, "link", "set", "br0", "up"]);
        for n in 0..SEEDS + PEERS {
            let namespace = format!("rm{tag}h{n}");
            let (card, port) = ("eth0", format!("p{n}"));
            ip(&["netns", "add", &namespace]);
            let address = format!("10.77.0.{}", n + 1);
            let name = if n < SEEDS { format!("seed-{n}") } else { format!("host-{n}") };
            lab.hosts.push(Host { namespace: namespace.clone(), address, name, node: None });
            let host = &lab.hosts[n];
            ip(&[
                "-n", &namespace, "link", "add", card, "type", "veth", "peer", "name", &port,
                "netns", &switch,
            ]);
            ip(&["-n", &switch, "link", "set", &port, "master", "br0", "up"]);
            ip(&["-n", &namespace, "addr", "add", &format!("{}/24", host.address), "dev", card]);
            ip(&["-n", &namespace, "link", "set", card, "up"]);
            ip(&["-n", &namespace, "link", "set", "lo", "up"]);
        }
        let seeds: Vec<String> =
            lab.hosts.iter().take(SEEDS).map(|h| format!("{}:7000", h.address)).collect();
        std::fs::write(lab.config(), seeds.join("\n")).unwrap();
        lab
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("config.txt")
    }

    fn rumor(&self, host: usize, args: &[&str]) -> Command {
        let h = &self.hosts[host];
        let mut c = Command::new("ip");
        c.args(["netns", "exec", &h.namespace, env!("CARGO_BIN_EXE_rumor")]).args(args);
        c.current_dir(self.dir.path()).stdin(Stdio::null());
        c.env("RUMOR_RUN_DIR", self.dir.path().join(format!("run-{}", h.name)));
        c
    }

    fn start(&mut self, host: usize) {
        let config = self.config();
        let config = config.to_str().unwrap();
        let (name, address) = (self.hosts[host].name.clone(), self.hosts[host].address.clone());
        let args: Vec<&str> = if host < SEEDS {
            vec!["seed", "--config", config, "--host", &address, "--name", &name]
        } else {
            vec!["peer", "--config", config, "--name", &name]
        };
        let mut c = self.rumor(host, &args);
        let log = std::fs::File::create(self.dir.path().join(format!("{name}.out"))).unwrap();
        c.stdout(log.try_clone().unwrap()).stderr(log);
        self.hosts[host].node = Some(c.spawn().unwrap());
    }

    /// What a node says of itself.
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
                Some((self.hosts[p].name.clone(), names(of)))
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
        let (a, b) = (&self.hosts[a], &self.hosts[b]);
        let ns = ["netns", "exec", &a.namespace, "nft"];
        let nft = |words: &[&str]| ip(&[&ns[..], words].concat());
        nft(&["add", "table", "inet", "cut"]);
        for (chain, side) in [("input", "saddr"), ("output", "daddr")] {
            let hook = format!("{{ type filter hook {chain} priority 0 ; }}");
            nft(&["add", "chain", "inet", "cut", chain, &hook]);
            nft(&["add", "rule", "inet", "cut", chain, "ip", side, &b.address, "drop"]);
        }
    }

    fn mend(&self, host: usize) {
        ip(&["netns", "exec", &self.hosts[host].namespace, "nft", "flush", "ruleset"]);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            if let Some(mut node) = host.node.take() {
                let _ = node.kill();
                let _ = node.wait();
            }
        }
        for host in &self.hosts {
            quiet("ip", &["netns", "del", &host.namespace]);
        }
        quiet("ip", &["netns", "del", &self.switch]);
        if std::thread::panicking() {
            for host in &self.hosts {
                let out = self.dir.path().join(format!("{}.out", host.name));
                let text = std::fs::read_to_string(out).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let tail = &lines[lines.len().saturating_sub(25)..];
                eprintln!("---- {}\n{}", host.name, tail.join("\n"));
            }
        }
    }
}

/// Whether everybody can reach everybody over the given edges.
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
fn a_network_of_many_hosts_survives_what_networks_do() {
    // Asking `nft` for its tables shows that the tool, the kernel and the rights are there.
    let able = quiet("ip", &["netns", "add", "rmprobe"]) && {
        let nft = quiet("ip", &["netns", "exec", "rmprobe", "nft", "list", "tables"]);
        quiet("ip", &["netns", "del", "rmprobe"]);
        nft
    };
    if !able {
        let needed = "it needs root, ip (iproute2) and nft (nftables)";
        assert!(std::env::var_os("RUMOR_REQUIRE_NETNS").is_none(), "{needed}");
        eprintln!("skipped: {needed}");
        return;
    }
    let mut lab = Lab::new();
    for host in 0..lab.hosts.len() {
        lab.start(host);
    }
    let s = Duration::from_secs;
    let names: BTreeSet<String> = lab.peers().map(|p| lab.hosts[p].name.clone()).collect();
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

    // The cable between two live neighbours is cut: both go on, and nobody is removed.
    let overlay = lab.overlay();
    let index = |name: &str| lab.hosts.iter().position(|h| h.name == name).unwrap();
    let (a, b) = overlay
        .iter()
        .find_map(|(name, around)| Some((index(name), index(around.first()?))))
        .unwrap();
    lab.drop_between(a, b);
    wait("the two ends let go of each other", s(30), || {
        let now = lab.overlay();
        !now[&lab.hosts[a].name].contains(&lab.hosts[b].name)
            && !now[&lab.hosts[b].name].contains(&lab.hosts[a].name)
    });
    // Longer than any report is kept: if somebody were to die of it, it would be by now.
    let calm = Instant::now();
    wait("a while passes with everybody alive", s(20), || {
        for h in 0..SEEDS {
            assert_eq!(lab.alive(h), names, "somebody died of a cut cable");
        }
        calm.elapsed() > s(6)
    });
    lab.mend(a);

    // Half of the peers lose sight of the others and of the seeds for a while.
    let cut: Vec<usize> = (SEEDS + PEERS / 2..SEEDS + PEERS).collect();
    for host in &cut {
        ip(&["-n", &lab.switch, "link", "set", &format!("p{host}"), "nomaster"]);
    }
    let near: BTreeSet<String> =
        names.iter().filter(|n| !cut.contains(&index(n))).cloned().collect();
    wait("the seeds agree that the far half is gone", s(60), || {
        (0..SEEDS).all(|h| lab.alive(h) == near)
    });
    for host in &cut {
        ip(&["-n", &lab.switch, "link", "set", &format!("p{host}"), "master", "br0"]);
    }
    wait("all are back without a restart", s(90), || {
        (0..SEEDS + PEERS).all(|h| lab.alive(h) == names)
    });
    wait("the overlay is one component again", s(60), || {
        let overlay = lab.overlay();
        overlay.len() == PEERS && is_one_component(&overlay)
    });

    // A host loses its power: no reset, no goodbye.
    let dark = SEEDS + PEERS - 1;
    ip(&["-n", &lab.switch, "link", "set", &format!("p{dark}"), "down"]);
    let left: BTreeSet<String> =
        names.iter().filter(|n| **n != lab.hosts[dark].name).cloned().collect();
    wait("it is removed everywhere, and nobody else", s(60), || {
        (0..SEEDS + PEERS - 1).all(|h| lab.alive(h) == left)
    });
}
