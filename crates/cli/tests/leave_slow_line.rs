//! A peer on a throttled line publishes a large message and gets SIGTERM: the message reaches the others. Each
//! node runs in a network namespace of its own.
//!
//! It needs root, `ip` and `tc`; where one is missing it says so and does nothing.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The seed is host 0.
const PEERS: std::ops::RangeInclusive<usize> = 1..=4;
const LARGE: usize = 900_000;

fn quiet(program: &str, args: &[&str]) -> bool {
    let mut c = Command::new(program);
    c.args(args).stdout(Stdio::null()).stderr(Stdio::null());
    c.status().is_ok_and(|s| s.success())
}

fn ip(args: &[&str]) {
    let out = Command::new("ip").args(args).output().unwrap();
    assert!(out.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(t) = look() {
            return t;
        }
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// Hosts on one switch, each with a node.
struct Lab {
    dir: TempDir,
    tag: String,
    nodes: Vec<Option<Child>>,
}

impl Lab {
    fn new() -> Self {
        let tag = format!("al{}", std::process::id() % 100_000);
        let mut lab = Lab { dir: tempfile::tempdir().unwrap(), tag, nodes: Vec::new() };
        let switch = lab.namespace("s");
        ip(&["netns", "add", &switch]);
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &switch, "link", "set", "br0", "up"]);
        std::fs::write(lab.dir.path().join("config.txt"), "10.78.0.1:7000").unwrap();
        for n in 0..=*PEERS.end() {
            let (host, port) = (lab.namespace(n), format!("p{n}"));
            lab.nodes.push(None);
            ip(&["netns", "add", &host]);
            let pair = ["type", "veth", "peer", "name", &port, "netns", &switch];
            ip(&[&["-n", &host, "link", "add", "eth0"][..], &pair].concat());
            ip(&["-n", &switch, "link", "set", &port, "master", "br0", "up"]);
            let address = format!("10.78.0.{}/24", n + 1);
            ip(&["-n", &host, "addr", "add", &address, "dev", "eth0"]);
            ip(&["-n", &host, "link", "set", "eth0", "up"]);
            ip(&["-n", &host, "link", "set", "lo", "up"]);
            lab.start(n);
        }
        lab
    }

    fn namespace(&self, host: impl std::fmt::Display) -> String {
        format!("{}{host}", self.tag)
    }

    fn rumor(&self, host: usize, args: &[&str]) -> Command {
        let mut c = Command::new("ip");
        c.args(["netns", "exec", &self.namespace(host), env!("CARGO_BIN_EXE_rumor")]).args(args);
        c.current_dir(self.dir.path()).stdin(Stdio::null());
        c.env("RUMOR_RUN_DIR", self.dir.path().join(format!("run-{host}")));
        c
    }

    fn start(&mut self, host: usize) {
        let name = format!("node-{host}");
        let mut args = vec!["--config", "config.txt", "--name", &name];
        if host == 0 {
            args.extend(["--host", "10.78.0.1"]);
            args.insert(0, "seed");
        } else {
            args.insert(0, "peer");
        }
        let mut c = self.rumor(host, &args);
        let log = std::fs::File::create(self.dir.path().join(format!("{name}.out"))).unwrap();
        c.stdout(log.try_clone().unwrap()).stderr(log);
        self.nodes[host] = Some(c.spawn().unwrap());
    }

    fn throttle(&self, host: usize, rate: &str) {
        let tbf = ["tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", rate];
        let namespace = self.namespace(host);
        let args = [&["netns", "exec", &namespace][..], &tbf].concat();
        ip(&[&args[..], &["burst", "32k", "latency", "200ms"]].concat());
    }

    fn output(&self, host: usize, args: &[&str]) -> Option<Output> {
        Some(self.rumor(host, args).output().unwrap()).filter(|o| o.status.success())
    }

    fn neighbours(&self, host: usize) -> usize {
        let Some(out) = self.output(host, &["neighbours", "--json"]) else { return 0 };
        let v: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        v["neighbours"].as_array().or(v.as_array()).map_or(0, Vec::len)
    }

    /// Publishes a message at a peer; says its id.
    fn publish(&self, host: usize, size: usize) -> String {
        let mut c = self.rumor(host, &["send", "-"]);
        let mut sender = c.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        sender.stdin.take().unwrap().write_all(&vec![b'x'; size]).unwrap();
        let out = sender.wait_with_output().unwrap();
        assert!(out.status.success());
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    /// Sends SIGTERM; says the exit code.
    fn terminate(&mut self, host: usize) -> Option<i32> {
        let mut node = self.nodes[host].take().unwrap();
        // `ip netns exec` becomes the program, so this is its process.
        kill_process(Pid::from_child(&node), Signal::TERM).unwrap();
        node.wait().unwrap().code()
    }

    fn holds(&self, host: usize, id: &str) -> bool {
        // From memory or from a neighbour: the publisher is gone, so another node holds it.
        self.output(host, &["get", id]).is_some()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for node in self.nodes.iter_mut().flatten() {
            let _ = node.kill();
            let _ = node.wait();
        }
        for n in 0..=*PEERS.end() {
            quiet("ip", &["netns", "del", &self.namespace(n)]);
        }
        quiet("ip", &["netns", "del", &self.namespace("s")]);
    }
}

#[test]
fn large_message_before_sigterm_on_a_slow_line_reaches_the_others() {
    let able = rustix::process::geteuid().is_root() && quiet("tc", &["-V"]);
    let probe = format!("al{}t", std::process::id() % 100_000);
    if !able || !quiet("ip", &["netns", "add", &probe]) {
        eprintln!("skipped: it needs root, `ip netns` and `tc`");
        return;
    }
    quiet("ip", &["netns", "del", &probe]);
    for rate in ["20mbit", "100mbit"] {
        let mut lab = Lab::new();
        wait("every peer has neighbours", || {
            PEERS.into_iter().all(|p| lab.neighbours(p) >= 2).then_some(())
        });
        for peer in PEERS {
            lab.throttle(peer, rate);
        }
        let id = lab.publish(1, LARGE);
        assert_eq!(lab.terminate(1), Some(0), "{rate}: it has handed over what it published");
        for peer in 2..=*PEERS.end() {
            wait("the message has come", || lab.holds(peer, &id).then_some(()));
        }
    }
}
