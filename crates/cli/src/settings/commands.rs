//! The commands that have settings, and the flags that are settings.

use clap::{Arg, Command};

/// The commands that have settings.
pub(crate) const COMMANDS: [&str; 3] = ["up", "peer", "seed"];
/// Flags that are not settings: a file cannot name them.
const NOT_SETTINGS: [&str; 5] = ["help", "version", "config", "json", "supervised"];

/// The flags of a command that are settings.
pub(crate) fn settings(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|a| {
        a.get_long().is_some_and(|long| !NOT_SETTINGS.contains(&long)) && !a.is_hide_set()
    })
}

/// The setting with this name.
pub(super) fn find<'a>(command: &'a Command, long: &str) -> Option<&'a Arg> {
    settings(command).find(|a| a.get_long() == Some(long))
}

/// The environment variable of a flag.
pub(super) fn variable(long: &str) -> String {
    format!("RUMOR_{}", long.replace('-', "_").to_uppercase())
}

/// The command of the program `cli` with this name. Its flags are complete only after `build`.
pub(crate) fn command(cli: &Command, name: &str) -> Option<Command> {
    let mut cli = cli.clone();
    cli.build();
    cli.find_subcommand(name).cloned()
}
