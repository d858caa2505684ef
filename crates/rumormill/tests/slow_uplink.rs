//! A host whose line is slower than its traffic: 128 kbit/s out, and 36 messages of 2 kB a second
//! to publish. Flow control slows the publisher, and probes get through, so no peer declares the
//! host dead (G5).
//!
//! Two processes run in two network namespaces, connected by a veth pair with a token bucket at one
//! end. The test needs root, `ip` and `tc`; if one is missing, it is skipped.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rumormill::{
    Config, Event, EventItem, Identity, Name, Node, SeedAddress, SeedNode, SubscriptionItem,
};
use rumormill_testing::{Tool, has_tools};
use tokio::time::{interval, timeout};

const SEEDS: u8 = 3;
const PEERS: u8 = 6;
/// How long the host publishes.
const TIME: Duration = Duration::from_secs(45);
/// The environment variable that selects the part of a child process.
const ROLE: &str = "RUMORMILL_TEST_ROLE";
/// The prefix of a line that reports to the test.
const REPORT_PREFIX: &str = "says: ";

/// Reports to the test, with the time (both processes share a clock).
fn report(what: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    println!("{REPORT_PREFIX}{} {what}", now.as_millis());
}

fn config() -> Config {
    Config::lan().build().unwrap()
}

/// The seeds and the other peers listen in one namespace, the host in the other.
fn address(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 79, 0, host], port))
}

fn seeds() -> Vec<SeedAddress> {
    let of = |n| SeedAddress { host_port: address(1, 7000 + n).to_string(), pin: None };
    (0..u16::from(SEEDS)).map(of).collect()
}

async fn peer(n: u8, at: SocketAddr) -> Node {
    let builder = Node::builder().config(config()).identity(Identity::from_secret(&[n; 32]));
    let name = Name::new(format!("peer-{n}")).unwrap();
    builder.name(name).listen(at).seeds(seeds()).start().await.unwrap()
}

/// Runs all nodes but the host. Reports every death report and removal, and every message received
/// from the host.
async fn run_other_nodes() {
    let mut nodes = Vec::new();
    for n in 0..SEEDS {
        let builder = SeedNode::builder().config(config()).seeds(seeds()).own_index(Some(n.into()));
        let builder = builder.identity(Identity::from_secret(&[100 + n; 32]));
        nodes.push(builder.listen(address(1, 7000 + u16::from(n))).start().await.unwrap());
    }
    for seed in &nodes {
        let mut events = seed.events();
        tokio::spawn(async move {
            while let Some(observed) = events.recv().await {
                let EventItem::Event(timestamped) = observed else { continue };
                match timestamped.event {
                    Event::DeathReported { name, .. } => report(&format!("reported {name}")),
                    Event::PeerRemoved { name, .. } => report(&format!("removed {name:?}")),
                    _ => {}
                }
            }
        });
    }
    let mut peers = Vec::new();
    for n in 1..=PEERS {
        peers.push(peer(n, address(1, 7100 + u16::from(n))).await);
    }
    for peer in &peers {
        peer.joined().await.unwrap();
    }
    report("ready");
    let mut inbox = peers[0].subscribe();
    let end = tokio::time::Instant::now() + TIME + Duration::from_secs(20);
    while let Ok(Some(received)) = tokio::time::timeout_at(end, inbox.recv()).await {
        if matches!(received, SubscriptionItem::Message(_)) {
            report("came");
        }
    }
}

/// Runs the host on the slow line. Reports how much it could publish, and whether it had to refute
/// its death.
async fn run_host() {
    let node = peer(PEERS + 1, address(2, 7000)).await;
    let mut events = node.events();
    tokio::spawn(async move {
        while let Some(observed) = events.recv().await {
            if let EventItem::Event(timestamped) = observed
                && matches!(timestamped.event, Event::Refuted { .. })
            {
                report("refuted");
            }
        }
    });
    node.joined().await.unwrap();
    report("ready");
    let mut ticks = interval(Duration::from_millis(1000) / 36);
    let (mut published, mut refused) = (0, 0);
    let publish = async {
        loop {
            ticks.tick().await;
            match node.try_publish("t", vec![7; 2000]) {
                Ok(_) => published += 1,
                Err(e) if e.is_busy() => refused += 1,
                Err(e) => panic!("{e}"),
            }
        }
    };
    let _ = timeout(TIME, publish).await;
    report(&format!("published {published}, refused {refused}"));
}

/// Not a test by itself: the test below runs it in its namespaces.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of the test of a slow uplink"]
async fn child_process() {
    match std::env::var(ROLE).as_deref() {
        Ok("others") => run_other_nodes().await,
        Ok("host") => run_host().await,
        _ => {}
    }
}

fn ip(args: &[&str]) -> bool {
    let mut c = Command::new("ip");
    c.args(args).stdout(Stdio::null()).stderr(Stdio::null());
    c.status().is_ok_and(|s| s.success())
}

/// Two namespaces connected by a veth pair; removed when dropped.
struct VethPair([String; 2]);

impl VethPair {
    fn create() -> VethPair {
        let tag = std::process::id() % 100_000;
        let veth = VethPair([format!("e-rest{tag}"), format!("e-host{tag}")]);
        let [a, b] = &veth.0;
        let made = ip(&["netns", "add", a])
            && ip(&["netns", "add", b])
            && ip(&[
                "-n", a, "link", "add", "e0", "type", "veth", "peer", "name", "e0", "netns", b,
            ])
            && ip(&["-n", a, "addr", "add", "10.79.0.1/24", "dev", "e0"])
            && ip(&["-n", b, "addr", "add", "10.79.0.2/24", "dev", "e0"])
            && [a, b].iter().all(|ns| ip(&["-n", ns, "link", "set", "e0", "up"]))
            && [a, b].iter().all(|ns| ip(&["-n", ns, "link", "set", "lo", "up"]))
            && veth.limit("10mbit", "400ms");
        assert!(made, "two namespaces with a slow line between them");
        veth
    }

    /// Limits the outbound rate of the host with a token bucket.
    fn limit(&self, rate: &str, latency: &str) -> bool {
        let words = "tc qdisc replace dev e0 root tbf burst 3000";
        let words = words.split(' ').chain(["rate", rate, "latency", latency]);
        ip(&["netns", "exec", &self.0[1]].into_iter().chain(words).collect::<Vec<_>>())
    }

    fn run(&self, namespace: usize, role: &str) -> ChildProcess {
        let this = std::env::current_exe().unwrap();
        let mut c = Command::new("ip");
        c.args(["netns", "exec", &self.0[namespace]]).arg(this);
        c.args(["--ignored", "--exact", "child_process", "--nocapture"]).env(ROLE, role);
        let mut child = c.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let (says, heard) = channel();
        let out = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                // The test harness may have written the start of the line.
                if let Some((_, said)) = line.split_once(REPORT_PREFIX)
                    && let Some((at, what)) = said.split_once(' ')
                {
                    let _ = says.send((at.parse().unwrap(), what.to_owned()));
                }
            }
        });
        ChildProcess { child, heard }
    }
}

impl Drop for VethPair {
    fn drop(&mut self) {
        for namespace in &self.0 {
            ip(&["netns", "del", namespace]);
        }
    }
}

/// The time of a report in milliseconds, and its text.
type Report = (u64, String);

/// A process in one of the namespaces.
struct ChildProcess {
    child: Child,
    heard: Receiver<Report>,
}

impl ChildProcess {
    /// Collects reports until one begins with `until`, or the process ends.
    fn listen(&self, until: &str, within: Duration) -> Vec<Report> {
        let (end, mut said) = (Instant::now() + within, Vec::new());
        loop {
            match self.heard.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    said.push(line);
                    if said.last().is_some_and(|(_, what)| what.starts_with(until)) {
                        return said;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return said,
                Err(RecvTimeoutError::Timeout) => panic!("no report {until:?}, but {said:?}"),
            }
        }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn host_that_publishes_too_much_on_slow_uplink_is_not_declared_dead() {
    if !has_tools(&[Tool::NetworkNamespaces, Tool::RateLimit]) {
        return;
    }
    let veth = VethPair::create();
    let minute = Duration::from_secs(60);
    let others = veth.run(0, "others");
    others.listen("ready", minute);
    let host = veth.run(1, "host");
    host.listen("ready", minute);
    assert!(veth.limit("128kbit", "400ms"), "the line becomes slow");
    let of_host = host.listen("published", TIME + minute);
    drop(host);
    let of_others = others.listen("until its end", TIME + minute);
    let (end, what) = of_host.last().unwrap();
    // The host ends without leaving; a later report of its death is right.
    let reports_while_running: Vec<&String> =
        of_others.iter().filter(|(at, _)| at < end).map(|(_, what)| what).collect();
    let count = |kind: &str| reports_while_running.iter().filter(|l| l.starts_with(kind)).count();
    eprintln!("{what}; {} came, {} reports", count("came"), count("reported"));
    assert_eq!(count("removed"), 0, "it was declared dead while it ran: {reports_while_running:?}");
    assert!(!of_host.iter().any(|(_, what)| what == "refuted"), "it had to refute its death");
    assert!(count("came") > 20, "{} messages came", count("came"));
}
