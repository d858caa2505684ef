//! Addresses and identities on many hosts: names with dead addresses, names that lead to the
//! loopback interface, addresses that change, data directories that were copied.
//!
//! Each host is a network namespace with its own `/etc/hosts`. The tests need root and `ip`;
//! without them they are skipped.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::hosts::{Hosts, ip};
use support::{Tool, has_tools};

const NETWORK: &str = "10.78.0";

/// Waits until a condition holds, or fails the test with its description.
fn wait<T>(what: &str, within: u64, mut holds: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(within);
    loop {
        if let Some(found) = holds() {
            return found;
        }
        assert!(Instant::now() < end, "not within {within} s: {what}");
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

/// Hosts, and the nodes that run on them.
struct Lab {
    hosts: Hosts,
    nodes: Vec<(String, Child)>,
}

impl Lab {
    /// `None` if the test is skipped, because this machine cannot make hosts.
    fn new(hosts: usize) -> Option<Self> {
        if !has_tools(&[Tool::NetworkNamespaces]) {
            return None;
        }
        let lab = Lab { hosts: Hosts::new(NETWORK, hosts), nodes: Vec::new() };
        for host in 0..hosts {
            std::fs::create_dir_all(lab.files(host)).unwrap();
            lab.names(host, &[]);
        }
        Some(lab)
    }

    /// Files that take the place of those in `/etc` for programs on a host.
    fn files(&self, host: usize) -> PathBuf {
        PathBuf::from("/etc/netns").join(self.hosts.namespace(host))
    }

    /// Writes a host's `/etc/hosts`, in place, so that processes that run there see it.
    fn names(&self, host: usize, lines: &[&str]) {
        let text = [&["127.0.0.1 localhost"], lines].concat().join("\n") + "\n";
        std::fs::write(self.files(host).join("hosts"), text).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.hosts.path(name).to_str().unwrap().to_owned()
    }

    fn config(&self, seeds: &[&str]) -> String {
        let path = self.path("config.txt");
        std::fs::write(&path, seeds.join("\n")).unwrap();
        path
    }

    fn rumor(&self, host: usize, args: &[&str]) -> Command {
        self.hosts.rumor(host, &host.to_string(), args)
    }

    /// Starts a node, which ends with the lab.
    fn start(&mut self, host: usize, name: &str, args: &[&str]) {
        let logs = self.path(&format!("logs-{name}"));
        let args = [args, &["--name", name, "--log-dir", &logs]].concat();
        let mut c = self.rumor(host, &args);
        c.stdout(self.hosts.log(name)).stderr(self.hosts.log(name));
        self.nodes.push((name.to_owned(), c.spawn().unwrap()));
    }

    fn seed(&mut self, host: usize, name: &str, args: &[&str]) {
        let config = self.path("config.txt");
        self.start(host, name, &[&["seed", "--config", &config], args].concat());
    }

    fn peer(&mut self, host: usize, name: &str, args: &[&str]) {
        let config = self.path("config.txt");
        self.start(host, name, &[&["peer", "--config", &config], args].concat());
    }

    fn node(&mut self, name: &str) -> &mut Child {
        let node = self.nodes.iter_mut().find(|(n, _)| n == name);
        &mut node.unwrap().1
    }

    /// The end of a node, if it has ended.
    fn ended(&mut self, name: &str) -> Option<ExitStatus> {
        self.node(name).try_wait().unwrap()
    }

    /// Ends a node by a signal, in an orderly way.
    fn stop(&mut self, name: &str) {
        let id = rustix::process::Pid::from_child(self.node(name));
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        self.node(name).wait().unwrap();
        self.nodes.retain(|(n, _)| n != name);
    }

    fn output(&self, name: &str) -> String {
        self.hosts.logged(name)
    }

    /// The answer of the node `name` on a host to a command.
    fn ask(&self, host: usize, name: &str, args: &[&str]) -> Option<Value> {
        let out = self.rumor(host, &[args, &["--node", name, "--json"]].concat()).output().unwrap();
        serde_json::from_slice(&out.stdout).ok()
    }

    fn status(&self, host: usize, name: &str) -> Option<Value> {
        let all = self.ask(host, name, &["status"])?;
        Some(all.get(0).cloned().unwrap_or(all))
    }

    fn has_joined(&self, host: usize, name: &str) -> Option<Value> {
        self.status(host, name).filter(|s| s["state"] == "joined")
    }

    /// The addresses of the members alive in a node's view, by name.
    fn addresses(&self, host: usize, node: &str) -> Vec<(String, Vec<String>)> {
        let Some(v) = self.ask(host, node, &["members"]) else { return Vec::new() };
        let list = v["members"].as_array().or(v.as_array()).cloned().unwrap_or_default();
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let addresses = |m: &Value| {
            let all = m["addresses"].as_array().cloned().unwrap_or_default();
            all.iter().map(text).collect::<Vec<_>>()
        };
        let alive = list.iter().filter(|m| m["state"] == "alive");
        alive.map(|m| (text(&m["name"]), addresses(m))).collect()
    }
}

fn address(host: usize) -> String {
    format!("{NETWORK}.{}", host + 1)
}

fn copy(from: &str, to: &str) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), PathBuf::from(to).join(entry.file_name())).unwrap();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for (_, node) in &mut self.nodes {
            let _ = node.kill();
            let _ = node.wait();
        }
        for host in 0..self.hosts.len() {
            let _ = std::fs::remove_dir_all(self.files(host));
        }
        if std::thread::panicking() {
            self.hosts.print_logs(self.nodes.iter().map(|(name, _)| name));
        }
    }
}

#[test]
fn seed_whose_name_leads_to_two_dead_addresses_first_is_joined() {
    let Some(mut lab) = Lab::new(5) else { return };
    lab.config(&["seed.test:7000"]);
    let name = |host: usize| format!("{} seed.test", address(host));
    // The resolver puts those first that share most bits with this host's address; no process
    // answers there.
    for host in [1, 2] {
        lab.hosts.port(host, &["down"]);
    }
    lab.names(0, &[&name(1), &name(2), &name(4)]);
    lab.names(4, &[&name(4)]);
    lab.seed(4, "seed", &["--host", "seed.test"]);
    lab.peer(0, "peer", &[]);
    wait("the peer joins", 20, || lab.has_joined(0, "peer"));
}

#[test]
fn hosts_that_map_their_names_to_loopback_make_one_network() {
    let Some(mut lab) = Lab::new(3) else { return };
    lab.config(&["seed.test:7000"]);
    // As Debian does on the host itself; the others resolve the name with the name server.
    lab.names(0, &["127.0.1.1 seed.test"]);
    for host in 1..3 {
        lab.names(host, &[&format!("{} seed.test", address(0))]);
    }
    lab.seed(0, "seed", &["--host", "seed.test"]);
    lab.peer(0, "beside", &[]);
    wait("the peer beside the seed joins", 20, || lab.has_joined(0, "beside"));
    lab.peer(1, "one", &[]);
    lab.peer(2, "two", &[]);
    for (host, name) in [(1, "one"), (2, "two")] {
        wait("the peers on other hosts join", 20, || lab.has_joined(host, name));
    }
    wait("every peer is known by an address that others can reach", 60, || {
        let seen = [(0, "seed"), (0, "beside"), (1, "one"), (2, "two")].map(|(host, node)| {
            let mut all = lab.addresses(host, node);
            all.sort();
            let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
            let on_the_network = |(_, a): &(String, Vec<String>)| {
                !a.is_empty() && a.iter().all(|a| a.starts_with("10.78.0."))
            };
            names == ["beside", "one", "two"] && all.iter().all(on_the_network)
        });
        seen.iter().all(|ok| *ok).then_some(())
    });
    wait("all three are linked with each other", 30, || {
        let degrees = [(0, "beside"), (1, "one"), (2, "two")].map(|(host, name)| {
            lab.status(host, name).map(|s| s["degree"].as_u64().unwrap_or_default())
        });
        degrees.iter().all(|d| *d == Some(2)).then_some(())
    });
}

#[test]
fn peer_that_advertises_loopback_only_is_refused_by_a_seed_on_another_host() {
    let Some(mut lab) = Lab::new(2) else { return };
    lab.config(&[&format!("{}:7000", address(0))]);
    lab.seed(0, "seed", &["--host", &address(0)]);
    lab.peer(1, "peer", &["--listen", "127.0.0.1:7400", "--join-within", "8s"]);
    let status = wait("it gives up", 30, || lab.ended("peer"));
    assert_eq!(status.code(), Some(7));
    let text = lab.output("peer");
    assert!(text.contains("warning: it listens at 127.0.0.1:7400"), "{text}");
    assert!(text.contains("refuses the registration"), "{text}");
}

#[test]
fn peer_whose_host_gets_another_address_is_known_by_it_within_a_minute() {
    let Some(mut lab) = Lab::new(4) else { return };
    lab.config(&[&format!("{}:7000", address(0))]);
    lab.seed(0, "seed", &["--host", &address(0)]);
    for (host, name) in [(1, "moves"), (2, "two"), (3, "three")] {
        lab.peer(host, name, &[]);
    }
    for (host, name) in [(1, "moves"), (2, "two"), (3, "three")] {
        wait("all join", 30, || lab.has_joined(host, name));
    }
    let known_at = |lab: &Lab, host, node: &str, prefix: &str| {
        let all = lab.addresses(host, node);
        let entry = all.iter().find(|(name, _)| name == "moves");
        entry.is_some_and(|(_, a)| !a.is_empty() && a.iter().all(|a| a.starts_with(prefix)))
    };
    wait("it is known by its address", 20, || {
        (known_at(&lab, 0, "seed", "10.78.0.2:") && known_at(&lab, 2, "two", "10.78.0.2:"))
            .then_some(())
    });
    let namespace = lab.hosts.namespace(1);
    ip(&["-n", &namespace, "addr", "add", "10.78.0.99/24", "dev", "eth0"]);
    ip(&["-n", &namespace, "addr", "del", "10.78.0.2/24", "dev", "eth0"]);
    ip(&["-n", &namespace, "addr", "replace", "10.78.0.99/24", "dev", "eth0"]);
    wait("it is known by the new address", 60, || {
        let views = [(0, "seed"), (2, "two"), (3, "three")];
        views.iter().all(|(h, n)| known_at(&lab, *h, n, "10.78.0.99:")).then_some(())
    });
}

/// The seed keeps running, because it listens on all interfaces.
#[test]
fn seed_whose_host_gets_another_address_is_followed_when_its_name_does() {
    let Some(mut lab) = Lab::new(2) else { return };
    lab.config(&["seed.test:7000"]);
    for host in 0..2 {
        lab.names(host, &[&format!("{} seed.test", address(0))]);
    }
    lab.seed(0, "seed", &["--host", "seed.test"]);
    lab.peer(1, "peer", &[]);
    wait("it joins", 20, || lab.has_joined(1, "peer"));
    let restored =
        |lab: &Lab| lab.output("peer").matches("restored: registered at 1 seed again").count();
    let before = restored(&lab);
    let moved = "10.78.0.77";
    let namespace = lab.hosts.namespace(0);
    for (what, at) in [("add", moved), ("del", &address(0)), ("replace", moved)] {
        ip(&["-n", &namespace, "addr", what, &format!("{at}/24"), "dev", "eth0"]);
    }
    lab.names(1, &[&format!("{moved} seed.test")]);
    // From the log: the new link may be there a moment after the end of the old one.
    wait("the link of before ends and it registers again", 75, || {
        (restored(&lab) > before).then_some(())
    });
    let status = wait("it is joined", 20, || lab.has_joined(1, "peer"));
    assert_eq!(status["seeds"][0]["connected"], true, "{status}");
}

#[test]
fn seed_whose_name_moves_to_another_host_is_followed_within_a_minute() {
    let Some(mut lab) = Lab::new(3) else { return };
    lab.config(&["seed.test:7000"]);
    for host in 0..3 {
        lab.names(host, &[&format!("{} seed.test", address(0))]);
    }
    lab.seed(0, "old", &["--host", "seed.test"]);
    lab.peer(2, "peer", &[]);
    let seed_of = |s: &Value| s["seeds"][0]["id"].as_str().unwrap_or_default().to_owned();
    let old = seed_of(&wait("it joins", 20, || lab.has_joined(2, "peer")));
    lab.names(1, &[&format!("{} seed.test", address(1))]);
    lab.seed(1, "new", &["--host", "seed.test"]);
    lab.names(2, &[&format!("{} seed.test", address(1))]);
    wait("it is registered at the new seed", 75, || {
        lab.has_joined(2, "peer").filter(|s| !seed_of(s).is_empty() && seed_of(s) != old)
    });
}

#[test]
fn copy_of_a_data_directory_ends_with_its_exit_code_and_the_original_goes_on() {
    let Some(mut lab) = Lab::new(3) else { return };
    lab.config(&[&format!("{}:7000", address(0))]);
    lab.seed(0, "seed", &["--host", &address(0)]);
    let (original, clone) = (lab.path("data"), lab.path("copy"));
    lab.peer(1, "web", &["--data-dir", &original]);
    wait("it joins", 20, || lab.has_joined(1, "web"));
    lab.stop("web");
    copy(&original, &clone);
    lab.peer(1, "web", &["--data-dir", &original]);
    let before = wait("it joins again", 20, || lab.has_joined(1, "web"));
    lab.peer(2, "web-copy", &["--data-dir", &clone]);
    let status = wait("the copy ends", 20, || lab.ended("web-copy"));
    assert_eq!(status.code(), Some(9));
    let text = lab.output("web-copy");
    assert!(text.contains("started earlier") && text.contains("10.78.0.2:"), "{text}");
    // Longer than several rounds of reconnecting, if both processes ran on.
    let calm = Instant::now();
    wait("a while passes", 10, || (calm.elapsed() > Duration::from_secs(3)).then_some(()));
    let after = wait("the original is joined", 20, || lab.has_joined(1, "web"));
    let number = |s: &Value| s["incarnation"].as_u64().unwrap();
    let log = lab.output("web");
    let lines = log.lines().filter(|l| l.contains("duplicate identity")).count();
    assert_eq!(lines, 1, "{log}");
    assert!(log.lines().count() < 60, "{log}");
    assert_eq!(after["counters"]["identity_claims"].as_u64(), Some(1), "{after}");
    assert!(number(&after) > number(&before));
    let doctor = lab.rumor(1, &["doctor"]).output().unwrap();
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.contains("1 other process with this identity started later"), "{doctor}");
}

#[test]
fn seeds_with_one_identity_are_no_majority_and_all_say_so() {
    let Some(mut lab) = Lab::new(3) else { return };
    let seeds: Vec<String> = (0..3).map(|host| format!("{}:7000", address(host))).collect();
    lab.config(&seeds.iter().map(String::as_str).collect::<Vec<_>>());
    let (original, clone) = (lab.path("data"), lab.path("copy"));
    lab.seed(0, "seed-a", &["--host", &address(0), "--data-dir", &original]);
    wait("it runs", 20, || lab.status(0, "seed-a"));
    lab.stop("seed-a");
    copy(&original, &clone);
    lab.seed(0, "seed-a", &["--host", &address(0), "--data-dir", &original]);
    lab.seed(1, "seed-b", &["--host", &address(1), "--data-dir", &clone]);
    lab.peer(2, "peer", &["--join-within", "10s"]);
    let status = wait("it gives up", 30, || lab.ended("peer"));
    assert_eq!(status.code(), Some(7), "two registrations at one process are no majority of three");
    let text = lab.output("peer");
    assert!(text.contains("have the same identity"), "{text}");
    for seed in ["seed-a", "seed-b"] {
        let text = lab.output(seed);
        assert!(text.contains("have the same identity"), "{text}");
    }
}
