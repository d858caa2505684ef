//! The command line of `rumor-lab sim`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rumormill_sim::campaign::{SeedRange, Shard};
use rumormill_sim::comparison::{self, Rule};
use rumormill_sim::scenario::{MAX_PEERS, Variation};

/// Simulate a network in virtual time: the same peers and seeds, with faults, checked and measured
///
/// Runs a scenario: peers join, faults and load follow, then there is calm, and every promise of
/// the network is checked (docs/GUARANTEES.md has the promises). One number, the seed, decides
/// everything that is random; the same seed gives the same run, to the last input, which the trace
/// hash shows.
///
/// If a promise is broken, the report has the seed, the time of the first violation, the last
/// events of the nodes concerned, and the command that repeats the run.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  rumor-lab sim --list                                 (the built-in scenarios)
  rumor-lab sim --builtin partition
  rumor-lab sim --builtin chaos --seeds 1000 --jobs 2  (a thousand worlds)
  rumor-lab sim --builtin join --peers 10000 --json > report.json
  rumor-lab plot degrees report.json -o degrees.svg
  rumor-lab sim --show churn > mine.toml; rumor-lab sim mine.toml --seed 7
  rumor-lab sim --builtin loss --sweep network.loss=0,0.01,0.05 --seeds 20 --json > sweep.jsonl
  rumor-lab sim --builtin chaos --seeds 10000 --shard 3/8 --json > part-3.jsonl
  rumor-lab sim merge part-*.jsonl
  rumor-lab sim compare before.json after.json
  rumor-lab sim overlays --peers 1000 --turnover 200   (other rules for choosing neighbours)

Exit code 1 says that a promise or an expectation of the scenario was not met."
)]
pub(crate) struct SimArgs {
    #[command(subcommand)]
    pub(crate) command: Option<SimCommand>,
    #[command(flatten)]
    pub(crate) play: PlayArgs,
}

/// The commands that work with reports, or without a network.
#[derive(Debug, Subcommand)]
pub(crate) enum SimCommand {
    /// Show the differences between two reports
    Compare {
        /// The first report
        before: PathBuf,
        /// The second report
        after: PathBuf,
        /// Print the changes as one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Merge the reports of the shards of a campaign, and summarise them
    Merge {
        /// Files of reports, one JSON object per line
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Print each summary as one line of JSON
        #[arg(long)]
        json: bool,
        /// Write all reports to this file, sorted, each run once
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    Overlays(OverlaysArgs),
}

/// Compare rules by which peers could choose their neighbours: graphs only, no network runs
///
/// Peers arrive one by one and link as a rule says; then, as often as --turnover asks, a random
/// peer departs and a new one arrives. The overlay of every rule is measured in the same way, and
/// so are overlays that the protocol itself made, from reports of `rumor-lab sim --json`.
///
/// Degrees: alpha of a power law with its error, the begin of its tail (FROM), its distance from
/// the degrees (KS) and its plausibility (P; below 0.1 it is ruled out); the same for a power law
/// that ends at the largest degree. An alpha marked (end) is the end of the search, 0 or 20: the
/// degrees do not fall, or fall faster than any such law.
///
/// Graph: the components and the share of the peers in the largest one; mean path and clustering;
/// the share of the remaining peers that stay connected without 10 % of the peers, drawn at random
/// or those with the most links; the copies of other peers' messages that the busiest peer sends,
/// for each message. docs/OVERLAYS.md explains the figures.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor-lab sim overlays --peers 1000
  rumor-lab sim overlays --peers 1000 --turnover 200 --out overlays
  rumor-lab plot degrees overlays/preferential_1000_200_1.json -o degrees.svg
  rumor-lab sim overlays --rule law --rule preferential --peers 10000 --json > two.jsonl
  rumor-lab sim --builtin join --peers 1000 --json > real.json
  rumor-lab sim overlays --peers 1000 --report real.json")]
pub(crate) struct OverlaysArgs {
    /// Peers
    #[arg(long, visible_alias = "nodes", value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(2..=comparison::MAX_PEERS as u64))]
    pub(crate) peers: u64,
    /// Departures, in percent of the peers
    #[arg(long, value_name = "PERCENT", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=i64::from(comparison::MAX_TURNOVER)))]
    pub(crate) turnover: u32,
    /// Seed of all random choices
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// One of the rules; may be repeated [default: all]
    #[arg(long = "rule", value_name = "RULE")]
    pub(crate) rules: Vec<Rule>,
    /// Measure the overlay in this report of `rumor-lab sim --json` as well; may be repeated
    #[arg(long = "report", value_name = "FILE")]
    pub(crate) reports: Vec<PathBuf>,
    /// Print each overlay as one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Write each overlay to a file in this directory, for `rumor-lab plot`
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Replicates of the bootstrap for the p of the power-law fits; 0 for no p
    #[arg(long, value_name = "N", default_value_t = 200,
          value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) replicates: u32,
}

/// The scenario, and how it is run.
#[derive(Debug, Args)]
pub(crate) struct PlayArgs {
    /// The scenario's file (TOML)
    #[arg(value_name = "SCENARIO.toml", conflicts_with = "builtin")]
    pub(crate) file: Option<PathBuf>,
    /// A built-in scenario
    #[arg(long, value_name = "NAME")]
    pub(crate) builtin: Option<String>,
    /// List the built-in scenarios
    #[arg(long, exclusive = true)]
    pub(crate) list: bool,
    /// Print the file of a built-in scenario
    #[arg(long, value_name = "NAME", exclusive = true)]
    pub(crate) show: Option<String>,
    /// Seed of all random choices
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Run it with many seeds: 1000 (the first thousand) or 5..80
    #[arg(long, value_name = "SEEDS", conflicts_with = "seed")]
    pub(crate) seeds: Option<SeedRange>,
    /// Peers at the start, instead of the scenario's number
    #[arg(long, visible_alias = "nodes", value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..=MAX_PEERS as u64))]
    pub(crate) peers: Option<u64>,
    /// Change a setting of the scenario, such as network.loss=0.01 or load.0.rate=50
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<Variation>,
    /// Run it with each of these values of a setting, such as network.loss=0,0.01,0.05
    #[arg(long, value_name = "PATH=V1,V2,…")]
    pub(crate) sweep: Vec<Variation>,
    /// Run only a part of all runs: 0/8 for the first of eight parts
    #[arg(long, value_name = "I/N", default_value = "0/1")]
    pub(crate) shard: Shard,
    /// Runs at the same time [default: as many as there are processors]
    #[arg(long, value_name = "J", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) jobs: Option<u64>,
    /// Stop at the first run that fails
    #[arg(long)]
    pub(crate) fail_fast: bool,
    /// Print each report as one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Write each report to a file in this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Replicates of the bootstrap for the p of the power-law fits; 0 for no p
    #[arg(long, value_name = "N", default_value_t = 200,
          value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) replicates: u32,
}
