//! `rumor up`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rumormill::proto::limits::{MAX_PAYLOAD, MAX_SEEDS};
use rumormill_launch::args::NetworkArgs;
use rumormill_launch::control::HttpArgs;
use rumormill_terminal::exit::Outcome;
use rumormill_terminal::open_files;
use rumormill_terminal::running::RunDirArgs;
use rumormill_units::duration;

use crate::log::LogArgs;
use crate::up::{self, ControlOptions, FaultSpec, Options, RunLength};

/// Most peers of a run: with more, the ports of one address run out before memory does.
const MAX_PEERS: u64 = 5000;

/// Run a whole network on this machine, watch it, and sum it up
///
/// Starts seeds and peers, each with its own identity and listening socket, lets every peer publish
/// messages, kills or stops peers if asked to, and ends with a summary. The exit code is 0 only if
/// all peers joined, every message arrived at every peer, every victim was declared dead, and no
/// other peer was. Progress goes to standard error, the summary to standard output.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor up
  rumor up --peers 200 --for 60s --json
  rumor up --processes --peers 50 --kill 3@20s --stop 2@20s
  rumor up --preset classic                 (13 s, 3 misses, 10 messages, one every 5 s, after 30 s)
  rumor up --for forever                    (then, elsewhere: rumor status --node peer-03)

TIME counts from the start of the run, but no peer is killed or stopped before all have joined.
Victims are taken from the highest number downwards: the first is the last peer. A victim publishes
nothing in the second before its fault, because a message that is still in a process is lost with it.")]
pub(crate) struct UpArgs {
    /// Seeds [default: 3]
    #[arg(long, value_name = "N", conflicts_with = "config",
          value_parser = clap::value_parser!(u64).range(1..=MAX_SEEDS as u64))]
    seeds: Option<u64>,
    /// Peers
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u64).range(1..=MAX_PEERS))]
    peers: u64,
    /// How long to run: a time, or `forever` [default: until all messages have arrived and all
    /// victims are removed]
    #[arg(long = "for", value_name = "TIME", value_parser = RunLength::parse)]
    length: Option<RunLength>,
    /// File that names the seeds, one HOST:PORT per line, where they listen
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Time between two messages of one peer; the peers take turns within it
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration::parse)]
    every: Duration,
    /// Messages that each peer publishes
    #[arg(long, value_name = "M", default_value_t = 10)]
    messages: u64,
    /// Time from the moment when all have joined to the first message [default: 3s; 30s with
    /// --preset classic]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    after: Option<Duration>,
    /// Fill each message up to this number of bytes
    #[arg(long, value_name = "BYTES", default_value_t = 0,
          value_parser = clap::value_parser!(u64).range(0..=MAX_PAYLOAD as u64))]
    payload: u64,
    /// Kill N peers at TIME; may be repeated
    #[arg(long, value_name = "N@TIME", value_parser = FaultSpec::parse)]
    kill: Vec<FaultSpec>,
    /// Stop N peers at TIME, as SIGSTOP does: their sockets stay open and nothing answers; may be
    /// repeated
    #[arg(long, value_name = "N@TIME", value_parser = FaultSpec::parse)]
    stop: Vec<FaultSpec>,
    /// Run each node in a process of its own, so that a kill is a SIGKILL and a stop a SIGSTOP
    #[arg(long, conflicts_with = "http")]
    processes: bool,
    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    run_dir: RunDirArgs,
    #[command(flatten)]
    log: LogArgs,
}

impl UpArgs {
    /// Reports what is wrong with the arguments before the run starts.
    pub(crate) fn check(&self) -> Outcome<()> {
        self.network.check()?;
        self.http.check()
    }
}

pub(crate) async fn run(args: UpArgs) -> Outcome {
    let files = open_files::raise_limit();
    let peers = usize::try_from(args.peers).unwrap_or(usize::MAX);
    let options = Options {
        seeds: args.seeds.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
        peers,
        length: args.length,
        config: args.config,
        every: args.every.max(Duration::from_millis(1)),
        messages: args.messages,
        after: args.after,
        payload: usize::try_from(args.payload).unwrap_or(usize::MAX),
        kill: args.kill,
        stop: args.stop,
        processes: args.processes,
        open_files: files,
    };
    let control = ControlOptions { http: args.http, run_dir: args.run_dir.run_dir };
    up::run(options, &args.network, &control, &args.log, args.json).await
}
