//! The command line.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rumormill_units::duration;

use crate::plan::Plan;
use crate::systems::SystemKind;

/// Most nodes, because the nodes of a measurement share one machine.
const MAX_NODES: u64 = 200;
/// Most bytes of a payload, which every system accepts.
const MAX_PAYLOAD: u64 = 64 * 1024 - 1024;

/// Run the same work over Rumormill and other systems, and print one table
///
/// The systems are libp2p gossipsub, iroh-gossip, NATS and serf. Each piece of work runs in a fresh
/// process, over one system at a time, on loopback. The table has medians of several runs.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  rumormill-compare all
  rumormill-compare throughput --nodes 16 --payload 1024 --for 5s --runs 3
  rumormill-compare delay --rate 20 --for 10s --systems rumormill,gossipsub
  rumormill-compare detection --systems rumormill,serf --runs 1
  rumormill-compare all --json > compare.json

NATS and serf are programs of their own (apt-get install nats-server serf). Without them the other
systems are compared.

Exit codes:
  0    everything was measured, or the program of a system is not installed
  1    a measurement failed
  2    wrong usage
  130  interrupted"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure deliveries per second, with a window of messages in flight
    Throughput(CompareArgs),
    /// Measure the time until the last node has a message, at a set rate
    Delay(CompareArgs),
    /// Measure processor time and memory of nodes while nothing is published
    Idle(CompareArgs),
    /// Measure the time until a killed node, and a paused one, are removed
    Detection(CompareArgs),
    /// Measure all of these
    All(CompareArgs),
    /// Do one piece of work (started by this program)
    #[command(hide = true)]
    Worker {
        #[arg(long)]
        parent: u32,
        #[arg(long)]
        job: String,
    },
    /// Run one node (started by this program)
    #[command(hide = true)]
    Member {
        #[arg(long)]
        parent: u32,
        #[arg(long)]
        system: SystemKind,
        #[arg(long)]
        index: usize,
        #[arg(long)]
        seed: Vec<String>,
    },
    /// Run another program that ends with this one (started by this program)
    #[command(hide = true)]
    Tie {
        #[arg(long)]
        parent: u32,
        #[arg(last = true)]
        command: Vec<OsString>,
    },
}

/// The options of a comparison.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompareArgs {
    /// Nodes, each of which receives every message
    #[arg(long, value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u64).range(2..=MAX_NODES))]
    nodes: u64,
    /// Nodes that publish [default: 4, or all of fewer]
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u64).range(1..=MAX_NODES))]
    publishers: Option<u64>,
    /// Bytes of each payload, at least 24
    #[arg(long, value_name = "BYTES", default_value_t = 1024,
          value_parser = clap::value_parser!(u64).range(1..=MAX_PAYLOAD))]
    payload: u64,
    /// How long to publish, or to measure idle nodes (these at least 20 s)
    #[arg(id = "length", long = "for", value_name = "TIME", default_value = "5s",
          value_parser = length)]
    length: Duration,
    /// Messages per second where delays are measured, all publishers in turn
    #[arg(long, value_name = "RATE", default_value = "20", value_parser = rate)]
    rate: f64,
    /// Messages of each publisher in flight where throughput is measured
    #[arg(long, value_name = "W", default_value_t = 256,
          value_parser = clap::value_parser!(u64).range(1..=100_000))]
    window: u64,
    /// How long a failure may take to be detected
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = length)]
    detect_within: Duration,
    /// Systems to compare
    #[arg(long, value_name = "LIST", default_value = "all", value_delimiter = ',')]
    systems: Vec<SystemChoice>,
    /// Runs of each measurement, of which the medians count
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) runs: u32,
    /// Print one JSON object, with the figures of each run
    #[arg(long)]
    pub(crate) json: bool,
}

/// A system, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SystemChoice {
    All,
    One(SystemKind),
}

impl std::str::FromStr for SystemChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(SystemChoice::All);
        }
        SystemKind::from_str(text, false).map(SystemChoice::One).map_err(|_| {
            let names = SystemKind::ALL.map(SystemKind::name).join(", ");
            format!("expected all, or some of {names}")
        })
    }
}

/// Reads a time that is not zero.
fn length(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err("nothing can be measured in no time".to_owned()),
        time if time > Duration::from_secs(3600) => Err("at most an hour".to_owned()),
        time => Ok(time),
    }
}

/// Reads messages per second.
fn rate(text: &str) -> Result<f64, String> {
    let expected = || "expected messages per second, from 0.1 to 100000".to_owned();
    let rate: f64 = text.parse().map_err(|_| expected())?;
    if (0.1..=1e5).contains(&rate) { Ok(rate) } else { Err(expected()) }
}

impl CompareArgs {
    /// The plan that the options make.
    pub(crate) fn plan(&self) -> Plan {
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Plan {
            nodes: size(self.nodes),
            publishers: size(self.publishers.unwrap_or(4.min(self.nodes))),
            payload: size(self.payload),
            seconds: self.length.as_secs_f64(),
            rate: self.rate,
            window: self.window,
            detect_within_s: self.detect_within.as_secs_f64(),
        }
    }

    /// The systems to compare, in the order of the table.
    pub(crate) fn systems(&self) -> Vec<SystemKind> {
        let chosen = |system: &SystemKind| {
            self.systems.iter().any(|c| *c == SystemChoice::All || *c == SystemChoice::One(*system))
        };
        SystemKind::ALL.into_iter().filter(chosen).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn compare(arguments: &[&str]) -> CompareArgs {
        let all = ["rumormill-compare", "all"].iter().chain(arguments);
        match Cli::try_parse_from(all).unwrap().command {
            Command::All(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_make_a_valid_plan() {
        let args = compare(&[]);
        assert!(args.plan().check().is_ok());
        assert_eq!((args.plan().nodes, args.plan().publishers, args.runs), (16, 4, 3));
        assert_eq!(args.systems(), SystemKind::ALL);
        assert_eq!(compare(&["--nodes", "2"]).plan().publishers, 2);
    }

    #[test]
    fn systems_are_chosen_by_name_and_kept_in_order() {
        let args = compare(&["--systems", "serf,rumormill"]);
        assert_eq!(args.systems(), [SystemKind::Rumormill, SystemKind::Serf]);
        let all = ["rumormill-compare", "all", "--systems", "kafka"];
        let error = Cli::try_parse_from(all).unwrap_err().to_string();
        assert!(error.contains("rumormill, gossipsub, iroh-gossip, nats, serf"), "{error}");
    }

    #[test]
    fn times_and_rates_without_sense_are_refused() {
        assert!(length("0").is_err() && length("2h").is_err() && length("5s").is_ok());
        assert!(rate("0").is_err() && rate("nan").is_err() && rate("20").is_ok());
    }
}
