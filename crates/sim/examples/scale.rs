//! How large a world can be: joins many peers, lets them settle, publishes messages, and prints the
//! cost of each phase:
//!
//! ```text
//! cargo run --release -p rumormill-sim --example scale -- --peers 100000
//! ```

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// The wall clock measures the speed of the simulation, which does not depend on it.
#![allow(clippy::disallowed_types)]

use core::time::Duration;
use std::process::ExitCode;
use std::time::Instant;

use rumormill_proto::{Config, Preset, Time};
use rumormill_sim::{NodeId, RecordLevel, Survey, World, WorldConfig};

/// The allocator of the program `rumor`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "usage: scale [--peers N] [--seeds N] [--messages N] [--over SECONDS] \
                     [--settle SECONDS] [--seed NUMBER] [--preset classic|lan|wan] [--json] \
                     [--publishers N] [--pack N] [--most-gib N]";

struct Arguments {
    peers: usize,
    seeds: usize,
    messages: usize,
    /// Number of publishers; one for each message if not given.
    publishers: Option<usize>,
    /// Number of messages that a peer publishes at one moment; they are sent as one batch.
    pack: usize,
    /// Resident memory in bytes at which the run is aborted.
    most: u64,
    /// Seconds over which the peers start.
    over: Option<u64>,
    /// Seconds from the last join to the first message.
    settle: u64,
    seed: u64,
    preset: Preset,
    json: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut a = Arguments {
        peers: 10_000,
        seeds: 3,
        messages: 100,
        publishers: None,
        pack: 1,
        most: u64::MAX,
        over: None,
        settle: 30,
        seed: 1,
        preset: Preset::Classic,
        json: false,
    };
    fn number<T: std::str::FromStr>(flag: &str, value: Option<String>) -> Result<T, String> {
        let value = value.ok_or_else(|| format!("{flag} needs a value"))?;
        value.parse().map_err(|_| format!("{flag} cannot be {value:?}"))
    }
    let mut words = std::env::args().skip(1);
    while let Some(flag) = words.next() {
        match flag.as_str() {
            "--peers" => a.peers = number(&flag, words.next())?,
            "--seeds" => a.seeds = number(&flag, words.next())?,
            "--messages" => a.messages = number(&flag, words.next())?,
            "--publishers" => a.publishers = Some(number(&flag, words.next())?),
            "--pack" => a.pack = number::<usize>(&flag, words.next())?.max(1),
            "--most-gib" => a.most = number::<u64>(&flag, words.next())? << 30,
            "--over" => a.over = Some(number(&flag, words.next())?),
            "--settle" => a.settle = number(&flag, words.next())?,
            "--seed" => a.seed = number(&flag, words.next())?,
            "--preset" => a.preset = number(&flag, words.next())?,
            "--json" => a.json = true,
            other => return Err(format!("unknown argument {other:?}")),
        }
    }
    Ok(a)
}

/// The cost of one phase of the run.
struct Phase {
    name: &'static str,
    wall: f64,
    cpu: f64,
    time: Duration,
    inputs: u64,
    /// Resident memory in bytes at the end of the phase.
    resident: u64,
}

/// Measures one phase after the other.
struct Meter {
    phases: Vec<Phase>,
    wall: Instant,
    cpu: f64,
    time: Time,
    inputs: u64,
}

impl Meter {
    fn new(world: &World) -> Self {
        let (wall, cpu) = (Instant::now(), cpu_seconds());
        Meter { phases: Vec::new(), wall, cpu, time: world.now(), inputs: world.steps() }
    }

    fn end(&mut self, name: &'static str, world: &World, quiet: bool) {
        let (wall, cpu) = (Instant::now(), cpu_seconds());
        let phase = Phase {
            name,
            wall: wall.duration_since(self.wall).as_secs_f64(),
            cpu: cpu - self.cpu,
            time: world.now().since(self.time),
            inputs: world.steps() - self.inputs,
            resident: resident(),
        };
        if !quiet {
            println!(
                "{:<8} {:>9.1} s virtual, {:>8.2} s wall, {:>8.2} s CPU, {:>12} inputs \
                 ({:>9.0} a CPU second), {:>6} MiB resident",
                phase.name,
                phase.time.as_secs_f64(),
                phase.wall,
                phase.cpu,
                phase.inputs,
                phase.inputs as f64 / phase.cpu,
                phase.resident >> 20
            );
        }
        (self.wall, self.cpu) = (wall, cpu);
        (self.time, self.inputs) = (world.now(), world.steps());
        self.phases.push(phase);
    }
}

/// User and system time of this process, in seconds.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The fields after the name, which may contain spaces: fields 14 and 15 are hundredths of a
    // second.
    let rest = text.rsplit(')').next().unwrap_or_default();
    let ticks = rest.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|p| p.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn main() -> ExitCode {
    let a = match arguments() {
        Ok(a) => a,
        Err(e) => {
            eprintln!("scale: {e}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let node = Config::of(a.preset).build().expect("a preset is valid");
    let config = WorldConfig {
        fast: true,
        unsigned: true,
        record: RecordLevel::Figures,
        diskless_peers: true,
        check_every: Duration::from_secs(1),
        ..WorldConfig::new(a.seed, node)
    };
    let mut world = World::new(config);
    world.add_seeds(a.seeds);
    world.run_for(Duration::from_secs(1));
    let before = resident();
    let mut meter = Meter::new(&world);
    // During the arrivals each peer handles some thirty inputs a second, so a slow arrival of many
    // peers costs more than the joins themselves.
    let over = a.over.unwrap_or((a.peers as u64 / 10_000).clamp(10, 30));
    let peers = world.add_peers_over(a.peers, Duration::from_secs(over));
    run(&mut world, over, a.most);
    let joined = |w: &World| {
        peers.iter().all(|p| {
            w.peer(*p).is_some_and(|p| p.state() == rumormill_proto::snapshot::PeerState::Joined)
        })
    };
    let all_joined = world.run_until(Duration::from_secs(600), |w| check(w, a.most) && joined(w));
    meter.end("join", &world, a.json);
    run(&mut world, a.settle, a.most);
    meter.end("settle", &world, a.json);
    let survey = world.survey();
    spread(&mut world, &peers, &a);
    meter.end("spread", &world, a.json);
    report(&a, &world, &survey, &meter, before);
    let whole = survey.components.len() == 1 && all_joined && delivered(&world, &peers) == 1.0;
    ExitCode::from(u8::from(!whole))
}

/// Advances virtual time, with a check of the memory every second.
fn run(world: &mut World, seconds: u64, most: u64) {
    for _ in 0..seconds {
        world.run_for(Duration::from_secs(1));
        check(world, most);
    }
}

/// Prints the progress to standard error, and ends the process if it uses more memory than allowed.
fn check(world: &World, most: u64) -> bool {
    let now = resident();
    eprintln!(
        "{:>8.1} s virtual, {:>8.0} s CPU, {:>12} inputs, {:>6} MiB resident",
        world.now().as_micros() as f64 / 1e6,
        cpu_seconds(),
        world.steps(),
        now >> 20
    );
    if now > most {
        println!(
            "aborted at {:.1} s with {} MiB resident: {} inputs",
            world.now().as_micros() as f64 / 1e6,
            now >> 20,
            world.steps()
        );
        std::process::exit(3);
    }
    true
}

/// Publishes messages at random peers, ten times a second, and waits until all peers have them.
fn spread(world: &mut World, peers: &[NodeId], a: &Arguments) {
    let mut state = a.seed;
    let mut draw = || {
        // SplitMix64 (Steele, Lea and Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        peers[((z ^ (z >> 31)) % peers.len() as u64) as usize]
    };
    let times = a.messages.div_ceil(a.pack);
    let publishers: Vec<NodeId> =
        (0..a.publishers.unwrap_or(times).clamp(1, times.max(1))).map(|_| draw()).collect();
    for n in 0..times {
        let at = publishers[n % publishers.len()];
        let some = a.pack.min(a.messages - n * a.pack);
        world.publish_all(at, "scale", &vec![&[7; 64][..]; some]).expect("the peer runs");
        world.run_for(Duration::from_millis(100));
        check(world, a.most);
    }
    let all = |w: &World| {
        check(w, a.most) && w.figures().spread.values().all(|s| s.delivered >= peers.len() as u64)
    };
    world.run_until(Duration::from_secs(120), all);
}

/// The fraction of all pairs of peer and message that were delivered.
fn delivered(world: &World, peers: &[NodeId]) -> f64 {
    let figures = world.figures();
    let expected = figures.spread.len() * peers.len();
    if expected == 0 { 1.0 } else { figures.delivered as f64 / expected as f64 }
}

fn report(a: &Arguments, world: &World, survey: &Survey, meter: &Meter, before: u64) {
    let cpu: f64 = meter.phases.iter().map(|p| p.cpu).sum();
    let wall: f64 = meter.phases.iter().map(|p| p.wall).sum();
    let inputs: u64 = meter.phases.iter().map(|p| p.inputs).sum();
    let figures = world.figures();
    let peers: Vec<NodeId> = world.live_peers();
    let grown = |name: &str| {
        let phase = meter.phases.iter().find(|p| p.name == name);
        phase.map_or(0, |p| p.resident.saturating_sub(before)) / a.peers.max(1) as u64
    };
    // Copies are counted for batches, each identified by its first message.
    let batches = figures.spread.values().filter(|s| s.copies > 0).count();
    let copies = figures.copies as f64 / (batches.max(1) * a.peers.max(1)) as f64;
    let slowest = figures.spread.values().map(rumormill_sim::MessageSpread::duration).max();
    let hops = figures.spread.values().map(|s| s.hops).max().unwrap_or(0);
    let share = delivered(world, &peers);
    let trace: String = world.trace_hash().iter().take(8).map(|b| format!("{b:02x}")).collect();
    let (settled, end) = (grown("settle"), grown("spread"));
    let slowest = slowest.unwrap_or_default().as_secs_f64();
    if a.json {
        println!(
            "{{\"peers\":{},\"seeds\":{},\"preset\":\"{}\",\"wall_s\":{wall:.3},\"cpu_s\":{cpu:.3},\
             \"virtual_s\":{:.3},\"inputs\":{inputs},\"inputs_per_cpu_s\":{:.0},\
             \"bytes_per_peer_settled\":{settled},\"bytes_per_peer_end\":{end},\"joined\":{},\
             \"components\":{},\"mean_degree\":{:.4},\"short\":{},\"delivered\":{share:.6},\
             \"copies_per_peer\":{copies:.4},\"slowest_s\":{slowest:.3},\"hops\":{hops},\
             \"trace\":\"{trace}\"}}",
            a.peers,
            a.seeds,
            a.preset,
            world.now().as_micros() as f64 / 1e6,
            inputs as f64 / cpu,
            survey.joined,
            survey.components.len(),
            survey.mean_degree(),
            survey.short,
        );
        return;
    }
    println!(
        "all      {wall:.2} s wall, {cpu:.2} s CPU, {inputs} inputs ({:.0} a CPU second)",
        inputs as f64 / cpu
    );
    println!("memory   {settled} bytes a peer when settled, {end} after the messages");
    println!(
        "overlay  {} peers, {} joined, {} components, {} edges, mean degree {:.3}, {} short by {}",
        survey.peers,
        survey.joined,
        survey.components.len(),
        survey.edges,
        survey.mean_degree(),
        survey.short,
        survey.missing
    );
    println!(
        "messages {} published, {share:.6} delivered, {copies:.4} copies a peer ({} pulled), slowest \
         {slowest:.3} s, {hops} hops",
        figures.spread.len(),
        figures.pulled
    );
    println!("trace    {trace}");
}
