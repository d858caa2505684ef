//! A peer on a throttled line publishes a large message and gets SIGTERM: the message reaches the
//! others. Each node runs in a network namespace of its own.
//!
//! The test needs root, `ip` and `tc`; without them it is skipped.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::hosts::Hosts;
use support::{Tool, has_tools};

/// The seed is host 0.
const PEERS: std::ops::RangeInclusive<usize> = 1..=4;
const LARGE: usize = 900_000;

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

/// Hosts, each with a node.
struct Lab {
    hosts: Hosts,
    nodes: Vec<Option<Child>>,
}

impl Lab {
    fn new() -> Self {
        let hosts = Hosts::new("10.78.0", *PEERS.end() + 1);
        std::fs::write(hosts.path("config.txt"), format!("{}:7000", hosts.address(0))).unwrap();
        let mut lab = Lab { nodes: (0..hosts.len()).map(|_| None).collect(), hosts };
        for host in 0..lab.hosts.len() {
            lab.start(host);
        }
        lab
    }

    fn rumor(&self, host: usize, args: &[&str]) -> Command {
        self.hosts.rumor(host, &host.to_string(), args)
    }

    fn start(&mut self, host: usize) {
        let (name, address) = (format!("node-{host}"), self.hosts.address(host));
        let mut args = vec!["--config", "config.txt", "--name", &name];
        if host == 0 {
            args.extend(["--host", &address]);
            args.insert(0, "seed");
        } else {
            args.insert(0, "peer");
        }
        let mut c = self.rumor(host, &args);
        c.stdout(self.hosts.log(&name)).stderr(self.hosts.log(&name));
        self.nodes[host] = Some(c.spawn().unwrap());
    }

    fn throttle(&self, host: usize, rate: &str) {
        let tbf = ["tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", rate];
        self.hosts.tool(host, &[&tbf[..], &["burst", "32k", "latency", "200ms"]].concat());
    }

    fn output(&self, host: usize, args: &[&str]) -> Option<Output> {
        Some(self.rumor(host, args).output().unwrap()).filter(|o| o.status.success())
    }

    fn neighbours(&self, host: usize) -> usize {
        let Some(out) = self.output(host, &["neighbours", "--json"]) else { return 0 };
        let v: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        v["neighbours"].as_array().or(v.as_array()).map_or(0, Vec::len)
    }

    /// Publishes a message at a peer, and gives its id.
    fn publish(&self, host: usize, size: usize) -> String {
        let mut c = self.rumor(host, &["send", "-"]);
        let mut sender = c.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        sender.stdin.take().unwrap().write_all(&vec![b'x'; size]).unwrap();
        let out = sender.wait_with_output().unwrap();
        assert!(out.status.success());
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    /// Sends SIGTERM, and gives the exit code.
    fn terminate(&mut self, host: usize) -> Option<i32> {
        let mut node = self.nodes[host].take().unwrap();
        // `ip netns exec` becomes the program, so this is its process.
        kill_process(Pid::from_child(&node), Signal::TERM).unwrap();
        node.wait().unwrap().code()
    }

    fn holds(&self, host: usize, id: &str) -> bool {
        // The publisher is gone, so another node holds the message if the peer can get it.
        self.output(host, &["get", id]).is_some()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for node in self.nodes.iter_mut().flatten() {
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

#[test]
fn large_message_before_sigterm_on_a_slow_line_reaches_the_others() {
    if !has_tools(&[Tool::NetworkNamespaces, Tool::RateLimit]) {
        return;
    }
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
