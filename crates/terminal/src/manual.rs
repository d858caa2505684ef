//! Completion scripts and manual pages, generated from the description of the command line.

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::exit::{Exit, Failure, OrExit as _, Outcome};
use crate::out;

/// Prints the completion script of a program for a shell.
///
/// # Errors
/// Standard output cannot be written to.
pub fn print_completions(mut command: Command, shell: Shell) -> Outcome {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    out::bytes(&script)?;
    Ok(Exit::Ok)
}

/// Prints the manual page of a program, or writes the pages of all its commands to a directory.
///
/// # Errors
/// Standard output or the directory cannot be written to.
pub fn print_manual(mut command: Command, dir: Option<&Path>) -> Outcome {
    command.build();
    match dir {
        None => out::bytes(&render(command).or_exit(Exit::Failed)?)?,
        Some(dir) => {
            let pages = write_pages(&command, dir).map_err(|e| {
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

fn write_pages(command: &Command, dir: &Path) -> io::Result<usize> {
    fs::create_dir_all(dir)?;
    write_page_tree(command, command.get_name(), dir)
}

/// Writes one page for a command and one for each command below it; gives the number of pages.
fn write_page_tree(command: &Command, name: &str, dir: &Path) -> io::Result<usize> {
    fs::write(dir.join(format!("{name}.1")), render(command.clone())?)?;
    let mut subcommands =
        command.get_subcommands().filter(|s| !s.is_hide_set() && s.get_name() != "help");
    subcommands.try_fold(1, |pages, sub| {
        let name = format!("{name}-{}", sub.get_name());
        Ok(pages + write_page_tree(sub, &name, dir)?)
    })
}
