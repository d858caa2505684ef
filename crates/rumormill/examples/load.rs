//! Load test: N nodes in this process, some of them publish, all of them read; figures at the end.
//!
//!     cargo run --release -p rumormill --example load -- --nodes 16 --payload 256 --seconds 5
//!     cargo run --release -p rumormill --example load -- --nodes 64 --payload 1024 --rate 20
//!
//! Without `--rate`, the publishers publish as fast as the send window allows. `--idle` publishes
//! nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rumormill::{
    Config, Counters, Listener, MessageId, Node, PeerState, SeedAddress, SeedNode, SubscriptionItem,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Clone)]
struct Options {
    nodes: usize,
    publishers: usize,
    payload: usize,
    seconds: f64,
    /// Messages a second, of all publishers.
    rate: Option<f64>,
    idle: bool,
    flood: bool,
    /// Seconds between the last join and the first message.
    settle: f64,
    workers: usize,
}

impl Options {
    fn from_args() -> Self {
        let mut o = Options {
            nodes: 16,
            publishers: 4,
            payload: 256,
            seconds: 5.0,
            rate: None,
            idle: false,
            flood: false,
            settle: 5.0,
            workers: 2,
        };
        let mut args = std::env::args().skip(1);
        while let Some(name) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{name} takes a value"));
            match name.as_str() {
                "--nodes" => o.nodes = value().parse().expect("a number"),
                "--publishers" => o.publishers = value().parse().expect("a number"),
                "--payload" => o.payload = value().parse().expect("bytes"),
                "--seconds" => o.seconds = value().parse().expect("seconds"),
                "--rate" => o.rate = Some(value().parse().expect("messages a second")),
                "--settle" => o.settle = value().parse().expect("seconds"),
                "--workers" => o.workers = value().parse().expect("a number"),
                "--idle" => o.idle = true,
                "--flood" => o.flood = true,
                other => panic!("unknown option {other}"),
            }
        }
        o
    }
}

fn main() {
    let options = Options::from_args();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.workers)
        .enable_all()
        .build()
        .unwrap()
        .block_on(async { tokio::spawn(run(options)).await.unwrap() });
}

async fn start(o: &Options) -> (SeedNode, Vec<Node>) {
    let mut config = Config::lan();
    if o.flood {
        config = config.broadcast(rumormill::BroadcastMode::Flood);
    }
    let config = config.build().unwrap();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let seeds = vec![SeedAddress { host_port: listener.local_addr().to_string(), pin: None }];
    let seed = SeedNode::builder()
        .config(config.clone())
        .listener(listener)
        .seeds(seeds.clone())
        .own_index(Some(0))
        .start()
        .await
        .unwrap();
    let mut nodes = Vec::new();
    for n in 0..o.nodes {
        let node = Node::builder()
            .name(format!("n{n}").parse().unwrap())
            .config(config.clone())
            .listen("127.0.0.1:0".parse().unwrap())
            .seeds(seeds.clone());
        nodes.push(node.start().await.unwrap());
    }
    for node in &nodes {
        while node.snapshot().await.unwrap().state != PeerState::Joined {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    tokio::time::sleep(Duration::from_secs_f64(o.settle)).await;
    (seed, nodes)
}

/// The figures of one reader.
#[derive(Debug, Default)]
struct ReaderFigures {
    messages: u64,
    bytes: u64,
    gaps: u64,
    out_of_order: u64,
    hops: u64,
    last: Option<Instant>,
    /// Delays by message; only with a fixed rate.
    delays: Vec<(MessageId, u16, Duration)>,
}

async fn read(
    node: Node,
    epoch: Instant,
    with_delays: bool,
    count: Arc<AtomicU64>,
) -> ReaderFigures {
    let mut inbox = node.subscribe();
    drop(node);
    let mut seen = ReaderFigures::default();
    let mut next: BTreeMap<_, u64> = BTreeMap::new();
    let mut stream = None;
    let mut expected = 0;
    while let Some(received) = inbox.recv().await {
        match received {
            SubscriptionItem::Message(m) => {
                let id = m.message.id();
                if stream != Some(id.stream()) {
                    if let Some(stream) = stream.replace(id.stream()) {
                        next.insert(stream, expected);
                    }
                    expected = next.get(&id.stream()).copied().unwrap_or(0);
                }
                seen.out_of_order += u64::from(id.sequence != expected);
                expected = id.sequence + 1;
                seen.messages += 1;
                seen.bytes += m.message.payload().len() as u64;
                seen.hops += u64::from(m.hops);
                if with_delays {
                    let sent = m.message.payload().first_chunk::<8>().unwrap();
                    let sent = Duration::from_nanos(u64::from_le_bytes(*sent));
                    seen.delays.push((id, m.hops, epoch.elapsed().saturating_sub(sent)));
                }
                if count.fetch_add(1, Ordering::Relaxed).is_multiple_of(64) || with_delays {
                    seen.last = Some(Instant::now());
                }
            }
            SubscriptionItem::Gap(gap) => {
                seen.gaps += gap.to - gap.from;
                expected = gap.to;
                stream = Some(gap.stream());
            }
            SubscriptionItem::CaughtUp => {}
        }
    }
    seen
}

async fn publish(node: Node, o: Options, epoch: Instant, until: Instant) -> u64 {
    let mut payload = vec![0u8; o.payload.max(8)];
    let mut sent = 0;
    let every = o.rate.map(|r| Duration::from_secs_f64(o.publishers as f64 / r));
    let mut ticks = tokio::time::interval(every.unwrap_or(Duration::from_secs(1)));
    while Instant::now() < until {
        if every.is_some() {
            ticks.tick().await;
        }
        let now = u64::try_from(epoch.elapsed().as_nanos()).unwrap();
        payload[..8].copy_from_slice(&now.to_le_bytes());
        node.publish("load", &payload).await.unwrap();
        sent += 1;
    }
    sent
}

async fn run(o: Options) {
    let before_nodes = rss_kib();
    let (seed, nodes) = start(&o).await;
    let rss_idle = (rss_kib() - before_nodes) / o.nodes as f64;
    println!("{} nodes: {rss_idle:.0} KiB each, idle", o.nodes);
    let counted_before = counters(&nodes).await;
    if o.idle {
        let cpu = cpu_seconds();
        tokio::time::sleep(Duration::from_secs_f64(o.seconds)).await;
        let ms = (cpu_seconds() - cpu) * 1000.0 / o.nodes as f64 / o.seconds;
        let after = counters(&nodes).await;
        let bytes = after.get("socket_bytes_out") - counted_before.get("socket_bytes_out");
        println!(
            "idle: {ms:.3} ms of CPU and {:.0} bytes sent per node and second",
            bytes as f64 / o.nodes as f64 / o.seconds
        );
        return;
    }
    let epoch = Instant::now();
    let count = Arc::new(AtomicU64::new(0));
    let with_delays = o.rate.is_some();
    let readers: Vec<_> = nodes
        .iter()
        .map(|n| tokio::spawn(read(n.clone(), epoch, with_delays, count.clone())))
        .collect();
    let (begin, cpu) = (Instant::now(), cpu_seconds());
    let until = begin + Duration::from_secs_f64(o.seconds);
    // Publishers are spread over the nodes.
    let publishers: Vec<_> = (0..o.publishers)
        .map(|p| nodes[p * o.nodes / o.publishers].clone())
        .map(|node| tokio::spawn(publish(node, o.clone(), epoch, until)))
        .collect();
    let stuck = tokio::spawn(report_if_blocked(nodes.clone(), until + Duration::from_secs(10)));
    let mut sent = 0;
    for publisher in publishers {
        sent += publisher.await.unwrap();
    }
    stuck.abort();
    let expected = sent * o.nodes as u64;
    let deadline = Instant::now() + Duration::from_secs(20);
    while count.load(Ordering::Relaxed) < expected && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (cpu, rss) = (cpu_seconds() - cpu, (rss_kib() - before_nodes) / o.nodes as f64);
    let counted = counters(&nodes).await;
    for node in &nodes {
        node.kill();
    }
    let mut all = ReaderFigures::default();
    let mut last_by_message: BTreeMap<MessageId, Duration> = BTreeMap::new();
    let mut delays = Vec::new();
    let mut by_hops: BTreeMap<u16, Vec<Duration>> = BTreeMap::new();
    for reader in readers {
        let seen = reader.await.unwrap();
        all.messages += seen.messages;
        all.bytes += seen.bytes;
        all.gaps += seen.gaps;
        all.hops += seen.hops;
        all.out_of_order += seen.out_of_order;
        all.last = all.last.max(seen.last);
        for (id, hops, delay) in seen.delays {
            let last = last_by_message.entry(id).or_default();
            *last = delay.max(*last);
            delays.push(delay);
            by_hops.entry(hops).or_default().push(delay);
        }
    }
    let took = (all.last.unwrap_or(begin) - begin).as_secs_f64();
    println!(
        "published {sent}, delivered {} of {expected} ({:.4}), {} in gaps, {} out of order, \
         {:.2} hops",
        all.messages,
        all.messages as f64 / expected as f64,
        all.gaps,
        all.out_of_order,
        all.hops as f64 / all.messages as f64,
    );
    let per_s = all.messages as f64 / took;
    println!("{per_s:.0} deliveries/s over {took:.2} s, {cpu:.2} s of CPU, {rss:.0} KiB a node");
    let get = |name: &str| counted.get(name) - counted_before.get(name);
    let received = (all.bytes - sent * o.payload as u64) as f64;
    println!(
        "{:.3} wire bytes per payload byte ({:.3} of it frames), {:.1} messages a batch, \
         {} duplicates",
        get("socket_bytes_out") as f64 / received,
        ["liveness", "control", "announce", "payload", "history"]
            .iter()
            .map(|class| get(&format!("bytes_out_{class}")))
            .sum::<u64>() as f64
            / received,
        get("messages_published") as f64 / get("batches_published").max(1) as f64,
        get("messages_duplicate"),
    );
    let interesting = [
        "bytes_out_liveness",
        "bytes_out_control",
        "bytes_out_announce",
        "bytes_out_payload",
        "bytes_out_history",
        "frames_out",
        "batches_received",
        "dropped_payload",
        "dropped_history",
        "dropped_announce",
        "pulls",
        "congestions",
        "late_wakeups",
        "links_too_slow",
    ];
    let figures: Vec<String> =
        interesting.iter().map(|name| format!("{name} {}", get(name))).collect();
    println!("{}", figures.join(", "));
    if with_delays {
        for (hops, delays) in by_hops {
            quantiles(&format!("{} deliveries after {hops} hops", delays.len()), delays);
        }
        quantiles("any peer", delays);
        quantiles("last peer", last_by_message.into_values().collect());
    }
    seed.kill();
}

fn quantiles(of: &str, mut delays: Vec<Duration>) {
    delays.sort_unstable();
    let at = |q: f64| delays[((delays.len() - 1) as f64 * q) as usize].as_secs_f64() * 1000.0;
    println!(
        "{of}: {:.2} ms median, {:.2} ms p90, {:.2} ms p99, {:.2} ms most",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
}

/// Prints the state of all nodes if publishers are still blocked at `at`.
async fn report_if_blocked(nodes: Vec<Node>, at: Instant) {
    tokio::time::sleep_until(at.into()).await;
    println!("publishers are blocked:");
    for node in &nodes {
        let s = node.snapshot().await.unwrap();
        println!(
            "{}: published {}, held {}, in flight {} of {}, {} neighbours, {} trees",
            s.name,
            s.published,
            s.retained_messages,
            s.unacknowledged_bytes,
            s.window_bytes,
            s.neighbours.len(),
            s.trees.len()
        );
        for p in node.publishers().await.unwrap() {
            println!(
                "  of {}: {} received, all below {}, gaps {:?}",
                p.publisher, p.received, p.high_water, p.gaps
            );
        }
    }
    for (name, n) in counters(&nodes).await.iter() {
        print!("{name} {n}, ");
    }
    println!();
}

async fn counters(nodes: &[Node]) -> Counters {
    let mut all = Counters::default();
    for node in nodes {
        all.merge(&node.snapshot().await.unwrap().counters);
    }
    all
}

fn rss_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // utime and stime in ticks of 1/100 s, after the state and ten others.
    let ticks: f64 = fields[11..13].iter().map(|f| f.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}
