//! `rumor completions`

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::{Exit, Outcome};
use crate::out;

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

pub(crate) fn run(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "rumor", &mut script);
    out::bytes(&script)?;
    Ok(Exit::Ok)
}
