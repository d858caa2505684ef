//! The program `rumor-lab`: simulations, measurements and pictures of Rumormill networks.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod bench;
mod cli;
mod plot;
mod sim;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use rumormill_terminal::exit::Outcome;
use rumormill_terminal::manual;
use rumormill_terminal::program::{Threads, block_on, finish, parse_error};

use cli::{Cli, Command};

/// Many small allocations of many sizes on several threads: half the memory and less time than
/// with the allocator of most systems.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rumormill::silence_caught_panics();
    match Cli::try_parse() {
        Ok(cli) => finish("rumor-lab", run(cli.command)),
        Err(e) => parse_error(&e),
    }
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Sim(args) => sim::run(&args),
        Command::Bench(args) => block_on(Threads::Many, bench::run(*args)),
        Command::Plot(args) => block_on(Threads::One, plot::run(*args)),
        Command::Completions(args) => manual::print_completions(Cli::command(), args.shell),
        Command::Man(args) => manual::print_manual(Cli::command(), args.dir.as_deref()),
    }
}
