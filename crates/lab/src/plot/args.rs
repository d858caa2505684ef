//! The command line of `rumor-lab plot`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use rumormill_plot::{Size, Theme};
use rumormill_terminal::running::RunDirArgs;

use super::kind::Kind;

/// The word for the network that runs on this machine.
pub(super) const RUNNING: &str = "running";

/// Draw a picture of a network: its degrees, its links, its robustness, or the spread of its
/// messages
///
/// degrees: how many peers have at least a number of neighbours, with the fitted power laws.
/// propagation: the share of the peers that a message has reached over time. latency: the time from
/// publishing to delivery. graph: the links between peers. robustness: the share of the peers that
/// stays connected as peers fail at random, or as those with the most links are removed first.
///
/// A simulation report has the data of all of them, if its graph was not too large to be listed. So
/// has a running network, for the nodes on this machine. Logs have degrees, graph and robustness;
/// they do not have the times of arrivals.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor-lab plot degrees -o degrees.svg                      (of the network that runs here)
  rumor-lab plot graph logs -o graph.png --theme dark        (of the logs of rumor up or rumor peer)
  rumor-lab plot propagation report.json -o spread.svg       (of a report of rumor-lab sim --json)
  rumor-lab plot robustness - -o robustness.png < report.json
  rumor-lab plot latency -o delays.png --size 2400x1600 --title \"Delays on the test network\"")]
pub(crate) struct PlotArgs {
    /// The kind of picture
    #[arg(
        value_enum,
        hide_possible_values = true,
        value_name = "degrees|propagation|latency|graph|robustness"
    )]
    pub(crate) kind: Kind,
    /// A report of `rumor-lab sim --json`, `-` for one on standard input, a directory of logs, or
    /// `running` for the network that runs here
    #[arg(value_name = "FROM", default_value = RUNNING)]
    pub(crate) from: PathBuf,
    /// File to write, whose name ends in .svg or .png
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Colours: dark on white, or light on dark
    #[arg(long, value_enum, default_value_t = ThemeName::Light)]
    pub(crate) theme: ThemeName,
    /// Title above the picture [default: a description of its content]
    #[arg(long, value_name = "TEXT")]
    pub(crate) title: Option<String>,
    /// Width and height in pixels, 480x360 to 6000x6000
    #[arg(long, value_name = "WxH", default_value_t)]
    pub(crate) size: Size,
    /// Of a running network: name or id of the node whose list of members and degrees is used
    /// [default: a seed that runs here, otherwise a peer]
    #[arg(long, short, value_name = "NAME")]
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) run_dir: RunDirArgs,
}

/// The names of the themes on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ThemeName {
    Light,
    Dark,
}

impl ThemeName {
    pub(crate) const fn theme(self) -> Theme {
        match self {
            ThemeName::Light => Theme::Light,
            ThemeName::Dark => Theme::Dark,
        }
    }
}
