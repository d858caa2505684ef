//! `rumor completions`

use clap::{Args, Command};
use clap_complete::Shell;
use rumormill_terminal::exit::Outcome;
use rumormill_terminal::manual;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor completions bash > ~/.local/share/bash-completion/completions/rumor
  rumor completions zsh > ~/.zfunc/_rumor
  rumor completions fish > ~/.config/fish/completions/rumor.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, cli: Command) -> Outcome {
    manual::print_completions(cli, args.shell)
}
