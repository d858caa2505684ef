//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use rumormill_terminal::exit::{Exit, exit_codes_help};

use crate::bench::args::BenchArgs;
use crate::plot::args::PlotArgs;
use crate::sim::args::SimArgs;

/// The exit codes that the commands can end with.
const EXIT_CODES: [Exit; 8] = [
    Exit::Ok,
    Exit::Failed,
    Exit::Usage,
    Exit::Config,
    Exit::Bind,
    Exit::NoNode,
    Exit::NotJoined,
    Exit::Interrupted,
];

/// Experiments with Rumormill networks: simulate them, measure them, draw them
#[derive(Debug, Parser)]
#[command(name = "rumor-lab", version, max_term_width = 100)]
#[command(after_help = exit_codes_help(&EXIT_CODES))]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Sim(Box<SimArgs>),
    Bench(Box<BenchArgs>),
    Plot(Box<PlotArgs>),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor-lab completions bash > ~/.local/share/bash-completion/completions/rumor-lab
  rumor-lab completions zsh > ~/.zfunc/_rumor-lab
  rumor-lab completions fish > ~/.config/fish/completions/rumor-lab.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

/// Print the manual page, or write the pages of all commands into a directory
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor-lab man | man -l -
  rumor-lab man ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Directory for one page per command
    pub(crate) dir: Option<PathBuf>,
}
