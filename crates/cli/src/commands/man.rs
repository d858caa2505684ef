//! `rumor man`

use std::path::PathBuf;

use clap::{Args, Command};
use rumormill_terminal::exit::Outcome;
use rumormill_terminal::manual;

/// Print the manual page, or write the pages of all commands into a directory
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor man | man -l -
  rumor man ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Directory for one page per command
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: &ManArgs, cli: Command) -> Outcome {
    manual::print_manual(cli, args.dir.as_deref())
}
