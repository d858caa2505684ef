//! `rumor man`

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;

use crate::args::Cli;
use crate::exit::{Exit, Failure, OrExit as _, Outcome};
use crate::out;

/// Print the manual page, or write the pages of all commands into a directory
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor man | man -l -
  rumor man ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Directory for one page per command
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: &ManArgs) -> Outcome {
    let mut command = Cli::command().name("rumor");
    command.build();
    match &args.dir {
        None => out::bytes(&render(command).or_exit(Exit::Failed)?)?,
        Some(dir) => {
            let pages = write_all(&command, dir).map_err(|e| {
                let message = format!("cannot write manual pages to {}: {e}", dir.display());
                Failure::new(Exit::Failed, message)
            })?;
            out::print(&format!("{pages} pages written to {}\n", dir.display()))?;
        }
    }
    Ok(Exit::Ok)
}

fn render(command: Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(page)
}

fn write_all(command: &Command, dir: &Path) -> io::Result<usize> {
    fs::create_dir_all(dir)?;
    write_with_subcommands(command, "rumor", dir)
}

/// One page for a command and one for each of those below it.
fn write_with_subcommands(command: &Command, name: &str, dir: &Path) -> io::Result<usize> {
    fs::write(dir.join(format!("{name}.1")), render(command.clone())?)?;
    let mut below =
        command.get_subcommands().filter(|s| !s.is_hide_set() && s.get_name() != "help");
    below.try_fold(1, |pages, sub| {
        let name = format!("{name}-{}", sub.get_name());
        Ok(pages + write_with_subcommands(sub, &name, dir)?)
    })
}
